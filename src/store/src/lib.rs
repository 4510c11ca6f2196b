//! Joins log and ring: the durable partitions of one shard.
//!
//! Purpose: a [`Store`] gives the shard its [`Partition`]s. An append is checked, numbered and copied once into the journal's open block;
//! the commit loop (`commit`) writes one block after the other, each with everything that arrived meanwhile, for all partitions; the flusher
//! brings batches from memory into Kafka-format segments later; reads come from memory or, for cold data, from the segments.
//!
//! Invariants
//! - `flushed <= durable <= appended` and `high_watermark <= durable` per partition (asserted in `odradek_log::marks`).
//! - One journal block is in flight; the next is begun when it is durable. A block that is missing below a valid one is damage.
//! - Journal space is reused only when every batch in it is in a segment and that segment was flushed.
//! - Memory is bounded: `tail_cache_bytes` for recent batches, and as much again for those that only answers to clients keep alive;
//!   `unflushed_bytes_max` for what is pending beside them (with [`Store::wait_admission`]), `read_ahead_bytes` and `cold_reads_bytes_max` for cold reads.
//!
//! Owner: everything here belongs to one shard's thread. The log of a partition is borrowed within synchronous steps only.
//!
//! Failure behaviour: a failed journal write takes the shard's writes offline until a restart, a failed segment write its partition; a full device is
//! waited for. Nothing that failed is tried again as if it had worked. Damage found at start closes the partition concerned and is in
//! the [`RecoveryReport`].

mod buffer_pool;
mod byte_gate;
mod careful;
mod close;
mod cold_reads;
mod commit;
mod compaction;
mod config;
mod create;
mod delete;
mod error;
mod fd_cache;
mod flusher;
mod foreign;
mod index_lookup;
mod index_search;
mod journal_files;
mod journal_scan;
mod kafka_files;
mod later;
mod located;
mod lookup;
mod offline;
mod open;
mod partition;
mod progress;
mod read_ahead;
mod reader;
mod recovery;
mod relocate;
mod replaying;
mod retention;
mod room;
mod segment_files;
mod settle;
mod shared;
mod state_file;
mod stats;
mod store;
mod strand;
mod torn;

pub use compaction::{Compacted, CompactionConfig};
pub use config::{DirectIo, PartitionSpec, StoreConfig, Unlinker};
pub use error::{AppendError, DeleteRecordsError, ReadError, StoreError};
pub use kafka_files::{Space, space, write_kafka_checkpoints};
pub use odradek_log::marks::Marks;
pub use odradek_log::partition::HighWatermarkRule;
pub use odradek_log::{CleanupPolicy, LogConfig, TimestampType};
pub use open::RecoveryReport;
pub use partition::{AppendOrigin, Appended, CommitTicket, Durability, Partition, ReadData};
pub use progress::RecoveryProgress;
pub use relocate::{AlterLogDirError, FutureReplica};
pub use state_file::is_state_file;
pub use stats::{Held, StoreStats};
pub use store::{LogDir, Store};
