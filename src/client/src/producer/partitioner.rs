//! Which partition a record goes to: the Java client's choice (`BuiltInPartitioner`, `Utils.murmur2`).

use odradek_base::Rng;

const SEED: u32 = 0x9747_b28c;
const MULTIPLIER: u32 = 0x5bd1_e995;
const ROTATION: u32 = 24;

/// 32-bit murmur2 with Kafka's seed, over the bytes as Java sees them. Every Kafka client must agree on this number.
pub fn murmur2(data: &[u8]) -> u32 {
    let mut hash = SEED ^ data.len() as u32;
    let mut words = data.chunks_exact(4);
    for word in &mut words {
        let mut k = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
        k = k.wrapping_mul(MULTIPLIER);
        k ^= k >> ROTATION;
        k = k.wrapping_mul(MULTIPLIER);
        hash = hash.wrapping_mul(MULTIPLIER) ^ k;
    }
    let rest = words.remainder();
    for (i, &byte) in rest.iter().enumerate() {
        hash ^= u32::from(byte) << (8 * i);
    }
    if !rest.is_empty() {
        hash = hash.wrapping_mul(MULTIPLIER);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(MULTIPLIER);
    hash ^ (hash >> 15)
}

/// Partition of a key among `partitions` (which is above 0): `toPositive(murmur2(key)) % partitions`.
pub fn partition_for_key(key: &[u8], partitions: usize) -> usize {
    (murmur2(key) & 0x7fff_ffff) as usize % partitions
}

/// Records without a key stay with one partition until a batch's worth of bytes went there (KIP-480, KIP-794).
#[derive(Debug)]
pub struct StickyPartition {
    current: Option<usize>,
    bytes: usize,
    rng: Rng,
}

impl StickyPartition {
    pub fn new(rng: Rng) -> Self {
        Self { current: None, bytes: 0, rng }
    }

    /// The position in the partition list for a record of `record_bytes`; moves on after `batch_bytes`.
    pub fn next(&mut self, partitions: usize, record_bytes: usize, batch_bytes: usize) -> usize {
        let chosen = match self.current {
            Some(current) if current < partitions && self.bytes < batch_bytes => current,
            previous => {
                self.bytes = 0;
                self.other_than(previous, partitions)
            }
        };
        self.current = Some(chosen);
        self.bytes += record_bytes;
        chosen
    }

    fn other_than(&mut self, previous: Option<usize>, partitions: usize) -> usize {
        let drawn = self.rng.below(partitions as u64) as usize;
        if Some(drawn) == previous { (drawn + 1) % partitions } else { drawn }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn murmur2_agrees_with_java() {
        // The vectors of Kafka's own UtilsTest.testMurmur2.
        let vectors: [(&str, i32); 6] = [
            ("21", -973932308),
            ("foobar", -790332482),
            ("a-little-bit-long-string", -985981536),
            ("a-little-bit-longer-string", -1486304829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
            ("abc", 479470107),
        ];
        for (text, expected) in vectors {
            assert_eq!(murmur2(text.as_bytes()) as i32, expected, "{text}");
        }
    }

    #[test]
    fn keys_keep_their_partition() {
        assert_eq!(partition_for_key(b"foobar", 3), (-790332482i32 & 0x7fff_ffff) as usize % 3);
        assert_eq!(partition_for_key(b"", 1), 0);
    }

    #[test]
    fn null_keys_stick_until_a_batch_is_full_then_move() {
        let mut sticky = StickyPartition::new(Rng::with_seed(1));
        let first = sticky.next(4, 60, 100);
        assert_eq!(sticky.next(4, 60, 100), first);
        assert_ne!(sticky.next(4, 60, 100), first);
        assert_eq!(sticky.next(1, 1, 100), 0);
    }
}
