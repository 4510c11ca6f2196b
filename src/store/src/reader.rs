//! Reading: from memory where the batches are there, otherwise from the segment with one aligned read.

use crate::error::{ReadError, StoreError};
use crate::index_lookup;
use crate::partition::ReadData;
use crate::segment_files;
use crate::shared::{PartitionHealth, PartitionShared, Shared};
use bytes::Bytes;
use odradek_base::buffer::{self, align_down};
use odradek_base::{AlignedBuf, Offset, TopicPartition};
use odradek_log::segment::names;
use odradek_log::segment::scan::{self, Scan};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::path::PathBuf;
use std::rc::Rc;

/// Smallest cold read, in bytes: an index interval and a typical batch fit.
const READ_BYTES_MIN: usize = 64 << 10;
/// Largest cold read besides that of a single large batch, and the read of a sequential reader.
const READ_BYTES_MAX: usize = 1 << 20;

/// A stretch of a segment that was read and may serve the next read.
struct Chunk {
    partition: TopicPartition,
    segment: Offset,
    position: u64,
    /// Batches from the start on: offset of the first one, and offset after the last whole one.
    first_offset: Offset,
    next_offset: Offset,
    /// Whole batches.
    batches: Bytes,
}

/// Recently read stretches, bounded in bytes, oldest first. A sequential reader's next read starts inside or at the end of one.
pub(crate) struct ReadAhead {
    bytes_max: usize,
    chunks: RefCell<VecDeque<Chunk>>,
    bytes: Cell<usize>,
}

impl ReadAhead {
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, chunks: RefCell::new(VecDeque::new()), bytes: Cell::new(0) }
    }

    fn find(&self, partition: TopicPartition, from: Offset) -> Option<(Bytes, Offset)> {
        let chunks = self.chunks.borrow();
        let chunk =
            chunks.iter().rev().find(|chunk| chunk.partition == partition && chunk.first_offset <= from && from < chunk.next_offset)?;
        Some((chunk.batches.clone(), chunk.first_offset))
    }

    /// Where a reader that wants `from` goes on, when it just read everything before.
    fn continuation(&self, partition: TopicPartition, from: Offset) -> Option<(Offset, u64)> {
        let chunks = self.chunks.borrow();
        let chunk = chunks.iter().rev().find(|chunk| chunk.partition == partition && chunk.next_offset == from)?;
        Some((chunk.segment, chunk.position + chunk.batches.len() as u64))
    }

    fn keep(&self, chunk: Chunk) {
        let mut chunks = self.chunks.borrow_mut();
        // The reader has moved on from what it read before.
        if let Some(at) = chunks.iter().position(|old| old.partition == chunk.partition && old.next_offset <= chunk.first_offset)
            && let Some(old) = chunks.remove(at)
        {
            self.bytes.set(self.bytes.get() - old.batches.len());
        }
        self.bytes.set(self.bytes.get() + chunk.batches.len());
        chunks.push_back(chunk);
        while self.bytes.get() > self.bytes_max {
            let Some(old) = chunks.pop_front() else { break };
            self.bytes.set(self.bytes.get() - old.batches.len());
        }
    }

    pub fn forget(&self, partition: TopicPartition) {
        self.chunks.borrow_mut().retain(|chunk| chunk.partition != partition);
        self.bytes.set(self.chunks.borrow().iter().map(|chunk| chunk.batches.len()).sum());
    }
}

pub(crate) fn read_memory(
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
    Some(data)
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
    if let Some(data) = read_memory(partition, from, upto, max_bytes, at_least_one) {
        return Ok(data);
    }
    let mut from = from;
    loop {
        let directory = partition.path.directory();
        let stretch = match shared.read_ahead.find(partition.tp, from) {
            Some((batches, _)) => Some(batches),
            None => match read_stretch(shared, partition, from, max_bytes).await {
                Ok(stretch) => stretch,
                Err(error) => {
                    // Retention may have taken the segment away while it was looked up.
                    check_range(partition, from)?;
                    if partition.path.directory() != directory {
                        // It was moved to another log directory meanwhile.
                        continue;
                    }
                    if let ReadError::Io(error) = &error {
                        shared.read_failed(partition, error);
                    }
                    return Err(error);
                }
            },
        };
        let Some(stretch) = stretch else {
            // Nothing at or after `from` in its segment: compaction or retention took it. Go on in the next one.
            let log = partition.log.borrow();
            let next = log.segment_at(from).and_then(|at| log.segments().get(at + 1)).map(|segment| segment.base_offset);
            drop(log);
            match next {
                Some(next) if next < upto => {
                    from = next;
                    if let Some(data) = read_memory(partition, from, upto, max_bytes, at_least_one) {
                        return Ok(data);
                    }
                    continue;
                }
                _ => return Ok(ReadData::default()),
            }
        };
        let data = cut(&stretch, from, upto, max_bytes, at_least_one);
        check_range(partition, from)?;
        return Ok(data);
    }
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

/// The part of `stretch` from the batch with `from` on, within the bounds.
fn cut(stretch: &Bytes, from: Offset, upto: Offset, max_bytes: usize, at_least_one: bool) -> ReadData {
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
    match start {
        Some(start) if end > start => ReadData { batches: vec![stretch.slice(start..end)] },
        _ => ReadData::default(),
    }
}

/// A place to read at.
struct Place {
    segment: Offset,
    path: PathBuf,
    position: u64,
    /// Flushed bytes of the segment.
    end: u64,
    sequential: bool,
}

async fn place_of(shared: &Shared, partition: &PartitionShared, from: Offset) -> Result<Option<Place>, ReadError> {
    let (segment, end) = {
        let log = partition.log.borrow();
        let Some(segment) = log.segment_at(from).and_then(|at| log.segments().get(at)) else { return Ok(None) };
        (segment.base_offset, segment.flushed_bytes)
    };
    let path = partition.path.join(names::segment_file(segment, names::LOG));
    if let Some((known, position)) = shared.read_ahead.continuation(partition.tp, from)
        && known == segment
    {
        return Ok(Some(Place { segment, path, position, end, sequential: true }));
    }
    let position = index_lookup::position(shared, partition, segment, from).await.map_err(ReadError::Io)?;
    Ok(Some(Place { segment, path, position: u64::from(position), end, sequential: false }))
}

/// Reads the batches around `from`: whole ones, the first of them at or before `from`. `None` when the segment has nothing from there on.
async fn read_stretch(shared: &Shared, partition: &PartitionShared, from: Offset, max_bytes: usize) -> Result<Option<Bytes>, ReadError> {
    let _permit = shared.cold_reads.acquire(1).await;
    let Some(mut place) = place_of(shared, partition, from).await? else { return Ok(None) };
    let mut want = if place.sequential { READ_BYTES_MAX } else { max_bytes.clamp(READ_BYTES_MIN, READ_BYTES_MAX) };
    loop {
        if place.position >= place.end {
            return Ok(None);
        }
        let bytes = read_range(shared, partition, &place, want).await?;
        let scanned = scan_stretch(&bytes, from, &place)?;
        if let Some((batches, position, first_offset, next_offset)) = scanned.found {
            let chunk =
                Chunk { partition: partition.tp, segment: place.segment, position, first_offset, next_offset, batches: batches.clone() };
            shared.read_ahead.keep(chunk);
            return Ok(Some(batches));
        }
        // Not in this stretch: further on, or the batch is larger than what was read.
        if scanned.passed == 0 && bytes.len() as u64 >= place.end - place.position {
            return Err(corrupt(&place, place.position, "a batch reaches beyond the end of the segment"));
        }
        place.position += scanned.passed as u64;
        want = scanned.need.max(READ_BYTES_MAX);
    }
}

struct Scanned {
    /// Batches from the first with or after `from` on, their position, first offset and the offset after them.
    found: Option<(Bytes, u64, Offset, Offset)>,
    /// Bytes of batches before.
    passed: usize,
    /// Bytes that the batch after them needs.
    need: usize,
}

fn scan_stretch(bytes: &Bytes, from: Offset, place: &Place) -> Result<Scanned, ReadError> {
    let mut at = 0;
    let mut passed = 0;
    let mut need = 0;
    let mut expected = place.segment;
    let mut start: Option<(usize, Offset)> = None;
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        match scan::next(rest, expected, true) {
            Scan::Batch(batch) => {
                expected = batch.next_offset();
                if batch.last_offset() >= from {
                    start.get_or_insert((at, batch.base_offset()));
                }
                at += batch.total_bytes();
                if start.is_none() {
                    passed = at;
                }
            }
            Scan::NeedMore(bytes) => {
                need = bytes;
                break;
            }
            // What was found before the damage is good.
            Scan::End(_) if start.is_some() => break,
            Scan::End(stop) => return Err(corrupt(place, place.position + at as u64, &format!("{stop:?}"))),
        }
    }
    let found = start.map(|(start, first_offset)| (bytes.slice(start..at), place.position + start as u64, first_offset, expected));
    Ok(Scanned { found, passed, need })
}

fn corrupt(place: &Place, position: u64, reason: &str) -> ReadError {
    tracing::error!(file = %place.path.display(), position, reason, "segment is damaged");
    ReadError::Corrupt { path: place.path.clone(), position, reason: reason.into() }
}

/// Bytes from `place.position` on, at least `want` unless the segment ends before.
async fn read_range(shared: &Shared, partition: &PartitionShared, place: &Place, want: usize) -> Result<Bytes, ReadError> {
    let aligned = align_down(place.position);
    let skip = (place.position - aligned) as usize;
    let useful = (place.end - aligned).min((skip + want) as u64) as usize;
    let len = buffer::align_up(useful);
    let file = segment_files::open_log(shared, partition, &place.path).await.map_err(ReadError::Io)?;
    let (result, buf) = file.read_at(AlignedBuf::zeroed(len), aligned, len).await;
    let read = result.map_err(|error| ReadError::Io(StoreError::io("read", &place.path, error)))?;
    shared.counters.cold_read(read as u64);
    if read < useful {
        return Err(corrupt(place, aligned + read as u64, "the file is shorter than its segment"));
    }
    Ok(buf.freeze().slice(skip..useful))
}
