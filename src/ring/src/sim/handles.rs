//! Simulated files, streams and listeners, with the same calls as their io_uring counterparts.

use super::disk::{NodeId, Reply, Request};
use super::net::{ConnectId, EndId, ListenerId};
use super::world::SimPort;
use crate::file::{DirEntry, Metadata, OpenOptions};
use crate::net::ListenOptions;
use bytes::Bytes;
use odradek_base::AlignedBuf;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

fn text(path: &Path) -> io::Result<String> {
    path.to_str().map(str::to_owned).ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))
}

impl SimPort {
    pub(crate) async fn open(self: &Rc<Self>, path: &Path, options: OpenOptions) -> io::Result<Rc<SimFile>> {
        let request = Request::Open {
            path: text(path)?,
            read_only: !options.write,
            create: options.create,
            create_new: options.create_new,
            truncate: options.truncate,
            directory: false,
        };
        self.open_node(request, options.direct).await
    }

    async fn open_node(self: &Rc<Self>, request: Request, direct: bool) -> io::Result<Rc<SimFile>> {
        match self.disk(request).await? {
            Reply::Node(node) => Ok(Rc::new(SimFile { port: self.clone(), node, direct })),
            reply => panic!("an open was answered with {reply:?}"),
        }
    }

    pub(crate) async fn sync_dir(self: &Rc<Self>, path: &Path) -> io::Result<()> {
        let request =
            Request::Open { path: text(path)?, read_only: true, create: false, create_new: false, truncate: false, directory: true };
        self.open_node(request, false).await?.sync().await
    }

    pub(crate) async fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.disk(Request::CreateDir { path: text(path)? }).await.map(drop)
    }

    pub(crate) async fn unlink(&self, path: &Path, directory: bool) -> io::Result<()> {
        self.disk(Request::Unlink { path: text(path)?, directory }).await.map(drop)
    }

    pub(crate) async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk(Request::Rename { from: text(from)?, to: text(to)? }).await.map(drop)
    }

    pub(crate) async fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        match self.disk(Request::ReadDir { path: text(path)? }).await? {
            Reply::Entries(entries) => Ok(entries),
            reply => panic!("a read_dir was answered with {reply:?}"),
        }
    }

    pub(crate) async fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        match self.disk(Request::Metadata { path: text(path)? }).await? {
            Reply::Metadata(metadata) => Ok(metadata),
            reply => panic!("a metadata was answered with {reply:?}"),
        }
    }

    pub(crate) async fn free_bytes(&self) -> io::Result<u64> {
        self.count(Request::FreeBytes).await
    }

    async fn count(&self, request: Request) -> io::Result<u64> {
        match self.disk(request).await? {
            Reply::Count(count) => Ok(count),
            reply => panic!("a count was answered with {reply:?}"),
        }
    }

    pub(crate) fn listen(self: &Rc<Self>, addr: SocketAddr, options: ListenOptions) -> io::Result<Rc<SimListener>> {
        if !self.is_alive() {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        let (id, local) = self.network(|network, _, _| network.listen(self.host, addr, options))?;
        Ok(Rc::new(SimListener { port: self.clone(), id, local }))
    }

    pub(crate) async fn connect(self: &Rc<Self>, addr: SocketAddr) -> io::Result<Rc<SimStream>> {
        if !self.is_alive() {
            return std::future::pending().await;
        }
        self.record_connect(addr.port());
        let id = self.network(|network, now, effects| network.connect(self.host, addr, now, effects))?;
        let waiting = Connecting { port: self.clone(), id };
        let result = poll_fn(|cx| match self.network(|network, _, _| network.poll_connect(waiting.id, cx.waker())) {
            Some(result) => Poll::Ready(result),
            None => Poll::Pending,
        })
        .await;
        match result {
            Ok(end) => Ok(SimStream::new(self.clone(), end, addr)),
            Err(number) => Err(io::Error::from_raw_os_error(number)),
        }
    }
}

/// Forgets a connect whose future is dropped.
struct Connecting {
    port: Rc<SimPort>,
    id: ConnectId,
}

impl Drop for Connecting {
    fn drop(&mut self) {
        if self.port.is_alive() {
            self.port.network(|network, now, effects| network.forget_connect(self.id, now, effects));
        }
    }
}

/// An open file on a simulated disk.
pub(crate) struct SimFile {
    port: Rc<SimPort>,
    node: NodeId,
    direct: bool,
}

impl SimFile {
    pub(crate) async fn read(&self, mut buffer: AlignedBuf, done: usize, pos: u64, len: usize) -> (io::Result<usize>, AlignedBuf) {
        match self.port.disk(Request::Read { node: self.node, pos, len, direct: self.direct }).await {
            Ok(Reply::Data(data)) => {
                buffer[done..done + data.len()].copy_from_slice(&data);
                (Ok(data.len()), buffer)
            }
            Ok(reply) => panic!("a read was answered with {reply:?}"),
            Err(error) => (Err(error), buffer),
        }
    }

    pub(crate) async fn write(&self, parts: &[Bytes], done: usize, pos: u64, sync: bool) -> io::Result<usize> {
        let mut data = parts.concat();
        data.drain(..done);
        let request = Request::Write { node: self.node, pos, data, sync, direct: self.direct };
        self.port.count(request).await.map(|count| count as usize)
    }

    pub(crate) async fn sync(&self) -> io::Result<()> {
        self.port.disk(Request::Sync { node: self.node }).await.map(drop)
    }

    pub(crate) async fn truncate(&self, len: u64) -> io::Result<()> {
        self.port.disk(Request::Truncate { node: self.node, len }).await.map(drop)
    }

    pub(crate) async fn allocate(&self, len: u64) -> io::Result<()> {
        self.port.disk(Request::Allocate { node: self.node, len }).await.map(drop)
    }

    pub(crate) async fn len(&self) -> io::Result<u64> {
        self.port.count(Request::Len { node: self.node }).await
    }
}

/// One end of a simulated connection.
pub(crate) struct SimStream {
    port: Rc<SimPort>,
    end: EndId,
    peer: SocketAddr,
    sending: Cell<bool>,
    senders: RefCell<Vec<Waker>>,
    broken: Cell<bool>,
}

impl SimStream {
    fn new(port: Rc<SimPort>, end: EndId, peer: SocketAddr) -> Rc<Self> {
        Rc::new(Self { port, end, peer, sending: Cell::new(false), senders: RefCell::default(), broken: Cell::new(false) })
    }

    pub(crate) fn peer_addr(&self) -> SocketAddr {
        self.peer
    }

    pub(crate) fn shutdown(&self) {
        if self.port.is_alive() {
            self.port.network(|network, now, effects| network.shut_down(self.end, now, effects));
        }
    }

    pub(crate) fn poll_recv(&self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        if !self.port.is_alive() {
            return Poll::Pending;
        }
        match self.port.network(|network, _, effects| network.poll_recv(self.end, cx.waker(), effects)) {
            Some(result) => Poll::Ready(result),
            None => Poll::Pending,
        }
    }

    pub(crate) fn poll_ended(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.port.is_alive() && self.port.network(|network, _, _| network.poll_ended(self.end, cx.waker())) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    pub(crate) async fn send(&self, parts: Vec<Bytes>) -> io::Result<()> {
        let mut turn = self.turn().await;
        if self.broken.get() {
            turn.completed = true;
            return Err(io::Error::from(io::ErrorKind::BrokenPipe));
        }
        for mut part in parts {
            while !part.is_empty() {
                poll_fn(|cx| {
                    if !self.port.is_alive() {
                        return Poll::Pending;
                    }
                    match self.port.network(|network, now, effects| network.poll_send(self.end, &mut part, cx.waker(), now, effects)) {
                        Some(result) => Poll::Ready(result),
                        None => Poll::Pending,
                    }
                })
                .await?;
            }
        }
        turn.completed = true;
        Ok(())
    }

    /// One send at a time, as on io_uring.
    async fn turn(&self) -> SendTurn<'_> {
        poll_fn(|cx| {
            if self.sending.replace(true) {
                self.senders.borrow_mut().push(cx.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(SendTurn { stream: self, completed: false })
        })
        .await
    }
}

struct SendTurn<'a> {
    stream: &'a SimStream,
    completed: bool,
}

impl Drop for SendTurn<'_> {
    fn drop(&mut self) {
        if !self.completed {
            self.stream.broken.set(true);
        }
        self.stream.sending.set(false);
        for waker in self.stream.senders.borrow_mut().drain(..) {
            waker.wake();
        }
    }
}

impl Drop for SimStream {
    fn drop(&mut self) {
        if self.port.is_alive() {
            self.port.record_close(self.end.number());
            self.port.network(|network, now, effects| network.close(self.end, now, effects));
        }
    }
}

/// A simulated listening socket.
pub(crate) struct SimListener {
    port: Rc<SimPort>,
    id: ListenerId,
    local: SocketAddr,
}

impl SimListener {
    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.local
    }

    pub(crate) fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Rc<SimStream>, SocketAddr)>> {
        if !self.port.is_alive() {
            return Poll::Pending;
        }
        match self.port.network(|network, _, _| network.poll_accept(self.id, cx.waker())) {
            Some((end, peer)) => Poll::Ready(Ok((SimStream::new(self.port.clone(), end, peer), peer))),
            None => Poll::Pending,
        }
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        if self.port.is_alive() {
            self.port.network(|network, now, effects| network.close_listener(self.id, now, effects));
        }
    }
}
