//! What is said of a broken rule.

use std::fmt;

/// Who found it: the kind of rule that was broken. A smaller run shows the same failure only if it breaks the same kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Checker {
    /// A right request was refused.
    Refusal,
    /// An answer that cannot be, or does not belong to its question.
    Answer,
    HighWatermark,
    /// Log start and DeleteRecords.
    LogStart,
    /// An offset showed something else before, or bytes that nobody sent.
    Content,
    /// Offsets are missing, overlap or are out of order.
    Offsets,
    /// What was acknowledged is not there.
    Loss,
    /// A record is there more often than it was sent, or again.
    Duplicate,
    /// A producer's records are out of order.
    Order,
    /// What was deleted, or is too young to be removed, and compaction.
    Compaction,
    /// Committed offsets.
    Commit,
    /// Groups and their assignments.
    Group,
    /// Topics, partition counts and configs.
    Metadata,
    /// A node does not start or stop.
    Node,
    /// Something takes forever although nothing fails any more.
    Progress,
    /// Bytes on the disk.
    Disk,
    /// Bytes and tasks in memory.
    Memory,
    /// The broker panicked.
    Panic,
}

/// The first rule that a run broke.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    pub checker: Checker,
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.checker, self.what)
    }
}
