//! Reading a batch record by record, whatever its codec: for internal topics and the client side.

use super::{Malformed, RECORD_BYTES_MIN, RecordView};
use crate::batch::{BatchView, FramingError, HEADER_BYTES, TimestampType};
use crate::compress::{Codec, CompressError, decompress};
use bytes::Bytes;
use odradek_base::{Offset, Timestamp};

/// A record with its place in the log. Keys and values are slices of the batch, or of its decompressed records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub offset: Offset,
    /// The batch's append time where its timestamp type is LogAppendTime.
    pub timestamp: Timestamp,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    /// In order, duplicates included.
    pub headers: Vec<Header>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    pub key: Bytes,
    pub value: Option<Bytes>,
}

/// Why a batch's records cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RecordsError {
    #[error(transparent)]
    Framing(#[from] FramingError),
    #[error("unknown compression codec in attributes {0}")]
    Codec(i16),
    #[error(transparent)]
    Compress(#[from] CompressError),
    #[error("record {index}: {reason}")]
    Malformed { index: usize, reason: Malformed },
}

/// Iterates the records of one batch. Ends after the batch's record count or after the first error.
#[derive(Debug)]
pub struct RecordReader {
    records: Bytes,
    at: usize,
    base_offset: Offset,
    base_timestamp: Timestamp,
    append_time: Option<Timestamp>,
    read: usize,
    count: usize,
}

impl RecordReader {
    /// `batch` starts with a whole batch; what follows it is left out. `max_bytes` bounds the decompressed records.
    /// The CRC is not looked at ([`BatchView::crc_valid`]).
    pub fn new(batch: &Bytes, max_bytes: usize) -> Result<Self, RecordsError> {
        let view = BatchView::parse(batch)?;
        let codec = view.compression().ok_or(RecordsError::Codec(view.attributes()))?;
        let section = batch.slice(HEADER_BYTES..view.total_bytes());
        let records = if codec == Codec::None { section } else { decompress(codec, &section, max_bytes)? };
        let count = usize::try_from(view.record_count()).unwrap_or(0);
        if count > records.len() / RECORD_BYTES_MIN {
            return Err(RecordsError::Malformed { index: 0, reason: Malformed::Missing });
        }
        Ok(Self {
            records,
            at: 0,
            base_offset: view.base_offset(),
            base_timestamp: view.base_timestamp(),
            append_time: (view.timestamp_type() == TimestampType::LogAppendTime).then(|| view.max_timestamp()),
            read: 0,
            count,
        })
    }

    /// Records not yet read, by the batch's own count.
    pub fn remaining(&self) -> usize {
        self.count - self.read
    }

    fn read_one(&mut self) -> Result<Record, Malformed> {
        let (view, size) = RecordView::read(self.records.get(self.at..).unwrap_or_default())?;
        let slice = |part: &[u8]| self.records.slice_ref(part);
        let record = Record {
            offset: Offset(self.base_offset.get().wrapping_add(i64::from(view.offset_delta))),
            timestamp: self.append_time.unwrap_or(Timestamp(self.base_timestamp.get().wrapping_add(view.timestamp_delta))),
            key: view.key.map(slice),
            value: view.value.map(slice),
            headers: view.headers().map(|(key, value)| Header { key: slice(key), value: value.map(slice) }).collect(),
        };
        self.at += size;
        Ok(record)
    }
}

impl Iterator for RecordReader {
    type Item = Result<Record, RecordsError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.read == self.count {
            return None;
        }
        let index = self.read;
        self.read += 1;
        let last = self.read == self.count;
        let mut record = self.read_one();
        if last && record.is_ok() && self.at != self.records.len() {
            record = Err(Malformed::Excess);
        }
        Some(record.map_err(|reason| {
            self.read = self.count;
            RecordsError::Malformed { index, reason }
        }))
    }
}
