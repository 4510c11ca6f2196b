//! Single records: the format inside a batch (`DefaultRecord`), read in place, and batches built from records.
//!
//! A record is a zigzag varint length and a body: attributes (1 byte, unused), timestamp delta (varlong), offset delta (varint), key
//! and value (varint length, -1 for null, then bytes), header count (varint), headers (key length, key, value length or -1, value).

pub(crate) mod builder;
mod reader;
mod stream;

use crate::varint::{read_i32, read_i64};

pub use builder::BatchBuilder;
pub use reader::{Header, Record, RecordReader, RecordsError};
pub use stream::RecordStream;

/// Fewest bytes of an encoded record: a length, attributes, two deltas, two lengths and a header count of one byte each.
pub const RECORD_BYTES_MIN: usize = 7;
/// Fewest bytes of an encoded header.
pub const HEADER_BYTES_MIN: usize = 2;

/// A record that is not one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("the record length is negative or malformed")]
    Length,
    #[error("the bytes end inside a record")]
    Truncated,
    #[error("a field of the record is cut off or malformed")]
    Field,
    #[error("a key or value length is below -1 or beyond the record")]
    FieldLength,
    #[error("the header count is negative or beyond the record")]
    HeaderCount,
    #[error("a header key is null or beyond the record")]
    HeaderKey,
    #[error("the record's fields do not fill its length")]
    Size,
    #[error("records remain after the count of the batch")]
    Excess,
    #[error("fewer records than the count of the batch")]
    Missing,
}

/// One record in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordView<'a> {
    pub attributes: i8,
    pub timestamp_delta: i64,
    pub offset_delta: i32,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub header_count: usize,
    /// The encoded headers, checked.
    headers: &'a [u8],
    /// The body behind the offset delta: what does not change when a record gets another offset.
    pub(crate) rest: &'a [u8],
}

impl<'a> RecordView<'a> {
    /// Reads the record that starts `bytes`: the record and its size with the length prefix. `Truncated` when more bytes could help.
    #[inline]
    pub fn read(bytes: &'a [u8]) -> Result<(Self, usize), Malformed> {
        let (length, start) = match read_i32(bytes, 0) {
            Some(read) => read,
            None if bytes.len() < crate::varint::VARINT_BYTES_MAX => return Err(Malformed::Truncated),
            None => return Err(Malformed::Length),
        };
        let length = usize::try_from(length).map_err(|_| Malformed::Length)?;
        let body = bytes.get(start..).and_then(|rest| rest.get(..length)).ok_or(Malformed::Truncated)?;
        Ok((Self::read_body(body)?, start + length))
    }

    #[inline]
    fn read_body(body: &'a [u8]) -> Result<Self, Malformed> {
        let attributes = *body.first().ok_or(Malformed::Field)? as i8;
        let (timestamp_delta, at) = read_i64(body, 1).ok_or(Malformed::Field)?;
        let (offset_delta, rest_at) = read_i32(body, at).ok_or(Malformed::Field)?;
        let (key, at) = nullable(body, rest_at)?;
        let (value, at) = nullable(body, at)?;
        let (count, headers_at) = read_i32(body, at).ok_or(Malformed::Field)?;
        let header_count = usize::try_from(count).map_err(|_| Malformed::HeaderCount)?;
        let headers = body.get(headers_at..).ok_or(Malformed::Field)?;
        if header_count > headers.len() / HEADER_BYTES_MIN {
            return Err(Malformed::HeaderCount);
        }
        let mut at = 0;
        for _ in 0..header_count {
            (_, at) = header_key(headers, at)?;
            (_, at) = nullable(headers, at)?;
        }
        if at != headers.len() {
            return Err(Malformed::Size);
        }
        let rest = body.get(rest_at..).ok_or(Malformed::Field)?;
        Ok(Self { attributes, timestamp_delta, offset_delta, key, value, header_count, headers, rest })
    }

    /// The headers in order, duplicates included.
    pub fn headers(&self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + use<'a> {
        let (headers, mut at) = (self.headers, 0);
        (0..self.header_count).map_while(move |_| {
            let (key, value_at) = header_key(headers, at).ok()?;
            let (value, next) = nullable(headers, value_at).ok()?;
            at = next;
            Some((key, value))
        })
    }
}

/// Key, value or header value: -1 is null. Kafka takes any negative length for null, other readers do not: refused.
#[inline]
fn nullable(bytes: &[u8], at: usize) -> Result<(Option<&[u8]>, usize), Malformed> {
    let (length, at) = read_i32(bytes, at).ok_or(Malformed::Field)?;
    if length == -1 {
        return Ok((None, at));
    }
    let length = usize::try_from(length).map_err(|_| Malformed::FieldLength)?;
    let field = bytes.get(at..).and_then(|rest| rest.get(..length)).ok_or(Malformed::FieldLength)?;
    Ok((Some(field), at + length))
}

#[inline]
fn header_key(bytes: &[u8], at: usize) -> Result<(&[u8], usize), Malformed> {
    match nullable(bytes, at) {
        Ok((Some(key), at)) => Ok((key, at)),
        Ok((None, _)) | Err(Malformed::FieldLength) => Err(Malformed::HeaderKey),
        Err(other) => Err(other),
    }
}

#[cfg(test)]
mod tests;
