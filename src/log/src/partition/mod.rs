//! One partition's log as a state machine without I/O.
//!
//! A batch goes through three steps, each in offset order: [`PartitionLog::append`] checks it against the producer state, gives it offsets and copies
//! it into the journal's open block; [`PartitionLog::completed`] takes the durable slice back as tail of the log; [`flush`] plans
//! the write to the segment file and [`PartitionLog::flushed`] records that it is done.

mod append;
mod compact;
mod flush;
#[cfg(test)]
mod recovered_tests;
#[cfg(test)]
mod tests;

pub use append::{AppendContext, AppendError, AppendOrigin, Appended, marker_of};
pub use flush::FlushPlan;

use crate::config::LogConfig;
use crate::epochs::LeaderEpochs;
use crate::journal::format::Sequence;
use crate::marks::{Appended as AppendedMark, Durable, Flushed, HighWatermark, LastStable, LogStart, Marks};
use crate::producer_state::ProducerState;
use crate::segment::meta::{BatchSummary, IndexTail, Segment};
use crate::segment::transaction_index::AbortedTransaction;
use crate::tail::{Tail, TailBatch};
use bytes::Bytes;
use odradek_base::{LeaderEpoch, Offset, Rng, Timestamp, TopicPartition};
use std::collections::BTreeMap;

/// Who moves the high watermark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HighWatermarkRule {
    /// This replica is the whole in-sync set: what is durable here is replicated.
    #[default]
    FollowsDurable,
    /// Replication tells ([`PartitionLog::advance_high_watermark`]).
    External,
}

/// A log start offset that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("offset {requested} is outside of the log's range {start} to {high_watermark}")]
pub struct StartOutOfRange {
    pub requested: Offset,
    pub start: Offset,
    pub high_watermark: Offset,
}

/// Producer snapshot that belongs to a rolled segment: file `<offset>.snapshot`.
#[derive(Debug, Clone)]
pub struct PendingSnapshot {
    pub offset: Offset,
    pub bytes: Vec<u8>,
}

#[derive(Debug)]
pub struct PartitionLog {
    partition: TopicPartition,
    config: LogConfig,
    marks: Marks,
    high_watermark_rule: HighWatermarkRule,
    /// In order; the last one is active. Never empty.
    segments: Vec<Segment>,
    tail: Tail,
    producers: ProducerState,
    epochs: LeaderEpochs,
    /// The epochs changed since the checkpoint was written.
    epochs_dirty: bool,
    /// Aborted transactions, oldest first, as far as they are in memory; the transaction index files have all.
    aborted: Vec<AbortedTransaction>,
    snapshots: Vec<PendingSnapshot>,
    /// Segments that were flushed whole before they were known to be complete: padding and indexes of their files wait for the next flush.
    unfinished: Vec<Offset>,
    /// Journal block of the last append or log start change.
    last_sequence: Sequence,
    jitter: Rng,
}

impl PartitionLog {
    /// An empty log that starts at `start`.
    pub fn new(partition: TopicPartition, config: LogConfig, start: Offset, now: Timestamp, jitter: Rng) -> Self {
        Self::restore(
            partition,
            config,
            Marks::settled(start, start),
            vec![Segment::new(start, now)],
            ProducerState::default(),
            LeaderEpochs::default(),
            jitter,
        )
    }

    /// A log as recovery found it. Everything is flushed; the last of `segments` is the active one.
    ///
    /// # Panics
    /// Without a segment.
    pub fn restore(
        partition: TopicPartition,
        config: LogConfig,
        marks: Marks,
        segments: Vec<Segment>,
        producers: ProducerState,
        epochs: LeaderEpochs,
        jitter: Rng,
    ) -> Self {
        assert!(!segments.is_empty(), "a log has an active segment");
        let mut log = Self {
            partition,
            config,
            marks,
            high_watermark_rule: HighWatermarkRule::default(),
            segments,
            tail: Tail::default(),
            producers,
            epochs,
            epochs_dirty: false,
            aborted: Vec::new(),
            snapshots: Vec::new(),
            unfinished: Vec::new(),
            last_sequence: Sequence(0),
            jitter,
        };
        log.producers.high_watermark_moved(log.marks.high_watermark.offset());
        log.update_last_stable();
        log.marks.check();
        log
    }

    pub fn partition(&self) -> TopicPartition {
        self.partition
    }

    pub fn config(&self) -> &LogConfig {
        &self.config
    }

    pub fn set_config(&mut self, config: LogConfig) {
        self.config = config;
    }

    pub fn marks(&self) -> Marks {
        self.marks
    }

    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    pub fn tail(&self) -> &Tail {
        &self.tail
    }

    pub fn producers(&self) -> &ProducerState {
        &self.producers
    }

    /// Replaces the producers by those of a snapshot.
    pub fn load_producers(&mut self, producers: Vec<(odradek_base::ProducerId, crate::producer_state::entry::ProducerEntry)>) {
        self.producers.load(producers);
        self.update_last_stable();
    }

    pub fn epochs(&self) -> &LeaderEpochs {
        &self.epochs
    }

    pub fn last_sequence(&self) -> Sequence {
        self.last_sequence
    }

    /// Bytes of all segments, appended ones included.
    pub fn size_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    fn active(&mut self) -> &mut Segment {
        self.segments.last_mut().expect("a log has an active segment")
    }

    /// Index of the segment that contains `offset`, or would.
    pub fn segment_at(&self, offset: Offset) -> Option<usize> {
        self.segments.partition_point(|segment| segment.base_offset <= offset).checked_sub(1)
    }

    pub fn segment_by_base(&self, base: Offset) -> Option<usize> {
        self.segments.binary_search_by_key(&base, |segment| segment.base_offset).ok()
    }

    /// A new leadership begins at the log's end.
    pub fn set_leader_epoch(&mut self, epoch: LeaderEpoch) {
        self.epochs_dirty |= self.epochs.assign(epoch, self.marks.appended.offset());
    }

    /// An appended batch is on stable storage; batches complete in the order they were appended. Returns whether the high watermark moved.
    pub fn completed(&mut self, base_offset: Offset, last_offset: Offset, sequence: Sequence, bytes: Bytes) -> bool {
        let before = self.marks.durable.offset();
        assert!(base_offset >= before, "{}: batch {base_offset} completes, but everything below {before} is durable", self.partition);
        let segment =
            self.segment_at(base_offset).and_then(|at| self.segments.get(at)).expect("an appended batch has a segment").base_offset;
        let position = match self.tail.pending().last() {
            Some(previous) if previous.segment == segment => previous.position + previous.bytes.len() as u64,
            Some(_) => 0,
            None => self.segment_by_base(segment).and_then(|at| self.segments.get(at)).map_or(0, |segment| segment.flushed_bytes),
        };
        self.tail.push(TailBatch { base_offset, last_offset, sequence, segment, position, bytes });
        self.marks.durable = Durable(last_offset.next());
        match self.high_watermark_rule {
            HighWatermarkRule::FollowsDurable => self.advance_high_watermark(last_offset.next()),
            HighWatermarkRule::External => false,
        }
    }

    pub fn set_high_watermark_rule(&mut self, rule: HighWatermarkRule) {
        self.high_watermark_rule = rule;
        if rule == HighWatermarkRule::FollowsDurable {
            self.advance_high_watermark(self.marks.durable.offset());
        }
    }

    /// Moves the high watermark forward, never beyond durable and never back. Returns whether it moved.
    pub fn advance_high_watermark(&mut self, to: Offset) -> bool {
        let to = to.min(self.marks.durable.offset());
        if to <= self.marks.high_watermark.offset() {
            return false;
        }
        self.marks.high_watermark = HighWatermark(to);
        self.producers.high_watermark_moved(to);
        self.update_last_stable();
        self.marks.check();
        true
    }

    fn update_last_stable(&mut self) {
        let high_watermark = self.marks.high_watermark.offset();
        let unstable = self.producers.first_unstable_offset().unwrap_or(high_watermark).max(self.marks.log_start.offset());
        self.marks.last_stable = LastStable(unstable.min(high_watermark));
    }

    /// Where DeleteRecords may move the log start to: -1 means the high watermark.
    pub fn resolve_log_start(&self, before: Offset) -> Result<Offset, StartOutOfRange> {
        let high_watermark = self.marks.high_watermark.offset();
        let start = self.marks.log_start.offset();
        let to = if before == Offset(-1) { high_watermark } else { before };
        if to.get() < 0 || to > high_watermark {
            return Err(StartOutOfRange { requested: before, start, high_watermark });
        }
        Ok(to.max(start))
    }

    /// The journal block `sequence` carries a log start change of this partition.
    pub fn log_start_recorded(&mut self, sequence: Sequence) {
        self.last_sequence = sequence;
    }

    /// Moves the log start forward. Returns whether it moved.
    pub fn advance_log_start(&mut self, to: Offset) -> bool {
        let to = to.min(self.marks.high_watermark.offset());
        if to <= self.marks.log_start.offset() {
            return false;
        }
        self.marks.log_start = LogStart(to);
        self.update_last_stable();
        let before = self.epochs.entries().len();
        self.epochs.truncate_from_start(to);
        self.epochs_dirty |= self.epochs.entries().len() != before;
        self.marks.check();
        true
    }

    /// How many segments from the oldest on may be deleted now ([`crate::retention`]).
    pub fn deletable_segments(&self, now: Timestamp) -> usize {
        crate::retention::deletable(&self.segments, &self.marks, &self.config, now)
    }

    /// How many of the `count` oldest segments may go although a crash would lose what only they say of producers: the state file has the producers up
    /// to `saved`. Batches that a producer may send again, and open transactions, are read from the segments behind that.
    pub fn producers_known_without(&self, count: usize, saved: Offset) -> usize {
        let needed = self.producers.producers().filter_map(|(_, entry)| entry.first_needed(saved)).min().unwrap_or(Offset(i64::MAX));
        let ends = self.segments.iter().take(count).map(|segment| segment.next_offset);
        ends.take_while(|end| *end <= saved || *end <= needed).count()
    }

    /// Takes the `count` oldest segments out, to be unlinked by the caller, and moves the log start behind them. Rolls when the active one is among them.
    pub fn remove_segments(&mut self, count: usize, now: Timestamp) -> Vec<Segment> {
        let count = count.min(self.segments.len());
        if count == 0 {
            return Vec::new();
        }
        if count == self.segments.len() {
            self.roll(now);
        }
        let removed: Vec<Segment> = self.segments.drain(..count).collect();
        let start = self.segments.first().map_or(Offset::ZERO, |segment| segment.base_offset);
        assert!(start <= self.marks.flushed.offset(), "{}: a segment that is not flushed was deleted", self.partition);
        self.advance_log_start(start);
        self.aborted.retain(|aborted| aborted.last_offset >= start);
        removed
    }

    /// Aborted transactions that overlap `from..upto` and are in memory.
    pub fn aborted_transactions(&self, from: Offset, upto: Offset) -> Vec<AbortedTransaction> {
        self.aborted.iter().filter(|aborted| aborted.last_offset >= from && aborted.first_offset < upto).copied().collect()
    }

    /// Puts aborted transactions back into memory: those of the index `files` (by the base offset of their segment), and those that recovered batches
    /// told of and the files lack, which are written there with the next entries. Returns how many entries of each file are believed.
    pub fn restore_aborted(&mut self, files: Vec<(Offset, Vec<AbortedTransaction>)>) -> Vec<(Offset, usize)> {
        let mut all: BTreeMap<Offset, AbortedTransaction> =
            std::mem::take(&mut self.aborted).into_iter().map(|aborted| (aborted.last_offset, aborted)).collect();
        let mut believed = Vec::with_capacity(files.len());
        for (base, entries) in files {
            let Some(segment) = self.segment_mut(base) else { continue };
            let within = |entry: &&AbortedTransaction| entry.last_offset >= base && entry.last_offset < segment.next_offset;
            let entries: Vec<_> = entries.iter().take_while(within).copied().collect();
            let last = entries.last().map_or(Offset(-1), |entry| entry.last_offset);
            let lacking: Vec<_> =
                all.range(base..segment.next_offset).map(|(_, entry)| *entry).filter(|entry| entry.last_offset > last).collect();
            segment.aborted = IndexTail::on_disk(entries.len());
            for entry in lacking {
                segment.aborted.push(entry);
            }
            believed.push((base, entries.len()));
            all.extend(entries.into_iter().map(|entry| (entry.last_offset, entry)));
        }
        self.aborted = all.into_values().collect();
        believed
    }

    /// Forgets idle producers. Returns how many.
    pub fn expire_producers(&mut self, now: Timestamp) -> usize {
        self.producers.expire(now, self.config.producer_id_expiration_ms)
    }

    pub fn end_offset_for_epoch(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        self.epochs.end_offset(epoch, self.marks.appended.offset())
    }

    /// The epochs when their checkpoint file is not up to date; clears that.
    pub fn take_dirty_epochs(&mut self) -> Option<LeaderEpochs> {
        std::mem::take(&mut self.epochs_dirty).then(|| self.epochs.clone())
    }

    /// The checkpoint could not be written.
    pub fn epochs_not_written(&mut self) {
        self.epochs_dirty = true;
    }

    /// Last offset of the batch with the largest timestamp of the log, and that timestamp.
    pub fn largest_timestamp(&self) -> Option<(Timestamp, Offset)> {
        // The first of several equal ones.
        let mut best: Option<(Timestamp, Offset)> = None;
        for segment in self.segments.iter().filter(|segment| !segment.is_empty() && segment.max_timestamp.get() >= 0) {
            if best.is_none_or(|(timestamp, _)| segment.max_timestamp > timestamp) {
                best = Some((segment.max_timestamp, segment.offset_of_max_timestamp));
            }
        }
        best
    }

    /// Drops flushed batches of journal blocks up to `sequence` from memory; false when an unflushed one stands in the way.
    pub fn evict(&mut self, sequence: Sequence) -> bool {
        self.tail.evict(sequence)
    }

    fn roll(&mut self, now: Timestamp) {
        let base = self.marks.appended.offset();
        if self.active().base_offset == base {
            return;
        }
        self.active().index_time();
        let active = self.active();
        if active.bytes > 0 && active.flushed_bytes == active.bytes {
            let base = active.base_offset;
            self.unfinished.push(base);
        }
        if !self.producers.is_empty() {
            self.snapshots.push(PendingSnapshot { offset: base, bytes: crate::producer_state::snapshot::encode(&self.producers) });
        }
        let mut segment = Segment::new(base, now);
        let jitter_max = self.config.segment_jitter_ms.min(self.config.segment_ms).max(0);
        segment.roll_jitter_ms = self.jitter.below(jitter_max as u64) as i64;
        self.segments.push(segment);
    }

    fn place(&mut self, summary: &BatchSummary, now: Timestamp) {
        let config = self.config;
        if self.active().should_roll(summary, &config, now) {
            self.roll(now);
        }
        self.active().append(summary, &config);
        self.marks.appended = AppendedMark(summary.last_offset.next());
    }

    fn set_flushed(&mut self, through: Offset) {
        assert!(through >= self.marks.flushed.offset(), "flushed never goes back");
        self.marks.flushed = Flushed(through);
        self.marks.check();
    }
}
