//! What stays of a batch (`Cleaner.cleanInto`, `MemoryRecords.filterTo`).

use super::offset_map::OffsetMap;
use super::transactions::CleanedTransactions;
use crate::lookup::DECOMPRESSED_BYTES_MAX;
use crate::partition::marker_of;
use crate::producer_state::ProducerState;
use bytes::Bytes;
use odradek_base::{Offset, ProducerEpoch, ProducerId, Timestamp};
use odradek_wire::batch::{BatchView, Rewrite, without_records};
use odradek_wire::records::{RecordStream, RecordView, RecordsError};
use std::collections::BTreeMap;

/// The last things that an active producer wrote. Kafka keeps one batch (`LastRecord`), which is what its snapshots have of a producer; here a
/// crash must not lose the others that the producer may send again, so each of its last five stays.
#[derive(Debug, Clone, PartialEq, Eq)]
struct LastRecords {
    /// Last offsets of the batches; none: a marker.
    data: Vec<Offset>,
    epoch: ProducerEpoch,
}

/// The rules of one compaction of one log.
#[derive(Debug)]
pub struct Filter {
    pub map: OffsetMap,
    pub transactions: CleanedTransactions,
    active: BTreeMap<ProducerId, LastRecords>,
    now: Timestamp,
    delete_retention_ms: i64,
}

impl Filter {
    pub fn new(
        map: OffsetMap,
        transactions: CleanedTransactions,
        producers: &ProducerState,
        now: Timestamp,
        delete_retention_ms: i64,
    ) -> Self {
        let last = |entry: &crate::producer_state::entry::ProducerEntry| LastRecords {
            data: entry.batches().iter().map(|batch| batch.last_offset).collect(),
            epoch: entry.epoch,
        };
        let active = producers.producers().map(|(id, entry)| (id, last(entry))).collect();
        Self { map, transactions, active, now, delete_retention_ms }
    }

    /// The batch may be sent again, or its marker has the producer's last epoch.
    fn is_last_of_producer(&self, view: &BatchView<'_>) -> bool {
        self.active.get(&view.producer_id()).is_some_and(|last| match last.data.is_empty() {
            false => last.data.contains(&view.last_offset()),
            true => view.is_control() && view.producer_epoch() == last.epoch,
        })
    }

    fn horizon_is_past(&self, view: &BatchView<'_>) -> bool {
        view.has_delete_horizon() && view.base_timestamp() <= self.now
    }

    fn retains(&self, view: &BatchView<'_>, record: &RecordView<'_>) -> bool {
        let offset = Offset(view.base_offset().get().wrapping_add(i64::from(record.offset_delta)));
        if view.is_control() || offset > self.map.latest() {
            return true;
        }
        // A record without a key has no place in a compacted log; it was written before the topic became one.
        let Some(key) = record.key else { return false };
        offset >= self.map.get(key) && (record.value.is_some() || !self.horizon_is_past(view))
    }
}

/// What became of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cleaned {
    Removed,
    /// The same bytes as before, or a batch with fewer records, a delete horizon, or none.
    Kept(Bytes),
}

/// One batch on its way through the filter, in steps.
#[derive(Debug)]
pub struct BatchClean {
    batch: Bytes,
    retain_empty: bool,
    marker_for_empty_transaction: bool,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    Look {
        stream: RecordStream,
        kept: usize,
        dropped: usize,
        tombstones: bool,
    },
    Write {
        stream: RecordStream,
        rewrite: Option<Box<Rewrite>>,
    },
    /// No record stays.
    Emptied,
    Done(Cleaned),
}

impl BatchClean {
    /// Batches of a log are started in order, each finished before the next.
    pub fn start(batch: &Bytes, filter: &mut Filter) -> Result<Self, RecordsError> {
        let view = BatchView::parse(batch)?;
        let discardable = if view.is_control() {
            let marker = marker_of(batch);
            let commit = marker.map(|marker| marker.commit);
            filter.transactions.on_marker(view.producer_id(), commit, view.record_count() == 0, view.last_offset())
        } else {
            filter.transactions.on_batch(view.producer_id(), view.is_transactional(), view.last_offset())
        };
        // A marker stays for as long as a consumer may still have read a part of its transaction.
        let discard = discardable && (!view.is_control() || filter.horizon_is_past(&view));
        let has_producer = view.producer_id().get() >= 0;
        let phase = if discard {
            Phase::Emptied
        } else {
            Phase::Look { stream: RecordStream::new(batch, DECOMPRESSED_BYTES_MAX)?, kept: 0, dropped: 0, tombstones: false }
        };
        Ok(Self {
            batch: batch.clone(),
            retain_empty: has_producer && filter.is_last_of_producer(&view),
            marker_for_empty_transaction: discardable && view.is_control(),
            phase,
        })
    }

    /// Works through about `budget` bytes of records. `None` until the batch is done.
    pub fn step(&mut self, budget: usize, filter: &Filter) -> Result<Option<Cleaned>, RecordsError> {
        let view = BatchView::parse(&self.batch)?;
        let next = match &mut self.phase {
            Phase::Done(cleaned) => return Ok(Some(cleaned.clone())),
            Phase::Emptied if self.retain_empty => Phase::Done(Cleaned::Kept(without_records(&view))),
            Phase::Emptied => Phase::Done(Cleaned::Removed),
            Phase::Look { stream, kept, dropped, tombstones } => {
                let done = stream.step::<RecordsError>(budget, |record| {
                    if filter.retains(&view, record) {
                        *kept += 1;
                        *tombstones |= record.value.is_none();
                    } else {
                        *dropped += 1;
                    }
                    Ok(())
                })?;
                if !done {
                    return Ok(None);
                }
                let needs_horizon = (*tombstones || self.marker_for_empty_transaction) && !view.has_delete_horizon();
                if *kept == 0 {
                    Phase::Emptied
                } else if *dropped == 0 && !needs_horizon {
                    Phase::Done(Cleaned::Kept(self.batch.clone()))
                } else {
                    let horizon = needs_horizon.then(|| Timestamp(filter.now.get().saturating_add(filter.delete_retention_ms)));
                    let stream = RecordStream::new(&self.batch, DECOMPRESSED_BYTES_MAX)?;
                    Phase::Write { stream, rewrite: Some(Box::new(Rewrite::new(&view, horizon)?)) }
                }
            }
            Phase::Write { stream, rewrite } => {
                let done = stream.step::<RecordsError>(budget, |record| match rewrite {
                    Some(rewrite) if filter.retains(&view, record) => Ok(rewrite.keep(record)?),
                    _ => Ok(()),
                })?;
                match rewrite.take_if(|_| done) {
                    None => return Ok(None),
                    Some(rewrite) => Phase::Done(Cleaned::Kept(rewrite.finish()?)),
                }
            }
        };
        self.phase = next;
        Ok(match &self.phase {
            Phase::Done(cleaned) => Some(cleaned.clone()),
            _ => None,
        })
    }
}

/// A batch of the part that was not compacted before, on its way into the map, in steps.
#[derive(Debug)]
pub struct BatchIndex {
    batch: Bytes,
    /// `None`: nothing of the batch belongs into the map.
    stream: Option<RecordStream>,
}

/// How far a batch got into the map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Indexed {
    Partly,
    Whole,
    /// The map has no place for the next key; it ends before that one.
    Full,
}

/// Ends the visit of a batch's records.
enum Stop {
    Full,
    Records(RecordsError),
}

impl From<RecordsError> for Stop {
    fn from(error: RecordsError) -> Self {
        Self::Records(error)
    }
}

impl BatchIndex {
    pub fn start(batch: &Bytes, transactions: &mut CleanedTransactions) -> Result<Self, RecordsError> {
        let view = BatchView::parse(batch)?;
        let skipped = if view.is_control() {
            let commit = marker_of(batch).map(|marker| marker.commit);
            transactions.on_marker(view.producer_id(), commit, view.record_count() == 0, view.last_offset());
            true
        } else {
            transactions.on_batch(view.producer_id(), view.is_transactional(), view.last_offset())
        };
        let stream = if skipped { None } else { Some(RecordStream::new(batch, DECOMPRESSED_BYTES_MAX)?) };
        Ok(Self { batch: batch.clone(), stream })
    }

    /// Puts about `budget` bytes of records from `from` on into the map.
    pub fn step(&mut self, budget: usize, from: Offset, map: &mut OffsetMap) -> Result<Indexed, RecordsError> {
        let view = BatchView::parse(&self.batch)?;
        let Some(stream) = &mut self.stream else {
            map.advance(view.last_offset());
            return Ok(Indexed::Whole);
        };
        let base = view.base_offset().get();
        let done = stream.step::<Stop>(budget, |record| {
            let offset = Offset(base.wrapping_add(i64::from(record.offset_delta)));
            if offset >= from
                && let Some(key) = record.key
                && !map.put(key, offset)
            {
                return Err(Stop::Full);
            }
            map.advance(offset);
            Ok(())
        });
        match done {
            Ok(false) => Ok(Indexed::Partly),
            Ok(true) => {
                map.advance(view.last_offset());
                Ok(Indexed::Whole)
            }
            Err(Stop::Full) => Ok(Indexed::Full),
            Err(Stop::Records(error)) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests;
