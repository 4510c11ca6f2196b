//! The names of the cases are those of the conformance questions put to Apache Kafka 4.3.1; the expected codes are its answers.

use super::*;
use crate::batch::{ATTRIBUTES_AT, CONTROL_BIT, CRC_AT, LENGTH_AT, TIMESTAMP_TYPE_BIT, TRANSACTIONAL_BIT, crc, put};
use crate::compress::compress;
use crate::records::{BatchBuilder, RecordReader};
use crate::varint::put_signed;
use odradek_base::Rng;

const NOW: Timestamp = Timestamp(1_700_000_000_000);
const HOUR: i64 = 3_600_000;

fn record(key: Option<&[u8]>, value: Option<&[u8]>, offset_delta: i64) -> Vec<u8> {
    let mut body = vec![0, 0];
    put_signed(&mut body, offset_delta);
    for field in [key, value] {
        put_signed(&mut body, field.map_or(-1, |field| field.len() as i64));
        body.extend_from_slice(field.unwrap_or_default());
    }
    body.push(0);
    let mut out = Vec::new();
    put_signed(&mut out, body.len() as i64);
    out.extend_from_slice(&body);
    out
}

fn three() -> Vec<u8> {
    (0..3).flat_map(|i| record(Some(format!("k{i}").as_bytes()), Some(b"v"), i)).collect()
}

/// A batch with every header field open to lies.
#[derive(Clone)]
struct Lie {
    base: i64,
    length: Option<i32>,
    magic: i8,
    crc: Option<u32>,
    attributes: i16,
    last_delta: i32,
    timestamp: i64,
    max_timestamp: Option<i64>,
    producer: (i64, i16, i32),
    count: i32,
    records: Vec<u8>,
    after: Vec<u8>,
}

fn good() -> Lie {
    Lie {
        base: 0,
        length: None,
        magic: 2,
        crc: None,
        attributes: 0,
        last_delta: 2,
        timestamp: NOW.get(),
        max_timestamp: None,
        producer: (-1, -1, -1),
        count: 3,
        records: three(),
        after: Vec::new(),
    }
}

impl Lie {
    fn bytes(&self) -> Bytes {
        let mut out = Vec::new();
        out.extend_from_slice(&self.base.to_be_bytes());
        out.extend_from_slice(&self.length.unwrap_or(self.records.len() as i32 + 49).to_be_bytes());
        out.extend_from_slice(&(-1i32).to_be_bytes());
        out.push(self.magic as u8);
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.attributes.to_be_bytes());
        out.extend_from_slice(&self.last_delta.to_be_bytes());
        out.extend_from_slice(&self.timestamp.to_be_bytes());
        out.extend_from_slice(&self.max_timestamp.unwrap_or(self.timestamp).to_be_bytes());
        out.extend_from_slice(&self.producer.0.to_be_bytes());
        out.extend_from_slice(&self.producer.1.to_be_bytes());
        out.extend_from_slice(&self.producer.2.to_be_bytes());
        out.extend_from_slice(&self.count.to_be_bytes());
        out.extend_from_slice(&self.records);
        let right = crc(&out);
        put(&mut out, CRC_AT, &self.crc.unwrap_or(right).to_be_bytes());
        out.extend_from_slice(&self.after);
        Bytes::from(out)
    }

    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn judge(&self, rules: ValidationRules) -> Result<ValidBatch, BatchError> {
        both_ways(&self.bytes(), rules)
    }
}

/// At once and in slices: the same.
fn both_ways(bytes: &Bytes, rules: ValidationRules) -> Result<ValidBatch, BatchError> {
    let whole = validate(bytes, &rules, NOW);
    let mut validator = Validator::new(bytes.clone(), rules, NOW);
    let sliced = loop {
        if let Poll::Ready(result) = validator.step(5) {
            break result;
        }
    };
    // Malformed records may be blamed on another field when they cross slices.
    match (&whole, &sliced) {
        (Err(whole), Err(sliced)) => assert_eq!((whole.code, &whole.record_errors), (sliced.code, &sliced.record_errors)),
        _ => assert_eq!(whole, sliced),
    }
    whole
}

fn packed(codec: Codec, records: &[u8]) -> Lie {
    let mut lie = good();
    lie.attributes = i16::from(codec.id());
    lie.records = compress(codec, records).expect("into memory");
    lie
}

fn rules() -> ValidationRules {
    ValidationRules::default()
}

fn to(codec: Codec) -> ValidationRules {
    ValidationRules { compression: Some(codec.into()), ..rules() }
}

#[test]
fn kafkas_answers() {
    use ErrorCode::*;
    let in_v6 = ValidationRules { zstd_allowed: false, ..rules() };
    let small = ValidationRules { max_message_bytes: 1000, ..rules() };
    let compacted = ValidationRules { compacted: true, ..rules() };
    let before_max = ValidationRules { timestamp_before_max_ms: 1000, ..rules() };
    let append_time = ValidationRules { timestamp_type: TimestampType::LogAppendTime, ..rules() };
    let gap = [record(Some(b"a"), None, 0), record(Some(b"b"), None, 2), record(Some(b"c"), None, 5)].concat();
    let back = [record(Some(b"a"), None, 1), record(Some(b"b"), None, 0), record(Some(b"c"), None, 2)].concat();
    let null_keys = [record(Some(b"a"), Some(b"1"), 0), record(None, Some(b"2"), 1), record(None, Some(b"3"), 2)].concat();
    let one = |records: Vec<u8>| good().with(|b| (b.records, b.count, b.last_delta) = (records, 1, 0));
    let (wide, wider) = (vec![b'x'; 2000], vec![b'x'; 1_048_600]);
    let header_null_key = vec![20, 0, 0, 0, 2, b'k', 2, b'v', 2, 1, 0];
    let mut length_beyond = record(None, None, 0);
    length_beyond[0] = 0;
    let second = good().bytes().to_vec();
    let cases: Vec<(&str, Lie, ValidationRules, Option<ErrorCode>)> = vec![
        ("ok", good(), rules(), None),
        ("too-large", one(record(Some(b"k"), Some(&wider), 0)), rules(), Some(MessageTooLarge)),
        ("max-message-bytes", one(record(Some(b"k"), Some(&wide), 0)), small, Some(MessageTooLarge)),
        ("future-timestamp", good().with(|b| b.timestamp += 3 * HOUR), rules(), Some(InvalidTimestamp)),
        ("ancient-timestamp", good().with(|b| b.timestamp = 1000), rules(), None),
        ("no-timestamp", good().with(|b| b.timestamp = -1), rules(), None),
        ("before-max", good().with(|b| b.timestamp -= HOUR), before_max, Some(InvalidTimestamp)),
        ("append-time", good(), append_time, None),
        ("append-time-far-future", good().with(|b| b.timestamp += 9 * HOUR), append_time, None),
        ("compacted-null-key", good().with(|b| b.records = null_keys), compacted, Some(InvalidRecord)),
        ("compacted-null-value", one(record(Some(b"a"), None, 0)), compacted, None),
        ("wrong-crc", good().with(|b| b.crc = Some(1)), rules(), Some(CorruptMessage)),
        ("magic-1", good().with(|b| b.magic = 1), rules(), Some(InvalidRecord)),
        ("magic-0", good().with(|b| b.magic = 0), rules(), Some(InvalidRecord)),
        ("magic-3", good().with(|b| b.magic = 3), rules(), Some(CorruptMessage)),
        ("magic-minus-1", good().with(|b| b.magic = -1), rules(), Some(CorruptMessage)),
        ("count-too-high", good().with(|b| b.count = 5), rules(), Some(InvalidRecord)),
        ("count-too-low", good().with(|b| b.count = 2), rules(), Some(InvalidRecord)),
        ("count-zero", good().with(|b| b.count = 0), rules(), Some(InvalidRecord)),
        ("count-negative", good().with(|b| b.count = -1), rules(), Some(InvalidRecord)),
        ("last-delta-wrong", good().with(|b| b.last_delta = 9), rules(), Some(InvalidRecord)),
        ("last-delta-negative", good().with(|b| b.last_delta = -3), rules(), Some(InvalidRecord)),
        ("inner-offset-gap", good().with(|b| (b.records, b.last_delta) = (gap, 5)), rules(), Some(InvalidRecord)),
        ("inner-offset-back", good().with(|b| b.records = back), rules(), None),
        ("base-offset-set", good().with(|b| b.base = 500), rules(), Some(InvalidRecord)),
        ("base-offset-negative", good().with(|b| b.base = -5), rules(), Some(InvalidRecord)),
        ("two-batches", good().with(|b| b.after = second), rules(), Some(InvalidRecord)),
        ("batch-without-records", good().with(|b| (b.records, b.count, b.last_delta) = (vec![], 0, 0)), rules(), Some(InvalidRecord)),
        ("length-negative", good().with(|b| b.length = Some(-1)), rules(), Some(CorruptMessage)),
        ("length-beyond", good().with(|b| b.length = Some(5000)), rules(), Some(InvalidRecord)),
        ("length-short", good().with(|b| b.length = Some(20)), rules(), Some(CorruptMessage)),
        ("trailing-bytes", good().with(|b| b.after = b"xxxx".to_vec()), rules(), None),
        ("record-length-negative", good().with(|b| b.records = [vec![9], vec![0; 20]].concat()), rules(), Some(InvalidRecord)),
        ("record-length-beyond", one([vec![0xc0, 0x9a, 0x0c], vec![0; 20]].concat()), rules(), Some(InvalidRecord)),
        ("record-length-zero", one(length_beyond), rules(), Some(InvalidRecord)),
        ("gzip-ok", packed(Codec::Gzip, &three()), rules(), None),
        (
            "gzip-garbage",
            good().with(|b| (b.attributes, b.records) = (1, b"not gzip at all, but long enough".to_vec())),
            rules(),
            Some(CorruptMessage),
        ),
        ("gzip-count-too-high", packed(Codec::Gzip, &three()).with(|b| b.count = 4), rules(), Some(InvalidRecord)),
        (
            "gzip-count-and-delta-too-high",
            packed(Codec::Gzip, &three()).with(|b| (b.count, b.last_delta) = (4, 3)),
            rules(),
            Some(InvalidRecord),
        ),
        ("gzip-to-lz4-topic", packed(Codec::Gzip, &three()), to(Codec::Lz4), None),
        (
            "garbage-to-lz4-topic",
            good().with(|b| (b.attributes, b.records) = (1, b"not gzip".to_vec())),
            to(Codec::Lz4),
            Some(CorruptMessage),
        ),
        ("zstd-v6", packed(Codec::Zstd, &three()), in_v6, Some(UnsupportedCompressionType)),
        ("zstd-v7", packed(Codec::Zstd, &three()), rules(), None),
        ("codec-5", good().with(|b| b.attributes = 5), rules(), Some(UnsupportedCompressionType)),
        ("codec-7", good().with(|b| b.attributes = 7), rules(), Some(UnsupportedCompressionType)),
        ("control-batch", good().with(|b| b.attributes = CONTROL_BIT), rules(), Some(InvalidRecord)),
        ("unused-attribute", good().with(|b| b.attributes = 1 << 9), rules(), None),
        (
            "transactional-without-id",
            good().with(|b| (b.attributes, b.producer) = (TRANSACTIONAL_BIT, (5, 0, 0))),
            rules(),
            Some(TransactionalIdAuthorizationFailed),
        ),
        ("pid-without-epoch", good().with(|b| b.producer = (5, -1, 0)), rules(), None),
        ("pid-without-sequence", good().with(|b| b.producer = (5, 0, -1)), rules(), Some(InvalidRecord)),
        ("max-timestamp-wrong", good().with(|b| b.max_timestamp = Some(1)), rules(), None),
        ("header-null-key", one(header_null_key), rules(), Some(InvalidRecord)),
    ];
    for (name, lie, rules, expected) in cases {
        let result = lie.judge(rules);
        assert_eq!(result.as_ref().err().map(|error| error.code), expected, "{name}: {result:?}");
        if let Ok(batch) = result {
            let view = BatchView::parse(&batch.bytes).expect(name);
            assert!(view.crc_valid(), "{name}");
            let records: Vec<_> = RecordReader::new(&batch.bytes, 1 << 20).expect(name).map(|record| record.expect(name)).collect();
            assert!(records.iter().enumerate().all(|(i, record)| record.offset.get() == i as i64), "{name}: {records:?}");
            assert_eq!(records.len() as i32, batch.record_count, "{name}");
        }
    }
    assert_eq!(validate(&Bytes::new(), &rules(), NOW).expect_err("empty").code, InvalidRecord);
    for cut in 0..61 {
        let cut = validate(&good().bytes().slice(..cut), &rules(), NOW).expect_err("cut off");
        assert!(matches!(cut.code, InvalidRecord | CorruptMessage));
    }
}

#[test]
fn record_errors_name_the_records() {
    let null_keys = [record(Some(b"a"), Some(b"1"), 0), record(None, Some(b"2"), 1), record(None, Some(b"3"), 2)].concat();
    let refused = good().with(|b| b.records = null_keys).judge(ValidationRules { compacted: true, ..rules() }).expect_err("null keys");
    assert_eq!(refused.record_errors.iter().map(|error| error.batch_index).collect::<Vec<_>>(), [1, 2]);
    let refused = good().with(|b| b.timestamp += 3 * HOUR).judge(rules()).expect_err("future");
    assert_eq!(refused.record_errors.len(), 3);
    let many: Vec<u8> = (0..5000).flat_map(|i| record(None, None, i)).collect();
    let refused = good()
        .with(|b| (b.records, b.count, b.last_delta) = (many, 5000, 4999))
        .judge(ValidationRules { compacted: true, ..rules() })
        .expect_err("null keys");
    assert_eq!(refused.record_errors.len(), RECORD_ERRORS_MAX);
}

#[test]
fn valid_batches_pass_byte_for_byte() {
    for codec in Codec::ALL {
        for rules in [rules(), to(codec)] {
            let lie = packed(codec, &three()).with(|b| (b.attributes, b.producer) = (b.attributes | 1 << 9, (5, 1, 7)));
            let bytes = lie.bytes();
            let batch = both_ways(&bytes, rules).expect("valid");
            assert_eq!(batch.bytes.as_ptr(), bytes.as_ptr(), "not even copied");
            assert_eq!(batch.bytes, bytes);
            assert_eq!((batch.record_count, batch.last_offset_delta, batch.codec), (3, 2, codec));
            assert_eq!((batch.producer_id, batch.producer_epoch, batch.base_sequence), (ProducerId(5), ProducerEpoch(1), 7));
        }
    }
}

#[test]
fn trailing_bytes_are_dropped() {
    let batch = good().with(|b| b.after = b"xxxx".to_vec()).judge(rules()).expect("valid");
    assert_eq!(batch.bytes, good().bytes());
}

#[test]
fn the_true_maximum_is_stored_and_found() {
    let mut builder = BatchBuilder::new(Codec::None);
    for timestamp in [5, 9, 3, 9] {
        builder.append(Timestamp(NOW.get() + timestamp), None, None, &[]);
    }
    let right = builder.build();
    let batch = both_ways(&right, rules()).expect("valid");
    assert_eq!(
        (batch.max_timestamp, batch.offset_of_max_timestamp_delta, batch.base_timestamp),
        (Timestamp(NOW.get() + 9), 1, Timestamp(NOW.get() + 5))
    );
    let mut wrong = right.to_vec();
    put(&mut wrong, 35, &1i64.to_be_bytes());
    let sum = crc(&wrong);
    put(&mut wrong, CRC_AT, &sum.to_be_bytes());
    assert_eq!(both_ways(&Bytes::from(wrong), rules()).expect("valid").bytes, right);
}

#[test]
fn forged_append_time() {
    let forged = good().with(|b| b.attributes = TIMESTAMP_TYPE_BIT);
    let append_time = ValidationRules { timestamp_type: TimestampType::LogAppendTime, ..rules() };
    let refused = forged.judge(append_time).expect_err("the broker's to say");
    assert_eq!((refused.code, refused.record_errors.len()), (ErrorCode::InvalidTimestamp, 3));
    // On a CreateTime topic Kafka takes the records' own timestamps and clears the flag.
    let batch = forged.judge(rules()).expect("valid");
    assert_eq!(batch.bytes, good().bytes());
}

#[test]
fn recompression_keeps_records_exactly() {
    let headers: [(&[u8], Option<&[u8]>); 3] = [(b"h", Some(b"1")), (b"h", Some(b"1")), (b"x", None)];
    let build = |codec| {
        let mut builder = BatchBuilder::new(codec).producer(ProducerId(3), ProducerEpoch(2), 5).transactional(true);
        for i in 0..200i64 {
            let value = vec![i as u8; (i * i % 3000) as usize];
            builder.append(Timestamp(NOW.get() - i), (i % 3 != 0).then_some(&b"key"[..]), Some(&value), &headers[..(i % 4) as usize]);
        }
        builder.build()
    };
    let read = |batch: &Bytes| RecordReader::new(batch, 1 << 20).expect("batch").map(|record| record.expect("record")).collect::<Vec<_>>();
    for from in Codec::ALL {
        for target in Codec::ALL {
            let original = build(from);
            let rules = ValidationRules { transactional_id: true, ..to(target) };
            let batch = both_ways(&original, rules).expect("valid");
            let view = BatchView::parse(&batch.bytes).expect("whole");
            assert_eq!((view.compression(), batch.codec), (Some(target), target));
            assert_eq!(read(&batch.bytes), read(&original), "{from} to {target}");
            assert_eq!(view.attributes() & !7, BatchView::parse(&original).expect("whole").attributes() & !7);
            assert_eq!((view.base_sequence(), view.producer_id()), (5, ProducerId(3)));
            let again = recompress(&original, target.into(), 1 << 20).expect("recompresses");
            assert_eq!(read(&again), read(&original));
        }
    }
    // What comes out must fit in max.message.bytes as well.
    let rules = ValidationRules { transactional_id: true, max_message_bytes: 100_000, ..to(Codec::None) };
    assert_eq!(validate(&build(Codec::Zstd), &rules, NOW).expect_err("grows").code, ErrorCode::MessageTooLarge);
}

#[test]
fn a_bomb_is_judged_in_slices_of_bounded_memory() {
    let judge = |bomb: &Lie, rules| {
        let (mut validator, mut slices) = (Validator::new(bomb.bytes(), rules, NOW), 0);
        loop {
            match validator.step(64 * 1024) {
                Poll::Pending => slices += 1,
                Poll::Ready(result) => return (result, slices),
            }
        }
    };
    let count = 200_000;
    let bomb = |records: Vec<u8>| packed(Codec::Zstd, &records).with(|b| (b.count, b.last_delta) = (count as i32, count as i32 - 1));
    let dense = bomb((0..count).flat_map(|i| record(None, None, i)).collect());
    let (result, slices) = judge(&dense, rules());
    assert_eq!(result.expect("valid").record_count, count as i32);
    assert!(slices > 15, "{slices}");
    let tight = ValidationRules { decompressed_bytes_max: 1 << 20, ..rules() };
    assert_eq!(judge(&dense, tight).0.expect_err("too much").code, ErrorCode::MessageTooLarge);
    // All at offset 0: a few hundred bytes that would become much more with offsets of their own.
    let same = bomb((0..count).flat_map(|_| record(None, None, 0)).collect());
    assert!(same.records.len() < 1000);
    let small = ValidationRules { max_message_bytes: 10_000, ..rules() };
    let (result, slices) = judge(&same, small);
    assert_eq!(result.expect_err("grows").code, ErrorCode::MessageTooLarge);
    assert!(slices < 10, "refused as soon as it shows, not after {slices} slices");
}

#[test]
fn damaged_codecs_and_inner_lengths() {
    let mut trailer = packed(Codec::Gzip, &three());
    let last = trailer.records.len() - 1;
    trailer.records[last] ^= 1;
    assert_eq!(trailer.judge(rules()).expect_err("trailer").code, ErrorCode::CorruptMessage);
    // Lengths inside that Kafka takes and its consumers cannot read: below -1, beyond the record, records that overlap.
    for records in [vec![12, 0, 0, 0, 3, 1, 0], vec![12, 0, 0, 0, 1, 5, 0], vec![12, 0, 0, 0, 2, 1, 0], vec![14, 0, 0, 0, 1, 1, 0, 0]] {
        for codec in Codec::ALL {
            let refused = packed(codec, &records).with(|b| (b.count, b.last_delta) = (1, 0)).judge(rules()).expect_err("malformed");
            assert_eq!(refused.code, ErrorCode::InvalidRecord, "{codec} {records:?}");
        }
    }
}

#[test]
fn segments_must_hold_the_batch() {
    let refused = good().judge(ValidationRules { segment_bytes: 70, ..rules() }).expect_err("larger than a segment");
    assert_eq!(refused.code, ErrorCode::RecordListTooLarge);
}

#[test]
fn mutations_with_a_right_crc_never_panic_and_stay_readable() {
    let mut accepted = 0;
    for seed in 0..6000 {
        let mut rng = Rng::with_seed(seed);
        let codec = Codec::ALL[rng.below(5) as usize];
        let mut bytes = packed(codec, &three()).bytes().to_vec();
        for _ in 0..=rng.below(3) {
            let at = if rng.chance(2) { ATTRIBUTES_AT as u64 + rng.below(40) } else { rng.below(bytes.len() as u64) } as usize;
            bytes[at] = if rng.chance(2) { bytes[at] ^ 1 << rng.below(8) } else { rng.next_u64() as u8 };
        }
        put(&mut bytes, 0, &[0; 8]);
        let length = bytes.len() as i32 - 12;
        put(&mut bytes, LENGTH_AT, &length.to_be_bytes());
        let sum = crc(&bytes);
        put(&mut bytes, CRC_AT, &sum.to_be_bytes());
        let rules = ValidationRules { transactional_id: true, compression: rng.chance(3).then_some(Codec::Lz4.into()), ..rules() };
        if let Ok(batch) = both_ways(&Bytes::from(bytes), rules) {
            accepted += 1;
            let count = RecordReader::new(&batch.bytes, 1 << 20).expect("readable").filter(Result::is_ok).count();
            assert_eq!(count as i32, batch.record_count, "seed {seed}");
        }
    }
    assert!(accepted > 100, "{accepted}");
}
