//! The first byte chooses the codec: damaged streams are refused within their bound, and what is compressed comes back.
#![no_main]

use odradek_fuzz as _;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use odradek_wire::compress::{Codec, compress, decompress};

const MAX_BYTES: usize = 1 << 20;

fuzz_target!(|data: &[u8]| {
    let Some((&choice, data)) = data.split_first() else { return };
    let codec = Codec::ALL[usize::from(choice) % Codec::ALL.len()];
    let input = Bytes::copy_from_slice(data);
    if let Ok(out) = decompress(codec, &input, MAX_BYTES) {
        assert!(out.len() <= MAX_BYTES);
    }
    let packed = Bytes::from(compress(codec, data).expect("into memory"));
    assert_eq!(decompress(codec, &packed, data.len()).expect("our own"), input);
});
