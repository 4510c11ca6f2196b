//! One segment: whether its files are what the state says, or what a check of its batches finds.

use super::Repairs;
use super::listing::read_optional;
use super::segment_reader::SegmentReader;
use crate::error::StoreError;
use crate::segment_files;
use crate::torn::Torn;
use odradek_base::{Offset, Timestamp};
use odradek_log::LogConfig;
use odradek_log::segment::meta::{BatchSummary, Segment};
use odradek_log::segment::names;
use odradek_log::segment::{offset_index, time_index, transaction_index};
use odradek_ring::{File, OpenOptions, Ring};
use odradek_wire::batch::BatchView;
use std::path::Path;

/// Whether the files of a complete segment have what the state says. The padding behind the content of a segment goes; indexes may lack what was in memory.
pub(super) async fn files_are_whole(ring: &Ring, path: &Path, known: &odradek_log::state::SegmentState) -> Result<bool, StoreError> {
    let size = async |extension| -> Result<u64, StoreError> {
        let path = path.join(names::segment_file(known.base_offset, extension));
        match ring.metadata(&path).await {
            Ok(metadata) => Ok(metadata.len),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(StoreError::io("inspect", &path, error)),
        }
    };
    let (log, offsets, times) = (size(names::LOG).await?, size(names::INDEX).await?, size(names::TIME_INDEX).await?);
    if log > known.bytes {
        segment_files::shorten(ring, &path.join(names::segment_file(known.base_offset, names::LOG)), known.bytes).await?;
    }
    let enough = |size: u64, entries: u32, entry_bytes: usize| size >= u64::from(entries) * entry_bytes as u64;
    Ok(log >= known.bytes
        && enough(offsets, known.offset_entries, offset_index::ENTRY_BYTES)
        && enough(times, known.time_entries, time_index::ENTRY_BYTES))
}

/// What is known of a segment that is checked.
pub(super) struct Check {
    pub recovery_point: Offset,
    /// The next segment's base offset, where everything in this one is below the recovery point.
    pub trusted: Option<Offset>,
    /// It replaced others since the state file was written: its last batches may be gone, and it was flushed whole.
    pub compacted: bool,
    /// Somebody else's, who stopped cleanly.
    pub clean: bool,
    pub now: Timestamp,
}

/// Reads a segment from the last index entry that is trusted on, and rebuilds what is behind. Returns the tail too, where it is no batch.
pub(super) async fn check_segment(
    ring: &Ring,
    directory: &Path,
    base: Offset,
    config: &LogConfig,
    check: &Check,
    repairs: &mut Repairs,
) -> Result<(Segment, Option<Torn>), StoreError> {
    let &Check { recovery_point, trusted, compacted, clean, now } = check;
    let path = directory.join(names::segment_file(base, names::LOG));
    let io = |operation: &'static str, error| StoreError::io(operation, &path, error);
    let file =
        ring.open(&path, OpenOptions { read: true, write: true, ..OpenOptions::default() }).await.map_err(|error| io("open", error))?;
    let length = file.len().await.map_err(|error| io("inspect", error))?;
    let offset_bytes = read_optional(ring, &directory.join(names::segment_file(base, names::INDEX))).await?;
    let time_bytes = read_optional(ring, &directory.join(names::segment_file(base, names::TIME_INDEX))).await?;
    let aborted = read_optional(ring, &directory.join(names::segment_file(base, names::TRANSACTION_INDEX))).await?;
    let (mut offsets, _) = offset_index::decode(&offset_bytes, length);
    let (mut times, _) = time_index::decode(&time_bytes);
    let aborted = transaction_index::decode(&aborted);
    // Entries of batches that are not known to be flushed are not believed.
    let below = |relative: u32| base.get() + i64::from(relative) < recovery_point.get();
    offsets.truncate(offsets.partition_point(|entry| below(entry.relative_offset)));
    let last_offset = offsets.last().map_or(-1, |entry| i64::from(entry.relative_offset));
    // An index that does not agree with the log is not believed either: its last entry must point at the batch it names.
    if let Some(last) = offsets.last()
        && !points_at_batch(&file, last.position, base.get() + i64::from(last.relative_offset), length)
            .await
            .map_err(|error| io("read", error))?
    {
        tracing::warn!(file = %path.display(), "offset index does not match its segment and is rebuilt");
        offsets.clear();
        times.clear();
    }
    if times.is_empty() {
        // A time index that is missing is rebuilt as well, which takes the whole segment.
        offsets.clear();
    }
    let start = offsets.last().map_or(0, |entry| u64::from(entry.position));
    let settled = if trusted.is_some() || clean {
        times.len()
    } else {
        times.partition_point(|entry| i64::from(entry.relative_offset) <= last_offset)
    };
    times.truncate(settled);
    // What follows the entries that are believed is the zeros that Kafka allocates ahead, or entries that may not come again.
    let believed = (offsets.len() * offset_index::ENTRY_BYTES, times.len() * time_index::ENTRY_BYTES);
    for (extension, is, should) in [(names::INDEX, offset_bytes.len(), believed.0), (names::TIME_INDEX, time_bytes.len(), believed.1)] {
        if is > should {
            segment_files::shorten(ring, &directory.join(names::segment_file(base, extension)), should as u64).await?;
        }
    }

    let mut segment = Segment::new(base, now);
    if let Some(last) = offsets.last() {
        // The batch at `start` is read again; it is the one the last entry names.
        segment.bytes = start;
        segment.next_offset = Offset(base.get() + i64::from(last.relative_offset));
    }
    if let Some(last) = times.last() {
        segment.max_timestamp = last.timestamp;
        segment.offset_of_max_timestamp = base.advance(i64::from(last.relative_offset));
    }
    segment.resume(
        0,
        times.last().copied(),
        offsets.len(),
        times.len(),
        aborted.iter().filter(|entry| entry.last_offset < recovery_point).count(),
    );
    segment.first_timestamp = match SegmentReader::for_one(&file, 0, length).next(base, false).await.map_err(|error| io("read", error))? {
        Some(batch) => BatchView::parse(&batch).ok().map(|view| view.max_timestamp()),
        None => None,
    };
    let mut reader = SegmentReader::new(&file, start, length);
    let mut expected = base;
    while let Some(batch) = reader.next(expected, true).await.map_err(|error| io("read", error))? {
        let Ok(view) = BatchView::parse(&batch) else { break };
        segment.append(&BatchSummary::of(&view), config);
        expected = view.next_offset();
        repairs.batches_checked += 1;
        repairs.bytes_checked += view.total_bytes() as u64;
    }
    segment.flushed_bytes = segment.bytes;
    let end = reader.position();
    assert_eq!(end, segment.bytes, "a segment's size is where its last batch ends");
    let padding = reader.only_zeros_follow().await.map_err(|error| io("read", error))?;
    let short = match trusted {
        Some(_) => !padding,
        None => !clean && !compacted && segment.next_offset < recovery_point,
    };
    if short {
        let reason = format!(
            "no valid batch at byte {end} (offset {}), but everything up to offset {recovery_point} was flushed",
            segment.next_offset
        );
        return Err(StoreError::Damaged { path, reason });
    }
    if end < length && padding {
        file.truncate(end).await.map_err(|error| io("truncate", error))?;
    }
    // What is taken over from here on counts as flushed, and the journal gives up its copy. A killed process may have written it
    // without flushing it.
    if end < length || segment.next_offset > recovery_point {
        file.sync_data().await.map_err(|error| io("flush", error))?;
    }
    if trusted.is_some() {
        segment.index_time();
    }
    let torn = (!padding).then(|| Torn { path, position: end, length, offset: segment.next_offset, beyond: Vec::new() });
    Ok((segment, torn))
}

/// Whether the batch at `position` ends with `last_offset`.
async fn points_at_batch(file: &File, position: u32, last_offset: i64, length: u64) -> std::io::Result<bool> {
    let batch = SegmentReader::for_one(file, u64::from(position), length).next(Offset::ZERO, false).await?;
    Ok(batch.is_some_and(|batch| BatchView::parse(&batch).is_ok_and(|view| view.last_offset().get() == last_offset)))
}
