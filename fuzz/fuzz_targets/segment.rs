//! A segment's files with anything in them. The log is scanned batch by batch from any offset; of each index only ascending entries are
//! believed, and looking something up in them stays inside the segment.
#![no_main]

use odradek_fuzz as _;

use libfuzzer_sys::fuzz_target;
use odradek_base::Offset;
use odradek_log::segment::names::{parse_partition_directory, parse_segment_file};
use odradek_log::segment::scan::{Scan, next};
use odradek_log::segment::{offset_index, time_index, transaction_index};

const BASE: Offset = Offset(1000);

fuzz_target!(|data: &[u8]| {
    for check in [true, false] {
        let (mut at, mut expected) = (0, Offset(0));
        while let Scan::Batch(batch) = next(&data[at..], expected, check) {
            assert!(batch.total_bytes() > 0 && batch.total_bytes() <= data.len() - at);
            assert!(batch.base_offset() >= expected && batch.last_offset() >= batch.base_offset());
            at += batch.total_bytes();
            if batch.last_offset().get() == i64::MAX {
                break;
            }
            expected = batch.last_offset().next();
        }
    }

    let log_bytes = data.len() as u64 * 7;
    let (offsets, _) = offset_index::decode(data, log_bytes);
    assert!(offsets.is_sorted_by_key(|entry| (entry.relative_offset, entry.position)));
    for target in [i64::MIN, 0, 1000, 1000 + i64::from(u32::MAX), i64::MAX] {
        assert!(u64::from(offset_index::lookup(&offsets, BASE, Offset(target))) <= log_bytes);
    }
    let (times, _) = time_index::decode(data);
    assert!(times.is_sorted_by_key(|entry| entry.timestamp));
    for aborted in transaction_index::decode(data) {
        assert!(aborted.first_offset <= aborted.last_offset);
    }

    if let Ok(name) = std::str::from_utf8(data) {
        let _ = (parse_segment_file(name), parse_partition_directory(name));
    }
});
