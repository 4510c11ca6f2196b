//! What a group needs from its coordinator while it handles one call.

use crate::config::GroupsConfig;
use crate::effects::{CoordinatorRecord, Effects, Reply, Token};
use crate::timers::{Armed, Timers};
use crate::turn::Turn;
use crate::writes::{Then, Writes};
use odradek_base::{Instant, Rng};
use std::sync::Arc;
use std::time::Duration;

pub(crate) struct Env<'a, 't> {
    pub(crate) turn: &'a Turn<'t>,
    pub(crate) config: &'a GroupsConfig,
    pub(crate) rng: &'a mut Rng,
    pub(crate) timers: &'a mut Timers,
    pub(crate) writes: &'a mut Writes,
    pub(crate) fx: &'a mut Effects,
}

impl Env<'_, '_> {
    pub(crate) fn reply(&mut self, token: Token, reply: impl Into<Reply>) {
        self.fx.reply(token, reply);
    }

    pub(crate) fn write(&mut self, group: &Arc<str>, records: Vec<CoordinatorRecord>, then: Then) {
        self.writes.emit(self.fx, group, records, then);
    }

    /// The reply goes out at once, or with the write when there is something to write.
    pub(crate) fn write_then_reply(&mut self, group: &Arc<str>, records: Vec<CoordinatorRecord>, token: Token, reply: impl Into<Reply>) {
        if records.is_empty() {
            self.fx.reply(token, reply);
        } else {
            self.writes.emit(self.fx, group, records, Then::Reply(token, reply.into()));
        }
    }

    pub(crate) fn arm(&mut self, group: &Arc<str>, armed: &mut Armed, at: Instant) {
        self.timers.arm(group, armed, at);
    }
}

/// A timeout from the wire or from disk; negative ones count as zero.
pub(crate) fn millis(ms: i32) -> Duration {
    Duration::from_millis(ms.max(0) as u64)
}
