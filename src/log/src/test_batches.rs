//! Batches for tests.

use bytes::Bytes;
use odradek_base::{ProducerEpoch, ProducerId, Timestamp};
use odradek_wire::batch::{BatchView, ValidBatch, ValidationRules, validate};
use odradek_wire::compress::Codec;
use odradek_wire::records::BatchBuilder;

/// An uncompressed batch of `records` records of `value_bytes` each, timestamps 1000, 1001...
pub fn plain(records: usize, value_bytes: usize) -> Bytes {
    at(1000, records, value_bytes)
}

/// As [`plain`] with timestamps from `timestamp` on.
pub fn at(timestamp: i64, records: usize, value_bytes: usize) -> Bytes {
    let mut builder = BatchBuilder::new(Codec::None).base_timestamp(Timestamp(timestamp));
    for i in 0..records {
        builder.append(Timestamp(timestamp + i as i64), None, Some(&vec![i as u8; value_bytes]), &[]);
    }
    builder.build()
}

/// A batch of an idempotent producer.
pub fn idempotent(producer: i64, epoch: i16, sequence: i32, records: usize) -> ValidBatch {
    let mut builder =
        BatchBuilder::new(Codec::None).base_timestamp(Timestamp(1000)).producer(ProducerId(producer), ProducerEpoch(epoch), sequence);
    for i in 0..records {
        builder.append(Timestamp(1000 + i as i64), None, Some(b"value"), &[]);
    }
    valid(builder.build())
}

/// What validation makes of `bytes`.
pub fn valid(bytes: Bytes) -> ValidBatch {
    let now = BatchView::parse(&bytes).expect("a batch").max_timestamp();
    validate(&bytes, &ValidationRules { max_message_bytes: usize::MAX, segment_bytes: usize::MAX, ..ValidationRules::default() }, now)
        .expect("a valid batch")
}
