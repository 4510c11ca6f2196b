//! One running broker: data directory, background plane, shards.

use super::data_dir::{DataDir, DataDirError};
use super::limits;
use super::machine::{self, Core};
use super::memory;
use super::metrics::Endpoint;
use super::notify::Pulse;
use super::shards::{self, Ready, Running, ShardsError, StartFailure, Stopper};
use odradek_background::{Background, StartError};
use odradek_ring::RingError;
use odradek_settings::Settings;
use odradek_shard::config::NodeConfig;
use odradek_shard::memory::{MemorySplit, TooLittle};
use odradek_shard::metrics::Metrics;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long the background plane may take to end. What it has not unlinked by then is unlinked at the next start.
const BACKGROUND_STOP_MAX: Duration = Duration::from_secs(1);

/// Why the broker did not start, or did not stop cleanly. The text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    #[error("{0}")]
    DataDir(#[from] DataDirError),
    #[error(
        "listeners: {listener} has the security protocol {protocol}, which is not served yet: only PLAINTEXT is. Use a PLAINTEXT listener on \
         a network that may see what clients send"
    )]
    Protocol { listener: String, protocol: String },
    #[error("{0}")]
    Memory(#[from] TooLittle),
    #[error("odradek.metrics.listener: {address}: {error}; it takes a host and a free port, such as localhost:9404")]
    Metrics { address: String, error: std::io::Error },
    #[error("listeners: cannot resolve {name}: {error}")]
    Resolve { name: String, error: std::io::Error },
    #[error("{0}")]
    Ring(#[from] RingError),
    #[error("{0}")]
    Background(#[from] StartError),
    #[error("{0}")]
    Shards(#[from] ShardsError),
    #[error("the checkpoint files could not be written: {0}; the next start will check more than it need")]
    Checkpoints(std::io::Error),
}

/// A broker that serves. Dropping it without [`Broker::wait_stopped`] leaves its threads running until the process ends.
pub struct Broker {
    pub config: Arc<NodeConfig>,
    pub cluster_id: String,
    pub cores: Vec<Core>,
    pub ready: Vec<Ready>,
    /// Open until the shards have stopped.
    metrics: Option<Endpoint>,
    running: Running,
    background: Background,
    background_thread: JoinHandle<()>,
    _data: DataDir,
}

impl Broker {
    /// Starts a broker and returns when every shard serves.
    pub fn start(settings: Arc<Settings>) -> Result<Self, BrokerError> {
        let cores = machine::cores();
        let shards = settings.shards().unwrap_or_else(|| u16::try_from(cores.len()).unwrap_or(u16::MAX)).max(1);
        let memory = MemorySplit::new(&settings, shards, memory::available_bytes())?;
        let mut config = NodeConfig::new(settings.clone(), shards, bootstrap_addresses(&settings)?, memory);
        if config.request_bytes_max < settings.socket_request_max_bytes() {
            tracing::info!(
                bytes = config.request_bytes_max,
                "the largest request is smaller than socket.request.max.bytes: the memory for requests (docs/MEMORY.md) holds no more"
            );
        }
        let files = limits::raise_open_files();
        config.open_files_max = limits::segment_files_per_shard(settings.open_files_max(), files, shards);
        if config.open_files_max < settings.open_files_max() {
            tracing::info!(
                files = config.open_files_max,
                limit = files,
                "each shard keeps fewer segment files open than odradek.open.files.max says: the process may have no more (ulimit -n, LimitNOFILE=)"
            );
        }
        let metrics = match settings.metrics_listener() {
            Some(address) => Some(Endpoint::bind(address).map_err(|error| BrokerError::Metrics { address: address.to_owned(), error })?),
            None => None,
        };
        config.metrics = metrics.is_some().then(|| Metrics::new(shards, config.log_dirs.len()));
        let config = Arc::new(config);
        // glommio panics without io_uring; the ring knows why there is none and what helps.
        odradek_ring::available(&shards::ring_config(&config))?;
        let data = DataDir::open(&settings, shards)?;
        let probe_dir = config.log_dirs.first().cloned().unwrap_or_else(|| PathBuf::from("."));
        let background = match settings.pin() {
            true => machine::beside_shards(&cores, usize::from(shards), || Background::start(&probe_dir)),
            false => Background::start(&probe_dir),
        };
        let (background, background_thread) = background.inspect_err(|_| data.not_used())?;
        // Before the shards: how far their start is can be seen there.
        let metrics = match metrics.map(|listener| Endpoint::start(listener, config.clone())).transpose() {
            Ok(metrics) => metrics,
            Err(error) => {
                data.not_used();
                return Err(BrokerError::Metrics { address: settings.metrics_listener().unwrap_or_default().to_owned(), error });
            }
        };
        let running = shards::start(&config, &data.cluster_id, &cores, &background)?;
        let ready = running.wait_ready().map_err(|StartFailure { error, closed }| {
            if closed {
                data.not_used();
            }
            error
        })?;
        if settings.pin() && machine::several_numa_nodes(&cores) {
            machine::warn_of_remote(cores.get(..usize::from(shards)).unwrap_or(&cores), &config.log_dirs);
        }
        if let Some(metrics) = &metrics {
            metrics.ready();
        }
        let cluster_id = data.cluster_id.clone();
        Ok(Self { config, cluster_id, cores, ready, metrics, running, background, background_thread, _data: data })
    }

    /// Where metrics are told.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics.as_ref().map(|metrics| metrics.address)
    }

    /// Ends the broker from any thread.
    pub fn stopper(&self) -> Stopper {
        self.running.stopper()
    }

    /// The shards' signs of life, for a watchdog.
    pub fn pulses(&self) -> Vec<Pulse> {
        self.running.pulses()
    }

    /// Waits until the broker was told to stop and has flushed everything.
    pub fn wait_stopped(self) -> Result<(), BrokerError> {
        let result = self.running.wait_stopped();
        self.background.stop();
        // Its work can be left at any moment, and glommio may sleep through the word to stop: it is not waited for long.
        let patience = Instant::now() + BACKGROUND_STOP_MAX;
        while !self.background_thread.is_finished() && Instant::now() < patience {
            std::thread::sleep(Duration::from_millis(1));
        }
        result?;
        // Kafka's checkpoints are per directory, which shards share: written once, when all of them have closed.
        odradek_store::write_kafka_checkpoints(&self.config.log_dirs).map_err(BrokerError::Checkpoints)
    }

    /// Stops the broker and waits for it.
    pub fn stop(self) -> Result<(), BrokerError> {
        self.stopper().stop();
        self.wait_stopped()
    }
}

/// The addresses of the first listener. One with another protocol than PLAINTEXT stops the start, wherever it stands: nobody may take for
/// encrypted what is not. More PLAINTEXT listeners are not opened, which is said.
fn bootstrap_addresses(settings: &Settings) -> Result<Vec<SocketAddr>, BrokerError> {
    let mut addresses: Vec<SocketAddr> = Vec::new();
    let listeners = settings.listeners();
    if let Some(other) = listeners.iter().find(|listener| listener.protocol != "PLAINTEXT") {
        return Err(BrokerError::Protocol { listener: other.to_string(), protocol: other.protocol.clone() });
    }
    for (at, listener) in listeners.into_iter().enumerate() {
        if at > 0 {
            tracing::warn!(%listener, "this listener is not opened: only the first of `listeners` is served yet");
            continue;
        }
        let host = if listener.host.is_empty() { "0.0.0.0" } else { listener.host.as_str() };
        let resolved = (host, listener.port)
            .to_socket_addrs()
            .map_err(|error| BrokerError::Resolve { name: format!("{host}:{}", listener.port), error })?;
        for address in resolved {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
    }
    // `localhost` may name an IPv6 address on a machine without IPv6: what cannot be bound is left out if another can.
    if addresses.len() > 1 {
        addresses.retain(|address| address.is_ipv4() || std::net::TcpListener::bind(SocketAddr::new(address.ip(), 0)).is_ok());
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_plaintext_listener_is_opened_and_other_protocols_stop_the_start() {
        let addresses = |listeners: &str| {
            let overrides = [format!("listeners={listeners}"), "listener.security.protocol.map=A:PLAINTEXT,B:PLAINTEXT,S:SSL".to_owned()];
            bootstrap_addresses(&Settings::load(None, &overrides).unwrap().0)
        };
        let opened = addresses("A://127.0.0.1:1,B://127.0.0.1:2").unwrap();
        assert_eq!(opened, ["127.0.0.1:1".parse().unwrap()]);
        for secret in ["S://127.0.0.1:1", "A://127.0.0.1:1,S://127.0.0.1:2"] {
            let error = addresses(secret).unwrap_err().to_string();
            assert!(error.contains("SSL") && error.contains("S://127.0.0.1"), "{error}");
        }
    }
}
