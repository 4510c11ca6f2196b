//! The last offset of each key, in bounded memory (Kafka's `SkimpyOffsetMap`): keys are kept as 16-byte hashes, not as they are.

use odradek_base::Offset;
use std::hash::{DefaultHasher, Hasher};

/// Bytes that one key takes.
pub const ENTRY_BYTES: usize = size_of::<Slot>();
/// Fewest slots of a map.
const SLOTS_MIN: usize = 16;

/// Hash of a key and its last offset plus one; all zero is empty, so that an unused part of the table costs no memory.
type Slot = [u64; 3];

/// Two keys with equal hashes would be taken for one. The hash is SipHash, twice, seeded with numbers that nobody outside knows: nobody can choose
/// keys that collide, and by chance two of a billion keys do with a probability of 10^-21.
pub struct OffsetMap {
    slots: Vec<Slot>,
    keys: usize,
    keys_max: usize,
    seed: [u64; 2],
    /// Everything up to here is in the map; -1 before the first.
    latest: Offset,
}

impl std::fmt::Debug for OffsetMap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OffsetMap").field("keys", &self.keys).field("slots", &self.slots.len()).field("latest", &self.latest).finish()
    }
}

impl OffsetMap {
    /// A map of at most `bytes_max` bytes that is filled up to `load_factor`, and not larger than `keys_expected` need.
    pub fn new(bytes_max: usize, load_factor: f64, keys_expected: u64, seed: [u64; 2]) -> Self {
        let load_factor = if load_factor > 0.0 { load_factor.min(0.99) } else { 0.9 };
        let wanted = (keys_expected as f64 / load_factor).ceil() as usize + 1;
        let slots = (bytes_max / ENTRY_BYTES).min(wanted).max(SLOTS_MIN);
        let keys_max = ((slots as f64 * load_factor) as usize).max(1);
        Self { slots: vec![[0; 3]; slots], keys: 0, keys_max, seed, latest: Offset(-1) }
    }

    pub fn len(&self) -> usize {
        self.keys
    }

    pub fn is_empty(&self) -> bool {
        self.keys == 0
    }

    pub fn bytes(&self) -> usize {
        self.slots.len() * ENTRY_BYTES
    }

    /// Everything up to here is in the map.
    pub fn latest(&self) -> Offset {
        self.latest
    }

    /// The log was read up to `offset`.
    pub fn advance(&mut self, offset: Offset) {
        self.latest = self.latest.max(offset);
    }

    /// Takes note of a record. False when the key is new and the map full: nothing is changed then.
    pub fn put(&mut self, key: &[u8], offset: Offset) -> bool {
        let hash = self.hash(key);
        let at = self.find(hash);
        let slot = &mut self.slots[at];
        if slot[2] == 0 {
            if self.keys == self.keys_max {
                return false;
            }
            self.keys += 1;
            (slot[0], slot[1]) = (hash[0], hash[1]);
        }
        slot[2] = slot[2].max(offset.get() as u64 + 1);
        true
    }

    /// The last offset of a key, -1 when it is not in the map.
    pub fn get(&self, key: &[u8]) -> Offset {
        Offset(self.slots[self.find(self.hash(key))][2] as i64 - 1)
    }

    /// Its own slot or the free one where it belongs. There is always a free one: the load is below one.
    fn find(&self, hash: [u64; 2]) -> usize {
        let mut at = (hash[0] % self.slots.len() as u64) as usize;
        loop {
            let slot = &self.slots[at];
            if slot[2] == 0 || (slot[0], slot[1]) == (hash[0], hash[1]) {
                return at;
            }
            at = if at + 1 == self.slots.len() { 0 } else { at + 1 };
        }
    }

    fn hash(&self, key: &[u8]) -> [u64; 2] {
        self.seed.map(|seed| {
            let mut hasher = DefaultHasher::new();
            hasher.write_u64(seed);
            hasher.write(key);
            hasher.finish()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use odradek_base::Rng;
    use std::collections::HashMap;

    #[test]
    fn equals_a_plain_map_until_it_is_full() {
        let mut rng = Rng::with_seed(5);
        for bytes in [1usize, 2000, 100_000] {
            let mut map = OffsetMap::new(bytes, 0.9, 1000, [1, 2]);
            let mut model: HashMap<Vec<u8>, i64> = HashMap::new();
            let mut refused = 0;
            for offset in 0..5000i64 {
                let key = rng.below(800).to_be_bytes().to_vec();
                if map.put(&key, Offset(offset)) {
                    model.insert(key, offset);
                } else {
                    refused += 1;
                    assert!(!model.contains_key(&key), "a known key always has a place");
                }
            }
            assert_eq!((refused > 0, map.len()), (bytes < 20_000, model.len()));
            assert!(map.bytes() <= bytes.max(SLOTS_MIN * ENTRY_BYTES));
            for key in 0..800u64 {
                let key = key.to_be_bytes().to_vec();
                assert_eq!(map.get(&key).get(), model.get(&key).copied().unwrap_or(-1));
            }
        }
        assert!(OffsetMap::new(1 << 30, 0.9, 10, [0, 0]).bytes() < 1000, "no larger than its keys need");
    }

    #[test]
    fn an_older_offset_changes_nothing() {
        let mut map = OffsetMap::new(1000, 0.9, 10, [3, 4]);
        assert!(map.put(b"k", Offset(7)) && map.put(b"k", Offset(5)));
        assert_eq!((map.get(b"k"), map.get(b"other"), map.len()), (Offset(7), Offset(-1), 1));
        assert!(map.put(b"", Offset(0)), "an empty key is a key, and offset 0 an offset");
        assert_eq!(map.get(b""), Offset(0));
    }
}
