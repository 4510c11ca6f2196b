//! Putting a compacted segment in its segments' place so that a crash at any moment is safe (Kafka's `UnifiedLog.replaceSegments`).
//!
//! 1. The new segment's files are written as `<base>.<ext>.cleaned` and flushed. Recovery drops such files.
//! 2. They are renamed to `.swap`, `.log` last, and the directory is flushed. From now on the swap will happen: recovery completes it.
//! 3. The old segments' files are renamed to `.deleted`, in offset order, then `.swap` files to their final names, `.log` last.
//! 4. The `.deleted` files are unlinked after `file.delete.delay.ms`, but not before the state file knows the new segment: a `.log.deleted`
//!    beside a `.log` tells recovery that what the state file says of that segment is of the old one.
//!
//! Recovery removes the old segments that lie within the new one's offsets. Old ones behind its last batch may survive a crash in step 3: all their
//! records are superseded by later segments, so they change nothing and are compacted again.
//!
//! Readers that meet step 3 wait for its end (some renames) and look their place up again; one that opened an old file goes on reading it.

use super::Group;
use crate::error::StoreError;
use crate::retention;
use crate::segment_files;
use crate::shared::{PartitionShared, Shared};
use bytes::Bytes;
use odradek_base::Offset;
use odradek_log::segment::meta::Segment;
use odradek_log::segment::names::{self, CLEANED, DELETED, SWAP, segment_file};
use odradek_log::segment::transaction_index::AbortedTransaction;
use odradek_log::segment::{offset_index, time_index, transaction_index};
use odradek_ring::sync::Event;
use odradek_ring::{DirEntry, OpenOptions, Ring, Sync};
use std::cell::Cell;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

/// Files of a segment that compaction writes, in the order in which they get their names: `.log` is what counts, so it comes last.
const WRITTEN: [&str; 4] = [names::INDEX, names::TIME_INDEX, names::TRANSACTION_INDEX, names::LOG];
/// Files of an old segment, in the order in which they lose their names.
const REPLACED: [&str; 4] = [names::LOG, names::INDEX, names::TIME_INDEX, names::TRANSACTION_INDEX];
/// How often somebody looks whether retention is done, or the state file written.
const PAUSE: Duration = Duration::from_millis(2);
const STATE_LOOK: Duration = Duration::from_secs(1);

/// What compaction keeps of one partition.
#[derive(Default)]
pub(crate) struct PartitionCompaction {
    /// Everything below was compacted.
    pub clean_end: Cell<Option<Offset>>,
    pub running: Cell<bool>,
    /// A compaction failed: no other before a restart.
    pub barred: Cell<bool>,
    /// No flush may begin: segments are about to be replaced.
    pub holds_flushes: Cell<bool>,
    /// Files are being renamed.
    swapping: Cell<bool>,
    /// Counts the swaps.
    generation: Cell<u64>,
    swapped: Event,
}

impl PartitionCompaction {
    /// Waits until no file is being renamed. What is looked up afterwards holds while [`PartitionCompaction::is_current`] says so.
    pub async fn settled(&self) -> u64 {
        while self.swapping.get() {
            let swapped = self.swapped.listen();
            if self.swapping.get() {
                swapped.await;
            }
        }
        self.generation.get()
    }

    pub fn is_current(&self, generation: u64) -> bool {
        !self.swapping.get() && self.generation.get() == generation
    }
}

fn file(partition: &Path, base: Offset, extension: &str, suffix: &str) -> PathBuf {
    partition.join(segment_file(base, &format!("{extension}.{suffix}")))
}

/// Writes the new segment's indexes, flushed, and forgets their entries.
pub(crate) async fn write_indexes(shared: &Shared, partition: &PartitionShared, segment: &mut Segment) -> Result<(), StoreError> {
    let offsets: Vec<u8> = segment.offset_index.unpersisted().1.iter().flat_map(offset_index::OffsetEntry::encode).collect();
    let times: Vec<u8> = segment.time_index.unpersisted().1.iter().flat_map(time_index::TimeEntry::encode).collect();
    let aborted: Vec<u8> = segment.aborted.unpersisted().1.iter().flat_map(transaction_index::AbortedTransaction::encode).collect();
    let (offset_entries, time_entries, aborted_entries) = (segment.offset_index.len(), segment.time_index.len(), segment.aborted.len());
    for (extension, content) in [(names::INDEX, offsets), (names::TIME_INDEX, times), (names::TRANSACTION_INDEX, aborted)] {
        if extension == names::TRANSACTION_INDEX && content.is_empty() {
            continue;
        }
        let path = file(&partition.path, segment.base_offset, extension, CLEANED);
        let options = OpenOptions { write: true, create: true, truncate: true, ..OpenOptions::default() };
        let file = shared.ring.open(&path, options).await.map_err(|error| StoreError::io("create", &path, error))?;
        if !content.is_empty() {
            file.write_at(vec![Bytes::from(content)], 0, Sync::No).await.map_err(|error| StoreError::io("write", &path, error))?;
        }
        file.sync_all().await.map_err(|error| StoreError::io("flush", &path, error))?;
    }
    segment.offset_index.persisted(offset_entries, true);
    segment.time_index.persisted(time_entries, true);
    segment.aborted.persisted(aborted_entries, true);
    Ok(())
}

/// Removes what was written of a group that is not swapped.
pub(crate) async fn discard(shared: &Shared, partition: &PartitionShared, group: &Group) {
    let Some(base) = group.bases.first() else { return };
    for extension in WRITTEN {
        if let Err(error) = segment_files::remove(&shared.ring, &file(&partition.path, *base, extension, CLEANED)).await {
            tracing::warn!("{error}");
        }
    }
}

/// Puts `segment`, whose `.cleaned` files are flushed, in the place of the group's segments. Returns their size in bytes; `None` when one of them is
/// gone, or the partition is moved away from `directory`.
pub(crate) async fn swap(
    shared: &Rc<Shared>,
    partition: &Rc<PartitionShared>,
    directory: usize,
    group: &Group,
    segment: Segment,
    aborted: Vec<AbortedTransaction>,
) -> Result<Option<u64>, StoreError> {
    // A flush may be completing one of the segments: what it notes down of indexes must not meet the new one's.
    partition.compaction.holds_flushes.set(true);
    while partition.retaining.get() || partition.flushing.get() {
        shared.ring.sleep(PAUSE).await;
    }
    // Keeps retention off the names.
    partition.retaining.set(true);
    let swapped = match prepare(shared, partition, directory, group).await {
        Ok(true) => replace(shared, partition, group, segment, aborted).await.map(Some).inspect_err(|error| {
            if !partition.is_deleted() {
                shared.fail_partition(partition, error);
            }
        }),
        Ok(false) => Ok(None),
        Err(error) => Err(error),
    };
    partition.retaining.set(false);
    partition.compaction.holds_flushes.set(false);
    shared.flush_wanted.notify_all();
    swapped
}

/// Whether the group's segments can be replaced; what was written for them is removed otherwise.
async fn prepare(shared: &Rc<Shared>, partition: &Rc<PartitionShared>, directory: usize, group: &Group) -> Result<bool, StoreError> {
    partition.check()?;
    // A move to another log directory copies the files as they are.
    let moved = partition.moving.borrow().is_some() || partition.path.directory() != directory;
    if moved || !partition.log.borrow().has_segments(&group.bases) {
        discard(shared, partition, group).await;
        return Ok(false);
    }
    // The log must not seem to end before its recovery point when the compacted segment's last batch is gone.
    if let Err(error) = retention::hold_place(shared, partition, group.next_base).await {
        discard(shared, partition, group).await;
        return Err(error);
    }
    Ok(true)
}

async fn replace(
    shared: &Rc<Shared>,
    partition: &Rc<PartitionShared>,
    group: &Group,
    segment: Segment,
    aborted: Vec<AbortedTransaction>,
) -> Result<u64, StoreError> {
    let base = segment.base_offset;
    for extension in WRITTEN {
        let from = file(&partition.path, base, extension, CLEANED);
        let renamed = rename(shared, partition, &from, &file(&partition.path, base, extension, SWAP)).await?;
        if extension == names::LOG && !renamed {
            return Err(StoreError::Damaged { path: from, reason: "the compacted segment is gone".to_owned() });
        }
    }
    shared.ring.sync_dir(&partition.path).await.map_err(|error| StoreError::io("flush", &partition.path, error))?;

    let compaction = &partition.compaction;
    compaction.swapping.set(true);
    let renamed = rename_all(shared, partition, group, base).await;
    let replaced = match renamed {
        Ok(replaced) => replaced,
        Err(error) => {
            compaction.swapping.set(false);
            compaction.swapped.notify_all();
            return Err(error);
        }
    };
    let bytes_before = {
        let mut log = partition.log.borrow_mut();
        let old = log.segments().iter().filter(|segment| group.bases.contains(&segment.base_offset));
        let bytes_before = old.map(|segment| segment.bytes).sum();
        log.replace_segments(&group.bases, segment, aborted);
        bytes_before
    };
    for base in &group.bases {
        for extension in REPLACED {
            shared.files.forget(&partition.path.join(segment_file(*base, extension)));
        }
    }
    shared.read_ahead.forget(partition.tp);
    compaction.generation.set(compaction.generation.get() + 1);
    compaction.swapping.set(false);
    compaction.swapped.notify_all();
    partition.touched.set(true);
    partition.renamed.set(true);
    unlink_later(shared, partition, replaced);
    shared.ring.sync_dir(&partition.path).await.map_err(|error| StoreError::io("flush", &partition.path, error))?;
    Ok(bytes_before)
}

async fn rename_all(shared: &Shared, partition: &PartitionShared, group: &Group, base: Offset) -> Result<Vec<PathBuf>, StoreError> {
    let mut replaced = Vec::new();
    for old in &group.bases {
        // The snapshot at the new segment's base stays; those in between lose their segment.
        for extension in REPLACED.into_iter().chain((*old != base).then_some(names::SNAPSHOT)) {
            let to = file(&partition.path, *old, extension, DELETED);
            if rename(shared, partition, &partition.path.join(segment_file(*old, extension)), &to).await? {
                replaced.push(to);
            }
        }
    }
    for extension in WRITTEN {
        let to = partition.path.join(segment_file(base, extension));
        rename(shared, partition, &file(&partition.path, base, extension, SWAP), &to).await?;
    }
    Ok(replaced)
}

/// False when there is no such file.
async fn rename(shared: &Shared, partition: &PartitionShared, from: &Path, to: &Path) -> Result<bool, StoreError> {
    // The directory may belong to a new topic of the same name by now.
    if partition.is_deleted() {
        return Err(StoreError::Deleted(partition.tp));
    }
    rename_if_there(&shared.ring, from, to).await
}

async fn rename_if_there(ring: &Ring, from: &Path, to: &Path) -> Result<bool, StoreError> {
    match ring.rename(from, to).await {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(StoreError::io("rename", from, error)),
    }
}

fn unlink_later(shared: &Rc<Shared>, partition: &Rc<PartitionShared>, replaced: Vec<PathBuf>) {
    // A state that is being written now may have been collected before.
    let state = shared.compaction.state_collected.get() + 1;
    let delay = Duration::from_millis(u64::try_from(partition.log.borrow().config().file_delete_delay_ms).unwrap_or(0));
    for path in &replaced {
        shared.compaction.replaced.borrow_mut().insert(path.clone(), state);
    }
    let shared = shared.clone();
    shared.ring.clone().spawn(async move {
        shared.ring.sleep(delay).await;
        while shared.compaction.state_written.get() < state {
            if shared.closing.get() {
                return;
            }
            shared.ring.sleep(STATE_LOOK).await;
        }
        for path in replaced {
            // A later compaction may have replaced the file of that name once more.
            if shared.compaction.replaced.borrow().get(&path) == Some(&state) {
                shared.compaction.replaced.borrow_mut().remove(&path);
                unlink(&shared, &path).await;
            }
        }
    });
}

async fn unlink(shared: &Shared, path: &Path) {
    if let Err(error) = segment_files::remove(&shared.ring, path).await {
        tracing::warn!("{error}");
    }
}

/// On a clean stop, after the state was written: nothing waits any longer.
pub(crate) async fn unlink_all(shared: &Shared) {
    let waiting = std::mem::take(&mut *shared.compaction.replaced.borrow_mut());
    for path in waiting.keys() {
        unlink(shared, path).await;
    }
}

/// Recovery: completes the swaps that were begun in a directory. `next_offset` reads where a `.log.swap` file ends. True when names changed.
pub(crate) async fn complete(
    ring: &Ring,
    directory: &Path,
    entries: &[DirEntry],
    next_offset: impl AsyncFn(&Path, Offset) -> Result<Offset, StoreError>,
) -> Result<bool, StoreError> {
    let ending = |entry: &DirEntry, extension: &str, suffix: &str| {
        let (base, rest) = names::parse_segment_file(&entry.name)?;
        (rest.strip_suffix(suffix)?.strip_suffix('.')? == extension).then_some(base)
    };
    let swaps: Vec<Offset> = entries.iter().filter_map(|entry| ending(entry, names::LOG, SWAP)).collect();
    for base in &swaps {
        let end = next_offset(&file(directory, *base, names::LOG, SWAP), *base).await?;
        // Step 3 ended for the old ones when their `.log` and the new `.index`'s temporary name are gone: what has a final name then is new.
        let there = |extension: &str, suffix: &str| entries.iter().any(|entry| ending(entry, extension, suffix) == Some(*base));
        let renamed = !entries.iter().any(|entry| entry.name == segment_file(*base, names::LOG)) && !there(names::INDEX, SWAP);
        let within = |old: Offset| (old == *base && !renamed) || (old > *base && old < end);
        let mut olds: Vec<(Offset, &str)> = entries
            .iter()
            .filter_map(|entry| names::parse_segment_file(&entry.name))
            .filter(|(old, extension)| within(*old) && (REPLACED.contains(extension) || (*extension == names::SNAPSHOT && old != base)))
            .collect();
        olds.sort();
        for (old, extension) in olds {
            let from = directory.join(segment_file(old, extension));
            rename_if_there(ring, &from, &file(directory, old, extension, DELETED)).await?;
        }
        for extension in WRITTEN {
            rename_if_there(ring, &file(directory, *base, extension, SWAP), &directory.join(segment_file(*base, extension))).await?;
        }
        tracing::info!(directory = %directory.display(), segment = %base, "completed the swap of a compacted segment");
    }
    // Without the log the others are nothing.
    let mut removed = false;
    for entry in entries.iter().filter(|entry| entry.name.ends_with(SWAP)) {
        let base = names::parse_segment_file(&entry.name).map(|(base, _)| base);
        if base.is_some_and(|base| !swaps.contains(&base)) {
            segment_files::remove(ring, &directory.join(&entry.name)).await?;
            removed = true;
        }
    }
    Ok(removed || !swaps.is_empty())
}
