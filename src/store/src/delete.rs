//! Deleting a partition: its directory is renamed at once and unlinked afterwards.

use crate::error::StoreError;
use crate::shared::{PartitionHealth, Shared};
use odradek_base::{PartitionIndex, TopicPartition};
use odradek_log::segment::names;
use std::path::Path;
use std::rc::Rc;

/// Files unlinked before other tasks get their turn.
const UNLINKS_PER_TURN: usize = 8;

pub(crate) async fn delete(shared: &Rc<Shared>, tp: TopicPartition) -> Result<(), StoreError> {
    let removed = shared.partitions.borrow_mut().remove(&tp);
    let Some(partition) = removed else {
        if shared.offline.forget(tp) {
            // Its directory, where that can be reached again, is set aside when a topic of that name needs it.
            shared.retained.borrow_mut().retain(|state| state.partition != tp);
            shared.stranded.remove(&shared.ring, tp).await;
        }
        return Ok(());
    };
    let offline = partition.is_offline();
    *partition.health.borrow_mut() = PartitionHealth::Deleted;
    shared.sub_unflushed(partition.unflushed_bytes());
    shared.update_dirty(&partition);
    shared.read_ahead.forget(tp);
    shared.release_journal();
    partition.changed.notify_all();
    if offline {
        shared.offline.changed.notify_all();
    }
    shared.stranded.remove(&shared.ring, tp).await;
    match set_aside(shared, &partition.path, &partition.topic_name, tp.partition).await {
        Err(error) if offline => {
            tracing::warn!("the directory of a deleted partition stays, its log directory is offline: {error}");
            Ok(())
        }
        other => other,
    }
}

/// Renames a partition's directory to its `-delete` name, durably, and has it unlinked by a task.
pub(crate) async fn set_aside(shared: &Rc<Shared>, path: &Path, topic: &str, partition: PartitionIndex) -> Result<(), StoreError> {
    let to = path.with_file_name(names::deleted_directory(topic, partition, shared.ring.rng().uuid()));
    shared.files.forget_below(path);
    match shared.ring.rename(path, &to).await {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(StoreError::io("rename", path, error)),
    }
    // A flush that was under way may have opened a file again.
    shared.files.forget_below(path);
    if let Some(parent) = path.parent() {
        shared.ring.sync_dir(parent).await.map_err(|error| StoreError::io("flush", parent, error))?;
    }
    let shared = shared.clone();
    shared.ring.clone().spawn(async move {
        if let Err(error) = unlink(&shared, &to).await {
            tracing::warn!("a deleted partition's directory stays until the next start: {error}");
        }
    });
    Ok(())
}

/// Unlinks a directory: where the configuration says, or here, a few files at a time.
async fn unlink(shared: &Shared, path: &Path) -> Result<(), StoreError> {
    if let Some(unlinker) = &shared.config.unlinker {
        return (unlinker.0)(path.to_path_buf()).await.map_err(|error| StoreError::io("remove", path, error));
    }
    let entries = match shared.ring.read_dir(path).await {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(StoreError::io("list", path, error)),
    };
    for (count, entry) in entries.iter().enumerate() {
        crate::segment_files::remove(&shared.ring, &path.join(&entry.name)).await?;
        if count % UNLINKS_PER_TURN == UNLINKS_PER_TURN - 1 {
            shared.ring.yield_now().await;
        }
    }
    match shared.ring.remove_dir(path).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(StoreError::io("remove", path, error)),
        _ => Ok(()),
    }
}

/// Unlinks what earlier deletions left behind. Directories of all shards: whoever comes first.
pub(crate) async fn sweep(shared: &Rc<Shared>) {
    for directory in &shared.config.log_dirs {
        let Ok(entries) = shared.ring.read_dir(directory).await else { continue };
        for entry in entries.iter().filter(|entry| entry.is_dir && names::is_deleted(&entry.name)) {
            let path = directory.join(&entry.name);
            if let Err(error) = unlink(shared, &path).await {
                tracing::warn!("{error}");
            }
        }
    }
}
