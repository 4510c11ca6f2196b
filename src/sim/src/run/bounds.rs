//! What may be left at the end, on the disk and in memory.

use super::{NODE, Run};
use crate::history::Tp;
use crate::node::DATA_DIR;
use crate::scenario::SHARDS;
use crate::violation::Checker;
use odradek_ring::sim::World;
use std::path::Path;
use std::time::Duration;

/// Bytes that a node's disk may hold at the end besides what was sent: journals of all shards, metadata and states; and for each partition,
/// whose active segment is padded.
const DISK_BYTES_MAX: u64 = 64 << 20;
const DISK_BYTES_PER_PARTITION: u64 = 3 << 20;
/// Tasks that a node may have at the end: what is left behind by connections, timers or requests would add up.
const TASKS_MAX: usize = 400;
/// Bytes of requests that one shard may have admitted together.
const IN_FLIGHT_BYTES_MAX: u64 = 2 << 20;
/// Within which what retention may take is flushed (`StoreConfig::flush_age`: 30 s), taken and unlinked.
const RETENTION_WAIT: Duration = Duration::from_secs(40);
/// An active segment is padded to whole blocks.
const PADDING_BYTES_MAX: u64 = 4096;
/// Offset index, time index, aborted transactions and a snapshot belong to each `.log`; the metadata and epochs of the partition to none.
const FILES_PER_SEGMENT_MAX: usize = 5;
const FILES_PER_PARTITION_MAX: usize = 4;

impl Run {
    /// Caches and queues stay within their bounds, at every step.
    pub(super) fn check_memory(&self) {
        if let Some(held) = self.node.beyond_bounds(IN_FLIGHT_BYTES_MAX).filter(|_| !self.history.is_violated()) {
            self.history.violation(Checker::Memory, format!("{} of {}, {} at most", held.now, held.what, held.most));
        }
    }

    /// What was written must not use up the disk, what was done must leave nothing running.
    pub(super) fn check_bounds(&self) {
        let (sent, partitions) = {
            let facts = self.history.facts();
            (facts.bytes_sent, facts.partitions.len() as u64)
        };
        let (used, tasks) = (self.world.disk_used(NODE), self.world.task_count(NODE));
        let most = DISK_BYTES_MAX + partitions * DISK_BYTES_PER_PARTITION + sent * 2;
        if used > most {
            let files = self.world.files(NODE);
            self.history.violation(Checker::Disk, format!("{used} bytes are on the disk after {sent} bytes of batches: {files:?}"));
        }
        if tasks > TASKS_MAX {
            self.history.violation(Checker::Memory, format!("{tasks} tasks are left"));
        }
    }

    /// Retention has taken everything that its settings let it take.
    pub(super) fn check_retention(&mut self) {
        let retained: Vec<(Tp, Option<u64>)> = self.scenario.topics.iter().flat_map(|topic| topic.retained()).collect();
        if retained.is_empty() || self.history.is_violated() {
            return;
        }
        let limit = self.world.now() + RETENTION_WAIT;
        self.advance(|run| run.world.now() >= limit, limit);
        let files = self.world.files(NODE);
        for (tp, bytes_max) in retained {
            if self.history.is_damaged(&tp) {
                continue;
            }
            let prefix = format!("{DATA_DIR}/{tp}/");
            let of: Vec<(&str, u64)> =
                files.iter().filter_map(|(path, bytes)| path.strip_prefix(&prefix).map(|name| (name, *bytes))).collect();
            if let Err(problem) = retention_holds(&of, bytes_max) {
                self.history.violation(Checker::Disk, format!("{tp}: {problem}: {of:?}"));
            }
        }
    }
}

/// Whether a partition's directory holds no more than `retention.bytes`, or, without it, nothing (all is older than `retention.ms`).
fn retention_holds(files: &[(&str, u64)], bytes_max: Option<u64>) -> Result<(), String> {
    let logs: Vec<u64> = files.iter().filter(|(name, _)| name.ends_with(".log")).map(|(_, bytes)| *bytes).collect();
    if files.iter().any(|(name, _)| name.ends_with(".deleted")) {
        return Err("deleted files wait for ever".to_owned());
    }
    if files.len() > logs.len() * FILES_PER_SEGMENT_MAX + FILES_PER_PARTITION_MAX {
        return Err(format!("{} files for {} segments", files.len(), logs.len()));
    }
    let total: u64 = logs.iter().sum();
    match bytes_max {
        None if total > 0 => Err(format!("{total} bytes are older than retention.ms")),
        // The oldest segment stays when less than the bound would be left without it.
        Some(bytes_max) if total - logs.first().unwrap_or(&0) > bytes_max + PADDING_BYTES_MAX => {
            Err(format!("{total} bytes with retention.bytes={bytes_max}"))
        }
        _ => Ok(()),
    }
}

/// How far `__consumer_offsets` was compacted, all partitions together, from the checkpoints that say so.
pub(super) fn offsets_compacted(world: &World) -> u64 {
    let names = (0..SHARDS).map(|shard| format!("odradek-shard-{shard}.cleaner-offsets")).chain(["cleaner-offset-checkpoint".to_owned()]);
    let texts = names.filter_map(|name| world.peek(NODE, &Path::new(DATA_DIR).join(name)));
    let ends = texts.flat_map(|text| {
        let text = String::from_utf8_lossy(&text).into_owned();
        let rows = text.lines().filter(|line| line.starts_with("__consumer_offsets "));
        rows.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).collect::<Vec<_>>()
    });
    ends.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retention_is_held_against_its_settings() {
        let files = |bytes: &'static [u64]| -> Vec<(&str, u64)> { bytes.iter().map(|bytes| ("0.log", *bytes)).collect() };
        let mib = 1 << 20;
        assert!(retention_holds(&files(&[0]), None).is_ok() && retention_holds(&files(&[1]), None).is_err());
        assert!(
            retention_holds(&files(&[1 << 20, 1 << 20]), Some(mib)).is_ok(),
            "without the oldest there would be no more than the bound"
        );
        assert!(retention_holds(&files(&[1 << 20, 1 << 20, 1 << 20]), Some(mib)).is_err());
        assert!(retention_holds(&[("0.log", 0), ("0.log.deleted", 9)], None).is_err());
        assert!(retention_holds(&[("1.index", 0); 30], Some(mib)).is_err());
    }
}
