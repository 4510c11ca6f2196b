//! Log offsets.

use std::fmt;

/// Position of a record in a partition's log. Never negative once it is ours; -1 and below come only from peers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Offset(pub i64);

impl Offset {
    pub const ZERO: Self = Self(0);

    pub const fn new(value: i64) -> Self {
        Self(value)
    }

    pub const fn get(self) -> i64 {
        self.0
    }

    /// The offset `records` further on. Offsets are 63 bits: overflow is a broken invariant.
    pub fn advance(self, records: i64) -> Self {
        Self(self.0.checked_add(records).expect("offset overflow"))
    }

    /// The offset after this one.
    pub fn next(self) -> Self {
        self.advance(1)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Offset({})", self.0)
    }
}
