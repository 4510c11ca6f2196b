//! A broker in the test's own process, clients that connect to it over loopback, and what the tests say in common.
//!
//! Every test runs in both advertise modes ([`both_modes`]). No test asserts a time: waiting has a deadline, and the deadline is
//! generous, because the machine may be busy with other things.

// Each test binary uses its own part of this file.
#![allow(dead_code)]

pub mod metrics;
pub mod raw;
pub mod records;

use odradek::serve::broker::Broker;
use odradek_client::{ClientConfig, ClientError, Cluster, Connection};
use odradek_settings::Settings;
use odradek_wire::ErrorCode;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Shards of every broker that is started here.
pub const SHARDS: u16 = 2;
/// Longest wait for anything.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// How clients see the broker (`odradek.advertise`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Every shard is a broker with a port of its own.
    Cores,
    /// The process is one broker with one port.
    Node,
}

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Mode::Cores => "cores",
            Mode::Node => "node",
        }
    }

    /// Brokers that the metadata names.
    pub fn brokers(self) -> usize {
        match self {
            Mode::Cores => usize::from(SHARDS),
            Mode::Node => 1,
        }
    }
}

/// Turns functions that take a [`Mode`] into two tests each.
#[macro_export]
macro_rules! both_modes {
    ($($name:ident),+ $(,)?) => {
        mod cores {
            $(#[test] fn $name() { super::$name($crate::support::Mode::Cores); })+
        }
        mod node {
            $(#[test] fn $name() { super::$name($crate::support::Mode::Node); })+
        }
    };
}

/// A running broker on a directory of its own. Stopped when dropped.
pub struct TestBroker {
    pub mode: Mode,
    pub port: u16,
    dir: TempDir,
    overrides: Vec<String>,
    broker: Option<Broker>,
}

impl TestBroker {
    pub fn start(mode: Mode) -> Self {
        Self::start_with(mode, &[])
    }

    /// Starts a broker with settings of the test on top of small defaults.
    pub fn start_with(mode: Mode, settings: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut overrides: Vec<String> = [
            "odradek.pin=false",
            // Several brokers share the cores with the tests: spinning would only take time from them.
            "odradek.spin.us=0",
            "odradek.journal.bytes=33554432",
            "odradek.journal.files=2",
            "offsets.topic.num.partitions=4",
            "transaction.state.log.num.partitions=4",
            "group.initial.rebalance.delay.ms=0",
            "log.segment.delete.delay.ms=100",
        ]
        .map(str::to_owned)
        .into();
        overrides.push(format!("odradek.shards={SHARDS}"));
        overrides.push(format!("odradek.advertise={}", mode.name()));
        overrides.push(format!("log.dirs={}", dir.path().display()));
        overrides.extend(settings.iter().map(|s| (*s).to_owned()));
        let mut test = Self { mode, port: 0, dir, overrides, broker: None };
        // Somebody else may take the port between the look and the start.
        for attempt in 0.. {
            test.port = free_port();
            match test.try_start() {
                Ok(()) => break,
                Err(error) if attempt < 3 && error.contains("cannot listen") => {}
                Err(error) => panic!("the broker does not start: {error}"),
            }
        }
        test
    }

    fn settings(&self) -> Arc<Settings> {
        let mut overrides = self.overrides.clone();
        overrides.push(format!("listeners=PLAINTEXT://127.0.0.1:{}", self.port));
        Arc::new(Settings::load(None, &overrides).expect("valid settings").0)
    }

    /// The text of the error, where the broker does not start.
    fn try_start(&mut self) -> Result<(), String> {
        assert!(self.broker.is_none(), "started twice");
        self.broker = Some(Broker::start(self.settings()).map_err(|error| error.to_string())?);
        Ok(())
    }

    /// Starts a second broker on the same directory, on ports of its own; returns why it did not start.
    pub fn start_second(&self) -> Result<(), String> {
        let mut overrides = self.overrides.clone();
        overrides.push(format!("listeners=PLAINTEXT://127.0.0.1:{}", free_port()));
        let settings = Arc::new(Settings::load(None, &overrides).expect("valid settings").0);
        let second = Broker::start(settings).map_err(|error| error.to_string())?;
        second.stop().map_err(|error| error.to_string())
    }

    /// Stops cleanly.
    pub fn stop(&mut self) {
        stop_patiently(self.broker.take().expect("running")).expect("a clean stop");
    }

    /// Stops cleanly and starts again on the same directory and port.
    pub fn restart(&mut self) {
        self.stop();
        self.start_again();
    }

    /// Starts a stopped broker on the same directory and port.
    pub fn start_again(&mut self) {
        self.try_start().unwrap_or_else(|error| panic!("the broker does not start again: {error}"));
    }

    /// As [`TestBroker::restart`], with one more setting from now on.
    pub fn restart_with(&mut self, setting: &str) {
        self.overrides.push(setting.to_owned());
        self.restart();
    }

    /// Where clients bootstrap.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Where metrics are told; with `odradek.metrics.listener` only.
    pub fn metrics_address(&self) -> SocketAddr {
        self.broker.as_ref().and_then(Broker::metrics_address).expect("odradek.metrics.listener is set")
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn client_config(&self) -> ClientConfig {
        let mut config = ClientConfig::new(&self.address()).expect("an address");
        config.client_id = "test".to_owned();
        config.request_timeout = PATIENCE;
        config.operation_timeout = PATIENCE;
        config.retry_backoff = Duration::from_millis(20);
        config
    }

    /// A client of this broker.
    pub fn cluster(&self) -> Cluster {
        Cluster::connect(self.client_config()).expect("the broker answers")
    }

    /// A negotiated connection to the bootstrap port.
    pub fn connection(&self) -> Connection {
        Connection::open(&self.address(), &self.client_config()).expect("the broker answers")
    }

    /// A negotiated connection to the broker that leads a partition.
    pub fn leader_connection(&self, topic: &str, partition: i32) -> Connection {
        let mut cluster = self.cluster();
        cluster.await_topic(topic, false).expect("the topic is there");
        let leader = cluster.leader(topic, partition).expect("the partition has a leader");
        cluster.open_separate(leader).expect("the leader answers")
    }
}

impl Drop for TestBroker {
    fn drop(&mut self) {
        if let Some(broker) = self.broker.take() {
            let stopped = stop_patiently(broker);
            // A test that fails already should fail with its own message.
            if !std::thread::panicking() {
                stopped.expect("a clean stop");
            }
        }
    }
}

/// Stops a broker; an error where that takes for ever.
fn stop_patiently(broker: Broker) -> Result<(), String> {
    let (told, wait) = mpsc::channel();
    std::thread::spawn(move || {
        // Nobody listens any more after the deadline.
        let _ = told.send(broker.stop().map_err(|error| error.to_string()));
    });
    wait.recv_timeout(PATIENCE).unwrap_or_else(|_| Err("the broker does not stop".to_owned()))
}

/// A port that is free together with the ports of the shards (`odradek.shard.port.offset` further on). The kernel's choice for port 0
/// is only the draw: ports from which outgoing connections are made (from 32768 on) could be taken while a broker restarts.
fn free_port() -> u16 {
    let free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    for _ in 0..1000 {
        let drawn = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|l| l.local_addr()).expect("a port").port();
        let port = 10_240 + drawn % 12_000;
        if free(port) && (0..SHARDS).all(|shard| free(port + 10_000 + shard)) {
            return port;
        }
    }
    panic!("no free ports")
}

/// Repeats `attempt` until it gives something. `what` is the test's name for it.
pub fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = attempt() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Kafka's code of an error that must be there.
#[track_caller]
pub fn code_of<T: std::fmt::Debug>(result: Result<T, ClientError>) -> ErrorCode {
    let error = result.expect_err("refused");
    error.code().unwrap_or_else(|| panic!("not an answer of the broker: {error}"))
}

/// The number of an error code, for comparing with a response's field.
pub fn code(error: ErrorCode) -> i16 {
    error.code()
}
