//! Sans-io storage logic: the shard's journal, partitions' segments and indexes in Kafka's formats, producer state, retention, recovery.
//!
//! Purpose: everything about a log that can be decided without touching a file. The `store` room performs the I/O that this one asks for.
//!
//! Invariants: `flushed <= durable <= appended`, `high_watermark <= durable` ([`marks`]); offsets of a partition ascend without overlap; a
//! batch is copied once, into a journal block ([`journal::writer`]), and only referenced afterwards; bytes from a disk are never trusted.
//!
//! Owner: one shard's thread; nothing here is shared between threads except refcounted bytes.
//!
//! Failure behaviour: what a peer or a disk said wrong comes back as an error; a broken invariant of our own panics, also in release.

pub mod checkpoint;
pub mod compaction;
pub mod config;
pub mod epochs;
pub mod journal;
pub mod lookup;
pub mod marks;
pub mod partition;
pub mod producer_state;
pub mod retention;
pub mod segment;
pub mod state;
pub mod tail;

#[cfg(any(test, feature = "test-batches"))]
pub mod test_batches;

pub use config::{CleanupPolicy, LogConfig, TimestampType};
pub use marks::Marks;
