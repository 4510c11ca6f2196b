//! Producers, epochs and aborted transactions as they were at the end of the segments.

use super::Repairs;
use super::listing::read_optional;
use super::segment_reader::SegmentReader;
use crate::error::StoreError;
use crate::segment_files;
use odradek_base::Offset;
use odradek_log::partition::PartitionLog;
use odradek_log::producer_state::snapshot;
use odradek_log::segment::names;
use odradek_log::segment::{offset_index, transaction_index};
use odradek_log::state::PartitionState;
use odradek_ring::{OpenOptions, Ring};
use odradek_wire::batch::BatchView;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Brings producer state and epochs up to the end of the segments: from the state file, or from the newest usable snapshot.
pub(super) async fn replay_producers(
    ring: &Ring,
    path: &Path,
    log: &mut PartitionLog,
    state: Option<&PartitionState>,
    repairs: &mut Repairs,
) -> Result<(), StoreError> {
    let end = log.marks().appended.offset();
    let from = match state {
        // Epochs may have begun after the state was written, and batches between what was flushed and what was appended then are known already.
        Some(state) => state.producers_at.min(end),
        None => load_snapshot(ring, path, log, end).await?,
    };
    // What lies behind a segment's content, a torn tail or padding, is no part of the log.
    let stretches: Vec<(Offset, u32, u64)> = log
        .segments()
        .iter()
        .filter(|segment| segment.next_offset > from)
        .map(|segment| {
            let start = offset_index::lookup(segment.offset_index.memory(), segment.base_offset, from);
            (segment.base_offset, start, segment.bytes)
        })
        .collect();
    for (base, start, end) in stretches {
        let file_path = path.join(names::segment_file(base, names::LOG));
        let io = |operation: &'static str, error| StoreError::io(operation, &file_path, error);
        let file = match ring.open(&file_path, OpenOptions::READ).await {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(io("open", error)),
        };
        let mut reader = SegmentReader::new(&file, u64::from(start), end);
        let mut expected = base;
        while let Some(batch) = reader.next(expected, false).await.map_err(|error| io("read", error))? {
            let Ok(view) = BatchView::parse(&batch) else { break };
            expected = view.next_offset();
            if view.base_offset() >= from {
                log.note_recovered(&view, &batch);
                repairs.batches_checked += 1;
            }
        }
    }
    Ok(())
}

/// Bytes before the log's end that are replayed into the producers even where a newer snapshot would do: snapshots keep one batch of each
/// producer, but a client may send its last five again.
const PRODUCER_REPLAY_BYTES_MIN: u64 = 16 << 20;

/// Loads the newest snapshot at or below `end` with enough log behind it; returns the offset from which batches have to be replayed.
async fn load_snapshot(ring: &Ring, path: &Path, log: &mut PartitionLog, end: Offset) -> Result<Offset, StoreError> {
    let entries = ring.read_dir(path).await.map_err(|error| StoreError::io("list", path, error))?;
    let mut offsets: Vec<Offset> = entries
        .iter()
        .filter_map(|entry| names::parse_segment_file(&entry.name))
        .filter(|(offset, extension)| *extension == names::SNAPSHOT && *offset <= end)
        .map(|(offset, _)| offset)
        .collect();
    let bytes_from =
        |offset: Offset| -> u64 { log.segments().iter().filter(|segment| segment.next_offset > offset).map(|segment| segment.bytes).sum() };
    let log_start = log.marks().log_start.offset();
    // Without a snapshot everything is replayed, which knows all only where nothing has been deleted; then the oldest has to do.
    let oldest = offsets.first().copied().filter(|_| log_start > Offset::ZERO);
    offsets.retain(|offset| bytes_from(*offset) >= PRODUCER_REPLAY_BYTES_MIN || *offset <= log_start);
    if offsets.is_empty() {
        offsets.extend(oldest);
    }
    while let Some(offset) = offsets.pop() {
        let bytes = read_optional(ring, &path.join(names::segment_file(offset, names::SNAPSHOT))).await?;
        match snapshot::decode(&bytes) {
            Ok(producers) => {
                log.load_producers(producers);
                return Ok(offset);
            }
            Err(error) => tracing::warn!(partition = %log.partition(), %offset, "producer snapshot is not used: {error}"),
        }
    }
    Ok(log.marks().log_start.offset())
}

/// Brings the aborted transactions of the index files back into memory, where readers look.
pub(crate) async fn restore_aborted(
    ring: &Ring,
    path: &Path,
    log: &mut PartitionLog,
    indexes: &BTreeSet<Offset>,
) -> Result<(), StoreError> {
    let mut files = Vec::new();
    let mut sizes = BTreeMap::new();
    let bases: Vec<Offset> = log.segments().iter().map(|segment| segment.base_offset).filter(|base| indexes.contains(base)).collect();
    for base in bases {
        let bytes = read_optional(ring, &path.join(names::segment_file(base, names::TRANSACTION_INDEX))).await?;
        sizes.insert(base, bytes.len());
        files.push((base, transaction_index::decode(&bytes)));
    }
    for (base, count) in log.restore_aborted(files) {
        let should = count * transaction_index::ENTRY_BYTES;
        if sizes.get(&base).is_some_and(|is| *is > should) {
            segment_files::shorten(ring, &path.join(names::segment_file(base, names::TRANSACTION_INDEX)), should as u64).await?;
        }
    }
    Ok(())
}
