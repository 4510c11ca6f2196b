//! Segments that end in something that is no batch.
//!
//! Where a write was torn the journal still has what was written: it gives its copy up only after a flush that succeeded. So a tail is cut
//! when the journal has brought back the batch that belongs there, and not before. A tail whose first batch the journal no longer has was
//! flushed once and acknowledged: that is damage, the partition stays closed and its files stay as they are.

use crate::error::StoreError;
use crate::recovery;
use odradek_base::Offset;
use odradek_ring::{OpenOptions, Ring};
use std::path::{Path, PathBuf};

/// The end of a partition's segments, where recovery found no valid batch and something else than zeros.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Torn {
    /// The segment's `.log`.
    pub path: PathBuf,
    /// Bytes of whole batches, and of the file.
    pub position: u64,
    pub length: u64,
    /// Offset of the batch that belongs at `position`.
    pub offset: Offset,
    /// Segments behind it; nothing is known to connect them.
    pub beyond: Vec<Offset>,
}

impl Torn {
    /// Cuts the tail, durably: the journal has what was in it.
    pub async fn cut(&self, ring: &Ring) -> Result<(), StoreError> {
        let io = |operation: &'static str, error| StoreError::io(operation, &self.path, error);
        tracing::warn!(file = %self.path.display(), position = self.position, bytes = self.length - self.position, "cut a torn tail");
        let options = OpenOptions { read: true, write: true, ..OpenOptions::default() };
        let file = ring.open(&self.path, options).await.map_err(|error| io("open", error))?;
        file.truncate(self.position).await.map_err(|error| io("truncate", error))?;
        file.sync_data().await.map_err(|error| io("flush", error))?;
        let directory = self.path.parent().unwrap_or(Path::new("."));
        for base in &self.beyond {
            tracing::warn!(segment = %base, "removed: {} ends before it", self.path.display());
            recovery::remove_segment(ring, directory, *base).await?;
        }
        ring.sync_dir(directory).await.map_err(|error| StoreError::io("flush", directory, error))
    }

    /// What is wrong when the journal does not have the batch.
    pub fn damage(&self) -> StoreError {
        let reason = format!(
            "no valid batch at byte {} (offset {}), and the journal no longer has it, so it was flushed. Restore the file from a copy, or cut it \
             there to give up what follows",
            self.position, self.offset
        );
        StoreError::Damaged { path: self.path.clone(), reason }
    }
}
