//! The signal to stop, from any thread to one shard.

use futures_util::task::AtomicWaker;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

/// Set once; the shard's task that waits for it wakes wherever the signal came from.
#[derive(Clone, Default)]
pub struct StopSignal(Arc<Inner>);

#[derive(Default)]
struct Inner {
    stopped: AtomicBool,
    waker: AtomicWaker,
}

impl StopSignal {
    pub fn stop(&self) {
        self.0.stopped.store(true, Ordering::Release);
        self.0.waker.wake();
    }

    /// Waits for the signal. One task waits at a time.
    pub async fn wait(&self) {
        poll_fn(|context| {
            self.0.waker.register(context.waker());
            if self.0.stopped.load(Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}
