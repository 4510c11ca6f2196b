//! Lost, duplicated, reordered, damaged: what the records themselves say.

use crate::measure::AuditResult;
use crate::payload::{self, Found};
use bytes::Bytes;
use odradek_wire::batch::{BatchView, HEADER_BYTES};
use odradek_wire::compress::Codec;
use odradek_wire::records::{RecordReader, RecordView};
use std::collections::{BTreeMap, HashMap};

/// Most bytes the records of one batch may decompress to.
const DECOMPRESSED_BYTES_MAX: usize = 1 << 30;

/// The sequences of one lane: the next expected one, and those that were skipped.
#[derive(Debug, Default)]
pub struct Sequences {
    next: u64,
    skipped: BTreeMap<u64, u64>,
}

impl Sequences {
    pub fn see(&mut self, sequence: u64, found: &mut AuditResult) {
        if sequence >= self.next {
            if sequence > self.next {
                // A range of skipped sequences: first to one after the last.
                self.skipped.insert(self.next, sequence);
            }
            self.next = sequence + 1;
            return;
        }
        let range = self.skipped.range(..=sequence).next_back().map(|(&from, &to)| (from, to));
        match range {
            Some((from, to)) if sequence < to => {
                found.reordered += 1;
                self.skipped.remove(&from);
                if from < sequence {
                    self.skipped.insert(from, sequence);
                }
                if sequence + 1 < to {
                    self.skipped.insert(sequence + 1, to);
                }
            }
            _ => found.duplicated += 1,
        }
    }

    /// Sequences below the highest seen, or acknowledged, that never came.
    pub fn lost(&self, acknowledged: u64) -> u64 {
        let skipped: u64 = self.skipped.iter().map(|(from, to)| to - from).sum();
        skipped + acknowledged.saturating_sub(self.next)
    }

    /// What never came of a lane that failed: it may lack anything from its first error on, so only what was skipped although
    /// acknowledged counts.
    pub fn lost_below(&self, acknowledged: u64) -> u64 {
        let skipped: u64 = self.skipped.iter().map(|(&from, &to)| to.min(acknowledged).saturating_sub(from)).sum();
        skipped + acknowledged.saturating_sub(self.next)
    }
}

/// What one reader saw of one partition.
#[derive(Debug, Default)]
pub struct PartitionAudit {
    /// By run and lane.
    lanes: HashMap<(u64, u32), Sequences>,
    pub foreign: u64,
    pub found: AuditResult,
}

impl PartitionAudit {
    /// Checks a whole batch: its checksum and every record from `from_offset` on. `seen` gets the intended moments of `run`'s records.
    pub fn batch(&mut self, bytes: &Bytes, partition: i32, from_offset: i64, run: u64, mut seen: impl FnMut(u64)) {
        let Ok(view) = BatchView::parse(bytes) else {
            self.found.damaged += 1;
            return;
        };
        if !view.crc_valid() {
            self.found.damaged += view.record_count().max(1) as u64;
            return;
        }
        if view.is_control() {
            return;
        }
        let base = view.base_offset().get();
        if view.compression() == Some(Codec::None) {
            let mut rest = &bytes[HEADER_BYTES..];
            while !rest.is_empty() {
                let Ok((record, length)) = RecordView::read(rest) else {
                    self.found.damaged += 1;
                    return;
                };
                if base + i64::from(record.offset_delta) >= from_offset {
                    self.value(record.value, partition, run, &mut seen);
                }
                rest = &rest[length..];
            }
            return;
        }
        let Ok(reader) = RecordReader::new(bytes, DECOMPRESSED_BYTES_MAX) else {
            self.found.damaged += 1;
            return;
        };
        for record in reader {
            let Ok(record) = record else {
                self.found.damaged += 1;
                return;
            };
            if record.offset.get() >= from_offset {
                self.value(record.value.as_deref(), partition, run, &mut seen);
            }
        }
    }

    fn value(&mut self, value: Option<&[u8]>, partition: i32, run: u64, seen: &mut impl FnMut(u64)) {
        self.found.records += 1;
        match value.map_or(Found::Foreign, payload::read) {
            Found::Damaged => self.found.damaged += 1,
            Found::Foreign => self.foreign += 1,
            Found::Ours(stamp) => {
                self.found.misplaced += u64::from(stamp.partition != partition);
                self.lanes.entry((stamp.run, stamp.lane)).or_default().see(stamp.sequence, &mut self.found);
                if stamp.run == run {
                    seen(stamp.due);
                }
            }
        }
    }

    /// Sequences below the highest seen that never came, of one run or of all, without knowing what was acknowledged.
    pub fn gaps(&self, of_run: Option<u64>) -> u64 {
        self.lanes.iter().filter(|((run, _), _)| of_run.is_none_or(|r| r == *run)).map(|(_, lane)| lane.lost(0)).sum()
    }

    /// Sequences of a run's lane that were acknowledged and did not come.
    pub fn lost(&self, run: u64, lane: u32, acknowledged: u64, failed: bool) -> u64 {
        match self.lanes.get(&(run, lane)) {
            None => acknowledged,
            Some(seen) if failed => seen.lost_below(acknowledged),
            Some(seen) => seen.lost(acknowledged),
        }
    }
}

/// Adds what one partition's audit found.
pub fn add(total: &mut AuditResult, part: &AuditResult) {
    total.records += part.records;
    total.damaged += part.damaged;
    total.misplaced += part.misplaced;
    total.duplicated += part.duplicated;
    total.reordered += part.reordered;
    total.lost += part.lost;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::Stamp;
    use odradek_base::{Offset, Timestamp};
    use odradek_wire::records::BatchBuilder;

    fn seen(sequences: &[u64], acknowledged: u64) -> (u64, u64, u64) {
        let mut found = AuditResult::default();
        let mut lane = Sequences::default();
        for &sequence in sequences {
            lane.see(sequence, &mut found);
        }
        (lane.lost(acknowledged), found.duplicated, found.reordered)
    }

    #[test]
    fn losses_doubles_and_reorderings_are_told_apart() {
        assert_eq!(seen(&[0, 1, 2], 3), (0, 0, 0));
        assert_eq!(seen(&[0, 2, 3], 4), (1, 0, 0));
        assert_eq!(seen(&[0, 1], 4), (2, 0, 0));
        assert_eq!(seen(&[0, 1, 1, 0, 2], 3), (0, 2, 0));
        assert_eq!(seen(&[0, 3, 1, 2, 4], 5), (0, 0, 2));
        assert_eq!(seen(&[5, 2, 2], 6), (4, 1, 1));
        assert_eq!(seen(&[], 2), (2, 0, 0));
    }

    #[test]
    fn a_lane_with_an_error_answers_for_what_came_before_it() {
        let mut lane = Sequences::default();
        let mut found = AuditResult::default();
        for sequence in [0, 1, 3, 6] {
            lane.see(sequence, &mut found);
        }
        assert_eq!((lane.lost_below(2), lane.lost_below(3), lane.lost_below(5), lane.lost(5)), (0, 1, 2, 3));
    }

    fn batch(codec: Codec, base: i64, stamps: &[Stamp], spoil: impl Fn(&mut Vec<u8>)) -> Bytes {
        let mut builder = BatchBuilder::new(codec).base_offset(Offset(base));
        for stamp in stamps {
            let mut value = vec![0; 60];
            payload::write(&mut value, *stamp, &[7; 20]);
            spoil(&mut value);
            builder.append(Timestamp(1), None, Some(&value), &[]);
        }
        builder.build()
    }

    #[test]
    fn batches_are_audited_record_by_record() {
        let stamp = |sequence| Stamp { run: 5, partition: 3, lane: 1, sequence, due: sequence * 10 };
        for codec in [Codec::None, Codec::Lz4] {
            let mut audit = PartitionAudit::default();
            let mut dues = Vec::new();
            audit.batch(&batch(codec, 10, &[stamp(0), stamp(1), stamp(2)], |_| ()), 3, 11, 5, |due| dues.push(due));
            assert_eq!((dues, audit.found.records), (vec![10, 20], 2));
            assert_eq!((audit.lost(5, 1, 3, false), audit.lost(5, 1, 4, false), audit.lost(5, 2, 4, false)), (1, 2, 4));
            audit.batch(&batch(codec, 13, &[stamp(3)], |value| value[50] ^= 1), 3, 0, 5, |_| panic!("damaged"));
            audit.batch(&batch(codec, 13, &[stamp(4)], |_| ()), 2, 0, 6, |_| panic!("of another run"));
            audit.batch(&batch(codec, 13, &[stamp(9)], |value| value[0] = 0), 3, 0, 5, |_| panic!("not ours"));
            let mut broken = batch(codec, 13, &[stamp(5)], |_| ()).to_vec();
            *broken.last_mut().unwrap() ^= 1;
            audit.batch(&Bytes::from(broken), 3, 0, 5, |_| panic!("damaged"));
            assert_eq!((audit.found.damaged, audit.found.misplaced, audit.foreign), (2, 1, 1), "{codec:?}");
        }
    }
}
