//! Transaction coordinator of one `__transaction_state` partition: who owns a transactional id, and at which epoch.
//!
//! Sans-io. The caller (one shard thread, which owns the partition) hands in requests and the time and collects
//! [`Effects`]: records to append and replies to send. A reply that depends on a record is held back here until the
//! caller reports the write as [`Coordinator::committed`].
//!
//! What is here: InitProducerId with fencing, epoch bumps and recovery (KIP-98, KIP-360), and the record format with all
//! states of a transaction. Transactions themselves (partitions, markers, timeouts) extend [`Transaction`] and
//! its `Status`; until then an id whose record says that a transaction is open answers CONCURRENT_TRANSACTIONS.
//!
//! Invariants:
//! - hard state changes only by replaying a record, both when the partition is loaded and when a live write commits;
//! - one change per transactional id is under way at a time;
//! - the pair of producer id and epoch that an id was given never comes again.
//!
//! Failure behaviour: peers get Kafka's error codes; a failed write leaves hard state as it was; record bytes that
//! cannot be read are reported by `replay` and change nothing.

mod coordinator;
mod effects;
mod init;
mod records;
mod transaction;

pub use coordinator::{Coordinator, TxnConfig};
pub use effects::{CoordinatorRecord, Effects, Token, Turn, Write, WriteId};
pub use records::ReplayError;
pub use transaction::{Status, Transaction};

/// The partition of `__transaction_state` that holds a transactional id.
pub use odradek_base::internal_partition_for as partition_for;

#[cfg(test)]
mod tests;
