//! What a decompressor holds while it waits, worked out from the head of a compressed stream.

use super::{Codec, ZSTD_WINDOW_LOG_MAX};

/// zstd's frame format (RFC 8878, 3.1.1).
const ZSTD_MAGIC: [u8; 4] = 0xFD2F_B528_u32.to_le_bytes();
/// A block of the lz4 frame format, in and out, at its largest.
const LZ4_BYTES: usize = 8 << 20;
const GZIP_BYTES: usize = 64 << 10;
/// A snappy block is at most this many times as large as what it was compressed to.
const SNAPPY_FACTOR: usize = 22;
/// zstd's input and output blocks, and its tables.
const ZSTD_BESIDE_BYTES: usize = 512 << 10;
/// Smallest window that zstd can be bounded to, as a power of two (`ZSTD_WINDOWLOG_ABSOLUTEMIN`).
const ZSTD_WINDOW_LOG_MIN: u32 = 10;

/// Bytes that a decompressor of `input` may hold.
pub fn decoder_bytes(codec: Codec, input: &[u8]) -> usize {
    match codec {
        Codec::None => 0,
        Codec::Gzip => GZIP_BYTES,
        Codec::Snappy => input.len().saturating_mul(SNAPPY_FACTOR),
        Codec::Lz4 => LZ4_BYTES,
        Codec::Zstd => (1 << zstd_window_log(input)) + ZSTD_BESIDE_BYTES,
    }
}

/// The window of the first frame, as a power of two; no later frame gets a larger one. The largest that is accepted where the head says nothing.
pub(super) fn zstd_window_log(input: &[u8]) -> u32 {
    let log = zstd_window(input).map_or(ZSTD_WINDOW_LOG_MAX, |window| window.max(1).next_power_of_two().ilog2());
    log.clamp(ZSTD_WINDOW_LOG_MIN, ZSTD_WINDOW_LOG_MAX)
}

/// `Window_Size` of the frame that begins `input`; `None` where no frame header does, or one beyond every bound.
fn zstd_window(input: &[u8]) -> Option<u64> {
    let (descriptor, rest) = input.strip_prefix(&ZSTD_MAGIC)?.split_first()?;
    if descriptor & 0b10_0000 == 0 {
        // Window_Descriptor: exponent and mantissa.
        let window = rest.first()?;
        let base = 1_u64 << (10 + (window >> 3));
        return Some(base + base / 8 * u64::from(window & 7));
    }
    // A single segment: the window is the content, whose size follows the dictionary's id.
    let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let size = rest.get(dictionary..)?;
    match descriptor >> 6 {
        0 => size.first().map(|size| u64::from(*size)),
        1 => size.first_chunk().map(|size| u64::from(u16::from_le_bytes(*size)) + 256),
        2 => size.first_chunk().map(|size| u64::from(u32::from_le_bytes(*size))),
        _ => size.first_chunk().map(|size| u64::from_le_bytes(*size)).filter(|size| *size <= 1 << ZSTD_WINDOW_LOG_MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compress::{CompressError, Decompressor};
    use bytes::Bytes;
    use std::io::Write;

    fn packed(content: &[u8], window_log: u32, sized: bool) -> Vec<u8> {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(window_log).unwrap();
        encoder.include_contentsize(sized).unwrap();
        if sized {
            encoder.set_pledged_src_size(Some(content.len() as u64)).unwrap();
        }
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn read_all(input: Vec<u8>) -> Result<usize, CompressError> {
        let mut decoder = Decompressor::new(Codec::Zstd, Bytes::from(input))?;
        let (mut out, mut all) = (vec![0; 1 << 16], 0);
        loop {
            match decoder.read(&mut out)? {
                0 => return Ok(all),
                read => all += read,
            }
        }
    }

    #[test]
    fn the_window_of_a_frame_is_known_from_its_head() {
        let content = vec![7; 3 << 20];
        for log in [10, 17, 20, 21] {
            assert_eq!(zstd_window_log(&packed(&content, log, false)), log);
        }
        // A content that fits the window is a single segment: its own size counts.
        for (bytes, log) in [(1, 10), (200, 10), (5_000, 13), (100_000, 17), (3 << 20, 22)] {
            let frame = packed(&content[..bytes], 24, true);
            assert_eq!(zstd_window_log(&frame), log, "{bytes}");
            assert_eq!(read_all(frame).unwrap(), bytes);
        }
        for nothing in [&b""[..], &ZSTD_MAGIC, b"\x28\xb5\x2f\xfd\x20", b"\x50\x2a\x4d\x18\x00\x00\x00\x00", &[0xff; 20]] {
            assert_eq!(zstd_window_log(nothing), ZSTD_WINDOW_LOG_MAX);
        }
        assert_eq!(decoder_bytes(Codec::Zstd, b""), (128 << 20) + ZSTD_BESIDE_BYTES);
        assert_eq!(decoder_bytes(Codec::Snappy, &[0; 1000]), 22_000);
    }

    #[test]
    fn a_later_frame_may_not_take_more_than_the_first_said() {
        let content = vec![7; 3 << 20];
        let (small, large) = (packed(&content[..5_000], 24, true), packed(&content, 21, false));
        assert_eq!(read_all([small.clone(), small.clone()].concat()).unwrap(), 10_000);
        assert_eq!(read_all([large.clone(), small.clone()].concat()).unwrap(), content.len() + 5_000);
        assert!(read_all([small, large].concat()).is_err());
    }
}
