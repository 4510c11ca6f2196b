//! Mistakes that the simulator makes the broker commit, to show that its checkers find them.
//!
//! Without the feature `planted`, [`is_planted`] is the constant `false`: a broker that serves has no trace of it.

/// A mistake in the broker's own code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mistake {
    /// The journal is flushed before a block is written to it and not after it.
    FlushBeforeWrite,
    /// Journal space is given back although the segments that cover it were written and not flushed.
    NoSegmentFlush,
    /// The leader epoch that a client names is not looked at.
    NoEpochCheck,
    /// The journal is not replayed at the start.
    NoReplay,
    /// A compacted segment takes its predecessors' place before it is flushed.
    NoCompactionFlush,
    /// The state of producers is not recovered at the start.
    NoProducerRecovery,
    /// What a journal block says of the one before, which cannot be read, is not looked at.
    NoLookBack,
}

#[cfg(feature = "planted")]
mod switch {
    use super::Mistake;
    use std::cell::Cell;

    thread_local!(static PLANTED: Cell<Option<Mistake>> = const { Cell::new(None) });

    /// Whether this mistake is to be made. A world runs on one thread, so worlds of other threads are not touched.
    pub fn is_planted(mistake: Mistake) -> bool {
        PLANTED.get() == Some(mistake)
    }

    /// Makes the broker of this thread's worlds commit a mistake from now on; `None` ends that.
    pub fn plant(mistake: Option<Mistake>) {
        PLANTED.set(mistake);
    }
}

#[cfg(not(feature = "planted"))]
mod switch {
    use super::Mistake;

    /// Whether this mistake is to be made: never in this build.
    #[inline(always)]
    pub const fn is_planted(_mistake: Mistake) -> bool {
        false
    }

    /// Does nothing in this build.
    ///
    /// # Panics
    /// When a mistake is asked for.
    pub fn plant(mistake: Option<Mistake>) {
        assert!(mistake.is_none(), "mistakes can be planted only in a build with the feature `planted`");
    }
}

pub use switch::{is_planted, plant};
