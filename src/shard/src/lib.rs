//! The server of one core: connections, handlers, partitions, coordinators, mailbox.
//!
//! Purpose: joins the sans-io rooms (cluster, groups, txn) and the store with a ring. [`start::run`] is one shard from
//! start to stop; everything it does happens in tasks on that shard's thread.
//!
//! The life of a request: `connection::reader` takes a frame, [`dispatch`] finds the handler of its API, the handler
//! ([`handlers`], one file per API) asks partitions, coordinators or the controller, and the answer goes through the
//! connection's queue to `connection::writer`.
//!
//! Invariants: a produce is answered only when its records are as safe as its acks say; answers leave a connection in
//! the order of its requests; nothing here blocks the thread; what clients send never panics.
//!
//! Owner: each [`shard::Shard`] belongs to one thread. Shards talk by [`mailbox`] only.
//!
//! Failure behaviour: a request that cannot be read ends its connection; a partition whose disk fails answers
//! KAFKA_STORAGE_ERROR; a shard that cannot start says why ([`start::StartError`]) and the node stops.

mod answer;
mod background_jobs;
mod compaction;
pub mod config;
mod connection;
mod controller;
mod coordinators;
mod counters;
mod dispatch;
mod fetch;
mod handlers;
mod log_dirs;
mod mailbox;
pub mod memory;
pub mod messages;
pub mod metrics;
mod offline;
mod partitions;
mod produce;
mod producer_ids;
mod publication;
pub mod shard;
pub mod start;
pub mod stop;
mod topic_config;
mod topics;
