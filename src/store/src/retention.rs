//! Giving space back: retention, DeleteRecords.

use crate::error::{DeleteRecordsError, StoreError};
use crate::partition::{CommitTicket, Durability, Partition};
use crate::segment_files;
use crate::shared::{PartitionShared, Shared};
use crate::state_file;
use odradek_base::{Offset, Timestamp};
use odradek_log::segment::meta::Segment;
use odradek_log::segment::names;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

/// Moves the log start durably: the journal carries it until the state file does.
pub(crate) async fn delete_records(partition: &Partition, before: Offset) -> Result<Offset, DeleteRecordsError> {
    let shared = &partition.shared;
    shared.check()?;
    partition.partition.check()?;
    let ticket = {
        let mut log = partition.partition.log.borrow_mut();
        if !log.config().cleanup.delete {
            return Err(DeleteRecordsError::Policy);
        }
        let to = log.resolve_log_start(before)?;
        if to <= log.marks().log_start.offset() {
            return Ok(log.marks().log_start.offset());
        }
        let sequence = shared.writer.borrow_mut().push_log_start(partition.partition.clone(), partition.partition.tp, to);
        log.log_start_recorded(sequence);
        partition.partition.touched.set(true);
        shared.work.notify_all();
        CommitTicket::new(sequence, Durability::Durable)
    };
    partition.wait(ticket).await?;
    partition.partition.changed.notify_all();
    Ok(partition.marks().log_start.offset())
}

/// One look at a partition: expired producers, segments beyond retention.
pub(crate) async fn run(shared: &Rc<Shared>, partition: &Rc<PartitionShared>, now: Timestamp) -> Result<u64, StoreError> {
    partition.check()?;
    if partition.flushing.get() || partition.retaining.get() {
        // Its flush may be about to complete one of the segments: next time.
        return Ok(0);
    }
    let count = {
        let mut log = partition.log.borrow_mut();
        log.expire_producers(now);
        log.deletable_segments(now)
    };
    let count = producers_saved(shared, partition, count, now).await;
    let (removed, delay) = {
        let mut log = partition.log.borrow_mut();
        (log.remove_segments(count, now), log.config().file_delete_delay_ms)
    };
    if removed.is_empty() {
        return Ok(0);
    }
    partition.touched.set(true);
    shared.read_ahead.forget(partition.tp);
    partition.changed.notify_all();
    let bytes = removed.iter().map(|segment| segment.bytes).sum();
    tracing::info!(partition = %partition.tp, topic = %partition.topic_name, segments = removed.len(), bytes, log_start = %partition.log.borrow().marks().log_start.offset(), "retention deleted segments");
    partition.retaining.set(true);
    partition.renamed.set(true);
    let first = partition.log.borrow().segments().first().map(|segment| segment.base_offset).unwrap_or_default();
    let renamed = match hold_place(shared, partition, first).await {
        Ok(()) => rename_files(shared, partition, &removed).await,
        Err(error) => Err(error),
    };
    partition.retaining.set(false);
    let renamed = renamed?;
    shared.unlinks.borrow_mut().extend(renamed.iter().cloned());
    let delay = Duration::from_millis(u64::try_from(delay).unwrap_or(0));
    let shared = shared.clone();
    shared.ring.clone().spawn(async move {
        // Readers that opened the file before go on reading it.
        shared.ring.sleep(delay).await;
        for path in renamed {
            unlink(&shared, &path).await;
        }
    });
    Ok(bytes)
}

/// What producers may send again is known from their last batches. Where these are among the `count` oldest segments, the state file has to have them
/// first. Returns how many segments may go now. A full disk may have no room for that: then they go all the same, and make room.
async fn producers_saved(shared: &Rc<Shared>, partition: &Rc<PartitionShared>, count: usize, now: Timestamp) -> usize {
    let known = |count| partition.log.borrow().producers_known_without(count, partition.producers_saved.get());
    let full = || shared.room.is_any_full();
    if known(count) == count || full() {
        return count;
    }
    let saved = state_file::checkpoint_unless(shared, full).await;
    if !saved && !full() || partition.check().is_err() || partition.flushing.get() || partition.retaining.get() {
        return 0;
    }
    let count = partition.log.borrow().deletable_segments(now);
    if saved { known(count) } else { count }
}

/// Removes a file that waits for it, unless that happened already.
async fn unlink(shared: &Shared, path: &PathBuf) {
    if !shared.unlinks.borrow_mut().remove(path) {
        return;
    }
    if let Err(error) = segment_files::remove(&shared.ring, path).await {
        tracing::warn!("{error}");
    }
}

/// On a clean stop nothing waits any longer.
pub(crate) async fn unlink_all(shared: &Shared) {
    let waiting: Vec<PathBuf> = shared.unlinks.borrow().iter().cloned().collect();
    for path in waiting {
        unlink(shared, &path).await;
    }
}

/// The log must have a file that says where its segment `base` begins before the segments below it go; otherwise a crash would leave a log that ends below its
/// recovery point.
pub(crate) async fn hold_place(shared: &Shared, partition: &PartitionShared, base: Offset) -> Result<(), StoreError> {
    let empty = {
        let log = partition.log.borrow();
        log.segment_by_base(base).and_then(|at| log.segments().get(at)).is_some_and(|segment| segment.flushed_bytes == 0)
    };
    if !empty {
        return Ok(());
    }
    let direct = shared.direct.get(partition.path.directory()).copied().unwrap_or(false);
    let (_, created) = shared.files.open(&shared.ring, &segment_files::log_path(partition, base), direct, true).await?;
    if created {
        shared.ring.sync_dir(&partition.path).await.map_err(|error| StoreError::io("flush", &partition.path, error))?;
    }
    Ok(())
}

async fn rename_files(shared: &Shared, partition: &PartitionShared, segments: &[Segment]) -> Result<Vec<PathBuf>, StoreError> {
    let mut renamed = Vec::new();
    for segment in segments {
        for extension in [names::LOG, names::INDEX, names::TIME_INDEX, names::TRANSACTION_INDEX, names::SNAPSHOT] {
            let path = partition.path.join(names::segment_file(segment.base_offset, extension));
            shared.files.forget(&path);
            let to = partition.path.join(names::segment_file(segment.base_offset, &format!("{extension}.{}", names::DELETED)));
            match shared.ring.rename(&path, &to).await {
                Ok(()) => renamed.push(to),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(StoreError::io("rename", &path, error)),
            }
        }
    }
    Ok(renamed)
}
