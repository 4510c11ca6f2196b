//! Whatever the records, validation answers, the same in one go and in slices; what it accepts can be read back in full.
//!
//! The first byte chooses rules and whether length and CRC are put right first, so that the fuzzer gets past them.
#![no_main]

use odradek_fuzz as _;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use odradek_base::Timestamp;
use odradek_wire::batch::{self, HEADER_BYTES, TimestampType, ValidationRules, Validator};
use odradek_wire::compress::Codec;
use odradek_wire::records::RecordReader;
use std::task::Poll;

const NOW: Timestamp = Timestamp(1_700_000_000_000);
const DECOMPRESSED_BYTES_MAX: usize = 1 << 20;

fuzz_target!(|data: &[u8]| {
    let Some((&choice, records)) = data.split_first() else { return };
    let mut records = records.to_vec();
    if choice & 1 == 0 && records.len() >= HEADER_BYTES {
        let length = records.len() as i32 - 12;
        records[..8].fill(0);
        records[8..12].copy_from_slice(&length.to_be_bytes());
        records[16] = 2;
        let crc = batch::crc(&records);
        records[17..21].copy_from_slice(&crc.to_be_bytes());
    }
    let records = Bytes::from(records);
    let rules = ValidationRules {
        compacted: choice & 2 != 0,
        transactional_id: true,
        timestamp_type: if choice & 4 != 0 { TimestampType::LogAppendTime } else { TimestampType::CreateTime },
        compression: Codec::from_id(choice >> 3 & 7).map(Into::into),
        decompressed_bytes_max: DECOMPRESSED_BYTES_MAX as u64,
        ..ValidationRules::default()
    };
    let whole = batch::validate(&records, &rules, NOW);
    let mut validator = Validator::new(records.clone(), rules, NOW);
    let sliced = loop {
        if let Poll::Ready(result) = validator.step(100) {
            break result;
        }
    };
    assert_eq!(whole.as_ref().ok(), sliced.as_ref().ok());
    let Ok(valid) = whole else { return };
    let read: Result<Vec<_>, _> = RecordReader::new(&valid.bytes, 2 * DECOMPRESSED_BYTES_MAX).expect("an accepted batch").collect();
    let read = read.expect("accepted records");
    assert_eq!(read.len() as i32, valid.record_count);
    assert!(read.iter().enumerate().all(|(index, record)| record.offset.get() == index as i64));
});
