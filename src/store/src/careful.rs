//! Reading what is going to be written again.
//!
//! A read may return a flipped bit although the disk has the right one (a cable, a controller, memory). To a consumer that is one bad answer,
//! which its CRC tells. What is read to be written back would make it last, in data that was acknowledged long ago and whose journal copy is
//! gone: so it is held against a CRC where there is one, and against another read otherwise.

use crate::error::StoreError;
use odradek_base::{AlignedBuf, Offset};
use odradek_ring::File;
use std::path::Path;

/// Reads of one place before it is given up.
const READS_MAX: usize = 6;

/// The bytes of a segment's last, partly filled block as they were written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TailBlock {
    /// Base offset of the segment.
    pub segment: Offset,
    /// Where its content ends.
    pub end: u64,
    /// CRC-32C of the bytes from the start of the block to `end`.
    pub crc: u32,
}

/// Fills `buf` from `position` on with `len` bytes of the file, or what there is of them, and returns how many. The first `content` of them are
/// `right`, or an error is returned.
pub(crate) async fn read(
    file: &File,
    path: &Path,
    mut buf: AlignedBuf,
    position: u64,
    len: usize,
    content: usize,
    mut right: impl FnMut(&[u8]) -> bool,
) -> Result<(AlignedBuf, usize), StoreError> {
    for _ in 0..READS_MAX {
        let (result, back) = file.read_at(buf, position, len).await;
        buf = back;
        let read = result.map_err(|error| StoreError::io("read", path, error))?;
        // Shorter than it should be: the caller knows what that means.
        if read < content || right(&buf[..content]) {
            return Ok((buf, read));
        }
    }
    let reason = format!("{content} bytes from {position} on are not what was written there, or differ from one read to the next");
    Err(StoreError::Damaged { path: path.to_owned(), reason })
}

/// Right when two reads agree: where nothing says what was written.
pub(crate) fn twice() -> impl FnMut(&[u8]) -> bool {
    let mut seen = Vec::with_capacity(READS_MAX);
    move |bytes| {
        let crc = crc32c::crc32c(bytes);
        let again = seen.contains(&crc);
        seen.push(crc);
        again
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_reads_that_agree_are_right_whatever_came_between() {
        let mut right = twice();
        assert!(!right(b"good") && !right(b"bad") && right(b"good"));
        let mut right = twice();
        assert!(!right(b"1") && !right(b"2") && !right(b"3"));
    }
}
