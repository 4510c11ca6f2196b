//! Finding records by time within a batch.

use bytes::Bytes;
use odradek_base::{LeaderEpoch, Offset, Timestamp};
use odradek_wire::batch::{BatchView, TimestampType};
use odradek_wire::records::{RecordReader, RecordsError};

/// Most bytes a batch is decompressed to while a record is looked up.
pub const DECOMPRESSED_BYTES_MAX: usize = 256 << 20;

/// A record found by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimestampAndOffset {
    pub timestamp: Timestamp,
    pub offset: Offset,
    pub leader_epoch: LeaderEpoch,
}

/// The first record of `batch` with a timestamp of at least `target` and an offset of at least `from`.
pub fn first_at_or_after(batch: &Bytes, target: Timestamp, from: Offset) -> Result<Option<TimestampAndOffset>, RecordsError> {
    let view = BatchView::parse(batch)?;
    if view.max_timestamp() < target || view.is_control() {
        return Ok(None);
    }
    let leader_epoch = view.leader_epoch();
    // Compaction leaves gaps in a batch: then its records say which offsets there are.
    let dense = i64::from(view.record_count()) == i64::from(view.last_offset_delta()) + 1;
    if dense && view.timestamp_type() == TimestampType::LogAppendTime {
        let offset = view.base_offset().max(from);
        return Ok((offset <= view.last_offset()).then_some(TimestampAndOffset { timestamp: view.max_timestamp(), offset, leader_epoch }));
    }
    for record in RecordReader::new(batch, DECOMPRESSED_BYTES_MAX)? {
        let record = record?;
        if record.timestamp >= target && record.offset >= from {
            return Ok(Some(TimestampAndOffset { timestamp: record.timestamp, offset: record.offset, leader_epoch }));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_record_within_the_batch() {
        let batch = crate::test_batches::at(1000, 5, 10);
        let find = |ts, from| {
            first_at_or_after(&batch, Timestamp(ts), Offset(from)).expect("readable").map(|found| (found.timestamp.0, found.offset.0))
        };
        assert_eq!(find(0, 0), Some((1000, 0)));
        assert_eq!(find(1003, 0), Some((1003, 3)));
        assert_eq!(find(1003, 4), Some((1004, 4)));
        assert_eq!(find(1005, 0), None);
    }
}
