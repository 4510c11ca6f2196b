//! Which partition of an internal topic a key belongs to.

use crate::PartitionIndex;

/// The partition of an internal topic that holds a group or a transactional id: Java's `String.hashCode` over UTF-16 units,
/// `Utils.abs` (the sign bit cleared), modulo the partition count (`GroupCoordinatorService.partitionFor`,
/// `TransactionStateManager.partitionFor`).
///
/// `partitions` is a count of our own and at least 1.
pub fn internal_partition_for(key: &str, partitions: i32) -> PartitionIndex {
    assert!(partitions > 0, "an internal topic has at least one partition");
    PartitionIndex((java_string_hash(key) & i32::MAX) % partitions)
}

fn java_string_hash(text: &str) -> i32 {
    text.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_like_java() {
        // Well-known values; the last is the classic string whose hash is Integer.MIN_VALUE.
        assert_eq!(java_string_hash(""), 0);
        assert_eq!(java_string_hash("abc"), 96354);
        assert_eq!(java_string_hash("polygenelubricants"), i32::MIN);
        assert_eq!(internal_partition_for("polygenelubricants", 50), PartitionIndex(0));
        // One character outside the basic plane is two UTF-16 units.
        assert_eq!(java_string_hash("\u{1F600}"), 0xD83D * 31 + 0xDE00);
        for key in ["", "a", "console-consumer-1", "ü"] {
            assert!((0..50).contains(&internal_partition_for(key, 50).get()));
        }
    }
}
