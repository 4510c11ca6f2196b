//! What lies in a partition's directory.

use super::segment_reader::SegmentReader;
use crate::compaction::swap;
use crate::error::StoreError;
use odradek_base::Offset;
use odradek_log::segment::names;
use odradek_ring::{OpenOptions, Ring};
use odradek_wire::batch::BatchView;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Bytes of the segments in a directory that hold offsets from `recovery_point` on; 0 when there is no such directory.
pub(crate) async fn unchecked_bytes(ring: &Ring, path: &Path, recovery_point: Offset) -> Result<u64, StoreError> {
    let entries = match ring.read_dir(path).await {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(StoreError::io("list", path, error)),
    };
    let logs = entries.iter().filter_map(|entry| names::parse_segment_file(&entry.name)).filter(|(_, extension)| *extension == names::LOG);
    let bases: BTreeSet<Offset> = logs.map(|(base, _)| base).collect();
    let first = bases.range(..=recovery_point).next_back().copied().unwrap_or_default();
    let mut bytes = 0;
    for base in bases.range(first..) {
        let log = path.join(names::segment_file(*base, names::LOG));
        bytes += ring.metadata(&log).await.map_err(|error| StoreError::io("inspect", &log, error))?.len;
    }
    Ok(bytes)
}

/// How far a directory's segments reach: base offset of the last one and its length in bytes.
pub(crate) async fn end_of(ring: &Ring, path: &Path) -> Result<(Offset, u64), StoreError> {
    let Some(base) = list(ring, path).await?.segments.last().copied() else { return Ok((Offset(-1), 0)) };
    let log = path.join(names::segment_file(base, names::LOG));
    let metadata = ring.metadata(&log).await.map_err(|error| StoreError::io("inspect", &log, error))?;
    Ok((base, metadata.len))
}

/// What a partition's directory holds, by base offset.
#[derive(Default)]
pub(super) struct Listing {
    pub segments: BTreeSet<Offset>,
    pub transaction_indexes: BTreeSet<Offset>,
    /// Indexes and snapshots.
    pub beside: Vec<(Offset, PathBuf)>,
    /// Old logs of segments that a compaction replaced: what the state file says of these may be older.
    pub replaced: Vec<(Offset, PathBuf)>,
}

/// The segments in a directory. Swaps that were begun are completed; files that wait to be deleted or were never finished are removed.
pub(super) async fn list(ring: &Ring, path: &Path) -> Result<Listing, StoreError> {
    let read = async || ring.read_dir(path).await.map_err(|error| StoreError::io("list", path, error));
    let mut entries = read().await?;
    if entries.iter().any(|entry| entry.name.ends_with(".swap"))
        && swap::complete(ring, path, &entries, async |path, base| end_of_file(ring, path, base).await).await?
    {
        entries = read().await?;
    }
    let mut found = Listing::default();
    let there = |name: &str| entries.iter().any(|entry| entry.name == name);
    for entry in entries.iter().filter(|entry| !entry.is_dir) {
        if let Some((base, "log.deleted")) = names::parse_segment_file(&entry.name)
            && there(&names::segment_file(base, names::LOG))
        {
            found.replaced.push((base, path.join(&entry.name)));
        } else if entry.name.ends_with(".deleted") || entry.name.ends_with(".cleaned") || entry.name.ends_with(".tmp") {
            crate::segment_files::remove(ring, &path.join(&entry.name)).await?;
        } else {
            match names::parse_segment_file(&entry.name) {
                Some((base, names::LOG)) => found.segments.insert(base),
                Some((base, names::TRANSACTION_INDEX)) => found.transaction_indexes.insert(base),
                _ => false,
            };
            if let Some((base, extension)) = names::parse_segment_file(&entry.name)
                && [names::INDEX, names::TIME_INDEX, names::TRANSACTION_INDEX, names::SNAPSHOT].contains(&extension)
            {
                found.beside.push((base, path.join(&entry.name)));
            }
        }
    }
    Ok(found)
}

/// Removes segments below `first`, the oldest one when the state file was written: retention had taken them out before, and a power loss brought
/// their names back.
pub(super) async fn remove_below(ring: &Ring, path: &Path, first: Offset, files: &mut Listing) -> Result<(), StoreError> {
    let rest = files.segments.split_off(&first);
    for base in std::mem::replace(&mut files.segments, rest) {
        tracing::info!(directory = %path.display(), segment = %base, "removed a segment that had been deleted before the power was lost");
        remove_segment(ring, path, base).await?;
    }
    Ok(())
}

/// Removes what a power loss left of deleted segments below `first`, the oldest one, whose `.log` stayed deleted (Kafka's `LogLoader` and
/// `ProducerStateManager.removeStraySnapshots`).
pub(super) async fn remove_strays(ring: &Ring, files: &Listing, first: Offset) -> Result<(), StoreError> {
    for (_, stray) in files.beside.iter().filter(|(base, _)| *base < first) {
        crate::segment_files::remove(ring, stray).await?;
    }
    Ok(())
}

/// Offset after the last batch of a file; `base` when it has none.
async fn end_of_file(ring: &Ring, path: &Path, base: Offset) -> Result<Offset, StoreError> {
    let file = ring.open(path, OpenOptions::READ).await.map_err(|error| StoreError::io("open", path, error))?;
    let length = file.len().await.map_err(|error| StoreError::io("inspect", path, error))?;
    let (mut reader, mut end) = (SegmentReader::new(&file, 0, length), base);
    while let Some(batch) = reader.next(end, false).await.map_err(|error| StoreError::io("read", path, error))? {
        end = BatchView::parse(&batch).map_or(end, |view| view.next_offset());
    }
    Ok(end)
}

pub(crate) async fn remove_segment(ring: &Ring, path: &Path, base: Offset) -> Result<(), StoreError> {
    for extension in [names::LOG, names::INDEX, names::TIME_INDEX, names::TRANSACTION_INDEX, names::SNAPSHOT] {
        crate::segment_files::remove(ring, &path.join(names::segment_file(base, extension))).await?;
    }
    Ok(())
}

/// A file's content, empty when it is not there.
pub(super) async fn read_optional(ring: &Ring, path: &Path) -> Result<Vec<u8>, StoreError> {
    match ring.read_to_vec(path).await {
        Ok(bytes) => Ok(bytes),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(StoreError::io("read", path, error)),
    }
}
