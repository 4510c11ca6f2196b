//! Waking a ring from another thread, with a system call only when it sleeps.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::{fmt, io};

const AWAKE: u8 = 0;
const SLEEPING: u8 = 1;
const NOTIFIED: u8 = 2;

/// Wakes the loop of one ring from any thread. A system call is made only when that ring sleeps in the kernel.
///
/// Wakers of tasks use it by themselves; it is public for code that has a queue of its own.
#[derive(Clone)]
pub struct RemoteWaker {
    inner: Arc<Inner>,
}

struct Inner {
    state: AtomicU8,
    /// None in the simulator, where every ring runs on one thread and none ever sleeps.
    event: Option<OwnedFd>,
}

impl RemoteWaker {
    pub(crate) fn with_eventfd() -> io::Result<Self> {
        // No EFD_NONBLOCK: io_uring would answer EAGAIN instead of waiting on such a descriptor.
        // SAFETY: eventfd takes no pointers and returns a descriptor that nobody else owns.
        let raw = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
        if raw < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `raw` is open and owned by nobody else.
        let event = unsafe { OwnedFd::from_raw_fd(raw) };
        Ok(Self { inner: Arc::new(Inner { state: AtomicU8::new(AWAKE), event: Some(event) }) })
    }

    pub(crate) fn simulated() -> Self {
        Self { inner: Arc::new(Inner { state: AtomicU8::new(AWAKE), event: None }) }
    }

    /// Makes the ring's loop turn once more, soon. What was written before this call is visible to that turn.
    pub fn wake(&self) {
        if self.inner.state.swap(NOTIFIED, Ordering::SeqCst) != SLEEPING {
            return;
        }
        if let Some(event) = &self.inner.event {
            let one = 1u64.to_ne_bytes();
            // An eventfd write fails only when its counter would overflow, and then it is readable anyway.
            // SAFETY: `one` is 8 readable bytes, the descriptor is open as long as `inner` lives.
            unsafe { libc::write(event.as_raw_fd(), one.as_ptr().cast(), one.len()) };
        }
    }

    pub(crate) fn eventfd(&self) -> Option<RawFd> {
        self.inner.event.as_ref().map(|event| event.as_raw_fd())
    }

    /// The loop is about to look at its queues: later wakes count as new ones.
    pub(crate) fn begin_turn(&self) {
        if self.inner.state.load(Ordering::Relaxed) == NOTIFIED {
            self.inner.state.swap(AWAKE, Ordering::SeqCst);
        }
    }

    pub(crate) fn is_notified(&self) -> bool {
        self.inner.state.load(Ordering::Relaxed) == NOTIFIED
    }

    /// Announces that the loop goes to sleep. False where somebody woke it since `begin_turn`: then it must not.
    pub(crate) fn prepare_sleep(&self) -> bool {
        self.inner.state.compare_exchange(AWAKE, SLEEPING, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// The loop is back from its sleep.
    pub(crate) fn end_sleep(&self) {
        // A wake that came meanwhile stays visible as NOTIFIED.
        let _ = self.inner.state.compare_exchange(SLEEPING, AWAKE, Ordering::SeqCst, Ordering::SeqCst);
    }
}

impl fmt::Debug for RemoteWaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RemoteWaker")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wake_before_sleeping_forbids_the_sleep() {
        let waker = RemoteWaker::with_eventfd().expect("eventfd");
        waker.begin_turn();
        waker.clone().wake();
        assert!(waker.is_notified());
        assert!(!waker.prepare_sleep());
        waker.begin_turn();
        assert!(waker.prepare_sleep());
        waker.wake();
        waker.end_sleep();
        assert!(waker.is_notified());
        assert!(!waker.prepare_sleep());
    }
}
