//! The io_uring backend: one kernel ring, driven by the thread that made it.
//!
//! Every operation has a slot that owns all memory the kernel may touch for it, from submission until its last
//! completion. Dropping a future never frees such memory: the slot is marked abandoned and goes with the completion.
//! Completions are collected first and then dispatched; dispatching changes state and wakes tasks, it runs none.

mod accept;
mod buffers;
mod fd;
mod file;
mod ops;
mod recv;
mod send;
mod setup;

pub(crate) use accept::ListenerShared;
pub(crate) use file::{FileShared, OpenFlags};
pub(crate) use recv::StreamShared;

use crate::config::{Features, RingConfig, RingStats};
use crate::error::RingError;
use crate::remote::RemoteWaker;
use buffers::BufferPool;
use io_uring::types::{CancelBuilder, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue, types};
use ops::{Completion, Op};
use slab::Slab;
use std::cell::{Cell, RefCell};
use std::io;
use std::rc::{Rc, Weak};
use std::time::Duration;

/// User data of the poll that other threads wake the ring with.
const USER_DATA_WAKE: u64 = u64::MAX;
/// User data of operations whose result nobody needs: closing, cancelling.
const USER_DATA_IGNORED: u64 = u64::MAX - 1;

/// How long tearing down waits for operations that are still in the kernel.
const SHUTDOWN_WAIT: Duration = Duration::from_secs(5);

/// Failed and successful tries to find work by polling move the credit between 0 (do not try) and this.
const SPIN_CREDIT_MAX: u32 = 16;

/// The kernel ring of one shard and everything in flight on it.
pub(crate) struct Driver {
    this: Weak<Driver>,
    ring: RefCell<IoUring>,
    ops: RefCell<Slab<Op>>,
    buffers: RefCell<BufferPool>,
    /// Completions taken from the queue and not yet dispatched.
    collected: RefCell<Vec<Completion>>,
    /// Streams whose receive ended for want of a buffer.
    starved: RefCell<Vec<Weak<StreamShared>>>,
    /// Bytes that streams hold unread.
    unread_bytes: Cell<usize>,
    remote: RemoteWaker,
    config: RingConfig,
    features: Features,
    stats: Cell<RingStats>,
    spin_credit: Cell<u32>,
    closed: Cell<bool>,
}

impl Driver {
    pub(crate) fn new(config: &RingConfig, remote: RemoteWaker) -> Result<Rc<Self>, RingError> {
        let (ring, mut features) = setup::kernel_ring(config)?;
        let buffers = BufferPool::register(&ring, config, &mut features)?;
        let driver = Rc::new_cyclic(|this| Self {
            this: this.clone(),
            ring: RefCell::new(ring),
            ops: RefCell::new(Slab::with_capacity(256)),
            buffers: RefCell::new(buffers),
            collected: RefCell::new(Vec::with_capacity(config.completion_entries as usize)),
            starved: RefCell::new(Vec::new()),
            unread_bytes: Cell::new(0),
            remote,
            config: config.clone(),
            features,
            stats: Cell::default(),
            spin_credit: Cell::new(0),
            closed: Cell::new(false),
        });
        driver.arm_wake();
        Ok(driver)
    }

    pub(crate) fn features(&self) -> Features {
        self.features.clone()
    }

    pub(crate) fn stats(&self) -> RingStats {
        RingStats { recv_unread_bytes: self.unread_bytes.get() as u64, ..self.stats.get() }
    }

    fn count(&self, change: impl FnOnce(&mut RingStats)) {
        let mut stats = self.stats.get();
        change(&mut stats);
        self.stats.set(stats);
    }

    fn count_syscall(&self) {
        self.count(|stats| stats.other_syscalls += 1);
    }

    /// Watches the eventfd that other threads write to.
    fn arm_wake(&self) {
        let Some(eventfd) = self.remote.eventfd() else { return };
        // Edge-triggered, so the counter need not be read back.
        let entry = opcode::PollAdd::new(types::Fd(eventfd), libc::POLLIN as u32).multi(true).build().user_data(USER_DATA_WAKE);
        self.push(entry);
    }

    /// Queues one entry; it is submitted with the next turn. Memory it points to must live in an operation's slot
    /// (or need no keeping alive) until its last completion.
    fn push(&self, entry: squeue::Entry) {
        let mut ring = self.ring.borrow_mut();
        loop {
            // SAFETY: all callers are in this module's files and keep the memory that `entry` points to in `ops`
            // until the kernel has posted the last completion (see `ops::Payload`).
            if unsafe { ring.submission().push(&entry) }.is_ok() {
                return;
            }
            self.enter(&mut ring, 0, None);
        }
    }

    /// One `io_uring_enter`: submits what is queued, runs deferred completions, and with `want` waits for that many
    /// completions or until the time is over.
    fn enter(&self, ring: &mut IoUring, want: usize, timeout: Option<Duration>) {
        self.count(|stats| stats.enters += 1);
        let result = match timeout {
            None => ring.submitter().submit_and_wait(want),
            Some(timeout) => {
                let timespec = Timespec::from(timeout);
                ring.submitter().submit_with_args(want, &SubmitArgs::new().timespec(&timespec))
            }
        };
        match result {
            Ok(submitted) => self.count(|stats| stats.sqes += submitted as u64),
            Err(error) => match error.raw_os_error() {
                // Time is over, or a signal came.
                Some(libc::ETIME) | Some(libc::EINTR) => {}
                // The completion queue is full, or memory is short for the moment: make room and come back.
                Some(libc::EBUSY) | Some(libc::EAGAIN) => {}
                _ => panic!("io_uring_enter failed: {error}"),
            },
        }
        self.collect(ring);
    }

    /// Moves completions from the shared queue to our own.
    fn collect(&self, ring: &mut IoUring) {
        let mut collected = self.collected.borrow_mut();
        let before = collected.len();
        collected.extend(ring.completion().map(Completion::from));
        let taken = collected.len() - before;
        if taken > 0 {
            self.count(|stats| stats.cqes += taken as u64);
        }
    }

    /// Dispatches everything that has completed. True where there was something.
    pub(crate) fn reap(&self) -> bool {
        if self.collected.borrow().is_empty() {
            self.collect(&mut self.ring.borrow_mut());
        }
        let mut batch = std::mem::take(&mut *self.collected.borrow_mut());
        if batch.is_empty() {
            *self.collected.borrow_mut() = batch;
            self.buffers.borrow_mut().reclaim();
            return false;
        }
        for completion in batch.drain(..) {
            self.dispatch(completion);
        }
        // Dispatching may have collected more (a full submission queue enters the kernel); keep both, in order.
        let mut collected = self.collected.borrow_mut();
        batch.append(&mut collected);
        *collected = batch;
        drop(collected);
        self.buffers.borrow_mut().reclaim();
        self.rearm_starved();
        true
    }

    fn dispatch(&self, completion: Completion) {
        match completion.user_data {
            USER_DATA_IGNORED => {}
            USER_DATA_WAKE => {
                if !cqueue::more(completion.flags) && !self.closed.get() {
                    self.arm_wake();
                }
            }
            slot => self.complete(slot as usize, completion),
        }
    }

    /// Streams that ran out of buffers receive again as soon as the kernel has one.
    fn rearm_starved(&self) {
        if self.starved.borrow().is_empty() || self.buffers.borrow().available() == 0 {
            return;
        }
        for stream in std::mem::take(&mut *self.starved.borrow_mut()) {
            if let Some(stream) = stream.upgrade() {
                stream.buffers_returned();
            }
        }
    }

    /// Tasks are runnable: submit what is queued and let deferred completions in, but do not wait.
    pub(crate) fn submit(&self) {
        let mut ring = self.ring.borrow_mut();
        let submission = ring.submission();
        let needed = !submission.is_empty() || submission.taskrun() || submission.cq_overflow();
        drop(submission);
        if needed {
            self.enter(&mut ring, 0, None);
        }
    }

    /// Nothing is runnable: submit what is queued and wait until something completes, another thread wakes the
    /// ring, or `timeout` is over. `None` waits without end.
    pub(crate) fn wait(&self, timeout: Option<Duration>) {
        let mut ring = self.ring.borrow_mut();
        if !self.collected.borrow().is_empty() || !ring.completion().is_empty() || timeout == Some(Duration::ZERO) {
            drop(ring);
            return self.submit();
        }
        let spin = self.config.spin;
        if !spin.is_zero() && self.spin_credit.get() > 0 {
            if !ring.submission().is_empty() {
                self.enter(&mut ring, 0, None);
            }
            let limit = timeout.map_or(spin, |timeout| timeout.min(spin));
            if self.spin(&mut ring, limit) {
                self.spin_credit.set((self.spin_credit.get() + 2).min(SPIN_CREDIT_MAX));
                self.count(|stats| stats.spins_hit += 1);
                return;
            }
            self.spin_credit.set(self.spin_credit.get() - 1);
            self.count(|stats| stats.spins_missed += 1);
        }
        if !self.remote.prepare_sleep() {
            drop(ring);
            return self.submit();
        }
        let before = std::time::Instant::now();
        self.enter(&mut ring, 1, timeout);
        self.remote.end_sleep();
        self.count(|stats| stats.blocks += 1);
        // A wait this short would have been cheaper as a spin: earn the right to try.
        if before.elapsed() <= spin * 2 {
            self.spin_credit.set((self.spin_credit.get() + 1).min(SPIN_CREDIT_MAX));
        }
    }

    /// Polls for completions without blocking; true where there is something to do.
    fn spin(&self, ring: &mut IoUring, limit: Duration) -> bool {
        let start = std::time::Instant::now();
        loop {
            if !self.collected.borrow().is_empty() || !ring.completion().is_empty() || self.remote.is_notified() {
                return true;
            }
            if ring.submission().taskrun() {
                self.enter(ring, 0, None);
                // Task work need not have produced a completion.
                if !self.collected.borrow().is_empty() {
                    return true;
                }
            }
            if start.elapsed() >= limit {
                return false;
            }
            for _ in 0..16 {
                std::hint::spin_loop();
            }
        }
    }

    /// Asks the kernel to give up one operation. Its slot stays until the kernel says so.
    fn cancel(&self, slot: usize) {
        self.push(opcode::AsyncCancel::new(slot as u64).build().user_data(USER_DATA_IGNORED));
    }

    /// Cancels everything and waits until the kernel touches our memory no more.
    pub(crate) fn shutdown(&self) {
        if self.closed.replace(true) {
            return;
        }
        self.push(opcode::AsyncCancel2::new(CancelBuilder::any().all()).build().user_data(USER_DATA_IGNORED));
        let start = std::time::Instant::now();
        while !self.ops.borrow().is_empty() && start.elapsed() < SHUTDOWN_WAIT {
            self.enter(&mut self.ring.borrow_mut(), 1, Some(Duration::from_millis(10)));
            self.reap();
            self.discard_results();
        }
        // Closing of descriptors that was still queued.
        self.submit();
        if !self.ops.borrow().is_empty() {
            // The kernel may still write into these: giving the memory up for good is the only safe thing left.
            tracing::warn!(
                operations = self.ops.borrow().len(),
                "operations still in the kernel while the ring shuts down; their memory is leaked"
            );
            std::mem::forget(std::mem::take(&mut *self.ops.borrow_mut()));
            self.buffers.borrow_mut().leak();
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.shutdown();
    }
}

fn os_error(result: i32) -> io::Error {
    io::Error::from_raw_os_error(-result)
}

/// The result of an operation as the kernel reports it: a count, or a negative error number.
fn to_result(result: i32) -> io::Result<usize> {
    if result < 0 { Err(os_error(result)) } else { Ok(result as usize) }
}

/// Whether the kernel gives this process a ring of this kind: to be asked before others are started that need one and do not say so well.
///
/// # Errors
/// Why not, and what helps.
pub fn available(config: &RingConfig) -> Result<(), RingError> {
    setup::kernel_ring(config).map(|_| ())
}
