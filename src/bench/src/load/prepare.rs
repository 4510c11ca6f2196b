//! From a scenario and a cluster to an engine, and from a driven engine to the audit of what it wrote.

use super::lane::{self, Encoder, Lane, TOPIC_ID_VERSION};
use super::pace::Draw;
use super::reader::{FetchOptions, Mode, Position, Reader};
use super::transaction::{self, Transaction};
use super::writer::Writer;
use super::{COORDINATOR, Engine, Pace, READER, Until, thread_cpu};
use crate::connections::{Link, Reactor};
use crate::measure::{AuditResult, Recorder};
use crate::scenario::{CatchUp, Consumers, KeyDraw, Producers, Scenario, SizeDraw};
use crate::target::{Offsets, TargetPartition, beginnings, ends};
use crate::{BenchError, audit};
use hdrhistogram::Histogram;
use odradek_base::Rng;
use odradek_client::producer::{Acks, wall_clock_ms};
use odradek_client::{ClientError, Cluster, Request};
use odradek_wire::messages::{FetchRequest, InitProducerIdRequest, ProduceRequest, ProducerId};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Time given at the end to what was due and to what is on the wire.
const DRAIN_MAX_NS: u64 = 10_000_000_000;
/// Time given to acknowledged records to become visible, and between two looks.
const VISIBLE_MAX: Duration = Duration::from_secs(5);
const VISIBLE_LOOK: Duration = Duration::from_millis(10);

/// Time given to consumers and the audit to read what was written.
const READ_MAX_NS: u64 = 600_000_000_000;

impl Engine {
    /// Connects what the scenario asks for. Readers follow with [`Engine::connect_readers`].
    pub fn prepare(scenario: &Scenario, cluster: &mut Cluster, partitions: &[TargetPartition]) -> Result<Self, BenchError> {
        let producers = scenario.producers.clone().unwrap_or_default();
        let run = (wall_clock_ms() as u64) << 16 ^ u64::from(std::process::id());
        let sizes = SizeDraw::new(&scenario.record.size);
        let keys = KeyDraw::new(scenario.record.keys);
        let count = sizes.fixed().map(|size| (producers.batch_bytes / size).max(1));
        let plain = matches!(keys, KeyDraw::None) && producers.codec() == odradek_wire::compress::Codec::None;
        let mut engine = Self {
            origin: Instant::now(),
            reactor: Reactor::new()?,
            ready: Vec::new(),
            encoder: Encoder {
                run,
                version: 0,
                client_id: cluster.config().client_id.clone(),
                acks: producers.acks(),
                codec: producers.codec(),
                filler: lane::filler(run, sizes.max(), scenario.record.random_ratio, scenario.record.payload_file.as_deref())?,
                uniform: sizes.fixed().zip(count).filter(|_| plain),
                scratch: Vec::new(),
            },
            lanes: Vec::new(),
            writers: Vec::new(),
            readers: Vec::new(),
            seats: Vec::new(),
            groups: Vec::new(),
            group_results: Vec::new(),
            _idle: Vec::new(),
            by_partition: vec![Vec::new(); partitions.len()],
            partitions_per_topic: scenario.partitions as usize,
            draw: Draw { keys, sizes, rng: Rng::with_seed(run) },
            batch_bytes: producers.batch_bytes,
            linger: (producers.linger_ms * 1e6) as u64,
            recorder: Recorder::new(Duration::ZERO, None),
            next_due: 0.0,
            paced_until: 0,
            turn: 0,
            waiting: 0,
            sent_bytes: 0,
            busy: 0,
            measured_from: (Instant::now(), thread_cpu()),
            late: Histogram::new(3).expect("three digits are allowed"),
            commits: Histogram::new(3).expect("three digits are allowed"),
        };
        if scenario.producers.is_some() {
            engine.connect_writers(&producers, cluster, partitions)?;
        }
        let leaders = leaders(partitions);
        for index in 0..scenario.idle_connections as usize {
            engine._idle.push(open(cluster, leaders[index % leaders.len()])?);
        }
        Ok(engine)
    }

    fn connect_writers(&mut self, producers: &Producers, cluster: &mut Cluster, partitions: &[TargetPartition]) -> Result<(), BenchError> {
        let leaders = leaders(partitions);
        self.encoder.version = version::<ProduceRequest>(cluster, partitions)?;
        if producers.transactional {
            leaders.iter().try_for_each(|&leader| transaction::check(cluster, leader))?;
            self.encoder.version = self.encoder.version.min(transaction::PRODUCE_VERSION);
        }
        let mut by_leader: BTreeMap<i32, Vec<usize>> = BTreeMap::new();
        // Every leader gets at least one connection.
        for index in 0..producers.count.max(leaders.len()) {
            let leader = leaders[index % leaders.len()];
            let writer = Writer::new(open(cluster, leader)?, producers.in_flight);
            self.reactor.add(&writer.link, index as u64)?;
            self.writers.push(writer);
            by_leader.entry(leader).or_default().push(index);
        }
        let mut identities = Vec::new();
        for index in 0..if producers.transactional { self.writers.len() } else { 0 } {
            let id = format!("odradek-bench-{:x}-{index}", self.encoder.run);
            let transaction = Transaction::open(id, cluster, (producers.transaction_ms * 1e6) as u64)?;
            self.reactor.add(&transaction.link, COORDINATOR | index as u64)?;
            identities.push(transaction.producer);
            self.writers[index].transaction = Some(transaction);
        }
        let plain = producers.idempotent && !producers.transactional;
        for _ in 0..if plain { self.writers.len() } else { 0 } {
            let request = InitProducerIdRequest::default()
                .with_transactional_id(None)
                .with_transaction_timeout_ms(60_000)
                .with_producer_id(ProducerId(-1))
                .with_producer_epoch(-1);
            let response = cluster.call_any(&request)?;
            ClientError::check(response.error_code, "InitProducerId", None)?;
            identities.push((response.producer_id.0, response.producer_epoch));
        }
        for (leader, own) in by_leader {
            let led: Vec<usize> = (0..partitions.len()).filter(|&p| partitions[p].leader == leader).collect();
            for turn in 0..led.len().max(own.len()) {
                let (writer, at) = (own[turn % own.len()], led[turn % led.len()]);
                let target = &partitions[at];
                let mut lane = Lane::new(&target.topic, target.topic_id, target.partition, writer as u32, identities.get(writer).copied());
                lane.transactional_id = self.writers[writer].transaction.as_ref().map(|t| t.id.clone());
                self.writers[writer].lanes.push(self.lanes.len());
                self.by_partition[at].push((writer, self.lanes.len()));
                self.lanes.push(lane);
            }
        }
        // Connections that begin with different partitions spread the first seconds.
        for (index, writer) in self.writers.iter_mut().enumerate() {
            writer.turn = index;
        }
        Ok(())
    }

    /// Writes so many bytes in closed loop and waits for the answers.
    pub fn preload(&mut self, bytes: u64) -> Result<(), BenchError> {
        self.drive(Pace::Closed, Until::Sent(bytes), &mut |_| ())?;
        self.finish_writing()?;
        let errors = self.recorder.step(0).errors;
        if let Some((error, count)) = errors.first_key_value() {
            return Err(BenchError::Broker(format!("preloading: {count} x {error}")));
        }
        self.encoder.run += 1;
        self.lanes.iter_mut().for_each(Lane::restart);
        Ok(())
    }

    /// Connects tail consumers and those that catch up.
    pub fn connect_readers(
        &mut self,
        scenario: &Scenario,
        cluster: &mut Cluster,
        partitions: &[TargetPartition],
        starts: &Offsets,
    ) -> Result<(), BenchError> {
        if let Some(consumers) = &scenario.consumers {
            let &Consumers { groups, count, max_wait_ms, min_bytes, max_bytes, partition_max_bytes, read_committed, .. } = consumers;
            let options = FetchOptions { max_wait_ms, min_bytes, max_bytes, partition_max_bytes, read_committed };
            for group in 0..groups {
                match consumers.group {
                    true => self.add_group(scenario, consumers, cluster, partitions, starts, group, options)?,
                    false => self.add_readers(cluster, partitions, starts, Mode::Tail, group, count, true, options)?,
                }
            }
            self.seat()?;
        }
        if let Some(c) = scenario.catch_up.clone() {
            let CatchUp { count, share, max_wait_ms, min_bytes, max_bytes, partition_max_bytes, .. } = c;
            let options = FetchOptions { max_wait_ms, min_bytes, max_bytes, partition_max_bytes, read_committed: false };
            let from = beginnings(cluster, partitions)?;
            if scenario.producers.is_none() && ends(cluster, partitions)? == from {
                return Err(BenchError::Arguments(
                    "the topics are empty: run a scenario that produces first, or give catch_up.preload_mb".to_owned(),
                ));
            }
            self.add_readers(cluster, partitions, &from, Mode::Loop, 0, count, share, options)?;
        }
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "one call for each kind of reader, each with all of it")]
    fn add_readers(
        &mut self,
        cluster: &mut Cluster,
        partitions: &[TargetPartition],
        from: &Offsets,
        mode: Mode,
        group: usize,
        count: usize,
        share: bool,
        options: FetchOptions,
    ) -> Result<(), BenchError> {
        let version = version::<FetchRequest>(cluster, partitions)?;
        let leaders = leaders(partitions);
        let count = count.max(leaders.len());
        for index in 0..count {
            let leader = leaders[index % leaders.len()];
            // Connections to this leader, and which of them this one is.
            let siblings = (0..count).filter(|i| leaders[i % leaders.len()] == leader).count();
            let rank = index / leaders.len();
            let led = partitions.iter().filter(|p| p.leader == leader).enumerate();
            let positions: Vec<Position> = led
                .filter(|(i, _)| !share || i % siblings == rank)
                .map(|(_, p)| {
                    let from = from.get(&p.key()).copied().unwrap_or(0);
                    Position::new(p, from, 0)
                })
                .collect();
            if positions.is_empty() {
                continue;
            }
            let mut reader = Reader::new(open(cluster, leader)?, leader, group, mode, positions, version, options);
            reader.free_since = self.now();
            self.reactor.add(&reader.link, READER | self.readers.len() as u64)?;
            self.readers.push(reader);
        }
        Ok(())
    }

    /// Sends what was due and waits for what is on the wire. What is not sent, and what is not answered, by the end of that counts.
    pub fn finish_writing(&mut self) -> Result<(), BenchError> {
        let deadline = self.now() + DRAIN_MAX_NS;
        self.drive(Pace::Silent, Until::Quiet(deadline), &mut |_| ())?;
        for writer in &mut self.writers {
            writer.give_up(&mut self.lanes, &mut self.recorder);
        }
        self.waiting = 0;
        let now = self.now();
        for _ in 0..self.writers.iter().map(Writer::unanswered).sum() {
            self.recorder.error(now, "NO_ANSWER".to_owned());
        }
        Ok(())
    }

    /// Reads what is left and says what became of every record. `starts` are the ends of the partitions when the run began.
    pub fn audit(&mut self, cluster: &mut Cluster, partitions: &[TargetPartition], starts: &Offsets) -> Result<AuditResult, BenchError> {
        let ends = self.visible_ends(cluster, partitions, starts)?;
        if !self.writers.is_empty() && !self.readers.iter().any(|r| r.mode == Mode::Tail) {
            let options =
                FetchOptions { max_wait_ms: 100, min_bytes: 1, max_bytes: 50 << 20, partition_max_bytes: 4 << 20, read_committed: false };
            self.add_readers(cluster, partitions, starts, Mode::Once, 0, 1, true, options)?;
        }
        self.settle_groups()?;
        for reader in &mut self.readers {
            for position in &mut reader.positions {
                position.end = ends.get(&(position.topic.clone(), position.partition)).copied().unwrap_or(0);
            }
        }
        let deadline = self.now() + READ_MAX_NS;
        self.drive(Pace::Silent, Until::Read(deadline), &mut |_| ())?;
        self.leave_groups()?;
        Ok(self.findings())
    }

    /// The ends of the partitions once everything acknowledged is below them, or when that takes too long. With acks=1 a record is
    /// acknowledged before consumers may see it: by Kafka when followers lack it, by Odradek when it is not flushed yet.
    fn visible_ends(&self, cluster: &mut Cluster, partitions: &[TargetPartition], starts: &Offsets) -> Result<Offsets, BenchError> {
        let mut owed = Offsets::new();
        for lane in self.lanes.iter().filter(|_| self.encoder.acks != Acks::None) {
            let key = (lane.topic.clone(), lane.partition);
            let start = starts.get(&key).copied().unwrap_or(0);
            *owed.entry(key).or_insert(start) += lane.acknowledged as i64;
        }
        let deadline = Instant::now() + VISIBLE_MAX;
        loop {
            let ends = ends(cluster, partitions)?;
            let visible = owed.iter().all(|(key, owed)| ends.get(key).is_some_and(|end| end >= owed));
            if visible || Instant::now() >= deadline {
                return Ok(ends);
            }
            std::thread::sleep(VISIBLE_LOOK);
        }
    }

    /// Reads everything that is there and checks it: for records of runs that are over. Gaps count as losses.
    pub fn audit_all(&mut self, cluster: &mut Cluster, partitions: &[TargetPartition]) -> Result<AuditResult, BenchError> {
        let from = beginnings(cluster, partitions)?;
        self.encoder.acks = Acks::None;
        let options =
            FetchOptions { max_wait_ms: 100, min_bytes: 1, max_bytes: 50 << 20, partition_max_bytes: 4 << 20, read_committed: false };
        self.add_readers(cluster, partitions, &from, Mode::Once, 0, 1, true, options)?;
        let mut found = self.audit(cluster, partitions, &from)?;
        found.lost += self.readers.iter().flat_map(|r| &r.positions).map(|p| p.audit.gaps(None)).sum::<u64>();
        Ok(found)
    }

    fn findings(&self) -> AuditResult {
        let mut total = AuditResult::default();
        let complete: Vec<&Reader> = self.readers.iter().filter(|r| r.mode != Mode::Loop).collect();
        let mut at: BTreeMap<(usize, &str, i32), &Position> = BTreeMap::new();
        for reader in &self.readers {
            for position in &reader.positions {
                audit::add(&mut total, &position.audit.found);
                if reader.mode == Mode::Loop {
                    // What other runs had acknowledged is not known; all of the preload was.
                    total.lost += position.audit.gaps(Some(self.encoder.run.wrapping_sub(1)));
                } else {
                    total.damaged += position.audit.foreign;
                    at.insert((reader.group, position.topic.as_str(), position.partition), position);
                }
            }
        }
        let groups = complete.iter().map(|r| r.group + 1).max().unwrap_or(0);
        for group in 0..groups {
            for lane in &self.lanes {
                // acks=0 promises nothing but order.
                let owed = if self.encoder.acks == Acks::None { 0 } else { lane.acknowledged };
                let seen = at.get(&(group, lane.topic.as_str(), lane.partition));
                total.lost += seen.map_or(owed, |p| p.audit.lost(self.encoder.run, lane.lane, owed, lane.failed));
            }
        }
        total
    }
}

pub fn leaders(partitions: &[TargetPartition]) -> Vec<i32> {
    let mut leaders: Vec<i32> = partitions.iter().map(|p| p.leader).collect();
    leaders.sort_unstable();
    leaders.dedup();
    leaders
}

/// The highest version that all leaders serve.
pub fn version<R: Request>(cluster: &mut Cluster, partitions: &[TargetPartition]) -> Result<i16, BenchError> {
    let cap = if partitions.iter().any(|p| p.topic_id.is_nil()) { TOPIC_ID_VERSION - 1 } else { i16::MAX };
    let mut version = i16::MAX;
    for leader in leaders(partitions) {
        version = version.min(cluster.connection(leader)?.version::<R>(cap)?);
    }
    Ok(version)
}

pub fn open(cluster: &Cluster, leader: i32) -> Result<Link, BenchError> {
    let broker =
        cluster.broker(leader).ok_or_else(|| BenchError::Arguments(format!("the metadata names no address of broker {leader}")))?;
    Link::open(&broker.host, broker.port)
}
