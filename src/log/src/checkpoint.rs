//! Kafka's small text files: offset checkpoints, leader epochs, `partition.metadata`, `meta.properties`, `.kafka_cleanshutdown`.

use crate::epochs::EpochStart;
use odradek_base::ids::{uuid_from_kafka_string, uuid_to_kafka_string};
use odradek_base::{LeaderEpoch, Offset, PartitionIndex, TopicId};
use std::fmt::Write;

const VERSION: &str = "0";

/// `recovery-point-offset-checkpoint` and its siblings: version, count, then `topic partition offset` per line.
pub fn encode_offsets<'a>(entries: impl Iterator<Item = (&'a str, PartitionIndex, Offset)>) -> String {
    let mut lines = String::new();
    let mut count = 0;
    for (topic, partition, offset) in entries {
        let _ = writeln!(lines, "{topic} {partition} {offset}");
        count += 1;
    }
    format!("{VERSION}\n{count}\n{lines}")
}

/// `None` where the text is not such a file.
pub fn decode_offsets(text: &str) -> Option<Vec<(String, PartitionIndex, Offset)>> {
    let entry = |line: &str| {
        let mut fields = line.split_whitespace();
        let entry = (fields.next()?.to_owned(), PartitionIndex(fields.next()?.parse().ok()?), Offset(fields.next()?.parse().ok()?));
        fields.next().is_none().then_some(entry)
    };
    decode_lines(text, entry)
}

/// `leader-epoch-checkpoint`: version, count, then `epoch start` per line.
pub fn encode_epochs(entries: &[EpochStart]) -> String {
    let mut out = format!("{VERSION}\n{}\n", entries.len());
    for entry in entries {
        let _ = writeln!(out, "{} {}", entry.epoch, entry.start);
    }
    out
}

/// `None` where the text is not such a file.
pub fn decode_epochs(text: &str) -> Option<Vec<EpochStart>> {
    decode_lines(text, |line| {
        let (epoch, start) = line.split_once(' ')?;
        Some(EpochStart { epoch: LeaderEpoch(epoch.trim().parse().ok()?), start: Offset(start.trim().parse().ok()?) })
    })
}

fn decode_lines<T>(text: &str, entry: impl Fn(&str) -> Option<T>) -> Option<Vec<T>> {
    let mut lines = text.lines();
    if lines.next()?.trim() != VERSION {
        return None;
    }
    let count: usize = lines.next()?.trim().parse().ok()?;
    let entries: Option<Vec<T>> = lines.filter(|line| !line.trim().is_empty()).map(entry).collect();
    entries.filter(|entries| entries.len() == count)
}

/// `partition.metadata` (KIP-516).
pub fn encode_partition_metadata(topic: TopicId) -> String {
    format!("version: 0\ntopic_id: {}\n", uuid_to_kafka_string(topic.0))
}

/// The topic id in a `partition.metadata`.
pub fn decode_partition_metadata(text: &str) -> Option<TopicId> {
    text.lines().find_map(|line| line.strip_prefix("topic_id:")).and_then(|id| uuid_from_kafka_string(id.trim())).map(TopicId)
}

/// `.kafka_cleanshutdown` (`CleanShutdownFileHandler`): the broker epoch is -1 where there is none.
pub fn encode_clean_shutdown() -> String {
    "{\"version\":0,\"brokerEpoch\":-1}".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn files_round_trip_and_nonsense_is_refused() {
        let entries = vec![("a".to_owned(), PartitionIndex(0), Offset(7)), ("b-c".to_owned(), PartitionIndex(12), Offset(0))];
        let text = encode_offsets(entries.iter().map(|(topic, partition, offset)| (topic.as_str(), *partition, *offset)));
        assert_eq!(text, "0\n2\na 0 7\nb-c 12 0\n");
        assert_eq!(decode_offsets(&text), Some(entries));
        let epochs = vec![EpochStart { epoch: LeaderEpoch(0), start: Offset(0) }, EpochStart { epoch: LeaderEpoch(3), start: Offset(99) }];
        assert_eq!(encode_epochs(&epochs), "0\n2\n0 0\n3 99\n");
        assert_eq!(decode_epochs("0\n2\n0 0\n3 99\n"), Some(epochs));
        for bad in ["", "1\n0\n", "0\nx\n", "0\n2\n0 0\n", "0\n1\nnope\n"] {
            assert_eq!(decode_epochs(bad), None, "{bad:?}");
        }
        let topic = TopicId(Uuid::from_u128(99));
        assert_eq!(decode_partition_metadata(&encode_partition_metadata(topic)), Some(topic));
        assert_eq!(decode_partition_metadata("version: 0\ntopic_id: zz\n"), None);
    }
}
