//! Metrics and readiness over HTTP, on a thread of their own (`odradek.metrics.listener`).
//!
//! The shards are asked for their values when somebody scrapes ([`odradek_shard::metrics`]); one that does not answer in time is told with what it
//! said last. Failure behaviour: a client that is slow, silent or sends nonsense loses its connection; nothing here reaches a shard's loop.

mod collect;
mod http;

use http::{Answer, Server};
use odradek_shard::config::NodeConfig;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The format of the answer: OpenMetrics, which Prometheus reads.
const TEXT_FORMAT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The endpoint while it is open. Dropping it closes it.
pub struct Endpoint {
    pub address: SocketAddr,
    ready: Arc<AtomicBool>,
    _server: Server,
}

impl Endpoint {
    /// Takes the address, so that a wrong one stops the start before anything else is done.
    pub fn bind(address: &str) -> std::io::Result<TcpListener> {
        let mut last = std::io::Error::other("the name has no address");
        for address in address.to_socket_addrs()? {
            match TcpListener::bind(address) {
                Ok(listener) => return Ok(listener),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Answers from now on; not ready before [`Endpoint::ready`].
    pub fn start(listener: TcpListener, config: Arc<NodeConfig>) -> std::io::Result<Self> {
        let address = listener.local_addr()?;
        let ready = Arc::new(AtomicBool::new(false));
        let is_ready = ready.clone();
        let answer = move |path: &str| match path {
            "/metrics" => Answer::ok(TEXT_FORMAT, collect::text(&config)),
            "/ready" | "/healthz" if is_ready.load(Ordering::Acquire) => Answer::ok("text/plain", "ready\n".to_owned()),
            "/ready" | "/healthz" => {
                Answer { status: "503 Service Unavailable", content_type: "text/plain", body: "starting\n".to_owned() }
            }
            _ => Answer { status: "404 Not Found", content_type: "text/plain", body: "there are /metrics and /ready\n".to_owned() },
        };
        Ok(Self { address, ready, _server: Server::start(listener, Arc::new(answer))? })
    }

    /// Every shard serves.
    pub fn ready(&self) {
        self.ready.store(true, Ordering::Release);
    }
}
