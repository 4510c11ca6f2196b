//! What happens in one run, all drawn from its seed: settings, topics, clients, faults, and how it ends.

use crate::faults::{self, Kinds, Planned};
use crate::history::{Cleaning, Compaction, Tp};
use crate::{changes, consumer, member, producer, topics};
use odradek_base::Rng;
use odradek_ring::sim::{CrashMode, NetworkFaults};
use odradek_wire::compress::Codec;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Shards of the node.
pub const SHARDS: u16 = 2;

/// What clients see as a broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Cores,
    Node,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cores => "cores",
            Self::Node => "node",
        })
    }
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "cores" => Ok(Self::Cores),
            "node" => Ok(Self::Node),
            other => Err(format!("{other} is neither `cores` nor `node`")),
        }
    }
}

/// What happens to the node when the workload is done and before everything is read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    Nothing,
    Crash(CrashMode),
    Stop,
}

/// One run.
#[derive(Debug, Clone)]
pub struct Scenario {
    pub overrides: Vec<String>,
    pub topics: Vec<topics::Plan>,
    pub producers: Vec<producer::Plan>,
    pub consumers: Vec<consumer::Plan>,
    pub members: Vec<member::Plan>,
    pub passing_topics: Option<topics::Plan>,
    pub changes: Option<changes::Plan>,
    pub network: NetworkFaults,
    pub faults: Vec<Planned>,
    /// Which of the disk's faults may happen, so what is tolerated.
    pub kinds: Kinds,
    pub ending: Ending,
}

/// A smaller run of the same seed: how a failure is narrowed down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Less {
    /// Only these faults of the schedule, by number.
    pub faults: Option<Vec<usize>>,
    /// Only these clients, by number: producers first, then consumers, members, the one that makes and deletes topics, the one that changes them.
    pub clients: Option<Vec<usize>>,
    /// Percent of every producer's batches, at least one batch.
    pub work: u64,
    /// Percent of the time in which faults happen.
    pub time: u64,
}

impl Default for Less {
    fn default() -> Self {
        Self { faults: None, clients: None, work: 100, time: 100 }
    }
}

/// How long the workload takes when nothing goes wrong, roughly; faults fall into this time.
const LENGTH: Duration = Duration::from_millis(1500);
/// Some runs are long enough for what a store does only every minute.
const LONG: Duration = Duration::from_secs(150);
const LONG_ONE_IN: u64 = 12;
/// Runs in which stored bits flip.
const STORED_ROT_ONE_IN: u64 = 6;

impl Scenario {
    pub fn draw(seed: u64, mode: Mode, kinds: Kinds) -> Self {
        let mut rng = Rng::with_seed(seed ^ 0x5ce0_a210);
        // What was added later has its own, seeded so that the seeds written down as tests stay what they were.
        let mut more = Rng::with_seed(seed ^ 0x0add_ed5a);
        let kinds = Kinds {
            disk_errors: kinds.disk_errors && rng.chance(4),
            full_disk: kinds.full_disk && rng.chance(4),
            bit_rot: kinds.bit_rot && rng.chance(4),
            stored_rot: kinds.stored_rot && more.chance(STORED_ROT_ONE_IN),
            ..kinds
        };
        // Few big values fill journals and segments; many small ones fill batches and blocks.
        let value_bytes_max = [30, 30, 30, 300, 300, 3_000, 3_000, 60_000][rng.below(8) as usize];
        let mut topics: Vec<topics::Plan> = (0..1 + rng.below(2)).map(|number| draw_topic(&mut rng, number)).collect();
        let tps: Vec<Tp> = topics.iter().flat_map(|topic| (0..topic.partitions).map(|partition| Tp::new(&topic.name, partition))).collect();
        let compacted: Vec<String> =
            topics.iter().filter(|topic| topic.cleaning == Cleaning::Compaction).map(|topic| topic.name.clone()).collect();
        let tombstone_one_in = if more.chance(2) { 4 } else { 0 };
        if tombstone_one_in > 0 {
            topics.iter_mut().filter(|topic| topic.cleaning == Cleaning::Compaction).for_each(|topic| delay_compaction(&mut more, topic));
        }
        let batches = if value_bytes_max > 10_000 { 6 + rng.below(30) } else { 3 + rng.below(12) };
        let length = if rng.chance(LONG_ONE_IN) { LONG } else { LENGTH };
        // Who waits does not spin through a long run.
        let slower = (length.as_millis() / LENGTH.as_millis()) as u64;
        let pause_max = Duration::from_micros(length.as_micros() as u64 * 2 / (batches * tps.len() as u64));
        let draw_producer = |rng: &mut Rng, number: u32| {
            let (acks, idempotent, retries) = [(-1, true, true), (-1, false, true), (1, false, false), (0, false, false), (1, false, true)]
                [if number == 0 { 0 } else { rng.below(5) as usize }];
            let partitions = some_of(rng, &tps);
            let codec = if rng.chance(8) { [Codec::Lz4, Codec::Gzip, Codec::Snappy][rng.below(3) as usize] } else { Codec::None };
            let compacted = compacted.clone();
            producer::Plan {
                number,
                acks,
                idempotent,
                retries,
                partitions,
                batches,
                value_bytes_max,
                pause_max,
                kinds,
                codec,
                compacted,
                tombstone_one_in,
            }
        };
        let producers = (0..2 + rng.below(3) as u32).map(|number| draw_producer(&mut rng, number)).collect();
        let consumers = (0..1 + rng.below(2) as u32)
            .map(|number| consumer::Plan {
                number,
                by_id: rng.chance(2),
                partitions: some_of(&mut rng, &tps),
                max_wait: Duration::from_millis(rng.below(300 * slower.min(20))),
                bytes_max: 1 << (8 + rng.below(12)),
                rewind_one_in: [0, 10, 40][rng.below(3) as usize],
                kinds,
                read_committed: rng.chance(2),
                from_end: rng.chance(4),
                probe_one_in: [0, 8, 30][rng.below(3) as usize],
            })
            .collect();
        let members = (0..rng.below(3))
            .filter_map(|at| tps.get(at as usize))
            .map(|tp| member::Plan {
                group: "g".into(),
                tp: tp.clone(),
                pause_max: Duration::from_millis(150 * slower.min(20)),
                leave_one_in: 12,
            })
            .collect();
        let passing_topics = rng.chance(3).then(|| topics::Plan {
            name: "passing".into(),
            partitions: 1 + rng.below(3) as i32,
            configs: Vec::new(),
            cleaning: Cleaning::Never,
            compaction: Compaction::default(),
        });
        let ending = match rng.below(6) {
            0 => Ending::Nothing,
            1 => Ending::Stop,
            2 => Ending::Crash(CrashMode::Kill),
            _ if kinds.crashes => Ending::Crash(CrashMode::PowerLoss),
            _ => Ending::Nothing,
        };
        let ending = if kinds.crashes { ending } else { Ending::Nothing };
        let changes =
            rng.chance(2).then(|| changes::Plan { topics: topics.clone(), pause_max: Duration::from_millis(200 * slower.min(20)), kinds });
        let network = NetworkFaults {
            reset_one_in: if rng.chance(4) { 500 } else { 0 },
            delay_one_in: [200, 20][usize::from(rng.chance(4))],
            ..NetworkFaults::default()
        };
        let mut faults = faults::draw(&mut rng, length, kinds);
        if kinds.stored_rot {
            faults.extend(faults::draw_stored_rot(&mut more, length));
            faults.sort_by_key(|planned| planned.at);
        }
        let mut overrides = overrides(&mut rng, mode);
        if length == LONG {
            // Long enough for segments of `__consumer_offsets` to be flushed: it rolls by time, and most commits are soon out of date.
            overrides.push("log.roll.ms=3000".into());
            overrides.push("log.cleaner.min.cleanable.ratio=0.1".into());
        }
        Self { overrides, topics, producers, consumers, members, passing_topics, changes, network, faults, kinds, ending }
    }

    /// Clients of the whole run.
    pub fn client_count(&self) -> usize {
        let others = usize::from(self.passing_topics.is_some()) + usize::from(self.changes.is_some());
        self.producers.len() + self.consumers.len() + self.members.len() + others
    }

    /// Leaves out what `less` leaves out.
    pub fn reduce(&mut self, less: &Less) {
        if let Some(only) = &less.faults {
            keep(&mut self.faults, |at| only.contains(&at));
        }
        if let Some(only) = &less.clients {
            let consumers = self.producers.len();
            let members = consumers + self.consumers.len();
            let others = members + self.members.len();
            let changes = others + usize::from(self.passing_topics.is_some());
            keep(&mut self.producers, |at| only.contains(&at));
            keep(&mut self.consumers, |at| only.contains(&(consumers + at)));
            keep(&mut self.members, |at| only.contains(&(members + at)));
            self.passing_topics.take_if(|_| !only.contains(&others));
            self.changes.take_if(|_| !only.contains(&changes));
        }
        for producer in &mut self.producers {
            producer.batches = (producer.batches * less.work / 100).max(1);
        }
        for planned in &mut self.faults {
            planned.at = planned.at * less.time as u32 / 100;
        }
    }
}

/// Keeps the elements whose places are wanted.
fn keep<T>(all: &mut Vec<T>, wanted: impl Fn(usize) -> bool) {
    let mut at = 0;
    all.retain(|_| {
        at += 1;
        wanted(at - 1)
    });
}

fn draw_topic(rng: &mut Rng, number: u64) -> topics::Plan {
    let mut configs = Vec::new();
    if rng.chance(2) {
        configs.push(("segment.bytes", "1048576".to_string()));
    }
    if rng.chance(3) {
        configs.push(("segment.ms", (10 + rng.below(500)).to_string()));
    }
    if rng.chance(4) {
        configs.push(("index.interval.bytes", rng.below(5000).to_string()));
    }
    if rng.chance(6) {
        configs.push(("message.timestamp.type", "LogAppendTime".to_string()));
    }
    let cleaning = match rng.below(12) {
        0..2 => Cleaning::Retention,
        2..4 => Cleaning::Compaction,
        4..7 => Cleaning::Requests,
        _ => Cleaning::Never,
    };
    match cleaning {
        Cleaning::Retention => {
            configs.retain(|(name, _)| *name != "segment.ms" && *name != "message.timestamp.type");
            configs.push(("segment.ms", (10 + rng.below(100)).to_string()));
            match rng.chance(2) {
                true => configs.push(("retention.ms", (50 + rng.below(1000)).to_string())),
                false => configs.push(("retention.bytes", rng.below(50_000).to_string())),
            }
        }
        Cleaning::Compaction => {
            configs.retain(|(name, _)| *name != "segment.ms");
            configs.push(("cleanup.policy", "compact".to_string()));
            configs.push(("segment.ms", (10 + rng.below(100)).to_string()));
            configs.push(("min.cleanable.dirty.ratio", "0.01".to_string()));
        }
        Cleaning::Never | Cleaning::Requests => {}
    }
    topics::Plan { name: format!("t{number}"), partitions: 1 + rng.below(3) as i32, configs, cleaning, compaction: Compaction::default() }
}

/// What keeps records and tombstones of a compacted topic for a while.
fn delay_compaction(rng: &mut Rng, topic: &mut topics::Plan) {
    if rng.chance(2) {
        topic.configs.push(("delete.retention.ms", rng.below(300).to_string()));
        topic.compaction.tombstones_go = true;
    }
    if rng.chance(2) {
        let lag = 50 + rng.below(400);
        topic.configs.push(("min.compaction.lag.ms", lag.to_string()));
        topic.compaction.lag = Duration::from_millis(lag);
    }
}

/// Small buffers, so that a short run fills, wraps and flushes them.
fn overrides(rng: &mut Rng, mode: Mode) -> Vec<String> {
    vec![
        format!("odradek.advertise={mode}"),
        "odradek.journal.bytes=4194304".into(),
        format!("odradek.journal.files={}", 2 + rng.below(3)),
        format!("odradek.journal.block.bytes={}", 65_536 << rng.below(4)),
        format!("odradek.bypass.bytes={}", 65_536 << rng.below(5)),
        "odradek.tail.cache.bytes=1048576".into(),
        format!("odradek.unflushed.bytes.max={}", 1_048_576 << rng.below(3)),
        format!("odradek.open.files.max={}", 16 + rng.below(32)),
        format!("offsets.topic.num.partitions={}", 1 + rng.below(3)),
        "transaction.state.log.num.partitions=1".into(),
        format!("group.initial.rebalance.delay.ms={}", rng.below(2) * 100),
        "log.segment.delete.delay.ms=100".into(),
        "log.retention.check.interval.ms=150".into(),
        "log.cleaner.backoff.ms=150".into(),
    ]
}

/// At least one of `all`, in their order.
fn some_of(rng: &mut Rng, all: &[Tp]) -> Vec<Tp> {
    let sure = rng.below(all.len() as u64) as usize;
    all.iter().enumerate().filter(|(at, _)| *at == sure || rng.chance(2)).map(|(_, tp)| tp.clone()).collect()
}
