//! Writing segment files and what goes with them.
//!
//! `.log` files are written with direct I/O in large aligned pieces: the piece starts with the last, partly filled 4 KiB of what is there and
//! is filled up with zeros at its end. Rewriting that block with the same bytes cannot harm them (a sector either has them already or gets
//! them). The zeros are cut when the segment is complete and on a clean stop; recovery takes them for the end of the log.

use crate::careful::{self, TailBlock};
use crate::error::StoreError;
use crate::shared::{PartitionShared, Shared};
use bytes::Bytes;
use odradek_base::buffer::align_down;
use odradek_base::{AlignedBuf, BLOCK_ALIGNMENT, Offset};
use odradek_log::partition::FlushPlan;
use odradek_log::segment::names;
use odradek_log::segment::{offset_index, time_index, transaction_index};
use odradek_ring::{File, OpenOptions, Ring, Sync};
use std::path::{Path, PathBuf};

/// Index entries that wait in memory before they are appended to the file: 4 KiB of the offset index.
const INDEX_ENTRIES_PER_WRITE: usize = 512;

/// A `.log` file, from the cache of open files.
pub(crate) async fn open_log(shared: &Shared, partition: &PartitionShared, path: &Path) -> Result<File, StoreError> {
    let direct = shared.direct.get(partition.path.directory()).copied().unwrap_or(false);
    Ok(shared.files.open(&shared.ring, path, direct, false).await?.0)
}

pub(crate) fn log_path(partition: &PartitionShared, segment: Offset) -> PathBuf {
    partition.path.join(names::segment_file(segment, names::LOG))
}

/// Writes the batches of `plan`; not flushed yet. Returns the file.
pub(crate) async fn write_plan(shared: &Shared, partition: &PartitionShared, plan: &FlushPlan) -> Result<File, StoreError> {
    let path = log_path(partition, plan.segment);
    let direct = shared.direct.get(partition.path.directory()).copied().unwrap_or(false);
    let (file, created) = shared.files.open(&shared.ring, &path, direct, plan.position == 0).await?;
    if created {
        shared.ring.sync_dir(&partition.path).await.map_err(|error| StoreError::io("flush", &partition.path, error))?;
    }
    if created {
        preallocate(partition, &file, &path).await?;
    }
    let start = align_down(plan.position);
    let head = (plan.position - start) as usize;
    let mut staging = AlignedBuf::zeroed(head + plan.bytes as usize);
    let _held = shared.writing.hold(staging.len());
    if head > 0 {
        let known = partition.tail_block.get().filter(|tail| (tail.segment, tail.end) == (plan.segment, plan.position));
        let mut agrees = careful::twice();
        let right = |bytes: &[u8]| known.map_or_else(|| agrees(bytes), |tail| crc32c::crc32c(bytes) == tail.crc);
        let (back, read) = careful::read(&file, &path, staging, start, BLOCK_ALIGNMENT, head, right).await?;
        staging = back;
        if read < head {
            return Err(StoreError::Damaged {
                path,
                reason: format!("it ends at byte {}, but {} were flushed", start + read as u64, plan.position),
            });
        }
    }
    let mut at = head;
    for batch in &plan.batches {
        staging[at..at + batch.len()].copy_from_slice(batch);
        at += batch.len();
    }
    // Behind the content: what was read of the old block is older than the zeros it gets.
    staging[at..].fill(0);
    let end = plan.position + plan.bytes;
    let crc = crc32c::crc32c(&staging[(align_down(end) - start) as usize..at]);
    partition.tail_block.set(Some(TailBlock { segment: plan.segment, end, crc }));
    let bytes = staging.len() as u64;
    partition.padded.set(true);
    file.write_at(vec![staging.freeze()], start, Sync::No).await.map_err(|error| StoreError::io("write", &path, error))?;
    shared.counters.segment_write(bytes);
    Ok(file)
}

/// `preallocate`: reserves the space of a new segment, so that writes do not extend it and it cannot run out. What is not used goes with the padding.
async fn preallocate(partition: &PartitionShared, file: &File, path: &Path) -> Result<(), StoreError> {
    let bytes = {
        let log = partition.log.borrow();
        if !log.config().preallocate {
            return Ok(());
        }
        u64::from(log.config().segment_bytes)
    };
    match file.allocate(bytes).await {
        Err(error) if error.kind() == std::io::ErrorKind::Unsupported => {
            tracing::warn!(file = %path.display(), "the file system cannot preallocate: the segment grows as it is written");
            Ok(())
        }
        other => other.map_err(|error| StoreError::io("allocate", path, error)),
    }
}

/// Cuts the zeros behind the content of a segment file.
pub(crate) async fn cut_padding(shared: &Shared, partition: &PartitionShared, segment: Offset, bytes: u64) -> Result<(), StoreError> {
    let path = log_path(partition, segment);
    let file = open_log(shared, partition, &path).await?;
    file.truncate(bytes).await.map_err(|error| StoreError::io("truncate", &path, error))?;
    file.sync_data().await.map_err(|error| StoreError::io("flush", &path, error))
}

/// Appends index entries to their files: when enough of them wait, or all of them with `all`.
pub(crate) async fn write_indexes(shared: &Shared, partition: &PartitionShared, segment: Offset, all: bool) -> Result<(), StoreError> {
    struct Piece {
        extension: &'static str,
        position: u64,
        bytes: Vec<u8>,
        count: usize,
    }
    let least = if all { 1 } else { INDEX_ENTRIES_PER_WRITE };
    let pieces = {
        let log = partition.log.borrow();
        let Some(meta) = log.segment_by_base(segment).and_then(|at| log.segments().get(at)) else { return Ok(()) };
        let flushed = meta.flushed_bytes;
        let mut pieces = Vec::new();
        let (first, entries) = meta.offset_index.unpersisted();
        // Only entries of batches that are in the file.
        let entries = &entries[..entries.partition_point(|entry| u64::from(entry.position) < flushed)];
        if entries.len() >= least {
            let bytes = entries.iter().flat_map(offset_index::OffsetEntry::encode).collect();
            pieces.push(Piece {
                extension: names::INDEX,
                position: (first * offset_index::ENTRY_BYTES) as u64,
                bytes,
                count: first + entries.len(),
            });
        }
        let through = log.marks().flushed.get() - segment.get();
        let (first, entries) = meta.time_index.unpersisted();
        let entries = &entries[..entries.partition_point(|entry| i64::from(entry.relative_offset) < through)];
        if entries.len() >= least {
            let bytes = entries.iter().flat_map(time_index::TimeEntry::encode).collect();
            pieces.push(Piece {
                extension: names::TIME_INDEX,
                position: (first * time_index::ENTRY_BYTES) as u64,
                bytes,
                count: first + entries.len(),
            });
        }
        let (first, entries) = meta.aborted.unpersisted();
        let entries = &entries[..entries.partition_point(|entry| entry.last_offset < log.marks().flushed.offset())];
        if !entries.is_empty() {
            let bytes = entries.iter().flat_map(transaction_index::AbortedTransaction::encode).collect();
            let position = (first * transaction_index::ENTRY_BYTES) as u64;
            pieces.push(Piece { extension: names::TRANSACTION_INDEX, position, bytes, count: first + entries.len() });
        }
        pieces
    };
    for piece in pieces {
        if piece.extension == names::TIME_INDEX {
            // Kafka's tools open the offset index beside a time index, and a small segment has no entry in it.
            let beside = partition.path.join(names::segment_file(segment, names::INDEX));
            shared.files.open(&shared.ring, &beside, false, true).await?;
        }
        let path = partition.path.join(names::segment_file(segment, piece.extension));
        let (file, _) = shared.files.open(&shared.ring, &path, false, true).await?;
        file.write_at(vec![Bytes::from(piece.bytes)], piece.position, Sync::No)
            .await
            .map_err(|error| StoreError::io("write", &path, error))?;
        file.sync_data().await.map_err(|error| StoreError::io("flush", &path, error))?;
        let mut log = partition.log.borrow_mut();
        let Some(meta) = log.segment_mut(segment) else { return Ok(()) };
        match piece.extension {
            names::INDEX => meta.offset_index.persisted(piece.count, true),
            names::TIME_INDEX => meta.time_index.persisted(piece.count, true),
            _ => meta.aborted.persisted(piece.count, true),
        }
    }
    Ok(())
}

/// A small file as a whole, for Kafka's eyes: not needed for our own recovery, so its name need not be durable.
pub(crate) async fn write_plain(ring: &Ring, path: &Path, content: &[u8]) -> Result<(), StoreError> {
    let options = OpenOptions { write: true, create: true, truncate: true, ..OpenOptions::default() };
    let file = ring.open(path, options).await.map_err(|error| StoreError::io("create", path, error))?;
    file.write_at(vec![Bytes::copy_from_slice(content)], 0, Sync::No).await.map_err(|error| StoreError::io("write", path, error))
}

/// Cuts a file to `len` bytes.
pub(crate) async fn shorten(ring: &Ring, path: &Path, len: u64) -> Result<(), StoreError> {
    let options = OpenOptions { write: true, ..OpenOptions::default() };
    let file = ring.open(path, options).await.map_err(|error| StoreError::io("open", path, error))?;
    file.truncate(len).await.map_err(|error| StoreError::io("truncate", path, error))
}

/// Removes a file; one that is not there is fine.
pub(crate) async fn remove(ring: &Ring, path: &Path) -> Result<(), StoreError> {
    match ring.remove_file(path).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(StoreError::io("remove", path, error)),
        _ => Ok(()),
    }
}
