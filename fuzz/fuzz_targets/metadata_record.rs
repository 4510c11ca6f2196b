//! A record of the metadata log decodes to an error or to something that is written and read again the same, and an image
//! takes it or refuses it.
#![no_main]

use odradek_fuzz as _;

use libfuzzer_sys::fuzz_target;
use odradek_cluster::{Image, MetadataRecord};

fuzz_target!(|data: &[u8]| {
    let Ok(record) = MetadataRecord::decode(data) else { return };
    assert_eq!(MetadataRecord::decode(&record.encode()), Ok(record.clone()));
    let mut image = Image::new("cluster");
    let _ = image.apply(&record);
});
