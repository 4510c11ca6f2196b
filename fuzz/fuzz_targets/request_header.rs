//! A header is read or refused; the body is a slice of the frame.
#![no_main]

use odradek_fuzz as _;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let frame = Bytes::copy_from_slice(data);
    if let Ok(request) = odradek_wire::parse_header(frame.clone()) {
        assert!(frame.ends_with(&request.body));
    }
});
