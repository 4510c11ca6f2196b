//! Building a batch from records: for internal topics, transaction markers, compaction and the client side.

use crate::batch::{
    ATTRIBUTES_AT, CONTROL_BIT, CRC_AT, HEADER_BYTES, LENGTH_AT, LOG_OVERHEAD_BYTES, MAGIC, TIMESTAMP_TYPE_BIT, TRANSACTIONAL_BIT, crc, put,
};
use crate::compress::{Compression, Compressor};
use crate::varint::{put_signed, signed_len};
use bytes::{BufMut, Bytes};
use odradek_base::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp};

/// Collects records and writes them as one batch. Offsets count up from the base offset unless given.
#[derive(Debug, Clone)]
pub struct BatchBuilder {
    compression: Compression,
    header: BatchHeader,
    base_timestamp: Option<Timestamp>,
    records: Vec<u8>,
}

/// The header fields of a batch to be written, without length and CRC.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BatchHeader {
    pub base_offset: Offset,
    pub leader_epoch: LeaderEpoch,
    pub attributes: i16,
    pub last_offset_delta: i32,
    pub base_timestamp: Timestamp,
    pub max_timestamp: Timestamp,
    pub producer_id: ProducerId,
    pub producer_epoch: ProducerEpoch,
    pub base_sequence: i32,
    pub record_count: i32,
}

impl BatchHeader {
    /// Writes the header into the first [`HEADER_BYTES`] of a batch whose records are in place, then length and CRC.
    pub(crate) fn seal(&self, batch: &mut [u8]) {
        let mut header = Vec::with_capacity(HEADER_BYTES);
        header.put_i64(self.base_offset.get());
        header.put_i32(0);
        header.put_i32(self.leader_epoch.get());
        header.put_i8(MAGIC);
        header.put_u32(0);
        header.put_i16(self.attributes);
        header.put_i32(self.last_offset_delta);
        header.put_i64(self.base_timestamp.get());
        header.put_i64(self.max_timestamp.get());
        header.put_i64(self.producer_id.get());
        header.put_i16(self.producer_epoch.get());
        header.put_i32(self.base_sequence);
        header.put_i32(self.record_count);
        put(batch, 0, &header);
        let length = i32::try_from(batch.len() - LOG_OVERHEAD_BYTES).expect("a record batch longer than 2 GiB");
        put(batch, LENGTH_AT, &length.to_be_bytes());
        let crc = crc(batch);
        put(batch, CRC_AT, &crc.to_be_bytes());
    }
}

impl BatchBuilder {
    pub fn new(compression: impl Into<Compression>) -> Self {
        let compression = compression.into();
        Self {
            compression,
            header: BatchHeader {
                base_offset: Offset::ZERO,
                leader_epoch: LeaderEpoch::UNKNOWN,
                attributes: i16::from(compression.codec.id()),
                last_offset_delta: -1,
                base_timestamp: Timestamp::NONE,
                max_timestamp: Timestamp::NONE,
                producer_id: ProducerId::NONE,
                producer_epoch: ProducerEpoch::NONE,
                base_sequence: -1,
                record_count: 0,
            },
            base_timestamp: None,
            records: Vec::new(),
        }
    }

    pub fn base_offset(mut self, base_offset: Offset) -> Self {
        self.header.base_offset = base_offset;
        self
    }

    pub fn leader_epoch(mut self, epoch: LeaderEpoch) -> Self {
        self.header.leader_epoch = epoch;
        self
    }

    /// What timestamp deltas count from; without it, the first record's timestamp.
    pub fn base_timestamp(mut self, timestamp: Timestamp) -> Self {
        self.base_timestamp = Some(timestamp);
        self
    }

    pub fn producer(mut self, id: ProducerId, epoch: ProducerEpoch, base_sequence: i32) -> Self {
        (self.header.producer_id, self.header.producer_epoch, self.header.base_sequence) = (id, epoch, base_sequence);
        self
    }

    pub fn transactional(self, yes: bool) -> Self {
        self.attribute(TRANSACTIONAL_BIT, yes)
    }

    pub fn control(self, yes: bool) -> Self {
        self.attribute(CONTROL_BIT, yes)
    }

    /// Marks the timestamps as the broker's.
    pub fn log_append_time(self, yes: bool) -> Self {
        self.attribute(TIMESTAMP_TYPE_BIT, yes)
    }

    fn attribute(mut self, bit: i16, set: bool) -> Self {
        self.header.attributes = if set { self.header.attributes | bit } else { self.header.attributes & !bit };
        self
    }

    /// Adds a record at the next offset.
    pub fn append(&mut self, timestamp: Timestamp, key: Option<&[u8]>, value: Option<&[u8]>, headers: &[(&[u8], Option<&[u8]>)]) {
        let offset_delta = self.header.last_offset_delta.checked_add(1).expect("more records than a batch can count");
        self.append_at(offset_delta, timestamp, key, value, headers);
    }

    /// Adds a record at an offset of its own, relative to the base offset; compaction leaves gaps.
    pub fn append_at(
        &mut self,
        offset_delta: i32,
        timestamp: Timestamp,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&[u8], Option<&[u8]>)],
    ) {
        let base = *self.base_timestamp.get_or_insert(timestamp);
        let timestamp_delta = timestamp.get().wrapping_sub(base.get());
        let headers_len: usize = headers.iter().map(|(key, value)| nullable_len(Some(key)) + nullable_len(*value)).sum();
        let body = 1
            + signed_len(timestamp_delta)
            + signed_len(i64::from(offset_delta))
            + nullable_len(key)
            + nullable_len(value)
            + signed_len(headers.len() as i64)
            + headers_len;
        let out = &mut self.records;
        put_signed(out, body as i64);
        out.push(0);
        put_signed(out, timestamp_delta);
        put_signed(out, i64::from(offset_delta));
        put_nullable(out, key);
        put_nullable(out, value);
        put_signed(out, headers.len() as i64);
        for (key, value) in headers {
            put_nullable(out, Some(key));
            put_nullable(out, *value);
        }
        self.header.last_offset_delta = self.header.last_offset_delta.max(offset_delta);
        self.header.max_timestamp = self.header.max_timestamp.max(timestamp);
        self.header.record_count += 1;
    }

    /// Keeps the last offset of a batch whose last records were removed.
    pub fn last_offset_delta(mut self, delta: i32) -> Self {
        self.header.last_offset_delta = delta;
        self
    }

    pub fn record_count(&self) -> i32 {
        self.header.record_count
    }

    /// Size of the batch if it were built now without compression.
    pub fn uncompressed_bytes(&self) -> usize {
        HEADER_BYTES + self.records.len()
    }

    /// The batch, CRC included.
    ///
    /// # Panics
    /// When the batch is longer than 2 GiB, or the codec cannot be started for want of memory.
    pub fn build(mut self) -> Bytes {
        self.header.base_timestamp = self.base_timestamp.unwrap_or(Timestamp::NONE);
        let head = vec![0; HEADER_BYTES];
        let mut batch = Compressor::new(self.compression, head, usize::MAX)
            .and_then(|mut compressor| {
                compressor.write(&self.records)?;
                compressor.finish()
            })
            .expect("compressing into memory");
        self.header.seal(&mut batch);
        debug_assert_eq!(batch[ATTRIBUTES_AT + 1] & 7, self.compression.codec.id());
        Bytes::from(batch)
    }
}

fn nullable_len(field: Option<&[u8]>) -> usize {
    field.map_or(signed_len(-1), |field| signed_len(field.len() as i64) + field.len())
}

fn put_nullable(out: &mut Vec<u8>, field: Option<&[u8]>) {
    match field {
        None => put_signed(out, -1),
        Some(field) => {
            put_signed(out, field.len() as i64);
            out.extend_from_slice(field);
        }
    }
}
