//! Slots of operations in flight, and the future of an operation that completes once.

use super::accept::ListenerShared;
use super::fd::Fd;
use super::recv::StreamShared;
use super::{Driver, USER_DATA_IGNORED};
use io_uring::{cqueue, opcode, squeue, types};
use odradek_base::AlignedBuf;
use std::ffi::CString;
use std::future::Future;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

/// One completion, copied out of the shared queue.
#[derive(Debug, Clone, Copy)]
pub(super) struct Completion {
    pub(super) user_data: u64,
    pub(super) result: i32,
    pub(super) flags: u32,
}

impl From<cqueue::Entry> for Completion {
    fn from(entry: cqueue::Entry) -> Self {
        Self { user_data: entry.user_data(), result: entry.result(), flags: entry.flags() }
    }
}

/// An operation in flight.
pub(super) enum Op {
    Once { state: OnceState, payload: Payload },
    Recv { stream: Weak<StreamShared>, _fd: Rc<Fd> },
    Accept { listener: Weak<ListenerShared>, _fd: Rc<Fd> },
}

pub(super) enum OnceState {
    Waiting(Option<Waker>),
    Done(i32),
    /// Its future is gone; the payload goes with the completion.
    Abandoned,
}

/// What must stay in place while the kernel works on an operation. Every pointer in a submission entry points into
/// the heap memory of one of these, which does not move when the payload itself does.
pub(super) enum Payload {
    Fd {
        _fd: Rc<Fd>,
    },
    Buffer {
        _fd: Rc<Fd>,
        buffer: AlignedBuf,
    },
    Parts {
        _fd: Rc<Fd>,
        _parts: Box<super::send::Parts>,
    },
    Path {
        _path: CString,
    },
    /// As `Path`; the result is a descriptor that must be closed if nobody takes it.
    Opening {
        _path: CString,
    },
    TwoPaths {
        _paths: [CString; 2],
    },
    Address {
        _fd: Rc<Fd>,
        _address: Box<libc::sockaddr_storage>,
    },
}

impl Driver {
    /// Submits an operation that completes once. `cancel` says whether dropping the future asks the kernel to stop;
    /// otherwise the operation runs to its end unobserved.
    pub(super) fn once(&self, payload: Payload, cancel: bool, entry: squeue::Entry) -> Once {
        let driver = self.this.upgrade().expect("the driver lives while it is used");
        let slot = self.ops.borrow_mut().insert(Op::Once { state: OnceState::Waiting(None), payload });
        self.push(entry.user_data(slot as u64));
        Once { driver, slot, cancel, finished: false }
    }

    pub(super) fn multishot(&self, op: Op, entry: squeue::Entry) -> usize {
        let slot = self.ops.borrow_mut().insert(op);
        self.push(entry.user_data(slot as u64));
        slot
    }

    /// Hands a completion to its operation.
    pub(super) fn complete(&self, slot: usize, completion: Completion) {
        let last = !cqueue::more(completion.flags);
        let mut ops = self.ops.borrow_mut();
        match ops.get_mut(slot) {
            None => panic!("completion for slot {slot}, which has no operation: {completion:?}"),
            Some(Op::Once { state, payload }) => match std::mem::replace(state, OnceState::Done(completion.result)) {
                OnceState::Waiting(waker) => {
                    drop(ops);
                    if let Some(waker) = waker {
                        waker.wake();
                    }
                }
                OnceState::Abandoned => {
                    if completion.result >= 0 && matches!(payload, Payload::Opening { .. }) {
                        self.close_later(completion.result);
                    }
                    // Freed outside the borrow: dropping a payload may close a descriptor through this ring.
                    // The close above needs no slot.
                    let op = ops.remove(slot);
                    drop(ops);
                    drop(op);
                }
                OnceState::Done(_) => panic!("slot {slot} completed twice"),
            },
            Some(Op::Recv { stream, .. }) => {
                let stream = stream.clone();
                let op = last.then(|| ops.remove(slot));
                drop(ops);
                StreamShared::completed(self, stream.upgrade(), completion);
                drop(op);
            }
            Some(Op::Accept { listener, .. }) => {
                let listener = listener.upgrade();
                let op = last.then(|| ops.remove(slot));
                drop(ops);
                ListenerShared::completed(self, listener, completion);
                drop(op);
            }
        }
    }

    /// While shutting down: results that no future will fetch any more are dropped with their payload.
    pub(super) fn discard_results(&self) {
        let done: Vec<usize> = self
            .ops
            .borrow()
            .iter()
            .filter(|(_, op)| matches!(op, Op::Once { state: OnceState::Done(_), .. }))
            .map(|(slot, _)| slot)
            .collect();
        for slot in done {
            let op = self.ops.borrow_mut().remove(slot);
            if let Op::Once { state: OnceState::Done(result), payload: Payload::Opening { .. } } = &op
                && *result >= 0
            {
                self.close_later(*result);
            }
            drop(op);
        }
    }

    /// Closes a descriptor with the next submission.
    pub(super) fn close_later(&self, raw: i32) {
        self.push(opcode::Close::new(types::Fd(raw)).build().user_data(USER_DATA_IGNORED));
    }
}

/// Waits for an operation that completes once; yields its result (negative: an error number) and its payload.
pub(super) struct Once {
    driver: Rc<Driver>,
    slot: usize,
    cancel: bool,
    finished: bool,
}

impl Future for Once {
    type Output = (i32, Payload);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        assert!(!self.finished, "an operation was polled after its end");
        if self.driver.closed.get() {
            // The ring has shut down and may have dropped the slot: nothing will ever complete.
            return Poll::Pending;
        }
        let mut ops = self.driver.ops.borrow_mut();
        let Some(Op::Once { state, .. }) = ops.get_mut(self.slot) else { panic!("slot {} lost its operation", self.slot) };
        if let OnceState::Waiting(waker) = state {
            match waker {
                Some(old) => old.clone_from(cx.waker()),
                None => *waker = Some(cx.waker().clone()),
            }
            return Poll::Pending;
        }
        let Op::Once { state: OnceState::Done(result), payload } = ops.remove(self.slot) else {
            panic!("slot {} is abandoned but still polled", self.slot)
        };
        drop(ops);
        self.finished = true;
        Poll::Ready((result, payload))
    }
}

impl Drop for Once {
    fn drop(&mut self) {
        if self.finished || self.driver.closed.get() {
            return;
        }
        let mut ops = self.driver.ops.borrow_mut();
        let Some(Op::Once { state, payload }) = ops.get_mut(self.slot) else { return };
        match state {
            OnceState::Done(result) => {
                if *result >= 0 && matches!(payload, Payload::Opening { .. }) {
                    self.driver.close_later(*result);
                }
                let op = ops.remove(self.slot);
                drop(ops);
                drop(op);
            }
            _ => {
                *state = OnceState::Abandoned;
                drop(ops);
                if self.cancel {
                    self.driver.cancel(self.slot);
                }
            }
        }
    }
}
