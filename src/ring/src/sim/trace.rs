//! A running hash of everything that happens in a world.

/// Two runs with the same value did the same things at the same times in the same order.
#[derive(Default)]
pub(super) struct Trace {
    hash: u64,
    events: u64,
}

/// What happened; the numbers are part of the hash.
#[derive(Clone, Copy)]
pub(super) enum Tag {
    Poll = 1,
    Timer = 2,
    DiskBegin = 3,
    DiskEnd = 4,
    Connect = 5,
    Segment = 6,
    Close = 7,
    Crash = 8,
    RingMade = 9,
    Partition = 10,
}

impl Trace {
    pub(super) fn record(&mut self, tag: Tag, numbers: &[u64]) {
        self.events += 1;
        self.mix(tag as u64);
        for number in numbers {
            self.mix(*number);
        }
    }

    fn mix(&mut self, number: u64) {
        // A multiply-and-rotate mixer; not for secrets.
        self.hash = (self.hash ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29).wrapping_add(0x2545_f491_4f6c_dd1d);
    }

    /// A number for bytes, to be recorded.
    pub(super) fn digest(bytes: &[u8]) -> u64 {
        let mut trace = Self::default();
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            trace.mix(u64::from_le_bytes(word));
        }
        trace.mix(bytes.len() as u64);
        trace.hash
    }

    pub(super) fn hash(&self) -> u64 {
        self.hash ^ self.events
    }

    pub(super) fn events(&self) -> u64 {
        self.events
    }
}
