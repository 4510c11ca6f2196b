//! Writing a batch's records again, with another codec or other offsets; everything else in them stays byte for byte.

use super::{BatchError, BatchView, HEADER_BYTES, TIMESTAMP_TYPE_BIT, TimestampType};
use crate::compress::{CompressError, Compression, Compressor};
use crate::records::Malformed;
use crate::records::builder::BatchHeader;
use crate::varint::{put_signed, signed_len};
use bytes::Bytes;
use odradek_base::Timestamp;

/// Collects small writes before they reach the codec.
const STAGE_BYTES: usize = 16 * 1024;

/// Takes records in order and gives them the offsets 0, 1, 2, ... relative to the batch.
#[derive(Debug)]
pub(super) struct Rebuild {
    compression: Compression,
    compressor: Compressor,
    stage: Vec<u8>,
    next_offset_delta: i32,
}

impl Rebuild {
    /// `max_bytes` bounds the new batch, header included.
    pub(super) fn new(compression: Compression, max_bytes: usize) -> Result<Self, CompressError> {
        let compressor = Compressor::new(compression, vec![0; HEADER_BYTES], max_bytes)?;
        Ok(Self { compression, compressor, stage: Vec::with_capacity(STAGE_BYTES), next_offset_delta: 0 })
    }

    /// Writes what precedes the rest of a record's body. Record attributes are unused and written as 0.
    pub(super) fn start(&mut self, timestamp_delta: i64, rest_bytes: usize) -> Result<(), CompressError> {
        let offset_delta = i64::from(self.next_offset_delta);
        self.next_offset_delta = self.next_offset_delta.wrapping_add(1);
        let body = 1 + signed_len(timestamp_delta) + signed_len(offset_delta) + rest_bytes;
        put_signed(&mut self.stage, body as i64);
        self.stage.push(0);
        put_signed(&mut self.stage, timestamp_delta);
        put_signed(&mut self.stage, offset_delta);
        self.flush_full()
    }

    pub(super) fn rest(&mut self, bytes: &[u8]) -> Result<(), CompressError> {
        if bytes.len() >= STAGE_BYTES {
            self.flush()?;
            return self.compressor.write(bytes);
        }
        self.stage.extend_from_slice(bytes);
        self.flush_full()
    }

    fn flush_full(&mut self) -> Result<(), CompressError> {
        if self.stage.len() >= STAGE_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), CompressError> {
        self.compressor.write(&self.stage)?;
        self.stage.clear();
        Ok(())
    }

    /// The new batch: the header of `original` with the new codec, counts and timestamps.
    pub(super) fn finish(
        mut self,
        original: &BatchView<'_>,
        timestamp_type: TimestampType,
        max_timestamp: Timestamp,
    ) -> Result<Bytes, CompressError> {
        self.flush()?;
        let mut batch = self.compressor.finish()?;
        let kept = original.attributes() & !(7 | TIMESTAMP_TYPE_BIT);
        let timestamp_bit = if timestamp_type == TimestampType::LogAppendTime { TIMESTAMP_TYPE_BIT } else { 0 };
        BatchHeader {
            base_offset: original.base_offset(),
            leader_epoch: original.leader_epoch(),
            attributes: kept | timestamp_bit | i16::from(self.compression.codec.id()),
            last_offset_delta: self.next_offset_delta.wrapping_sub(1),
            base_timestamp: original.base_timestamp(),
            max_timestamp,
            producer_id: original.producer_id(),
            producer_epoch: original.producer_epoch(),
            base_sequence: original.base_sequence(),
            record_count: self.next_offset_delta,
        }
        .seal(&mut batch);
        Ok(Bytes::from(batch))
    }
}

impl From<CompressError> for BatchError {
    /// Damaged compressed data is CORRUPT_MESSAGE; too much of it MESSAGE_TOO_LARGE, which makes producers split their batches.
    fn from(error: CompressError) -> Self {
        let code = match error {
            CompressError::Corrupt { .. } => crate::ErrorCode::CorruptMessage,
            CompressError::TooLarge { .. } => crate::ErrorCode::MessageTooLarge,
        };
        BatchError::new(code, error.to_string())
    }
}

impl From<Malformed> for BatchError {
    fn from(error: Malformed) -> Self {
        BatchError::new(crate::ErrorCode::InvalidRecord, error.to_string())
    }
}
