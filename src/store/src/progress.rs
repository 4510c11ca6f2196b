//! Tells the operator how far a long recovery is: in the log, and to whoever asks.

use odradek_base::{Instant, ShardId};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

/// Time between two lines in the log; a recovery that is over sooner says nothing.
const INTERVAL: Duration = Duration::from_secs(1);

/// How far a store is with opening, over all phases: partitions and journal blocks.
#[derive(Debug, Default)]
pub struct RecoveryProgress {
    steps: Cell<u64>,
    done: Cell<u64>,
}

impl RecoveryProgress {
    /// Steps of the phases that have begun.
    pub fn steps(&self) -> u64 {
        self.steps.get()
    }

    pub fn done(&self) -> u64 {
        self.done.get()
    }
}

/// One phase of a recovery.
pub(crate) struct Progress {
    shard: ShardId,
    /// What is counted.
    what: &'static str,
    total: usize,
    done: usize,
    bytes: u64,
    told: Instant,
    all: Rc<RecoveryProgress>,
}

impl Progress {
    pub fn new(shard: ShardId, what: &'static str, total: usize, now: Instant, all: &Rc<RecoveryProgress>) -> Self {
        all.steps.set(all.steps() + total as u64);
        Self { shard, what, total, done: 0, bytes: 0, told: now, all: all.clone() }
    }

    /// One more of them is done; it took reading `bytes`. Returns whether that was told.
    pub fn step(&mut self, bytes: u64, now: Instant) -> bool {
        self.done += 1;
        self.all.done.set(self.all.done() + 1);
        self.bytes += bytes;
        let due = now - self.told >= INTERVAL;
        if due {
            self.told = now;
            let mib = self.bytes >> 20;
            tracing::info!(shard = %self.shard, what = self.what, done = self.done, total = self.total, checked_mib = mib, "recovering");
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_every_second() {
        let (start, all) = (Instant::default(), Rc::default());
        let mut progress = Progress::new(ShardId(0), "partitions", 3, start, &all);
        assert!(!progress.step(1, start + Duration::from_millis(900)));
        assert!(progress.step(1, start + Duration::from_millis(1000)));
        assert!(!progress.step(1, start + Duration::from_millis(1900)));
        assert_eq!((progress.done, progress.bytes), (3, 3));
        Progress::new(ShardId(0), "journal blocks", 4, start, &all).step(1, start);
        assert_eq!((all.steps(), all.done()), (7, 4));
    }
}
