//! Plain non-blocking sockets that carry whole frames both ways.

use crate::BenchError;
use bytes::Bytes;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{ErrorKind, Read, Write};
use std::mem::MaybeUninit;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// Largest response accepted, in bytes.
const RESPONSE_BYTES_MAX: usize = 512 * 1024 * 1024;

/// One connection.
#[derive(Debug)]
pub struct Link {
    stream: TcpStream,
    pub address: String,
    outgoing: Vec<u8>,
    written: usize,
    watched_for_write: bool,
    prefix: [u8; 4],
    prefix_bytes: usize,
    /// Bytes of the response being read; empty between responses.
    expected: usize,
    body: Vec<u8>,
}

impl Link {
    pub fn open(host: &str, port: i32) -> Result<Self, BenchError> {
        let address = format!("{host}:{port}");
        let failed = |e: std::io::Error| BenchError::Connection { address: address.clone(), reason: e.to_string() };
        let port =
            u16::try_from(port).map_err(|_| BenchError::Connection { address: address.clone(), reason: "no such port".to_owned() })?;
        let stream = TcpStream::connect((host, port)).map_err(failed)?;
        stream.set_nodelay(true).and_then(|()| stream.set_nonblocking(true)).map_err(failed)?;
        Ok(Self {
            stream,
            address,
            outgoing: Vec::new(),
            written: 0,
            watched_for_write: false,
            prefix: [0; 4],
            prefix_bytes: 0,
            expected: 0,
            body: Vec::new(),
        })
    }

    /// Queues a frame (length prefix included) and writes what the socket takes.
    pub fn send(&mut self, frame: &[u8]) -> Result<(), BenchError> {
        if self.written == self.outgoing.len() {
            self.outgoing.clear();
            self.written = 0;
        }
        self.outgoing.extend_from_slice(frame);
        self.write()
    }

    /// Whether bytes wait for the socket.
    pub fn wants_write(&self) -> bool {
        self.written < self.outgoing.len()
    }

    /// Writes what the socket takes.
    pub fn write(&mut self) -> Result<(), BenchError> {
        while self.wants_write() {
            match self.stream.write(&self.outgoing[self.written..]) {
                Ok(n) => self.written += n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(self.failed(e.to_string())),
            }
        }
        Ok(())
    }

    /// The next whole response (without its length), if it is there.
    pub fn receive(&mut self) -> Result<Option<Bytes>, BenchError> {
        loop {
            if self.expected == 0 {
                match self.stream.read(&mut self.prefix[self.prefix_bytes..]) {
                    Ok(0) => return Err(self.failed("closed by the broker".to_owned())),
                    Ok(n) => self.prefix_bytes += n,
                    Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(None),
                    Err(e) if e.kind() == ErrorKind::Interrupted => {}
                    Err(e) => return Err(self.failed(e.to_string())),
                }
                if self.prefix_bytes < 4 {
                    continue;
                }
                let length = i32::from_be_bytes(self.prefix);
                if length < 4 || length as usize > RESPONSE_BYTES_MAX {
                    return Err(self.failed(format!("a response length of {length}")));
                }
                self.expected = length as usize;
                self.prefix_bytes = 0;
                self.body = Vec::with_capacity(self.expected);
            }
            // Never beyond this response: the vector's capacity may be larger than asked for.
            let left = self.expected - self.body.len();
            let mut limited = (&self.stream).take(left as u64);
            match limited.read_to_end(&mut self.body) {
                Ok(_) if self.body.len() < self.expected => return Err(self.failed("closed by the broker".to_owned())),
                Ok(_) => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    if self.body.len() < self.expected {
                        return Ok(None);
                    }
                }
                Err(e) => return Err(self.failed(e.to_string())),
            }
            self.expected = 0;
            return Ok(Some(Bytes::from(std::mem::take(&mut self.body))));
        }
    }

    pub fn failed(&self, reason: String) -> BenchError {
        BenchError::Connection { address: self.address.clone(), reason }
    }
}

/// Events taken from the kernel in one go.
const EVENTS_MAX: usize = 256;

/// Which of many connections have something to read or room to write.
pub struct Reactor {
    epoll: OwnedFd,
}

impl Reactor {
    pub fn new() -> Result<Self, BenchError> {
        Ok(Self { epoll: epoll::create(CreateFlags::CLOEXEC).map_err(std::io::Error::from)? })
    }

    /// Watches a connection; [`Reactor::wait`] names it by `token`.
    pub fn add(&self, link: &Link, token: u64) -> Result<(), BenchError> {
        epoll::add(&self.epoll, &link.stream, EventData::new_u64(token), EventFlags::IN).map_err(std::io::Error::from)?;
        Ok(())
    }

    /// To be called when a connection begins or ends to have bytes that wait for the socket.
    pub fn update(&self, link: &mut Link, token: u64) -> Result<(), BenchError> {
        if link.wants_write() != link.watched_for_write {
            link.watched_for_write = link.wants_write();
            let flags = if link.watched_for_write { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
            epoll::modify(&self.epoll, &link.stream, EventData::new_u64(token), flags).map_err(std::io::Error::from)?;
        }
        Ok(())
    }

    /// Waits at most `timeout` and puts the tokens of connections with news into `ready`.
    pub fn wait(&mut self, timeout: Duration, ready: &mut Vec<u64>) {
        ready.clear();
        if !timeout.is_zero() {
            // epoll counts in milliseconds, poll in nanoseconds. An error (EINTR) means "look again", as the caller does anyway.
            let timeout = Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: timeout.subsec_nanos().into() };
            let _ = poll(&mut [PollFd::new(&self.epoll, PollFlags::IN)], Some(&timeout));
        }
        let mut events = [const { MaybeUninit::<Event>::uninit() }; EVENTS_MAX];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        if let Ok((events, _)) = epoll::wait(&self.epoll, &mut events, Some(&now)) {
            ready.extend(events.iter().map(|e| e.data.u64()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn frames_arrive_whole_in_any_pieces() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut link = Link::open("127.0.0.1", port.into()).unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        assert!(link.receive().unwrap().is_none());
        let mut reactor = Reactor::new().unwrap();
        reactor.add(&link, 7).unwrap();
        let mut ready = vec![1];
        reactor.wait(Duration::ZERO, &mut ready);
        assert!(ready.is_empty());
        let bytes = [&[0u8, 0, 0, 5][..], b"hello", &[0, 0, 0, 4], b"last"].concat();
        let mut frames = Vec::new();
        for piece in bytes.chunks(3) {
            peer.write_all(piece).unwrap();
            reactor.wait(Duration::from_secs(5), &mut ready);
            assert_eq!(ready, [7]);
            while let Some(frame) = link.receive().unwrap() {
                frames.push(frame);
            }
        }
        assert_eq!(frames, [&b"hello"[..], b"last"]);
        drop(peer);
        reactor.wait(Duration::from_secs(5), &mut ready);
        assert!(link.receive().is_err());
    }

    #[test]
    fn absurd_lengths_are_refused() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut link = Link::open("127.0.0.1", listener.local_addr().unwrap().port().into()).unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        peer.write_all(&[0x7f, 0xff, 0xff, 0xff]).unwrap();
        let mut reactor = Reactor::new().unwrap();
        reactor.add(&link, 0).unwrap();
        reactor.wait(Duration::from_secs(5), &mut Vec::new());
        assert!(link.receive().is_err());
    }
}
