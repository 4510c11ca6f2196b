//! The clean stop.

use crate::error::StoreError;
use crate::shared::{PartitionHealth, PartitionShared, Shared};
use crate::{compaction, flusher, retention, segment_files, state_file};
use futures_util::future::join_all;
use odradek_log::checkpoint;
use odradek_log::producer_state::snapshot;
use odradek_log::segment::names;
use std::rc::Rc;
use std::time::Duration;

/// Partitions that are finished at the same time.
const AT_ONCE: usize = 32;
/// How often to look whether a partition that is being moved lets its flushes go.
const HELD_LOOK: Duration = Duration::from_millis(2);

pub(crate) async fn close(shared: &Rc<Shared>) -> Result<(), StoreError> {
    if shared.closing.replace(true) {
        return Err(StoreError::Closed);
    }
    shared.work.notify_all();
    shared.flush_wanted.notify_all();
    shared.deleted.changed.notify_all();
    while !(shared.commit_done.get() && shared.flusher_done.get()) {
        let stopped = shared.stopped.listen();
        if shared.commit_done.get() && shared.flusher_done.get() {
            break;
        }
        stopped.await;
    }
    while shared.partitions.borrow().values().any(|partition| partition.held.get()) {
        shared.ring.sleep(HELD_LOOK).await;
    }
    if let Some(error) = &*shared.failed.borrow() {
        return Err(error.clone());
    }
    while shared.compaction.running.get() > 0 {
        let stopped = shared.stopped.listen();
        if shared.compaction.running.get() == 0 {
            break;
        }
        stopped.await;
    }
    compaction::offsets::write(shared).await;
    flusher::flush_all(shared).await?;
    let partitions = shared.sorted_partitions();
    let touched: Vec<_> = partitions.iter().filter(|partition| partition.touched.get() || partition.padded.get()).collect();
    for chunk in touched.chunks(AT_ONCE) {
        for result in join_all(chunk.iter().map(|partition| finish(shared, partition))).await {
            result?;
        }
    }
    let clean = partitions.iter().all(|partition| *partition.health.borrow() == PartitionHealth::Online)
        && shared.retained.borrow().is_empty()
        && shared.later.is_empty()
        && shared.homeless_from.get().is_none();
    state_file::write(shared, &state_file::collect(shared, clean)).await?;
    retention::unlink_all(shared).await;
    compaction::swap::unlink_all(shared).await;
    // A clean start lists no directory: what came back with a power loss would stay.
    let renamed: Vec<_> = partitions.iter().filter(|partition| partition.renamed.get()).collect();
    for chunk in renamed.chunks(AT_ONCE) {
        for flushed in join_all(chunk.iter().map(|partition| shared.ring.sync_dir(&partition.path))).await {
            flushed.unwrap_or_else(|error| tracing::warn!("names of deleted segments may come back with a power loss: {error}"));
        }
    }
    Ok(())
}

/// Brings a partition's directory into the state in which Kafka leaves one.
async fn finish(shared: &Rc<Shared>, partition: &PartitionShared) -> Result<(), StoreError> {
    if *partition.health.borrow() != PartitionHealth::Online {
        return Ok(());
    }
    let (active, bytes, end) = {
        let mut log = partition.log.borrow_mut();
        log.index_time_of_active();
        let end = log.marks().appended.offset();
        let Some(segment) = log.segments().last() else { return Ok(()) };
        assert_eq!(segment.bytes, segment.flushed_bytes, "a clean stop leaves nothing unflushed");
        (segment.base_offset, segment.bytes, end)
    };
    if bytes > 0 {
        if partition.padded.get() {
            segment_files::cut_padding(shared, partition, active, bytes).await?;
        }
        segment_files::write_indexes(shared, partition, active, true).await?;
    } else {
        // An empty active segment has an empty file, as in Kafka.
        let path = segment_files::log_path(partition, active);
        shared.files.forget(&path);
        segment_files::write_plain(&shared.ring, &path, &[]).await?;
    }
    let (snapshot, epochs) = {
        let mut log = partition.log.borrow_mut();
        let snapshot = (!log.producers().is_empty()).then(|| snapshot::encode(log.producers()));
        (snapshot, log.take_dirty_epochs())
    };
    if let Some(snapshot) = snapshot {
        segment_files::write_plain(&shared.ring, &partition.path.join(names::segment_file(end, names::SNAPSHOT)), &snapshot).await?;
    }
    if let Some(epochs) = epochs {
        let text = checkpoint::encode_epochs(epochs.entries());
        segment_files::write_plain(&shared.ring, &partition.path.join(names::LEADER_EPOCHS), text.as_bytes()).await?;
    }
    Ok(())
}
