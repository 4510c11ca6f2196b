//! The marks of a partition: offsets up to which something is true, each its own type.
//!
//! Every mark is exclusive: the first offset for which it is *not* true. The order
//! `log_start <= high_watermark <= durable <= appended`, `flushed <= durable` and `last_stable <= high_watermark`
//! is asserted in release builds whenever one moves.

use odradek_base::Offset;

macro_rules! mark {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
        pub struct $name(pub Offset);

        impl $name {
            pub const fn offset(self) -> Offset {
                self.0
            }

            pub const fn get(self) -> i64 {
                self.0.0
            }
        }
    };
}

mark!(
    /// First offset that readers may ask for (`logStartOffset`).
    LogStart
);
mark!(
    /// Everything below is in segment files, flushed to stable storage (`recoveryPoint`).
    Flushed
);
mark!(
    /// Everything below is on stable storage, in the journal or in a segment.
    Durable
);
mark!(
    /// Everything below has an offset; the next batch starts here (`logEndOffset`, LEO).
    Appended
);
mark!(
    /// Everything below is on every in-sync replica: what consumers see.
    HighWatermark
);
mark!(
    /// Everything below belongs to no open transaction (LSO, KIP-98).
    LastStable
);

/// All marks of one partition at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Marks {
    pub log_start: LogStart,
    pub flushed: Flushed,
    pub durable: Durable,
    pub appended: Appended,
    pub high_watermark: HighWatermark,
    pub last_stable: LastStable,
}

impl Marks {
    /// A log in which everything up to `end` is flushed and replicated.
    pub fn settled(start: Offset, end: Offset) -> Self {
        let marks = Self {
            log_start: LogStart(start),
            flushed: Flushed(end),
            durable: Durable(end),
            appended: Appended(end),
            high_watermark: HighWatermark(end),
            last_stable: LastStable(end),
        };
        marks.check();
        marks
    }

    /// Asserts the order of the marks.
    pub fn check(&self) {
        assert!(self.flushed.0 <= self.durable.0, "flushed {} is beyond durable {}", self.flushed.0, self.durable.0);
        assert!(self.durable.0 <= self.appended.0, "durable {} is beyond the log end {}", self.durable.0, self.appended.0);
        assert!(self.high_watermark.0 <= self.durable.0, "high watermark {} is beyond durable {}", self.high_watermark.0, self.durable.0);
        assert!(self.last_stable.0 <= self.high_watermark.0, "last stable {} is beyond the high watermark", self.last_stable.0);
        assert!(self.log_start.0 <= self.high_watermark.0, "log start {} is beyond the high watermark", self.log_start.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "flushed 8 is beyond durable 7")]
    fn flushed_never_passes_durable() {
        let mut marks = Marks::settled(Offset(0), Offset(7));
        marks.flushed = Flushed(Offset(8));
        marks.check();
    }

    #[test]
    #[should_panic(expected = "high watermark 8 is beyond durable 7")]
    fn the_high_watermark_never_passes_durable() {
        let mut marks = Marks::settled(Offset(0), Offset(7));
        marks.appended = Appended(Offset(9));
        marks.high_watermark = HighWatermark(Offset(8));
        marks.check();
    }
}
