//! Seeded randomness. Every draw in the broker comes from a generator that the ring seeded,
//! so that a run in the simulator can be repeated.

use uuid::Uuid;

/// A small, fast, seeded generator. Not for secrets.
#[derive(Debug, Clone)]
pub struct Rng(fastrand::Rng);

impl Rng {
    pub fn with_seed(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    pub fn next_u64(&mut self) -> u64 {
        self.0.u64(..)
    }

    /// A number below `bound`; 0 when the bound is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.0.u64(..bound) }
    }

    /// True once in `one_in` draws on average.
    pub fn chance(&mut self, one_in: u64) -> bool {
        self.below(one_in) == 0
    }

    /// A generator of its own, seeded from this one.
    pub fn fork(&mut self) -> Self {
        Self::with_seed(self.next_u64())
    }

    /// A version 4 UUID from this generator; never one of Kafka's reserved ids (0 and 1), never starting with `-` in text.
    pub fn uuid(&mut self) -> Uuid {
        loop {
            let bits = (self.next_u64() as u128) << 64 | self.next_u64() as u128;
            let id = uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid();
            // Kafka avoids a leading dash so that ids can be given to command line tools.
            if !crate::ids::uuid_to_kafka_string(id).starts_with('-') {
                return id;
            }
        }
    }
}
