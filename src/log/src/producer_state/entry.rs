//! One producer: its epoch and its last batches (Kafka's `ProducerStateEntry` and the checks of `ProducerAppendInfo`).

use super::{Marker, ProducerBatch, ProducerError};
use odradek_base::limits::PRODUCER_BATCHES_RETAINED;
use odradek_base::{Offset, ProducerEpoch, ProducerId, Timestamp};

const NO_SEQUENCE: i32 = -1;

/// What is remembered of an appended batch (`BatchMetadata`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BatchMetadata {
    pub last_sequence: i32,
    pub last_offset: Offset,
    pub offset_delta: i32,
    pub timestamp: Timestamp,
}

impl BatchMetadata {
    pub fn first_sequence(&self) -> i32 {
        decrement(self.last_sequence, self.offset_delta)
    }

    pub fn first_offset(&self) -> Offset {
        Offset(self.last_offset.get().saturating_sub(i64::from(self.offset_delta)))
    }
}

/// State of one producer id.
#[derive(Debug, Clone)]
pub struct ProducerEntry {
    pub epoch: ProducerEpoch,
    /// Epoch of the coordinator that wrote the last marker, -1 without one.
    pub coordinator_epoch: i32,
    pub last_timestamp: Timestamp,
    /// First offset of the open transaction.
    pub transaction_first_offset: Option<Offset>,
    batches: [BatchMetadata; PRODUCER_BATCHES_RETAINED],
    batch_count: u8,
}

/// Slots behind the retained batches may hold anything.
impl PartialEq for ProducerEntry {
    fn eq(&self, other: &Self) -> bool {
        let fields = |entry: &Self| (entry.epoch, entry.coordinator_epoch, entry.last_timestamp, entry.transaction_first_offset);
        fields(self) == fields(other) && self.batches() == other.batches()
    }
}

impl Eq for ProducerEntry {}

impl Default for ProducerEntry {
    fn default() -> Self {
        Self {
            epoch: ProducerEpoch::NONE,
            coordinator_epoch: -1,
            last_timestamp: Timestamp::NONE,
            transaction_first_offset: None,
            batches: Default::default(),
            batch_count: 0,
        }
    }
}

impl ProducerEntry {
    /// An entry as a snapshot has it: only the last batch is kept there.
    pub fn restored(
        epoch: ProducerEpoch,
        coordinator_epoch: i32,
        last_timestamp: Timestamp,
        transaction_first_offset: Option<Offset>,
        last: Option<BatchMetadata>,
    ) -> Self {
        let mut entry = Self { epoch, coordinator_epoch, last_timestamp, transaction_first_offset, ..Self::default() };
        if let Some(last) = last {
            entry.push(last);
        }
        entry
    }

    /// The retained batches, oldest first.
    pub fn batches(&self) -> &[BatchMetadata] {
        &self.batches[..usize::from(self.batch_count)]
    }

    pub fn last_batch(&self) -> Option<&BatchMetadata> {
        self.batches().last()
    }

    /// Sequence of the last record, -1 when no batch is known.
    pub fn last_sequence(&self) -> i32 {
        self.last_batch().map_or(NO_SEQUENCE, |batch| batch.last_sequence)
    }

    /// The first offset from `from` on that this entry rests on: of a retained batch or of the open transaction. An entry that only a marker made does
    /// not say where that is.
    pub(crate) fn first_needed(&self, from: Offset) -> Option<Offset> {
        if self.batches().is_empty() {
            return Some(from);
        }
        let batches = self.batches().iter().map(BatchMetadata::first_offset);
        batches.chain(self.transaction_first_offset).filter(|offset| *offset >= from).min()
    }

    pub(super) fn duplicate_of(&self, batch: &ProducerBatch) -> Option<BatchMetadata> {
        if batch.epoch != self.epoch {
            return None;
        }
        let last = increment(batch.base_sequence, batch.last_offset_delta);
        self.batches().iter().find(|known| known.first_sequence() == batch.base_sequence && known.last_sequence == last).copied()
    }

    pub(super) fn check(&self, batch: &ProducerBatch) -> Result<(), ProducerError> {
        if batch.epoch < self.epoch {
            return Err(ProducerError::InvalidProducerEpoch { producer: batch.producer, incoming: batch.epoch, current: self.epoch });
        }
        let out_of_order = |current| ProducerError::OutOfOrderSequence { producer: batch.producer, incoming: batch.base_sequence, current };
        if batch.epoch != self.epoch {
            if batch.base_sequence != 0 && self.epoch != ProducerEpoch::NONE {
                return Err(out_of_order(self.last_sequence()));
            }
        } else if !in_sequence(self.last_sequence(), batch.base_sequence) {
            return Err(out_of_order(self.last_sequence()));
        }
        // Once a transaction is open everything this producer writes belongs to it.
        if self.transaction_first_offset.is_some() && !batch.is_transactional {
            return Err(ProducerError::InvalidTransactionState(batch.producer));
        }
        Ok(())
    }

    pub(super) fn check_marker(&self, producer: ProducerId, epoch: ProducerEpoch, marker: Marker) -> Result<(), ProducerError> {
        if epoch < self.epoch {
            return Err(ProducerError::InvalidProducerEpoch { producer, incoming: epoch, current: self.epoch });
        }
        if marker.coordinator_epoch < self.coordinator_epoch {
            return Err(ProducerError::CoordinatorFenced { incoming: marker.coordinator_epoch, current: self.coordinator_epoch });
        }
        Ok(())
    }

    pub(super) fn appended(&mut self, batch: &ProducerBatch, base_offset: Offset) {
        self.take_epoch(batch.epoch);
        self.push(BatchMetadata {
            last_sequence: increment(batch.base_sequence, batch.last_offset_delta),
            last_offset: base_offset.advance(i64::from(batch.last_offset_delta)),
            offset_delta: batch.last_offset_delta,
            timestamp: batch.timestamp,
        });
        self.last_timestamp = batch.timestamp;
    }

    pub(super) fn marker_appended(&mut self, epoch: ProducerEpoch, marker: Marker, timestamp: Timestamp) {
        self.take_epoch(epoch);
        self.coordinator_epoch = marker.coordinator_epoch;
        self.last_timestamp = timestamp;
    }

    /// A new epoch starts without batches.
    fn take_epoch(&mut self, epoch: ProducerEpoch) {
        if self.epoch != epoch {
            self.epoch = epoch;
            self.batch_count = 0;
        }
    }

    /// Takes note of the newest batch. What was known from its offset on is replaced: recovery meets batches again that the state file named.
    pub(crate) fn push(&mut self, batch: BatchMetadata) {
        while self.last_batch().is_some_and(|known| known.last_offset >= batch.first_offset()) {
            self.batch_count -= 1;
        }
        if usize::from(self.batch_count) == PRODUCER_BATCHES_RETAINED {
            self.batches.rotate_left(1);
            self.batch_count -= 1;
        }
        self.batches[usize::from(self.batch_count)] = batch;
        self.batch_count += 1;
    }
}

/// Whether `next` follows `last`. After an epoch was seen only in a marker there is no sequence: then only 0 (or -1's successor) follows.
fn in_sequence(last: i32, next: i32) -> bool {
    i64::from(next) == i64::from(last) + 1 || (next == 0 && last == i32::MAX)
}

/// `DefaultRecordBatch.incrementSequence`: sequences wrap to 0 after `i32::MAX`.
fn increment(sequence: i32, by: i32) -> i32 {
    if sequence > i32::MAX - by { by - (i32::MAX - sequence) - 1 } else { sequence + by }
}

/// `DefaultRecordBatch.decrementSequence`.
fn decrement(sequence: i32, by: i32) -> i32 {
    if sequence < by { i32::MAX - (by - sequence) + 1 } else { sequence - by }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_that_are_met_again_push_no_others_out() {
        let batch = |offset: i64| BatchMetadata { last_sequence: offset as i32, last_offset: Offset(offset), ..BatchMetadata::default() };
        let mut entry = ProducerEntry::default();
        (0..7).for_each(|offset| entry.push(batch(offset)));
        let known = entry.batches().to_vec();
        assert_eq!(known.len(), PRODUCER_BATCHES_RETAINED);
        (4..7).for_each(|offset| entry.push(batch(offset)));
        assert_eq!(entry.batches(), known);
    }
}
