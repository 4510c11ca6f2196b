//! What the checkpoint files of a log directory say about partitions that no state file of ours knows: those that Apache Kafka wrote, or
//! ours after the state file was lost. They are read for such partitions only.

use crate::error::StoreError;
use odradek_base::{Offset, PartitionIndex};
use odradek_log::checkpoint;
use odradek_log::segment::names;
use odradek_ring::Ring;
use std::collections::BTreeMap;
use std::path::Path;

/// Offsets of one file, by topic and partition.
type Offsets = BTreeMap<(String, PartitionIndex), Offset>;

/// The checkpoints of one log directory.
#[derive(Debug, Default)]
pub(crate) struct Checkpoints {
    recovery_points: Offsets,
    log_starts: Offsets,
}

/// What is known of one partition from outside of its directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Known {
    /// Everything below was flushed, and is not checked again.
    pub recovery_point: Offset,
    /// Records below were deleted (DeleteRecords), although their segment may be there.
    pub log_start: Offset,
}

impl Known {
    /// Nothing: everything is checked.
    pub const NOTHING: Known = Known { recovery_point: Offset::ZERO, log_start: Offset::ZERO };
}

impl Checkpoints {
    /// Files that are missing say nothing; one that is damaged is not believed.
    pub async fn read(ring: &Ring, directory: &Path) -> Result<Self, StoreError> {
        Ok(Self {
            recovery_points: offsets(ring, &directory.join(names::RECOVERY_POINTS)).await?,
            log_starts: offsets(ring, &directory.join(names::LOG_STARTS)).await?,
        })
    }

    /// Whether whoever wrote them had the partition.
    pub fn lists(&self, topic: &str, partition: PartitionIndex) -> bool {
        self.recovery_points.contains_key(&(topic.to_owned(), partition))
    }

    pub fn of(&self, topic: &str, partition: PartitionIndex) -> Known {
        let key = (topic.to_owned(), partition);
        let find = |offsets: &Offsets| offsets.get(&key).copied().unwrap_or(Offset::ZERO);
        Known { recovery_point: find(&self.recovery_points), log_start: find(&self.log_starts) }
    }
}

async fn offsets(ring: &Ring, path: &Path) -> Result<Offsets, StoreError> {
    let bytes = match ring.read_to_vec(path).await {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Offsets::new()),
        Err(error) => return Err(StoreError::io("read", path, error)),
    };
    let Some(rows) = std::str::from_utf8(&bytes).ok().and_then(checkpoint::decode_offsets) else {
        tracing::warn!(file = %path.display(), "the checkpoint is damaged and not used");
        return Ok(Offsets::new());
    };
    Ok(rows.into_iter().map(|(topic, partition, offset)| ((topic, partition), offset)).collect())
}
