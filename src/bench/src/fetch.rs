//! `bench fetch`: Fetch requests in closed loop over many connections.

use crate::connections::{Link, wait};
use crate::report::{self, Counts, Latencies};
use crate::target::{TargetArgs, TargetPartition};
use crate::{BenchError, audit, pin};
use clap::Args;
use odradek_client::admin::OffsetSpec;
use odradek_client::consumer::IsolationLevel;
use odradek_client::{Cluster, code_name, topic_name};
use odradek_wire::ErrorCode;
use odradek_wire::batch::batches;
use odradek_wire::messages::BrokerId;
use odradek_wire::messages::fetch_request::{FetchPartition, FetchRequest, FetchTopic};
use odradek_wire::messages::fetch_response::FetchResponse;
use odradek_wire::{api, decode_response, encode_request, response_header};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use uuid::Uuid;

const TICK: Duration = Duration::from_millis(10);
const TOPIC_ID_VERSION: i16 = 13;

#[derive(Debug, Clone, Args)]
pub struct FetchArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// Connections; each reads all partitions of its broker (with --share, its part of them).
    #[arg(long, short = 'c', default_value_t = 1)]
    connections: usize,
    /// Divide the partitions among the connections instead of reading all on each.
    #[arg(long)]
    share: bool,
    /// Start at the end and read only what is written meanwhile; otherwise from the beginning, again and again.
    #[arg(long)]
    tail: bool,
    /// Bytes of one response.
    #[arg(long, default_value_t = 50 * 1024 * 1024)]
    max_bytes: i32,
    /// Bytes of one partition in a response.
    #[arg(long, default_value_t = 1024 * 1024)]
    partition_max_bytes: i32,
    #[arg(long, default_value_t = 1)]
    min_bytes: i32,
    /// Longest wait of the broker for min-bytes, in milliseconds.
    #[arg(long, default_value_t = 500)]
    max_wait: i32,
    /// Seconds before the measurement.
    #[arg(long, default_value_t = 2.0)]
    warm_up: f64,
    /// Seconds of measurement.
    #[arg(long, short = 'd', default_value_t = 10.0)]
    duration: f64,
    /// Pin the load thread to this core.
    #[arg(long)]
    pin_core: Option<usize>,
    #[arg(long)]
    json: bool,
}

/// A partition as one connection reads it.
struct Position {
    topic: String,
    topic_id: Uuid,
    partition: i32,
    from: i64,
    offset: i64,
}

struct Worker {
    link: Link,
    positions: Vec<Position>,
    sent: Option<Instant>,
}

pub fn run(args: &FetchArgs) -> Result<bool, BenchError> {
    if args.connections == 0 || !(args.duration > 0.0 && args.warm_up >= 0.0) {
        return Err(BenchError::Arguments("--connections and --duration must be above 0".to_owned()));
    }
    let (mut cluster, partitions) = args.target.open()?;
    pin(args.pin_core)?;
    let (mut workers, version) = prepare(args, &mut cluster, &partitions)?;
    let measure_from = Instant::now() + Duration::from_secs_f64(args.warm_up);
    let measure_to = measure_from + Duration::from_secs_f64(args.duration);
    let (mut counts, mut latencies) = (Counts::default(), Latencies::new());
    loop {
        let now = Instant::now();
        if now >= measure_to {
            break;
        }
        for worker in &mut workers {
            worker.link.write()?;
            if let Some(frame) = worker.link.receive()? {
                let done = Instant::now();
                let (_, mut body) = response_header(api::FETCH, version, frame).map_err(|e| worker.link.failed(e.to_string()))?;
                let response: FetchResponse =
                    decode_response(api::FETCH, &mut body, version).map_err(|e| worker.link.failed(e.to_string()))?;
                let taken = take(&mut worker.positions, response, args.tail, &mut counts.errors);
                let sent = worker.sent.take();
                if done >= measure_from {
                    counts.requests += 1;
                    counts.records += taken.records;
                    counts.bytes += taken.bytes;
                    if let Some(sent) = sent.filter(|s| *s >= measure_from && taken.bytes > 0) {
                        latencies.record(done - sent);
                    }
                }
            }
            if worker.sent.is_none() {
                let frame = request(args, version, &mut worker.positions)?;
                worker.link.send(&frame)?;
                worker.sent = Some(Instant::now());
            }
        }
        wait(workers.iter().map(|w| &w.link), TICK);
    }
    Ok(report::print("fetch", args.json, None, Duration::from_secs_f64(args.duration), &counts, &latencies))
}

fn prepare(args: &FetchArgs, cluster: &mut Cluster, partitions: &[TargetPartition]) -> Result<(Vec<Worker>, i16), BenchError> {
    let spec = if args.tail { OffsetSpec::Latest } else { OffsetSpec::Earliest };
    let wanted: Vec<(String, i32, OffsetSpec)> = partitions.iter().map(|p| (p.topic.clone(), p.partition, spec)).collect();
    let mut starts = BTreeMap::new();
    for (partition, result) in cluster.admin().list_offsets(&wanted, IsolationLevel::ReadUncommitted)? {
        starts.insert(partition, result?.offset);
    }
    let ends = audit::ends(cluster, partitions)?;
    if !args.tail && starts.iter().all(|(p, start)| ends.get(p).is_none_or(|end| end <= start)) {
        return Err(BenchError::Arguments("the topic is empty: run odradek bench produce first, or give --tail".to_owned()));
    }
    let mut leaders: Vec<i32> = partitions.iter().map(|p| p.leader).collect();
    leaders.sort_unstable();
    leaders.dedup();
    let ids: BTreeMap<&str, Uuid> =
        partitions.iter().map(|p| (p.topic.as_str(), cluster.topic(&p.topic).map_or(Uuid::nil(), |t| t.id))).collect();
    let cap = if ids.values().any(Uuid::is_nil) { TOPIC_ID_VERSION - 1 } else { i16::MAX };
    let mut version = i16::MAX;
    for &leader in &leaders {
        version = version.min(cluster.connection(leader)?.version::<FetchRequest>(cap)?);
    }
    let connections = args.connections.max(leaders.len());
    let mut workers = Vec::new();
    for index in 0..connections {
        let leader = leaders[index % leaders.len()];
        let broker =
            cluster.broker(leader).ok_or_else(|| BenchError::Arguments(format!("the metadata names no address of broker {leader}")))?;
        let link = Link::open(&broker.host, broker.port)?;
        // Connections of this leader, and which of them this one is.
        let siblings = (0..connections).filter(|i| leaders[i % leaders.len()] == leader).count();
        let rank = index / leaders.len();
        let led = partitions.iter().filter(|p| p.leader == leader).enumerate();
        let positions: Vec<Position> = led
            .filter(|(i, _)| !args.share || i % siblings == rank)
            .map(|(_, p)| {
                let from = starts.get(&(p.topic.clone(), p.partition)).copied().unwrap_or(0);
                let topic_id = ids.get(p.topic.as_str()).copied().unwrap_or_default();
                Position { topic: p.topic.clone(), topic_id, partition: p.partition, from, offset: from }
            })
            .collect();
        if !positions.is_empty() {
            workers.push(Worker { link, positions, sent: None });
        }
    }
    Ok((workers, version))
}

fn request(args: &FetchArgs, version: i16, positions: &mut [Position]) -> Result<bytes::Bytes, BenchError> {
    // The first partitions of a response get its bytes: take turns.
    positions.rotate_left(1);
    let mut topics: Vec<FetchTopic> = Vec::new();
    for p in positions.iter() {
        let partition = FetchPartition::default()
            .with_partition(p.partition)
            .with_current_leader_epoch(-1)
            .with_fetch_offset(p.offset)
            .with_last_fetched_epoch(-1)
            .with_log_start_offset(-1)
            .with_partition_max_bytes(args.partition_max_bytes);
        let same = |t: &FetchTopic| if version >= TOPIC_ID_VERSION { t.topic_id == p.topic_id } else { *t.topic.0 == *p.topic };
        match topics.iter_mut().find(|t| same(t)) {
            Some(topic) => topic.partitions.push(partition),
            None if version >= TOPIC_ID_VERSION => {
                topics.push(FetchTopic::default().with_topic_id(p.topic_id).with_partitions(vec![partition]));
            }
            None => topics.push(FetchTopic::default().with_topic(topic_name(&p.topic)).with_partitions(vec![partition])),
        }
    }
    let request = FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(args.max_wait)
        .with_min_bytes(args.min_bytes)
        .with_max_bytes(args.max_bytes)
        .with_session_epoch(-1)
        .with_topics(topics);
    encode_request(api::FETCH, version, 0, Some("odradek-bench"), &request).map_err(|e| BenchError::Arguments(format!("the request: {e}")))
}

/// What a response brought.
#[derive(Debug, Default, PartialEq, Eq)]
struct Taken {
    records: u64,
    bytes: u64,
}

/// Counts a response and moves the positions; at the end of a partition back to its beginning, unless only the tail is read.
fn take(positions: &mut [Position], response: FetchResponse, tail: bool, errors: &mut BTreeMap<String, u64>) -> Taken {
    let mut taken = Taken::default();
    let mut fail = |code: i16| {
        if let Some(error) = ErrorCode::try_from_code(code) {
            *errors.entry(code_name(error)).or_default() += 1;
        }
    };
    fail(response.error_code);
    for topic in response.responses {
        for data in topic.partitions {
            fail(data.error_code);
            let of = |p: &&mut Position| {
                p.partition == data.partition_index
                    && (*p.topic == *topic.topic.0 || topic.topic.0.is_empty() && p.topic_id == topic.topic_id)
            };
            let Some(position) = positions.iter_mut().find(of) else { continue };
            for batch in batches(data.records.as_deref().unwrap_or_default()) {
                // The last one may be cut by the size limits.
                let Ok(view) = batch else { break };
                taken.records += view.record_count().max(0) as u64;
                taken.bytes += view.total_bytes() as u64;
                position.offset = view.last_offset().get() + 1;
            }
            if !tail && position.offset >= data.high_watermark {
                position.offset = position.from;
            }
        }
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use odradek_base::{Offset, Timestamp};
    use odradek_wire::compress::Codec;
    use odradek_wire::messages::fetch_response::{FetchableTopicResponse, PartitionData};
    use odradek_wire::records::BatchBuilder;

    #[test]
    fn whole_batches_count_and_the_end_wraps_around() {
        let batch = |base: i64| {
            let mut builder = BatchBuilder::new(Codec::None).base_offset(Offset(base));
            builder.append(Timestamp(1), None, Some(b"v"), &[]);
            builder.append(Timestamp(1), None, Some(b"w"), &[]);
            builder.build()
        };
        let whole = [&batch(0)[..], &batch(2)].concat();
        let size = batch(0).len() as u64;
        let response = |cut: usize| {
            let data = PartitionData::default()
                .with_partition_index(1)
                .with_high_watermark(4)
                .with_records(Some(Bytes::copy_from_slice(&whole[..whole.len() - cut])));
            FetchResponse::default()
                .with_responses(vec![FetchableTopicResponse::default().with_topic(topic_name("t")).with_partitions(vec![data])])
        };
        let mut positions = [Position { topic: "t".into(), topic_id: Uuid::nil(), partition: 1, from: 0, offset: 0 }];
        let mut errors = BTreeMap::new();
        assert_eq!(take(&mut positions, response(1), false, &mut errors), Taken { records: 2, bytes: size });
        assert_eq!(positions[0].offset, 2);
        assert_eq!(take(&mut positions, response(0), true, &mut errors), Taken { records: 4, bytes: 2 * size });
        assert_eq!(positions[0].offset, 4);
        take(&mut positions, response(0), false, &mut errors);
        assert_eq!(positions[0].offset, 0);
        assert!(errors.is_empty());
    }
}
