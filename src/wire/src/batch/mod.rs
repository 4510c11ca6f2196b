//! Record batches of format version 2 (KIP-98), read in place.
//!
//! | offset | bytes | field | | offset | bytes | field |
//! |---|---|---|---|---|---|---|
//! | 0 | 8 | base offset | | 23 | 4 | last offset delta |
//! | 8 | 4 | length of what follows | | 27 | 8 | base timestamp |
//! | 12 | 4 | partition leader epoch | | 35 | 8 | max timestamp |
//! | 16 | 1 | magic (2) | | 43 | 8 | producer id |
//! | 17 | 4 | CRC-32C of all from offset 21 | | 51 | 2 | producer epoch |
//! | 21 | 2 | attributes | | 53 | 4 | base sequence |
//! | | | | | 57 | 4 | record count, then the records |
//!
//! All integers are big-endian. Base offset and leader epoch lie outside the CRC, so that a leader can assign them in place.

mod rebuild;
mod rewrite;
mod scan;
pub mod validate;

use crate::compress::Codec;
use odradek_base::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp, limits};
use zerocopy::byteorder::big_endian::{I16, I32, I64, U32};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

pub use rewrite::{Rewrite, without_records};
pub use validate::{BatchError, RecordError, ValidBatch, ValidationRules, Validator, validate};

/// Bytes before the length field counts: base offset and the length itself (`Records.LOG_OVERHEAD`).
pub const LOG_OVERHEAD_BYTES: usize = 12;
/// Bytes up to and including the magic byte (`Records.HEADER_SIZE_UP_TO_MAGIC`).
pub const UP_TO_MAGIC_BYTES: usize = 17;
/// Bytes of the batch header.
pub const HEADER_BYTES: usize = limits::RECORD_BATCH_HEADER_BYTES;
/// The only format version served.
pub const MAGIC: i8 = 2;

pub(crate) const LENGTH_AT: usize = 8;
const LEADER_EPOCH_AT: usize = 12;
const MAGIC_AT: usize = 16;
pub(crate) const CRC_AT: usize = 17;
pub(crate) const ATTRIBUTES_AT: usize = 21;
const MAX_TIMESTAMP_AT: usize = 35;

const CODEC_MASK: i16 = 0x07;
pub(crate) const TIMESTAMP_TYPE_BIT: i16 = 0x08;
pub(crate) const TRANSACTIONAL_BIT: i16 = 0x10;
pub(crate) const CONTROL_BIT: i16 = 0x20;
const DELETE_HORIZON_BIT: i16 = 0x40;

#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Header {
    base_offset: I64,
    length: I32,
    partition_leader_epoch: I32,
    magic: i8,
    crc: U32,
    attributes: I16,
    last_offset_delta: I32,
    base_timestamp: I64,
    max_timestamp: I64,
    producer_id: I64,
    producer_epoch: I16,
    base_sequence: I32,
    record_count: I32,
}

const _: () = assert!(size_of::<Header>() == HEADER_BYTES);

/// Where a batch's timestamps come from (`message.timestamp.type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TimestampType {
    #[default]
    CreateTime,
    LogAppendTime,
}

/// Why bytes are not a sequence of batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// The bytes end inside a batch.
    #[error("the bytes end inside a record batch")]
    Truncated,
    /// The length field is below what a batch header needs.
    #[error("record batch length {0} is too small")]
    Length(i32),
    /// A format version that is not served.
    #[error("record batch magic {0} is not 2")]
    Magic(i8),
}

/// One batch in memory: a complete header and as many bytes as its length field says. Nothing else is checked yet.
#[derive(Clone, Copy)]
pub struct BatchView<'a> {
    header: &'a Header,
    bytes: &'a [u8],
}

impl<'a> BatchView<'a> {
    /// The batch that starts `bytes`; what follows it is left out.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, FramingError> {
        let total = total_bytes(bytes)?.ok_or(FramingError::Truncated)?;
        let bytes = bytes.get(..total).ok_or(FramingError::Truncated)?;
        let (header, _) = Header::ref_from_prefix(bytes).map_err(|_| FramingError::Truncated)?;
        Ok(Self { header, bytes })
    }

    /// The whole batch, header included.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The records section: plain records, or what the codec made of them.
    pub fn records(&self) -> &'a [u8] {
        self.bytes.get(HEADER_BYTES..).unwrap_or_default()
    }

    /// Size of the whole batch in bytes, header included.
    pub fn total_bytes(&self) -> usize {
        self.bytes.len()
    }

    pub fn base_offset(&self) -> Offset {
        Offset(self.header.base_offset.get())
    }

    /// Offset of the last record; batches keep it when compaction removes records.
    pub fn last_offset(&self) -> Offset {
        Offset(self.header.base_offset.get().wrapping_add(i64::from(self.last_offset_delta())))
    }

    pub fn next_offset(&self) -> Offset {
        Offset(self.last_offset().get().wrapping_add(1))
    }

    pub fn last_offset_delta(&self) -> i32 {
        self.header.last_offset_delta.get()
    }

    pub fn leader_epoch(&self) -> LeaderEpoch {
        LeaderEpoch(self.header.partition_leader_epoch.get())
    }

    pub fn crc(&self) -> u32 {
        self.header.crc.get()
    }

    pub fn attributes(&self) -> i16 {
        self.header.attributes.get()
    }

    /// The codec of the records section, `None` for an id Kafka does not define.
    pub fn compression(&self) -> Option<Codec> {
        Codec::from_id((self.attributes() & CODEC_MASK) as u8)
    }

    pub fn timestamp_type(&self) -> TimestampType {
        if self.attributes() & TIMESTAMP_TYPE_BIT == 0 { TimestampType::CreateTime } else { TimestampType::LogAppendTime }
    }

    pub fn is_transactional(&self) -> bool {
        self.attributes() & TRANSACTIONAL_BIT != 0
    }

    /// Transaction markers and other control records, never shown to applications.
    pub fn is_control(&self) -> bool {
        self.attributes() & CONTROL_BIT != 0
    }

    /// The base timestamp holds the delete horizon of compaction (KIP-534).
    pub fn has_delete_horizon(&self) -> bool {
        self.attributes() & DELETE_HORIZON_BIT != 0
    }

    /// What the records' timestamp deltas count from.
    pub fn base_timestamp(&self) -> Timestamp {
        Timestamp(self.header.base_timestamp.get())
    }

    pub fn max_timestamp(&self) -> Timestamp {
        Timestamp(self.header.max_timestamp.get())
    }

    pub fn producer_id(&self) -> ProducerId {
        ProducerId(self.header.producer_id.get())
    }

    pub fn producer_epoch(&self) -> ProducerEpoch {
        ProducerEpoch(self.header.producer_epoch.get())
    }

    /// Sequence number of the first record, -1 without a producer id.
    pub fn base_sequence(&self) -> i32 {
        self.header.base_sequence.get()
    }

    /// Records that the header claims.
    pub fn record_count(&self) -> i32 {
        self.header.record_count.get()
    }

    /// Whether the stored CRC-32C is right.
    pub fn crc_valid(&self) -> bool {
        self.crc() == crc(self.bytes)
    }
}

impl std::fmt::Debug for BatchView<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BatchView")
            .field("base_offset", &self.base_offset())
            .field("last_offset_delta", &self.last_offset_delta())
            .field("leader_epoch", &self.leader_epoch())
            .field("attributes", &self.attributes())
            .field("producer_id", &self.producer_id())
            .field("record_count", &self.record_count())
            .field("total_bytes", &self.total_bytes())
            .finish_non_exhaustive()
    }
}

/// Size of the batch that starts `bytes`, from its length field; `None` while fewer than 17 bytes are there.
pub fn total_bytes(bytes: &[u8]) -> Result<Option<usize>, FramingError> {
    if bytes.len() < UP_TO_MAGIC_BYTES {
        return Ok(None);
    }
    let Some(length) = field::<4>(bytes, LENGTH_AT).map(i32::from_be_bytes) else { return Ok(None) };
    let magic = bytes.get(MAGIC_AT).map_or(-1, |&byte| byte as i8);
    if magic != MAGIC {
        return Err(FramingError::Magic(magic));
    }
    let total = usize::try_from(length).map_err(|_| FramingError::Length(length))? + LOG_OVERHEAD_BYTES;
    if total < HEADER_BYTES { Err(FramingError::Length(length)) } else { Ok(Some(total)) }
}

/// First and last offset of the batch that starts `bytes`, as its header has them; `None` while that is not there as a whole.
pub fn offsets(bytes: &[u8]) -> Option<(Offset, Offset)> {
    let header = Header::ref_from_bytes(bytes.get(..HEADER_BYTES)?).ok()?;
    let base = header.base_offset.get();
    Some((Offset(base), Offset(base.wrapping_add(i64::from(header.last_offset_delta.get())))))
}

/// The batches of `bytes`, one after the other. Bytes after the last complete batch end the iteration with `Truncated`; any error is
/// the last item.
pub fn batches(bytes: &[u8]) -> Batches<'_> {
    Batches { rest: bytes }
}

/// See [`batches`].
#[derive(Debug, Clone)]
pub struct Batches<'a> {
    rest: &'a [u8],
}

impl<'a> Batches<'a> {
    /// The bytes not yet iterated.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Batches<'a> {
    type Item = Result<BatchView<'a>, FramingError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let batch = BatchView::parse(self.rest);
        self.rest = match &batch {
            Ok(batch) => self.rest.get(batch.total_bytes()..).unwrap_or_default(),
            Err(_) => &[],
        };
        Some(batch)
    }
}

/// Assigns base offset and leader epoch in place; the CRC stays right.
///
/// # Panics
/// When `batch` is shorter than a batch header: only batches that were parsed are patched.
pub fn patch_base_offset_and_epoch(batch: &mut [u8], base_offset: Offset, epoch: LeaderEpoch) {
    assert!(batch.len() >= HEADER_BYTES, "patching {} bytes that are no batch", batch.len());
    put(batch, 0, &base_offset.get().to_be_bytes());
    put(batch, LEADER_EPOCH_AT, &epoch.get().to_be_bytes());
}

/// Makes the batch's timestamp type LogAppendTime with `timestamp` for all records, and its CRC right again.
///
/// # Panics
/// As [`patch_base_offset_and_epoch`].
pub fn set_max_timestamp_and_log_append_time(batch: &mut [u8], timestamp: Timestamp) {
    set_max_timestamp(batch, TimestampType::LogAppendTime, timestamp);
}

/// Sets timestamp type and max timestamp (`DefaultRecordBatch.setMaxTimestamp`), and the CRC where something changed.
pub fn set_max_timestamp(batch: &mut [u8], timestamp_type: TimestampType, timestamp: Timestamp) {
    assert!(batch.len() >= HEADER_BYTES, "patching {} bytes that are no batch", batch.len());
    let before = field::<2>(batch, ATTRIBUTES_AT).map_or(0, i16::from_be_bytes);
    let attributes = match timestamp_type {
        TimestampType::CreateTime => before & !TIMESTAMP_TYPE_BIT,
        TimestampType::LogAppendTime => before | TIMESTAMP_TYPE_BIT,
    };
    if attributes == before && field::<8>(batch, MAX_TIMESTAMP_AT) == Some(timestamp.get().to_be_bytes()) {
        return;
    }
    put(batch, ATTRIBUTES_AT, &attributes.to_be_bytes());
    put(batch, MAX_TIMESTAMP_AT, &timestamp.get().to_be_bytes());
    let crc = crc(batch);
    put(batch, CRC_AT, &crc.to_be_bytes());
}

/// The CRC-32C a batch should carry.
pub fn crc(batch: &[u8]) -> u32 {
    crc32c::crc32c(batch.get(ATTRIBUTES_AT..).unwrap_or_default())
}

pub(crate) fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk::<N>().copied()
}

pub(crate) fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::BatchBuilder;

    fn batch(records: usize) -> Vec<u8> {
        let mut builder = BatchBuilder::new(Codec::None).base_timestamp(Timestamp(1000));
        for i in 0..records {
            builder.append(Timestamp(1000 + i as i64), Some(b"key"), Some(b"value"), &[]);
        }
        builder.build().to_vec()
    }

    #[test]
    fn header_fields_are_where_kafka_puts_them() {
        let mut bytes = vec![0u8; HEADER_BYTES];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = at as u8;
        }
        put(&mut bytes, LENGTH_AT, &49i32.to_be_bytes());
        bytes[MAGIC_AT] = 2;
        let view = BatchView::parse(&bytes).expect("whole");
        assert_eq!(view.base_offset().get(), 0x0001020304050607);
        assert_eq!(view.leader_epoch().get(), 0x0c0d0e0f);
        assert_eq!(view.crc(), 0x11121314);
        assert_eq!(view.attributes(), 0x1516);
        assert_eq!(view.last_offset_delta(), 0x1718191a);
        assert_eq!(view.base_timestamp().get(), 0x1b1c1d1e1f202122);
        assert_eq!(view.max_timestamp().get(), 0x232425262728292a);
        assert_eq!(view.producer_id().get(), 0x2b2c2d2e2f303132);
        assert_eq!(view.producer_epoch().get(), 0x3334);
        assert_eq!(view.base_sequence(), 0x35363738);
        assert_eq!(view.record_count(), 0x393a3b3c);
        assert_eq!(view.records(), b"");
    }

    #[test]
    fn iteration_ends_at_damage() {
        let one = batch(2);
        let three = [one.clone(), one.clone(), one.clone()].concat();
        assert_eq!(batches(&three).filter_map(Result::ok).count(), 3);
        assert_eq!(batches(&[]).count(), 0);
        for cut in 1..one.len() {
            let got: Vec<_> = batches(&three[..one.len() + cut]).collect();
            assert_eq!(got.len(), 2);
            assert_eq!(got[1].as_ref().err(), Some(&FramingError::Truncated), "{cut}");
        }
        let mut bad = three.clone();
        bad[one.len() + MAGIC_AT] = 1;
        assert_eq!(batches(&bad).nth(1).and_then(Result::err), Some(FramingError::Magic(1)));
        for length in [-1i32, 0, 48] {
            let mut bad = three.clone();
            put(&mut bad, LENGTH_AT, &length.to_be_bytes());
            assert_eq!(batches(&bad).collect::<Vec<_>>().len(), 1);
            assert_eq!(batches(&bad).next().and_then(Result::err), Some(FramingError::Length(length)));
        }
    }

    #[test]
    fn offset_and_epoch_lie_outside_the_crc() {
        let mut bytes = batch(3);
        patch_base_offset_and_epoch(&mut bytes, Offset(500), LeaderEpoch(7));
        let view = BatchView::parse(&bytes).expect("whole");
        assert!(view.crc_valid());
        assert_eq!((view.base_offset(), view.last_offset(), view.leader_epoch()), (Offset(500), Offset(502), LeaderEpoch(7)));
    }

    #[test]
    fn log_append_time_keeps_the_crc_right() {
        let mut bytes = batch(3);
        set_max_timestamp_and_log_append_time(&mut bytes, Timestamp(99_000));
        let view = BatchView::parse(&bytes).expect("whole");
        assert!(view.crc_valid());
        assert_eq!((view.timestamp_type(), view.max_timestamp()), (TimestampType::LogAppendTime, Timestamp(99_000)));
        bytes[HEADER_BYTES] ^= 1;
        assert!(!BatchView::parse(&bytes).expect("whole").crc_valid());
    }
}
