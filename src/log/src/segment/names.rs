//! Names of files and directories (Kafka's `LogFileUtils`, `UnifiedLog`).

use odradek_base::limits::TOPIC_NAME_LENGTH_MAX;
use odradek_base::{Offset, PartitionIndex};
use uuid::Uuid;

pub const LOG: &str = "log";
pub const INDEX: &str = "index";
pub const TIME_INDEX: &str = "timeindex";
pub const TRANSACTION_INDEX: &str = "txnindex";
pub const SNAPSHOT: &str = "snapshot";
pub const LEADER_EPOCHS: &str = "leader-epoch-checkpoint";
pub const PARTITION_METADATA: &str = "partition.metadata";
pub const RECOVERY_POINTS: &str = "recovery-point-offset-checkpoint";
pub const LOG_STARTS: &str = "log-start-offset-checkpoint";
pub const HIGH_WATERMARKS: &str = "replication-offset-checkpoint";
pub const CLEANER_OFFSETS: &str = "cleaner-offset-checkpoint";
/// What a file that waits to be unlinked is called (`LogFileUtils.DELETED_FILE_SUFFIX`).
pub const DELETED: &str = "deleted";
/// A compacted file that is being written (`CLEANED_FILE_SUFFIX`).
pub const CLEANED: &str = "cleaned";
/// A compacted file that is whole and takes its segments' place (`SWAP_FILE_SUFFIX`).
pub const SWAP: &str = "swap";
pub const CLEAN_SHUTDOWN: &str = ".kafka_cleanshutdown";
const DELETED_SUFFIX: &str = "-delete";
const FUTURE_SUFFIX: &str = "-future";
/// File systems take names of up to 255 bytes.
const NAME_BYTES_MAX: usize = 255;

/// `00000000000000000042.log`.
pub fn segment_file(base_offset: Offset, extension: &str) -> String {
    format!("{:020}.{extension}", base_offset.get())
}

/// Base offset and extension of a segment file's name.
pub fn parse_segment_file(name: &str) -> Option<(Offset, &str)> {
    let (number, extension) = name.split_once('.')?;
    if number.len() != 20 || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some((Offset(number.parse().ok()?), extension))
}

/// Directory of a partition.
pub fn partition_directory(topic: &str, partition: PartitionIndex) -> String {
    format!("{topic}-{partition}")
}

/// Topic and partition of a directory's name; `None` for deleted ones and anything else.
pub fn parse_partition_directory(name: &str) -> Option<(&str, PartitionIndex)> {
    if name.ends_with(DELETED_SUFFIX) && name.contains('.') && is_deleted(name) {
        return None;
    }
    let (topic, partition) = name.rsplit_once('-')?;
    if topic.is_empty() || topic.len() > TOPIC_NAME_LENGTH_MAX || !partition.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some((topic, PartitionIndex(partition.parse().ok()?)))
}

/// What a partition's directory is renamed to before it is unlinked: `<topic>-<partition>.<uuid without dashes>-delete`, cut to the length
/// that file systems allow.
pub fn deleted_directory(topic: &str, partition: PartitionIndex, unique: Uuid) -> String {
    let suffix = format!("-{partition}.{}{DELETED_SUFFIX}", unique.simple());
    let room = NAME_BYTES_MAX.saturating_sub(suffix.len());
    let topic = topic.get(..topic.len().min(room)).unwrap_or(topic);
    format!("{topic}{suffix}")
}

/// What the copy of a partition that is being moved to another log directory is called: `<topic>-<partition>.<uuid without dashes>-future`, cut as
/// [`deleted_directory`] is.
pub fn future_directory(topic: &str, partition: PartitionIndex, unique: Uuid) -> String {
    format!("{}.{}{FUTURE_SUFFIX}", future_stem(topic, partition), unique.simple())
}

/// What the names of all copies of a partition begin with: that of its own directory, cut where a long topic leaves no room for the rest.
pub fn future_stem(topic: &str, partition: PartitionIndex) -> String {
    let index = format!("-{partition}");
    let room = NAME_BYTES_MAX.saturating_sub(index.len() + 1 + Uuid::nil().simple().to_string().len() + FUTURE_SUFFIX.len());
    let topic = topic.get(..topic.len().min(room)).unwrap_or(topic);
    format!("{topic}{index}")
}

/// The [`future_stem`] of the partition when `name` is that of a copy.
pub fn partition_of_future(name: &str) -> Option<&str> {
    let (partition, unique) = name.strip_suffix(FUTURE_SUFFIX)?.rsplit_once('.')?;
    Uuid::try_parse(unique).is_ok().then_some(partition)
}

/// Whether a directory waits to be unlinked.
pub fn is_deleted(name: &str) -> bool {
    name.strip_suffix(DELETED_SUFFIX).and_then(|rest| rest.rsplit_once('.')).is_some_and(|(_, unique)| Uuid::try_parse(unique).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        assert_eq!(segment_file(Offset(42), LOG), "00000000000000000042.log");
        assert_eq!(parse_segment_file("00000000000000000042.timeindex"), Some((Offset(42), "timeindex")));
        for bad in ["42.log", "0000000000000000004x.log", "leader-epoch-checkpoint", "99999999999999999999.log"] {
            assert_eq!(parse_segment_file(bad), None, "{bad}");
        }
        assert_eq!(parse_partition_directory("a-b-3"), Some(("a-b", PartitionIndex(3))));
        for bad in ["a", "-3", "a-", "a-x", "a-99999999999"] {
            assert_eq!(parse_partition_directory(bad), None, "{bad}");
        }
        let deleted = deleted_directory("t-delete", PartitionIndex(0), Uuid::from_u128(5));
        assert!(is_deleted(&deleted) && parse_partition_directory(&deleted).is_none());
        let future = future_directory("t.x", PartitionIndex(7), Uuid::from_u128(5));
        assert_eq!((partition_of_future(&future), parse_partition_directory(&future)), (Some("t.x-7"), None));
        assert!(partition_of_future("t-future").is_none() && !is_deleted(&future));
        assert!(!is_deleted("t-delete") && !is_deleted("t-0"));
        let (long, index) = ("x".repeat(249), PartitionIndex(100));
        let future = future_directory(&long, index, Uuid::from_u128(5));
        assert_eq!((future.len(), partition_of_future(&future)), (255, Some(&*future_stem(&long, index))));
        assert!(deleted_directory(&"x".repeat(249), PartitionIndex(100), Uuid::from_u128(5)).len() <= 255);
    }
}
