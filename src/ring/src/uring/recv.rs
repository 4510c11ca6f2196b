//! Connected sockets and their multishot receive.
//!
//! A receive is armed when somebody first waits for data and stays armed. It ends when the peer ends, on an error, when
//! no buffer is left (then it is armed again once one has returned), or because the stream holds more
//! unread bytes than its share (then it is armed again when they have been read: this is the backpressure).

use super::buffers::BUFFER_GROUP;
use super::fd::Fd;
use super::ops::{Completion, Op};
use super::send::SendGate;
use super::{Driver, USER_DATA_IGNORED, os_error};
use bytes::Bytes;
use io_uring::types::CancelBuilder;
use io_uring::{cqueue, opcode};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

/// One connection.
pub(crate) struct StreamShared {
    this: Weak<StreamShared>,
    pub(super) driver: Rc<Driver>,
    pub(super) fd: Rc<Fd>,
    peer: SocketAddr,
    receive: RefCell<Receive>,
    pub(super) gate: SendGate,
    /// A send was given up half-way: what follows on this connection would be garbage.
    pub(super) broken: Cell<bool>,
}

#[derive(Default)]
struct Receive {
    /// Slot of the armed receive.
    armed: Option<usize>,
    cancelling: bool,
    starved: bool,
    unread: VecDeque<Bytes>,
    unread_bytes: usize,
    end: Option<End>,
    waker: Option<Waker>,
}

#[derive(Clone, Copy)]
enum End {
    Closed,
    Failed(i32),
}

impl StreamShared {
    pub(super) fn new(driver: Rc<Driver>, fd: OwnedFd, peer: SocketAddr) -> Rc<Self> {
        let fd = Rc::new(Fd::new(fd, &driver));
        Self::with_fd(driver, fd, peer)
    }

    pub(super) fn with_fd(driver: Rc<Driver>, fd: Rc<Fd>, peer: SocketAddr) -> Rc<Self> {
        Rc::new_cyclic(|this| Self {
            this: this.clone(),
            driver,
            fd,
            peer,
            receive: RefCell::default(),
            gate: SendGate::default(),
            broken: Cell::new(false),
        })
    }

    pub(crate) fn peer_addr(&self) -> SocketAddr {
        self.peer
    }

    /// Ends both directions: pending and later receives see the end, sends fail.
    pub(crate) fn shutdown(&self) {
        self.driver.count_syscall();
        // Fails only where the connection is gone already.
        let _ = rustix::net::shutdown(&*self.fd, rustix::net::Shutdown::Both);
    }

    pub(crate) fn poll_recv(&self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        let mut receive = self.receive.borrow_mut();
        if let Some(chunk) = receive.unread.pop_front() {
            receive.unread_bytes -= chunk.len();
            self.driver.unread_bytes.set(self.driver.unread_bytes.get() - chunk.len());
            return Poll::Ready(Ok(chunk));
        }
        match receive.end {
            Some(End::Closed) => return Poll::Ready(Ok(Bytes::new())),
            Some(End::Failed(result)) => return Poll::Ready(Err(os_error(result))),
            None => {}
        }
        match &mut receive.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            None => receive.waker = Some(cx.waker().clone()),
        }
        if receive.armed.is_none() && !receive.starved {
            self.arm(&mut receive);
        }
        Poll::Pending
    }

    pub(crate) fn poll_ended(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut receive = self.receive.borrow_mut();
        if receive.end.is_some() {
            return Poll::Ready(());
        }
        match &mut receive.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            None => receive.waker = Some(cx.waker().clone()),
        }
        if receive.armed.is_none() && !receive.starved && receive.unread_bytes <= self.unread_bytes_max() {
            self.arm(&mut receive);
        }
        Poll::Pending
    }

    /// What this stream may hold unread: nothing that waits while all together hold too much, so that it is received for piece by piece.
    fn unread_bytes_max(&self) -> usize {
        let config = &self.driver.config;
        if self.driver.unread_bytes.get() > config.recv_unread_total_bytes_max { 0 } else { config.recv_unread_bytes_max }
    }

    fn arm(&self, receive: &mut Receive) {
        let op = Op::Recv { stream: self.this.clone(), _fd: self.fd.clone() };
        receive.armed = Some(self.driver.multishot(op, opcode::RecvMulti::new(self.fd.target(), BUFFER_GROUP).build()));
        receive.cancelling = false;
    }

    /// A completion of a receive; `stream` is None where nobody holds the stream any more.
    pub(super) fn completed(driver: &Driver, stream: Option<Rc<Self>>, completion: Completion) {
        let chunk = cqueue::buffer_select(completion.flags).map(|buffer| {
            let len = completion.result.max(0) as usize;
            let received = driver.buffers.borrow_mut().take(buffer, len, cqueue::buffer_more(completion.flags));
            driver.count(|stats| {
                stats.recv_bytes += len as u64;
                stats.recv_copied_bytes += if received.copied { len as u64 } else { 0 };
            });
            received.chunk
        });
        if let Some(stream) = stream {
            stream.received(chunk.unwrap_or_default(), completion);
        }
    }

    fn received(&self, chunk: Bytes, completion: Completion) {
        let mut receive = self.receive.borrow_mut();
        if !cqueue::more(completion.flags) {
            receive.armed = None;
        }
        match completion.result {
            1.. => {
                receive.unread_bytes += chunk.len();
                self.driver.unread_bytes.set(self.driver.unread_bytes.get() + chunk.len());
                receive.unread.push_back(chunk);
                if receive.unread_bytes > self.unread_bytes_max()
                    && !receive.cancelling
                    && let Some(slot) = receive.armed
                {
                    receive.cancelling = true;
                    self.driver.cancel(slot);
                }
            }
            0 => receive.end = Some(End::Closed),
            result if result == -libc::ENOBUFS => {
                receive.starved = true;
                self.driver.starved.borrow_mut().push(self.this.clone());
                self.driver.count(|stats| stats.recv_starved += 1);
                return;
            }
            // Our own backpressure, or an interruption: the next reader arms it again.
            result if result == -libc::ECANCELED || result == -libc::EINTR || result == -libc::EAGAIN => {}
            result => receive.end = Some(End::Failed(result)),
        }
        if let Some(waker) = receive.waker.take() {
            drop(receive);
            waker.wake();
        }
    }

    /// The kernel has buffers again.
    pub(super) fn buffers_returned(&self) {
        let mut receive = self.receive.borrow_mut();
        receive.starved = false;
        let wanted = receive.waker.is_some() && receive.end.is_none();
        if wanted && receive.armed.is_none() {
            self.arm(&mut receive);
        }
    }
}

impl Drop for StreamShared {
    fn drop(&mut self) {
        let receive = self.receive.get_mut();
        self.driver.unread_bytes.set(self.driver.unread_bytes.get() - receive.unread_bytes);
        // The armed receive holds the descriptor: without this the connection would stay open. (An abandoned send was
        // cancelled when its future was dropped.) The descriptor is closed when the last operation has completed.
        if !self.driver.closed.get() && self.receive.get_mut().armed.is_some() {
            let all = CancelBuilder::fd(self.fd.target()).all();
            self.driver.push(opcode::AsyncCancel2::new(all).build().user_data(USER_DATA_IGNORED));
        }
    }
}
