//! What the actions do to the world and the node.

use super::agenda::Action;
use super::planted::Planted;
use super::{CLIENTS, NODE, Run, rot};
use crate::node::Life;
use crate::scenario::Ending;
use odradek_ring::sim::{CrashMode, DiskFailure, DiskFaults};
use std::time::Duration;

const SLOW_DISK_MIN: Duration = Duration::from_millis(1);

impl Run {
    pub(super) fn act(&mut self, action: Action) {
        self.history.event(|| format!("-- {action:?}"));
        match action {
            Action::Crash(mode) => {
                if mode == CrashMode::PowerLoss {
                    self.history.power_lost(self.world.now());
                }
                self.node.crash(mode);
                if self.planted == Some(Planted::JournalsSpoilt) {
                    rot::spoil_journals(&self.world);
                }
                if self.scenario.kinds.stored_rot {
                    rot::needed_journal(&self.world, &self.history);
                }
            }
            Action::Start if !self.node.is_running() => {
                // What a starting node reads is the fault of another day: a flipped bit in the journal's end looks like a torn write.
                self.set_disk(|disk, usual| disk.bit_rot_one_in = usual.bit_rot_one_in);
                self.node.start();
            }
            Action::Start => {}
            Action::Stop { down } => {
                if self.node.life() == Life::Ready {
                    self.down_after_stop = down;
                    self.node.stop();
                }
            }
            Action::Reset => self.world.reset_connections(CLIENTS, NODE),
            Action::Cut => self.world.partition(CLIENTS, NODE),
            Action::Heal => self.world.heal(CLIENTS, NODE),
            Action::CutOneWay { to_node: true } => self.world.partition_one_way(CLIENTS, NODE),
            Action::CutOneWay { to_node: false } => self.world.partition_one_way(NODE, CLIENTS),
            Action::Slow(latency) => self.set_disk(|disk, usual| {
                (disk.latency_max, disk.slow_latency) = match latency < SLOW_DISK_MIN {
                    true => (usual.latency_max, usual.slow_latency),
                    false => (latency, latency * 4),
                }
            }),
            Action::Full(room) => {
                let used = self.world.disk_used(NODE);
                self.set_disk(|disk, usual| disk.capacity_bytes = room.map_or(usual.capacity_bytes, |room| used + room));
            }
            Action::Rot(one_in) => {
                if one_in == 0 || self.node.life() == Life::Ready {
                    self.set_disk(|disk, _| disk.bit_rot_one_in = one_in);
                }
            }
            Action::FlipStored(stored) => {
                if self.node.life() == Life::Ready {
                    rot::flip(&self.world, &self.history, stored);
                }
            }
            Action::DiskError(operation) => {
                self.world.fail_disk(NODE, DiskFailure { operation, path_contains: String::new(), times: 1 });
            }
        }
    }

    fn set_disk(&mut self, change: impl FnOnce(&mut DiskFaults, &DiskFaults)) {
        change(&mut self.disk_now, &self.disk);
        self.world.set_disk_faults(NODE, self.disk_now.clone());
    }

    /// Undoes every fault and makes sure that the node runs.
    pub(super) fn calm_down(&mut self) {
        self.act(Action::Heal);
        self.act(Action::Slow(Duration::ZERO));
        self.act(Action::Full(None));
        self.act(Action::Rot(0));
        if self.scenario.kinds.disk_errors || self.scenario.kinds.bit_rot || self.scenario.kinds.stored_rot {
            // What a disk took offline is back after a restart, not before.
            self.act(Action::Crash(CrashMode::Kill));
        }
        self.agenda.clear();
        self.act(Action::Start);
    }

    /// The last thing that happens to the node before everything is read back.
    pub(super) fn end(&mut self) {
        match self.scenario.ending {
            Ending::Nothing => {}
            Ending::Crash(mode) => {
                self.act(Action::Crash(mode));
                self.act(Action::Start);
            }
            Ending::Stop => {
                self.wait_for("the node to be ready", |run| run.node.life() == Life::Ready);
                self.act(Action::Stop { down: Duration::ZERO });
            }
        }
        self.wait_for("the node to be ready", |run| run.node.life() == Life::Ready);
    }
}
