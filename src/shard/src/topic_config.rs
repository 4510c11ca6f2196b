//! From a topic's effective configs to what the log and the checks obey.

use odradek_log::config::{CleanupPolicy, LogConfig, TimestampType};
use odradek_wire::batch::validate::ValidationRules;
use odradek_wire::compress::{Codec, Compression};

/// Gives the effective value of a topic config by name: the topic's own, the broker's, or the default.
pub trait Effective {
    fn value(&self, name: &str) -> Option<String>;
}

impl<F: Fn(&str) -> Option<String>> Effective for F {
    fn value(&self, name: &str) -> Option<String> {
        self(name)
    }
}

fn number<T: TryFrom<i64>>(configs: &impl Effective, name: &str, default: T) -> T {
    configs.value(name).and_then(|text| text.parse::<i64>().ok()).and_then(|number| T::try_from(number).ok()).unwrap_or(default)
}

fn timestamp_type(configs: &impl Effective) -> TimestampType {
    match configs.value("message.timestamp.type").as_deref() {
        Some("LogAppendTime") => TimestampType::LogAppendTime,
        _ => TimestampType::CreateTime,
    }
}

/// The settings of a topic's logs. The controller checked every value, so an unreadable one falls back to the default.
pub fn log_config(configs: &impl Effective, producer_id_expiration_ms: i64) -> LogConfig {
    let d = LogConfig::default();
    let policy = configs.value("cleanup.policy").unwrap_or_else(|| "delete".into());
    LogConfig {
        segment_bytes: number(configs, "segment.bytes", d.segment_bytes),
        segment_ms: number(configs, "segment.ms", d.segment_ms),
        segment_jitter_ms: number(configs, "segment.jitter.ms", d.segment_jitter_ms),
        segment_index_bytes: number(configs, "segment.index.bytes", d.segment_index_bytes),
        index_interval_bytes: number(configs, "index.interval.bytes", d.index_interval_bytes),
        retention_ms: number(configs, "retention.ms", d.retention_ms),
        retention_bytes: number(configs, "retention.bytes", d.retention_bytes),
        cleanup: CleanupPolicy { delete: policy.contains("delete"), compact: policy.contains("compact") },
        delete_retention_ms: number(configs, "delete.retention.ms", d.delete_retention_ms),
        min_compaction_lag_ms: number(configs, "min.compaction.lag.ms", d.min_compaction_lag_ms),
        max_compaction_lag_ms: number(configs, "max.compaction.lag.ms", d.max_compaction_lag_ms),
        min_cleanable_dirty_ratio: configs
            .value("min.cleanable.dirty.ratio")
            .and_then(|text| text.parse().ok())
            .unwrap_or(d.min_cleanable_dirty_ratio),
        flush_messages: number(configs, "flush.messages", d.flush_messages),
        flush_ms: number(configs, "flush.ms", d.flush_ms),
        file_delete_delay_ms: number(configs, "file.delete.delay.ms", d.file_delete_delay_ms),
        timestamp_type: timestamp_type(configs),
        max_message_bytes: number(configs, "max.message.bytes", d.max_message_bytes),
        preallocate: configs.value("preallocate").as_deref() == Some("true"),
        producer_id_expiration_ms,
    }
}

/// The rules that records for a topic are checked by.
pub fn validation_rules(configs: &impl Effective, log: &LogConfig) -> ValidationRules {
    let d = ValidationRules::default();
    ValidationRules {
        compacted: log.cleanup.compact,
        max_message_bytes: log.max_message_bytes as usize,
        segment_bytes: log.segment_bytes as usize,
        timestamp_type: log.timestamp_type,
        timestamp_before_max_ms: number(configs, "message.timestamp.before.max.ms", d.timestamp_before_max_ms),
        timestamp_after_max_ms: number(configs, "message.timestamp.after.max.ms", d.timestamp_after_max_ms),
        compression: compression(configs),
        ..d
    }
}

/// `compression.type` with its level; `None` keeps what the producer chose.
fn compression(configs: &impl Effective) -> Option<Compression> {
    let codec = match configs.value("compression.type").as_deref() {
        Some("uncompressed") => Codec::None,
        Some("gzip") => Codec::Gzip,
        Some("snappy") => Codec::Snappy,
        Some("lz4") => Codec::Lz4,
        Some("zstd") => Codec::Zstd,
        _ => return None,
    };
    let level = match codec {
        Codec::Gzip => configs.value("compression.gzip.level"),
        Codec::Lz4 => configs.value("compression.lz4.level"),
        Codec::Zstd => configs.value("compression.zstd.level"),
        Codec::None | Codec::Snappy => None,
    };
    Some(match level.and_then(|text| text.parse().ok()) {
        Some(level) => Compression { level: Some(level), ..Compression::from(codec) },
        None => Compression::from(codec),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_reach_the_log_and_the_rules() {
        let configs = |name: &str| {
            let value = match name {
                "cleanup.policy" => "compact,delete",
                "segment.bytes" => "1000000",
                "message.timestamp.type" => "LogAppendTime",
                "message.timestamp.after.max.ms" => "77",
                "compression.type" => "gzip",
                "compression.gzip.level" => "3",
                "max.message.bytes" => "2000",
                _ => return None,
            };
            Some(value.to_string())
        };
        let log = log_config(&configs, 5);
        assert_eq!((log.segment_bytes, log.cleanup.compact, log.cleanup.delete, log.producer_id_expiration_ms), (1_000_000, true, true, 5));
        assert_eq!(log.retention_ms, LogConfig::default().retention_ms);
        let rules = validation_rules(&configs, &log);
        assert_eq!((rules.compacted, rules.max_message_bytes, rules.timestamp_after_max_ms), (true, 2000, 77));
        assert_eq!(rules.timestamp_type, TimestampType::LogAppendTime);
        assert_eq!(rules.compression.map(|compression| compression.codec), Some(Codec::Gzip));
    }
}
