//! Reading segments in chunks, and writing the compacted one: direct I/O where the file system can, as for every segment.

use super::throttle;
use crate::error::StoreError;
use crate::segment_files;
use crate::shared::{PartitionShared, Shared};
use bytes::Bytes;
use odradek_base::buffer::{align_down, align_up};
use odradek_base::{AlignedBuf, BLOCK_ALIGNMENT, Held, Offset};
use odradek_log::segment::names;
use odradek_log::segment::scan::{self, Scan};
use odradek_ring::sim::planted::{Mistake, is_planted};
use odradek_ring::{File, OpenOptions, Sync};
use std::path::PathBuf;
use std::rc::Rc;

/// Bounds of one read or write, in bytes; a larger batch is read as a whole.
const CHUNK_BYTES_MIN: usize = 64 << 10;
const CHUNK_BYTES_MAX: usize = 8 << 20;

fn chunk_bytes(shared: &Shared) -> usize {
    align_up(shared.config.compaction.io_buffer_bytes.clamp(CHUNK_BYTES_MIN, CHUNK_BYTES_MAX))
}

/// The batches of a flushed segment, checked, in order.
pub(crate) struct SegmentBatches {
    shared: Rc<Shared>,
    partition: Rc<PartitionShared>,
    file: File,
    path: PathBuf,
    /// Counts `buffer`.
    held: Held,
    end: u64,
    /// Position of `buffer`.
    position: u64,
    buffer: Bytes,
    at: usize,
    expected: Offset,
}

impl SegmentBatches {
    pub async fn open(shared: &Rc<Shared>, partition: &Rc<PartitionShared>, base: Offset) -> Result<Self, StoreError> {
        let path = segment_files::log_path(partition, base);
        let end = {
            let log = partition.log.borrow();
            log.segment_by_base(base).and_then(|at| log.segments().get(at)).map_or(0, |segment| segment.flushed_bytes)
        };
        let file = segment_files::open_log(shared, partition, &path).await?;
        let (shared, partition, held) = (shared.clone(), partition.clone(), shared.writing.hold(0));
        Ok(Self { shared, partition, file, path, held, end, position: 0, buffer: Bytes::new(), at: 0, expected: base })
    }

    /// The next batch; `None` at the end of the segment. A batch that is none, or whose CRC is wrong, is damage.
    pub async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        loop {
            let here = self.position + self.at as u64;
            if here >= self.end {
                return Ok(None);
            }
            let rest = self.buffer.slice(self.at.min(self.buffer.len())..);
            match scan::next(&rest, self.expected, true) {
                Scan::Batch(view) => {
                    self.at += view.total_bytes();
                    self.expected = view.next_offset();
                    return Ok(Some(rest.slice_ref(view.bytes())));
                }
                Scan::NeedMore(bytes) if here + bytes as u64 <= self.end && bytes > rest.len() => self.fill(here, bytes).await?,
                Scan::NeedMore(_) => return Err(self.damaged(&"a batch reaches beyond the end of the segment")),
                Scan::End(stop) => return Err(self.damaged(&format!("{stop:?}"))),
            }
        }
    }

    async fn fill(&mut self, here: u64, bytes: usize) -> Result<(), StoreError> {
        let aligned = align_down(here);
        let skip = (here - aligned) as usize;
        let useful = (self.end - aligned).min((skip + bytes.max(chunk_bytes(&self.shared))) as u64) as usize;
        let len = align_up(useful);
        throttle(&self.shared, &self.partition, len).await?;
        let (result, buf) = self.file.read_at(AlignedBuf::zeroed(len), aligned, len).await;
        let read = result.map_err(|error| StoreError::io("read", &self.path, error))?;
        if read < useful {
            return Err(self.damaged(&"the file is shorter than its segment"));
        }
        (self.buffer, self.position, self.at) = (buf.freeze().slice(..useful), aligned, skip);
        self.held = self.shared.writing.hold(len);
        Ok(())
    }

    pub fn damaged(&self, reason: &dyn std::fmt::Display) -> StoreError {
        let position = self.position + self.at as u64;
        StoreError::Damaged { path: self.path.clone(), reason: format!("before byte {position}: {reason}") }
    }
}

/// A `.log.cleaned` file that is being written.
pub(crate) struct CleanedFile {
    shared: Rc<Shared>,
    partition: Rc<PartitionShared>,
    file: File,
    path: PathBuf,
    staging: AlignedBuf,
    /// Counts `staging`, and what of it is being written.
    _held: Held,
    filled: usize,
    position: u64,
}

impl CleanedFile {
    pub async fn create(shared: &Rc<Shared>, partition: &Rc<PartitionShared>, base: Offset) -> Result<Self, StoreError> {
        let path = partition.path.join(names::segment_file(base, &format!("{}.{}", names::LOG, names::CLEANED)));
        let direct = shared.direct.get(partition.path.directory()).copied().unwrap_or(false);
        let options = OpenOptions { read: true, write: true, create: true, truncate: true, ..OpenOptions::default() }.direct(direct);
        let file = shared.ring.open(&path, options).await.map_err(|error| StoreError::io("create", &path, error))?;
        let staging = AlignedBuf::zeroed(chunk_bytes(shared));
        let held = shared.writing.hold(2 * staging.len());
        Ok(Self { shared: shared.clone(), partition: partition.clone(), file, path, staging, _held: held, filled: 0, position: 0 })
    }

    pub async fn push(&mut self, mut bytes: &[u8]) -> Result<(), StoreError> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(self.staging.len() - self.filled));
            self.staging[self.filled..self.filled + now.len()].copy_from_slice(now);
            self.filled += now.len();
            bytes = later;
            if self.filled == self.staging.len() {
                self.write(self.filled).await?;
            }
        }
        Ok(())
    }

    async fn write(&mut self, len: usize) -> Result<(), StoreError> {
        throttle(&self.shared, &self.partition, len).await?;
        let full = std::mem::replace(&mut self.staging, AlignedBuf::zeroed(chunk_bytes(&self.shared)));
        let result = self.file.write_at(vec![full.freeze().slice(..len)], self.position, Sync::No).await;
        result.map_err(|error| StoreError::io("write", &self.path, error))?;
        self.position += len as u64;
        self.filled = 0;
        Ok(())
    }

    /// Writes the rest, cuts the file to its length and flushes it.
    pub async fn finish(mut self) -> Result<(), StoreError> {
        let length = self.position + self.filled as u64;
        if self.filled > 0 {
            self.write(self.filled.div_ceil(BLOCK_ALIGNMENT) * BLOCK_ALIGNMENT).await?;
        }
        self.file.truncate(length).await.map_err(|error| StoreError::io("truncate", &self.path, error))?;
        if is_planted(Mistake::NoCompactionFlush) {
            return Ok(());
        }
        self.file.sync_all().await.map_err(|error| StoreError::io("flush", &self.path, error))
    }
}
