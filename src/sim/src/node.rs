//! A node under simulation: its shards on one host, started, stopped, crashed and started again on the same disk.

use odradek_base::{Instant, ShardId};
use odradek_ring::mesh::mesh;
use odradek_ring::sim::{CrashMode, HostId, World};
use odradek_settings::Settings;
use odradek_shard::config::NodeConfig;
use odradek_shard::memory::MemorySplit;
use odradek_shard::messages::Message;
use odradek_shard::start::{self, Event, Start};
use odradek_shard::stop::StopSignal;
use odradek_store::{Held, Store};
use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

/// Where clients bootstrap.
const PORT: u16 = 9092;
/// The node's only log directory.
pub const DATA_DIR: &str = "/data";
/// Messages that may wait between two shards: few, so that the overflow is used too.
const MESH_CAPACITY: usize = 64;

/// What the shards of the present life have told.
#[derive(Default)]
struct Told {
    ready: u16,
    stopped: u16,
    /// Why a shard did not start, or did not stop cleanly.
    failed: Option<String>,
    stores: Vec<Store>,
}

/// Where a node is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Life {
    Down,
    Starting,
    Ready,
    /// Told to stop.
    Stopping,
    /// Stopped by itself; its rings are still there until it is started again.
    Stopped,
    Failed(String),
}

/// One node: a host, a configuration, and the shards of its present life.
pub struct Node {
    world: World,
    host: HostId,
    config: Arc<NodeConfig>,
    told: Rc<RefCell<Told>>,
    stop: Vec<StopSignal>,
    running: bool,
    /// When the present life began.
    pub started: Instant,
}

impl Node {
    /// A node that is not running yet. `overrides` are settings as on the command line, `key=value`.
    ///
    /// # Panics
    /// When a setting is refused: the simulation is wrong then.
    pub fn new(world: &World, host: HostId, shards: u16, overrides: &[String]) -> Self {
        let address = SocketAddr::new(world.address(host), PORT);
        let mut all = vec![format!("listeners=PLAINTEXT://{address}"), format!("log.dirs={DATA_DIR}"), "node.id=1".to_string()];
        all.extend_from_slice(overrides);
        let (settings, _) = Settings::load(None, &all).expect("the simulation's own settings");
        let memory = MemorySplit::new(&settings, shards, None).expect("the simulation's own settings");
        let config = Arc::new(NodeConfig::new(Arc::new(settings), shards, vec![address], memory));
        let told = Rc::default();
        Self { world: world.clone(), host, config, told, stop: Vec::new(), running: false, started: world.now() }
    }

    /// Where clients find the node.
    pub fn bootstrap(&self) -> SocketAddr {
        SocketAddr::new(self.world.address(self.host), PORT)
    }

    pub fn life(&self) -> Life {
        let told = self.told.borrow();
        match (&told.failed, self.running) {
            (_, false) => Life::Down,
            (Some(reason), true) => Life::Failed(reason.clone()),
            _ if told.stopped == self.config.shards => Life::Stopped,
            _ if !self.stop.is_empty() && told.stopped > 0 => Life::Stopping,
            _ if told.ready == self.config.shards => Life::Ready,
            _ => Life::Starting,
        }
    }

    /// Starts the process, on whatever its disk holds.
    pub fn start(&mut self) {
        assert!(!self.running, "the node runs already");
        self.told = Rc::default();
        self.stop.clear();
        self.running = true;
        self.started = self.world.now();
        for (at, port) in mesh::<Message>(usize::from(self.config.shards), MESH_CAPACITY).into_iter().enumerate() {
            let id = ShardId(at as u16);
            let ring = self.world.ring(self.host, id);
            let stop = StopSignal::default();
            self.stop.push(stop.clone());
            let told = self.told.clone();
            let on_event = Box::new(move |event| {
                let mut told = told.borrow_mut();
                match event {
                    Event::Ready { .. } => told.ready += 1,
                    Event::Failed { shard, error, .. } => told.failed = Some(format!("shard {shard} did not start: {error}")),
                    Event::Stopped { result: Ok(()), .. } => told.stopped += 1,
                    Event::Stopped { shard, result: Err(error) } => {
                        told.failed = Some(format!("shard {shard} did not stop cleanly: {error}"))
                    }
                }
            });
            let opened = self.told.clone();
            let on_store: Box<dyn FnOnce(Store)> = Box::new(move |store| opened.borrow_mut().stores.push(store));
            let (config, cluster_id) = (self.config.clone(), "simulated-cluster-0000".to_string());
            ring.spawn(start::run(
                ring.clone(),
                Start { id, config, cluster_id, port, background: None, stop, on_event, on_store: Some(on_store) },
            ));
        }
    }

    /// Asks all shards to stop, as SIGTERM does.
    pub fn stop(&self) {
        for stop in &self.stop {
            stop.stop();
        }
    }

    /// Ends the process (or the machine) at this instant. A node that is down may lose power too: what only the operating system had is gone.
    pub fn crash(&mut self, mode: CrashMode) {
        self.world.crash(self.host, mode);
        self.told.borrow_mut().stores.clear();
        self.stop.clear();
        self.running = false;
    }

    /// The first thing that a shard's store holds more of than it may, with `allowance` for what is on its way.
    pub fn beyond_bounds(&self, allowance: u64) -> Option<Held> {
        let told = self.told.borrow();
        told.stores
            .iter()
            .flat_map(Store::held)
            .find(|held| held.now > held.most + if held.what.ends_with("files") { 0 } else { allowance })
    }

    pub fn is_running(&self) -> bool {
        self.running
    }
}
