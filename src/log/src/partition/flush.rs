//! What to write to a segment file next, and what is known once it is written.

use super::{PartitionLog, PendingSnapshot};
use bytes::Bytes;
use odradek_base::Offset;

/// One write to one segment file: `batches` go to `position`, then the file is flushed.
#[derive(Debug, Clone)]
pub struct FlushPlan {
    /// Base offset of the segment.
    pub segment: Offset,
    pub position: u64,
    pub batches: Vec<Bytes>,
    pub bytes: u64,
    /// Offset after the last batch.
    pub through: Offset,
    /// The segment is complete afterwards.
    pub completes: bool,
}

impl PartitionLog {
    /// The durable batches that the segment lacks, from the oldest on, of one segment, at least one batch and then up to `bytes_max`.
    pub fn plan_flush(&self, bytes_max: u64) -> Option<FlushPlan> {
        let first = self.tail.pending().next()?;
        let (segment, position) = (first.segment, first.position);
        let (mut batches, mut bytes, mut through) = (Vec::new(), 0u64, first.base_offset);
        for batch in self.tail.pending().take_while(|batch| batch.segment == segment) {
            if !batches.is_empty() && bytes + batch.bytes.len() as u64 > bytes_max {
                break;
            }
            bytes += batch.bytes.len() as u64;
            through = batch.last_offset.next();
            batches.push(batch.bytes.clone());
        }
        let at = self.segment_by_base(segment)?;
        let completes = at + 1 < self.segments.len() && self.segments.get(at).is_some_and(|meta| position + bytes == meta.bytes);
        Some(FlushPlan { segment, position, batches, bytes, through, completes })
    }

    /// `plan` is in the segment file and on stable storage.
    pub fn flushed(&mut self, plan: &FlushPlan) {
        // Retention may have taken the segment away meanwhile; it only takes flushed ones, so it is there.
        let at = self.segment_by_base(plan.segment).expect("a segment with unflushed batches is not deleted");
        let rolled = at + 1 < self.segments.len();
        let segment = &mut self.segments[at];
        assert_eq!(segment.flushed_bytes, plan.position, "{}: flushes of a segment follow each other", self.partition);
        segment.flushed_bytes += plan.bytes;
        assert!(segment.flushed_bytes <= segment.bytes, "{}: more flushed than appended", self.partition);
        if rolled && !plan.completes && segment.flushed_bytes == segment.bytes {
            self.unfinished.push(plan.segment);
        }
        self.tail.flushed(plan.through);
        self.set_flushed(plan.through);
    }

    /// Segments that are complete and flushed, whose files have not been cut and indexed to their end, with their sizes.
    pub fn take_unfinished(&mut self) -> Vec<(Offset, u64)> {
        let bases = std::mem::take(&mut self.unfinished);
        // Retention may have taken one away.
        bases.into_iter().filter_map(|base| Some((base, self.segments.get(self.segment_by_base(base)?)?.bytes))).collect()
    }

    /// Producer snapshots of segments that begin at or below `through`.
    pub fn take_snapshots(&mut self, through: Offset) -> Vec<PendingSnapshot> {
        let after = self.snapshots.partition_point(|snapshot| snapshot.offset <= through);
        self.snapshots.drain(..after).collect()
    }

    /// The segment at `at`, for the bookkeeping of its index files.
    pub fn segment_mut(&mut self, base: Offset) -> Option<&mut crate::segment::meta::Segment> {
        let at = self.segment_by_base(base)?;
        self.segments.get_mut(at)
    }

    /// On a clean stop: everything appended is durable and flushed, and the active segment's time index gets its last entry
    /// (`LogSegment.close`).
    pub fn index_time_of_active(&mut self) {
        self.active().index_time();
    }
}
