//! The LZ4 frames that Kafka reads: one frame, independent blocks, no dictionary, nothing behind it (`Lz4BlockInputStream`).

use lz4_flex::frame::{BlockMode, BlockSize, FrameInfo};

const MAGIC: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];
const VERSION_MASK: u8 = 0b1100_0000;
const VERSION: u8 = 0b0100_0000;
const INDEPENDENT_BLOCKS: u8 = 0b0010_0000;
const BLOCK_CHECKSUMS: u8 = 0b0001_0000;
const CONTENT_SIZE: u8 = 0b0000_1000;
const CONTENT_CHECKSUM: u8 = 0b0000_0100;
const DICTIONARY: u8 = 0b0000_0001;
/// Set in a block's length when the block is stored as it is.
const STORED_BIT: u32 = 1 << 31;
/// Magic, flags, block descriptor, header checksum.
const HEADER_BYTES: usize = 7;
const CONTENT_SIZE_BYTES: usize = 8;

/// What we write: 64 KiB blocks, as Kafka's producers do.
pub(super) fn frame_info() -> FrameInfo {
    FrameInfo::new().block_mode(BlockMode::Independent).block_size(BlockSize::Max64KB)
}

/// The largest level of the high compressor; Kafka's 13 to 17 mean the same.
const HIGH_LEVEL_MAX: u32 = 12;

/// The same frame, at a level of the high compressor (`Lz4BlockOutputStream` with another level than 9).
pub(super) fn high_encoder<W: std::io::Write>(level: i32, out: W) -> std::io::Result<lz4::Encoder<W>> {
    lz4::EncoderBuilder::new()
        .level(level.unsigned_abs().min(HIGH_LEVEL_MAX))
        .block_mode(lz4::BlockMode::Independent)
        .block_size(lz4::BlockSize::Max64KB)
        .block_checksum(lz4::liblz4::BlockChecksum::NoBlockChecksum)
        .checksum(lz4::ContentChecksum::NoChecksum)
        .build(out)
}

/// Walks the block lengths up to the end mark, without decompressing: the decoder takes a frame that is cut off between blocks for a
/// complete one. Block contents and checksums are the decoder's part.
pub(super) fn check_frame(input: &[u8]) -> Result<(), &'static str> {
    if !input.starts_with(&MAGIC) {
        return Err("no frame magic");
    }
    let flags = *input.get(MAGIC.len()).ok_or("the frame header is cut off")?;
    if flags & VERSION_MASK != VERSION {
        return Err("unknown frame version");
    }
    if flags & INDEPENDENT_BLOCKS == 0 {
        return Err("blocks depend on each other");
    }
    if flags & DICTIONARY != 0 {
        return Err("the frame needs a dictionary");
    }
    let checksum_bytes = |flag: u8| if flags & flag == 0 { 0 } else { 4 };
    let mut at = HEADER_BYTES + if flags & CONTENT_SIZE == 0 { 0 } else { CONTENT_SIZE_BYTES };
    loop {
        let length = input.get(at..).and_then(|rest| rest.first_chunk::<4>()).ok_or("the frame has no end mark")?;
        at += length.len();
        match u32::from_le_bytes(*length) & !STORED_BIT {
            0 => break,
            length => at = at.saturating_add(length as usize + checksum_bytes(BLOCK_CHECKSUMS)),
        }
    }
    match (at + checksum_bytes(CONTENT_CHECKSUM)).cmp(&input.len()) {
        std::cmp::Ordering::Less => Err("bytes behind the frame"),
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Greater => Err("the content checksum is cut off"),
    }
}
