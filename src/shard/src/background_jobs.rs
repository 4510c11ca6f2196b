//! Work that this shard hands to the background plane and waits for.

use crossbeam::queue::ArrayQueue;
use futures_util::task::AtomicWaker;
use odradek_background::{Background, Job, JobResult};
use std::future::poll_fn;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::task::Poll;

/// What one job hands over from the background plane's thread.
struct Outcome<T> {
    result: ArrayQueue<T>,
    waker: AtomicWaker,
}

impl<T> Outcome<T> {
    fn new() -> Arc<Self> {
        Arc::new(Self { result: ArrayQueue::new(1), waker: AtomicWaker::new() })
    }

    fn tell(&self, result: T) {
        // The queue has room for the one result that it is made for.
        let _ = self.result.push(result);
        self.waker.wake();
    }

    async fn wait(&self) -> T {
        poll_fn(|context| {
            self.waker.register(context.waker());
            match self.result.pop() {
                Some(result) => Poll::Ready(result),
                None => Poll::Pending,
            }
        })
        .await
    }
}

/// Unlinks a file on the background plane. A full queue is an error: its directory stays until the next start.
pub async fn remove_file(background: Background, path: PathBuf) -> io::Result<()> {
    let outcome: Arc<Outcome<JobResult>> = Outcome::new();
    let theirs = outcome.clone();
    background.submit(Job::remove_file(path, move |result| theirs.tell(result))).map_err(io::Error::other)?;
    outcome.wait().await
}

/// Runs `work` on the background plane. `None` when its queue is full: the caller does the work itself.
pub async fn compute<T: Send + 'static>(background: &Background, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let outcome: Arc<Outcome<Option<T>>> = Outcome::new();
    let (theirs, at_end) = (outcome.clone(), outcome.clone());
    let work = move || {
        theirs.tell(Some(work()));
        Ok(())
    };
    // A job that ended without its work leaves nothing: the second word is only heard where there was no first.
    background.submit(Job::compute(work, move |_| at_end.tell(None))).ok()?;
    outcome.wait().await
}
