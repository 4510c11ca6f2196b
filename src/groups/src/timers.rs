//! One wake-up per group.
//!
//! Heartbeats move deadlines back far more often than deadlines fire, so an entry is never moved back: it fires,
//! the group looks at its members and says when it wants to be woken next.

use odradek_base::Instant;
use std::collections::BTreeSet;
use std::sync::Arc;

#[derive(Debug, Default)]
pub(crate) struct Timers {
    queue: BTreeSet<(Instant, Arc<str>)>,
}

/// When a group's entry stands in the queue; kept in the group.
#[derive(Debug, Default)]
pub(crate) struct Armed(Option<Instant>);

impl Timers {
    /// Makes sure that the group is woken at `at` or earlier.
    pub(crate) fn arm(&mut self, group: &Arc<str>, armed: &mut Armed, at: Instant) {
        match armed.0 {
            Some(earlier) if earlier <= at => return,
            Some(later) => {
                self.queue.remove(&(later, group.clone()));
            }
            None => {}
        }
        self.queue.insert((at, group.clone()));
        armed.0 = Some(at);
    }

    /// Forgets a group that goes away.
    pub(crate) fn disarm(&mut self, group: &Arc<str>, armed: &mut Armed) {
        if let Some(at) = armed.0.take() {
            self.queue.remove(&(at, group.clone()));
        }
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// The next group whose time has come. Its entry is gone: clear its [`Armed`] with [`Armed::fired`].
    pub(crate) fn pop(&mut self, now: Instant) -> Option<Arc<str>> {
        if self.next()? > now {
            return None;
        }
        self.queue.pop_first().map(|(_, group)| group)
    }
}

impl Armed {
    pub(crate) fn fired(&mut self) {
        self.0 = None;
    }
}
