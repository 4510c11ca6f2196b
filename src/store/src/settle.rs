//! Makes sure of what an unclean start found.
//!
//! What a read returns after a restart may lie in the page cache only: a flush that failed leaves the bytes readable and no longer dirty, so
//! that a later flush reports success without writing them (and a killed process may not have flushed at all). A start that relied on them
//! would lose them with the next power loss, after the journal was reused. So they are written again before anybody is told of them:
//! - the last block of the journal, because a block is begun only when the one before is on stable storage;
//! - of the segments, what the journal still has: everything below was flushed with success before its journal space was given back.

use crate::careful;
use crate::error::StoreError;
use crate::journal_scan;
use crate::room;
use crate::segment_files;
use crate::shared::{PartitionShared, Shared};
use futures_util::StreamExt;
use futures_util::stream;
use odradek_base::{AlignedBuf, Offset, TopicPartition};
use odradek_log::journal::replay::Plan;
use odradek_log::journal::space::FileNumber;
use odradek_ring::{OpenOptions, Ring, Sync};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// Bytes that are read and written again at once.
const CHUNK_BYTES: usize = 1 << 20;
/// Partitions that are settled at the same time.
const AT_ONCE: usize = 16;

/// Bytes of batches that the journal has and the segments had already, by partition; they are the last ones of its segments.
#[derive(Debug, Default)]
pub(crate) struct Present(BTreeMap<TopicPartition, u64>);

impl Present {
    /// A replayed batch that ends with `last_offset` was in its segment. `flushed`: everything below is known to be on stable storage.
    pub fn note(&mut self, partition: TopicPartition, last_offset: Offset, bytes: usize, flushed: Offset) {
        if last_offset >= flushed {
            *self.0.entry(partition).or_default() += bytes as u64;
        }
    }
}

/// Writes the last journal block again, durably.
pub(crate) async fn journal(ring: &Ring, directory: &Path, files: &BTreeMap<FileNumber, PathBuf>, plan: &Plan) -> Result<(), StoreError> {
    let Some(last) = &plan.last else { return Ok(()) };
    let Some(path) = files.get(&last.file) else { return Ok(()) };
    let block = journal_scan::read_block(ring, files, last).await?;
    let file = ring.open(path, OpenOptions::READ_WRITE).await.map_err(|error| StoreError::io("open", path, error))?;
    file.write_at(vec![block], last.position, Sync::Data).await.map_err(|error| StoreError::io("write", path, error))?;
    ring.sync_dir(directory).await.map_err(|error| StoreError::io("flush", directory, error))
}

/// Writes the ends of segments again, durably. A partition where that fails is taken offline. Returns the bytes written.
pub(crate) async fn segments(shared: &Rc<Shared>, present: Present) -> u64 {
    let partitions: Vec<(Rc<PartitionShared>, u64)> = {
        let open = shared.partitions.borrow();
        present.0.into_iter().filter_map(|(tp, bytes)| Some((open.get(&tp)?.clone(), bytes))).collect()
    };
    let work = partitions.into_iter().map(|(partition, bytes)| async move {
        match rewrite(shared, &partition, bytes).await {
            Ok(written) => written,
            Err(error) => {
                shared.fail_partition(&partition, &error);
                0
            }
        }
    });
    stream::iter(work).buffer_unordered(AT_ONCE).fold(0, |sum, bytes| async move { sum + bytes }).await
}

/// The last `bytes` of a partition's segments.
async fn rewrite(shared: &Shared, partition: &PartitionShared, bytes: u64) -> Result<u64, StoreError> {
    let segments: Vec<(Offset, u64)> =
        partition.log.borrow().segments().iter().map(|segment| (segment.base_offset, segment.flushed_bytes)).collect();
    let mut left = bytes;
    for (base, length) in segments.into_iter().rev().filter(|(_, length)| *length > 0) {
        if left == 0 {
            break;
        }
        let from = length.saturating_sub(left);
        left -= length - from;
        let path = segment_files::log_path(partition, base);
        room::waited_for(&shared.ring, || rewrite_range(&shared.ring, &path, from, length)).await?;
    }
    shared.ring.sync_dir(&partition.path).await.map_err(|error| StoreError::io("flush", &partition.path, error))?;
    Ok(bytes - left)
}

async fn rewrite_range(ring: &Ring, path: &Path, from: u64, end: u64) -> Result<(), StoreError> {
    let io = |operation: &'static str, error| StoreError::io(operation, path, error);
    let file =
        ring.open(path, OpenOptions { read: true, write: true, ..OpenOptions::default() }).await.map_err(|error| io("open", error))?;
    let mut at = from;
    while at < end {
        let len = CHUNK_BYTES.min((end - at) as usize);
        let (buf, read) = careful::read(&file, path, AlignedBuf::zeroed(len), at, len, len, careful::twice()).await?;
        if read < len {
            let reason = format!("it ends at byte {}, but recovery read {end}", at + read as u64);
            return Err(StoreError::Damaged { path: path.to_owned(), reason });
        }
        file.write_at(vec![buf.freeze().slice(..len)], at, Sync::No).await.map_err(|error| io("write", error))?;
        at += len as u64;
    }
    file.sync_data().await.map_err(|error| io("flush", error))
}
