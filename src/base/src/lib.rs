//! What every room shares: ids, offsets, time, aligned buffers, seeded randomness and limits.
//!
//! Layer 0: depends on no other room. Nothing here performs I/O, reads a clock or belongs to a thread,
//! except that [`AlignedBuf`] allocates page-aligned memory (the one place of this crate with `unsafe`).
//! Failure behaviour: constructors that can be given nonsense by a peer return `Option`; a broken
//! invariant of our own panics, also in release.

pub mod buffer;
pub mod disk;
pub mod gauge;
pub mod hash;
pub mod ids;
pub mod limits;
pub mod offset;
pub mod rng;
pub mod time;

pub use buffer::{AlignedBuf, BLOCK_ALIGNMENT};
pub use gauge::{Gauge, Held};
pub use hash::internal_partition_for;
pub use ids::{BrokerId, LeaderEpoch, NodeId, PartitionIndex, ProducerEpoch, ProducerId, ShardId, TopicId, TopicPartition};
pub use offset::Offset;
pub use rng::Rng;
pub use time::{Instant, Timestamp};
