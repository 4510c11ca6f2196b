//! Sockets as the rooms above see them.

use crate::{sim, uring};
use bytes::Bytes;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

/// How a port is listened on.
#[derive(Debug, Clone, Copy)]
pub struct ListenOptions {
    /// `SO_REUSEPORT`: several rings listen on one port and the kernel spreads the connections.
    pub reuse_port: bool,
    /// Connections that may wait to be accepted.
    pub backlog: u32,
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self { reuse_port: false, backlog: 1024 }
    }
}

/// A listening socket. Dropping it closes it; connections accepted but not yet taken are closed with it.
pub struct Listener {
    pub(crate) kind: ListenerKind,
}

pub(crate) enum ListenerKind {
    Uring(Rc<uring::ListenerShared>),
    Sim(Rc<sim::SimListener>),
}

impl Listener {
    /// The next connection and its peer's address. An error (such as too many open files) concerns one connection:
    /// the listener stays usable, but a caller should pause before it tries again.
    pub async fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        match &self.kind {
            ListenerKind::Uring(listener) => {
                let (stream, peer) = std::future::poll_fn(|cx| listener.poll_accept(cx)).await?;
                Ok((Stream { kind: StreamKind::Uring(stream) }, peer))
            }
            ListenerKind::Sim(listener) => {
                let (stream, peer) = std::future::poll_fn(|cx| listener.poll_accept(cx)).await?;
                Ok((Stream { kind: StreamKind::Sim(stream) }, peer))
            }
        }
    }

    /// Where it listens; tells the port where 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        match &self.kind {
            ListenerKind::Uring(listener) => listener.local_addr(),
            ListenerKind::Sim(listener) => listener.local_addr(),
        }
    }
}

/// A connection. Clones share it; it closes when the last clone is dropped.
#[derive(Clone)]
pub struct Stream {
    pub(crate) kind: StreamKind,
}

#[derive(Clone)]
pub(crate) enum StreamKind {
    Uring(Rc<uring::StreamShared>),
    Sim(Rc<sim::SimStream>),
}

impl Stream {
    /// The next bytes, as many as have arrived; empty at the peer's end, again and again. One task receives at a time.
    ///
    /// Larger chunks pin a receive buffer of the ring until they are dropped (on any thread): what is kept longer
    /// than a request is copied. Not calling this is backpressure: beyond
    /// `RingConfig::recv_unread_bytes_max` the ring stops receiving and the peer's window closes.
    /// Dropping the future loses nothing.
    pub async fn recv(&self) -> io::Result<Bytes> {
        match &self.kind {
            StreamKind::Uring(stream) => std::future::poll_fn(|cx| stream.poll_recv(cx)).await,
            StreamKind::Sim(stream) => std::future::poll_fn(|cx| stream.poll_recv(cx)).await,
        }
    }

    /// Done when the peer has ended its side or the connection has failed, also while bytes that came before are still unread:
    /// whoever works long on a request can give up. A stream that holds more unread bytes than its share is not looked at
    /// until some are read. The task that receives is the one that waits. Dropping the future loses nothing.
    pub async fn ended(&self) {
        match &self.kind {
            StreamKind::Uring(stream) => std::future::poll_fn(|cx| stream.poll_ended(cx)).await,
            StreamKind::Sim(stream) => std::future::poll_fn(|cx| stream.poll_ended(cx)).await,
        }
    }

    /// Sends all parts in order; done when the socket has taken everything. Concurrent sends go one after the other.
    /// Dropping the future may leave half a message behind: the stream then fails every later send.
    pub async fn send(&self, parts: Vec<Bytes>) -> io::Result<()> {
        match &self.kind {
            StreamKind::Uring(stream) => stream.send(parts).await,
            StreamKind::Sim(stream) => stream.send(parts).await,
        }
    }

    /// Ends both directions: a waiting `recv` sees the end, sends fail.
    pub fn shutdown(&self) {
        match &self.kind {
            StreamKind::Uring(stream) => stream.shutdown(),
            StreamKind::Sim(stream) => stream.shutdown(),
        }
    }

    pub fn peer_addr(&self) -> SocketAddr {
        match &self.kind {
            StreamKind::Uring(stream) => stream.peer_addr(),
            StreamKind::Sim(stream) => stream.peer_addr(),
        }
    }
}
