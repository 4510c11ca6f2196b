//! Work that this shard hands to the background plane and waits for.

use crossbeam::queue::ArrayQueue;
use futures_util::task::AtomicWaker;
use odradek_background::{Background, Job, JobResult};
use std::future::poll_fn;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::task::Poll;

/// The result of one job, handed over from the background plane's thread.
struct Outcome {
    result: ArrayQueue<JobResult>,
    waker: AtomicWaker,
}

/// Unlinks a directory tree on the background plane. A full queue is an error: the directory stays until the next start.
pub async fn remove_tree(background: Background, path: PathBuf) -> io::Result<()> {
    let outcome = Arc::new(Outcome { result: ArrayQueue::new(1), waker: AtomicWaker::new() });
    let theirs = outcome.clone();
    let done = move |result| {
        // The queue has room for the one result that it is made for.
        let _ = theirs.result.push(result);
        theirs.waker.wake();
    };
    background.submit(Job::remove_tree(path, done)).map_err(io::Error::other)?;
    poll_fn(|context| {
        outcome.waker.register(context.waker());
        match outcome.result.pop() {
            Some(result) => Poll::Ready(result),
            None => Poll::Pending,
        }
    })
    .await
}
