//! Records of `__transaction_state` in Kafka's format: TransactionLogKey, TransactionLogValue.
//!
//! Key, version 0: transactional id string.
//!
//! | value field | note |
//! |---|---|
//! | producer id i64, producer epoch i16, timeout i32 in ms, status i8 | |
//! | partitions nullable array: topic string, partition ids array of i32 | null in status Empty |
//! | last update i64, start i64, ms since the epoch | start -1: no transaction |
//! | tag 0 previous producer id i64, tag 1 next producer id i64, tag 2 client's transaction version i16 | version 1 |
//!
//! Version 1 uses compact encodings.

use crate::effects::CoordinatorRecord;
use crate::transaction::{Status, Transaction};
use bytes::Bytes;
use odradek_base::{ProducerEpoch, ProducerId, Timestamp};
use odradek_wire::fields::{FieldError, Reader, Writer};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const KEY_VERSION: i16 = 0;
const VALUE_VERSION_MAX: i16 = 1;

const TAG_PREVIOUS_PRODUCER_ID: u32 = 0;
const TAG_NEXT_PRODUCER_ID: u32 = 1;
const TAG_CLIENT_VERSION: u32 = 2;

/// Why a record of `__transaction_state` could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    #[error(transparent)]
    Field(#[from] FieldError),
    #[error("unknown version {version} of {what}")]
    UnknownVersion { what: &'static str, version: i16 },
    #[error("unknown transaction status {0}")]
    UnknownStatus(i8),
    #[error("a producer id or epoch is negative")]
    NoProducer,
}

pub(crate) fn decode_key(bytes: &[u8]) -> Result<&str, ReplayError> {
    let mut reader = Reader::new(bytes);
    match reader.i16()? {
        KEY_VERSION => Ok(reader.string(false)?),
        version => Err(ReplayError::UnknownVersion { what: "TransactionLogKey", version }),
    }
}

fn encode_key(id: &str) -> Bytes {
    let mut writer = Writer::with_capacity(4 + id.len());
    writer.i16(KEY_VERSION);
    writer.string(id);
    writer.finish()
}

pub(crate) fn record(id: &str, value: Option<&Transaction>) -> CoordinatorRecord {
    CoordinatorRecord { key: encode_key(id), value: value.map(encode) }
}

pub(crate) fn decode(bytes: &[u8]) -> Result<Transaction, ReplayError> {
    let mut reader = Reader::new(bytes);
    let version = reader.i16()?;
    if !(0..=VALUE_VERSION_MAX).contains(&version) {
        return Err(ReplayError::UnknownVersion { what: "TransactionLogValue", version });
    }
    let compact = version >= 1;
    let producer_id = ProducerId(reader.i64()?);
    let producer_epoch = ProducerEpoch(reader.i16()?);
    if producer_id < ProducerId(0) || producer_epoch < ProducerEpoch(0) {
        return Err(ReplayError::NoProducer);
    }
    let timeout_ms = reader.i32()?;
    let status = reader.i8()?;
    let status = Status::from_code(status).ok_or(ReplayError::UnknownStatus(status))?;
    let mut partitions: BTreeMap<Arc<str>, BTreeSet<i32>> = BTreeMap::new();
    for _ in 0..reader.nullable_count(compact)?.unwrap_or(0) {
        let indexes = partitions.entry(Arc::from(reader.string(compact)?)).or_default();
        for _ in 0..reader.count(compact)? {
            indexes.insert(reader.i32()?);
        }
        if compact {
            reader.skip_tags()?;
        }
    }
    let last_update = Timestamp(reader.i64()?);
    let start = Timestamp(reader.i64()?);
    let mut transaction = Transaction {
        producer_id,
        previous_producer_id: ProducerId::NONE,
        next_producer_id: ProducerId::NONE,
        producer_epoch,
        timeout_ms,
        status,
        partitions,
        last_update,
        start,
        client_version: 0,
    };
    if compact {
        reader.tags(|tag, field| {
            match tag {
                TAG_PREVIOUS_PRODUCER_ID => transaction.previous_producer_id = ProducerId(field.i64()?),
                TAG_NEXT_PRODUCER_ID => transaction.next_producer_id = ProducerId(field.i64()?),
                TAG_CLIENT_VERSION => transaction.client_version = field.i16()?,
                _ => {}
            }
            Ok(())
        })?;
    }
    Ok(transaction)
}

fn encode(transaction: &Transaction) -> Bytes {
    let mut writer = Writer::with_capacity(64);
    writer.i16(VALUE_VERSION_MAX);
    writer.i64(transaction.producer_id.get());
    writer.i16(transaction.producer_epoch.get());
    writer.i32(transaction.timeout_ms);
    writer.i8(transaction.status.code());
    if transaction.status == Status::Empty {
        writer.uvarint(0);
    } else {
        writer.compact_count(transaction.partitions.len());
        for (topic, indexes) in &transaction.partitions {
            writer.compact_string(topic);
            writer.compact_count(indexes.len());
            for &index in indexes {
                writer.i32(index);
            }
            writer.no_tags();
        }
    }
    writer.i64(transaction.last_update.get());
    writer.i64(transaction.start.get());
    let mut tags = Vec::new();
    for (tag, id) in [(TAG_PREVIOUS_PRODUCER_ID, transaction.previous_producer_id), (TAG_NEXT_PRODUCER_ID, transaction.next_producer_id)] {
        if id != ProducerId::NONE {
            tags.push((tag, Bytes::copy_from_slice(&id.get().to_be_bytes())));
        }
    }
    if transaction.client_version != 0 {
        tags.push((TAG_CLIENT_VERSION, Bytes::copy_from_slice(&transaction.client_version.to_be_bytes())));
    }
    writer.tags(&tags);
    writer.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Transaction {
        Transaction {
            producer_id: ProducerId(7),
            previous_producer_id: ProducerId::NONE,
            next_producer_id: ProducerId::NONE,
            producer_epoch: ProducerEpoch(2),
            timeout_ms: 60_000,
            status: Status::Empty,
            partitions: BTreeMap::new(),
            last_update: Timestamp(5),
            start: Timestamp::NONE,
            client_version: 0,
        }
    }

    #[test]
    fn layout_is_kafkas() {
        let record = record("x", Some(&sample()));
        assert_eq!(&record.key[..], b"\x00\x00\x00\x01x");
        let expected = b"\x00\x01\x00\x00\x00\x00\x00\x00\x00\x07\x00\x02\x00\x00\xea\x60\x00\x00\x00\x00\x00\x00\x00\x00\x00\x05\xff\xff\xff\xff\xff\xff\xff\xff\x00";
        assert_eq!(&record.value.unwrap()[..], expected);
    }

    #[test]
    fn values_round_trip() {
        assert_eq!(decode(&encode(&sample())), Ok(sample()));
        let full = Transaction {
            previous_producer_id: ProducerId(3),
            next_producer_id: ProducerId(9),
            status: Status::Ongoing,
            partitions: [(Arc::from("t"), [0, 5].into()), (Arc::from("u"), [1].into())].into(),
            start: Timestamp(4),
            client_version: 2,
            ..sample()
        };
        assert_eq!(decode(&encode(&full)), Ok(full));
    }

    #[test]
    fn version_0_is_read() {
        let v0 = b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x07\x00\x02\x00\x00\xea\x60\x01\x00\x00\x00\x01\x00\x01t\x00\x00\x00\x01\x00\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00\x05\xff\xff\xff\xff\xff\xff\xff\xff";
        let expected = Transaction { status: Status::Ongoing, partitions: [(Arc::from("t"), [5].into())].into(), ..sample() };
        assert_eq!(decode(v0), Ok(expected));
        let mut empty = v0[..17].to_vec();
        empty[16] = 0;
        empty.extend(b"\xff\xff\xff\xff\x00\x00\x00\x00\x00\x00\x00\x05\xff\xff\xff\xff\xff\xff\xff\xff");
        assert_eq!(decode(&empty), Ok(sample()));
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        assert_eq!(decode(&[0, 2]), Err(ReplayError::UnknownVersion { what: "TransactionLogValue", version: 2 }));
        let mut bytes = encode(&sample()).to_vec();
        bytes[16] = 8;
        assert_eq!(decode(&bytes), Err(ReplayError::UnknownStatus(8)));
        bytes[2] = 0x80;
        assert_eq!(decode(&bytes), Err(ReplayError::NoProducer));
        assert!(decode_key(&[0, 1, 0, 0]).is_err());
        assert!(decode_key(&[0, 0, 0, 9]).is_err());
    }
}
