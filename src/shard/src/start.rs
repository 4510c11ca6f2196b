//! How a shard starts: metadata, partitions, coordinators, listeners, in this order.

use crate::background_jobs;
use crate::config::NodeConfig;
use crate::controller::metadata_log::{MetadataLog, MetadataLogError};
use crate::controller::{self, CONTROLLER_SHARD, CommitError, Controller};
use crate::mailbox::Mailbox;
use crate::memory::Part;
use crate::messages::{Call, Message, Publication};
use crate::metrics;
use crate::offline;
use crate::shard::Shard;
use crate::stop::StopSignal;
use crate::topics::{self, TopicSpec};
use odradek_background::Background;
use odradek_base::{PartitionIndex, ShardId, TopicPartition};
use odradek_cluster::records::EndpointRecord;
use odradek_cluster::{Controller as Logic, Image, Registration, View};
use odradek_log::segment::names;
use odradek_ring::Ring;
use odradek_ring::mesh::Port;
use odradek_settings::Advertise;
use odradek_store::{DirectIo, RecoveryReport, Store, StoreConfig, StoreError, Unlinker};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Partitions that retention looks at before other tasks get their turn.
const RETENTION_LOOKS_PER_TURN: usize = 64;

/// What a shard tells the one that started it.
pub enum Event {
    /// The shard has opened its partitions and its listeners.
    Ready {
        shard: ShardId,
        recovery: Box<RecoveryReport>,
        features: String,
        listeners: Vec<SocketAddr>,
    },
    Failed {
        shard: ShardId,
        error: StartError,
        /// What it had opened was closed again, as a stop closes it.
        closed: bool,
    },
    Stopped {
        shard: ShardId,
        result: Result<(), StoreError>,
    },
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("metadata: {0}")]
    Metadata(#[from] MetadataLogError),
    #[error("{0}")]
    Adoption(#[from] controller::adopt::AdoptionError),
    #[error("metadata: {0}")]
    Replay(#[from] odradek_cluster::ApplyError),
    #[error("metadata: {0}")]
    Commit(#[from] CommitError),
    #[error("storage: {0}")]
    Store(#[from] StoreError),
    #[error("cannot listen on {address}: {error}; another broker may be running, or `listeners` may name a foreign address")]
    Listen { address: SocketAddr, error: std::io::Error },
}

/// What one shard is started with.
pub struct Start {
    pub id: ShardId,
    pub config: Arc<NodeConfig>,
    pub cluster_id: String,
    pub port: Port<Message>,
    pub background: Option<Background>,
    pub stop: StopSignal,
    /// Told of the shard's progress; called on the shard's thread.
    pub on_event: Box<dyn Fn(Event)>,
    /// Given the shard's store when it is open, on the shard's thread: for who watches what it holds.
    pub on_store: Option<Box<dyn FnOnce(Store)>>,
}

/// Runs a shard from start to stop.
pub async fn run(ring: Ring, start: Start) {
    let Start { id, config, cluster_id, port, background, stop, on_event, on_store } = start;
    let shard = Shard::new(id, config, ring.clone(), Mailbox::new(port.attach(&ring)), background);
    ring.spawn(shard.clone().serve_mailbox());
    if let Some(metrics) = shard.config.metrics.clone() {
        ring.spawn(metrics::tell(shard.clone(), metrics));
    }
    match begin(&shard, &cluster_id).await {
        Ok((recovery, listeners)) => {
            if let Some(on_store) = on_store {
                on_store(shard.store().clone());
            }
            on_event(Event::Ready { shard: id, recovery: Box::new(recovery), features: ring.features().to_string(), listeners });
            stop.wait().await;
            let result = shard.stop().await;
            on_event(Event::Stopped { shard: id, result });
        }
        Err(error) => {
            let closed = shard.stop().await.is_ok() && !matches!(error, StartError::Store(_));
            on_event(Event::Failed { shard: id, error, closed });
        }
    }
}

async fn begin(shard: &Rc<Shard>, cluster_id: &str) -> Result<(RecoveryReport, Vec<SocketAddr>), StartError> {
    if shard.id == CONTROLLER_SHARD {
        load_metadata(shard, cluster_id).await?;
    } else {
        shard.wait_for_metadata().await;
    }
    let recovery = open_store(shard).await?;
    if shard.id == CONTROLLER_SHARD {
        shard.ring.spawn(remove_strays(shard.clone()));
    }
    shard.follow_coordinators();
    let mut told = offline::Told::default();
    offline::tell(shard, &mut told).await;
    shard.ring.spawn(offline::follow(shard.clone(), told));
    if shard.config.advertise == Advertise::Node {
        await_others(shard).await;
    }
    shard.ring.spawn(retention(shard.clone()));
    shard.ring.spawn(crate::compaction::run(shard.clone()));
    let listeners = shard.listen().map_err(|(address, error)| StartError::Listen { address, error })?;
    Ok((recovery, listeners))
}

/// Replays the metadata log, registers this node's shards and gives the image to all of them.
async fn load_metadata(shard: &Rc<Shard>, cluster_id: &str) -> Result<(), StartError> {
    let config = &shard.config;
    let empty = Image::new(cluster_id);
    let view = View { advertise: config.advertise, listener: &config.listener, controller: config.broker_of(CONTROLLER_SHARD) };
    let bootstrap = Logic { image: &empty, settings: &config.settings, view: &view }.bootstrap();
    let brokers: Vec<_> = shard.node_shards().map(|shard| config.broker_of(shard)).collect();
    controller::adopt::run(&shard.ring, &config.metadata_dir, &config.log_dirs, bootstrap, &brokers).await?;
    let (mut log, records) = MetadataLog::open(&shard.ring, &shard.config.metadata_dir).await?;
    let mut image = Image::new(cluster_id);
    for record in &records {
        image.apply(record)?;
    }
    let image = register(shard, &mut log, image).await?;
    assert!(shard.controller.set(Controller::default()).is_ok(), "metadata is loaded once");
    let version = log.next_offset().get() as u64;
    controller::publish(shard, Publication { image: Arc::new(image), version }).await;
    shard.ring.spawn(controller::run(shard.clone(), log));
    Ok(())
}

/// Records for shards that are new or have moved to other addresses, and for partitions of shards that are gone.
async fn register(shard: &Rc<Shard>, log: &mut MetadataLog, mut image: Image) -> Result<Image, StartError> {
    let config = &shard.config;
    let mut records = Vec::new();
    let view = View { advertise: config.advertise, listener: &config.listener, controller: config.broker_of(CONTROLLER_SHARD) };
    if image.features().next().is_none() {
        records = Logic { image: &image, settings: &config.settings, view: &view }.bootstrap();
        for record in &records {
            image.apply(record)?;
        }
    }
    for other in shard.node_shards() {
        let endpoint = shard.advertised(other).map(|(_, host, port)| EndpointRecord {
            name: config.listener.clone(),
            host,
            port: u16::try_from(port).unwrap_or_default(),
            security_protocol: 0,
        });
        let registration = Registration {
            broker: config.broker_of(other),
            endpoints: endpoint.into_iter().collect(),
            rack: config.settings.rack().map(str::to_string),
            // The id of the first run stays: a shard that comes back as it was costs no record.
            incarnation: image.broker(config.broker_of(other)).map_or_else(|| shard.rng.borrow_mut().uuid(), |known| known.incarnation),
            features: Vec::new(),
            fenced: false,
        };
        let outcome = Logic { image: &image, settings: &config.settings, view: &view }.register_broker(registration);
        for record in &outcome.records {
            image.apply(record)?;
        }
        records.extend(outcome.records);
    }
    let moved = Logic { image: &image, settings: &config.settings, view: &view }.move_lost_shards(config.node, config.shards).records;
    for record in &moved {
        image.apply(record)?;
    }
    records.extend(moved);
    if !records.is_empty() {
        log.append_or_keep(&records, shard.ring.wall_clock()).await?;
    }
    Ok(image)
}

/// Waits until the other shards have opened their partitions too. A client of a node may write to any of them: were one refused while it
/// opens and the next of the same producer taken a moment later, the producer's first batches would be out of order for good.
async fn await_others(shard: &Rc<Shard>) {
    for other in shard.node_shards().filter(|other| *other != shard.id) {
        if let Err(error) = shard.mailbox.call(other, Call::AwaitOpen).await {
            tracing::error!(shard = %other, %error, "a shard did not say that it has opened");
        }
    }
}

/// Opens the partitions that the image gives to this shard.
async fn open_store(shard: &Rc<Shard>) -> Result<RecoveryReport, StartError> {
    let image = shard.image();
    let mut owned = Vec::new();
    for topic in image.topics() {
        let spec = TopicSpec::of(shard, &image, topic);
        owned.extend(topic.partitions.iter().filter(|(_, partition)| shard.owns(partition)).map(|(index, _)| spec.partition(*index)));
    }
    let (store, report) = Store::open(shard.ring.clone(), store_config(shard), owned).await?;
    shard.set_store(store);
    // Partitions that the metadata got while the store was opening.
    let now = shard.image();
    let mut missing = Vec::new();
    for topic in now.topics() {
        let absent = |index: &PartitionIndex| {
            let tp = TopicPartition::new(topic.id, *index);
            shard.store().partition(tp).is_none() && !report.failed(tp)
        };
        let owned = topic.partitions.iter().filter(|(_, partition)| shard.owns(partition));
        let mut absent = owned.map(|(index, _)| *index).filter(absent).peekable();
        if absent.peek().is_some() {
            let spec = TopicSpec::of(shard, &now, topic);
            missing.extend(absent.map(|index| spec.partition(index)));
        }
    }
    if !missing.is_empty() {
        shard.store().create_all(missing).await?;
    }
    Ok(report)
}

/// Removes what is left of moves to another log directory whose topics were deleted meanwhile.
async fn remove_strays(shard: Rc<Shard>) {
    let owned = || {
        let image = shard.image();
        let stems = image.topics().flat_map(|topic| topic.partitions.keys().map(|index| names::future_stem(&topic.name, *index)));
        stems.collect()
    };
    shard.store().remove_strays(owned).await;
}

/// Deletes what retention no longer keeps, every `log.retention.check.interval.ms`.
async fn retention(shard: Rc<Shard>) {
    let interval = Duration::from_millis(shard.config.settings.log_retention_check_interval_ms().max(1));
    loop {
        shard.ring.sleep(interval).await;
        for (count, partition) in shard.store().partitions().into_iter().enumerate() {
            if shard.stopping.get() {
                return;
            }
            if count % RETENTION_LOOKS_PER_TURN == RETENTION_LOOKS_PER_TURN - 1 {
                // Most looks find nothing and wait for nothing: ten thousand in one go would hold requests up.
                shard.ring.yield_now().await;
            }
            if let Err(error) = partition.run_retention(shard.ring.wall_clock()).await {
                tracing::warn!(partition = %partition.tp(), %error, "retention failed; it is tried again at the next check");
            }
        }
    }
}

fn store_config(shard: &Rc<Shard>) -> StoreConfig {
    let config = &shard.config;
    let settings = &config.settings;
    let files = settings.journal_files().max(2) as usize;
    StoreConfig {
        log_dirs: config.log_dirs.clone(),
        journal_dir: settings.journal_dir(),
        shard: shard.id,
        direct_io: match settings.direct_io() {
            odradek_settings::DirectIo::Auto => DirectIo::Auto,
            odradek_settings::DirectIo::Required => DirectIo::Required,
            odradek_settings::DirectIo::Off => DirectIo::Off,
        },
        unlinker: shard
            .background
            .clone()
            .map(|background| Unlinker(Rc::new(move |path| Box::pin(background_jobs::remove_file(background.clone(), path))))),
        journal_file_bytes: settings.journal_bytes() / files as u64,
        journal_files: files,
        journal_block_bytes_max: settings.journal_block_bytes(),
        bypass_bytes: settings.bypass_bytes() as u64,
        tail_cache_bytes: config.memory.bytes(Part::Tail),
        unflushed_bytes_max: config.memory.bytes(Part::Pending),
        open_files_max: config.open_files_max,
        compaction: crate::compaction::config(config),
        read_ahead_bytes: config.memory.bytes(Part::ReadAhead) as usize,
        cold_reads_bytes_max: config.memory.bytes(Part::ColdReads) as usize,
        cold_reads_live_percent: settings.cold_reads_percent(),
        recovery: shard.recovery.clone(),
        delete_delay: topics::delete_delay(shard, &shard.image()),
        disk_reserve_bytes: settings.disk_reserve_bytes(),
        ..StoreConfig::default()
    }
}
