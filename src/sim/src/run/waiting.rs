//! Letting the world run: up to a moment, or until something is done.

use super::agenda::Action;
use super::{Run, rot};
use crate::node::Life;
use crate::violation::Checker;
use odradek_base::Instant;
use odradek_ring::sim::CrashMode;
use std::time::Duration;

/// Virtual time that clients have to get everything done once nothing fails any more.
const QUIET_MAX: Duration = Duration::from_secs(900);
/// Before a node that failed to start or stop is started again.
const FAILED_PAUSE: Duration = Duration::from_millis(100);

impl Run {
    /// Lets the world run until the condition holds, but not beyond `limit`; looks after a node that has stopped or failed meanwhile.
    /// False when a rule was broken.
    pub(super) fn advance(&mut self, condition: impl Fn(&Self) -> bool, limit: Instant) -> bool {
        loop {
            let world = self.world.clone();
            let (history, run) = (self.history.clone(), &*self);
            world.run_until(|| {
                run.check_memory();
                condition(run)
                    || history.is_violated()
                    || world.now() >= limit
                    || matches!(run.node.life(), Life::Stopped | Life::Failed(_))
            });
            if self.history.is_violated() {
                return false;
            }
            match self.node.life() {
                Life::Stopped => {
                    self.history.event(|| "the node has stopped".to_string());
                    self.node.crash(CrashMode::Kill);
                    if self.scenario.kinds.stored_rot {
                        rot::journals(&self.world);
                    }
                    self.agenda.plan(self.world.now() + self.down_after_stop, Action::Start);
                    // What follows is on the agenda: the caller's loop or the calming down starts the node.
                }
                Life::Failed(reason) if !self.scenario.kinds.disks_work() => {
                    self.history.event(|| format!("the node failed: {reason}"));
                    self.node.crash(CrashMode::Kill);
                    self.agenda.plan(self.world.now() + FAILED_PAUSE, Action::Start);
                }
                Life::Failed(reason) => self.history.violation(Checker::Node, reason),
                _ => return !self.history.is_violated(),
            }
            if self.run_due(limit) {
                return !self.history.is_violated();
            }
        }
    }

    /// Starts a node that was planned to start before `limit`, at its time. True when the limit came first.
    fn run_due(&mut self, limit: Instant) -> bool {
        let Some(at) = self.agenda.next_start(limit) else {
            self.world.run_until(|| self.world.now() >= limit);
            return true;
        };
        self.world.run_until(|| self.world.now() >= at);
        self.act(Action::Start);
        false
    }

    /// Waits for something that a correct broker gets done when nothing fails any more.
    pub(super) fn wait_for(&mut self, what: &str, condition: impl Fn(&Self) -> bool) {
        let limit = self.world.now() + QUIET_MAX;
        if self.advance(&condition, limit) && !condition(self) {
            let life = self.node.life();
            self.history.violation(
                Checker::Progress,
                format!("waited {QUIET_MAX:?} for {what} although nothing failed any more (the node is {life:?})"),
            );
        }
    }
}
