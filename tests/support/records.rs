//! Batches, and Produce and Fetch requests that carry them.

use bytes::Bytes;
use odradek_base::{ProducerEpoch, ProducerId, Timestamp};
use odradek_client::{Cluster, Connection, ConsumerRecord, Request, decode_batches, topic_name};
use odradek_wire::compress::Codec;
use odradek_wire::messages::fetch_request::{FetchPartition, FetchRequest, FetchTopic};
use odradek_wire::messages::fetch_response::{FetchResponse, PartitionData};
use odradek_wire::messages::produce_request::{PartitionProduceData, ProduceRequest, TopicProduceData};
use odradek_wire::messages::produce_response::{PartitionProduceResponse, ProduceResponse};
use odradek_wire::records::BatchBuilder;

/// The last versions in which topics are named.
pub const PRODUCE_NAMED: i16 = 12;
pub const FETCH_NAMED: i16 = 12;
pub const CODECS: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

/// Now, in milliseconds since the Unix epoch.
pub fn now() -> i64 {
    odradek_client::producer::wall_clock_ms()
}

/// One batch of values without keys.
pub fn batch<V: AsRef<[u8]>>(values: &[V]) -> Bytes {
    batch_with(Codec::None, values, |builder| builder)
}

/// One batch, configured by the test.
pub fn batch_with<V: AsRef<[u8]>>(codec: Codec, values: &[V], configure: impl Fn(BatchBuilder) -> BatchBuilder) -> Bytes {
    let mut builder = configure(BatchBuilder::new(codec));
    let timestamp = Timestamp(now());
    for value in values {
        builder.append(timestamp, None, Some(value.as_ref()), &[]);
    }
    builder.build()
}

/// One batch of an idempotent producer.
pub fn idempotent_batch<V: AsRef<[u8]>>(values: &[V], (producer, epoch): (i64, i16), sequence: i32) -> Bytes {
    batch_with(Codec::None, values, |b| b.producer(ProducerId(producer), ProducerEpoch(epoch), sequence))
}

/// A Produce request by topic name.
pub fn produce_request(acks: i16, topic: &str, batches: &[(i32, Bytes)]) -> ProduceRequest {
    let partitions =
        batches.iter().map(|(index, records)| PartitionProduceData::default().with_index(*index).with_records(Some(records.clone())));
    let topic = TopicProduceData::default().with_name(topic_name(topic)).with_partition_data(partitions.collect());
    ProduceRequest::default().with_acks(acks).with_timeout_ms(30_000).with_topic_data(vec![topic])
}

/// The answers per partition of a response about one topic.
pub fn produced(response: ProduceResponse) -> Vec<PartitionProduceResponse> {
    assert_eq!(response.responses.len(), 1, "one topic was asked for");
    response.responses.into_iter().flat_map(|topic| topic.partition_responses).collect()
}

/// Produces one batch to the leader of its partition and waits for the answer.
pub fn produce(cluster: &mut Cluster, topic: &str, partition: i32, acks: i16, records: Bytes) -> PartitionProduceResponse {
    let connection = leader(cluster, topic, partition);
    let response = connection.call_at(&produce_request(acks, topic, &[(partition, records)]), PRODUCE_NAMED).expect("an answer");
    produced(response).pop().expect("one partition")
}

/// Produces one batch that must be taken; its first offset.
#[track_caller]
pub fn produce_ok(cluster: &mut Cluster, topic: &str, partition: i32, records: Bytes) -> i64 {
    let answer = produce(cluster, topic, partition, -1, records);
    assert_eq!(answer.error_code, 0, "produce to {topic}-{partition}: {:?}", answer.error_message);
    answer.base_offset
}

/// The connection to a partition's leader.
pub fn leader<'a>(cluster: &'a mut Cluster, topic: &str, partition: i32) -> &'a mut Connection {
    if cluster.leader(topic, partition).is_none() {
        cluster.await_topic(topic, false).expect("the topic is there");
    }
    // One that is offline has none: then the broker that would be it.
    let replica = || cluster.topic(topic)?.partitions.iter().find(|known| known.index == partition)?.replicas.first().copied();
    let leader = cluster.leader(topic, partition).or_else(replica).expect("a leader");
    cluster.connection(leader).expect("the leader answers")
}

/// What a Fetch asks for; the defaults take everything there is and do not wait.
#[derive(Debug, Clone, Copy)]
pub struct FetchOptions {
    pub max_wait_ms: i32,
    pub min_bytes: i32,
    pub max_bytes: i32,
    pub partition_max_bytes: i32,
    pub isolation: i8,
    pub session: (i32, i32),
}

impl Default for FetchOptions {
    fn default() -> Self {
        Self {
            max_wait_ms: 0,
            min_bytes: 0,
            max_bytes: 50 << 20,
            partition_max_bytes: 50 << 20,
            isolation: 0,
            // No session.
            session: (0, -1),
        }
    }
}

/// A Fetch by topic name.
pub fn fetch_request(topic: &str, partitions: &[(i32, i64)], options: FetchOptions) -> FetchRequest {
    let wanted = partitions.iter().map(|&(partition, offset)| {
        FetchPartition::default()
            .with_partition(partition)
            .with_fetch_offset(offset)
            .with_current_leader_epoch(-1)
            .with_last_fetched_epoch(-1)
            .with_log_start_offset(-1)
            .with_partition_max_bytes(options.partition_max_bytes)
    });
    let topics = match partitions {
        [] => Vec::new(),
        _ => vec![FetchTopic::default().with_topic(topic_name(topic)).with_partitions(wanted.collect())],
    };
    FetchRequest::default()
        .with_max_wait_ms(options.max_wait_ms)
        .with_min_bytes(options.min_bytes)
        .with_max_bytes(options.max_bytes)
        .with_isolation_level(options.isolation)
        .with_session_id(options.session.0)
        .with_session_epoch(options.session.1)
        .with_topics(topics)
}

/// The partitions of a Fetch response, whatever their topic.
pub fn fetched(response: FetchResponse) -> Vec<PartitionData> {
    assert_eq!(response.error_code, 0, "the fetch as a whole");
    response.responses.into_iter().flat_map(|topic| topic.partitions).collect()
}

/// Fetches one partition from an offset on.
pub fn fetch(cluster: &mut Cluster, topic: &str, partition: i32, offset: i64) -> PartitionData {
    fetch_with(cluster, topic, partition, offset, FetchOptions::default())
}

pub fn fetch_with(cluster: &mut Cluster, topic: &str, partition: i32, offset: i64, options: FetchOptions) -> PartitionData {
    let request = fetch_request(topic, &[(partition, offset)], options);
    let response = leader(cluster, topic, partition).call_at(&request, FETCH_NAMED).expect("an answer");
    fetched(response).pop().expect("one partition")
}

/// The bytes of a fetched partition.
pub fn bytes_of(partition: &PartitionData) -> Bytes {
    partition.records.clone().unwrap_or_default()
}

/// All records of a partition from an offset on, fetched until nothing more comes.
pub fn read_all(cluster: &mut Cluster, topic: &str, partition: i32, mut offset: i64) -> Vec<ConsumerRecord> {
    let mut records = Vec::new();
    loop {
        let answer = fetch(cluster, topic, partition, offset);
        assert_eq!(answer.error_code, 0, "fetch of {topic}-{partition} at {offset}");
        let decoded = decode_batches(bytes_of(&answer), topic, partition, offset, Vec::new()).expect("valid batches");
        if decoded.next_offset == offset {
            assert!(offset >= answer.high_watermark, "{topic}-{partition}: nothing at {offset} below {}", answer.high_watermark);
            return records;
        }
        offset = decoded.next_offset;
        records.extend(decoded.records);
    }
}

/// The values of records as text.
pub fn values(records: &[ConsumerRecord]) -> Vec<String> {
    records.iter().map(|record| String::from_utf8_lossy(record.value.as_deref().unwrap_or(b"(null)")).into_owned()).collect()
}

/// A batch without what the broker may write into it: base offset and leader epoch, both outside the checksum.
pub fn unpatched(batch: &[u8]) -> Vec<u8> {
    let mut bytes = batch.to_vec();
    bytes[..8].fill(0);
    bytes[12..16].fill(0);
    bytes
}

/// One request at the highest version both sides know.
pub fn call<R: Request>(connection: &mut Connection, request: &R) -> R::Response {
    connection.call(request).expect("an answer")
}
