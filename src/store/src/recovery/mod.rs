//! Opening one partition's directory after an unclean stop, or one that somebody else wrote.
//!
//! Segments wholly below the recovery point are taken as they are. From the recovery point on every batch is checked (format, offsets, CRC);
//! the first thing that is no batch ends the log and the indexes are rebuilt. What was acknowledged beyond that is in the journal, or it is
//! damage (`torn.rs`). A log that ends *below* its recovery point has lost flushed records: that is damage, and the partition stays closed.

mod listing;
mod producers;
mod segment;
mod segment_reader;

pub(crate) use listing::{end_of, remove_segment, unchecked_bytes};
pub(crate) use producers::restore_aborted;

use listing::{list, read_optional, remove_below, remove_strays};
use producers::replay_producers;
use segment::{Check, check_segment, files_are_whole};

use crate::error::StoreError;
use crate::foreign::Known;
use crate::torn::Torn;
use odradek_base::{Offset, Rng, TopicPartition};
use odradek_log::LogConfig;
use odradek_log::checkpoint;
use odradek_log::epochs::LeaderEpochs;
use odradek_log::marks::Marks;
use odradek_log::partition::PartitionLog;
use odradek_log::producer_state::ProducerState;
use odradek_log::segment::meta::Segment;
use odradek_log::segment::names;
use odradek_log::state::PartitionState;
use odradek_ring::Ring;
use odradek_ring::sim::planted::{Mistake, is_planted};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What recovery did to a partition, for the report.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repairs {
    /// Files that were cut, and the bytes that went.
    pub truncated: Vec<(PathBuf, u64)>,
    /// Batches that were checked.
    pub batches_checked: u64,
    pub bytes_checked: u64,
    /// The end of the segments, where only the journal can tell whether it may be cut.
    pub(crate) torn: Option<Torn>,
    /// Offsets between two segments that neither has, in a log that is not compacted: the first one, and the one after the last.
    pub gaps: Vec<(Offset, Offset)>,
    /// Files of segments that a compaction replaced: to be unlinked once the state file is written.
    pub replaced: Vec<PathBuf>,
}

/// Opens the directory at `path`. `state`: what the shard's state file says of it; `known_outside`: what counts without one. `journaled`: the
/// shard's journal has what was not flushed.
#[allow(clippy::too_many_arguments)]
pub(crate) async fn recover(
    ring: &Ring,
    path: &Path,
    tp: TopicPartition,
    config: LogConfig,
    state: Option<&PartitionState>,
    clean: bool,
    journaled: bool,
    known_outside: Known,
    jitter: Rng,
) -> Result<(PartitionLog, Repairs), StoreError> {
    let mut repairs = Repairs::default();
    let mut files = list(ring, path).await?;
    if let Some(first) = state.and_then(|state| state.segments.first()) {
        remove_below(ring, path, first.base_offset, &mut files).await?;
        let first = files.segments.first().copied().unwrap_or(first.base_offset);
        remove_strays(ring, &files, first).await?;
    }
    let compacted: Vec<Offset> = files.replaced.iter().map(|(base, _)| *base).collect();
    repairs.replaced = files.replaced.iter().map(|(_, path)| path.clone()).collect();
    let recovery_point = match state {
        Some(state) => state.flushed,
        // A directory of a broker that stopped cleanly has nothing to check.
        None if clean => Offset(i64::MAX),
        None => known_outside.recovery_point,
    };
    let now = ring.wall_clock();
    let known: BTreeMap<Offset, &odradek_log::state::SegmentState> =
        state.map(|state| state.segments.iter().map(|segment| (segment.base_offset, segment)).collect()).unwrap_or_default();
    let bases: Vec<Offset> = files.segments.iter().copied().collect();
    let mut segments: Vec<Segment> = Vec::new();
    let mut end = state.map_or(Offset::ZERO, |state| state.log_start);
    // Set once a segment ended in damage: later ones hold nothing that is known to continue it.
    let mut torn: Option<Torn> = None;
    for (at, base) in bases.iter().enumerate() {
        if let Some(torn) = &mut torn {
            torn.beyond.push(*base);
            continue;
        }
        let next_base = bases.get(at + 1).copied();
        let complete = next_base.is_some_and(|next| next <= recovery_point);
        if complete
            && !compacted.contains(base)
            && let Some(known) = known.get(base)
            && files_are_whole(ring, path, known).await?
        {
            segments.push(known.restore());
        } else {
            let trusted = if complete { next_base } else { None };
            let check = Check { recovery_point, trusted, compacted: compacted.contains(base), clean: clean && state.is_none(), now };
            let (segment, tail) = check_segment(ring, path, *base, &config, &check, &mut repairs).await?;
            segments.push(segment);
            torn = tail;
        }
        end = segments.last().map_or(end, |segment| segment.next_offset);
    }
    repairs.gaps = gaps(path, &segments, &config);
    if let Some(torn) = torn {
        repairs.truncated.push((torn.path.clone(), torn.length - torn.position));
        if journaled {
            repairs.torn = Some(torn);
        } else {
            torn.cut(ring).await?;
        }
    }
    if end > recovery_point {
        ring.sync_dir(path).await.map_err(|error| StoreError::io("flush", path, error))?;
    }
    if let Some(state) = state
        && end < state.flushed
    {
        let reason = format!("the log ends at offset {end}, but everything up to {} was flushed", state.flushed);
        return Err(StoreError::Damaged { path: path.to_owned(), reason });
    }
    if segments.is_empty() {
        // Not at the log start: that may lie among, or within, batches that only the journal has.
        let start = state.map_or(Offset::ZERO, |state| state.flushed);
        segments.push(Segment::new(start, now));
        end = start;
    }
    let first = segments.first().map_or(end, |segment| segment.base_offset);
    let log_start = state.map_or(known_outside.log_start, |state| state.log_start).max(first).min(end);
    let mut log = assemble(ring, path, tp, config, state, segments, log_start, end, jitter).await?;
    replay_producers(ring, path, &mut log, state, &mut repairs).await?;
    if is_planted(Mistake::NoProducerRecovery) {
        log.load_producers(Vec::new());
    }
    restore_aborted(ring, path, &mut log, &files.transaction_indexes).await?;
    Ok((log, repairs))
}

/// Offsets that lie between segments. Nobody but compaction leaves any, so a file is missing. As in Kafka (`LogLoader` does not look) the log is served:
/// readers go on behind the gap, and what follows it stays.
fn gaps(path: &Path, segments: &[Segment], config: &LogConfig) -> Vec<(Offset, Offset)> {
    if config.cleanup.compact {
        return Vec::new();
    }
    let ends = segments.windows(2).filter_map(|pair| match pair {
        [before, after] if after.base_offset > before.next_offset => Some((before.next_offset, after.base_offset)),
        _ => None,
    });
    let gaps: Vec<(Offset, Offset)> = ends.collect();
    for (from, to) in &gaps {
        tracing::error!(
            directory = %path.display(), %from, %to,
            "no segment has the offsets of this gap, and readers go on behind it: unless the topic was compacted once, a segment file is missing; stop the broker and bring it back from a copy"
        );
    }
    gaps
}

#[allow(clippy::too_many_arguments)]
async fn assemble(
    ring: &Ring,
    path: &Path,
    tp: TopicPartition,
    config: LogConfig,
    state: Option<&PartitionState>,
    segments: Vec<Segment>,
    log_start: Offset,
    end: Offset,
    jitter: Rng,
) -> Result<PartitionLog, StoreError> {
    let epochs = match state {
        Some(state) => LeaderEpochs::restore(state.epochs.clone()),
        None => {
            let text = read_optional(ring, &path.join(names::LEADER_EPOCHS)).await?;
            LeaderEpochs::restore(std::str::from_utf8(&text).ok().and_then(checkpoint::decode_epochs).unwrap_or_default())
        }
    };
    let mut epochs = epochs;
    epochs.truncate_from_end(end);
    epochs.truncate_from_start(log_start);
    let mut producers = ProducerState::default();
    if let Some(state) = state {
        producers.load(state.producers.iter().map(|row| (row.producer, row.entry.clone())).collect());
    }
    Ok(PartitionLog::restore(tp, config, Marks::settled(log_start, end), segments, producers, epochs, jitter))
}
