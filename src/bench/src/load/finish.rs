//! The end of a run: what is on the wire, what is to be read, and the audit.

use super::crew::Crew;
use super::reader::{FetchOptions, Mode, Position, Reader};
use super::writer::Writer;
use super::{Pace, Until};
use crate::measure::AuditResult;
use crate::target::{Offsets, TargetPartition, beginnings, ends};
use crate::{BenchError, audit};
use odradek_client::Cluster;
use odradek_client::producer::Acks;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Time given at the end to what was due and to what is on the wire.
const DRAIN_MAX_NS: u64 = 10_000_000_000;
/// Time given to acknowledged records to become visible, and between two looks.
const VISIBLE_MAX: Duration = Duration::from_secs(5);
const VISIBLE_LOOK: Duration = Duration::from_millis(10);
/// Time given to consumers and the audit to read what was written.
const READ_MAX_NS: u64 = 600_000_000_000;
/// How the audit reads.
const AUDIT: FetchOptions =
    FetchOptions { max_wait_ms: 100, min_bytes: 1, max_bytes: 50 << 20, partition_max_bytes: 4 << 20, read_committed: false };

impl Crew {
    /// Sends what was due and waits for what is on the wire. What is not sent, and what is not answered, by the end of that counts.
    pub fn finish_writing(&mut self) -> Result<(), BenchError> {
        let deadline = self.now() + DRAIN_MAX_NS;
        self.drive(Pace::Silent, Until::Quiet(deadline), &mut |_| ())?;
        let now = self.now();
        for engine in &mut self.engines {
            for writer in &mut engine.writers {
                writer.give_up(&mut engine.lanes, &mut engine.recorder);
            }
            engine.waiting = 0;
            for _ in 0..engine.writers.iter().map(Writer::unanswered).sum() {
                engine.recorder.error(now, "NO_ANSWER".to_owned());
            }
        }
        Ok(())
    }

    fn readers(&self) -> impl Iterator<Item = &Reader> {
        self.engines.iter().flat_map(|e| &e.readers)
    }

    /// Reads what is left and says what became of every record. `starts` are the ends of the partitions when the run began.
    pub fn audit(&mut self, cluster: &mut Cluster, partitions: &[TargetPartition], starts: &Offsets) -> Result<AuditResult, BenchError> {
        let ends = self.visible_ends(cluster, partitions, starts)?;
        let wrote = self.engines.iter().any(|e| !e.writers.is_empty());
        if wrote && !self.readers().any(|r| r.mode == Mode::Tail) {
            self.add_readers(cluster, partitions, starts, Mode::Once, 0, self.engines.len(), true, AUDIT)?;
        }
        self.settle_groups()?;
        for position in self.engines.iter_mut().flat_map(|e| &mut e.readers).flat_map(|r| &mut r.positions) {
            position.end = ends.get(&(position.topic.clone(), position.partition)).copied().unwrap_or(0);
        }
        let deadline = self.now() + READ_MAX_NS;
        self.drive(Pace::Silent, Until::Read(deadline), &mut |_| ())?;
        self.leave_groups()?;
        Ok(self.findings())
    }

    /// The ends of the partitions once everything acknowledged is below them, or when that takes too long. With acks=1 a record is
    /// acknowledged before consumers may see it: by Kafka when followers lack it, by Odradek when it is not flushed yet.
    fn visible_ends(&self, cluster: &mut Cluster, partitions: &[TargetPartition], starts: &Offsets) -> Result<Offsets, BenchError> {
        let mut owed = Offsets::new();
        for lane in self.engines.iter().filter(|e| e.encoder.acks != Acks::None).flat_map(|e| &e.lanes) {
            let key = (lane.topic.clone(), lane.partition);
            let start = starts.get(&key).copied().unwrap_or(0);
            *owed.entry(key).or_insert(start) += lane.acknowledged as i64;
        }
        let deadline = Instant::now() + VISIBLE_MAX;
        loop {
            let ends = ends(cluster, partitions)?;
            let visible = owed.iter().all(|(key, owed)| ends.get(key).is_some_and(|end| end >= owed));
            if visible || Instant::now() >= deadline {
                return Ok(ends);
            }
            std::thread::sleep(VISIBLE_LOOK);
        }
    }

    /// Reads everything that is there and checks it: for records of runs that are over. Gaps count as losses.
    pub fn audit_all(&mut self, cluster: &mut Cluster, partitions: &[TargetPartition]) -> Result<AuditResult, BenchError> {
        let from = beginnings(cluster, partitions)?;
        self.engines.iter_mut().for_each(|e| e.encoder.acks = Acks::None);
        self.add_readers(cluster, partitions, &from, Mode::Once, 0, 1, true, AUDIT)?;
        let mut found = self.audit(cluster, partitions, &from)?;
        found.lost += self.readers().flat_map(|r| &r.positions).map(|p| p.audit.gaps(None)).sum::<u64>();
        Ok(found)
    }

    fn findings(&self) -> AuditResult {
        let mut total = AuditResult::default();
        let readers = || self.engines.iter().flat_map(|e| &e.readers);
        let mut at: BTreeMap<(usize, &str, i32), &Position> = BTreeMap::new();
        for reader in readers() {
            for position in &reader.positions {
                audit::add(&mut total, &position.audit.found);
                if reader.mode == Mode::Loop {
                    // What other runs had acknowledged is not known; all of the preload was.
                    total.lost += position.audit.gaps(Some(self.run().wrapping_sub(1)));
                } else {
                    total.damaged += position.audit.foreign;
                    at.insert((reader.group, position.topic.as_str(), position.partition), position);
                }
            }
        }
        let groups = readers().filter(|r| r.mode != Mode::Loop).map(|r| r.group + 1).max().unwrap_or(0);
        for group in 0..groups {
            for lane in self.engines.iter().flat_map(|e| &e.lanes) {
                // acks=0 promises nothing but order.
                let owed = if self.engines[0].encoder.acks == Acks::None { 0 } else { lane.acknowledged };
                let seen = at.get(&(group, lane.topic.as_str(), lane.partition));
                total.lost += seen.map_or(owed, |p| p.audit.lost(self.run(), lane.lane, owed, lane.failed));
            }
        }
        total
    }
}
