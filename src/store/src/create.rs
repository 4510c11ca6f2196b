//! Making a partition's directory.

use crate::config::PartitionSpec;
use crate::error::StoreError;
use crate::offline;
use crate::open;
use crate::segment_files;
use crate::shared::{PartitionShared, Shared};
use odradek_base::Offset;
use odradek_log::checkpoint;
use odradek_log::partition::PartitionLog;
use odradek_log::segment::names;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Makes the directory and its `partition.metadata`. With `durable` the names are on stable storage on return; otherwise [`sync_directories`] follows.
pub(crate) async fn create(shared: &Rc<Shared>, spec: &PartitionSpec, durable: bool) -> Result<Rc<PartitionShared>, StoreError> {
    if shared.partitions.borrow().contains_key(&spec.tp) {
        return Err(StoreError::Exists(spec.tp));
    }
    if let Some(error) = shared.offline.closed(spec.tp) {
        // It exists, it only could not be opened: a new one must not take its place.
        return Err(error);
    }
    loop {
        let directory = least_used(shared).ok_or_else(|| no_directory(spec))?;
        match create_in(shared, spec, directory, durable).await {
            Err(error) if offline::condemns_directory(&error) && shared.config.log_dirs.len() > 1 => {
                shared.fail_directory(directory, &error);
            }
            other => return other,
        }
    }
}

fn no_directory(spec: &PartitionSpec) -> StoreError {
    StoreError::PartitionOffline { partition: spec.tp, reason: "every log directory is offline".to_owned() }
}

async fn create_in(shared: &Rc<Shared>, spec: &PartitionSpec, directory: usize, durable: bool) -> Result<Rc<PartitionShared>, StoreError> {
    let log_dir = shared.config.log_dirs.get(directory).cloned().unwrap_or_default();
    let path = log_dir.join(names::partition_directory(&spec.topic_name, spec.tp.partition));
    match shared.ring.create_dir(&path).await {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            // A topic of that name whose deletion did not get as far as its directory.
            crate::delete::set_aside(shared, &path, &spec.topic_name, spec.tp.partition).await?;
            shared.ring.create_dir(&path).await.map_err(|error| StoreError::io("create", &path, error))?;
        }
        other => other.map_err(|error| StoreError::io("create", &path, error))?,
    }
    let metadata = checkpoint::encode_partition_metadata(spec.tp.topic);
    segment_files::write_plain(&shared.ring, &path.join(names::PARTITION_METADATA), metadata.as_bytes()).await?;
    if durable {
        shared.ring.sync_dir(&log_dir).await.map_err(|error| StoreError::io("flush", &log_dir, error))?;
    }
    // Two creations of the same partition may have been under way.
    if shared.partitions.borrow().contains_key(&spec.tp) {
        return Err(StoreError::Exists(spec.tp));
    }
    let log = PartitionLog::new(spec.tp, spec.config, Offset::ZERO, shared.ring.wall_clock(), shared.ring.rng());
    let partition = open::insert(shared, spec, directory, log);
    partition.touched.set(true);
    Ok(partition)
}

/// Makes the names of new directories durable.
pub(crate) async fn sync_directories(shared: &Rc<Shared>) -> Result<(), StoreError> {
    for (index, directory) in shared.config.log_dirs.iter().enumerate() {
        if !shared.offline.is_online(index) {
            continue;
        }
        match shared.ring.sync_dir(directory).await.map_err(|error| StoreError::io("flush", directory, error)) {
            Err(error) if offline::condemns_directory(&error) && shared.config.log_dirs.len() > 1 => shared.fail_directory(index, &error),
            other => other?,
        }
    }
    Ok(())
}

/// The log directory with the fewest partitions of those that are online (`LogManager.nextLogDirs`).
fn least_used(shared: &Shared) -> Option<usize> {
    let mut counts: BTreeMap<usize, usize> = (0..shared.config.log_dirs.len()).map(|directory| (directory, 0)).collect();
    if counts.len() > 1 {
        for partition in shared.partitions.borrow().values() {
            *counts.entry(partition.path.directory()).or_default() += 1;
        }
    }
    counts.retain(|directory, _| shared.offline.is_online(*directory));
    counts.into_iter().min_by_key(|(directory, count)| (*count, *directory)).map(|(directory, _)| directory)
}
