//! What a node's shards need to know from the settings, worked out once.

use crate::memory::{MemorySplit, Part};
use crate::metrics::Metrics;
use odradek_base::{BrokerId, NodeId, ShardId};
use odradek_settings::{Advertise, Settings};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

/// Configuration of one node; the same for all its shards.
pub struct NodeConfig {
    pub settings: Arc<Settings>,
    pub node: NodeId,
    pub shards: u16,
    pub advertise: Advertise,
    pub log_dirs: Vec<PathBuf>,
    pub metadata_dir: PathBuf,
    /// Where clients bootstrap; open on every shard.
    pub bootstrap: Vec<SocketAddr>,
    /// Name of the listener.
    pub listener: String,
    /// Host name that clients are told.
    pub advertised_host: String,
    pub advertised_port: u16,
    /// With [`Advertise::Cores`]: shard i also listens on the bootstrap port plus this plus i.
    pub shard_port_offset: u32,
    pub connections_max: usize,
    /// Connections that all shards together have open: the bound is the node's.
    pub connections_open: AtomicUsize,
    pub connection_idle_max: Duration,
    pub connection_queued_bytes_max: usize,
    /// `socket.request.max.bytes`, as far as the memory for requests goes.
    pub request_bytes_max: usize,
    pub control_request_bytes_max: usize,
    /// How memory is split; what single bounds follow from.
    pub memory: MemorySplit,
    /// Where the shards tell of themselves, when somebody wants to know.
    pub metrics: Option<Metrics>,
    /// Bytes of requests that arrive or are worked on, all connections of a shard together.
    pub requests_bytes_max: usize,
    /// Bytes of answers that wait, all connections of a shard together.
    pub answers_bytes_max: usize,
    pub fetch_bytes_max: usize,
    /// Segment files that each shard keeps open.
    pub open_files_max: usize,
    pub shutdown_timeout: Duration,
}

/// Idle connections are never closed: Kafka's meaning of a negative `connections.max.idle.ms`.
const IDLE_FOR_EVER: Duration = Duration::from_secs(u32::MAX as u64);

impl NodeConfig {
    /// Works the configuration out. `bootstrap` are the resolved addresses of the first listener.
    pub fn new(settings: Arc<Settings>, shards: u16, bootstrap: Vec<SocketAddr>, memory: MemorySplit) -> Self {
        // The first listener is the one that is opened; it may stand elsewhere among the advertised ones, or be missing there.
        let advertised = settings.advertised_listeners();
        let opened = settings.listeners().first().map(|listener| listener.name.clone());
        let listener = advertised.iter().find(|listener| Some(&listener.name) == opened.as_ref()).or(advertised.first());
        let part = |part| usize::try_from(memory.bytes(part)).unwrap_or(usize::MAX);
        Self {
            node: settings.node_id(),
            shards,
            advertise: settings.advertise(),
            log_dirs: settings.log_dirs(),
            metadata_dir: settings.metadata_log_dir(),
            bootstrap,
            listener: listener.map_or_else(|| "PLAINTEXT".into(), |listener| listener.name.clone()),
            advertised_host: listener.map_or_else(|| "localhost".into(), |listener| listener.advertised_host().to_string()),
            advertised_port: listener.map_or(9092, |listener| listener.port),
            shard_port_offset: settings.shard_port_offset(),
            connections_max: settings.max_connections() as usize,
            connections_open: AtomicUsize::new(0),
            connection_idle_max: settings.connections_max_idle().unwrap_or(IDLE_FOR_EVER),
            connection_queued_bytes_max: (settings.connection_queued_bytes() as usize).min(part(Part::Answers) / 4),
            request_bytes_max: settings.socket_request_max_bytes().min(part(Part::Requests)),
            control_request_bytes_max: settings.request_control_max_bytes(),
            memory,
            metrics: None,
            requests_bytes_max: part(Part::Requests),
            answers_bytes_max: part(Part::Answers),
            fetch_bytes_max: settings.fetch_max_bytes(),
            open_files_max: settings.open_files_max(),
            shutdown_timeout: settings.shutdown_timeout(),
            settings,
        }
    }

    /// The port of one shard's own listener for a bootstrap port; `None` where the sum is no port.
    pub fn shard_port(&self, bootstrap_port: u16, shard: ShardId) -> Option<u16> {
        u16::try_from(u32::from(bootstrap_port) + self.shard_port_offset + u32::from(shard.get())).ok()
    }

    /// The broker id by which the metadata knows a shard.
    pub fn broker_of(&self, shard: ShardId) -> BrokerId {
        BrokerId::of_shard(self.node, shard)
    }

    /// The shard of this node that runs a broker's partitions. Shards that are no longer there are stood in for by others.
    pub fn shard_of(&self, broker: BrokerId) -> ShardId {
        let (_, shard) = broker.node_and_shard();
        ShardId(shard.get() % self.shards)
    }

    pub fn all_shards(&self) -> impl Iterator<Item = ShardId> + use<> {
        (0..self.shards).map(ShardId)
    }
}
