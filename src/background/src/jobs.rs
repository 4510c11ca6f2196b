//! What the background plane can be asked for.

use std::io;
use std::path::PathBuf;

/// Which task queue a job runs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// A shard waits for it soon: pre-zeroed journal space.
    Soon,
    /// Nobody waits: unlinking.
    Whenever,
}

/// How a job ended.
pub type JobResult = io::Result<()>;

/// One piece of work. The callback runs on the background thread and must only hand the result over.
pub struct Job {
    pub(crate) work: Work,
    pub(crate) done: Box<dyn FnOnce(JobResult) + Send>,
}

pub(crate) enum Work {
    /// Writes zeros over `[from, to)` of a file, so that later direct writes meet written extents (twice as fast on ext4).
    Zero { path: PathBuf, from: u64, to: u64 },
    /// Unlinks a file.
    RemoveFile { path: PathBuf },
    /// Runs a closure on glommio's blocking pool: long computation such as checking a batch that expands enormously.
    Compute(Box<dyn FnOnce() -> JobResult + Send>),
}

impl Job {
    /// Fills `[from, to)` of an existing file with zeros and flushes it. Both bounds are multiples of 4096.
    pub fn zero(path: PathBuf, from: u64, to: u64, done: impl FnOnce(JobResult) + Send + 'static) -> Self {
        Self { work: Work::Zero { path, from, to }, done: Box::new(done) }
    }

    /// Unlinks a file. One that is not there counts as removed.
    pub fn remove_file(path: PathBuf, done: impl FnOnce(JobResult) + Send + 'static) -> Self {
        Self { work: Work::RemoveFile { path }, done: Box::new(done) }
    }

    /// Runs `work` where it may take long.
    pub fn compute(work: impl FnOnce() -> JobResult + Send + 'static, done: impl FnOnce(JobResult) + Send + 'static) -> Self {
        Self { work: Work::Compute(Box::new(work)), done: Box::new(done) }
    }

    pub fn priority(&self) -> Priority {
        match self.work {
            Work::Zero { .. } => Priority::Soon,
            Work::RemoveFile { .. } | Work::Compute(_) => Priority::Whenever,
        }
    }
}
