//! A segment file, batch by batch.

use bytes::Bytes;
use odradek_base::{AlignedBuf, Offset};
use odradek_log::segment::scan::{self, Scan};
use odradek_ring::File;

const READ_BYTES: usize = 1 << 20;

/// Read where one batch is looked at.
const READ_BYTES_ONE: usize = 4 << 10;

/// Reads whole batches of a segment file one after the other.
pub(super) struct SegmentReader<'a> {
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
    pub fn new(file: &'a File, position: u64, length: u64) -> Self {
        Self { file, position, length, buffer: Bytes::new(), at: 0, read_bytes: READ_BYTES }
    }

    /// For a look at a single batch.
    pub fn for_one(file: &'a File, position: u64, length: u64) -> Self {
        Self { read_bytes: READ_BYTES_ONE, ..Self::new(file, position, length) }
    }

    /// End of the last batch that was returned.
    pub fn position(&self) -> u64 {
        self.position + self.at as u64
    }

    /// The next batch; `None` where there is no valid one.
    pub async fn next(&mut self, expected: Offset, check: bool) -> std::io::Result<Option<Bytes>> {
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
    pub async fn only_zeros_follow(&mut self) -> std::io::Result<bool> {
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
