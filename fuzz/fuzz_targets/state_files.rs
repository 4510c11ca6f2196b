//! The small files of a data directory: a shard's state file, a producer snapshot (both also sealed with a right checksum here, since no
//! fuzzer guesses one), checkpoints, `partition.metadata`. Each decodes to nothing, or to something that is written and read again the same.
#![no_main]

use odradek_fuzz as _;

use libfuzzer_sys::fuzz_target;
use odradek_log::producer_state::{ProducerState, snapshot};
use odradek_log::{checkpoint, state};

fuzz_target!(|data: &[u8]| {
    shard_state(data);
    shard_state(&sealed(b"ODRSTATE\0\0\0\0\x01\0", 8..12, 12, data, |crc| crc.to_le_bytes()));
    snapshot_file(data);
    snapshot_file(&sealed(b"\0\x01\0\0\0\0", 2..6, 6, data, |crc| crc.to_be_bytes()));

    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some(entries) = checkpoint::decode_offsets(text) {
        let again = checkpoint::encode_offsets(entries.iter().map(|(topic, partition, offset)| (topic.as_str(), *partition, *offset)));
        assert_eq!(checkpoint::decode_offsets(&again), Some(entries));
    }
    if let Some(epochs) = checkpoint::decode_epochs(text) {
        assert_eq!(checkpoint::decode_epochs(&checkpoint::encode_epochs(&epochs)), Some(epochs));
    }
    if let Some(topic) = checkpoint::decode_partition_metadata(text) {
        assert_eq!(checkpoint::decode_partition_metadata(&checkpoint::encode_partition_metadata(topic)), Some(topic));
    }
});

/// `start`, then `data`, with the CRC-32C of everything from `from` in its place.
fn sealed(start: &[u8], crc_at: std::ops::Range<usize>, from: usize, data: &[u8], bytes: impl Fn(u32) -> [u8; 4]) -> Vec<u8> {
    let mut file = [start, data].concat();
    let crc = crc32c::crc32c(&file[from..]);
    file[crc_at].copy_from_slice(&bytes(crc));
    file
}

fn shard_state(bytes: &[u8]) {
    let Some(found) = state::decode(bytes) else { return };
    assert_eq!(state::decode(&state::encode(&found)).as_ref(), Some(&found));
    for segment in found.partitions.iter().flat_map(|partition| &partition.segments) {
        let _ = segment.restore();
    }
}

fn snapshot_file(bytes: &[u8]) {
    let Ok(producers) = snapshot::decode(bytes) else { return };
    let mut state = ProducerState::default();
    state.load(producers);
    // A file may name a producer twice; what was kept of it comes back.
    let once = snapshot::decode(&snapshot::encode(&state)).expect("a snapshot of our own");
    let mut again = ProducerState::default();
    again.load(once.clone());
    assert_eq!(snapshot::decode(&snapshot::encode(&again)).as_ref(), Ok(&once));
}
