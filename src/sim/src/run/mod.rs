//! One run from its first event to its verdict.

mod act;
mod agenda;
mod bounds;
mod planted;
mod rot;
mod waiting;

pub use planted::Planted;

use crate::client::Client;
use crate::faults::Kinds;
use crate::history::History;
use crate::node::Node;
use crate::scenario::{Less, Mode, SHARDS, Scenario};
use crate::violation::{Checker, Violation};
use crate::{changes, checkers, consumer, member, producer, topics};
use agenda::Agenda;
use odradek_base::{Instant, ShardId};
use odradek_ring::sim::{DiskFaults, HostId, World, WorldOptions};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

const NODE: HostId = HostId(1);
const CLIENTS: HostId = HostId(2);
/// How long topics come and stay.
const PASSING_PAUSE_MAX: Duration = Duration::from_millis(200);

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

/// What came of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The first rule that was broken.
    pub violation: Option<Violation>,
    pub trace_hash: u64,
    pub events: u64,
    pub virtual_time: Duration,
    pub acknowledged: u64,
    pub batches_seen: u64,
    pub commits: u64,
    /// How far `__consumer_offsets` was compacted, in offsets.
    pub offsets_compacted: u64,
    pub faults: usize,
    /// Bytes on the node's disk at the end.
    pub disk_bytes: u64,
    /// Tasks of the node at the end.
    pub tasks: usize,
}

/// Does one run. A panic in the broker is a violation like any other.
pub fn run(seed: u64, options: &Options) -> Outcome {
    odradek_ring::sim::planted::plant(match options.planted {
        Some(Planted::Mistake(mistake)) => Some(mistake),
        _ => None,
    });
    let result = catch_unwind(AssertUnwindSafe(|| Run::new(seed, options).finish()));
    odradek_ring::sim::planted::plant(None);
    result.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|text| text.to_string()));
        Outcome {
            violation: Some(Violation { checker: Checker::Panic, what: text.unwrap_or_default() }),
            trace_hash: 0,
            events: 0,
            virtual_time: Duration::ZERO,
            acknowledged: 0,
            batches_seen: 0,
            commits: 0,
            offsets_compacted: 0,
            faults: 0,
            disk_bytes: 0,
            tasks: 0,
        }
    })
}

struct Run {
    world: World,
    node: Node,
    history: History,
    scenario: Scenario,
    client: Client,
    agenda: Agenda,
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
            agenda: Agenda::default(),
            down_after_stop: Duration::ZERO,
            start,
            disk_now: disk.clone(),
            disk,
            planted: options.planted,
        };
        for planned in run.scenario.faults.clone() {
            run.agenda.plan_fault(start, planned);
        }
        run
    }

    fn finish(mut self) -> Outcome {
        self.node.start();
        let (producing, reading) = self.start_clients();
        let (producers, readers) = self.expected();
        while let Some((at, action)) = self.agenda.next() {
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
        self.check_retention();
        self.check_bounds();
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
            offsets_compacted: bounds::offsets_compacted(&self.world),
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
            self.history.topic_planned(&plan.name, plan.partitions, plan.cleaning, plan.compaction);
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
}
