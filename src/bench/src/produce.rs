//! `bench produce`: Produce requests in open or closed loop.

use crate::audit;
use crate::connections::{Link, wait};
use crate::payload::{self, HEADER_BYTES, Stamp};
use crate::report::{self, Counts, Latencies};
use crate::target::{TargetArgs, TargetPartition};
use crate::{BenchError, pin};
use bytes::Bytes;
use clap::Args;
use odradek_base::Timestamp;
use odradek_client::producer::{Acks, wall_clock_ms};
use odradek_client::{Cluster, code_name, topic_name};
use odradek_wire::ErrorCode;
use odradek_wire::compress::Codec;
use odradek_wire::messages::produce_request::{PartitionProduceData, ProduceRequest, TopicProduceData};
use odradek_wire::messages::produce_response::ProduceResponse;
use odradek_wire::records::{BatchBuilder, RecordReader};
use odradek_wire::{api, decode_response, encode_request, response_header};
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// Requests that may wait for a connection in open loop; beyond it they count as not sent.
const BACKLOG_MAX: usize = 1_000_000;
/// Time given to requests on the wire at the end.
const DRAIN_MAX: Duration = Duration::from_secs(10);
/// Closer to the next send than this, the loop does not sleep: a timer would be late.
const SPIN: Duration = Duration::from_micros(100);
/// Longest sleep.
const TICK: Duration = Duration::from_millis(10);
/// Produce version from which topics are named by id.
const TOPIC_ID_VERSION: i16 = 13;
/// Positions in a record batch: CRC, first byte it covers, base and maximal timestamp.
const CRC_AT: usize = 17;
const CRC_FROM: usize = 21;
const BASE_TIMESTAMP_AT: usize = 27;
const MAX_TIMESTAMP_AT: usize = 35;

#[derive(Debug, Clone, Args)]
pub struct ProduceArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// Bytes of a record's value, at least 28.
    #[arg(long, default_value_t = 1024)]
    record_size: usize,
    /// Bytes of values in a batch; one batch per request. One record if left out.
    #[arg(long)]
    batch_bytes: Option<usize>,
    #[arg(long, short = 'c', default_value_t = 8)]
    connections: usize,
    /// Unanswered requests per connection.
    #[arg(long, default_value_t = 5)]
    in_flight: usize,
    /// 0, 1 or all.
    #[arg(long, default_value = "all")]
    acks: String,
    /// Requests per second over all connections: open loop, latency from the intended moment.
    #[arg(long, default_value_t = 1000.0, conflicts_with = "saturate")]
    rate: f64,
    /// Closed loop: as many requests as are answered.
    #[arg(long)]
    saturate: bool,
    /// Seconds before the measurement.
    #[arg(long, default_value_t = 2.0)]
    warm_up: f64,
    /// Seconds of measurement.
    #[arg(long, short = 'd', default_value_t = 10.0)]
    duration: f64,
    /// Pin the load thread to this core.
    #[arg(long)]
    pin_core: Option<usize>,
    /// Read everything back afterwards and check it.
    #[arg(long)]
    audit: bool,
    #[arg(long)]
    json: bool,
}

/// A request template for one partition on one connection.
struct Lane {
    topic: String,
    partition: i32,
    lane: u32,
    frame: Vec<u8>,
    /// Where the batch begins and how long it is.
    batch_at: usize,
    batch_bytes: usize,
    /// Where each value begins, within the batch.
    values_at: Vec<usize>,
    next_sequence: u64,
    /// Records acknowledged; with one lane per connection and answers in order, exactly the first so many that did not fail.
    acknowledged: u64,
    failed: bool,
}

/// A request on the wire.
struct Sent {
    due: Instant,
    lane: usize,
}

struct Worker {
    link: Link,
    lanes: Vec<usize>,
    next_lane: usize,
    backlog: VecDeque<Instant>,
    in_flight: VecDeque<Sent>,
}

struct Run<'a> {
    args: &'a ProduceArgs,
    acks: Acks,
    version: i16,
    run: u64,
    filler: Vec<u8>,
    lanes: Vec<Lane>,
    workers: Vec<Worker>,
    counts: Counts,
    latencies: Latencies,
    measure_from: Instant,
    measure_to: Instant,
}

pub fn run(args: &ProduceArgs) -> Result<bool, BenchError> {
    if args.record_size < HEADER_BYTES
        || args.connections == 0
        || args.in_flight == 0
        || !(args.rate > 0.0 && args.duration > 0.0 && args.warm_up >= 0.0)
    {
        return Err(BenchError::Arguments(format!(
            "--record-size must be at least {HEADER_BYTES}, --connections, --in-flight, --rate and --duration above 0"
        )));
    }
    let acks = Acks::parse(&args.acks).map_err(|e| BenchError::Arguments(e.to_string()))?;
    let (mut cluster, partitions) = args.target.open()?;
    let starts = if args.audit { audit::ends(&mut cluster, &partitions)? } else { BTreeMap::new() };
    pin(args.pin_core)?;
    let mut run = Run::prepare(args, acks, &mut cluster, &partitions)?;
    run.drive()?;
    let offered = (!args.saturate).then_some(args.rate);
    let clean = report::print("produce", args.json, offered, Duration::from_secs_f64(args.duration), &run.counts, &run.latencies);
    if !args.audit {
        return Ok(clean);
    }
    let mut expected = BTreeMap::new();
    for lane in &run.lanes {
        expected
            .insert((lane.topic.clone(), lane.partition, lane.lane), if acks == Acks::None || lane.failed { 0 } else { lane.acknowledged });
    }
    Ok(audit::check(&mut cluster, &partitions, &starts, Some((run.run, &expected)), args.json)? && clean)
}

impl<'a> Run<'a> {
    fn prepare(args: &'a ProduceArgs, acks: Acks, cluster: &mut Cluster, partitions: &[TargetPartition]) -> Result<Self, BenchError> {
        let run = (wall_clock_ms() as u64) << 16 ^ u64::from(std::process::id());
        let filler = payload::filler(run, args.record_size);
        let mut leaders: Vec<i32> = partitions.iter().map(|p| p.leader).collect();
        leaders.sort_unstable();
        leaders.dedup();
        let ids: BTreeMap<&str, Uuid> =
            partitions.iter().map(|p| (p.topic.as_str(), cluster.topic(&p.topic).map_or(Uuid::nil(), |t| t.id))).collect();
        let cap = if ids.values().any(Uuid::is_nil) { TOPIC_ID_VERSION - 1 } else { i16::MAX };
        let mut version = i16::MAX;
        for &leader in &leaders {
            version = version.min(cluster.connection(leader)?.version::<ProduceRequest>(cap)?);
        }
        // Every leader gets at least one connection.
        let connections = args.connections.max(leaders.len());
        let mut by_leader: BTreeMap<i32, Vec<usize>> = BTreeMap::new();
        let mut workers = Vec::with_capacity(connections);
        for index in 0..connections {
            let leader = leaders[index % leaders.len()];
            let broker =
                cluster.broker(leader).ok_or_else(|| BenchError::Arguments(format!("the metadata names no address of broker {leader}")))?;
            let link = Link::open(&broker.host, broker.port)?;
            workers.push(Worker { link, lanes: Vec::new(), next_lane: 0, backlog: VecDeque::new(), in_flight: VecDeque::new() });
            by_leader.entry(leader).or_default().push(index);
        }
        let mut lanes = Vec::new();
        for (leader, own) in by_leader {
            let led: Vec<&TargetPartition> = partitions.iter().filter(|p| p.leader == leader).collect();
            for turn in 0..led.len().max(own.len()) {
                let (worker, target) = (own[turn % own.len()], led[turn % led.len()]);
                workers[worker].lanes.push(lanes.len());
                let id = ids.get(target.topic.as_str()).copied().unwrap_or_default();
                lanes.push(Lane::new(args, acks, version, target, id, worker as u32, &filler)?);
            }
        }
        let start = Instant::now();
        let measure_from = start + Duration::from_secs_f64(args.warm_up);
        let measure_to = measure_from + Duration::from_secs_f64(args.duration);
        Ok(Self {
            args,
            acks,
            version,
            run,
            filler,
            lanes,
            workers,
            counts: Counts::default(),
            latencies: Latencies::new(),
            measure_from,
            measure_to,
        })
    }

    fn drive(&mut self) -> Result<(), BenchError> {
        let start = Instant::now();
        let interval = Duration::from_secs_f64(1.0 / self.args.rate);
        let (mut due, mut worker) = (start, 0);
        loop {
            let now = Instant::now();
            if now >= self.measure_to {
                break;
            }
            if !self.args.saturate {
                while due <= now {
                    self.enqueue(worker, due);
                    worker = (worker + 1) % self.workers.len();
                    due += interval;
                }
            }
            for index in 0..self.workers.len() {
                self.pump(index, now)?;
            }
            let sleep = match self.args.saturate {
                true => TICK,
                false => due.saturating_duration_since(Instant::now()),
            };
            let sleep = if sleep < SPIN { Duration::ZERO } else { (sleep - SPIN / 2).min(TICK) };
            let idle_saturated = self.args.saturate && self.acks == Acks::None;
            wait(self.workers.iter().map(|w| &w.link), if idle_saturated { Duration::ZERO } else { sleep });
        }
        let in_window = |due: &Instant| *due >= self.measure_from;
        self.counts.unsent += self.workers.iter().flat_map(|w| w.backlog.iter().filter(|d| in_window(d))).count() as u64;
        let deadline = Instant::now() + DRAIN_MAX;
        while self.workers.iter().any(|w| !w.in_flight.is_empty() || w.link.wants_write()) && Instant::now() < deadline {
            for index in 0..self.workers.len() {
                self.workers[index].link.write()?;
                self.receive(index)?;
            }
            wait(self.workers.iter().map(|w| &w.link), TICK);
        }
        let lost: usize = self.workers.iter().map(|w| w.in_flight.len()).sum();
        if lost > 0 {
            *self.counts.errors.entry("NO_ANSWER".to_owned()).or_default() += lost as u64;
        }
        Ok(())
    }

    fn enqueue(&mut self, worker: usize, due: Instant) {
        let backlog = &mut self.workers[worker].backlog;
        if backlog.len() < BACKLOG_MAX {
            backlog.push_back(due);
        } else {
            self.counts.unsent += 1;
        }
    }

    fn pump(&mut self, index: usize, now: Instant) -> Result<(), BenchError> {
        self.workers[index].link.write()?;
        self.receive(index)?;
        loop {
            let worker = &mut self.workers[index];
            // With acks=0 nothing is answered: the socket's buffer is the only brake.
            let full = if self.acks == Acks::None { worker.link.wants_write() } else { worker.in_flight.len() >= self.args.in_flight };
            if full {
                return Ok(());
            }
            let due = match self.args.saturate {
                true => now,
                false => match worker.backlog.pop_front() {
                    Some(due) => due,
                    None => return Ok(()),
                },
            };
            let lane = worker.lanes[worker.next_lane];
            worker.next_lane = (worker.next_lane + 1) % worker.lanes.len();
            let template = &mut self.lanes[lane];
            template.stamp(self.run, &self.filler);
            let sent_at = Instant::now();
            worker.link.send(&template.frame)?;
            if self.acks == Acks::None {
                self.count(lane, due, sent_at);
                if self.args.saturate {
                    return Ok(());
                }
            } else {
                let due = if self.args.saturate { sent_at } else { due };
                worker.in_flight.push_back(Sent { due, lane });
            }
        }
    }

    fn receive(&mut self, index: usize) -> Result<(), BenchError> {
        while let Some(frame) = self.workers[index].link.receive()? {
            let now = Instant::now();
            let Some(sent) = self.workers[index].in_flight.pop_front() else {
                return Err(self.workers[index].link.failed("an answer nobody asked for".to_owned()));
            };
            match self.error_of(frame) {
                Ok(None) => {
                    if !self.lanes[sent.lane].failed {
                        self.lanes[sent.lane].acknowledged += self.lanes[sent.lane].values_at.len() as u64;
                    }
                    self.count(sent.lane, sent.due, now);
                }
                Ok(Some(error)) => {
                    self.lanes[sent.lane].failed = true;
                    *self.counts.errors.entry(code_name(error)).or_default() += 1;
                }
                Err(detail) => return Err(self.workers[index].link.failed(detail)),
            }
        }
        Ok(())
    }

    fn count(&mut self, lane: usize, due: Instant, done: Instant) {
        if due >= self.measure_from {
            self.latencies.record(done.saturating_duration_since(due));
        }
        if done >= self.measure_from && done < self.measure_to {
            let lane = &self.lanes[lane];
            self.counts.requests += 1;
            self.counts.records += lane.values_at.len() as u64;
            self.counts.bytes += lane.batch_bytes as u64;
        }
    }

    fn error_of(&self, frame: Bytes) -> Result<Option<ErrorCode>, String> {
        let (_, mut body) = response_header(api::PRODUCE, self.version, frame).map_err(|e| e.to_string())?;
        let response: ProduceResponse = decode_response(api::PRODUCE, &mut body, self.version).map_err(|e| e.to_string())?;
        Ok(response.responses.iter().flat_map(|t| &t.partition_responses).find_map(|p| ErrorCode::try_from_code(p.error_code)))
    }
}

impl Lane {
    fn new(
        args: &ProduceArgs,
        acks: Acks,
        version: i16,
        target: &TargetPartition,
        topic_id: Uuid,
        lane: u32,
        filler: &[u8],
    ) -> Result<Self, BenchError> {
        let records = (args.batch_bytes.unwrap_or(args.record_size) / args.record_size).max(1);
        let mut builder = BatchBuilder::new(Codec::None);
        for _ in 0..records {
            builder.append(Timestamp(wall_clock_ms()), None, Some(&filler[..args.record_size]), &[]);
        }
        let batch = builder.build();
        let values_at = RecordReader::new(&batch, batch.len())
            .and_then(|reader| {
                reader
                    .map(|r| r.map(|r| r.value.map_or(0, |v| v.as_ptr() as usize - batch.as_ptr() as usize)))
                    .collect::<Result<Vec<_>, _>>()
            })
            .map_err(|e| BenchError::Arguments(format!("the batch template: {e}")))?;
        let named = version < TOPIC_ID_VERSION;
        let topic = TopicProduceData::default()
            .with_name(topic_name(if named { &target.topic } else { "" }))
            .with_topic_id(if named { Uuid::nil() } else { topic_id })
            .with_partition_data(vec![PartitionProduceData::default().with_index(target.partition).with_records(Some(batch.clone()))]);
        let request = ProduceRequest::default().with_acks(acks.code()).with_timeout_ms(30_000).with_topic_data(vec![topic]);
        let frame = encode_request(api::PRODUCE, version, 0, Some("odradek-bench"), &request)
            .map_err(|e| BenchError::Arguments(format!("the request template: {e}")))?;
        let batch_at = frame
            .windows(batch.len())
            .position(|w| w == &batch[..])
            .ok_or_else(|| BenchError::Arguments("the request template lacks its batch".to_owned()))?;
        Ok(Self {
            topic: target.topic.clone(),
            partition: target.partition,
            lane,
            frame: frame.to_vec(),
            batch_at,
            batch_bytes: batch.len(),
            values_at,
            next_sequence: 0,
            acknowledged: 0,
            failed: false,
        })
    }

    /// Puts fresh sequences and timestamps into the template and seals it.
    fn stamp(&mut self, run: u64, filler: &[u8]) {
        let batch = &mut self.frame[self.batch_at..self.batch_at + self.batch_bytes];
        let now = wall_clock_ms().to_be_bytes();
        batch[BASE_TIMESTAMP_AT..BASE_TIMESTAMP_AT + 8].copy_from_slice(&now);
        batch[MAX_TIMESTAMP_AT..MAX_TIMESTAMP_AT + 8].copy_from_slice(&now);
        // All values of a lane have one size; the last ends before the record's header count.
        for &at in &self.values_at {
            let stamp = Stamp { run, partition: self.partition, lane: self.lane, sequence: self.next_sequence };
            payload::write(&mut batch[at..at + filler.len()], stamp, filler);
            self.next_sequence += 1;
        }
        let crc = crc32c::crc32c(&batch[CRC_FROM..]);
        batch[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Command, FromArgMatches};
    use odradek_wire::batch::BatchView;

    #[test]
    fn stamped_templates_are_valid_batches() {
        let matches = ProduceArgs::augment_args(Command::new("produce")).get_matches_from([
            "produce",
            "--record-size",
            "100",
            "--batch-bytes",
            "350",
        ]);
        let args = ProduceArgs::from_arg_matches(&matches).unwrap();
        let target = TargetPartition { topic: "t".into(), partition: 4, leader: 0 };
        let filler = payload::filler(9, 100);
        let mut lane = Lane::new(&args, Acks::All, 9, &target, Uuid::nil(), 2, &filler).unwrap();
        for round in 0..2 {
            lane.stamp(9, &filler);
            let batch = Bytes::copy_from_slice(&lane.frame[lane.batch_at..lane.batch_at + lane.batch_bytes]);
            assert!(BatchView::parse(&batch).unwrap().crc_valid());
            let stamps: Vec<Stamp> =
                RecordReader::new(&batch, 10_000).unwrap().map(|r| payload::read(&r.unwrap().value.unwrap()).unwrap()).collect();
            let expected: Vec<Stamp> = (0..3).map(|i| Stamp { run: 9, partition: 4, lane: 2, sequence: round * 3 + i }).collect();
            assert_eq!(stamps, expected);
        }
    }
}
