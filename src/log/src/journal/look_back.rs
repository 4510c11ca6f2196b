//! What a block repeats of those before it, so that a block that cannot be read is missed by the partitions concerned.

use super::format::{ENTRY_HEADER_BYTES, EntryHeader, EntryKind};
use odradek_base::TopicPartition;
use std::cmp::Reverse;

/// Entries kept of blocks before the last one. They are written where padding would be, which seldom has room for more.
const OLDER_MAX: usize = 32;

/// Follows what blocks do to their partitions.
#[derive(Debug, Default)]
pub(crate) struct LookBack {
    /// Of the block that is being filled, as it comes.
    open: Vec<EntryHeader>,
    /// Of the block before: one entry a partition and kind, sorted by both.
    last: Vec<EntryHeader>,
    /// Of earlier blocks, the newest first, and nothing that `last` has.
    older: Vec<EntryHeader>,
}

impl LookBack {
    /// The block that is being filled does this.
    pub fn note(&mut self, entry: EntryHeader) {
        debug_assert!(entry.payload_bytes == 0 && entry.kind != EntryKind::Batch, "{entry:?} cannot be repeated");
        match self.open.last_mut() {
            Some(last) if key(last) == key(&entry) => *last = entry,
            _ => self.open.push(entry),
        }
    }

    /// The block that is being filled is the last one now.
    pub fn close(&mut self) {
        // The offsets of a partition grow: the largest is the newest.
        self.open.sort_unstable_by_key(|entry| (key(entry), Reverse(entry.offset)));
        self.open.dedup_by_key(|entry| key(entry));
        let is_newer = |entry: &&EntryHeader| self.open.binary_search_by_key(&key(entry), key).is_err();
        self.older = self.last.iter().chain(&self.older).filter(is_newer).take(OLDER_MAX).copied().collect();
        std::mem::swap(&mut self.open, &mut self.last);
        self.open.clear();
    }

    /// What the next block has to repeat.
    pub fn last(&self) -> &[EntryHeader] {
        &self.last
    }

    /// Bytes of [`Self::last`] in a block.
    pub fn last_bytes(&self) -> usize {
        self.last.len() * ENTRY_HEADER_BYTES
    }

    /// What it may repeat besides, the newest first.
    pub fn older(&self) -> &[EntryHeader] {
        &self.older
    }

    /// Memory, in bytes.
    pub fn bytes(&self) -> usize {
        (self.open.capacity() + self.last.capacity() + self.older.capacity()) * size_of::<EntryHeader>()
    }
}

fn key(entry: &EntryHeader) -> (EntryKind, TopicPartition) {
    (entry.kind, entry.partition)
}

#[cfg(test)]
mod tests {
    use super::*;
    use odradek_base::{LeaderEpoch, Offset, PartitionIndex, TopicId};

    fn entry(kind: EntryKind, partition: i32, offset: i64) -> EntryHeader {
        EntryHeader {
            kind,
            partition: TopicPartition::new(TopicId::NONE, PartitionIndex(partition)),
            leader_epoch: LeaderEpoch(0),
            offset: Offset(offset),
            payload_bytes: 0,
        }
    }

    fn end(partition: i32, offset: i64) -> EntryHeader {
        entry(EntryKind::LogEnd, partition, offset)
    }

    #[test]
    fn the_newest_of_each_partition_is_repeated() {
        let mut look_back = LookBack::default();
        for one in [end(1, 5), end(0, 7), end(1, 6), entry(EntryKind::LogStart, 1, 2), end(1, 8)] {
            look_back.note(one);
        }
        look_back.close();
        let first = [entry(EntryKind::LogStart, 1, 2), end(0, 7), end(1, 8)];
        assert_eq!((look_back.last(), look_back.older()), (&first[..], &[][..]));
        look_back.note(end(1, 9));
        look_back.close();
        assert_eq!((look_back.last(), look_back.older()), (&[end(1, 9)][..], &first[..2]));
        look_back.note(end(2, 1));
        look_back.close();
        assert_eq!(look_back.older(), [end(1, 9), first[0], first[1]], "the newest first");
        for i in 0..100 {
            look_back.note(end(10 + i, 1));
            look_back.close();
        }
        assert_eq!((look_back.older().len(), look_back.older()[0]), (OLDER_MAX, end(108, 1)));
    }
}
