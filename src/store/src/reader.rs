//! Reading: from memory where the batches are there, otherwise from the segment with aligned reads.
//!
//! A reader that goes on where it stopped is read ahead for: while it gets one stretch, the next one is on its way. When a
//! read may use the device is decided in [`crate::cold_reads`]. Beside live writes reads are shorter too, and what a read costs the shard's
//! thread is done in slices.

use crate::cold_reads::{ColdRead, writes_are_live};
use crate::error::{ReadError, StoreError};
use crate::index_lookup;
use crate::partition::ReadData;
use crate::read_ahead::{Chunk, Place};
use crate::segment_files;
use crate::shared::{PartitionHealth, PartitionShared, Shared};
use bytes::{Bytes, BytesMut};
use odradek_base::buffer::{self, align_down};
use odradek_base::{BLOCK_ALIGNMENT, Offset};
use odradek_log::segment::names;
use odradek_log::segment::scan::{self, Scan, Stop};
use odradek_wire::batch;
use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// Smallest cold read, in bytes: an index interval and a typical batch fit.
const READ_BYTES_MIN: usize = 64 << 10;
/// Largest cold read besides that of a single large batch, and the read of a sequential reader.
const READ_BYTES_MAX: usize = 1 << 20;
/// The read of a sequential reader beside live writes.
const READ_BYTES_LIVE: usize = 256 << 10;
/// The same where many readers share the room: a stretch that is in use and one under way.
const READ_BYTES_SHARED_MIN: usize = 128 << 10;
/// Stretches of each reader that are in memory: one that is being answered with, one that comes next, and room for buffers between two readers.
const STRETCHES_EACH: usize = 3;
/// Bytes that are checked before other tasks get their turn.
const CHECKED_PER_TURN: usize = 256 << 10;
/// Batches of at least this size are read as whole ones.
const LARGE_BATCH_BYTES: usize = 16 << 10;
/// A slice that is smaller than this part of what was read is copied, so that a client that does not read pins little more than it was given.
const PINNED_SHARE_MIN: usize = 4;

/// Sizes of the kept buffers: the reads of sequential readers, which begin and end within a block.
pub(crate) fn buffer_sizes() -> impl Iterator<Item = usize> {
    sequential_sizes().map(|bytes| bytes + 2 * BLOCK_ALIGNMENT)
}

/// The reads of sequential readers, the largest first.
fn sequential_sizes() -> impl Iterator<Item = usize> {
    std::iter::successors(Some(READ_BYTES_MAX), |bytes| Some(bytes / 2).filter(|bytes| *bytes >= READ_BYTES_SHARED_MIN))
}

pub(crate) fn read_memory(
    shared: &Shared,
    partition: &PartitionShared,
    from: Offset,
    upto: Offset,
    max_bytes: usize,
    at_least_one: bool,
) -> Option<ReadData> {
    if *partition.health.borrow() != PartitionHealth::Online {
        return None;
    }
    let log = partition.log.borrow();
    if from >= upto.min(log.marks().durable.offset()) {
        return Some(ReadData::default());
    }
    let mut data = ReadData::default();
    let mut bytes = 0;
    for batch in log.tail().from(from)? {
        let first = data.batches.is_empty() && at_least_one;
        if batch.base_offset >= upto || (!first && bytes + batch.bytes.len() > max_bytes) {
            break;
        }
        bytes += batch.bytes.len();
        data.batches.push(batch.bytes.clone());
    }
    if shared.copies_answers() {
        data.batches = vec![joined(&data.batches, bytes)];
    }
    Some(data)
}

fn joined(batches: &[Bytes], bytes: usize) -> Bytes {
    let mut joined = BytesMut::with_capacity(bytes);
    batches.iter().for_each(|batch| joined.extend_from_slice(batch));
    joined.freeze()
}

/// Whole batches in memory, and the offset after them.
struct Stretch {
    batches: Bytes,
    next_offset: Offset,
}

pub(crate) async fn read(
    shared: &Rc<Shared>,
    partition: &Rc<PartitionShared>,
    from: Offset,
    upto: Offset,
    max_bytes: usize,
    at_least_one: bool,
) -> Result<ReadData, ReadError> {
    check_range(partition, from)?;
    if let Some(data) = read_memory(shared, partition, from, upto, max_bytes, at_least_one) {
        return Ok(data);
    }
    let mut from = from;
    loop {
        let directory = partition.path.directory();
        let (stretch, sequential) = match in_memory_or_coming(shared, partition, from).await {
            Some(stretch) => (Some(stretch), true),
            None => {
                let known = shared.read_ahead.place(partition.tp, from);
                match read_stretch(shared, partition, from, known, max_bytes).await {
                    Ok(stretch) => (stretch, known.is_some()),
                    Err(error) => {
                        // Retention may have taken the segment away while it was looked up.
                        check_range(partition, from)?;
                        if partition.path.directory() != directory {
                            // It was moved to another log directory meanwhile.
                            continue;
                        }
                        told(shared, partition, &error);
                        return Err(error);
                    }
                }
            }
        };
        let Some(stretch) = stretch else {
            // Nothing at or after `from` in its segment: compaction or retention took it. Go on in the next one.
            match next_segment(partition, from) {
                Some(next) if next < upto => {
                    from = next;
                    if let Some(data) = read_memory(shared, partition, from, upto, max_bytes, at_least_one) {
                        return Ok(data);
                    }
                    continue;
                }
                _ => return Ok(ReadData::default()),
            }
        };
        let (mut data, mut left) = cut(shared, &stretch.batches, from, upto, max_bytes, at_least_one);
        check_range(partition, from)?;
        let mut next = stretch.next_offset;
        let mut room = max_bytes.saturating_sub(data.bytes());
        while left == 0 {
            shared.read_ahead.used_up(partition.tp, next);
            // What has been read ahead already goes along.
            let ahead = shared.read_ahead.find(partition.tp, next).filter(|_| next < upto);
            let Some((batches, end)) = ahead else { break };
            let (more, behind) = cut(shared, &batches, next, upto, room, false);
            if more.batches.is_empty() {
                break;
            }
            room = room.saturating_sub(more.bytes());
            data.batches.extend(more.batches);
            (next, left) = (end, behind);
        }
        if sequential && left < max_bytes {
            read_on(shared, partition, next);
        }
        return Ok(data);
    }
}

/// What a failed read says of the disk, for the log and for the health of the log directory.
fn told(shared: &Rc<Shared>, partition: &Rc<PartitionShared>, error: &ReadError) {
    match error {
        ReadError::Io(error) => shared.read_failed(partition, error),
        // Readers ask again and again; the log has it once.
        ReadError::Corrupt { path, position, reason } if shared.counters.corrupt(path, *position) => {
            tracing::error!(
                partition = %partition.tp, topic = %partition.topic_name, file = %path.display(), position,
                "a record batch is damaged: readers get CORRUPT_MESSAGE there and may go on behind it: {reason}"
            );
        }
        _ => {}
    }
}

/// What has been read already, or is being read ahead and worth waiting for.
async fn in_memory_or_coming(shared: &Shared, partition: &PartitionShared, from: Offset) -> Option<Stretch> {
    loop {
        if let Some((batches, next_offset)) = shared.read_ahead.find(partition.tp, from) {
            return Some(Stretch { batches, next_offset });
        }
        let coming = shared.read_ahead.under_way(partition.tp, from)?;
        coming.listen().await;
    }
}

/// Reads what a sequential reader will want next, in a task of its own, where there is room for it.
fn read_on(shared: &Rc<Shared>, partition: &Rc<PartitionShared>, from: Offset) {
    let Some(place) = next_place(shared, partition, from) else { return };
    let bytes = sequential_bytes(shared, place);
    if !shared.read_ahead.begin(partition.tp, from, bytes) {
        return;
    }
    let (shared, partition) = (shared.clone(), partition.clone());
    shared.ring.clone().spawn(async move {
        // Whoever comes for it and finds that it failed reads for itself, and learns why.
        if let Some(place) = next_place(&shared, &partition, from) {
            let _ = read_stretch(&shared, &partition, from, Some(place), READ_BYTES_MAX).await;
        }
        shared.read_ahead.end(partition.tp, from, bytes);
    });
}

/// Where a reader goes on at `from`: in the same segment or in the next one. `None` when memory has it or no segment does yet.
fn next_place(shared: &Shared, partition: &PartitionShared, from: Offset) -> Option<Place> {
    let log = partition.log.borrow();
    if from >= log.marks().flushed.offset() || log.tail().from(from).is_some() {
        return None;
    }
    let place = shared.read_ahead.place(partition.tp, from)?;
    let at = log.segment_by_base(place.segment)?;
    if place.position < log.segments().get(at)?.flushed_bytes {
        return Some(place);
    }
    let next = log.segments().get(at + 1).filter(|segment| segment.base_offset == from && segment.flushed_bytes > 0)?;
    Some(Place { segment: next.base_offset, position: 0, ..place })
}

/// Base offset of the segment after the one of `from`.
fn next_segment(partition: &PartitionShared, from: Offset) -> Option<Offset> {
    let log = partition.log.borrow();
    log.segment_at(from).and_then(|at| log.segments().get(at + 1)).map(|segment| segment.base_offset)
}

/// How much to read for a sequential reader: whole batches, where their size is known.
fn sequential_bytes(shared: &Shared, place: Place) -> usize {
    let most = if writes_are_live(shared) { READ_BYTES_LIVE } else { READ_BYTES_MAX };
    let share = shared.read_ahead.share() / STRETCHES_EACH;
    let bytes = sequential_sizes().find(|bytes| *bytes <= most.min(share)).unwrap_or(READ_BYTES_SHARED_MIN);
    match place.batch_bytes {
        small if small < LARGE_BATCH_BYTES => bytes,
        large => (bytes / large * large).max(large),
    }
}

/// Whether answers with cold data are copied: clients that do not read hold buffers beside those that are kept for readers.
fn copies_cold(shared: &Shared) -> bool {
    lent_for_good(shared).saturating_sub(shared.read_ahead.bytes()) > shared.config.read_ahead_bytes / 4
}

/// Bytes of buffers that are kept for readers or held by answers.
fn lent_for_good(shared: &Shared) -> usize {
    shared.cold_buffers.lent_bytes().saturating_sub(shared.cold_reads.looked_at_bytes())
}

fn check_range(partition: &PartitionShared, from: Offset) -> Result<(), ReadError> {
    match partition.check() {
        Err(StoreError::Deleted(tp)) => return Err(ReadError::Deleted(tp)),
        other => other.map_err(ReadError::Io)?,
    }
    let marks = partition.log.borrow().marks();
    let (start, end) = (marks.log_start.offset(), marks.appended.offset());
    if from < start || from > end {
        return Err(ReadError::OffsetOutOfRange { requested: from, start, end });
    }
    Ok(())
}

/// The part of `stretch` from the batch with `from` on, within the bounds, and the bytes behind it.
fn cut(shared: &Shared, stretch: &Bytes, from: Offset, upto: Offset, max_bytes: usize, at_least_one: bool) -> (ReadData, usize) {
    let (mut start, mut end) = (None, 0usize);
    let mut at = 0;
    for batch in odradek_wire::batch::batches(stretch).map_while(Result::ok) {
        let next = at + batch.total_bytes();
        if batch.last_offset() >= from {
            let begin = *start.get_or_insert(at);
            let only = begin == at && at_least_one;
            if batch.base_offset() >= upto || (!only && next - begin > max_bytes) {
                break;
            }
            end = next;
        }
        at = next;
    }
    let data = match start {
        Some(start) if end > start => {
            let slice = stretch.slice(start..end);
            let pins_much = slice.len() < stretch.len() / PINNED_SHARE_MIN || copies_cold(shared);
            ReadData { batches: vec![if pins_much { Bytes::copy_from_slice(&slice) } else { slice }] }
        }
        _ => ReadData::default(),
    };
    (data, stretch.len() - end)
}

/// A stretch of a segment file.
struct Source {
    segment: Offset,
    path: PathBuf,
    position: u64,
    /// Flushed bytes of the segment.
    end: u64,
    /// All offsets of the segment are below.
    next_offset: Offset,
    /// Bytes to read first.
    want: usize,
    /// The offset index named the position: a batch that ends at or before what is wanted begins there, or the index is damaged.
    indexed: bool,
}

/// Where to read for `from`. A place that a reader stopped at counts only within the segment of `from`: its segment may have ended there.
async fn source_of(
    shared: &Shared,
    partition: &PartitionShared,
    from: Offset,
    known: Option<Place>,
    max_bytes: usize,
) -> Result<Option<Source>, ReadError> {
    let found = {
        let log = partition.log.borrow();
        let segment = log.segment_at(from).and_then(|at| log.segments().get(at));
        segment.map(|segment| (segment.base_offset, segment.flushed_bytes, segment.next_offset))
    };
    let Some((segment, end, next_offset)) = found else { return Ok(None) };
    let path = partition.path.join(names::segment_file(segment, names::LOG));
    let (position, want, indexed) = match known.filter(|place| place.segment == segment) {
        Some(place) => (place.position, sequential_bytes(shared, place), false),
        None => {
            let position = index_lookup::position(shared, partition, segment, from).await.map_err(ReadError::Io)?;
            (u64::from(position), max_bytes.clamp(READ_BYTES_MIN, READ_BYTES_MAX), position > 0)
        }
    };
    Ok(Some(Source { segment, path, position, end, next_offset, want, indexed }))
}

/// Reads the batches around `from`: whole ones, the first of them at or before `from`. `None` when the segment has nothing from there on.
async fn read_stretch(
    shared: &Shared,
    partition: &PartitionShared,
    from: Offset,
    known: Option<Place>,
    max_bytes: usize,
) -> Result<Option<Stretch>, ReadError> {
    let known_in = shared.read_ahead.generation();
    loop {
        let compacted = partition.compaction.settled().await;
        // A place is known of the segments as they were.
        let known = known.filter(|_| shared.read_ahead.generation() == known_in);
        let result = read_stretch_once(shared, partition, from, known, max_bytes).await;
        // A compaction changed the files under the read: look the place up again.
        if partition.compaction.is_current(compacted) {
            return result;
        }
    }
}

async fn read_stretch_once(
    shared: &Shared,
    partition: &PartitionShared,
    from: Offset,
    known: Option<Place>,
    max_bytes: usize,
) -> Result<Option<Stretch>, ReadError> {
    let generation = shared.read_ahead.generation();
    let Some(mut source) = source_of(shared, partition, from, known, max_bytes).await? else { return Ok(None) };
    let mut want = source.want;
    loop {
        if source.position >= source.end {
            return Ok(None);
        }
        let (bytes, reading) = read_range(shared, partition, &source, want).await?;
        if source.indexed && !begins_at_or_before(&bytes, source.segment, from) {
            // Followed, it would lead past what is wanted, or into the middle of a batch.
            tracing::warn!(file = %source.path.display(), position = source.position, "the offset index does not match its segment: it is read from its start");
            (source.position, source.indexed, want) = (0, false, READ_BYTES_MAX);
            continue;
        }
        source.indexed = false;
        let scanned = scan_stretch(shared, &bytes, from, &source).await?;
        if let Some((batches, first_offset, next_offset)) = scanned.found {
            let end = source.position + (scanned.whole as u64);
            let reader = known.map_or_else(|| shared.read_ahead.new_reader(), |place| place.reader);
            let end = Place { segment: source.segment, position: end, batch_bytes: scanned.need, reader };
            let chunk = Chunk {
                partition: partition.tp,
                // Nothing lies between what was asked for and the first batch that is there.
                first_offset: first_offset.min(from),
                next_offset,
                batches: batches.clone(),
                pinned: reading.bytes(),
                used_up: Cell::new(false),
            };
            drop((bytes, reading));
            shared.read_ahead.keep(chunk, end, generation, || lent_for_good(shared));
            return Ok(Some(Stretch { batches, next_offset }));
        }
        // Not in this stretch: further on, or the batch is larger than what was read.
        if scanned.whole == 0 && bytes.len() as u64 >= source.end - source.position {
            return Err(corrupt(&source.path, source.position, "a batch reaches beyond the end of the segment"));
        }
        let next = source.position + scanned.whole as u64;
        if next + scanned.need as u64 > source.end {
            return Err(corrupt(&source.path, next, "a batch announces more bytes than the segment has"));
        }
        source.position = next;
        want = scanned.need.max(READ_BYTES_MAX);
    }
}

/// Whether a batch begins `bytes` and ends at or before `target`.
fn begins_at_or_before(bytes: &[u8], segment: Offset, target: Offset) -> bool {
    match scan::next(bytes, segment, false) {
        Scan::Batch(batch) => batch.last_offset() <= target,
        // A large one; its header says where it ends.
        Scan::NeedMore(_) => batch::offsets(bytes).is_some_and(|(base, last)| base >= segment && last <= target),
        Scan::End(_) => false,
    }
}

struct Scanned {
    /// Batches from the first with or after `from` on, its offset and the offset after them.
    found: Option<(Bytes, Offset, Offset)>,
    /// Bytes of whole batches from the start on.
    whole: usize,
    /// Bytes of the batch after them, where its header is there.
    need: usize,
}

async fn scan_stretch(shared: &Shared, bytes: &Bytes, from: Offset, source: &Source) -> Result<Scanned, ReadError> {
    let mut at = 0;
    let mut turn = 0;
    let mut need = 0;
    let mut expected = source.segment;
    let mut start: Option<(usize, Offset)> = None;
    // Where the batch before is, and the least offset that it could have.
    let mut last = (0, expected);
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        match scan::next(rest, expected, false) {
            // What lies before is only passed over: a reader may go on behind damage.
            Scan::Batch(batch) if batch.last_offset() >= from && !batch.crc_valid() => {
                if start.is_some() {
                    break;
                }
                return Err(corrupt(&source.path, source.position + at as u64, "the batch's CRC is wrong"));
            }
            // No CRC covers a batch's offset: believed, it would have a consumer pass over all records up to it.
            Scan::Batch(batch) if batch.next_offset() > source.next_offset => {
                if start.is_some() {
                    break;
                }
                return Err(corrupt(&source.path, source.position + at as u64, "the batch's offsets are beyond its segment's"));
            }
            Scan::Batch(batch) => {
                if batch.last_offset() >= from {
                    start.get_or_insert((at, batch.base_offset()));
                    last = (at, expected);
                }
                expected = batch.next_offset();
                at += batch.total_bytes();
            }
            Scan::NeedMore(bytes) => {
                need = bytes;
                break;
            }
            // Either of the two may be the one with a wrong offset.
            Scan::End(Stop::Offsets) if start.is_some_and(|(first, _)| first < last.0) => {
                (at, expected) = last;
                break;
            }
            // What was found before the damage is good.
            Scan::End(stop) if start.is_some() && stop != Stop::Offsets => break,
            Scan::End(stop) => return Err(corrupt(&source.path, source.position + at as u64, &format!("{stop:?}"))),
        }
        if at - turn >= CHECKED_PER_TURN {
            turn = at;
            shared.ring.yield_now().await;
        }
    }
    let found = start.map(|(start, first_offset)| (bytes.slice(start..at), first_offset, expected));
    Ok(Scanned { found, whole: at, need })
}

fn corrupt(path: &Path, position: u64, reason: &str) -> ReadError {
    ReadError::Corrupt { path: path.to_owned(), position, reason: reason.into() }
}

/// Bytes from `source.position` on, at least `want` unless the segment ends before.
async fn read_range<'a>(
    shared: &'a Shared,
    partition: &PartitionShared,
    source: &Source,
    want: usize,
) -> Result<(Bytes, ColdRead<'a>), ReadError> {
    let aligned = align_down(source.position);
    let skip = (source.position - aligned) as usize;
    let useful = (source.end - aligned).min((skip + want) as u64) as usize;
    let len = buffer::align_up(useful);
    let file = segment_files::open_log(shared, partition, &source.path).await.map_err(ReadError::Io)?;
    let mut reading = shared.cold_reads.begin(shared, shared.cold_buffers.size_for(len)).await;
    let (result, buf) = file.read_at(shared.cold_buffers.take(len), aligned, len).await;
    reading.finish();
    let read = result.map_err(|error| ReadError::Io(StoreError::io("read", &source.path, error)))?;
    shared.counters.cold_read(read as u64);
    if read < useful {
        return Err(corrupt(&source.path, aligned + read as u64, "the file is shorter than its segment"));
    }
    Ok((shared.cold_buffers.freeze(buf).slice(skip..useful), reading))
}
