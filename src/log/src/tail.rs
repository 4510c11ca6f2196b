//! The recent batches of one partition in memory: slices of journal blocks, oldest first. The front part is also in the segment and may be
//! evicted; the rest is what the flusher has to write.

use crate::journal::format::Sequence;
use bytes::Bytes;
use odradek_base::Offset;
use std::collections::VecDeque;

/// A durable batch in memory.
#[derive(Debug, Clone)]
pub struct TailBatch {
    pub base_offset: Offset,
    pub last_offset: Offset,
    /// The journal block it is in.
    pub sequence: Sequence,
    /// Base offset of its segment.
    pub segment: Offset,
    /// Position in the segment, in bytes.
    pub position: u64,
    pub bytes: Bytes,
}

#[derive(Debug, Default)]
pub struct Tail {
    batches: VecDeque<TailBatch>,
    /// So many from the front are in the segment.
    flushed: usize,
    /// Bytes of those that are not.
    pending_bytes: u64,
}

impl Tail {
    pub fn push(&mut self, batch: TailBatch) {
        assert!(self.batches.back().is_none_or(|last| last.last_offset < batch.base_offset), "tail batches ascend");
        self.pending_bytes += batch.bytes.len() as u64;
        self.batches.push_back(batch);
    }

    /// Durable bytes that are not in the segment.
    pub fn pending_bytes(&self) -> u64 {
        self.pending_bytes
    }

    /// Oldest journal block that the segment does not cover.
    pub fn first_pending(&self) -> Option<Sequence> {
        self.pending().next().map(|batch| batch.sequence)
    }

    pub fn pending(&self) -> impl Iterator<Item = &TailBatch> {
        self.batches.range(self.flushed..)
    }

    /// Everything below `through` is in the segment now.
    pub fn flushed(&mut self, through: Offset) {
        while let Some(batch) = self.batches.get(self.flushed).filter(|batch| batch.last_offset < through) {
            self.pending_bytes -= batch.bytes.len() as u64;
            self.flushed += 1;
        }
    }

    /// Drops flushed batches of blocks up to `sequence`. Returns false when a batch of such a block is not flushed and stays.
    pub fn evict(&mut self, sequence: Sequence) -> bool {
        while let Some(front) = self.batches.front().filter(|front| front.sequence <= sequence) {
            debug_assert!(front.sequence <= sequence);
            if self.flushed == 0 {
                return false;
            }
            self.flushed -= 1;
            self.batches.pop_front();
        }
        if self.batches.capacity() > 64 && self.batches.len() * 4 < self.batches.capacity() {
            self.batches.shrink_to(self.batches.len() * 2);
        }
        true
    }

    /// Whether all batches of blocks up to `sequence` may be dropped.
    pub fn evictable(&self, sequence: Sequence) -> bool {
        self.first_pending().is_none_or(|pending| pending > sequence)
    }

    /// First offset in memory.
    pub fn start(&self) -> Option<Offset> {
        self.batches.front().map(|batch| batch.base_offset)
    }

    /// Batches from the one that contains `from` on; `None` when that one is not in memory.
    pub fn from(&self, from: Offset) -> Option<impl Iterator<Item = &TailBatch>> {
        let at = self.batches.partition_point(|batch| batch.last_offset < from);
        let first = self.batches.get(at)?;
        // Offsets may have gaps (compaction); only the very first batch in memory may hide an earlier one on disk.
        (first.base_offset <= from || at > 0).then(|| self.batches.range(at..))
    }

    pub fn len(&self) -> usize {
        self.batches.len()
    }

    pub fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }
}
