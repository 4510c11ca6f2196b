//! Snappy as Kafka uses it: the block stream of xerial's snappy-java, or one bare block.
//!
//! The stream is a 16-byte header (8 bytes magic, version, lowest compatible version) and blocks, each a big-endian length and a raw
//! snappy block. Further headers between blocks are skipped, as snappy-java does.

use bytes::{Buf, Bytes};
use std::io::{self, Write};

const MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const HEADER_BYTES: usize = 16;
const VERSION: u32 = 1;
/// Block size of snappy-java.
const BLOCK_BYTES: usize = 32 * 1024;
/// A copy element of 3 bytes yields at most 64: no block expands further.
const RATIO_MAX: usize = 22;

pub(super) struct Reader {
    input: Bytes,
    framed: bool,
    block: Vec<u8>,
    at: usize,
}

impl Reader {
    pub(super) fn new(input: Bytes) -> Self {
        let framed = input.starts_with(&MAGIC);
        Self { input, framed, block: Vec::new(), at: 0 }
    }

    pub(super) fn read(&mut self, out: &mut [u8]) -> Result<usize, &'static str> {
        while self.at == self.block.len() {
            if self.input.is_empty() {
                return Ok(0);
            }
            self.next_block()?;
        }
        let rest = self.block.get(self.at..).unwrap_or_default();
        let take = rest.len().min(out.len());
        out[..take].copy_from_slice(&rest[..take]);
        self.at += take;
        Ok(take)
    }

    fn next_block(&mut self) -> Result<(), &'static str> {
        let compressed = if self.framed {
            while self.input.starts_with(&MAGIC) {
                if self.input.len() < HEADER_BYTES {
                    return Err("the stream header is cut off");
                }
                self.input.advance(HEADER_BYTES);
            }
            if self.input.is_empty() {
                return Ok(());
            }
            let length = self.input.try_get_i32().map_err(|_| "a block length is cut off")?;
            let length = usize::try_from(length).map_err(|_| "a block length is negative")?;
            if self.input.len() < length {
                return Err("a block is cut off");
            }
            self.input.split_to(length)
        } else {
            std::mem::take(&mut self.input)
        };
        let length = snap::raw::decompress_len(&compressed).map_err(|_| "a block has no valid length")?;
        if length > compressed.len() * RATIO_MAX {
            return Err("a block claims to expand more than snappy can");
        }
        self.block.clear();
        self.block.resize(length, 0);
        self.at = 0;
        let written = snap::raw::Decoder::new().decompress(&compressed, &mut self.block).map_err(|_| "a block is damaged")?;
        if written == length { Ok(()) } else { Err("a block is shorter than it claims") }
    }
}

pub(super) struct Writer {
    block: Vec<u8>,
    started: bool,
    encoder: snap::raw::Encoder,
}

impl Writer {
    pub(super) fn new() -> Self {
        Self { block: Vec::new(), started: false, encoder: snap::raw::Encoder::new() }
    }

    pub(super) fn write(&mut self, mut bytes: &[u8], out: &mut impl Write) -> io::Result<()> {
        while !bytes.is_empty() {
            let take = bytes.len().min(BLOCK_BYTES - self.block.len());
            let (now, later) = bytes.split_at(take);
            self.block.extend_from_slice(now);
            bytes = later;
            if self.block.len() == BLOCK_BYTES {
                self.flush_block(out)?;
            }
        }
        Ok(())
    }

    pub(super) fn finish(&mut self, out: &mut impl Write) -> io::Result<()> {
        self.start(out)?;
        if self.block.is_empty() { Ok(()) } else { self.flush_block(out) }
    }

    fn start(&mut self, out: &mut impl Write) -> io::Result<()> {
        if !std::mem::replace(&mut self.started, true) {
            out.write_all(&MAGIC)?;
            out.write_all(&VERSION.to_be_bytes())?;
            out.write_all(&VERSION.to_be_bytes())?;
        }
        Ok(())
    }

    fn flush_block(&mut self, out: &mut impl Write) -> io::Result<()> {
        self.start(out)?;
        let compressed = self.encoder.compress_vec(&self.block).map_err(io::Error::other)?;
        out.write_all(&(compressed.len() as u32).to_be_bytes())?;
        out.write_all(&compressed)?;
        self.block.clear();
        Ok(())
    }
}
