//! Index of aborted transactions (`.txnindex`, Kafka's `TransactionIndex`): entries of 34 bytes, big-endian: version i16 (0), producer id i64,
//! first offset i64, last offset (of the marker) i64, last stable offset i64.

use odradek_base::{Offset, ProducerId};

pub const ENTRY_BYTES: usize = 34;
const VERSION: i16 = 0;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbortedTransaction {
    pub producer_id: ProducerId,
    pub first_offset: Offset,
    /// Offset of the abort marker.
    pub last_offset: Offset,
    /// The last stable offset once the marker was written: where a search may stop.
    pub last_stable_offset: Offset,
}

impl AbortedTransaction {
    pub fn encode(&self) -> [u8; ENTRY_BYTES] {
        let mut out = [0; ENTRY_BYTES];
        out[0..2].copy_from_slice(&VERSION.to_be_bytes());
        out[2..10].copy_from_slice(&self.producer_id.0.to_be_bytes());
        out[10..18].copy_from_slice(&self.first_offset.0.to_be_bytes());
        out[18..26].copy_from_slice(&self.last_offset.0.to_be_bytes());
        out[26..34].copy_from_slice(&self.last_stable_offset.0.to_be_bytes());
        out
    }
}

/// The entries of a file, up to the first that is none.
pub fn decode(bytes: &[u8]) -> Vec<AbortedTransaction> {
    let long = |chunk: &[u8], at: usize| chunk.get(at..).and_then(|rest| rest.first_chunk::<8>()).map(|raw| i64::from_be_bytes(*raw));
    bytes
        .chunks_exact(ENTRY_BYTES)
        .map_while(|chunk| {
            if chunk.first_chunk::<2>().map(|raw| i16::from_be_bytes(*raw)) != Some(VERSION) {
                return None;
            }
            let entry = AbortedTransaction {
                producer_id: ProducerId(long(chunk, 2)?),
                first_offset: Offset(long(chunk, 10)?),
                last_offset: Offset(long(chunk, 18)?),
                last_stable_offset: Offset(long(chunk, 26)?),
            };
            (entry.first_offset <= entry.last_offset).then_some(entry)
        })
        .collect()
}
