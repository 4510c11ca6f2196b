//! A journal file with anything in it: blocks are found, planned and taken apart without a panic, whether their checksums are wrong (as
//! the bytes come) or right (sealed here, since no fuzzer guesses a CRC).
#![no_main]

use odradek_fuzz as _;

use libfuzzer_sys::fuzz_target;
use odradek_base::{BLOCK_ALIGNMENT, ShardId};
use odradek_log::journal::format::{BLOCK_HEADER_BYTES, BlockHeader};
use odradek_log::journal::replay::{entries, plan, scan};
use odradek_log::journal::space::FileNumber;

const FILE: FileNumber = FileNumber(3);

fuzz_target!(|data: &[u8]| {
    look(data);
    let mut block = data.to_vec();
    if block.len() < BLOCK_HEADER_BYTES {
        return;
    }
    block[..8].copy_from_slice(b"ODRAJRNL");
    block[12..16].copy_from_slice(&[1, 0, 0, 0]); // version, shard
    // Payload and file end somewhere near each other, as the input says.
    let payload = u32::from(u16::from_le_bytes([block[32], block[33]]));
    block[32..36].copy_from_slice(&payload.to_le_bytes());
    let end = BLOCK_HEADER_BYTES + payload as usize;
    if end <= block.len() {
        let crc = crc32c::crc32c(&block[12..end]);
        block[8..12].copy_from_slice(&crc.to_le_bytes());
        block.resize(block.len().next_multiple_of(BLOCK_ALIGNMENT), 0);
    }
    look(&block);
});

fn look(bytes: &[u8]) {
    let (mut found, mut position) = (Vec::new(), 0);
    while position < bytes.len() {
        let (done, need) = scan(&bytes[position..], FILE, position as u64, ShardId(0), &mut found);
        assert!(done <= bytes.len() - position, "{done} bytes done of {}", bytes.len() - position);
        position += done + BLOCK_ALIGNMENT;
        if need == 0 {
            break;
        }
    }
    for block in &found {
        let bytes = &bytes[block.position as usize..block.position as usize + block.block_bytes as usize];
        assert!(BlockHeader::decode(bytes).is_some());
        for (entry, payload) in entries(bytes).into_iter().flatten() {
            assert_eq!(payload.len(), entry.payload_bytes as usize);
            assert!(payload.end <= bytes.len());
        }
    }
    let _ = entries(bytes);
    let last = found.iter().map(|block| block.sequence.0).max().unwrap_or(0);
    let plan = plan(found, &[FILE], None, last);
    assert!(plan.blocks.is_sorted_by_key(|block| block.sequence));
}
