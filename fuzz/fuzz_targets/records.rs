//! Reading a batch's records ends, and a batch built from them reads the same.
#![no_main]

use odradek_fuzz as _;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use odradek_base::Timestamp;
use odradek_wire::compress::Codec;
use odradek_wire::records::{BatchBuilder, RecordReader};

const MAX_BYTES: usize = 1 << 20;

fuzz_target!(|data: &[u8]| {
    let batch = Bytes::copy_from_slice(data);
    for found in odradek_wire::batch::batches(&batch) {
        let _ = found.map(|view| (view.crc_valid(), view.last_offset()));
    }
    let Ok(reader) = RecordReader::new(&batch, MAX_BYTES) else { return };
    let Ok(records) = reader.collect::<Result<Vec<_>, _>>() else { return };
    let mut builder = BatchBuilder::new(Codec::None).base_timestamp(Timestamp(0));
    for (delta, record) in records.iter().enumerate() {
        let headers: Vec<_> = record.headers.iter().map(|header| (&header.key[..], header.value.as_deref())).collect();
        builder.append_at(delta as i32, record.timestamp, record.key.as_deref(), record.value.as_deref(), &headers);
    }
    let again: Vec<_> =
        RecordReader::new(&builder.build(), usize::MAX).expect("our own batch").map(|record| record.expect("our own record")).collect();
    assert_eq!(again.len(), records.len());
    for (again, record) in again.iter().zip(&records) {
        assert_eq!(
            (&again.key, &again.value, &again.headers, again.timestamp),
            (&record.key, &record.value, &record.headers, record.timestamp)
        );
    }
});
