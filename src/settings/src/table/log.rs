//! Logs: directories, segments, retention, compaction, timestamps, compression, idempotent producers.

use super::Setting;
use crate::rule::Rule;
use crate::value::ValueType::*;

/// Smallest segment size Kafka 4 accepts, in bytes.
pub(crate) const SEGMENT_BYTES_MIN: i64 = 1 << 20;

pub(crate) const COMPRESSION_TYPES: &[&str] = &["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"];
pub(crate) const CLEANUP_POLICIES: &[&str] = &["compact", "delete"];
pub(crate) const TIMESTAMP_TYPES: &[&str] = &["CreateTime", "LogAppendTime"];
pub(crate) const GZIP_LEVELS: Rule = Rule::BetweenOr { min: 1, max: 9, other: -1 };
pub(crate) const LZ4_LEVELS: Rule = Rule::Between { min: 1, max: 17 };
pub(crate) const ZSTD_LEVELS: Rule = Rule::Between { min: -131_072, max: 22 };
pub(crate) const RATIO: Rule = Rule::Fraction { min: 0.0, max: 1.0 };

#[rustfmt::skip]
pub(super) const ROWS: &[Setting] = &[
    Setting::new("compression.gzip.level", Int, "-1", "Level where compression.type is gzip; -1 for gzip's own default.").rule(GZIP_LEVELS).cluster_wide(),
    Setting::new("compression.lz4.level", Int, "9", "Level where compression.type is lz4.").rule(LZ4_LEVELS).cluster_wide(),
    Setting::new("compression.type", String, "producer", "Codec of stored batches; `producer` keeps what the producer sent.").rule(Rule::OneOf(COMPRESSION_TYPES)).cluster_wide().high(),
    Setting::new("compression.zstd.level", Int, "3", "Level where compression.type is zstd.").rule(ZSTD_LEVELS).cluster_wide(),
    Setting::new("cordoned.log.dirs", List, "", "Directories that get no new partitions.").per_broker().unused(),
    Setting::new("log.cleaner.backoff.ms", Long, "15000", "Milliseconds that the compactor sleeps when nothing is to be done.").at_least(0).cluster_wide(),
    Setting::new("log.cleaner.dedupe.buffer.size", Long, "134217728", "Bytes for the key table of all compaction threads together. Not given, it is a part of odradek.memory.bytes.").cluster_wide(),
    Setting::new("log.cleaner.delete.retention.ms", Long, "86400000", "Milliseconds that tombstones stay in a compacted log.").at_least(0).cluster_wide(),
    Setting::new("log.cleaner.enable", Boolean, "true", "Whether compacted topics are compacted."),
    Setting::new("log.cleaner.io.buffer.load.factor", Double, "0.9", "How full the compactor's key table may get.").cluster_wide().low(),
    Setting::new("log.cleaner.io.buffer.size", Int, "524288", "Bytes of the compactor's I/O buffers.").at_least(0).cluster_wide(),
    Setting::new("log.cleaner.io.max.bytes.per.second", Double, "1.7976931348623157E308", "Bytes per second that compaction may read and write, all shards together.").cluster_wide(),
    Setting::new("log.cleaner.max.compaction.lag.ms", Long, "9223372036854775807", "Milliseconds after which a record of a compacted log must have been looked at.").at_least(1).cluster_wide(),
    Setting::new("log.cleaner.min.cleanable.ratio", Double, "0.5", "Share of not yet compacted bytes from which a log is compacted.").rule(RATIO).cluster_wide(),
    Setting::new("log.cleaner.min.compaction.lag.ms", Long, "0", "Milliseconds that a record stays as it is before compaction may remove it.").at_least(0).cluster_wide(),
    Setting::new("log.cleaner.threads", Int, "1", "Threads that compact.").at_least(0).cluster_wide().unused(),
    Setting::new("log.cleanup.policy", List, "delete", "What happens to old records: deleted by time and size, compacted by key, both, or nothing.").rule(Rule::ItemsOf(CLEANUP_POLICIES)).cluster_wide(),
    Setting::new("log.dir", List, "/tmp/kafka-logs", "Data directory; used only when a file sets it and log.dirs is not set.").high(),
    Setting::new("log.dir.failure.timeout.ms", Long, "30000", "Milliseconds to tell the controller of a failed directory before the broker stops.").at_least(1).low().unused(),
    Setting::new("log.dirs", List, "./odradek-data", "Data directories. (Kafka's default is that of log.dir.)").rule(Rule::NonEmptyList).high(),
    Setting::new("log.flush.interval.messages", Long, "9223372036854775807", "Records of a partition after which a flush comes before the answer, also with acks=1. With acks=all every answer comes after a flush.").at_least(1).cluster_wide().high(),
    Setting::null("log.flush.interval.ms", Long, "Milliseconds after which records are flushed at the latest. Kept for every value: the journal is flushed as soon as it is written.").cluster_wide().high(),
    Setting::new("log.flush.offset.checkpoint.interval.ms", Int, "60000", "Milliseconds between writes of the recovery point file.").at_least(0).high().unused(),
    Setting::new("log.flush.scheduler.interval.ms", Long, "9223372036854775807", "Milliseconds between looks for logs to flush.").high().unused(),
    Setting::new("log.flush.start.offset.checkpoint.interval.ms", Int, "60000", "Milliseconds between writes of the start offset file.").at_least(0).high().unused(),
    Setting::new("log.index.interval.bytes", Int, "4096", "Bytes of log between two entries of its offset index.").at_least(0).cluster_wide(),
    Setting::new("log.index.size.max.bytes", Int, "10485760", "Largest offset index in bytes.").at_least(4).cluster_wide(),
    Setting::new("log.message.timestamp.after.max.ms", Long, "3600000", "Milliseconds that a record's timestamp may be ahead of the broker's clock.").at_least(0).cluster_wide(),
    Setting::new("log.message.timestamp.before.max.ms", Long, "9223372036854775807", "Milliseconds that a record's timestamp may be behind the broker's clock.").at_least(0).cluster_wide(),
    Setting::new("log.message.timestamp.type", String, "CreateTime", "Whether records keep the producer's timestamp or get that of their arrival.").rule(Rule::OneOf(TIMESTAMP_TYPES)).cluster_wide(),
    Setting::new("log.preallocate", Boolean, "false", "Whether segment files are allocated in full when they start.").cluster_wide(),
    Setting::new("log.retention.bytes", Long, "-1", "Bytes that a partition keeps; -1 for no bound.").cluster_wide().high(),
    Setting::new("log.retention.check.interval.ms", Long, "300000", "Milliseconds between looks for segments to delete.").at_least(1),
    Setting::new("log.retention.hours", Int, "168", "Hours that records are kept; log.retention.minutes and log.retention.ms come before it.").high(),
    Setting::null("log.retention.minutes", Int, "Minutes that records are kept; log.retention.ms comes before it.").high(),
    Setting::null("log.retention.ms", Long, "Milliseconds that records are kept; -1 for ever.").cluster_wide().high(),
    Setting::new("log.roll.hours", Int, "168", "Hours after which a new segment starts; log.roll.ms comes before it.").at_least(1).high(),
    Setting::new("log.roll.jitter.hours", Int, "0", "Hours by which the start of a new segment varies; log.roll.jitter.ms comes before it.").at_least(0).high(),
    Setting::null("log.roll.jitter.ms", Long, "Milliseconds by which the start of a new segment varies.").cluster_wide().high(),
    Setting::null("log.roll.ms", Long, "Milliseconds after which a new segment starts.").cluster_wide().high(),
    Setting::new("log.segment.bytes", Int, "1073741824", "Largest segment file in bytes.").at_least(SEGMENT_BYTES_MIN).cluster_wide().high(),
    Setting::new("log.segment.delete.delay.ms", Long, "60000", "Milliseconds between taking a segment out of the log, or deleting a topic, and unlinking the files. On a full disk the files of deleted topics go at once.").at_least(0).cluster_wide().high(),
    Setting::new("message.max.bytes", Int, "1048588", "Largest record batch in bytes, as it arrives and as it is stored.").at_least(0).cluster_wide().high(),
    Setting::new("min.insync.replicas", Int, "1", "Replicas that must have a record before acks=all is answered.").at_least(1).cluster_wide().high(),
    Setting::new("num.recovery.threads.per.data.dir", Int, "2", "Threads per directory that recover logs at start.").at_least(1).cluster_wide().high().unused(),
    Setting::new("producer.id.expiration.ms", Int, "86400000", "Milliseconds after its last batch that an idempotent producer is remembered.").at_least(1).cluster_wide().low(),
];
