//! Fetch responses, the fast path: a few small header buffers around refcounted slices of record batches, which are never copied.

use crate::ErrorCode;
use crate::encode::FrameWriter;
use crate::produce::{NodeEndpoint, TopicReference};
use bytes::Bytes;
use odradek_base::{BrokerId, LeaderEpoch, Offset, PartitionIndex, ProducerId};

const FLEXIBLE_FROM: i16 = 12;
/// First version that names topics by id (KIP-516).
const TOPIC_ID_FROM: i16 = 13;
/// First version with fetch sessions (KIP-227).
const SESSION_FROM: i16 = 7;
const LOG_START_OFFSET_FROM: i16 = 5;
/// First version with a preferred read replica (KIP-392).
const PREFERRED_REPLICA_FROM: i16 = 11;
/// First version whose response names node endpoints (KIP-951).
const ENDPOINTS_FROM: i16 = 16;

/// Tags of a partition's optional fields.
const DIVERGING_EPOCH_TAG: u32 = 0;
const CURRENT_LEADER_TAG: u32 = 1;

#[derive(Debug, Clone, Default)]
pub struct FetchTopic {
    pub topic: TopicReference,
    pub partitions: Vec<FetchPartition>,
}

#[derive(Debug, Clone)]
pub struct FetchPartition {
    pub index: PartitionIndex,
    pub error: Option<ErrorCode>,
    pub high_watermark: Offset,
    pub last_stable_offset: Offset,
    pub log_start_offset: Offset,
    /// Transactions a `read_committed` consumer must leave out; `None` (null) for `read_uncommitted`.
    pub aborted_transactions: Option<Vec<AbortedTransaction>>,
    /// The replica to read from instead (version 11 and later), -1 for none.
    pub preferred_read_replica: BrokerId,
    /// Where the follower's log diverges from the leader's: the largest epoch and its end offset (version 12 and later).
    pub diverging_epoch: Option<(LeaderEpoch, Offset)>,
    /// The leader the client should turn to (version 12 and later).
    pub current_leader: Option<(BrokerId, LeaderEpoch)>,
    /// Whole batches, in order.
    pub records: Vec<Bytes>,
}

impl FetchPartition {
    /// Nothing but an error.
    pub fn failed(index: PartitionIndex, error: ErrorCode) -> Self {
        Self { error: Some(error), ..Self::empty(index) }
    }

    /// No error, no records, all offsets -1.
    pub fn empty(index: PartitionIndex) -> Self {
        Self {
            index,
            error: None,
            high_watermark: Offset(-1),
            last_stable_offset: Offset(-1),
            log_start_offset: Offset(-1),
            aborted_transactions: None,
            preferred_read_replica: BrokerId(-1),
            diverging_epoch: None,
            current_leader: None,
            records: Vec::new(),
        }
    }

    /// Bytes of all batches.
    pub fn record_bytes(&self) -> usize {
        self.records.iter().map(Bytes::len).sum()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbortedTransaction {
    pub producer_id: ProducerId,
    pub first_offset: Offset,
}

/// The response frame as a list of buffers to be sent one after the other; the length prefix counts them all.
/// Serves versions 4 to 18. `node_endpoints` is left out before version 16.
pub fn encode_response(
    version: i16,
    correlation_id: i32,
    throttle_time_ms: i32,
    error: Option<ErrorCode>,
    session_id: i32,
    topics: &[FetchTopic],
    node_endpoints: &[NodeEndpoint],
) -> Vec<Bytes> {
    let mut out = FrameWriter::new(correlation_id, version >= FLEXIBLE_FROM, header_bytes_estimate(topics));
    out.i32(throttle_time_ms);
    if version >= SESSION_FROM {
        out.i16(error.map_or(0, |error| error.code()));
        out.i32(session_id);
    }
    out.array_length(topics.len());
    for topic in topics {
        out.topic(&topic.topic, version >= TOPIC_ID_FROM);
        out.array_length(topic.partitions.len());
        for partition in &topic.partitions {
            encode_partition(&mut out, version, partition);
        }
        out.no_tagged_fields();
    }
    if version >= ENDPOINTS_FROM {
        out.node_endpoints(node_endpoints);
    } else {
        out.no_tagged_fields();
    }
    out.finish_parts()
}

fn header_bytes_estimate(topics: &[FetchTopic]) -> usize {
    let partitions: usize = topics.iter().map(|topic| topic.partitions.len()).sum();
    64 + topics.len() * 64 + partitions * 64
}

fn encode_partition(out: &mut FrameWriter, version: i16, partition: &FetchPartition) {
    out.i32(partition.index.get());
    out.i16(partition.error.map_or(0, |error| error.code()));
    out.i64(partition.high_watermark.get());
    out.i64(partition.last_stable_offset.get());
    if version >= LOG_START_OFFSET_FROM {
        out.i64(partition.log_start_offset.get());
    }
    match &partition.aborted_transactions {
        None => out.null_array(),
        Some(aborted) => {
            out.array_length(aborted.len());
            for transaction in aborted {
                out.i64(transaction.producer_id.get());
                out.i64(transaction.first_offset.get());
                out.no_tagged_fields();
            }
        }
    }
    if version >= PREFERRED_REPLICA_FROM {
        out.i32(partition.preferred_read_replica.get());
    }
    out.records(&partition.records);
    encode_partition_tags(out, version, partition);
}

fn encode_partition_tags(out: &mut FrameWriter, version: i16, partition: &FetchPartition) {
    if version < FLEXIBLE_FROM {
        return;
    }
    let count = usize::from(partition.diverging_epoch.is_some()) + usize::from(partition.current_leader.is_some());
    out.unsigned(count as u32);
    if let Some((epoch, end_offset)) = partition.diverging_epoch {
        // epoch, end offset, no tagged fields of its own
        out.unsigned(DIVERGING_EPOCH_TAG);
        out.unsigned(4 + 8 + 1);
        out.i32(epoch.get());
        out.i64(end_offset.get());
        out.unsigned(0);
    }
    if let Some((leader, epoch)) = partition.current_leader {
        out.unsigned(CURRENT_LEADER_TAG);
        out.unsigned(4 + 4 + 1);
        out.i32(leader.get());
        out.i32(epoch.get());
        out.unsigned(0);
    }
}

#[cfg(test)]
#[path = "fetch_tests.rs"]
mod tests;
