//! The fast path accepts what kafka-protocol accepts, and sees the same.
#![no_main]

use odradek_fuzz as _;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use odradek_wire::{api, messages, produce};

fuzz_target!(|data: &[u8]| {
    let Some((&version, body)) = data.split_first() else { return };
    let version = api::PRODUCE_VERSION_MIN + i16::from(version % 11);
    let body = Bytes::copy_from_slice(body);
    let fast = produce::ProduceRequest::parse(&body, version);
    let slow = odradek_wire::decode::<messages::ProduceRequest>(api::PRODUCE, &mut body.clone(), version);
    let Ok(slow) = slow else { return };
    let fast = fast.expect("the fast path refuses what the decoder accepts");
    assert_eq!((fast.acks, fast.timeout_ms, fast.topics.len()), (slow.acks, slow.timeout_ms, slow.topic_data.len()));
    for (fast, slow) in fast.topics.iter().zip(&slow.topic_data) {
        assert!(fast.partitions.iter().map(|p| (p.index.get(), &p.records)).eq(slow.partition_data.iter().map(|p| (p.index, &p.records))));
    }
});
