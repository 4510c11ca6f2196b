//! Where in a segment to start looking for an offset or a time: from the entries in memory, or by binary search in the index file. Sequential
//! readers do not come here.

use crate::error::StoreError;
use crate::index_search::{self, Neighbours};
use crate::shared::{PartitionShared, Shared};
use odradek_base::{Offset, Timestamp};
use odradek_log::segment::names;
use odradek_log::segment::offset_index::{self, OffsetEntry};
use odradek_log::segment::time_index::{self, TimeEntry};

/// Position of the last batch that is known to end at or before `target`, or 0.
pub(crate) async fn position(shared: &Shared, partition: &PartitionShared, segment: Offset, target: Offset) -> Result<u32, StoreError> {
    let relative = target.get() - segment.get();
    let found = offsets(shared, partition, segment, |entry| i64::from(entry.relative_offset) <= relative).await?;
    Ok(found.before.map_or(0, |entry| entry.position))
}

/// Where the first record of a time is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TimeHint {
    /// Every record before this offset is older.
    pub from: Offset,
    /// A record of that time or later is at or before this offset. `None`: only the last index interval can have one.
    pub upto: Option<Offset>,
    /// As `from`, but certain also where the indexes were not written together, as they are here and by Kafka.
    pub certain_from: Offset,
}

/// Where in a segment the first record of `target` or later is. Both indexes get their entries at the same batches, the time index only when the largest
/// timestamp has grown; so the record that made it grow lies between the offset entry before and the time entry's own batch.
pub(crate) async fn first_of_time(
    shared: &Shared,
    partition: &PartitionShared,
    segment: Offset,
    target: Timestamp,
) -> Result<TimeHint, StoreError> {
    let times = times(shared, partition, segment, |entry| entry.timestamp < target).await?;
    let offset_of = |entry: TimeEntry| segment.advance(i64::from(entry.relative_offset));
    let upto = times.after.map(offset_of);
    let certain_from = times.before.map_or(segment, offset_of);
    let from = last_indexed_below(shared, partition, segment, upto).await?.max(certain_from);
    Ok(TimeHint { from, upto, certain_from })
}

/// The offset behind the last batch with an offset index entry that ends below `below`, or the segment's base offset.
pub(crate) async fn last_indexed_below(
    shared: &Shared,
    partition: &PartitionShared,
    segment: Offset,
    below: Option<Offset>,
) -> Result<Offset, StoreError> {
    let relative = below.map_or(i64::MAX, |below| below.get() - segment.get());
    let found = offsets(shared, partition, segment, |entry| i64::from(entry.relative_offset) < relative).await?;
    Ok(found.before.map_or(segment, |entry| segment.advance(i64::from(entry.relative_offset) + 1)))
}

/// The largest timestamp of the segment's batches that end below `below`, as far as the time index knows.
pub(crate) async fn largest_time_below(
    shared: &Shared,
    partition: &PartitionShared,
    segment: Offset,
    below: Offset,
) -> Result<Option<Timestamp>, StoreError> {
    let relative = below.get() - segment.get();
    let found = times(shared, partition, segment, |entry| i64::from(entry.relative_offset) < relative).await?;
    Ok(found.before.map(|entry| entry.timestamp))
}

async fn offsets(
    shared: &Shared,
    partition: &PartitionShared,
    segment: Offset,
    before: impl Fn(&OffsetEntry) -> bool,
) -> Result<Neighbours<OffsetEntry>, StoreError> {
    let (in_file, log_bytes, memory) = {
        let log = partition.log.borrow();
        let Some(meta) = log.segment_by_base(segment).and_then(|at| log.segments().get(at)) else { return Ok(Neighbours::NONE) };
        // An entry may point at a batch that is not flushed; such a target is in memory and never looked up here.
        (meta.offset_index.file_only(), meta.bytes, index_search::in_memory(meta.offset_index.memory(), &before))
    };
    if in_file == 0 || memory.before.is_some() {
        return Ok(memory);
    }
    let path = partition.path.join(names::segment_file(segment, names::INDEX));
    let decode = |bytes: &[u8]| offset_index::decode(bytes, log_bytes).0;
    let file = index_search::in_file(shared, &path, in_file, offset_index::ENTRY_BYTES, decode, &before).await?;
    Ok(Neighbours { before: file.before, after: file.after.or(memory.after) })
}

async fn times(
    shared: &Shared,
    partition: &PartitionShared,
    segment: Offset,
    before: impl Fn(&TimeEntry) -> bool,
) -> Result<Neighbours<TimeEntry>, StoreError> {
    let (in_file, memory) = {
        let log = partition.log.borrow();
        let Some(meta) = log.segment_by_base(segment).and_then(|at| log.segments().get(at)) else { return Ok(Neighbours::NONE) };
        (meta.time_index.file_only(), index_search::in_memory(meta.time_index.memory(), &before))
    };
    if in_file == 0 || memory.before.is_some() {
        return Ok(memory);
    }
    let path = partition.path.join(names::segment_file(segment, names::TIME_INDEX));
    let decode = |bytes: &[u8]| time_index::decode(bytes).0;
    let file = index_search::in_file(shared, &path, in_file, time_index::ENTRY_BYTES, decode, &before).await?;
    Ok(Neighbours { before: file.before, after: file.after.or(memory.after) })
}
