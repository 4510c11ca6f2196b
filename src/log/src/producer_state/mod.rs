//! What a partition knows about its idempotent and transactional producers (Kafka's `ProducerStateManager`, KIP-98).
//!
//! [`entry`] holds one producer and the sequence rules, [`transactions`] the open transactions and the last stable offset,
//! [`snapshot`] Kafka's file format.

pub mod entry;
pub mod snapshot;
pub mod transactions;

use entry::{BatchMetadata, ProducerEntry};
use odradek_base::{Offset, ProducerEpoch, ProducerId, Timestamp};
use std::collections::BTreeMap;
use transactions::{CompletedTransaction, Transactions};

/// Producers a partition remembers at once. Beyond it the one that wrote longest ago and has no open transaction is forgotten, as if
/// it had expired; Kafka only has the expiry.
pub const PRODUCERS_MAX: usize = 100_000;

/// Why a producer's batch is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProducerError {
    /// OUT_OF_ORDER_SEQUENCE_NUMBER.
    #[error(
        "out of order sequence number for producer {producer}: {incoming} (incoming sequence number), {current} (current end sequence number)"
    )]
    OutOfOrderSequence { producer: ProducerId, incoming: i32, current: i32 },
    /// INVALID_PRODUCER_EPOCH.
    #[error("epoch of producer {producer} is {incoming}, which is smaller than the last seen epoch {current}")]
    InvalidProducerEpoch { producer: ProducerId, incoming: ProducerEpoch, current: ProducerEpoch },
    /// INVALID_TXN_STATE: data outside a transaction while one is open.
    #[error("producer {0} wrote non-transactional data while a transaction is open")]
    InvalidTransactionState(ProducerId),
    /// TRANSACTION_COORDINATOR_FENCED.
    #[error("transaction marker of coordinator epoch {incoming}, which is smaller than the last seen epoch {current}")]
    CoordinatorFenced { incoming: i32, current: i32 },
}

/// The producer fields of a batch header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerBatch {
    pub producer: ProducerId,
    pub epoch: ProducerEpoch,
    pub base_sequence: i32,
    pub last_offset_delta: i32,
    /// The largest timestamp of the batch.
    pub timestamp: Timestamp,
    pub is_transactional: bool,
}

/// A transaction marker: the content of a control batch (`EndTransactionMarker`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marker {
    pub commit: bool,
    pub coordinator_epoch: i32,
}

/// All producers of one partition.
#[derive(Debug, Clone, Default)]
pub struct ProducerState {
    producers: BTreeMap<ProducerId, ProducerEntry>,
    transactions: Transactions,
}

impl ProducerState {
    pub fn len(&self) -> usize {
        self.producers.len()
    }

    pub fn is_empty(&self) -> bool {
        self.producers.is_empty()
    }

    /// The producers, by id.
    pub fn producers(&self) -> impl Iterator<Item = (ProducerId, &ProducerEntry)> {
        self.producers.iter().map(|(id, entry)| (*id, entry))
    }

    /// The retained batch that `batch` repeats: same epoch, same first and last sequence.
    pub fn duplicate_of(&self, batch: &ProducerBatch) -> Option<BatchMetadata> {
        self.producers.get(&batch.producer)?.duplicate_of(batch)
    }

    /// Whether a client may append `batch` now.
    pub fn check(&self, batch: &ProducerBatch) -> Result<(), ProducerError> {
        self.producers.get(&batch.producer).map_or(Ok(()), |entry| entry.check(batch))
    }

    /// Whether a coordinator may append a marker for this producer (`ProducerAppendInfo.appendEndTxnMarker`).
    pub fn check_marker(&self, producer: ProducerId, epoch: ProducerEpoch, marker: Marker) -> Result<(), ProducerError> {
        self.producers.get(&producer).map_or(Ok(()), |entry| entry.check_marker(producer, epoch, marker))
    }

    /// Takes note of an appended batch.
    pub fn appended(&mut self, batch: &ProducerBatch, base_offset: Offset) {
        self.make_room();
        let entry = self.producers.entry(batch.producer).or_default();
        entry.appended(batch, base_offset);
        if batch.is_transactional && entry.transaction_first_offset.is_none() {
            entry.transaction_first_offset = Some(base_offset);
            self.transactions.begin(batch.producer, base_offset);
        }
    }

    /// Takes note of an appended marker at `offset`; the transaction that it completes, if there was one.
    pub fn marker_appended(
        &mut self,
        producer: ProducerId,
        epoch: ProducerEpoch,
        marker: Marker,
        timestamp: Timestamp,
        offset: Offset,
    ) -> Option<CompletedTransaction> {
        self.make_room();
        let entry = self.producers.entry(producer).or_default();
        entry.marker_appended(epoch, marker, timestamp);
        let first = entry.transaction_first_offset.take()?;
        Some(self.transactions.complete(CompletedTransaction {
            producer,
            first_offset: first,
            last_offset: offset,
            aborted: !marker.commit,
        }))
    }

    /// Offset below which nothing is undecided, before the high watermark is considered; `None` when no transaction is open
    /// (`ProducerStateManager.firstUnstableOffset`).
    pub fn first_unstable_offset(&self) -> Option<Offset> {
        self.transactions.first_unstable()
    }

    /// The last stable offset that a completed transaction will have left behind (`ProducerStateManager.lastStableOffset`).
    pub fn last_stable_offset_after(&self, completed: &CompletedTransaction) -> Offset {
        self.transactions.first_open_besides(completed.producer).unwrap_or(completed.last_offset.next())
    }

    /// Transactions whose markers are below the high watermark are decided for good.
    pub fn high_watermark_moved(&mut self, high_watermark: Offset) {
        self.transactions.decided_below(high_watermark);
    }

    /// Forgets producers that wrote nothing for `expiration_ms` and have no open transaction. Returns how many.
    pub fn expire(&mut self, now: Timestamp, expiration_ms: i64) -> usize {
        let before = self.producers.len();
        self.producers.retain(|_, entry| {
            entry.transaction_first_offset.is_some() || now.get().saturating_sub(entry.last_timestamp.get()) < expiration_ms
        });
        before - self.producers.len()
    }

    /// Replaces everything by what a snapshot says.
    pub fn load(&mut self, producers: Vec<(ProducerId, ProducerEntry)>) {
        self.transactions = Transactions::default();
        for (id, entry) in &producers {
            if let Some(first) = entry.transaction_first_offset {
                self.transactions.begin(*id, first);
            }
        }
        self.producers = producers.into_iter().collect();
    }

    fn make_room(&mut self) {
        if self.producers.len() < PRODUCERS_MAX {
            return;
        }
        let oldest = self
            .producers
            .iter()
            .filter(|(_, entry)| entry.transaction_first_offset.is_none())
            .min_by_key(|(id, entry)| (entry.last_timestamp, **id));
        if let Some(id) = oldest.map(|(id, _)| *id) {
            self.producers.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(epoch: i16, sequence: i32, records: i32) -> ProducerBatch {
        ProducerBatch {
            producer: ProducerId(7),
            epoch: ProducerEpoch(epoch),
            base_sequence: sequence,
            last_offset_delta: records - 1,
            timestamp: Timestamp(1000),
            is_transactional: false,
        }
    }

    /// Plays (epoch, sequence, records) steps as a partition does; the text is what the conformance rows `idempotent-*` print.
    fn play(steps: &[(i16, i32, i32)]) -> String {
        let (mut state, mut next) = (ProducerState::default(), 0i64);
        let answers: Vec<String> = steps
            .iter()
            .map(|&(epoch, sequence, records)| {
                let batch = batch(epoch, sequence, records);
                if let Some(earlier) = state.duplicate_of(&batch) {
                    return format!("NONE@{}", earlier.first_offset());
                }
                match state.check(&batch) {
                    Ok(()) => {
                        state.appended(&batch, Offset(next));
                        next += i64::from(records);
                        format!("NONE@{}", next - i64::from(records))
                    }
                    Err(ProducerError::OutOfOrderSequence { .. }) => "OUT_OF_ORDER_SEQUENCE_NUMBER@-1".into(),
                    Err(ProducerError::InvalidProducerEpoch { .. }) => "INVALID_PRODUCER_EPOCH@-1".into(),
                    Err(other) => other.to_string(),
                }
            })
            .collect();
        answers.join(" ")
    }

    #[test]
    fn answers_of_apache_kafka() {
        let five: Vec<_> = (0..5).map(|i| (0, i, 1)).collect();
        let seven: Vec<_> = (0..7).map(|i| (0, i, 1)).collect();
        type Row = (&'static str, Vec<(i16, i32, i32)>, &'static str);
        let rows: &[Row] = &[
            ("after-gap-continues", vec![(0, 0, 1), (0, 9, 1), (0, 1, 1)], "NONE@0 OUT_OF_ORDER_SEQUENCE_NUMBER@-1 NONE@1"),
            ("duplicate-last", vec![(0, 0, 2), (0, 0, 2)], "NONE@0 NONE@0"),
            ("duplicate-of-five", [five, vec![(0, 0, 1), (0, 4, 1)]].concat(), "NONE@0 NONE@1 NONE@2 NONE@3 NONE@4 NONE@0 NONE@4"),
            (
                "duplicate-older-than-five",
                [seven, vec![(0, 0, 1)]].concat(),
                "NONE@0 NONE@1 NONE@2 NONE@3 NONE@4 NONE@5 NONE@6 OUT_OF_ORDER_SEQUENCE_NUMBER@-1",
            ),
            ("duplicate-other-size", vec![(0, 0, 3), (0, 0, 2)], "NONE@0 OUT_OF_ORDER_SEQUENCE_NUMBER@-1"),
            ("epoch-higher-not-zero", vec![(0, 0, 1), (1, 1, 1)], "NONE@0 OUT_OF_ORDER_SEQUENCE_NUMBER@-1"),
            ("epoch-higher-zero", vec![(0, 0, 1), (1, 0, 1)], "NONE@0 NONE@1"),
            ("epoch-lower", vec![(1, 0, 1), (0, 0, 1)], "NONE@0 INVALID_PRODUCER_EPOCH@-1"),
            ("first-not-zero", vec![(0, 5, 1)], "NONE@0"),
            ("gap", vec![(0, 0, 1), (0, 2, 1)], "NONE@0 OUT_OF_ORDER_SEQUENCE_NUMBER@-1"),
            ("in-order", vec![(0, 0, 1), (0, 1, 2), (0, 3, 1)], "NONE@0 NONE@1 NONE@3"),
            ("overlap", vec![(0, 0, 3), (0, 1, 3)], "NONE@0 OUT_OF_ORDER_SEQUENCE_NUMBER@-1"),
            ("wrap", vec![(0, i32::MAX, 1), (0, 0, 1)], "NONE@0 NONE@1"),
            ("wrap-inside-batch", vec![(0, i32::MAX - 1, 3), (0, 1, 1)], "NONE@0 NONE@3"),
        ];
        for (name, steps, expected) in rows {
            assert_eq!(&play(steps), expected, "{name}");
        }
    }

    #[test]
    fn an_open_transaction_holds_the_last_stable_offset() {
        let mut state = ProducerState::default();
        let transactional = |producer| ProducerBatch { producer: ProducerId(producer), is_transactional: true, ..batch(0, 0, 2) };
        state.appended(&transactional(1), Offset(10));
        state.appended(&transactional(2), Offset(12));
        assert_eq!(state.first_unstable_offset(), Some(Offset(10)));
        let marker = Marker { commit: false, coordinator_epoch: 3 };
        let done =
            state.marker_appended(ProducerId(1), ProducerEpoch(0), marker, Timestamp(1), Offset(14)).expect("a transaction was open");
        assert!(done.aborted && done.first_offset == Offset(10));
        assert_eq!(state.last_stable_offset_after(&done), Offset(12));
        // Decided only once the marker itself is replicated.
        assert_eq!(state.first_unstable_offset(), Some(Offset(10)));
        state.high_watermark_moved(Offset(15));
        assert_eq!(state.first_unstable_offset(), Some(Offset(12)));
        let fenced = state.check_marker(ProducerId(1), ProducerEpoch(0), Marker { commit: true, coordinator_epoch: 2 });
        assert_eq!(fenced, Err(ProducerError::CoordinatorFenced { incoming: 2, current: 3 }));
        assert_eq!(state.expire(Timestamp(10_000_000), 1000), 1, "a producer with an open transaction does not expire");
    }
}
