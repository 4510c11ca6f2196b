//! Sending: one `sendmsg` (or `send` for a single part) that the kernel completes as a whole.

use super::ops::Payload;
use super::recv::StreamShared;
use super::{os_error, to_result};
use bytes::Bytes;
use io_uring::{opcode, squeue};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::task::{Poll, Waker};

/// `IOV_MAX` of Linux: parts of one `sendmsg` or `writev`.
pub(super) const PARTS_PER_CALL_MAX: usize = 1024;

/// `MSG_WAITALL`: the kernel retries by itself until everything is in the socket's buffer. `MSG_NOSIGNAL`: an error, not a signal.
const SEND_FLAGS: libc::c_int = libc::MSG_WAITALL | libc::MSG_NOSIGNAL;

/// Buffers of one vectored operation, with the tables that point at them. Lives in the operation's slot.
pub(super) struct Parts {
    iovecs: Vec<libc::iovec>,
    /// Keeps the bytes that `iovecs` points at.
    _parts: Vec<Bytes>,
    message: libc::msghdr,
}

impl Parts {
    /// The rest of `parts` from byte `done` on, at most [`PARTS_PER_CALL_MAX`] of them.
    pub(super) fn after(parts: &[Bytes], done: usize) -> Box<Self> {
        let mut skip = done;
        let mut rest = Vec::new();
        for part in parts {
            if skip >= part.len() {
                skip -= part.len();
                continue;
            }
            rest.push(part.slice(skip..));
            skip = 0;
            if rest.len() == PARTS_PER_CALL_MAX {
                break;
            }
        }
        let iovecs = rest.iter().map(|part| libc::iovec { iov_base: part.as_ptr().cast_mut().cast(), iov_len: part.len() }).collect();
        // SAFETY: msghdr is plain integers and pointers, for which all zeroes is valid.
        let mut parts = Box::new(Self { iovecs, _parts: rest, message: unsafe { std::mem::zeroed() } });
        parts.message.msg_iov = parts.iovecs.as_mut_ptr();
        parts.message.msg_iovlen = parts.iovecs.len();
        parts
    }

    pub(super) fn iovecs(&self) -> &[libc::iovec] {
        &self.iovecs
    }
}

/// One send at a time per stream, in the order of the calls: parts of two messages must not mix.
#[derive(Default)]
pub(super) struct SendGate {
    busy: Cell<bool>,
    waiting: RefCell<VecDeque<Waker>>,
}

/// Held by the running send. Dropped before its end, it marks the stream broken.
struct Turn<'a> {
    stream: &'a StreamShared,
    completed: bool,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if !self.completed {
            self.stream.broken.set(true);
        }
        self.stream.gate.busy.set(false);
        for waker in self.stream.gate.waiting.borrow_mut().drain(..) {
            waker.wake();
        }
    }
}

impl StreamShared {
    pub(crate) async fn send(&self, parts: Vec<Bytes>) -> io::Result<()> {
        let mut turn = self.turn().await;
        if self.broken.get() {
            turn.completed = true;
            return Err(io::Error::from(io::ErrorKind::BrokenPipe));
        }
        let result = self.send_all(&parts).await;
        turn.completed = result.is_ok();
        result
    }

    async fn turn(&self) -> Turn<'_> {
        std::future::poll_fn(|cx| {
            if self.gate.busy.replace(true) {
                self.gate.waiting.borrow_mut().push_back(cx.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(Turn { stream: self, completed: false })
        })
        .await
    }

    async fn send_all(&self, parts: &[Bytes]) -> io::Result<()> {
        let total: usize = parts.iter().map(Bytes::len).sum();
        let mut done = 0;
        while done < total {
            let parts = Parts::after(parts, done);
            let entry = self.send_entry(&parts);
            let (result, _) = self.driver.once(Payload::Parts { _fd: self.fd.clone(), _parts: parts }, true, entry).await;
            match to_result(result) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::WriteZero)),
                Ok(sent) => done += sent,
                Err(_) if result == -libc::EINTR || result == -libc::EAGAIN => {}
                Err(_) => return Err(os_error(result)),
            }
        }
        Ok(())
    }

    fn send_entry(&self, parts: &Parts) -> squeue::Entry {
        match parts.iovecs() {
            [one] if one.iov_len <= u32::MAX as usize => {
                opcode::Send::new(self.fd.target(), one.iov_base.cast_const().cast(), one.iov_len as u32).flags(SEND_FLAGS).build()
            }
            _ => opcode::SendMsg::new(self.fd.target(), &parts.message).flags(SEND_FLAGS as u32).build(),
        }
    }
}
