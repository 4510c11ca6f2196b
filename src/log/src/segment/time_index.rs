//! Time index (`.timeindex`, Kafka's `TimeIndex`): entries of 12 bytes, big-endian: 8 bytes a timestamp, the largest of the segment so far;
//! 4 bytes the last offset of the batch that has it, relative to the segment's base offset. Both ascend, timestamps strictly.

use odradek_base::Timestamp;

pub const ENTRY_BYTES: usize = 12;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeEntry {
    pub timestamp: Timestamp,
    pub relative_offset: u32,
}

impl TimeEntry {
    pub fn encode(&self) -> [u8; ENTRY_BYTES] {
        let mut out = [0; ENTRY_BYTES];
        out[..8].copy_from_slice(&self.timestamp.0.to_be_bytes());
        out[8..].copy_from_slice(&self.relative_offset.to_be_bytes());
        out
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (timestamp, rest) = bytes.split_first_chunk::<8>()?;
        let offset = rest.first_chunk::<4>()?;
        Some(Self { timestamp: Timestamp(i64::from_be_bytes(*timestamp)), relative_offset: u32::from_be_bytes(*offset) })
    }
}

/// The believable entries of a file, as for the offset index.
pub fn decode(bytes: &[u8]) -> (Vec<TimeEntry>, bool) {
    let mut entries: Vec<TimeEntry> = Vec::with_capacity(bytes.len() / ENTRY_BYTES);
    for chunk in bytes.chunks_exact(ENTRY_BYTES) {
        let Some(entry) = TimeEntry::decode(chunk) else { break };
        let zero = chunk.iter().all(|&byte| byte == 0);
        let ascending = entries.last().is_none_or(|last| last.timestamp < entry.timestamp && last.relative_offset <= entry.relative_offset);
        if !ascending || zero {
            return (entries, !zero);
        }
        entries.push(entry);
    }
    (entries, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_round_trip_up_to_the_zeros() {
        let entries: Vec<_> = (1..=3).map(|i| TimeEntry { timestamp: Timestamp(i * 1000), relative_offset: i as u32 * 7 }).collect();
        let bytes: Vec<u8> = entries.iter().flat_map(TimeEntry::encode).collect();
        assert_eq!(decode(&bytes), (entries.clone(), false));
        assert_eq!(decode(&[&bytes[..], &[0; 24]].concat()), (entries, false));
    }
}
