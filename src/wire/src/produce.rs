//! Produce, the fast path: the request is read without copying records, the response written without intermediate messages.

use crate::batch::BatchError;
use crate::decode::DecodeError;
use crate::decode::cursor::Cursor;
use crate::encode::FrameWriter;
use crate::{ErrorCode, StrBytes, api};
use bytes::Bytes;
use odradek_base::{BrokerId, LeaderEpoch, Offset, PartitionIndex, Timestamp, TopicId};

pub use crate::batch::RecordError;

/// First version with compact lengths and tagged fields.
const FLEXIBLE_FROM: i16 = 9;
/// First version that names topics by id (KIP-516).
const TOPIC_ID_FROM: i16 = 13;
/// First version whose response tells the new leader (KIP-951).
const LEADER_FROM: i16 = 10;
/// First version whose response carries record errors and a message (KIP-467).
const RECORD_ERRORS_FROM: i16 = 8;
/// First version whose response carries the log start offset.
const LOG_START_OFFSET_FROM: i16 = 5;

/// How a request names a topic: by name, or by id in versions that do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum TopicReference {
    Name(StrBytes),
    Id(TopicId),
}

impl Default for TopicReference {
    fn default() -> Self {
        Self::Name(StrBytes::new())
    }
}

/// A produce request; strings and records are slices of the frame.
#[derive(Debug, Clone, Default)]
pub struct ProduceRequest {
    pub transactional_id: Option<StrBytes>,
    /// -1 all in-sync replicas, 0 no answer, 1 the leader; anything else is the peer's mistake.
    pub acks: i16,
    pub timeout_ms: i32,
    pub topics: Vec<ProduceTopic>,
}

#[derive(Debug, Clone, Default)]
pub struct ProduceTopic {
    pub topic: TopicReference,
    pub partitions: Vec<ProducePartition>,
}

#[derive(Debug, Clone)]
pub struct ProducePartition {
    pub index: PartitionIndex,
    /// Not yet validated; `None` where the peer sent null.
    pub records: Option<Bytes>,
}

/// Least bytes of a topic and of a partition on the wire, at any version: what bounds the capacity reserved for a peer's array length.
const TOPIC_BYTES_MIN: usize = 3;
const PARTITION_BYTES_MIN: usize = 5;

impl ProduceRequest {
    /// Reads the body of a produce request of version 3 to 13. Bytes after the request are tolerated, as Kafka does.
    pub fn parse(body: &Bytes, version: i16) -> Result<Self, DecodeError> {
        if !api::supported(api::PRODUCE, version) {
            return Err(DecodeError::UnsupportedVersion { api_key: api::PRODUCE, version });
        }
        let mut cursor = Cursor::new(body, version >= FLEXIBLE_FROM);
        let transactional_id = cursor.nullable_string()?;
        let acks = cursor.i16()?;
        let timeout_ms = cursor.i32()?;
        let count = cursor.array_length(TOPIC_BYTES_MIN)?;
        let mut topics = Vec::with_capacity(count);
        for _ in 0..count {
            let topic =
                if version >= TOPIC_ID_FROM { TopicReference::Id(TopicId(cursor.uuid()?)) } else { TopicReference::Name(cursor.string()?) };
            let count = cursor.array_length(PARTITION_BYTES_MIN)?;
            let mut partitions = Vec::with_capacity(count);
            for _ in 0..count {
                let index = PartitionIndex(cursor.i32()?);
                let records = cursor.nullable_bytes()?;
                cursor.tagged_fields()?;
                partitions.push(ProducePartition { index, records });
            }
            cursor.tagged_fields()?;
            topics.push(ProduceTopic { topic, partitions });
        }
        cursor.tagged_fields()?;
        Ok(Self { transactional_id, acks, timeout_ms, topics })
    }
}

#[derive(Debug, Clone, Default)]
pub struct ProduceResponse {
    pub topics: Vec<TopicProduceResponse>,
    pub throttle_time_ms: i32,
    /// Where the leaders named in `current_leader` are reached (version 10 and later).
    pub node_endpoints: Vec<NodeEndpoint>,
}

#[derive(Debug, Clone, Default)]
pub struct TopicProduceResponse {
    pub topic: TopicReference,
    pub partitions: Vec<PartitionProduceResponse>,
}

#[derive(Debug, Clone)]
pub struct PartitionProduceResponse {
    pub index: PartitionIndex,
    pub error: Option<ErrorCode>,
    /// -1 with an error.
    pub base_offset: Offset,
    /// [`Timestamp::NONE`] unless the topic's timestamp type is LogAppendTime.
    pub log_append_time: Timestamp,
    /// -1 with an error.
    pub log_start_offset: Offset,
    pub record_errors: Vec<RecordError>,
    pub error_message: Option<StrBytes>,
    /// The leader the client should turn to, with NOT_LEADER_OR_FOLLOWER and FENCED_LEADER_EPOCH.
    pub current_leader: Option<(BrokerId, LeaderEpoch)>,
}

impl PartitionProduceResponse {
    /// Appended at `base_offset`.
    pub fn appended(index: PartitionIndex, base_offset: Offset, log_append_time: Timestamp, log_start_offset: Offset) -> Self {
        Self { base_offset, log_append_time, log_start_offset, error: None, ..Self::failed(index, ErrorCode::UnknownServerError) }
    }

    /// Refused by validation, with the reasons.
    pub fn refused(index: PartitionIndex, refusal: BatchError) -> Self {
        Self {
            error_message: Some(StrBytes::from_string(refusal.message.into_owned())),
            record_errors: refusal.record_errors,
            ..Self::failed(index, refusal.code)
        }
    }

    /// Not appended.
    pub fn failed(index: PartitionIndex, error: ErrorCode) -> Self {
        Self {
            index,
            error: Some(error),
            base_offset: Offset(-1),
            log_append_time: Timestamp::NONE,
            log_start_offset: Offset(-1),
            record_errors: Vec::new(),
            error_message: None,
            current_leader: None,
        }
    }
}

/// Address of a broker, as produce and fetch responses carry it (KIP-951).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeEndpoint {
    pub node_id: BrokerId,
    pub host: StrBytes,
    pub port: i32,
    pub rack: Option<StrBytes>,
}

/// The whole response frame, length prefix included. Versions outside 3 to 13 are encoded as the nearest of them.
pub fn encode_response(version: i16, correlation_id: i32, response: &ProduceResponse) -> Bytes {
    let flexible = version >= FLEXIBLE_FROM;
    let mut out = FrameWriter::new(correlation_id, flexible, response_bytes_estimate(response));
    out.array_length(response.topics.len());
    for topic in &response.topics {
        out.topic(&topic.topic, version >= TOPIC_ID_FROM);
        out.array_length(topic.partitions.len());
        for partition in &topic.partitions {
            encode_partition(&mut out, version, partition);
        }
        out.no_tagged_fields();
    }
    out.i32(response.throttle_time_ms);
    if version >= LEADER_FROM {
        out.node_endpoints(&response.node_endpoints);
    } else {
        out.no_tagged_fields();
    }
    out.finish()
}

fn response_bytes_estimate(response: &ProduceResponse) -> usize {
    let partitions: usize = response.topics.iter().map(|topic| topic.partitions.len()).sum();
    32 + response.topics.len() * 64 + partitions * 48
}

fn encode_partition(out: &mut FrameWriter, version: i16, partition: &PartitionProduceResponse) {
    out.i32(partition.index.get());
    out.i16(partition.error.map_or(0, |error| error.code()));
    out.i64(partition.base_offset.get());
    out.i64(partition.log_append_time.get());
    if version >= LOG_START_OFFSET_FROM {
        out.i64(partition.log_start_offset.get());
    }
    if version >= RECORD_ERRORS_FROM {
        out.array_length(partition.record_errors.len());
        for error in &partition.record_errors {
            out.i32(error.batch_index);
            out.nullable_string(error.message.as_deref());
            out.no_tagged_fields();
        }
        out.nullable_string(partition.error_message.as_deref());
    }
    match partition.current_leader {
        Some(leader) if version >= LEADER_FROM => out.tagged_leader(0, leader),
        _ => out.no_tagged_fields(),
    }
}

#[cfg(test)]
#[path = "produce_tests.rs"]
mod tests;
