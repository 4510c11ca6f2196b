//! Cutting a byte stream into frames: a 4-byte big-endian length, then that many bytes.

use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;

/// Bytes of the length prefix.
pub const LENGTH_BYTES: usize = 4;

/// Why the stream cannot be read on. The connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("frame length {0} is negative")]
    Negative(i32),
    #[error("frame length {length} is above the limit of {max}")]
    TooLarge { length: usize, max: usize },
}

/// Assembles frames from the chunks a socket delivers.
///
/// A frame that lies whole in one chunk is a slice of it, without a copy. A frame that crosses chunks is gathered in a buffer of its
/// own, which grows with the bytes that arrived (to at most twice of them), never by the length the peer announced.
/// No chunk is kept beyond [`FrameReader::next`] returning `None`: a slow peer pins no receive buffer.
#[derive(Debug)]
pub struct FrameReader {
    max_frame_bytes: usize,
    chunks: VecDeque<Bytes>,
    /// The incomplete frame, from its length prefix on.
    partial: BytesMut,
}

impl FrameReader {
    /// `max_frame_bytes` bounds the announced length (`socket.request.max.bytes`).
    pub fn new(max_frame_bytes: usize) -> Self {
        Self { max_frame_bytes, chunks: VecDeque::new(), partial: BytesMut::new() }
    }

    /// Adds what the socket delivered.
    pub fn push(&mut self, chunk: Bytes) {
        if !chunk.is_empty() {
            self.chunks.push_back(chunk);
        }
    }

    /// Memory that is held here: what belongs to no complete frame yet, with the room that it is given, or to frames not taken yet.
    pub fn held_bytes(&self) -> usize {
        self.partial.capacity() + self.chunks.iter().map(Bytes::len).sum::<usize>()
    }

    /// Bytes held that belong to no complete frame yet or to frames not taken yet.
    pub fn pending_bytes(&self) -> usize {
        self.partial.len() + self.chunks.iter().map(Bytes::len).sum::<usize>()
    }

    /// The next complete frame without its length prefix, `None` until more bytes arrive.
    // Not an iterator: `None` means "not yet".
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<Bytes>, FrameError> {
        while let Some(chunk) = self.chunks.front_mut() {
            if self.partial.is_empty() {
                if let Some(length) = prefix(chunk, self.max_frame_bytes)?
                    && chunk.len() - LENGTH_BYTES >= length
                {
                    let mut frame = chunk.split_to(LENGTH_BYTES + length);
                    if chunk.is_empty() {
                        self.chunks.pop_front();
                    }
                    return Ok(Some(frame.split_off(LENGTH_BYTES)));
                }
                self.partial.extend_from_slice(chunk);
                self.chunks.pop_front();
                continue;
            }
            if self.partial.len() < LENGTH_BYTES {
                let take = (LENGTH_BYTES - self.partial.len()).min(chunk.len());
                self.partial.extend_from_slice(&chunk.split_to(take));
            }
            let Some(length) = prefix(&self.partial, self.max_frame_bytes)? else {
                self.chunks.pop_front();
                continue;
            };
            let missing = (LENGTH_BYTES + length).saturating_sub(self.partial.len());
            let part = chunk.split_to(missing.min(chunk.len()));
            if chunk.is_empty() {
                self.chunks.pop_front();
            }
            self.gather(&part, missing);
            if part.len() == missing {
                let mut frame = std::mem::take(&mut self.partial).freeze();
                return Ok(Some(frame.split_off(LENGTH_BYTES)));
            }
        }
        // Also an announced length that will never be served is refused as early as it is known.
        prefix(&self.partial, self.max_frame_bytes)?;
        Ok(None)
    }

    /// Appends `part`; grows by doubling what has arrived, capped by what the frame still misses.
    fn gather(&mut self, part: &[u8], missing: usize) {
        let free = self.partial.capacity() - self.partial.len();
        if free < part.len() {
            self.partial.reserve(missing.min(part.len().max(self.partial.len())));
        }
        self.partial.extend_from_slice(part);
    }
}

/// The checked length, once its four bytes are there.
fn prefix(bytes: &[u8], max: usize) -> Result<Option<usize>, FrameError> {
    let Some(prefix) = bytes.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
    let length = i32::from_be_bytes(*prefix);
    let length = usize::try_from(length).map_err(|_| FrameError::Negative(length))?;
    if length > max {
        return Err(FrameError::TooLarge { length, max });
    }
    Ok(Some(length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use odradek_base::Rng;

    fn frames(lengths: &[usize]) -> Vec<u8> {
        let mut stream = Vec::new();
        for (i, &length) in lengths.iter().enumerate() {
            stream.extend_from_slice(&(length as i32).to_be_bytes());
            stream.extend(std::iter::repeat_n(i as u8, length));
        }
        stream
    }

    #[test]
    fn any_chunking_gives_the_same_frames() {
        let lengths = [0, 1, 5, 300, 0, 4, 70_000, 2];
        let stream = frames(&lengths);
        for seed in 0..200 {
            let mut rng = Rng::with_seed(seed);
            let (mut reader, mut at, mut got) = (FrameReader::new(1 << 20), 0, Vec::new());
            while at < stream.len() {
                for _ in 0..=rng.below(2) {
                    let longest = if rng.chance(2) { 7 } else { 100_000 };
                    let take = (1 + rng.below(longest) as usize).min(stream.len() - at);
                    reader.push(Bytes::copy_from_slice(&stream[at..at + take]));
                    at += take;
                }
                while let Some(frame) = reader.next().expect("valid stream") {
                    got.push(frame);
                }
            }
            assert_eq!(got.iter().map(Bytes::len).collect::<Vec<_>>(), lengths);
            assert!(got.iter().enumerate().all(|(i, frame)| frame.iter().all(|&b| b == i as u8)));
            assert_eq!(reader.pending_bytes(), 0);
        }
    }

    #[test]
    fn whole_frames_are_not_copied() {
        let chunk = Bytes::from(frames(&[10, 20]));
        let mut reader = FrameReader::new(100);
        reader.push(chunk.clone());
        let frame = reader.next().expect("valid").expect("complete");
        assert_eq!(frame.as_ptr(), chunk[4..].as_ptr());
    }

    #[test]
    fn memory_follows_arrived_bytes_not_the_announced_length() {
        let mut reader = FrameReader::new(100 << 20);
        reader.push(Bytes::copy_from_slice(&(100i32 << 20).to_be_bytes()));
        for _ in 0..16 {
            reader.push(Bytes::from(vec![0; 64]));
            assert_eq!(reader.next(), Ok(None));
        }
        assert!(reader.partial.capacity() <= 2 * (1024 + LENGTH_BYTES) + 64, "{}", reader.partial.capacity());
    }

    #[test]
    fn bad_lengths_end_the_stream() {
        for (length, error) in [(-1i32, FrameError::Negative(-1)), (101, FrameError::TooLarge { length: 101, max: 100 })] {
            let mut reader = FrameReader::new(100);
            reader.push(Bytes::copy_from_slice(&length.to_be_bytes()[..2]));
            assert_eq!(reader.next(), Ok(None));
            reader.push(Bytes::copy_from_slice(&length.to_be_bytes()[2..]));
            assert_eq!(reader.next(), Err(error));
        }
    }
}
