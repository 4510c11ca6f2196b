//! Kafka's topic configs, in the order in which Kafka 4.3.1 lists them in DescribeConfigs.

use crate::rule::{Rule, ValueError};
use crate::table::log::{
    CLEANUP_POLICIES, COMPRESSION_TYPES, GZIP_LEVELS, LZ4_LEVELS, RATIO, SEGMENT_BYTES_MIN, TIMESTAMP_TYPES, ZSTD_LEVELS,
};
use crate::value::ValueType::{self, Boolean, Double, Int, List, Long};
use std::collections::BTreeMap;

/// One topic config.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct TopicConfig {
    pub name: &'static str,
    pub value_type: ValueType,
    pub default: &'static str,
    pub rule: Rule,
    /// The broker setting that gives the default, where there is one (`ServerTopicConfigSynonyms`).
    pub broker_synonym: Option<&'static str>,
    pub doc: &'static str,
}

impl TopicConfig {
    const fn new(
        name: &'static str,
        value_type: ValueType,
        default: &'static str,
        rule: Rule,
        synonym: &'static str,
        doc: &'static str,
    ) -> Self {
        let broker_synonym = if synonym.is_empty() { None } else { Some(synonym) };
        Self { name, value_type, default, rule, broker_synonym, doc }
    }

    /// # Errors
    /// The value is not of the type, or outside its bounds.
    pub fn check(&self, text: &str) -> Result<(), ValueError> {
        self.rule.check(self.name, self.value_type, text)
    }
}

const ANY: Rule = Rule::Any;
const FROM_0: Rule = Rule::at_least(0);
const FROM_1: Rule = Rule::at_least(1);

#[rustfmt::skip]
static ROWS: [TopicConfig; 33] = [
    TopicConfig::new("compression.type", ValueType::String, "producer", Rule::OneOf(COMPRESSION_TYPES), "compression.type", "Codec of stored batches; `producer` keeps what the producer sent."),
    TopicConfig::new("remote.log.delete.on.disable", Boolean, "false", ANY, "", "Whether tiered data goes when tiering of the topic is switched off. There is no tiering here."),
    TopicConfig::new("leader.replication.throttled.replicas", List, "", Rule::ThrottledReplicas, "", "Replicas whose traffic is throttled on the leader's side, as partition:broker, or * for all."),
    TopicConfig::new("remote.storage.enable", Boolean, "false", ANY, "", "Whether the topic's old segments are tiered. There is no tiering here."),
    TopicConfig::new("min.insync.replicas", Int, "1", FROM_1, "min.insync.replicas", "Replicas that must have a record before acks=all is answered; never more than the partition has (as in Kafka)."),
    TopicConfig::new("segment.jitter.ms", Long, "0", FROM_0, "log.roll.jitter.ms", "Milliseconds by which the start of a new segment varies."),
    TopicConfig::new("remote.log.copy.disable", Boolean, "false", ANY, "", "Whether tiered data becomes read-only. There is no tiering here."),
    TopicConfig::new("local.retention.ms", Long, "-2", Rule::at_least(-2), "log.local.retention.ms", "Milliseconds that tiered segments stay on local disks; -2 for retention.ms."),
    TopicConfig::new("cleanup.policy", List, "delete", Rule::ItemsOf(CLEANUP_POLICIES), "log.cleanup.policy", "What happens to old records: deleted by time and size, compacted by key, both, or nothing."),
    TopicConfig::new("flush.ms", Long, "9223372036854775807", FROM_0, "log.flush.interval.ms", "Milliseconds after which records are flushed at the latest. Kept for every value: the journal is flushed as soon as it is written."),
    TopicConfig::new("follower.replication.throttled.replicas", List, "", Rule::ThrottledReplicas, "", "Replicas whose traffic is throttled on the follower's side, as partition:broker, or * for all."),
    TopicConfig::new("compression.lz4.level", Int, "9", LZ4_LEVELS, "compression.lz4.level", "Level where compression.type is lz4."),
    TopicConfig::new("segment.bytes", Int, "1073741824", Rule::at_least(SEGMENT_BYTES_MIN), "log.segment.bytes", "Largest segment file in bytes."),
    TopicConfig::new("retention.ms", Long, "604800000", Rule::at_least(-1), "log.retention.ms", "Milliseconds that records are kept where the policy is delete; -1 for ever."),
    TopicConfig::new("compression.gzip.level", Int, "-1", GZIP_LEVELS, "compression.gzip.level", "Level where compression.type is gzip; -1 for gzip's own default."),
    TopicConfig::new("flush.messages", Long, "9223372036854775807", FROM_1, "log.flush.interval.messages", "Records after which a flush comes before the answer, also with acks=1. With acks=all every answer comes after a flush."),
    TopicConfig::new("compression.zstd.level", Int, "3", ZSTD_LEVELS, "compression.zstd.level", "Level where compression.type is zstd."),
    TopicConfig::new("max.compaction.lag.ms", Long, "9223372036854775807", FROM_1, "log.cleaner.max.compaction.lag.ms", "Milliseconds after which a record of a compacted log must have been looked at."),
    TopicConfig::new("file.delete.delay.ms", Long, "60000", FROM_0, "log.segment.delete.delay.ms", "Milliseconds between taking a segment out of the log and unlinking its file."),
    TopicConfig::new("max.message.bytes", Int, "1048588", FROM_0, "message.max.bytes", "Largest record batch in bytes, as it arrives and as it is stored."),
    TopicConfig::new("min.compaction.lag.ms", Long, "0", FROM_0, "log.cleaner.min.compaction.lag.ms", "Milliseconds that a record stays as it is before compaction may remove it."),
    TopicConfig::new("message.timestamp.type", ValueType::String, "CreateTime", Rule::OneOf(TIMESTAMP_TYPES), "log.message.timestamp.type", "Whether records keep the producer's timestamp or get that of their arrival."),
    TopicConfig::new("local.retention.bytes", Long, "-2", Rule::at_least(-2), "log.local.retention.bytes", "Bytes of tiered segments that stay on local disks; -2 for retention.bytes."),
    TopicConfig::new("preallocate", Boolean, "false", ANY, "log.preallocate", "Whether segment files are allocated in full when they start."),
    TopicConfig::new("index.interval.bytes", Int, "4096", FROM_0, "log.index.interval.bytes", "Bytes of log between two entries of its offset index."),
    TopicConfig::new("min.cleanable.dirty.ratio", Double, "0.5", RATIO, "log.cleaner.min.cleanable.ratio", "Share of not yet compacted bytes from which the log is compacted."),
    TopicConfig::new("unclean.leader.election.enable", Boolean, "false", ANY, "unclean.leader.election.enable", "Whether a replica that is behind may lead when no other is left, at the price of lost records."),
    TopicConfig::new("retention.bytes", Long, "-1", ANY, "log.retention.bytes", "Bytes that a partition keeps where the policy is delete; -1 for no bound."),
    TopicConfig::new("delete.retention.ms", Long, "86400000", FROM_0, "log.cleaner.delete.retention.ms", "Milliseconds that tombstones stay in a compacted log."),
    TopicConfig::new("message.timestamp.after.max.ms", Long, "3600000", FROM_0, "log.message.timestamp.after.max.ms", "Milliseconds that a record's timestamp may be ahead of the broker's clock."),
    TopicConfig::new("message.timestamp.before.max.ms", Long, "9223372036854775807", FROM_0, "log.message.timestamp.before.max.ms", "Milliseconds that a record's timestamp may be behind the broker's clock."),
    TopicConfig::new("segment.ms", Long, "604800000", FROM_1, "log.roll.ms", "Milliseconds after which a new segment starts."),
    TopicConfig::new("segment.index.bytes", Int, "10485760", Rule::at_least(4), "log.index.size.max.bytes", "Largest offset index in bytes."),
];

/// All of them, in Kafka's order.
pub fn all() -> &'static [TopicConfig] {
    &ROWS
}

/// The topic config of that name.
pub fn find(name: &str) -> Option<&'static TopicConfig> {
    ROWS.iter().find(|row| row.name == name)
}

/// Other units in which a broker setting can be given, in the order in which they are asked, with their milliseconds
/// per unit (`DynamicBrokerConfig.brokerConfigSynonyms`). The setting itself comes first.
pub fn broker_synonyms(name: &str) -> &'static [(&'static str, i64)] {
    const MINUTE: i64 = 60_000;
    const HOUR: i64 = 60 * MINUTE;
    match name {
        "log.roll.ms" => &[("log.roll.ms", 1), ("log.roll.hours", HOUR)],
        "log.roll.jitter.ms" => &[("log.roll.jitter.ms", 1), ("log.roll.jitter.hours", HOUR)],
        "log.retention.ms" => &[("log.retention.ms", 1), ("log.retention.minutes", MINUTE), ("log.retention.hours", HOUR)],
        "log.flush.interval.ms" => &[("log.flush.interval.ms", 1), ("log.flush.scheduler.interval.ms", 1)],
        _ => &[],
    }
}

/// Rules between configs of one topic, on the effective values (`LogConfig.validateValues`).
///
/// # Errors
/// The text for the client.
pub fn check_together(effective: &BTreeMap<&str, String>) -> Result<(), String> {
    let number = |name| effective.get(name).and_then(|text| text.parse::<i64>().ok());
    if let (Some(min), Some(max)) = (number("min.compaction.lag.ms"), number("max.compaction.lag.ms"))
        && min > max
    {
        return Err(format!(
            "conflict topic config setting min.compaction.lag.ms ({min}) > max.compaction.lag.ms ({max}): the first must not be the larger one"
        ));
    }
    if effective.get("remote.storage.enable").is_some_and(|text| text == "true") {
        return Err(
            "Tiered Storage functionality is disabled in the broker. Topic cannot be configured with remote log storage.".to_owned()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_agree_with_their_broker_synonyms() {
        for row in all() {
            row.check(row.default).unwrap();
            assert_eq!(crate::canonical(row.value_type, row.default), row.default, "{}", row.name);
            if let Some(synonym) = row.broker_synonym {
                let broker = crate::table::find(synonym).unwrap_or_else(|| panic!("{synonym} is no row"));
                assert_eq!(broker.value_type, row.value_type, "{}", row.name);
                if let Some(default) = broker.default {
                    assert_eq!(default, row.default, "{}", row.name);
                }
            }
        }
    }

    #[test]
    fn conflicts_between_configs() {
        let of = |pairs: &[(&'static str, &str)]| pairs.iter().map(|&(k, v)| (k, v.to_owned())).collect();
        check_together(&of(&[("min.compaction.lag.ms", "5"), ("max.compaction.lag.ms", "5")])).unwrap();
        assert!(check_together(&of(&[("min.compaction.lag.ms", "6"), ("max.compaction.lag.ms", "5")])).is_err());
        assert!(check_together(&of(&[("remote.storage.enable", "true")])).is_err());
    }
}
