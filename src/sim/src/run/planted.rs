//! Faults that no correct broker can survive: they show that the checkers find what they are there for.

use odradek_ring::sim::DiskFaults;
use odradek_ring::sim::planted::Mistake;
use std::fmt;
use std::str::FromStr;

/// A fault that no correct broker can survive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planted {
    /// Every sync reports success and makes nothing durable: as if nobody had called it.
    NoSync,
    /// One sync in some does so: as if the order of writes and flushes were wrong somewhere.
    SomeSyncsMissing,
    /// The journals are unreadable when the node starts again: as if nothing were replayed.
    JournalsSpoilt,
    /// The broker's own code makes a mistake. Needs the feature `planted`.
    Mistake(Mistake),
}

impl Planted {
    pub(super) fn disk(planted: Option<Self>) -> DiskFaults {
        let sync_lie_one_in = match planted {
            Some(Self::NoSync) => 1,
            Some(Self::SomeSyncsMissing) => 8,
            _ => 0,
        };
        DiskFaults { sync_lie_one_in, ..DiskFaults::default() }
    }
}

/// All of them, with the names that the command line has for them.
const NAMES: [(&str, Planted); 10] = [
    ("no-sync", Planted::NoSync),
    ("some-syncs-missing", Planted::SomeSyncsMissing),
    ("journals-spoilt", Planted::JournalsSpoilt),
    ("flush-before-write", Planted::Mistake(Mistake::FlushBeforeWrite)),
    ("no-segment-flush", Planted::Mistake(Mistake::NoSegmentFlush)),
    ("no-epoch-check", Planted::Mistake(Mistake::NoEpochCheck)),
    ("no-replay", Planted::Mistake(Mistake::NoReplay)),
    ("no-compaction-flush", Planted::Mistake(Mistake::NoCompactionFlush)),
    ("no-producer-recovery", Planted::Mistake(Mistake::NoProducerRecovery)),
    ("no-look-back", Planted::Mistake(Mistake::NoLookBack)),
];

impl fmt::Display for Planted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(NAMES.iter().find(|(_, planted)| planted == self).map_or("", |(name, _)| name))
    }
}

impl FromStr for Planted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = || NAMES.map(|(name, _)| name).join(", ");
        NAMES.iter().find(|(name, _)| *name == text).map(|(_, planted)| *planted).ok_or_else(|| format!("none of {}", names()))
    }
}
