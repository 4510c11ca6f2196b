//! Where a partition's directory is.

use super::partitions::Recovered;
use crate::config::PartitionSpec;
use crate::error::StoreError;
use crate::foreign::{Checkpoints, Known};
use crate::recovery;
use crate::segment_files;
use crate::shared::Shared;
use odradek_base::Rng;
use odradek_log::checkpoint;
use odradek_log::segment::names;
use odradek_log::state::PartitionState;
use odradek_ring::Ring;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// Finds the directory of a partition and recovers it; `None` when there is none.
#[allow(clippy::too_many_arguments)]
pub(crate) async fn locate_and_recover(
    shared: &Rc<Shared>,
    spec: &PartitionSpec,
    state: Option<&PartitionState>,
    own_state: bool,
    markers: &[bool],
    checkpoints: &[Checkpoints],
    journaled: bool,
    jitter: Rng,
) -> Recovered {
    let name = names::partition_directory(&spec.topic_name, spec.tp.partition);
    if own_state
        && shared.config.log_dirs.len() == 1
        && let Some(state) = state
    {
        // This shard had the partition open, so the directory of that name is this topic's: a deletion would have taken it out of the metadata.
        let directory = usize::from(state.directory);
        if let Some(log_dir) = shared.config.log_dirs.get(directory).filter(|_| shared.offline.is_online(directory)) {
            match recovery::recover(
                &shared.ring,
                &log_dir.join(&name),
                spec.tp,
                spec.config,
                Some(state),
                false,
                true,
                Known::NOTHING,
                jitter.clone(),
            )
            .await
            {
                Ok((log, repairs)) => return Ok(Some((directory, log, repairs))),
                // Moved, or gone: looked for everywhere.
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
    }
    let mut there = Vec::new();
    for (directory, log_dir) in shared.config.log_dirs.iter().enumerate().filter(|(index, _)| shared.offline.is_online(*index)) {
        let path = log_dir.join(&name);
        match shared.ring.metadata(&path).await {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(StoreError::io("inspect", &path, error)),
        }
        match topic_id(&shared.ring, &path).await? {
            Some(other) if other != spec.tp.topic && !other.is_none() => {
                // A topic of that name was deleted, and this one created, before the directory went.
                crate::delete::set_aside(shared, &path, &spec.topic_name, spec.tp.partition).await?;
                continue;
            }
            Some(_) => {}
            None => {
                // Made just before a crash.
                let metadata = checkpoint::encode_partition_metadata(spec.tp.topic);
                if let Err(error) =
                    segment_files::write_plain(&shared.ring, &path.join(names::PARTITION_METADATA), metadata.as_bytes()).await
                {
                    tracing::warn!("{error}");
                }
            }
        }
        there.push((directory, path));
    }
    // Several: a move to another log directory was under way. The state says which one counts; without a state, the one with more in it.
    let stated = state.and_then(|state| there.iter().position(|(directory, _)| *directory == usize::from(state.directory)));
    let chosen = match stated {
        Some(at) => Some(at),
        None if there.len() > 1 => {
            let mut ends = Vec::new();
            for (_, path) in &there {
                ends.push(recovery::end_of(&shared.ring, path).await?);
            }
            (0..there.len()).max_by_key(|at| ends.get(*at))
        }
        None => (!there.is_empty()).then_some(0),
    };
    if let Some(chosen) = chosen {
        let (directory, path) = there.swap_remove(chosen);
        let clean = markers.get(directory).copied().unwrap_or(false);
        let known = checkpoints.get(directory).map_or(Known::NOTHING, |checkpoints| checkpoints.of(&spec.topic_name, spec.tp.partition));
        let (log, repairs) = recovery::recover(&shared.ring, &path, spec.tp, spec.config, state, clean, journaled, known, jitter).await?;
        for (_, copy) in there {
            tracing::warn!(used = %path.display(), removed = %copy.display(), "a partition lies in two log directories, as after a move that was interrupted");
            crate::delete::set_aside(shared, &copy, &spec.topic_name, spec.tp.partition).await?;
        }
        return Ok(Some((directory, log, repairs)));
    }
    match state {
        Some(state) if state.flushed > state.log_start => {
            Err(StoreError::Damaged { path: PathBuf::from(name), reason: "the directory is gone".to_owned() })
        }
        _ => Ok(None),
    }
}

pub(crate) async fn topic_id(ring: &Ring, path: &Path) -> Result<Option<odradek_base::TopicId>, StoreError> {
    let path = path.join(names::PARTITION_METADATA);
    match ring.read_to_vec(&path).await {
        Ok(bytes) => Ok(std::str::from_utf8(&bytes).ok().and_then(checkpoint::decode_partition_metadata)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StoreError::io("read", &path, error)),
    }
}
