//! Making a partition's directory.

use crate::config::PartitionSpec;
use crate::error::StoreError;
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
    let directory = least_used(shared);
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
pub(crate) async fn sync_directories(shared: &Shared) -> Result<(), StoreError> {
    for directory in &shared.config.log_dirs {
        shared.ring.sync_dir(directory).await.map_err(|error| StoreError::io("flush", directory, error))?;
    }
    Ok(())
}

/// The log directory with the fewest partitions (`LogManager.nextLogDirs`).
fn least_used(shared: &Shared) -> usize {
    let mut counts: BTreeMap<usize, usize> = (0..shared.config.log_dirs.len()).map(|directory| (directory, 0)).collect();
    if counts.len() > 1 {
        for partition in shared.partitions.borrow().values() {
            *counts.entry(partition.directory).or_default() += 1;
        }
    }
    counts.into_iter().min_by_key(|(directory, count)| (*count, *directory)).map_or(0, |(directory, _)| directory)
}
