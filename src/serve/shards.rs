//! One pinned thread per shard.

use super::machine::{self, Core};
use super::memory;
use super::notify::{self, Pulse};
use odradek_background::Background;
use odradek_base::ShardId;
use odradek_ring::mesh::mesh;
use odradek_ring::{Ring, RingConfig, RingError, numa};
use odradek_shard::config::NodeConfig;
use odradek_shard::messages::Message;
use odradek_shard::start::{self, Event, Start, StartError};
use odradek_shard::stop::StopSignal;
use odradek_store::{RecoveryReport, StoreError};
use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long the other shards may take to close what they have opened when one cannot start.
const GIVE_UP_MAX: Duration = Duration::from_secs(10);
/// Messages that may wait between two shards before they spill into the sender's overflow.
const MESH_CAPACITY: usize = 4096;

#[derive(Debug, thiserror::Error)]
pub enum ShardsError {
    #[error("shard {shard}: {error}")]
    Ring { shard: u16, error: RingError },
    #[error("shard {shard} could not start: {error}")]
    Start { shard: u16, error: StartError },
    #[error("shard {shard} could not flush everything: {error}; what was acknowledged is in the journal and will be replayed")]
    Stop { shard: u16, error: StoreError },
    #[error("a thread could not be started: {0}")]
    Thread(std::io::Error),
    #[error("a shard ended without a word; its panic is in the log")]
    Lost,
}

/// A start that one of the shards could not make.
pub struct StartFailure {
    pub error: ShardsError,
    /// Every shard has closed what it had opened: the directories are as a clean stop leaves them, if they were before.
    pub closed: bool,
}

/// What a shard told of itself when it was ready.
pub struct Ready {
    pub shard: ShardId,
    pub recovery: RecoveryReport,
    pub features: String,
    pub listeners: Vec<SocketAddr>,
}

#[allow(clippy::large_enum_variant, reason = "two per shard in the life of a node: a box would gain nothing")]
enum Told {
    Event(Event),
    Ring(u16, RingError),
}

/// The shards of a node while they run.
pub struct Running {
    threads: Vec<JoinHandle<()>>,
    events: mpsc::Receiver<Told>,
    stopper: Stopper,
    pulses: Vec<Pulse>,
    shards: usize,
}

/// Stops the shards; may be used from any thread.
#[derive(Clone, Default)]
pub struct Stopper(Vec<StopSignal>);

impl Stopper {
    pub fn stop(&self) {
        for signal in &self.0 {
            signal.stop();
        }
    }
}

/// Starts one thread per shard.
pub fn start(config: &Arc<NodeConfig>, cluster_id: &str, cores: &[Core], background: &Background) -> Result<Running, ShardsError> {
    let ports = mesh::<Message>(usize::from(config.shards), MESH_CAPACITY);
    let mut stopper = Stopper::default();
    let mut pulses = Vec::new();
    let several_nodes = machine::several_numa_nodes(cores);
    let (tell, events) = mpsc::channel();
    let mut threads = Vec::with_capacity(ports.len());
    for (at, port) in ports.into_iter().enumerate() {
        let id = at as u16;
        let core = (config.settings.pin() && !cores.is_empty()).then(|| cores[at % cores.len()]);
        let (config, cluster_id, background, tell) = (config.clone(), cluster_id.to_string(), background.clone(), tell.clone());
        let stop = StopSignal::default();
        stopper.0.push(stop.clone());
        let pulse = notify::watchdog_wanted().then(Pulse::default);
        pulses.extend(pulse.clone());
        let thread = std::thread::Builder::new()
            .name(format!("shard-{id}"))
            .spawn(move || {
                if let Some(core) = core
                    && !core_affinity::set_for_current(core.id)
                {
                    tracing::warn!(shard = id, core = core.id.id, "the thread could not be pinned to its core");
                }
                // Before the ring: its buffers are the first large memory of the shard.
                if several_nodes
                    && let Some(node) = core.and_then(|core| core.numa_node)
                    && let Err(error) = numa::prefer_memory_of(node)
                {
                    tracing::warn!(
                        shard = id,
                        node,
                        "memory may come from another NUMA node: {error}; in a container the seccomp profile must allow set_mempolicy"
                    );
                }
                let ring = match Ring::new(ring_config(&config)) {
                    Ok(ring) => ring,
                    Err(error) => {
                        let _ = tell.send(Told::Ring(id, error));
                        return;
                    }
                };
                let on_event = Box::new(move |event| {
                    if matches!(event, Event::Ready { .. }) {
                        memory::give_back();
                    }
                    // Nobody listens any more when the node has given up on starting.
                    let _ = tell.send(Told::Event(event));
                });
                if let Some(pulse) = pulse {
                    ring.spawn(pulse.beat(ring.clone()));
                }
                let start =
                    Start { id: ShardId(id), config, cluster_id, port, background: Some(background), stop, on_event, on_store: None };
                ring.block_on(start::run(ring.clone(), start));
                // Tasks hold the ring: without this its listeners would stay open as long as the process lives.
                ring.shutdown();
            })
            .map_err(ShardsError::Thread)?;
        threads.push(thread);
    }
    Ok(Running { threads, events, stopper, pulses, shards: usize::from(config.shards) })
}

pub(super) fn ring_config(config: &NodeConfig) -> RingConfig {
    RingConfig {
        recv_buffers: config.settings.receive_buffers(),
        recv_buffer_bytes: config.settings.receive_buffer_bytes(),
        recv_unread_total_bytes_max: config.settings.receive_buffers() as usize * config.settings.receive_buffer_bytes() as usize,
        spin: config.settings.spin(),
        ..RingConfig::default()
    }
}

impl Running {
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// The shards' signs of life; none where no watchdog asks for them.
    pub fn pulses(&self) -> Vec<Pulse> {
        self.pulses.clone()
    }

    /// Waits until every shard serves. When one cannot, the others are stopped.
    pub fn wait_ready(&self) -> Result<Vec<Ready>, StartFailure> {
        let mut ready = Vec::with_capacity(self.shards);
        while ready.len() < self.shards {
            let (error, closed) = match self.events.recv() {
                Ok(Told::Event(Event::Ready { shard, recovery, features, listeners })) => {
                    ready.push(Ready { shard, recovery: *recovery, features, listeners });
                    continue;
                }
                Ok(Told::Event(Event::Failed { shard, error, closed })) => (ShardsError::Start { shard: shard.get(), error }, closed),
                Ok(Told::Ring(shard, error)) => (ShardsError::Ring { shard, error }, true),
                Ok(Told::Event(Event::Stopped { .. })) | Err(_) => (ShardsError::Lost, false),
            };
            return Err(StartFailure { error, closed: self.give_up() && closed });
        }
        ready.sort_by_key(|ready| ready.shard);
        Ok(ready)
    }

    /// One shard has ended: stops the others. Returns whether all of them have closed what they had opened.
    fn give_up(&self) -> bool {
        self.stopper.stop();
        let patience = Instant::now() + GIVE_UP_MAX;
        let (mut ended, mut closed) = (1, true);
        while ended < self.shards {
            match self.events.recv_timeout(patience.saturating_duration_since(Instant::now())) {
                Ok(Told::Event(Event::Ready { .. })) => continue,
                Ok(Told::Event(Event::Failed { closed: this, .. })) => closed &= this,
                Ok(Told::Event(Event::Stopped { result, .. })) => closed &= result.is_ok(),
                Ok(Told::Ring(..)) => {}
                Err(_) => return false,
            }
            ended += 1;
        }
        closed
    }

    /// Waits until every shard has stopped.
    pub fn wait_stopped(self) -> Result<(), ShardsError> {
        let mut result = Ok(());
        let mut stopped = 0;
        while stopped < self.shards {
            match self.events.recv() {
                Ok(Told::Event(Event::Stopped { shard, result: ended })) => {
                    stopped += 1;
                    if let Err(error) = ended {
                        result = Err(ShardsError::Stop { shard: shard.get(), error });
                    }
                }
                Ok(_) => {}
                Err(_) => return Err(ShardsError::Lost),
            }
        }
        for thread in self.threads {
            if thread.join().is_err() {
                return Err(ShardsError::Lost);
            }
        }
        result
    }
}
