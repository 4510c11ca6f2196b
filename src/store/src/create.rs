//! Making a partition's directory.

use crate::config::PartitionSpec;
use crate::error::StoreError;
use crate::offline;
use crate::open;
use crate::segment_files;
use crate::shared::{PartitionShared, Shared};
use futures_util::stream::{self, StreamExt};
use odradek_base::Offset;
use odradek_log::checkpoint;
use odradek_log::partition::PartitionLog;
use odradek_log::segment::names;
use std::rc::Rc;

/// Directories that are made at the same time. Each is a handful of small operations that the kernel hands to worker threads, so one after the
/// other would mostly wait.
const CREATED_AT_ONCE: usize = 16;

/// Makes many partitions with one flush of their names at the end. All are attempted; the first error is returned. Those that found no room are
/// made when there is some.
pub(crate) async fn create_all(shared: &Rc<Shared>, specs: &[PartitionSpec]) -> Result<(), StoreError> {
    // Chosen for all of them before the first is made: those under way are not in the counts yet.
    let mut counts = directory_counts(shared);
    let placed: Vec<_> = specs.iter().map(|spec| (take_least_used(shared, &mut counts), spec)).collect();
    let mut creating = stream::iter(placed)
        .map(async |(directory, spec)| (spec, create_at(shared, spec, directory, false).await))
        .buffer_unordered(CREATED_AT_ONCE);
    let mut result = Ok(());
    while let Some((spec, created)) = creating.next().await {
        let Err(error) = created else { continue };
        if error.is_full() && shared.offline.closed(spec.tp).is_none() {
            shared.make_later(spec, error.clone());
        }
        result = result.and(Err(error));
    }
    sync_directories(shared).await?;
    result
}

/// Makes the directory and its `partition.metadata`. With `durable` the names are on stable storage on return; otherwise a flush of the log
/// directory follows.
pub(crate) async fn create(shared: &Rc<Shared>, spec: &PartitionSpec, durable: bool) -> Result<Rc<PartitionShared>, StoreError> {
    create_at(shared, spec, None, durable).await
}

/// `preferred`: the log directory to use while it is online; the least used one otherwise.
async fn create_at(
    shared: &Rc<Shared>,
    spec: &PartitionSpec,
    preferred: Option<usize>,
    durable: bool,
) -> Result<Rc<PartitionShared>, StoreError> {
    if shared.partitions.borrow().contains_key(&spec.tp) {
        return Err(StoreError::Exists(spec.tp));
    }
    if let Some(error) = shared.offline.closed(spec.tp) {
        // It exists, it only could not be opened: a new one must not take its place.
        return Err(error);
    }
    loop {
        let preferred = preferred.filter(|directory| shared.offline.is_online(*directory));
        let directory = preferred.or_else(|| take_least_used(shared, &mut directory_counts(shared))).ok_or_else(|| no_directory(spec))?;
        match create_in(shared, spec, directory, durable).await {
            Err(error) if offline::condemns_directory(&error) && shared.config.log_dirs.len() > 1 => {
                shared.fail_directory(directory, &error);
            }
            other => return other,
        }
    }
}

/// Makes a partition that was closed because it found no room. One that was deleted meanwhile is not closed any more.
pub(crate) async fn create_closed(shared: &Rc<Shared>, spec: &PartitionSpec) -> Result<(), StoreError> {
    if shared.offline.closed(spec.tp).is_none() {
        return Ok(());
    }
    let directory = take_least_used(shared, &mut directory_counts(shared)).ok_or_else(|| no_directory(spec))?;
    create_in(shared, spec, directory, true).await?;
    shared.offline.forget(spec.tp);
    Ok(())
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
    let metadata_path = path.join(names::PARTITION_METADATA);
    if let Err(error) = segment_files::write_plain(&shared.ring, &metadata_path, metadata.as_bytes()).await {
        // Without it nothing says whose the directory is.
        let _ = shared.ring.remove_file(&metadata_path).await;
        let _ = shared.ring.remove_dir(&path).await;
        return Err(error);
    }
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
async fn sync_directories(shared: &Rc<Shared>) -> Result<(), StoreError> {
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

/// Partitions in each log directory.
fn directory_counts(shared: &Shared) -> Vec<usize> {
    let mut counts = vec![0; shared.config.log_dirs.len()];
    if counts.len() > 1 {
        for partition in shared.partitions.borrow().values() {
            if let Some(count) = counts.get_mut(partition.path.directory()) {
                *count += 1;
            }
        }
    }
    counts
}

/// The log directory with the fewest partitions of those that are online (`LogManager.nextLogDirs`), which then has one more.
fn take_least_used(shared: &Shared, counts: &mut [usize]) -> Option<usize> {
    let online = counts.iter_mut().enumerate().filter(|(directory, _)| shared.offline.is_online(*directory));
    let (directory, count) = online.min_by_key(|(directory, count)| (**count, *directory))?;
    *count += 1;
    Some(directory)
}
