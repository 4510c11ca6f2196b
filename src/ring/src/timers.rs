//! Deadlines of one ring. No system call per timer: the nearest one bounds the wait for completions.

use odradek_base::Instant;
use std::collections::BTreeMap;
use std::task::Waker;

/// Names a pending timer. Ordered by deadline, then by the order of creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TimerKey {
    at: Instant,
    sequence: u64,
}

/// Pending timers, ordered. A timer leaves when it fires or when its future is dropped,
/// so their number is bounded by the number of futures that sleep.
#[derive(Default)]
pub(crate) struct Timers {
    pending: BTreeMap<TimerKey, Waker>,
    next_sequence: u64,
}

impl Timers {
    pub(crate) fn insert(&mut self, at: Instant, waker: Waker) -> TimerKey {
        let key = TimerKey { at, sequence: self.next_sequence };
        self.next_sequence += 1;
        self.pending.insert(key, waker);
        key
    }

    /// Replaces the waker of a pending timer; false where it has fired.
    pub(crate) fn update(&mut self, key: TimerKey, waker: &Waker) -> bool {
        match self.pending.get_mut(&key) {
            Some(old) => {
                old.clone_from(waker);
                true
            }
            None => false,
        }
    }

    pub(crate) fn cancel(&mut self, key: TimerKey) -> Option<Waker> {
        self.pending.remove(&key)
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.pending.first_key_value().map(|(key, _)| key.at)
    }

    /// Takes the earliest timer that is due at `now`.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<Waker> {
        let entry = self.pending.first_entry()?;
        if entry.key().at > now { None } else { Some(entry.remove()) }
    }

    pub(crate) fn clear(&mut self) -> BTreeMap<TimerKey, Waker> {
        std::mem::take(&mut self.pending)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_fire_by_deadline_then_by_age_and_can_be_cancelled() {
        let mut timers = Timers::default();
        let waker = Waker::noop();
        let late = timers.insert(Instant(30), waker.clone());
        let first = timers.insert(Instant(10), waker.clone());
        let second = timers.insert(Instant(10), waker.clone());
        assert!(first < second && second < late);
        assert_eq!(timers.next_deadline(), Some(Instant(10)));
        assert!(timers.pop_due(Instant(9)).is_none());
        assert!(timers.cancel(first).is_some());
        assert!(timers.pop_due(Instant(10)).is_some());
        assert!(!timers.update(second, waker));
        assert!(timers.pop_due(Instant(29)).is_none());
        assert_eq!(timers.next_deadline(), Some(Instant(30)));
        assert!(timers.pop_due(Instant(30)).is_some());
        assert_eq!(timers.next_deadline(), None);
    }
}
