//! Keeps a glommio executor from sleeping through its own work.
//!
//! glommio 0.9 forgets runnable tasks: when its preemption timer fires between a look at the rings and the first look at the task queues
//! (a thread that lost its core for that long), `run_task_queues` reports that nothing ran, and the executor goes to
//! sleep although tasks are queued. A timer of its own does not help, because the task that the timer wakes is the one that is
//! forgotten. A wake from another thread does: it is an event in the ring that the executor sleeps on. So a thread gives one every
//! few milliseconds, as long as there is work; it sleeps for good when there is none.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::Waker;
use std::thread::Thread;
use std::time::Duration;

/// The longest that forgotten work waits.
const PERIOD: Duration = Duration::from_millis(10);

#[derive(Default)]
pub(crate) struct Pulse {
    /// Pieces of work that are not done.
    work: AtomicUsize,
    ended: AtomicBool,
    /// Of a task that lives as long as the executor.
    waker: Mutex<Option<Waker>>,
    thread: OnceLock<Thread>,
}

impl Pulse {
    /// Starts the thread; it ends after [`Pulse::end`].
    pub(crate) fn start() -> std::io::Result<Arc<Self>> {
        let pulse = Arc::new(Self::default());
        let mine = pulse.clone();
        let thread = std::thread::Builder::new().name("background-pulse".into()).spawn(move || mine.run())?;
        let _ = pulse.thread.set(thread.thread().clone());
        Ok(pulse)
    }

    fn run(&self) {
        while !self.ended.load(Ordering::Acquire) {
            if self.work.load(Ordering::Acquire) == 0 {
                std::thread::park();
                continue;
            }
            std::thread::park_timeout(PERIOD);
            if let Some(waker) = &*self.waker.lock().unwrap_or_else(PoisonError::into_inner) {
                waker.wake_by_ref();
            }
        }
    }

    /// Whom to wake.
    pub(crate) fn set_waker(&self, waker: &Waker) {
        *self.waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(waker.clone());
    }

    /// There is one more piece of work.
    pub(crate) fn begin(&self) {
        if self.work.fetch_add(1, Ordering::AcqRel) == 0 {
            self.unpark();
        }
    }

    /// A piece of work is done.
    pub(crate) fn done(&self) {
        self.work.fetch_sub(1, Ordering::AcqRel);
    }

    /// The executor is gone.
    pub(crate) fn end(&self) {
        *self.waker.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.ended.store(true, Ordering::Release);
        self.unpark();
    }

    fn unpark(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }
}
