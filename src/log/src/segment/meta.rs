//! What is kept in memory of one segment: sizes, timestamps and the index entries that its files do not have yet.

use super::offset_index::OffsetEntry;
use super::time_index::TimeEntry;
use super::transaction_index::AbortedTransaction;
use crate::config::LogConfig;
use odradek_base::{Offset, Timestamp};
use odradek_wire::batch::BatchView;

/// Entries of an index: those of the file come first, the rest is in memory (and may be in the file, too).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexTail<E> {
    /// Entries that are only in the file.
    file_only: usize,
    /// Entries in the file, counted from its start.
    persisted: usize,
    memory: Vec<E>,
}

impl<E> Default for IndexTail<E> {
    fn default() -> Self {
        Self { file_only: 0, persisted: 0, memory: Vec::new() }
    }
}

impl<E> IndexTail<E> {
    /// An index with `count` entries, all in the file.
    pub fn on_disk(count: usize) -> Self {
        Self { file_only: count, persisted: count, memory: Vec::new() }
    }

    pub fn len(&self) -> usize {
        self.file_only + self.memory.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Entries that are in memory; the file has those before.
    pub fn memory(&self) -> &[E] {
        &self.memory
    }

    /// Entries that are only in the file.
    pub fn file_only(&self) -> usize {
        self.file_only
    }

    /// Number of the first entry that the file lacks, and those entries.
    pub fn unpersisted(&self) -> (usize, &[E]) {
        (self.persisted, self.memory.get(self.persisted - self.file_only..).unwrap_or_default())
    }

    /// The file has everything up to `count` entries. With `forget`, memory keeps none of them.
    pub fn persisted(&mut self, count: usize, forget: bool) {
        assert!(count <= self.len(), "persisted {count} of {} index entries", self.len());
        self.persisted = self.persisted.max(count);
        if forget {
            self.memory.drain(..self.persisted - self.file_only);
            self.file_only = self.persisted;
            self.memory.shrink_to_fit();
        }
    }

    pub fn push(&mut self, entry: E) {
        self.memory.push(entry);
    }
}

/// A batch as a segment counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchSummary {
    pub base_offset: Offset,
    pub last_offset: Offset,
    pub max_timestamp: Timestamp,
    pub bytes: u32,
}

impl BatchSummary {
    /// Of a batch as it lies in a segment. One without records (compaction leaves such for the producer state) has no timestamp.
    pub fn of(view: &BatchView<'_>) -> Self {
        Self {
            base_offset: view.base_offset(),
            last_offset: view.last_offset(),
            max_timestamp: if view.record_count() == 0 { Timestamp::NONE } else { view.max_timestamp() },
            bytes: view.total_bytes() as u32,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    pub base_offset: Offset,
    /// Offset after the last batch.
    pub next_offset: Offset,
    /// Size with everything appended, in bytes.
    pub bytes: u64,
    /// Of these, in the file and flushed.
    pub flushed_bytes: u64,
    /// Timestamp of the first batch, what `segment.ms` counts from.
    pub first_timestamp: Option<Timestamp>,
    pub created: Timestamp,
    /// -1 without a timestamp.
    pub max_timestamp: Timestamp,
    /// Last offset of the batch with the largest timestamp.
    pub offset_of_max_timestamp: Offset,
    /// Subtracted from `segment.ms`.
    pub roll_jitter_ms: i64,
    bytes_since_index: u64,
    pub offset_index: IndexTail<OffsetEntry>,
    pub time_index: IndexTail<TimeEntry>,
    last_time_entry: Option<TimeEntry>,
    pub aborted: IndexTail<AbortedTransaction>,
}

impl Segment {
    pub fn new(base_offset: Offset, now: Timestamp) -> Self {
        Self {
            base_offset,
            next_offset: base_offset,
            bytes: 0,
            flushed_bytes: 0,
            first_timestamp: None,
            created: now,
            max_timestamp: Timestamp::NONE,
            offset_of_max_timestamp: base_offset,
            roll_jitter_ms: 0,
            bytes_since_index: 0,
            offset_index: IndexTail::default(),
            time_index: IndexTail::default(),
            last_time_entry: None,
            aborted: IndexTail::default(),
        }
    }

    /// Continues a segment whose file and indexes exist up to a certain point.
    #[allow(clippy::too_many_arguments)]
    pub fn resume(
        &mut self,
        bytes_since_index: u64,
        last_time_entry: Option<TimeEntry>,
        offset_entries: usize,
        time_entries: usize,
        aborted_entries: usize,
    ) {
        self.bytes_since_index = bytes_since_index;
        self.last_time_entry = last_time_entry;
        self.offset_index = IndexTail::on_disk(offset_entries);
        self.time_index = IndexTail::on_disk(time_entries);
        self.aborted = IndexTail::on_disk(aborted_entries);
    }

    pub fn bytes_since_index(&self) -> u64 {
        self.bytes_since_index
    }

    pub fn last_time_entry(&self) -> Option<TimeEntry> {
        self.last_time_entry
    }

    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Whether `batch` belongs into a new segment (`LogSegment.shouldRoll`).
    pub fn should_roll(&self, batch: &BatchSummary, config: &LogConfig, now: Timestamp) -> bool {
        if self.bytes + u64::from(batch.bytes) > u64::from(config.segment_bytes) && !self.is_empty() {
            return true;
        }
        let index_full =
            self.offset_index.len() >= config.offset_index_entries_max() || self.time_index.len() + 1 >= config.time_index_entries_max();
        let relative_overflow = batch.last_offset.get() - self.base_offset.get() > i64::from(i32::MAX);
        (!self.is_empty() && self.roll_time_reached(batch.max_timestamp, config, now)) || index_full || relative_overflow
    }

    fn roll_time_reached(&self, batch_timestamp: Timestamp, config: &LogConfig, now: Timestamp) -> bool {
        let waited = match self.first_timestamp {
            Some(first) if first.get() >= 0 && batch_timestamp.get() >= 0 => batch_timestamp.get().saturating_sub(first.get()),
            _ => now.get().saturating_sub(self.created.get()),
        };
        waited > config.segment_ms_max().saturating_sub(self.roll_jitter_ms)
    }

    /// Counts an appended batch and adds index entries where they are due (`LogSegment.append`).
    pub fn append(&mut self, batch: &BatchSummary, config: &LogConfig) {
        let position = self.bytes;
        self.first_timestamp.get_or_insert(batch.max_timestamp);
        if batch.max_timestamp > self.max_timestamp {
            self.max_timestamp = batch.max_timestamp;
            self.offset_of_max_timestamp = batch.last_offset;
        }
        if self.bytes_since_index > u64::from(config.index_interval_bytes) {
            self.offset_index.push(OffsetEntry { relative_offset: self.relative(batch.last_offset), position: position as u32 });
            self.index_time();
            self.bytes_since_index = 0;
        }
        self.bytes_since_index += u64::from(batch.bytes);
        self.bytes += u64::from(batch.bytes);
        self.next_offset = batch.last_offset.next();
    }

    /// Adds the last entry of the time index when the segment gets no more batches (`LogSegment.onBecomeInactiveSegment`).
    pub fn index_time(&mut self) {
        if self.max_timestamp.get() < 0 {
            return;
        }
        let entry = TimeEntry { timestamp: self.max_timestamp, relative_offset: self.relative(self.offset_of_max_timestamp) };
        if self.last_time_entry.is_none_or(|last| entry.timestamp > last.timestamp) {
            self.time_index.push(entry);
            self.last_time_entry = Some(entry);
        }
    }

    fn relative(&self, offset: Offset) -> u32 {
        u32::try_from(offset.get() - self.base_offset.get()).expect("segments roll before relative offsets overflow")
    }

    /// The timestamp that retention looks at.
    pub fn largest_timestamp(&self) -> Timestamp {
        if self.max_timestamp.get() >= 0 { self.max_timestamp } else { self.created }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(base: i64, timestamp: i64, bytes: u32) -> BatchSummary {
        BatchSummary { base_offset: Offset(base), last_offset: Offset(base + 9), max_timestamp: Timestamp(timestamp), bytes }
    }

    #[test]
    fn rolls_by_size_time_and_index() {
        let config = LogConfig { segment_bytes: 1000, segment_ms: 100, ..LogConfig::default() };
        let mut segment = Segment::new(Offset(0), Timestamp(0));
        assert!(!segment.should_roll(&summary(0, 5, 2000), &config, Timestamp(9999)), "an empty segment takes anything");
        segment.append(&summary(0, 5, 600), &config);
        assert!(!segment.should_roll(&summary(10, 105, 400), &config, Timestamp(9999)));
        assert!(segment.should_roll(&summary(10, 105, 401), &config, Timestamp(0)));
        assert!(segment.should_roll(&summary(10, 106, 1), &config, Timestamp(0)));
        assert!(segment.should_roll(&summary(i64::from(i32::MAX) + 1, 5, 1), &config, Timestamp(0)));
        let tiny = LogConfig { segment_index_bytes: 24, index_interval_bytes: 0, ..LogConfig::default() };
        segment.append(&summary(10, 6, 1), &tiny);
        assert!(segment.should_roll(&summary(20, 7, 1), &tiny, Timestamp(0)), "time index full");
    }

    #[test]
    fn index_entries_are_due_every_interval() {
        let config = LogConfig { index_interval_bytes: 1000, ..LogConfig::default() };
        let mut segment = Segment::new(Offset(100), Timestamp(0));
        for i in 0..6 {
            segment.append(&summary(100 + i * 10, if i == 3 { 50 } else { 10 }, 600), &config);
        }
        let offsets: Vec<_> = segment.offset_index.memory().iter().map(|entry| (entry.relative_offset, entry.position)).collect();
        assert_eq!(offsets, [(29, 1200), (49, 2400)]);
        let times: Vec<_> = segment.time_index.memory().iter().map(|entry| (entry.timestamp.0, entry.relative_offset)).collect();
        assert_eq!(times, [(10, 9), (50, 39)]);
        segment.offset_index.persisted(1, false);
        assert_eq!(segment.offset_index.unpersisted().0, 1);
        segment.offset_index.persisted(2, true);
        assert!(segment.offset_index.memory().is_empty() && segment.offset_index.len() == 2);
    }
}
