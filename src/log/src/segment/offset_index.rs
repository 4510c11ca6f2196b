//! Offset index (`.index`, Kafka's `OffsetIndex`): entries of 8 bytes, big-endian: 4 bytes the last offset of a batch, relative to the
//! segment's base offset; 4 bytes the position of that batch in the `.log` file. Strictly ascending.

use odradek_base::Offset;

pub const ENTRY_BYTES: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OffsetEntry {
    /// Last offset of the batch, relative to the base offset.
    pub relative_offset: u32,
    /// Position of the batch in bytes.
    pub position: u32,
}

impl OffsetEntry {
    pub fn encode(&self) -> [u8; ENTRY_BYTES] {
        let mut out = [0; ENTRY_BYTES];
        out[..4].copy_from_slice(&self.relative_offset.to_be_bytes());
        out[4..].copy_from_slice(&self.position.to_be_bytes());
        out
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (offset, rest) = bytes.split_first_chunk::<4>()?;
        let position = rest.first_chunk::<4>()?;
        Some(Self { relative_offset: u32::from_be_bytes(*offset), position: u32::from_be_bytes(*position) })
    }
}

/// The entries of a file that are believable: strictly ascending in both fields and below `log_bytes`. What follows the first unbelievable
/// one (the zeros of a preallocated file, damage) is left out; the second value says whether that was more than zeros.
pub fn decode(bytes: &[u8], log_bytes: u64) -> (Vec<OffsetEntry>, bool) {
    let mut entries: Vec<OffsetEntry> = Vec::with_capacity(bytes.len() / ENTRY_BYTES);
    for chunk in bytes.chunks_exact(ENTRY_BYTES) {
        let Some(entry) = OffsetEntry::decode(chunk) else { break };
        let ascending = entries.last().is_none_or(|last| last.relative_offset < entry.relative_offset && last.position < entry.position);
        let zero = chunk.iter().all(|&byte| byte == 0);
        if !ascending || zero || u64::from(entry.position) >= log_bytes {
            return (entries, !zero);
        }
        entries.push(entry);
    }
    (entries, false)
}

/// Where to start scanning for `target`: the position of the last batch that ends at or before it (`OffsetIndex.lookup`), 0 without one.
pub fn lookup(entries: &[OffsetEntry], base: Offset, target: Offset) -> u32 {
    let relative = target.get().saturating_sub(base.get());
    let after = entries.partition_point(|entry| i64::from(entry.relative_offset) <= relative);
    after.checked_sub(1).and_then(|at| entries.get(at)).map_or(0, |entry| entry.position)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lookup_finds_the_last_batch_not_beyond() {
        let entries: Vec<_> = (1..=5).map(|i| OffsetEntry { relative_offset: i * 10, position: i * 100 }).collect();
        let find = |offset| lookup(&entries, Offset(1000), Offset(offset));
        assert_eq!((find(900), find(1009), find(1010), find(1019), find(1050), find(9999)), (0, 0, 100, 100, 500, 500));
        assert_eq!(lookup(&[], Offset(0), Offset(5)), 0);
        let bytes: Vec<u8> = entries.iter().flat_map(OffsetEntry::encode).collect();
        assert_eq!(decode(&bytes, 10_000), (entries.clone(), false));
        assert_eq!(decode(&[&bytes[..], &[0; 16]].concat(), 10_000), (entries.clone(), false), "preallocated");
        assert_eq!(decode(&bytes, 400), (entries[..3].to_vec(), true), "beyond the log");
        let mut bad = bytes.clone();
        bad[16..24].fill(0);
        assert_eq!(decode(&bad, 10_000).0.len(), 2);
    }
}
