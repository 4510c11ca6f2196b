//! The checkpoint files that Kafka expects in each log directory. They are shared by all shards, so they are written once, by the process, after
//! all shards have closed, from their state files.

use odradek_base::{Offset, PartitionIndex};
use odradek_log::checkpoint;
use odradek_log::segment::names;
use odradek_log::state::{self, PartitionState};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// Space of a file system, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Space {
    pub total_bytes: u64,
    pub usable_bytes: u64,
}

/// The file system that `path` is on.
pub fn space(path: &Path) -> io::Result<Space> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(Space { total_bytes: stat.f_blocks * stat.f_frsize, usable_bytes: stat.f_bavail * stat.f_frsize })
}

/// Writes `recovery-point-offset-checkpoint`, `log-start-offset-checkpoint`, `replication-offset-checkpoint`,
/// `cleaner-offset-checkpoint` and, when all shards stopped cleanly,
/// `.kafka_cleanshutdown` into each of `log_dirs`. Blocking; for the main thread, after the shards have ended.
pub fn write_kafka_checkpoints(log_dirs: &[PathBuf]) -> io::Result<()> {
    let Some(first) = log_dirs.first() else { return Ok(()) };
    let mut clean = true;
    let mut rows: BTreeMap<usize, BTreeMap<(String, PartitionIndex), PartitionState>> = BTreeMap::new();
    let mut cleaned: BTreeMap<(String, PartitionIndex), Offset> = BTreeMap::new();
    for entry in std::fs::read_dir(first)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(crate::compaction::offsets::is_offsets_file) {
            let rows = checkpoint::decode_offsets(&String::from_utf8_lossy(&std::fs::read(entry.path())?)).unwrap_or_default();
            for (topic, partition, offset) in rows {
                // A shard that is gone may have left an older file; to compact again costs nothing but time.
                let known = cleaned.entry((topic, partition)).or_insert(offset);
                *known = (*known).min(offset);
            }
        }
        if !entry.file_name().to_str().is_some_and(crate::state_file::is_state_file) {
            continue;
        }
        let Some(state) = state::decode(&std::fs::read(entry.path())?) else {
            clean = false;
            continue;
        };
        clean &= state.clean;
        for partition in state.partitions {
            rows.entry(usize::from(partition.directory))
                .or_default()
                .insert((partition.topic.clone(), partition.partition.partition), partition);
        }
    }
    for (index, directory) in log_dirs.iter().enumerate() {
        if index > 0 && !directory.is_dir() {
            tracing::warn!(directory = %directory.display(), "no checkpoints in a log directory that is not there");
            continue;
        }
        let empty = BTreeMap::new();
        let partitions = rows.get(&index).unwrap_or(&empty);
        let write = |name: &str, offset: &dyn Fn(&PartitionState) -> Option<Offset>| {
            let path = directory.join(name);
            let entries = partitions.iter().filter_map(|((topic, partition), state)| Some((topic.as_str(), *partition, offset(state)?)));
            // Of partitions that this run did not get to open nothing is known but what the file says.
            let before = std::fs::read_to_string(&path).ok().and_then(|text| checkpoint::decode_offsets(&text)).unwrap_or_default();
            let unopened = before.iter().filter(|(topic, partition, _)| {
                !partitions.contains_key(&(topic.clone(), *partition))
                    && directory.join(names::partition_directory(topic, *partition)).is_dir()
            });
            let all = entries.chain(unopened.map(|(topic, partition, offset)| (topic.as_str(), *partition, *offset)));
            replace(&path, &checkpoint::encode_offsets(all))
        };
        write(names::RECOVERY_POINTS, &|state| Some(state.flushed))?;
        // Kafka lists only logs whose start is not that of their first segment.
        write(names::LOG_STARTS, &|state| {
            state.segments.first().filter(|first| first.base_offset < state.log_start).map(|_| state.log_start)
        })?;
        write(names::HIGH_WATERMARKS, &|state| Some(state.high_watermark))?;
        write(names::CLEANER_OFFSETS, &|state| cleaned.get(&(state.topic.clone(), state.partition.partition)).copied())?;
        if clean {
            replace(&directory.join(names::CLEAN_SHUTDOWN), &checkpoint::encode_clean_shutdown())?;
        }
    }
    Ok(())
}

fn replace(path: &Path, text: &str) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    let temporary = path.with_file_name(name);
    std::fs::write(&temporary, text)?;
    std::fs::rename(&temporary, path)
}
