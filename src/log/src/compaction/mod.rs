//! Log compaction without I/O (Kafka's `LogCleaner`, `Cleaner` and `LogCleanerManager`).
//!
//! [`cleanable`] says how much of a log may be compacted and whether it is worth it, [`offset_map`] remembers the last offset of each key of
//! the part that was not compacted before, [`transactions`] which batches were aborted, and [`filter`] decides batch by batch, record by
//! record, what stays. [`groups`] says which segments become one.
//!
//! Invariants: offsets never change and the last record of a key is never removed unless it is a tombstone whose delete horizon is past;
//! what lies beyond the map's end, beyond the last stable offset or in the active segment is left alone.

pub mod cleanable;
pub mod filter;
pub mod groups;
pub mod offset_map;
pub mod transactions;

pub use cleanable::{Cleanable, cleanable};
pub use filter::{BatchClean, BatchIndex, Cleaned, Filter, Indexed};
pub use groups::{Group, groups};
pub use offset_map::OffsetMap;
pub use transactions::CleanedTransactions;
