//! One run from its first event to its verdict.

use crate::client::Client;
use crate::faults::{Fault, Kinds, Planned};
use crate::history::History;
use crate::node::{DATA_DIR, Life, Node};
use crate::scenario::{Ending, Mode, SHARDS, Scenario};
use crate::{checkers, consumer, member, producer, topics};
use odradek_base::{Instant, ShardId};
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

/// How a run is done, beside its seed.
#[derive(Debug, Clone)]
pub struct Options {
    pub mode: Mode,
    pub kinds: Kinds,
    /// Show every event.
    pub events: bool,
    /// Only these faults of the schedule, by number; `None` is all of them.
    pub only_faults: Option<Vec<usize>>,
    /// Break the disk's promises on purpose: the checkers have to find it.
    pub planted: Option<Planted>,
}

impl Options {
    pub fn new(mode: Mode) -> Self {
        Self { mode, kinds: Kinds { crashes: true, disk_errors: false }, events: false, only_faults: None, planted: None }
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
    NoReplay,
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
}

/// Does one run. A panic in the broker is a violation like any other.
pub fn run(seed: u64, options: &Options) -> Outcome {
    match catch_unwind(AssertUnwindSafe(|| Run::new(seed, options).finish())) {
        Ok(outcome) => outcome,
        Err(panic) => {
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
            }
        }
    }
}

/// What is done to the world at a given time.
#[derive(Debug, Clone, Copy)]
enum Action {
    Crash(CrashMode),
    Start,
    Stop { down: Duration },
    Reset,
    Cut,
    Heal,
    Slow(Duration),
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
    /// The node's disk when nothing is made to go wrong.
    disk: DiskFaults,
    planted: Option<Planted>,
}

impl Run {
    fn new(seed: u64, options: &Options) -> Self {
        let mut scenario = Scenario::draw(seed, options.mode, options.kinds);
        if let Some(only) = &options.only_faults {
            let all = std::mem::take(&mut scenario.faults);
            scenario.faults = all.into_iter().enumerate().filter(|(at, _)| only.contains(at)).map(|(_, planned)| planned).collect();
        }
        let disk = Planted::disk(options.planted);
        let world = World::new(seed, WorldOptions { disk: disk.clone(), ..WorldOptions::default() });
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
        self.outcome()
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
        }
    }

    /// Clients that are to finish by themselves, and those that read until they are told to stop.
    fn expected(&self) -> (usize, usize) {
        let scenario = &self.scenario;
        (scenario.producers.len(), scenario.consumers.len() + scenario.members.len() + usize::from(scenario.passing_topics.is_some()))
    }

    fn start_clients(&self) -> (Rc<Cell<usize>>, Rc<Cell<usize>>) {
        let (producing, reading) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let ring = &self.client.ring;
        for plan in self.scenario.topics.clone() {
            let client = self.client.clone();
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
                Life::Failed(reason) if self.scenario.disks_fail => {
                    self.history.event(|| format!("the node failed: {reason}"));
                    self.node.crash(CrashMode::Kill);
                    self.plan(self.world.now() + Duration::from_millis(10), Action::Start);
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
                if self.planted == Some(Planted::NoReplay) {
                    self.spoil_journals();
                }
            }
            Action::Start if !self.node.is_running() => self.node.start(),
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
            Action::Slow(latency) => self.world.set_disk_faults(NODE, slow(&self.disk, latency)),
            Action::DiskError(operation) => {
                self.world.fail_disk(NODE, DiskFailure { operation, path_contains: String::new(), times: 1 });
            }
        }
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
        if self.scenario.disks_fail {
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

fn slow(usual: &DiskFaults, latency: Duration) -> DiskFaults {
    if latency < SLOW_DISK_MIN {
        return usual.clone();
    }
    DiskFaults { latency_max: latency, slow_latency: latency * 4, ..usual.clone() }
}
