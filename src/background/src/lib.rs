//! The background plane: bulk file work that must never sit on a shard.
//!
//! One glommio executor on its own thread, not pinned to a shard's core, takes jobs from a bounded queue. Each kind of
//! work has its own task queue with shares, so that unlinking a topic does not hold up pre-zeroing a journal file.
//! Jobs answer through a callback, which runs on this plane's thread and only hands a result over.
//!
//! Owner: the thread that [`Background::start`] makes. Failure behaviour: a job that fails says so in its result and in
//! the log; a full queue refuses the job ([`QueueFull`]) and the shard does without or tries again.

mod executor;
mod jobs;
mod pulse;

pub use executor::{Background, StartError};
pub use jobs::{Job, JobResult, Priority};

/// Jobs that may wait at the same time, all kinds together.
pub const JOBS_QUEUED_MAX: usize = 4096;

/// The background plane has too much to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the background plane has {JOBS_QUEUED_MAX} jobs waiting")]
pub struct QueueFull;
