//! Leader epochs of a partition and the offsets at which they began (Kafka's `LeaderEpochFileCache`, KIP-101, KIP-279).

use odradek_base::{LeaderEpoch, Offset};

/// Epochs kept in memory; every leadership change adds one, log start removes the old ones. Beyond it the oldest is dropped.
pub const EPOCHS_MAX: usize = 10_000;

/// Epoch and its first offset; both ascend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochStart {
    pub epoch: LeaderEpoch,
    pub start: Offset,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LeaderEpochs {
    entries: Vec<EpochStart>,
}

impl LeaderEpochs {
    /// Keeps what ascends of `entries`.
    pub fn restore(entries: Vec<EpochStart>) -> Self {
        let mut epochs = Self::default();
        for entry in entries {
            epochs.assign(entry.epoch, entry.start);
        }
        epochs
    }

    /// Batches of `epoch` begin at `start`. Returns whether that is news. Entries that contradict it (later start, same or higher epoch) are dropped
    /// as Kafka does: the newest statement wins.
    pub fn assign(&mut self, epoch: LeaderEpoch, start: Offset) -> bool {
        if epoch.get() < 0 || self.entries.last().is_some_and(|last| last.epoch == epoch) {
            return false;
        }
        while self.entries.last().is_some_and(|last| last.epoch >= epoch || last.start >= start) {
            self.entries.pop();
        }
        if self.entries.len() == EPOCHS_MAX {
            self.entries.remove(0);
        }
        self.entries.push(EpochStart { epoch, start });
        true
    }

    pub fn latest(&self) -> Option<LeaderEpoch> {
        self.entries.last().map(|last| last.epoch)
    }

    pub fn entries(&self) -> &[EpochStart] {
        &self.entries
    }

    /// Epoch of the record at `offset`.
    pub fn epoch_at(&self, offset: Offset) -> Option<LeaderEpoch> {
        let after = self.entries.partition_point(|entry| entry.start <= offset);
        after.checked_sub(1).and_then(|at| self.entries.get(at)).map(|entry| entry.epoch)
    }

    /// The largest epoch not beyond `requested` and the offset after its last record; `end` is the log end
    /// (`LeaderEpochFileCache.endOffsetFor`). `None` when the epoch is unknown.
    pub fn end_offset(&self, requested: LeaderEpoch, end: Offset) -> Option<(LeaderEpoch, Offset)> {
        let latest = self.latest()?;
        if requested.get() < 0 || requested > latest {
            return None;
        }
        if requested == latest {
            return Some((latest, end));
        }
        let after = self.entries.partition_point(|entry| entry.epoch <= requested);
        let next = self.entries.get(after)?;
        match after.checked_sub(1).and_then(|at| self.entries.get(at)) {
            // The requested epoch is older than everything we know: the first known one starts where it ended.
            None => Some((requested, next.start)),
            Some(entry) => Some((entry.epoch, next.start)),
        }
    }

    /// Records below `start` are gone: the epoch at `start` begins there.
    pub fn truncate_from_start(&mut self, start: Offset) {
        let after = self.entries.partition_point(|entry| entry.start <= start);
        if let Some(keep) = after.checked_sub(1) {
            self.entries.drain(..keep);
            if let Some(first) = self.entries.first_mut() {
                first.start = first.start.max(start);
            }
        }
    }

    /// Records from `end` on are gone.
    pub fn truncate_from_end(&mut self, end: Offset) {
        self.entries.retain(|entry| entry.start < end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epochs(entries: &[(i32, i64)]) -> LeaderEpochs {
        LeaderEpochs::restore(
            entries.iter().map(|&(epoch, start)| EpochStart { epoch: LeaderEpoch(epoch), start: Offset(start) }).collect(),
        )
    }

    #[test]
    fn end_offsets_follow_kafka() {
        let cache = epochs(&[(2, 10), (4, 20), (5, 30)]);
        let end = |epoch| cache.end_offset(LeaderEpoch(epoch), Offset(40)).map(|(epoch, end)| (epoch.0, end.0));
        assert_eq!(
            (end(0), end(2), end(3), end(4), end(5), end(6), end(-1)),
            (Some((0, 10)), Some((2, 20)), Some((2, 20)), Some((4, 30)), Some((5, 40)), None, None)
        );
        assert_eq!(epochs(&[]).end_offset(LeaderEpoch(0), Offset(0)), None);
        assert_eq!((cache.epoch_at(Offset(9)), cache.epoch_at(Offset(29))), (None, Some(LeaderEpoch(4))));
    }

    #[test]
    fn truncation_and_contradictions() {
        let mut cache = epochs(&[(2, 10), (4, 20), (5, 30)]);
        cache.truncate_from_start(Offset(25));
        assert_eq!(cache, epochs(&[(4, 25), (5, 30)]));
        cache.truncate_from_end(Offset(30));
        assert_eq!(cache, epochs(&[(4, 25)]));
        assert!(cache.assign(LeaderEpoch(6), Offset(25)));
        assert_eq!(cache, epochs(&[(6, 25)]), "an epoch without records leaves no entry");
        assert!(!cache.assign(LeaderEpoch(6), Offset(99)));
    }
}
