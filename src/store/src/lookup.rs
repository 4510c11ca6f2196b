//! Finding offsets by time: the time index says which index interval, the offset index where that begins, and one stretch of the segment is read.
//! What that costs does not depend on the segment's size.

use crate::error::{ReadError, StoreError};
use crate::index_lookup;
use crate::reader;
use crate::shared::{PartitionShared, Shared};
use bytes::Bytes;
use odradek_base::{LeaderEpoch, Offset, Timestamp};
use odradek_log::lookup::{TimestampAndOffset, first_at_or_after};
use odradek_log::segment::meta::Segment;
use odradek_wire::batch::BatchView;
use std::rc::Rc;

/// Bytes per read while scanning from an index entry on.
const SCAN_BYTES: usize = 64 << 10;

type Found = Option<(Timestamp, Offset, LeaderEpoch)>;

pub(crate) async fn offset_for_timestamp(
    shared: &Rc<Shared>,
    partition: &Rc<PartitionShared>,
    target: Timestamp,
) -> Result<Found, ReadError> {
    let marks = partition.log.borrow().marks();
    let (start, end) = (marks.log_start.offset(), marks.durable.offset());
    let mut after = None;
    // Usually the first candidate has it; its records of that time may also lie before the log start, or not be durable yet.
    while let Some(segment) = next_candidate(partition, target, after) {
        if let Some(found) = find_in_segment(shared, partition, segment, target, start, end).await? {
            return Ok(Some(found));
        }
        after = Some(segment);
    }
    Ok(None)
}

/// Base offset of the first segment behind `after` with a timestamp of `target` or later.
fn next_candidate(partition: &PartitionShared, target: Timestamp, after: Option<Offset>) -> Option<Offset> {
    let log = partition.log.borrow();
    let candidate = |segment: &&Segment| {
        !segment.is_empty() && segment.max_timestamp >= target && after.is_none_or(|after| segment.base_offset > after)
    };
    log.segments().iter().find(candidate).map(|segment| segment.base_offset)
}

/// The first record of a segment with a timestamp of `target` or later, at or after `start` and below `end`.
async fn find_in_segment(
    shared: &Rc<Shared>,
    partition: &Rc<PartitionShared>,
    segment: Offset,
    target: Timestamp,
    start: Offset,
    end: Offset,
) -> Result<Found, ReadError> {
    let next = {
        let log = partition.log.borrow();
        log.segment_by_base(segment).and_then(|at| log.segments().get(at)).map_or(segment, |segment| segment.next_offset)
    };
    let end = end.min(next);
    let hint = index_lookup::first_of_time(shared, partition, segment, target).await.map_err(ReadError::Io)?;
    let upto = hint.upto.map_or(end, |upto| upto.next().min(end));
    if let Some(found) = scan(shared, partition, hint.from.max(start), upto, target).await? {
        return Ok(Some(found));
    }
    if end < next && start <= hint.from {
        // The record is not durable yet.
        return Ok(None);
    }
    // Below the log start, or indexes that were not written together: the rest of the segment is looked at.
    scan(shared, partition, hint.certain_from.max(start), end, target).await
}

pub(crate) async fn offset_of_max_timestamp(shared: &Rc<Shared>, partition: &Rc<PartitionShared>) -> Result<Found, ReadError> {
    let (marks, largest) = {
        let log = partition.log.borrow();
        (log.marks(), log.largest_timestamp())
    };
    let Some((timestamp, last_offset)) = largest else { return Ok(None) };
    if last_offset >= marks.durable.offset() {
        // The largest one is not durable yet: what is durable has to be searched for its own.
        return largest_durable(shared, partition, marks.log_start.offset(), marks.durable.offset()).await;
    }
    let from = last_offset.max(marks.log_start.offset());
    let data = reader::read(shared, partition, from, marks.durable.offset(), 1, true).await?;
    for batch in whole_batches(&data.batches) {
        // The record may lie below `from` within its batch, which ends with `last_offset`.
        if let Some(found) = lookup(partition, &batch, timestamp, marks.log_start.offset())? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// The first record at or after `from` and below `end` with a timestamp of `target` or later.
async fn scan(
    shared: &Rc<Shared>,
    partition: &Rc<PartitionShared>,
    from: Offset,
    end: Offset,
    target: Timestamp,
) -> Result<Found, ReadError> {
    let mut at = from;
    while at < end {
        let data = reader::read(shared, partition, at, end, SCAN_BYTES, true).await?;
        let before = at;
        for batch in whole_batches(&data.batches) {
            if let Some(found) = lookup(partition, &batch, target, from)? {
                return Ok(Some(found));
            }
            at = BatchView::parse(&batch).map_or(at, |view| view.next_offset());
        }
        if at <= before {
            break;
        }
    }
    Ok(None)
}

/// The first record with the largest timestamp among those below `end`. What is not durable is at the end of the log, in the last segments: of these the
/// indexes know the largest timestamp up to the last entry below `end`, and the few batches behind that are looked at.
async fn largest_durable(shared: &Rc<Shared>, partition: &Rc<PartitionShared>, start: Offset, end: Offset) -> Result<Found, ReadError> {
    let segments: Vec<(Offset, Timestamp, bool)> = {
        let log = partition.log.borrow();
        let usable = log.segments().iter().filter(|segment| segment.base_offset < end && segment.next_offset > start);
        usable.map(|segment| (segment.base_offset, segment.max_timestamp, segment.next_offset <= end)).collect()
    };
    let mut best: Option<(Timestamp, Offset)> = None;
    for (base, max_timestamp, whole) in segments {
        let largest = if whole { Some(max_timestamp) } else { largest_below(shared, partition, base, start, end).await? };
        if let Some(timestamp) = largest.filter(|timestamp| timestamp.get() >= 0)
            && best.is_none_or(|(best, _)| timestamp > best)
        {
            best = Some((timestamp, base));
        }
    }
    match best {
        Some((timestamp, segment)) => find_in_segment(shared, partition, segment, timestamp, start, end).await,
        None => Ok(None),
    }
}

/// The largest timestamp of a segment's batches below `end`.
async fn largest_below(
    shared: &Rc<Shared>,
    partition: &Rc<PartitionShared>,
    segment: Offset,
    start: Offset,
    end: Offset,
) -> Result<Option<Timestamp>, ReadError> {
    let indexed = index_lookup::last_indexed_below(shared, partition, segment, Some(end)).await.map_err(ReadError::Io)?;
    let mut best = index_lookup::largest_time_below(shared, partition, segment, indexed).await.map_err(ReadError::Io)?;
    let mut at = indexed.max(start);
    while at < end {
        let data = reader::read(shared, partition, at, end, SCAN_BYTES, true).await?;
        let before = at;
        for batch in whole_batches(&data.batches) {
            if let Ok(view) = BatchView::parse(&batch) {
                best = best.max(Some(view.max_timestamp()));
                at = view.next_offset();
            }
        }
        if at <= before {
            break;
        }
    }
    Ok(best)
}

fn whole_batches(parts: &[Bytes]) -> impl Iterator<Item = Bytes> + '_ {
    parts.iter().flat_map(|part| {
        odradek_wire::batch::batches(part).map_while(Result::ok).map(|view| part.slice_ref(view.bytes())).collect::<Vec<_>>()
    })
}

fn lookup(partition: &PartitionShared, batch: &Bytes, target: Timestamp, from: Offset) -> Result<Found, ReadError> {
    match first_at_or_after(batch, target, from) {
        Ok(found) => Ok(found.map(|TimestampAndOffset { timestamp, offset, leader_epoch }| (timestamp, offset, leader_epoch))),
        Err(error) => Err(ReadError::Io(StoreError::Damaged { path: partition.path.to_path_buf(), reason: error.to_string() })),
    }
}
