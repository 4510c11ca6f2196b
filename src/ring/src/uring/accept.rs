//! Listening, accepting and connecting.

use super::fd::Fd;
use super::ops::{Completion, Op, Payload};
use super::recv::StreamShared;
use super::{Driver, os_error};
use crate::net::ListenOptions;
use io_uring::{cqueue, opcode};
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// A port is busy for a moment while the ring of a process that has just died is torn down.
const BIND_TRIES: u32 = 25;
const BIND_RETRY_AFTER: Duration = Duration::from_millis(20);

/// Accepted connections that may wait for `accept`; beyond this the kernel's backlog holds them.
const ACCEPTED_MAX: usize = 256;

/// A listening socket with its multishot accept.
pub(crate) struct ListenerShared {
    this: Weak<ListenerShared>,
    driver: Rc<Driver>,
    fd: Rc<Fd>,
    local: SocketAddr,
    accept: RefCell<Accept>,
}

#[derive(Default)]
struct Accept {
    armed: Option<usize>,
    cancelling: bool,
    accepted: VecDeque<OwnedFd>,
    /// Error of the last accept, told to the next caller.
    failed: Option<i32>,
    wakers: Vec<Waker>,
}

fn socket(addr: SocketAddr) -> io::Result<OwnedFd> {
    let family = if addr.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    // Without SOCK_NONBLOCK: io_uring answers EAGAIN on such a descriptor instead of waiting.
    Ok(rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?)
}

/// Small answers leave at once, dead peers are found. Accepted sockets inherit both from their listener.
fn set_stream_options(fd: BorrowedFd<'_>) -> io::Result<()> {
    sockopt::set_tcp_nodelay(fd, true)?;
    sockopt::set_socket_keepalive(fd, true)?;
    Ok(())
}

impl Driver {
    pub(crate) fn listen(&self, addr: SocketAddr, options: ListenOptions) -> io::Result<Rc<ListenerShared>> {
        let fd = socket(addr)?;
        sockopt::set_socket_reuseaddr(&fd, true)?;
        if options.reuse_port {
            sockopt::set_socket_reuseport(&fd, true)?;
        }
        set_stream_options(fd.as_fd())?;
        let mut tries = 1;
        loop {
            match rustix::net::bind(&fd, &addr).and_then(|()| rustix::net::listen(&fd, options.backlog.min(i32::MAX as u32) as i32)) {
                Ok(()) => break,
                Err(rustix::io::Errno::ADDRINUSE) if tries < BIND_TRIES => {
                    tries += 1;
                    std::thread::sleep(BIND_RETRY_AFTER);
                }
                Err(error) => return Err(error.into()),
            }
        }
        let local = std::net::TcpListener::from(fd.try_clone()?).local_addr()?;
        let driver = self.this.upgrade().expect("the driver lives while it is used");
        let fd = Rc::new(Fd::new(fd, self));
        Ok(Rc::new_cyclic(|this| ListenerShared { this: this.clone(), driver, fd, local, accept: RefCell::default() }))
    }

    pub(crate) async fn connect(&self, addr: SocketAddr) -> io::Result<Rc<StreamShared>> {
        let fd = socket(addr)?;
        set_stream_options(fd.as_fd())?;
        self.count(|stats| stats.other_syscalls += 3);
        let driver = self.this.upgrade().expect("the driver lives while it is used");
        let fd = Rc::new(Fd::new(fd, self));
        let (address, len) = raw_address(addr);
        let entry = opcode::Connect::new(fd.target(), (&raw const *address).cast(), len).build();
        let (result, _) = self.once(Payload::Address { _fd: fd.clone(), _address: address }, true, entry).await;
        if result < 0 {
            return Err(os_error(result));
        }
        Ok(StreamShared::with_fd(driver, fd, addr))
    }
}

/// An address in the kernel's form, with the length that is used of it.
fn raw_address(addr: SocketAddr) -> (Box<libc::sockaddr_storage>, libc::socklen_t) {
    // SAFETY: sockaddr_storage is plain bytes, for which all zeroes is valid.
    let mut storage: Box<libc::sockaddr_storage> = Box::new(unsafe { std::mem::zeroed() });
    let target: *mut libc::sockaddr_storage = &raw mut *storage;
    let len = match addr {
        SocketAddr::V4(v4) => {
            let raw = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                sin_zero: [0; 8],
            };
            // SAFETY: sockaddr_storage is large and aligned enough for every socket address.
            unsafe { target.cast::<libc::sockaddr_in>().write(raw) };
            size_of::<libc::sockaddr_in>()
        }
        SocketAddr::V6(v6) => {
            let raw = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: v6.flowinfo(),
                sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                sin6_scope_id: v6.scope_id(),
            };
            // SAFETY: as above.
            unsafe { target.cast::<libc::sockaddr_in6>().write(raw) };
            size_of::<libc::sockaddr_in6>()
        }
    };
    (storage, len as libc::socklen_t)
}

impl ListenerShared {
    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.local
    }

    pub(crate) fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Rc<StreamShared>, SocketAddr)>> {
        loop {
            let mut accept = self.accept.borrow_mut();
            let Some(fd) = accept.accepted.pop_front() else {
                if let Some(result) = accept.failed.take() {
                    return Poll::Ready(Err(os_error(result)));
                }
                if !accept.wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
                    accept.wakers.push(cx.waker().clone());
                }
                if accept.armed.is_none() {
                    let op = Op::Accept { listener: self.this.clone(), _fd: self.fd.clone() };
                    let entry = opcode::AcceptMulti::new(self.fd.target()).flags(libc::SOCK_CLOEXEC).build();
                    accept.armed = Some(self.driver.multishot(op, entry));
                    accept.cancelling = false;
                }
                return Poll::Pending;
            };
            drop(accept);
            self.driver.count_syscall();
            let socket = TcpStream::from(fd);
            // A peer that has gone already has no address: not worth telling the caller.
            if let Ok(peer) = socket.peer_addr() {
                return Poll::Ready(Ok((StreamShared::new(self.driver.clone(), socket.into(), peer), peer)));
            }
        }
    }

    /// A completion of an accept; `listener` is None where nobody holds the listener any more.
    pub(super) fn completed(_driver: &Driver, listener: Option<Rc<Self>>, completion: Completion) {
        // SAFETY: a non-negative result is a new descriptor that nobody else owns.
        let fd = (completion.result >= 0).then(|| unsafe { OwnedFd::from_raw_fd(completion.result) });
        let Some(listener) = listener else { return };
        let mut accept = listener.accept.borrow_mut();
        if !cqueue::more(completion.flags) {
            accept.armed = None;
        }
        match fd {
            Some(fd) => {
                accept.accepted.push_back(fd);
                if accept.accepted.len() >= ACCEPTED_MAX
                    && !accept.cancelling
                    && let Some(slot) = accept.armed
                {
                    accept.cancelling = true;
                    listener.driver.cancel(slot);
                }
            }
            // The peer left before it was accepted, or our own backpressure: nothing happened.
            None if [-libc::ECANCELED, -libc::ECONNABORTED, -libc::EINTR, -libc::EAGAIN].contains(&completion.result) => {}
            None => accept.failed = Some(completion.result),
        }
        let wakers = std::mem::take(&mut accept.wakers);
        drop(accept);
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Drop for ListenerShared {
    fn drop(&mut self) {
        if let Some(slot) = self.accept.get_mut().armed
            && !self.driver.closed.get()
        {
            // Connections that arrive from here on are refused, not left hanging until the accept is cancelled.
            // SAFETY: a plain system call on a descriptor that is open as long as `fd` lives.
            unsafe { libc::shutdown(self.fd.as_fd().as_raw_fd(), libc::SHUT_RDWR) };
            self.driver.cancel(slot);
        }
    }
}
