//! Opening one partition's directory after an unclean stop, or one that somebody else wrote.
//!
//! Segments wholly below the recovery point are taken as they are. From the recovery point on every batch is checked (format, offsets, CRC);
//! the first thing that is no batch ends the log and the indexes are rebuilt. What was acknowledged beyond that is in the journal, or it is
//! damage (`torn.rs`). A log that ends *below* its recovery point has lost flushed records: that is damage, and the partition stays closed.

use crate::compaction::swap;
use crate::error::StoreError;
use crate::foreign::Known;
use crate::segment_files;
use crate::torn::Torn;
use bytes::Bytes;
use odradek_base::{AlignedBuf, Offset, Rng, Timestamp, TopicPartition};
use odradek_log::LogConfig;
use odradek_log::checkpoint;
use odradek_log::epochs::LeaderEpochs;
use odradek_log::marks::Marks;
use odradek_log::partition::PartitionLog;
use odradek_log::producer_state::{ProducerState, snapshot};
use odradek_log::segment::meta::{BatchSummary, Segment};
use odradek_log::segment::names;
use odradek_log::segment::scan::{self, Scan};
use odradek_log::segment::{offset_index, time_index, transaction_index};
use odradek_log::state::PartitionState;
use odradek_ring::sim::planted::{Mistake, is_planted};
use odradek_ring::{File, OpenOptions, Ring};
use odradek_wire::batch::BatchView;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

const READ_BYTES: usize = 1 << 20;
/// Read where one batch is looked at.
const READ_BYTES_ONE: usize = 4 << 10;

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

/// How far a directory's segments reach: base offset of the last one and its length in bytes.
pub(crate) async fn end_of(ring: &Ring, path: &Path) -> Result<(Offset, u64), StoreError> {
    let Some(base) = list(ring, path).await?.segments.last().copied() else { return Ok((Offset(-1), 0)) };
    let log = path.join(names::segment_file(base, names::LOG));
    let metadata = ring.metadata(&log).await.map_err(|error| StoreError::io("inspect", &log, error))?;
    Ok((base, metadata.len))
}

/// Whether the files of a complete segment have what the state says. The padding behind the content of a segment goes; indexes may lack what was in memory.
async fn files_are_whole(ring: &Ring, path: &Path, known: &odradek_log::state::SegmentState) -> Result<bool, StoreError> {
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

/// What a partition's directory holds, by base offset.
#[derive(Default)]
struct Listing {
    segments: BTreeSet<Offset>,
    transaction_indexes: BTreeSet<Offset>,
    /// Indexes and snapshots.
    beside: Vec<(Offset, PathBuf)>,
    /// Old logs of segments that a compaction replaced: what the state file says of these may be older.
    replaced: Vec<(Offset, PathBuf)>,
}

/// The segments in a directory. Swaps that were begun are completed; files that wait to be deleted or were never finished are removed.
async fn list(ring: &Ring, path: &Path) -> Result<Listing, StoreError> {
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
async fn remove_below(ring: &Ring, path: &Path, first: Offset, files: &mut Listing) -> Result<(), StoreError> {
    let rest = files.segments.split_off(&first);
    for base in std::mem::replace(&mut files.segments, rest) {
        tracing::info!(directory = %path.display(), segment = %base, "removed a segment that had been deleted before the power was lost");
        remove_segment(ring, path, base).await?;
    }
    Ok(())
}

/// Removes what a power loss left of deleted segments below `first`, the oldest one, whose `.log` stayed deleted (Kafka's `LogLoader` and
/// `ProducerStateManager.removeStraySnapshots`).
async fn remove_strays(ring: &Ring, files: &Listing, first: Offset) -> Result<(), StoreError> {
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
async fn read_optional(ring: &Ring, path: &Path) -> Result<Vec<u8>, StoreError> {
    match ring.read_to_vec(path).await {
        Ok(bytes) => Ok(bytes),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(StoreError::io("read", path, error)),
    }
}

/// What is known of a segment that is checked.
struct Check {
    recovery_point: Offset,
    /// The next segment's base offset, where everything in this one is below the recovery point.
    trusted: Option<Offset>,
    /// It replaced others since the state file was written: its last batches may be gone, and it was flushed whole.
    compacted: bool,
    /// Somebody else's, who stopped cleanly.
    clean: bool,
    now: Timestamp,
}

/// Reads a segment from the last index entry that is trusted on, and rebuilds what is behind. Returns the tail too, where it is no batch.
async fn check_segment(
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

/// Reads whole batches of a segment file one after the other.
struct SegmentReader<'a> {
    file: &'a File,
    /// Position of `buffer`.
    position: u64,
    length: u64,
    buffer: Bytes,
    at: usize,
    /// Smallest read.
    read_bytes: usize,
}

impl<'a> SegmentReader<'a> {
    fn new(file: &'a File, position: u64, length: u64) -> Self {
        Self { file, position, length, buffer: Bytes::new(), at: 0, read_bytes: READ_BYTES }
    }

    /// For a look at a single batch.
    fn for_one(file: &'a File, position: u64, length: u64) -> Self {
        Self { read_bytes: READ_BYTES_ONE, ..Self::new(file, position, length) }
    }

    /// End of the last batch that was returned.
    fn position(&self) -> u64 {
        self.position + self.at as u64
    }

    /// The next batch; `None` where there is no valid one.
    async fn next(&mut self, expected: Offset, check: bool) -> std::io::Result<Option<Bytes>> {
        loop {
            let rest = self.buffer.slice(self.at.min(self.buffer.len())..);
            match scan::next(&rest, expected, check) {
                Scan::Batch(view) => {
                    self.at += view.total_bytes();
                    return Ok(Some(rest.slice_ref(view.bytes())));
                }
                Scan::NeedMore(bytes) if self.position() + bytes as u64 <= self.length && bytes > rest.len() => {
                    if !self.fill(bytes).await? {
                        return Ok(None);
                    }
                }
                Scan::NeedMore(_) | Scan::End(_) => return Ok(None),
            }
        }
    }

    /// Reads on from the current position, at least `bytes`. False when the file is shorter than it said.
    async fn fill(&mut self, bytes: usize) -> std::io::Result<bool> {
        self.position = self.position();
        self.at = 0;
        let len = bytes.max(self.read_bytes).min((self.length - self.position) as usize);
        let (result, buf) = self.file.read_at(AlignedBuf::zeroed(len), self.position, len).await;
        let read = result?;
        self.buffer = buf.freeze().slice(..read);
        Ok(read >= bytes)
    }

    /// Whether what follows the last batch is nothing but zeros.
    async fn only_zeros_follow(&mut self) -> std::io::Result<bool> {
        let mut position = self.position();
        while position < self.length {
            let len = READ_BYTES.min((self.length - position) as usize);
            let (result, buf) = self.file.read_at(AlignedBuf::zeroed(len), position, len).await;
            let read = result?;
            if read == 0 || buf.iter().take(read).any(|&byte| byte != 0) {
                return Ok(read == 0);
            }
            position += read as u64;
        }
        Ok(true)
    }
}

/// Whether the batch at `position` ends with `last_offset`.
async fn points_at_batch(file: &File, position: u32, last_offset: i64, length: u64) -> std::io::Result<bool> {
    let batch = SegmentReader::for_one(file, u64::from(position), length).next(Offset::ZERO, false).await?;
    Ok(batch.is_some_and(|batch| BatchView::parse(&batch).is_ok_and(|view| view.last_offset().get() == last_offset)))
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

/// Brings producer state and epochs up to the end of the segments: from the state file, or from the newest usable snapshot.
async fn replay_producers(
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
