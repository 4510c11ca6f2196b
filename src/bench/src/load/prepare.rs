//! From a scenario and a cluster to threads with their connections.

use super::crew::{Crew, Threads};
use super::lane::{self, Encoder, Lane, TOPIC_ID_VERSION};
use super::pace::Draw;
use super::reader::{FetchOptions, Mode, Position, Reader};
use super::transaction::{self, Transaction};
use super::writer::Writer;
use super::{COORDINATOR, Engine, OwnUse, READER, Share};
use crate::BenchError;
use crate::connections::{Link, Reactor};
use crate::measure::Recorder;
use crate::scenario::{CatchUp, Consumers, KeyDraw, Producers, Scenario, SizeDraw};
use crate::target::{Offsets, TargetPartition, beginnings, ends};
use hdrhistogram::Histogram;
use odradek_base::Rng;
use odradek_client::producer::wall_clock_ms;
use odradek_client::{ClientError, Cluster, Request};
use odradek_wire::compress::Codec;
use odradek_wire::messages::{FetchRequest, InitProducerIdRequest, ProduceRequest, ProducerId};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

impl Crew {
    /// Connects what the scenario asks for, spread over the threads. Readers follow with [`Crew::connect_readers`].
    pub fn prepare(
        scenario: &Scenario,
        threads: &Threads,
        cluster: &mut Cluster,
        partitions: &[TargetPartition],
    ) -> Result<Self, BenchError> {
        let run = (wall_clock_ms() as u64) << 16 ^ u64::from(std::process::id());
        let abort = Arc::new(AtomicBool::new(false));
        let producers = scenario.producers.as_ref();
        let leaders = leaders(partitions);
        // Every leader gets at least one connection.
        let writers = producers.map_or(0, |p| p.count.max(leaders.len()));
        let mut engines = Vec::new();
        for thread in 0..threads.count() {
            let share = Share { thread, threads: threads.count(), writers };
            let mut engine = Engine::new(scenario, share, run, &cluster.config().client_id, partitions.len(), abort.clone())?;
            if let Some(producers) = producers {
                engine.connect_writers(producers, cluster, partitions)?;
            }
            engines.push(engine);
        }
        for index in 0..scenario.idle_connections as usize {
            engines[index % threads.count()].idle.push(open(cluster, leaders[index % leaders.len()])?);
        }
        Ok(Self::new(engines, threads.clone(), abort))
    }

    /// Connects tail consumers and those that catch up. `preloaded`: where what this run has written for the latter begins.
    pub fn connect_readers(
        &mut self,
        scenario: &Scenario,
        cluster: &mut Cluster,
        partitions: &[TargetPartition],
        starts: &Offsets,
        preloaded: Option<Offsets>,
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
            let from = match preloaded {
                Some(offsets) => offsets,
                None => beginnings(cluster, partitions)?,
            };
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
    pub fn add_readers(
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
            let thread = self.next_reading_thread();
            self.engines[thread].add_reader(reader)?;
        }
        Ok(())
    }
}

impl Engine {
    pub fn new(
        scenario: &Scenario,
        share: Share,
        run: u64,
        client_id: &str,
        partitions: usize,
        abort: Arc<AtomicBool>,
    ) -> Result<Self, BenchError> {
        let producers = scenario.producers.clone().unwrap_or_default();
        let sizes = SizeDraw::new(&scenario.record.size);
        let keys = KeyDraw::new(scenario.record.keys);
        let count = sizes.fixed().map(|size| (producers.batch_bytes / size).max(1));
        let plain = matches!(keys, KeyDraw::None) && producers.codec() == Codec::None;
        Ok(Self {
            share,
            abort,
            origin: Instant::now(),
            reactor: Reactor::new()?,
            ready: Vec::new(),
            encoder: Encoder {
                run,
                version: 0,
                client_id: client_id.to_owned(),
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
            idle: Vec::new(),
            by_partition: vec![Vec::new(); partitions],
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
            own: OwnUse::new(),
            commits: Histogram::new(3).expect("three digits are allowed"),
        })
    }

    /// Watches a connection that fetches.
    pub fn add_reader(&mut self, reader: Reader) -> Result<(), BenchError> {
        self.reactor.add(&reader.link, READER | self.readers.len() as u64)?;
        self.readers.push(reader);
        Ok(())
    }

    fn connect_writers(&mut self, producers: &Producers, cluster: &mut Cluster, partitions: &[TargetPartition]) -> Result<(), BenchError> {
        let leaders = leaders(partitions);
        self.encoder.version = version::<ProduceRequest>(cluster, partitions)?;
        if producers.transactional {
            leaders.iter().try_for_each(|&leader| transaction::check(cluster, leader))?;
            self.encoder.version = self.encoder.version.min(transaction::PRODUCE_VERSION);
        }
        let mut by_leader: BTreeMap<i32, Vec<usize>> = BTreeMap::new();
        for index in 0..self.share.writers {
            let leader = leaders[index % leaders.len()];
            by_leader.entry(leader).or_default().push(index);
            let Some(own) = self.share.own(index) else { continue };
            let mut writer = Writer::new(open(cluster, leader)?, producers.in_flight);
            writer.transaction = match producers.transactional {
                true => Some(self.register(format!("odradek-bench-{:x}-{index}", self.encoder.run), own, producers, cluster)?),
                false => None,
            };
            // Connections that begin with different partitions spread the first seconds.
            writer.turn = index;
            self.reactor.add(&writer.link, own as u64)?;
            self.writers.push(writer);
        }
        let mut identities = Vec::new();
        for writer in &self.writers {
            identities.push(match &writer.transaction {
                Some(transaction) => Some(transaction.producer),
                None if producers.idempotent => Some(new_producer(cluster)?),
                None => None,
            });
        }
        for (leader, writers) in by_leader {
            let led: Vec<usize> = (0..partitions.len()).filter(|&p| partitions[p].leader == leader).collect();
            for turn in 0..led.len().max(writers.len()) {
                let (writer, at) = (writers[turn % writers.len()], led[turn % led.len()]);
                let own = self.share.own(writer);
                self.by_partition[at].push(own.map(|own| (own, self.lanes.len())));
                let Some(own) = own else { continue };
                let target = &partitions[at];
                let mut lane = Lane::new(&target.topic, target.topic_id, target.partition, writer as u32, identities[own]);
                lane.transactional_id = self.writers[own].transaction.as_ref().map(|t| t.id.clone());
                self.writers[own].lanes.push(self.lanes.len());
                self.lanes.push(lane);
            }
        }
        Ok(())
    }

    /// A transactional producer of one of this thread's writers.
    fn register(&mut self, id: String, writer: usize, producers: &Producers, cluster: &mut Cluster) -> Result<Transaction, BenchError> {
        let transaction = Transaction::open(id, cluster, (producers.transaction_ms * 1e6) as u64)?;
        self.reactor.add(&transaction.link, COORDINATOR | writer as u64)?;
        Ok(transaction)
    }
}

/// The identity of an idempotent producer.
fn new_producer(cluster: &mut Cluster) -> Result<(i64, i16), BenchError> {
    let request = InitProducerIdRequest::default()
        .with_transactional_id(None)
        .with_transaction_timeout_ms(60_000)
        .with_producer_id(ProducerId(-1))
        .with_producer_epoch(-1);
    let deadline = Instant::now() + cluster.config().operation_timeout;
    loop {
        let response = cluster.call_any(&request)?;
        match ClientError::check(response.error_code, "InitProducerId", None) {
            Ok(()) => return Ok((response.producer_id.0, response.producer_epoch)),
            // Kafka gets its first block of ids from the controller (COORDINATOR_LOAD_IN_PROGRESS).
            Err(error) if error.is_retriable() && Instant::now() < deadline => cluster.pause()?,
            Err(error) => return Err(error.into()),
        }
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
