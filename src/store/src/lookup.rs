//! Finding offsets by time, through the time index and one stretch of the segment.

use crate::error::{ReadError, StoreError};
use crate::index_lookup;
use crate::reader;
use crate::shared::{PartitionShared, Shared};
use bytes::Bytes;
use odradek_base::{LeaderEpoch, Offset, Timestamp};
use odradek_log::lookup::{TimestampAndOffset, first_at_or_after};
use odradek_wire::batch::BatchView;
use std::rc::Rc;

/// Bytes per read while scanning from an index entry on.
const SCAN_BYTES: usize = 256 << 10;

type Found = Option<(Timestamp, Offset, LeaderEpoch)>;

pub(crate) async fn offset_for_timestamp(
    shared: &Rc<Shared>,
    partition: &Rc<PartitionShared>,
    target: Timestamp,
) -> Result<Found, ReadError> {
    let (marks, candidate) = {
        let log = partition.log.borrow();
        let candidate = log.first_segment_with_timestamp(target).and_then(|at| log.segments().get(at)).map(|segment| segment.base_offset);
        (log.marks(), candidate)
    };
    let Some(segment) = candidate else { return Ok(None) };
    let from = index_lookup::offset_for_time(shared, partition, segment, target).await.map_err(ReadError::Io)?;
    scan(shared, partition, from.max(marks.log_start.offset()), marks.durable.offset(), target).await
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

/// The first record at or after `from` with a timestamp of `target` or later.
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

async fn largest_durable(shared: &Rc<Shared>, partition: &Rc<PartitionShared>, start: Offset, end: Offset) -> Result<Found, ReadError> {
    // Only what is in flight is not durable: it is at the tail, in memory, and so is what precedes it.
    let segments: Vec<(Offset, Timestamp, Offset)> = {
        let log = partition.log.borrow();
        log.segments().iter().map(|segment| (segment.base_offset, segment.max_timestamp, segment.offset_of_max_timestamp)).collect()
    };
    let settled = segments
        .iter()
        .filter(|(_, timestamp, offset)| *offset < end && timestamp.get() >= 0)
        .max_by_key(|(_, timestamp, offset)| (*timestamp, std::cmp::Reverse(*offset)));
    let active = segments.last().map_or(start, |(base, _, _)| *base).max(start);
    let mut best: Option<Timestamp> = settled.map(|(_, timestamp, _)| *timestamp);
    let mut at = active;
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
    match best {
        Some(timestamp) if timestamp.get() >= 0 => {
            scan(shared, partition, settled.map_or(active, |(base, _, _)| *base).min(active).max(start), end, timestamp).await
        }
        _ => Ok(None),
    }
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
