//! What is done to the world, and when.

use crate::faults::{Fault, Planned, Stored};
use odradek_base::Instant;
use odradek_ring::sim::{CrashMode, DiskOperation};
use std::collections::BTreeMap;
use std::time::Duration;

/// What is done to the world at a given time.
#[derive(Debug, Clone, Copy)]
pub(super) enum Action {
    Crash(CrashMode),
    Start,
    Stop {
        down: Duration,
    },
    Reset,
    Cut,
    CutOneWay {
        to_node: bool,
    },
    Heal,
    Slow(Duration),
    /// So many bytes are left on the disk; `None` is enough.
    Full(Option<u64>),
    Rot(u64),
    DiskError(DiskOperation),
    /// A stored bit flips.
    FlipStored(Stored),
}

/// By time, then in the order of planning.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    actions: BTreeMap<(Instant, u64), Action>,
    planned: u64,
}

impl Agenda {
    pub(super) fn plan(&mut self, at: Instant, action: Action) {
        self.actions.insert((at, self.planned), action);
        self.planned += 1;
    }

    /// What a fault does and how it is undone, in a run that began at `start`.
    pub(super) fn plan_fault(&mut self, start: Instant, Planned { at, fault }: Planned) {
        let at = start + at;
        match fault {
            Fault::Crash { mode, down } => {
                self.plan(at, Action::Crash(mode));
                self.plan(at + down, Action::Start);
            }
            Fault::Stop { down } => self.plan(at, Action::Stop { down }),
            Fault::Reset => self.plan(at, Action::Reset),
            Fault::Partition { lasts } => {
                self.plan(at, Action::Cut);
                self.plan(at + lasts, Action::Heal);
            }
            Fault::OneWay { to_node, lasts } => {
                self.plan(at, Action::CutOneWay { to_node });
                self.plan(at + lasts, Action::Heal);
            }
            Fault::FullDisk { room, lasts } => {
                self.plan(at, Action::Full(Some(room)));
                self.plan(at + lasts, Action::Full(None));
            }
            Fault::BitRot { one_in, lasts } => {
                self.plan(at, Action::Rot(one_in));
                self.plan(at + lasts, Action::Rot(0));
            }
            Fault::SlowDisk { latency, lasts } => {
                self.plan(at, Action::Slow(latency));
                self.plan(at + lasts, Action::Slow(Duration::ZERO));
            }
            Fault::StoredRot { stored } => self.plan(at, Action::FlipStored(stored)),
            Fault::DiskError { operation, after } => {
                self.plan(at, Action::DiskError(operation));
                self.plan(at + after, Action::Crash(CrashMode::Kill));
                self.plan(at + after, Action::Start);
            }
        }
    }

    pub(super) fn next(&mut self) -> Option<(Instant, Action)> {
        self.actions.pop_first().map(|((at, _), action)| (at, action))
    }

    /// Takes out the next start of the node that is planned up to `limit`.
    pub(super) fn next_start(&mut self, limit: Instant) -> Option<Instant> {
        let due = |(key, action): (&(Instant, u64), &Action)| (matches!(action, Action::Start) && key.0 <= limit).then_some(*key);
        let key = self.actions.iter().find_map(due)?;
        self.actions.remove(&key);
        Some(key.0)
    }

    pub(super) fn clear(&mut self) {
        self.actions.clear();
    }
}
