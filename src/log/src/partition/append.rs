//! Appending: producer checks, offsets, the one copy.

use super::PartitionLog;
use crate::config::TimestampType;
use crate::journal::format::{EntryHeader, Sequence};
use crate::journal::writer::{Assignment, Writer};
use crate::producer_state::{Marker, ProducerBatch, ProducerError};
use crate::segment::meta::BatchSummary;
use crate::segment::transaction_index::AbortedTransaction;
use bytes::Bytes;
use odradek_base::{LeaderEpoch, Offset, ProducerId, Timestamp};
use odradek_wire::batch::{BatchView, ValidBatch};
use odradek_wire::records::RecordReader;

/// Who appends (`AppendOrigin`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendOrigin {
    /// A producer: duplicates and sequences are checked.
    Client,
    /// A coordinator: control batches are allowed.
    Coordinator,
    /// A leader: offsets and epochs are in the batches and stay.
    Replication,
}

/// Under which circumstances batches are appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AppendContext {
    /// The leader's epoch; with [`AppendOrigin::Replication`] that of the batches counts.
    pub leader_epoch: LeaderEpoch,
    /// Append time, and what segments roll by.
    pub now: Timestamp,
    pub origin: AppendOrigin,
    /// Somebody will wait for stable storage.
    pub durable: bool,
}

/// Where a batch went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    pub base_offset: Offset,
    pub last_offset: Offset,
    /// With LogAppendTime: the time of all records. For a duplicate: its batch's timestamp then.
    pub log_append_time: Option<Timestamp>,
    /// The journal block to wait for.
    pub sequence: Sequence,
    /// Nothing was appended: the batch is there since before.
    pub duplicate: bool,
}

/// Why nothing was appended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    #[error(transparent)]
    Producer(#[from] ProducerError),
    /// Nothing was given.
    #[error("no batch to append")]
    Empty,
    /// A control batch whose record is no marker.
    #[error("control batch without a transaction marker")]
    InvalidControlBatch,
    /// A replicated batch does not continue the log.
    #[error("replicated batch starts at {base_offset}, but the log ends at {log_end}")]
    OffsetsOutOfOrder { base_offset: Offset, log_end: Offset },
}

const CONTROL_TYPE_ABORT: i16 = 0;
const CONTROL_TYPE_COMMIT: i16 = 1;
/// Control records are a few dozen bytes.
const CONTROL_BYTES_MAX: usize = 64 * 1024;

impl PartitionLog {
    /// Appends `batches` to the open journal block, all or none. `tag` goes into the journal's entries.
    pub fn append<T: Clone>(
        &mut self,
        writer: &mut Writer<T>,
        tag: &T,
        batches: &[ValidBatch],
        context: AppendContext,
    ) -> Result<Appended, AppendError> {
        let AppendContext { leader_epoch, now, origin, durable } = context;
        if let Some(duplicate) = self.check(batches, origin)? {
            return Ok(duplicate);
        }
        let (mut first, mut last, mut append_time, mut sequence) = (None, Offset::ZERO, None, self.last_sequence);
        for batch in batches {
            let log_end = self.marks.appended.offset();
            let base_offset = if origin == AppendOrigin::Replication {
                BatchView::parse(&batch.bytes).map_or(log_end, |view| view.base_offset())
            } else {
                log_end
            };
            let epoch = if origin == AppendOrigin::Replication {
                BatchView::parse(&batch.bytes).map_or(leader_epoch, |view| view.leader_epoch())
            } else {
                leader_epoch
            };
            let stamp = (self.config.timestamp_type == TimestampType::LogAppendTime && origin == AppendOrigin::Client).then_some(now);
            let max_timestamp = stamp.unwrap_or(batch.max_timestamp);
            let last_offset = base_offset.advance(i64::from(batch.last_offset_delta));
            let assign = Assignment { base_offset, last_offset, leader_epoch: epoch, log_append_time: stamp };
            sequence = writer.push_batch(tag.clone(), self.partition, &batch.bytes, assign, durable);
            self.last_sequence = sequence;
            self.epochs_dirty |= self.epochs.assign(epoch, base_offset);
            // Rolling takes a snapshot of the producers, so it comes before the batch is counted among theirs.
            self.place(&BatchSummary { base_offset, last_offset, max_timestamp, bytes: batch.bytes.len() as u32 }, now);
            self.note_producer(batch, base_offset, max_timestamp);
            first.get_or_insert(base_offset);
            (last, append_time) = (last_offset, stamp);
        }
        let base_offset = first.ok_or(AppendError::Empty)?;
        Ok(Appended { base_offset, last_offset: last, log_append_time: append_time, sequence, duplicate: false })
    }

    /// A batch that the journal has and the segment may have: appends it when it is the next one. Returns false when it is already there.
    /// The caller completes it right away.
    pub fn replay(&mut self, header: &EntryHeader, bytes: &Bytes, sequence: Sequence, now: Timestamp) -> Result<bool, AppendError> {
        let log_end = self.marks.appended.offset();
        let view = BatchView::parse(bytes).map_err(|_| AppendError::OffsetsOutOfOrder { base_offset: header.offset, log_end })?;
        if view.last_offset() < log_end {
            return Ok(false);
        }
        if view.base_offset() != log_end {
            return Err(AppendError::OffsetsOutOfOrder { base_offset: header.offset, log_end });
        }
        self.last_sequence = sequence;
        self.epochs_dirty |= self.epochs.assign(view.leader_epoch(), view.base_offset());
        let summary = BatchSummary {
            base_offset: view.base_offset(),
            last_offset: view.last_offset(),
            max_timestamp: view.max_timestamp(),
            bytes: bytes.len() as u32,
        };
        self.place(&summary, now);
        self.note(&producer_of(&view), view.is_control(), bytes, view.base_offset(), false);
        Ok(true)
    }

    /// Takes note of a batch that recovery found in a segment and that the producers and epochs may not know.
    pub fn note_recovered(&mut self, view: &BatchView<'_>, bytes: &Bytes) {
        self.epochs_dirty |= view.base_offset() >= self.epochs.entries().last().map_or(Offset::ZERO, |last| last.start)
            && self.epochs.assign(view.leader_epoch(), view.base_offset());
        self.note(&producer_of(view), view.is_control(), bytes, view.base_offset(), true);
        // Recovered batches are settled: a transaction that ended in them holds nothing back.
        self.producers.high_watermark_moved(self.marks.high_watermark.offset());
        self.update_last_stable();
    }

    fn check(&self, batches: &[ValidBatch], origin: AppendOrigin) -> Result<Option<Appended>, AppendError> {
        if batches.is_empty() {
            return Err(AppendError::Empty);
        }
        let mut expected = self.marks.appended.offset();
        // Client requests carry one batch; with several, each is checked against the state after those before it.
        let mut staged = (batches.len() > 1 && origin == AppendOrigin::Client).then(|| self.producers.clone());
        for batch in batches {
            match origin {
                AppendOrigin::Replication => {
                    let base_offset = BatchView::parse(&batch.bytes).map_or(Offset(-1), |view| view.base_offset());
                    if base_offset < expected {
                        return Err(AppendError::OffsetsOutOfOrder { base_offset, log_end: expected });
                    }
                    expected = base_offset.advance(i64::from(batch.last_offset_delta) + 1);
                }
                AppendOrigin::Coordinator if batch.is_control => {
                    let marker = marker_of(&batch.bytes).ok_or(AppendError::InvalidControlBatch)?;
                    self.producers.check_marker(batch.producer_id, batch.producer_epoch, marker)?;
                }
                AppendOrigin::Client | AppendOrigin::Coordinator => {
                    if batch.producer_id == ProducerId::NONE || batch.producer_id.get() < 0 {
                        continue;
                    }
                    let producer = producer_batch(batch, batch.max_timestamp);
                    let state = staged.as_ref().unwrap_or(&self.producers);
                    if let Some(earlier) = state.duplicate_of(&producer) {
                        return Ok(Some(Appended {
                            base_offset: earlier.first_offset(),
                            last_offset: earlier.last_offset,
                            log_append_time: (self.config.timestamp_type == TimestampType::LogAppendTime).then_some(earlier.timestamp),
                            sequence: self.last_sequence,
                            duplicate: true,
                        }));
                    }
                    if origin == AppendOrigin::Client {
                        state.check(&producer)?;
                    }
                    if let Some(staged) = &mut staged {
                        staged.appended(&producer, expected);
                        expected = expected.advance(i64::from(batch.last_offset_delta) + 1);
                    }
                }
            }
        }
        Ok(None)
    }

    fn note_producer(&mut self, batch: &ValidBatch, base_offset: Offset, timestamp: Timestamp) {
        self.note(&producer_batch(batch, timestamp), batch.is_control, &batch.bytes, base_offset, false);
    }

    /// `recovered`: the batch may be of any segment, and [`PartitionLog::restore_aborted`] follows.
    fn note(&mut self, producer: &ProducerBatch, is_control: bool, bytes: &Bytes, base_offset: Offset, recovered: bool) {
        if producer.producer.get() < 0 {
            return;
        }
        if !is_control {
            self.producers.appended(producer, base_offset);
            return;
        }
        let Some(marker) = marker_of(bytes) else { return };
        let completed = self.producers.marker_appended(producer.producer, producer.epoch, marker, producer.timestamp, base_offset);
        if let Some(completed) = completed.filter(|completed| completed.aborted) {
            let aborted = AbortedTransaction {
                producer_id: completed.producer,
                first_offset: completed.first_offset,
                last_offset: completed.last_offset,
                last_stable_offset: self.producers.last_stable_offset_after(&completed),
            };
            if !recovered {
                self.active().aborted.push(aborted);
            }
            self.aborted.push(aborted);
        }
    }
}

fn producer_of(view: &BatchView<'_>) -> ProducerBatch {
    ProducerBatch {
        producer: view.producer_id(),
        epoch: view.producer_epoch(),
        base_sequence: view.base_sequence(),
        last_offset_delta: view.last_offset_delta(),
        timestamp: view.max_timestamp(),
        is_transactional: view.is_transactional(),
    }
}

fn producer_batch(batch: &ValidBatch, timestamp: Timestamp) -> ProducerBatch {
    ProducerBatch {
        producer: batch.producer_id,
        epoch: batch.producer_epoch,
        base_sequence: batch.base_sequence,
        last_offset_delta: batch.last_offset_delta,
        timestamp,
        is_transactional: batch.is_transactional,
    }
}

/// The transaction marker in a control batch (`EndTransactionMarker`): key = version i16, type i16; value = version i16, coordinator epoch i32.
pub fn marker_of(batch: &Bytes) -> Option<Marker> {
    let record = RecordReader::new(batch, CONTROL_BYTES_MAX).ok()?.next()?.ok()?;
    let key = record.key?;
    let commit = match i16::from_be_bytes(*key.get(2..)?.first_chunk::<2>()?) {
        CONTROL_TYPE_ABORT => false,
        CONTROL_TYPE_COMMIT => true,
        _ => return None,
    };
    let value = record.value?;
    Some(Marker { commit, coordinator_epoch: i32::from_be_bytes(*value.get(2..)?.first_chunk::<4>()?) })
}
