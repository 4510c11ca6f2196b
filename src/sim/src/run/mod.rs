//! One run from its first event to its verdict.

use crate::client::Client;
use crate::faults::{Fault, Kinds, Planned};
use crate::history::History;
use crate::node::{DATA_DIR, Life, Node};
use crate::scenario::{Ending, Less, Mode, SHARDS, Scenario};
use crate::{changes, checkers, consumer, member, producer, topics};
use odradek_base::{Instant, ShardId};
use odradek_ring::sim::planted::{self, Mistake};
use odradek_ring::sim::{CrashMode, DiskFailure, DiskFaults, HostId, World, WorldOptions};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

const NODE: HostId = HostId(1);
const CLIENTS: HostId = HostId(2);

/// Virtual time that clients have to get everything done once nothing fails any more.
const QUIET_MAX: Duration = Duration::from_secs(900);
/// How long topics come and stay.
const PASSING_PAUSE_MAX: Duration = Duration::from_millis(200);
/// Journal files are looked for up to this number.
const JOURNALS_MAX: u32 = 64;
/// Where blocks of a journal begin, in bytes.
const JOURNAL_BLOCK_ALIGN: usize = 4096;
const SLOW_DISK_MIN: Duration = Duration::from_millis(1);
/// Before a node that failed to start or stop is started again.
const FAILED_PAUSE: Duration = Duration::from_millis(100);
/// Bytes that a node's disk may hold at the end besides what was sent: journals of all shards, metadata and states; and for each partition,
/// whose active segment is padded.
const DISK_BYTES_MAX: u64 = 64 << 20;
const DISK_BYTES_PER_PARTITION: u64 = 3 << 20;
/// Tasks that a node may have at the end: what is left behind by connections, timers or requests would add up.
const TASKS_MAX: usize = 400;

/// How a run is done, beside its seed.
#[derive(Debug, Clone)]
pub struct Options {
    pub mode: Mode,
    pub kinds: Kinds,
    /// Show every event.
    pub events: bool,
    /// Leave parts of the run out.
    pub less: Less,
    /// Break something on purpose: the checkers have to find it.
    pub planted: Option<Planted>,
}

impl Options {
    pub fn new(mode: Mode) -> Self {
        Self { mode, kinds: Kinds::ALL, events: false, less: Less::default(), planted: None }
    }
}

/// A fault that no correct broker can survive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planted {
    /// Every sync reports success and makes nothing durable: as if nobody had called it.
    NoSync,
    /// One sync in some does so: as if the order of writes and flushes were wrong somewhere.
    SomeSyncsMissing,
    /// The journals are unreadable when the node starts again: as if nothing were replayed.
    JournalsSpoilt,
    /// The broker's own code makes a mistake. Needs the feature `planted`.
    Mistake(Mistake),
}

impl Planted {
    fn disk(planted: Option<Self>) -> DiskFaults {
        let sync_lie_one_in = match planted {
            Some(Self::NoSync) => 1,
            Some(Self::SomeSyncsMissing) => 8,
            _ => 0,
        };
        DiskFaults { sync_lie_one_in, ..DiskFaults::default() }
    }
}

/// What came of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The first rule that was broken.
    pub violation: Option<String>,
    pub trace_hash: u64,
    pub events: u64,
    pub virtual_time: Duration,
    pub acknowledged: u64,
    pub batches_seen: u64,
    pub commits: u64,
    pub faults: usize,
    /// Bytes on the node's disk at the end.
    pub disk_bytes: u64,
    /// Tasks of the node at the end.
    pub tasks: usize,
}

/// Does one run. A panic in the broker is a violation like any other.
pub fn run(seed: u64, options: &Options) -> Outcome {
    planted::plant(match options.planted {
        Some(Planted::Mistake(mistake)) => Some(mistake),
        _ => None,
    });
    let result = catch_unwind(AssertUnwindSafe(|| Run::new(seed, options).finish()));
    planted::plant(None);
    result.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|text| text.to_string()));
        Outcome {
            violation: Some(format!("panic: {}", text.unwrap_or_default())),
            trace_hash: 0,
            events: 0,
            virtual_time: Duration::ZERO,
            acknowledged: 0,
            batches_seen: 0,
            commits: 0,
            faults: 0,
            disk_bytes: 0,
            tasks: 0,
        }
    })
}

/// What is done to the world at a given time.
#[derive(Debug, Clone, Copy)]
enum Action {
    Crash(CrashMode),
    Start,
    Stop {
        down: Duration,
    },
    Reset,
    Cut,
    CutOneWay {
        to_node: bool,
    },
    Heal,
    Slow(Duration),
    /// So many bytes are left on the disk; `None` is enough.
    Full(Option<u64>),
    Rot(u64),
    DiskError(odradek_ring::sim::DiskOperation),
}

struct Run {
    world: World,
    node: Node,
    history: History,
    scenario: Scenario,
    client: Client,
    /// By time, then in the order of planning.
    agenda: BTreeMap<(Instant, u64), Action>,
    planned: u64,
    down_after_stop: Duration,
    start: Instant,
    /// The node's disk when nothing is made to go wrong, and as it is now.
    disk: DiskFaults,
    disk_now: DiskFaults,
    planted: Option<Planted>,
}

impl Run {
    fn new(seed: u64, options: &Options) -> Self {
        let mut scenario = Scenario::draw(seed, options.mode, options.kinds);
        scenario.reduce(&options.less);
        let disk = Planted::disk(options.planted);
        let world = World::new(seed, WorldOptions { disk: disk.clone(), network: scenario.network.clone() });
        let clock = world.clone();
        let history = History::new(move || clock.now(), options.events);
        let node = Node::new(&world, NODE, SHARDS, &scenario.overrides);
        let client = Client { ring: world.ring(CLIENTS, ShardId(0)), bootstrap: node.bootstrap(), history: history.clone() };
        let start = world.now();
        let mut run = Self {
            world,
            node,
            history,
            scenario,
            client,
            agenda: BTreeMap::new(),
            planned: 0,
            down_after_stop: Duration::ZERO,
            start,
            disk_now: disk.clone(),
            disk,
            planted: options.planted,
        };
        for planned in run.scenario.faults.clone() {
            run.plan_fault(planned);
        }
        run
    }

    fn plan(&mut self, at: Instant, action: Action) {
        self.agenda.insert((at, self.planned), action);
        self.planned += 1;
    }

    fn plan_fault(&mut self, Planned { at, fault }: Planned) {
        let at = self.start + at;
        match fault {
            Fault::Crash { mode, down } => {
                self.plan(at, Action::Crash(mode));
                self.plan(at + down, Action::Start);
            }
            Fault::Stop { down } => self.plan(at, Action::Stop { down }),
            Fault::Reset => self.plan(at, Action::Reset),
            Fault::Partition { lasts } => {
                self.plan(at, Action::Cut);
                self.plan(at + lasts, Action::Heal);
            }
            Fault::OneWay { to_node, lasts } => {
                self.plan(at, Action::CutOneWay { to_node });
                self.plan(at + lasts, Action::Heal);
            }
            Fault::FullDisk { room, lasts } => {
                self.plan(at, Action::Full(Some(room)));
                self.plan(at + lasts, Action::Full(None));
            }
            Fault::BitRot { one_in, lasts } => {
                self.plan(at, Action::Rot(one_in));
                self.plan(at + lasts, Action::Rot(0));
            }
            Fault::SlowDisk { latency, lasts } => {
                self.plan(at, Action::Slow(latency));
                self.plan(at + lasts, Action::Slow(Duration::ZERO));
            }
            Fault::DiskError { operation, after } => {
                self.plan(at, Action::DiskError(operation));
                self.plan(at + after, Action::Crash(CrashMode::Kill));
                self.plan(at + after, Action::Start);
            }
        }
    }

    fn finish(mut self) -> Outcome {
        self.node.start();
        let (producing, reading) = self.start_clients();
        let (producers, readers) = self.expected();
        while let Some((at, action)) = self.agenda.pop_first().map(|((at, _), action)| (at, action)) {
            if !self.advance(|run| run.world.now() >= at, at) {
                break;
            }
            self.act(action);
        }
        self.calm_down();
        self.wait_for("the producers to finish", |_| producing.get() == producers);
        self.history.stop_readers();
        self.wait_for("the consumers and members to finish", |_| reading.get() == readers);
        self.end();
        let verified = Rc::new(Cell::new(false));
        let (client, done) = (self.client.clone(), verified.clone());
        self.client.ring.spawn(async move {
            checkers::verify(&client).await;
            done.set(true);
        });
        self.wait_for("everything to be read back", |_| verified.get());
        self.check_bounds();
        self.outcome()
    }

    /// What was written must not use up the disk, what was done must leave nothing running.
    fn check_bounds(&self) {
        let (sent, partitions) = {
            let facts = self.history.facts();
            (facts.bytes_sent, facts.partitions.len() as u64)
        };
        let (used, tasks) = (self.world.disk_used(NODE), self.world.task_count(NODE));
        let most = DISK_BYTES_MAX + partitions * DISK_BYTES_PER_PARTITION + sent * 2;
        if used > most {
            let files = self.world.files(NODE);
            self.history.violation(format!("{used} bytes are on the disk after {sent} bytes of batches: {files:?}"));
        }
        if tasks > TASKS_MAX {
            self.history.violation(format!("{tasks} tasks are left"));
        }
    }

    fn outcome(&self) -> Outcome {
        let facts = self.history.facts();
        Outcome {
            violation: self.history.first_violation(),
            trace_hash: self.world.trace_hash(),
            events: self.world.trace_events(),
            virtual_time: self.world.now() - self.start,
            acknowledged: facts.acknowledged,
            batches_seen: facts.fetched,
            commits: facts.committed,
            faults: self.scenario.faults.len(),
            disk_bytes: self.world.disk_used(NODE),
            tasks: self.world.task_count(NODE),
        }
    }

    /// Clients that are to finish by themselves, and those that read until they are told to stop.
    fn expected(&self) -> (usize, usize) {
        let scenario = &self.scenario;
        (scenario.producers.len(), scenario.client_count() - scenario.producers.len())
    }

    fn start_clients(&self) -> (Rc<Cell<usize>>, Rc<Cell<usize>>) {
        let (producing, reading) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let ring = &self.client.ring;
        for plan in self.scenario.topics.clone() {
            let client = self.client.clone();
            self.history.topic_planned(&plan.name, plan.partitions, plan.cleaning);
            ring.spawn(async move { topics::create(&client, &plan).await });
        }
        for plan in self.scenario.producers.clone() {
            ring.spawn(producer::run(self.client.clone(), plan, producing.clone()));
        }
        for plan in self.scenario.consumers.clone() {
            ring.spawn(consumer::run(self.client.clone(), plan, reading.clone()));
        }
        for plan in self.scenario.members.clone() {
            ring.spawn(member::run(self.client.clone(), plan, reading.clone()));
        }
        if let Some(plan) = self.scenario.passing_topics.clone() {
            ring.spawn(topics::come_and_go(self.client.clone(), plan, PASSING_PAUSE_MAX, reading.clone()));
        }
        if let Some(plan) = self.scenario.changes.clone() {
            ring.spawn(changes::run(self.client.clone(), plan, reading.clone()));
        }
        (producing, reading)
    }

    /// Lets the world run until the condition holds, but not beyond `limit`; looks after a node that has stopped or failed meanwhile.
    /// False when a rule was broken.
    fn advance(&mut self, condition: impl Fn(&Self) -> bool, limit: Instant) -> bool {
        loop {
            let world = self.world.clone();
            let (history, run) = (self.history.clone(), &*self);
            world.run_until(|| {
                condition(run)
                    || history.is_violated()
                    || world.now() >= limit
                    || matches!(run.node.life(), Life::Stopped | Life::Failed(_))
            });
            if self.history.is_violated() {
                return false;
            }
            match self.node.life() {
                Life::Stopped => {
                    self.history.event(|| "the node has stopped".to_string());
                    self.node.crash(CrashMode::Kill);
                    self.plan(self.world.now() + self.down_after_stop, Action::Start);
                    // What follows is on the agenda: the caller's loop or the calming down starts the node.
                }
                Life::Failed(reason) if !self.scenario.kinds.disks_work() => {
                    self.history.event(|| format!("the node failed: {reason}"));
                    self.node.crash(CrashMode::Kill);
                    self.plan(self.world.now() + FAILED_PAUSE, Action::Start);
                }
                Life::Failed(reason) => self.history.violation(reason),
                _ => return !self.history.is_violated(),
            }
            if self.run_due(limit) {
                return !self.history.is_violated();
            }
        }
    }

    /// Starts a node that was planned to start before `limit`, at its time. True when the limit came first.
    fn run_due(&mut self, limit: Instant) -> bool {
        let due = self.agenda.iter().find(|((at, _), action)| matches!(action, Action::Start) && *at <= limit).map(|(key, _)| *key);
        let Some(key) = due else {
            self.world.run_until(|| self.world.now() >= limit);
            return true;
        };
        self.agenda.remove(&key);
        self.world.run_until(|| self.world.now() >= key.0);
        self.act(Action::Start);
        false
    }

    fn wait_for(&mut self, what: &str, condition: impl Fn(&Self) -> bool) {
        let limit = self.world.now() + QUIET_MAX;
        if self.advance(&condition, limit) && !condition(self) {
            let life = self.node.life();
            self.history.violation(format!("waited {QUIET_MAX:?} for {what} although nothing failed any more (the node is {life:?})"));
        }
    }

    fn act(&mut self, action: Action) {
        self.history.event(|| format!("-- {action:?}"));
        match action {
            Action::Crash(mode) => {
                if mode == CrashMode::PowerLoss {
                    self.history.power_lost(self.world.now());
                }
                self.node.crash(mode);
                if self.planted == Some(Planted::JournalsSpoilt) {
                    self.spoil_journals();
                }
            }
            Action::Start if !self.node.is_running() => {
                // What a starting node reads is the fault of another day: a flipped bit in the journal's end looks like a torn write.
                self.set_disk(|disk, usual| disk.bit_rot_one_in = usual.bit_rot_one_in);
                self.node.start();
            }
            Action::Start => {}
            Action::Stop { down } => {
                if self.node.life() == Life::Ready {
                    self.down_after_stop = down;
                    self.node.stop();
                }
            }
            Action::Reset => self.world.reset_connections(CLIENTS, NODE),
            Action::Cut => self.world.partition(CLIENTS, NODE),
            Action::Heal => self.world.heal(CLIENTS, NODE),
            Action::CutOneWay { to_node: true } => self.world.partition_one_way(CLIENTS, NODE),
            Action::CutOneWay { to_node: false } => self.world.partition_one_way(NODE, CLIENTS),
            Action::Slow(latency) => self.set_disk(|disk, usual| {
                (disk.latency_max, disk.slow_latency) = match latency < SLOW_DISK_MIN {
                    true => (usual.latency_max, usual.slow_latency),
                    false => (latency, latency * 4),
                }
            }),
            Action::Full(room) => {
                let used = self.world.disk_used(NODE);
                self.set_disk(|disk, usual| disk.capacity_bytes = room.map_or(usual.capacity_bytes, |room| used + room));
            }
            Action::Rot(one_in) => {
                if one_in == 0 || self.node.life() == Life::Ready {
                    self.set_disk(|disk, _| disk.bit_rot_one_in = one_in);
                }
            }
            Action::DiskError(operation) => {
                self.world.fail_disk(NODE, DiskFailure { operation, path_contains: String::new(), times: 1 });
            }
        }
    }

    fn set_disk(&mut self, change: impl FnOnce(&mut DiskFaults, &DiskFaults)) {
        change(&mut self.disk_now, &self.disk);
        self.world.set_disk_faults(NODE, self.disk_now.clone());
    }

    /// Flips a bit in the first bytes of every block that a journal may begin with, and so of every block.
    fn spoil_journals(&self) {
        for (shard, number) in (0..SHARDS).flat_map(|shard| (0..JOURNALS_MAX).map(move |number| (shard, number))) {
            let path = format!("{DATA_DIR}/odradek-shard-{shard}-{number:08}.journal");
            let bytes = self.world.peek(NODE, path.as_ref()).map_or(0, |content| content.len());
            for pos in (0..bytes).step_by(JOURNAL_BLOCK_ALIGN) {
                self.world.flip_bit(NODE, path.as_ref(), pos as u64, 3);
            }
        }
    }

    /// Undoes every fault and makes sure that the node runs.
    fn calm_down(&mut self) {
        self.act(Action::Heal);
        self.act(Action::Slow(Duration::ZERO));
        self.act(Action::Full(None));
        self.act(Action::Rot(0));
        if self.scenario.kinds.disk_errors {
            // What a disk error took offline is back after a restart, not before.
            self.act(Action::Crash(CrashMode::Kill));
        }
        self.agenda.clear();
        self.act(Action::Start);
    }

    /// The last thing that happens to the node before everything is read back.
    fn end(&mut self) {
        match self.scenario.ending {
            Ending::Nothing => {}
            Ending::Crash(mode) => {
                self.act(Action::Crash(mode));
                self.act(Action::Start);
            }
            Ending::Stop => {
                self.wait_for("the node to be ready", |run| run.node.life() == Life::Ready);
                self.act(Action::Stop { down: Duration::ZERO });
            }
        }
        self.wait_for("the node to be ready", |run| run.node.life() == Life::Ready);
    }
}
