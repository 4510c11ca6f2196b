//! The reactor and executor of one core, on io_uring or simulated.
//!
//! Purpose: everything a shard does with the outside (sockets, files, clocks, randomness, other shards) goes through a [`Ring`],
//! so that the same code runs on a real kernel and in a seeded simulation with virtual time.
//!
//! Invariants
//! - Memory that the kernel may touch lives in a slot of the ring until the kernel has said its last word about it,
//!   whatever becomes of the future that asked for it.
//! - Completions are queued, then run; nothing recurses from a completion into a task.
//! - A run of tasks is bounded by time ([`RingConfig::turn`]), so that a task that is always runnable delays
//!   completions by no more than that.
//! - A task that waits costs no system call; one call per turn of the loop submits and reaps everything.
//!
//! Owner: a ring, its tasks, streams, files and [`sync`] objects belong to the thread that made the ring and never leave it.
//! Received [`bytes::Bytes`], task wakers, [`RemoteWaker`] and the ends of a [`mesh`] may.
//!
//! Failure behaviour: what a peer or a disk does arrives as `io::Error`. [`RingError`] says why no ring could be
//! made and what helps. A broken invariant of the ring itself panics.

mod config;
mod error;
mod executor;
mod file;
#[cfg(any(test, feature = "forbid"))]
pub mod forbid;
pub mod mesh;
mod net;
pub mod numa;
mod remote;
mod ring;
pub mod sim;
pub mod sync;
mod timers;
mod uring;

pub use config::{Features, RingConfig, RingStats};
pub use error::RingError;
pub use file::{DirEntry, File, Metadata, OpenOptions, Sync};
pub use net::{ListenOptions, Listener, Stream};
pub use remote::RemoteWaker;
pub use ring::{Ring, Sleep, YieldNow};
pub use uring::available;
