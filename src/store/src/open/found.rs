//! What the state files say before anything else is read.

use crate::config::StoreConfig;
use crate::error::StoreError;
use crate::state_file;
use odradek_base::TopicPartition;
use odradek_log::segment::names;
use odradek_log::state::{self, PartitionState, ShardState};
use odradek_ring::Ring;
use std::collections::BTreeMap;

pub(super) struct Found {
    /// State of the owned partitions, by id.
    pub partitions: BTreeMap<TopicPartition, PartitionState>,
    pub own: Option<ShardState>,
    /// A broker (Kafka, or this one) stopped cleanly on the directory.
    pub marker: Vec<bool>,
    /// The own state is one that an earlier start on a full disk left.
    pub disowned: bool,
}

/// Reads the state files: this shard's own, and those of other shards for partitions that used to be theirs.
pub(super) async fn find_state(ring: &Ring, config: &StoreConfig) -> Result<Found, StoreError> {
    let mut found = Found { partitions: BTreeMap::new(), own: None, marker: Vec::new(), disowned: false };
    for directory in &config.log_dirs {
        found.marker.push(ring.exists(&directory.join(names::CLEAN_SHUTDOWN)).await.unwrap_or(false));
    }
    let Some(directory) = config.log_dirs.first() else { return Ok(found) };
    let entries = ring.read_dir(directory).await.map_err(|error| StoreError::io("list", directory, error))?;
    let mut own_name = state_file::file_name(config.shard);
    let disowned = state_file::disowned_name(config.shard);
    let there = |name: &str| entries.iter().any(|entry| entry.name == name);
    found.disowned = there(&disowned);
    if found.disowned && !there(&own_name) {
        own_name = disowned;
    }
    for entry in entries.iter().filter(|entry| state_file::is_state_file(&entry.name) || entry.name == own_name) {
        let path = directory.join(&entry.name);
        let bytes = ring.read_to_vec(&path).await.map_err(|error| StoreError::io("read", &path, error))?;
        let Some(mut state) = state::decode(&bytes) else {
            tracing::error!(file = %path.display(), "state file is damaged and not used: all segments are checked");
            continue;
        };
        if entry.name == own_name {
            // A start has gone on from a disowned one.
            state.clean &= state_file::is_state_file(&entry.name);
            for partition in &state.partitions {
                found.partitions.insert(partition.partition, partition.clone());
            }
            found.own = Some(state);
        } else if state.clean {
            for partition in state.partitions {
                found.partitions.entry(partition.partition).or_insert(partition);
            }
        }
    }
    Ok(found)
}
