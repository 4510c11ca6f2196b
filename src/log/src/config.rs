//! The topic settings that the log itself obeys.

pub use odradek_wire::batch::TimestampType;

/// Smallest index that is obeyed: two time index entries.
const INDEX_BYTES_MIN: u32 = 24;

/// `cleanup.policy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CleanupPolicy {
    pub delete: bool,
    pub compact: bool,
}

/// Settings of one topic as its partitions' logs need them (`org.apache.kafka.storage.internals.log.LogConfig`).
/// -1 means "unlimited" where Kafka says so.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LogConfig {
    /// `segment.bytes`.
    pub segment_bytes: u32,
    /// `segment.ms`.
    pub segment_ms: i64,
    /// `segment.jitter.ms`: each segment rolls up to this much earlier.
    pub segment_jitter_ms: i64,
    /// `segment.index.bytes`: most bytes of one index; indexes are never preallocated.
    pub segment_index_bytes: u32,
    /// `index.interval.bytes`.
    pub index_interval_bytes: u32,
    /// `retention.ms`, -1 for ever.
    pub retention_ms: i64,
    /// `retention.bytes`, -1 unlimited.
    pub retention_bytes: i64,
    /// `cleanup.policy`.
    pub cleanup: CleanupPolicy,
    /// `delete.retention.ms`, for compaction.
    pub delete_retention_ms: i64,
    /// `min.compaction.lag.ms`.
    pub min_compaction_lag_ms: i64,
    /// `max.compaction.lag.ms`.
    pub max_compaction_lag_ms: i64,
    /// `min.cleanable.dirty.ratio`.
    pub min_cleanable_dirty_ratio: f64,
    /// `flush.messages`. The journal makes every write durable at once, which satisfies any value.
    pub flush_messages: i64,
    /// `flush.ms`. As `flush_messages`.
    pub flush_ms: i64,
    /// `file.delete.delay.ms`.
    pub file_delete_delay_ms: i64,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `max.message.bytes`.
    pub max_message_bytes: u32,
    /// `preallocate`.
    pub preallocate: bool,
    /// `producer.id.expiration.ms` (a broker setting in Kafka).
    pub producer_id_expiration_ms: i64,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            segment_bytes: 1 << 30,
            segment_ms: 7 * 24 * 3_600_000,
            segment_jitter_ms: 0,
            segment_index_bytes: 10 << 20,
            index_interval_bytes: 4096,
            retention_ms: 7 * 24 * 3_600_000,
            retention_bytes: -1,
            cleanup: CleanupPolicy { delete: true, compact: false },
            delete_retention_ms: 24 * 3_600_000,
            min_compaction_lag_ms: 0,
            max_compaction_lag_ms: i64::MAX,
            min_cleanable_dirty_ratio: 0.5,
            flush_messages: i64::MAX,
            flush_ms: i64::MAX,
            file_delete_delay_ms: 60_000,
            timestamp_type: TimestampType::CreateTime,
            max_message_bytes: 1_048_588,
            preallocate: false,
            producer_id_expiration_ms: 24 * 3_600_000,
        }
    }
}

impl LogConfig {
    /// Milliseconds after which a segment rolls: a compacted log's records must leave the active segment within `max.compaction.lag.ms`
    /// (`LogConfig.maxSegmentMs`).
    pub fn segment_ms_max(&self) -> i64 {
        if self.cleanup.compact && self.max_compaction_lag_ms > 0 {
            self.segment_ms.min(self.max_compaction_lag_ms)
        } else {
            self.segment_ms
        }
    }

    /// Entries that fit in an offset index.
    pub fn offset_index_entries_max(&self) -> usize {
        (self.segment_index_bytes.max(INDEX_BYTES_MIN) / 8) as usize
    }

    /// Entries that fit in a time index.
    pub fn time_index_entries_max(&self) -> usize {
        (self.segment_index_bytes.max(INDEX_BYTES_MIN) / 12) as usize
    }
}
