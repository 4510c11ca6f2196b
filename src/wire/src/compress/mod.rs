//! The five codecs of record batches, both ways, with a bound on what comes out.
//!
//! Decompression is a stream ([`Decompressor`]): the reader decides how much is produced, and what a codec holds besides is bounded by
//! its window: gzip 32 KiB, lz4 8 MiB, zstd [`ZSTD_WINDOW_LOG_MAX`], snappy 22 times the compressed block. Checksums and trailers are
//! verified; bytes after the end of the compressed stream are an error.

mod lz4;
mod snappy;
mod window;

pub use window::decoder_bytes;

use bytes::buf::Reader;
use bytes::{Buf, Bytes};
use std::io::{self, Read, Write};

/// Largest zstd window accepted, as a power of two: 128 MiB, the default of zstd and of Kafka's readers. Pages are only touched as far
/// as data comes out.
pub const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// How the records section of a batch is compressed: the codec ids of `CompressionType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Codec {
    #[default]
    None = 0,
    Gzip = 1,
    Snappy = 2,
    Lz4 = 3,
    Zstd = 4,
}

impl Codec {
    pub const ALL: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

    /// The codec with Kafka's id, the lowest three bits of a batch's attributes.
    pub fn from_id(id: u8) -> Option<Self> {
        Self::ALL.get(usize::from(id)).copied()
    }

    pub const fn id(self) -> u8 {
        self as u8
    }

    /// The codec by the name settings use; `none` and `uncompressed` both mean no codec.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "none" | "uncompressed" => Some(Codec::None),
            "gzip" => Some(Codec::Gzip),
            "snappy" => Some(Codec::Snappy),
            "lz4" => Some(Codec::Lz4),
            "zstd" => Some(Codec::Zstd),
            _ => None,
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Codec::None => "none",
            Codec::Gzip => "gzip",
            Codec::Snappy => "snappy",
            Codec::Lz4 => "lz4",
            Codec::Zstd => "zstd",
        }
    }
}

impl std::fmt::Display for Codec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Why bytes could not be compressed or decompressed.
#[derive(Debug, thiserror::Error)]
pub enum CompressError {
    #[error("damaged {codec} data: {reason}")]
    Corrupt { codec: Codec, reason: String },
    #[error("more than {max} bytes come out")]
    TooLarge { max: usize },
}

/// Reads what a codec made, as a stream.
pub struct Decompressor {
    codec: Codec,
    stream: Stream,
}

enum Stream {
    None(Bytes),
    Gzip(Box<flate2::bufread::MultiGzDecoder<Reader<Bytes>>>),
    Snappy(snappy::Reader),
    Lz4(Box<lz4_flex::frame::FrameDecoder<Reader<Bytes>>>),
    Zstd(Box<zstd::stream::read::Decoder<'static, Reader<Bytes>>>),
}

impl Decompressor {
    pub fn new(codec: Codec, input: Bytes) -> Result<Self, CompressError> {
        let stream = match codec {
            Codec::None => Stream::None(input),
            Codec::Gzip => Stream::Gzip(Box::new(flate2::bufread::MultiGzDecoder::new(input.reader()))),
            Codec::Snappy => Stream::Snappy(snappy::Reader::new(input)),
            Codec::Lz4 => {
                lz4::check_frame(&input).map_err(|reason| CompressError::Corrupt { codec, reason: reason.to_string() })?;
                Stream::Lz4(Box::new(lz4_flex::frame::FrameDecoder::new(input.reader())))
            }
            Codec::Zstd => {
                let window_log = window::zstd_window_log(&input);
                let mut decoder = zstd::stream::read::Decoder::with_buffer(input.reader()).map_err(|error| corrupt(codec, &error))?;
                decoder.window_log_max(window_log).map_err(|error| corrupt(codec, &error))?;
                Stream::Zstd(Box::new(decoder))
            }
        };
        Ok(Self { codec, stream })
    }

    /// Fills a part of `out` and says how much; 0 at the verified end of the stream.
    pub fn read(&mut self, out: &mut [u8]) -> Result<usize, CompressError> {
        let read = match &mut self.stream {
            Stream::None(rest) => {
                let take = rest.len().min(out.len());
                rest.copy_to_slice(&mut out[..take]);
                Ok(take)
            }
            Stream::Gzip(decoder) => decoder.read(out),
            Stream::Snappy(reader) => {
                return reader.read(out).map_err(|reason| CompressError::Corrupt { codec: self.codec, reason: reason.to_string() });
            }
            Stream::Lz4(decoder) => decoder.read(out),
            Stream::Zstd(decoder) => decoder.read(out),
        };
        read.map_err(|error| corrupt(self.codec, &error))
    }
}

impl std::fmt::Debug for Decompressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decompressor").field("codec", &self.codec).finish_non_exhaustive()
    }
}

fn corrupt(codec: Codec, error: &io::Error) -> CompressError {
    CompressError::Corrupt { codec, reason: error.to_string() }
}

/// Growth step of a decompression whose result size is unknown.
const DECOMPRESS_STEP_BYTES: usize = 16 * 1024;

/// Decompresses all of `input`; `TooLarge` as soon as more than `max_bytes` come out.
pub fn decompress(codec: Codec, input: &Bytes, max_bytes: usize) -> Result<Bytes, CompressError> {
    if codec == Codec::None {
        return if input.len() > max_bytes { Err(CompressError::TooLarge { max: max_bytes }) } else { Ok(input.clone()) };
    }
    let mut stream = Decompressor::new(codec, input.clone())?;
    let (mut out, mut filled) = (Vec::new(), 0);
    loop {
        if filled == out.len() {
            // One byte beyond the bound shows that the bound is broken.
            let step = DECOMPRESS_STEP_BYTES.max(filled).min(max_bytes.saturating_sub(filled).saturating_add(1));
            out.resize(filled + step, 0);
        }
        let read = stream.read(&mut out[filled..])?;
        filled += read;
        if filled > max_bytes {
            return Err(CompressError::TooLarge { max: max_bytes });
        }
        if read == 0 {
            out.truncate(filled);
            return Ok(Bytes::from(out));
        }
    }
}

/// A codec with its level; `None` is the codec's default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Compression {
    pub codec: Codec,
    /// `compression.gzip.level` (-1, 1 to 9), `compression.lz4.level` (1 to 17) or `compression.zstd.level` (-131072 to 22); snappy has none.
    pub level: Option<i32>,
}

impl Compression {
    /// Whether it takes much more than a microsecond per KiB: at high levels codecs search for long.
    pub fn is_slow(&self) -> bool {
        let level = self.level.unwrap_or(-1);
        match self.codec {
            Codec::None | Codec::Snappy => false,
            Codec::Gzip => level > GZIP_LEVEL_DEFAULT as i32,
            Codec::Lz4 => self.level.is_some_and(|level| level != LZ4_LEVEL_DEFAULT),
            Codec::Zstd => level > ZSTD_LEVEL_DEFAULT,
        }
    }
}

impl From<Codec> for Compression {
    fn from(codec: Codec) -> Self {
        Self { codec, level: None }
    }
}

const GZIP_LEVEL_DEFAULT: u32 = 6;
const GZIP_LEVEL_MAX: i32 = 9;
const ZSTD_LEVEL_DEFAULT: i32 = 3;
/// The level that Kafka means by its fast compressor; every other one is a level of the high compressor.
const LZ4_LEVEL_DEFAULT: i32 = 9;
/// Window of what is written at high zstd levels, as a power of two: 2 MiB, that of the default level. The levels' own windows of up to 128 MiB would take
/// several times as much memory, for batches of a megabyte or so.
const ZSTD_WRITTEN_WINDOW_LOG: u32 = 21;

/// Writes a codec's format as a stream into memory, up to a bound.
pub struct Compressor {
    codec: Codec,
    sink: Sink,
}

enum Sink {
    None(BoundedVec),
    Gzip(flate2::write::GzEncoder<BoundedVec>),
    Snappy(Box<snappy::Writer>, BoundedVec),
    Lz4(Box<lz4_flex::frame::FrameEncoder<BoundedVec>>),
    Lz4High(::lz4::Encoder<BoundedVec>),
    Zstd(zstd::stream::write::Encoder<'static, BoundedVec>),
}

impl Compressor {
    /// Starts a stream behind `head`, which the output begins with and which counts towards `max_bytes`.
    pub fn new(compression: Compression, head: Vec<u8>, max_bytes: usize) -> Result<Self, CompressError> {
        let out = BoundedVec { bytes: head, max: max_bytes, overflowed: false };
        let sink = match compression.codec {
            Codec::None => Sink::None(out),
            Codec::Gzip => {
                let level =
                    compression.level.filter(|&level| level >= 0).map_or(GZIP_LEVEL_DEFAULT, |level| level.min(GZIP_LEVEL_MAX) as u32);
                Sink::Gzip(flate2::write::GzEncoder::new(out, flate2::Compression::new(level)))
            }
            Codec::Snappy => Sink::Snappy(Box::new(snappy::Writer::new()), out),
            Codec::Lz4 if compression.is_slow() => {
                let level = compression.level.unwrap_or(LZ4_LEVEL_DEFAULT);
                Sink::Lz4High(lz4::high_encoder(level, out).map_err(|error| corrupt(Codec::Lz4, &error))?)
            }
            Codec::Lz4 => Sink::Lz4(Box::new(lz4_flex::frame::FrameEncoder::with_frame_info(lz4::frame_info(), out))),
            Codec::Zstd => {
                let level = compression.level.unwrap_or(ZSTD_LEVEL_DEFAULT);
                let mut encoder = zstd::stream::write::Encoder::new(out, level).map_err(|error| corrupt(Codec::Zstd, &error))?;
                if compression.is_slow() {
                    encoder.window_log(ZSTD_WRITTEN_WINDOW_LOG).map_err(|error| corrupt(Codec::Zstd, &error))?;
                }
                Sink::Zstd(encoder)
            }
        };
        Ok(Self { codec: compression.codec, sink })
    }

    pub fn write(&mut self, bytes: &[u8]) -> Result<(), CompressError> {
        let written = match &mut self.sink {
            Sink::None(out) => out.write_all(bytes),
            Sink::Gzip(encoder) => encoder.write_all(bytes),
            Sink::Snappy(writer, out) => writer.write(bytes, out),
            Sink::Lz4(encoder) => encoder.write_all(bytes),
            Sink::Lz4High(encoder) => encoder.write_all(bytes),
            Sink::Zstd(encoder) => encoder.write_all(bytes),
        };
        written.map_err(|error| corrupt(self.codec, &error))?;
        self.out().check()
    }

    fn out(&self) -> &BoundedVec {
        match &self.sink {
            Sink::None(out) | Sink::Snappy(_, out) => out,
            Sink::Gzip(encoder) => encoder.get_ref(),
            Sink::Lz4(encoder) => encoder.get_ref(),
            Sink::Lz4High(encoder) => encoder.writer(),
            Sink::Zstd(encoder) => encoder.get_ref(),
        }
    }

    /// Ends the stream; head and compressed bytes.
    pub fn finish(self) -> Result<Vec<u8>, CompressError> {
        let out = match self.sink {
            Sink::None(out) => Ok(out),
            Sink::Gzip(encoder) => encoder.finish(),
            Sink::Snappy(mut writer, mut out) => writer.finish(&mut out).map(|()| out),
            Sink::Lz4(encoder) => encoder.finish().map_err(io::Error::other),
            Sink::Lz4High(encoder) => {
                let (out, ended) = encoder.finish();
                ended.map(|()| out)
            }
            Sink::Zstd(encoder) => encoder.finish(),
        };
        let out = out.map_err(|error| corrupt(self.codec, &error))?;
        out.check()?;
        Ok(out.bytes)
    }
}

impl std::fmt::Debug for Compressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compressor").field("codec", &self.codec).finish_non_exhaustive()
    }
}

/// Compresses all of `input`. `None` returns it as it is.
pub fn compress(compression: impl Into<Compression>, input: &[u8]) -> Result<Vec<u8>, CompressError> {
    let mut compressor = Compressor::new(compression.into(), Vec::new(), usize::MAX)?;
    compressor.write(input)?;
    compressor.finish()
}

/// Takes bytes up to a bound and drops what comes after, so that every codec ends its stream in peace.
struct BoundedVec {
    bytes: Vec<u8>,
    max: usize,
    overflowed: bool,
}

impl BoundedVec {
    fn check(&self) -> Result<(), CompressError> {
        if self.overflowed { Err(CompressError::TooLarge { max: self.max }) } else { Ok(()) }
    }
}

impl Write for BoundedVec {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > self.max.saturating_sub(self.bytes.len()) {
            self.overflowed = true;
        } else {
            self.bytes.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
