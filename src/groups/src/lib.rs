//! Group coordinator: membership of classic and consumer groups, and committed offsets, of one `__consumer_offsets` partition.
//!
//! Sans-io. The caller (one shard thread, which owns the partition) hands in requests, the time and what it knows
//! about topics, and collects [`Effects`]: records to append and replies to send. A reply that depends on records is
//! held back here until the caller reports the write as [`Coordinator::committed`].
//!
//! Invariants:
//! - hard state (committed offsets, consumer groups, persisted metadata of classic groups) changes only by replaying a record, both when the
//!   partition is loaded and when a live write commits, so that a reload gives the same state;
//! - every request token is answered exactly once, unless the coordinator is dropped;
//! - a generation never goes back, and a group has at most one leader.
//!
//! Failure behaviour: peers get Kafka's error codes; a failed write leaves hard state as it was and answers its
//! requests with an error; record bytes that cannot be read are reported by `replay` and change nothing.

mod classic;
mod config;
mod consumer;
mod coordinator;
mod effects;
mod env;
mod hard_state;
mod offsets;
mod records;
mod replies;
mod timers;
mod turn;
mod wire;
mod writes;

pub use config::GroupsConfig;
pub use coordinator::Coordinator;
pub use effects::{CoordinatorRecord, Effects, Reply, Token, Write, WriteId};
/// The partition of `__consumer_offsets` that holds a group.
pub use odradek_base::internal_partition_for as partition_for;
pub use offsets::fetch;
pub use records::ReplayError;
pub use turn::{RequestContext, TopicInfo, Topics, Turn};

#[cfg(test)]
mod tests;
