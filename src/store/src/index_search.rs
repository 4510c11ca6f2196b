//! Binary search in an index file: a few blocks of it are read, however large it is.

use crate::error::StoreError;
use crate::shared::Shared;
use odradek_base::AlignedBuf;
use odradek_ring::{File, OpenOptions};
use std::path::Path;

/// Bytes read at once while a file is searched.
const BLOCK_BYTES: usize = 4096;

/// The entries on both sides of a boundary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Neighbours<E> {
    pub before: Option<E>,
    pub after: Option<E>,
}

impl<E> Neighbours<E> {
    pub const NONE: Self = Self { before: None, after: None };
}

/// The boundary in entries that are in memory: `before` holds for a first part of them, and for nothing after it.
pub(crate) fn in_memory<E: Copy>(entries: &[E], before: impl Fn(&E) -> bool) -> Neighbours<E> {
    let at = entries.partition_point(before);
    Neighbours { before: at.checked_sub(1).and_then(|at| entries.get(at)).copied(), after: entries.get(at).copied() }
}

/// The boundary among the first `count` entries of `entry_bytes` bytes in the file at `path`. `decode` makes entries of whole blocks and stops at
/// what cannot be one. A file that is missing, too short or damaged where it is looked at has no entries.
pub(crate) async fn in_file<E: Copy>(
    shared: &Shared,
    path: &Path,
    count: usize,
    entry_bytes: usize,
    decode: impl Fn(&[u8]) -> Vec<E>,
    before: impl Fn(&E) -> bool,
) -> Result<Neighbours<E>, StoreError> {
    let file = match shared.ring.open(path, OpenOptions::READ).await {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Neighbours::NONE),
        Err(error) => return Err(StoreError::io("open", path, error)),
    };
    let per_block = BLOCK_BYTES / entry_bytes;
    // The boundary is in `low..=high`; both neighbours of either end are read in the end.
    let (mut low, mut high) = (0, count);
    loop {
        let last = high - low <= per_block;
        let (start, end) = if last {
            (low.saturating_sub(1), (high + 1).min(count))
        } else {
            let start = (low + high - per_block) / 2;
            (start, start + per_block)
        };
        let bytes = read(shared, &file, path, start * entry_bytes, (end - start) * entry_bytes).await?;
        let entries = decode(&bytes);
        if entries.len() < end - start || !entries.is_sorted_by_key(|entry| !before(entry)) {
            tracing::warn!(file = %path.display(), "index is damaged and not used; the next unclean start rebuilds it");
            return Ok(Neighbours::NONE);
        }
        if last {
            return Ok(in_memory(&entries, before));
        }
        match entries.partition_point(&before) {
            0 => high = start,
            all if all == entries.len() => low = end,
            _ => return Ok(in_memory(&entries, before)),
        }
    }
}

async fn read(shared: &Shared, file: &File, path: &Path, position: usize, len: usize) -> Result<bytes::Bytes, StoreError> {
    let (result, buf) = file.read_at(AlignedBuf::zeroed(len), position as u64, len).await;
    let read = result.map_err(|error| StoreError::io("read", path, error))?;
    shared.counters.index_read(read as u64);
    Ok(buf.freeze().slice(..read))
}
