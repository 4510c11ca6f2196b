//! What happens in one run, all drawn from its seed: settings, topics, clients, faults, and how it ends.

use crate::faults::{self, Kinds, Planned};
use crate::history::Tp;
use crate::{consumer, member, producer, topics};
use odradek_base::Rng;
use odradek_ring::sim::CrashMode;
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
    pub faults: Vec<Planned>,
    pub disks_fail: bool,
    pub ending: Ending,
}

/// How long the workload takes when nothing goes wrong, roughly; faults fall into this time.
const LENGTH: Duration = Duration::from_millis(1500);
/// Some runs are long enough for what a store does only every minute.
const LONG: Duration = Duration::from_secs(150);
const LONG_ONE_IN: u64 = 12;

impl Scenario {
    pub fn draw(seed: u64, mode: Mode, kinds: Kinds) -> Self {
        let mut rng = Rng::with_seed(seed ^ 0x5ce0_a210);
        let disks_fail = kinds.disk_errors && rng.chance(4);
        // Few big values fill journals and segments; many small ones fill batches and blocks.
        let value_bytes_max = [30, 30, 30, 300, 300, 3_000, 3_000, 60_000][rng.below(8) as usize];
        let topics: Vec<topics::Plan> = (0..1 + rng.below(2)).map(|number| draw_topic(&mut rng, number)).collect();
        let tps: Vec<Tp> = topics.iter().flat_map(|topic| (0..topic.partitions).map(|partition| Tp::new(&topic.name, partition))).collect();
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
            producer::Plan { number, acks, idempotent, retries, partitions, batches, value_bytes_max, pause_max, disks_fail, codec }
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
                disks_fail,
            })
            .collect();
        let members = (0..rng.below(3))
            .filter_map(|at| tps.get(at as usize))
            .map(|tp| member::Plan { group: "g".into(), tp: tp.clone(), pause_max: Duration::from_millis(150 * slower.min(20)) })
            .collect();
        let passing_topics =
            rng.chance(3).then(|| topics::Plan { name: "passing".into(), partitions: 1 + rng.below(3) as i32, configs: Vec::new() });
        let ending = match rng.below(6) {
            0 => Ending::Nothing,
            1 => Ending::Stop,
            2 => Ending::Crash(CrashMode::Kill),
            _ if kinds.crashes => Ending::Crash(CrashMode::PowerLoss),
            _ => Ending::Nothing,
        };
        let ending = if kinds.crashes { ending } else { Ending::Nothing };
        let faults = faults::draw(&mut rng, length, Kinds { disk_errors: disks_fail, ..kinds });
        Self { overrides: overrides(&mut rng, mode), topics, producers, consumers, members, passing_topics, faults, disks_fail, ending }
    }
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
    topics::Plan { name: format!("t{number}"), partitions: 1 + rng.below(3) as i32, configs }
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
    ]
}

/// At least one of `all`, in their order.
fn some_of(rng: &mut Rng, all: &[Tp]) -> Vec<Tp> {
    let sure = rng.below(all.len() as u64) as usize;
    all.iter().enumerate().filter(|(at, _)| *at == sure || rng.chance(2)).map(|(_, tp)| tp.clone()).collect()
}
