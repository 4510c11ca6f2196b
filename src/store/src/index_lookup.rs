//! Where in a segment to start looking for an offset or a time: from the entries in memory, or from the index file. Sequential readers do not come here.

use crate::error::StoreError;
use crate::shared::{PartitionShared, Shared};
use odradek_base::Offset;
use odradek_log::segment::names;
use odradek_log::segment::offset_index::{self, OffsetEntry};
use odradek_log::segment::time_index::{self, TimeEntry};
use odradek_ring::OpenOptions;
use std::path::Path;

/// Position of the last batch that is known to end at or before `target`, or 0.
pub(crate) async fn position(shared: &Shared, partition: &PartitionShared, segment: Offset, target: Offset) -> Result<u32, StoreError> {
    let (in_file, log_bytes) = {
        let log = partition.log.borrow();
        let Some(meta) = log.segment_by_base(segment).and_then(|at| log.segments().get(at)) else { return Ok(0) };
        let memory = meta.offset_index.memory();
        let relative = target.get() - segment.get();
        let covered = memory.first().is_some_and(|first| i64::from(first.relative_offset) <= relative);
        if covered || meta.offset_index.file_only() == 0 {
            // An entry may point at a batch that is not flushed; such a target is in memory and never looked up here.
            return Ok(offset_index::lookup(memory, segment, target));
        }
        (meta.offset_index.file_only(), meta.bytes)
    };
    let path = partition.path.join(names::segment_file(segment, names::INDEX));
    let bytes = read_prefix(shared, &path, in_file * offset_index::ENTRY_BYTES).await?;
    let (entries, _): (Vec<OffsetEntry>, bool) = offset_index::decode(&bytes, log_bytes);
    Ok(offset_index::lookup(&entries, segment, target))
}

/// Offset from which on to look for a record of `target` or later within a segment.
pub(crate) async fn offset_for_time(
    shared: &Shared,
    partition: &PartitionShared,
    segment: Offset,
    target: odradek_base::Timestamp,
) -> Result<Offset, StoreError> {
    let in_file = {
        let log = partition.log.borrow();
        let Some(meta) = log.segment_by_base(segment).and_then(|at| log.segments().get(at)) else { return Ok(segment) };
        let memory = meta.time_index.memory();
        let covered = memory.first().is_some_and(|first| first.timestamp < target);
        if covered || meta.time_index.file_only() == 0 {
            return Ok(time_index::lookup(memory, segment, target));
        }
        meta.time_index.file_only()
    };
    let path = partition.path.join(names::segment_file(segment, names::TIME_INDEX));
    let bytes = read_prefix(shared, &path, in_file * time_index::ENTRY_BYTES).await?;
    let (entries, _): (Vec<TimeEntry>, bool) = time_index::decode(&bytes);
    Ok(time_index::lookup(&entries, segment, target))
}

/// The first `len` bytes of an index file, fewer where it is shorter. A missing index is an empty one: reads then start at the beginning.
async fn read_prefix(shared: &Shared, path: &Path, len: usize) -> Result<bytes::Bytes, StoreError> {
    let file = match shared.ring.open(path, OpenOptions::READ).await {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(bytes::Bytes::new()),
        Err(error) => return Err(StoreError::io("open", path, error)),
    };
    let len = len.min(shared.config.index_read_bytes_max);
    let (result, buf) = file.read_at(odradek_base::AlignedBuf::zeroed(len), 0, len).await;
    let read = result.map_err(|error| StoreError::io("read", path, error))?;
    Ok(buf.freeze().slice(..read))
}
