//! What compaction asks of a log, and how its result gets in.

use super::PartitionLog;
use crate::compaction::{Cleanable, cleanable};
use crate::segment::meta::Segment;
use crate::segment::transaction_index::AbortedTransaction;
use odradek_base::{Offset, Timestamp};

impl PartitionLog {
    /// What may be compacted ([`crate::compaction::cleanable`]). `checkpoint`: where the last compaction ended.
    pub fn cleanable(&self, checkpoint: Option<Offset>, now: Timestamp) -> Option<Cleanable> {
        // The next flush cuts and indexes the files of an unfinished segment: until then they are not replaced.
        let unfinished = self.unfinished.iter().filter_map(|base| self.segment_by_base(*base)).min();
        let segments = unfinished.and_then(|at| self.segments.get(..=at)).unwrap_or(&self.segments);
        cleanable(segments, &self.marks, &self.config, checkpoint, now)
    }

    /// Whether the segments with these base offsets are still there, one after the other, and none of them is active.
    pub fn has_segments(&self, bases: &[Offset]) -> bool {
        let Some(at) = bases.first().and_then(|first| self.segment_by_base(*first)) else { return false };
        let found = self.segments.get(at..at + bases.len()).unwrap_or_default();
        found.len() == bases.len()
            && at + bases.len() < self.segments.len()
            && found.iter().zip(bases).all(|(segment, base)| segment.base_offset == *base)
    }

    /// Replaces segments by one that was compacted from them. `aborted`: the transactions of its index.
    ///
    /// # Panics
    /// When [`PartitionLog::has_segments`] is false, or the new segment does not lie within the old ones.
    pub fn replace_segments(&mut self, bases: &[Offset], segment: Segment, aborted: Vec<AbortedTransaction>) {
        assert!(self.has_segments(bases), "{}: compacted segments are gone", self.partition);
        let at = self.segment_by_base(segment.base_offset).expect("a compacted segment keeps the first base offset");
        let after = self.segments.get(at + bases.len()).map_or(segment.next_offset, |next| next.base_offset);
        assert!(segment.next_offset <= after, "{}: a compacted segment reaches into the next one", self.partition);
        let base = segment.base_offset;
        self.segments.splice(at..at + bases.len(), [segment]);
        self.aborted.retain(|known| known.last_offset < base || known.last_offset >= after);
        self.aborted.extend(aborted);
        self.aborted.sort_by_key(|known| known.last_offset);
    }
}
