//! A bare socket, for everything that a well-behaved client does not send.

use super::{PATIENCE, TestBroker};
use bytes::{BufMut, BytesMut};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

pub struct RawConnection {
    pub stream: TcpStream,
}

impl RawConnection {
    pub fn open(broker: &TestBroker) -> Self {
        Self::open_at(&broker.address())
    }

    pub fn open_at(address: &str) -> Self {
        let stream = TcpStream::connect(address).expect("the port is open");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_nodelay(true).expect("no delay");
        Self { stream }
    }

    /// Sends bytes as they are. False when the broker has closed the connection meanwhile.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        match self.stream.write_all(bytes) {
            Ok(()) => true,
            Err(error) if is_closed(error.kind()) => false,
            Err(error) => panic!("sending: {error}"),
        }
    }

    /// The next answer without its length; `None` when the broker closed the connection.
    pub fn answer(&mut self) -> Option<Vec<u8>> {
        let mut length = [0; 4];
        if !self.read_all(&mut length) {
            return None;
        }
        let mut body = vec![0; u32::from_be_bytes(length) as usize];
        self.read_all(&mut body).then_some(body)
    }

    /// Waits until the broker closes the connection. Fails when it answers instead, or when it does neither.
    #[track_caller]
    pub fn expect_closed(&mut self, why: &str) {
        if let Some(answer) = self.answer() {
            panic!("{why}: {} bytes of an answer instead of an end", answer.len());
        }
    }

    fn read_all(&mut self, buffer: &mut [u8]) -> bool {
        match self.stream.read_exact(buffer) {
            Ok(()) => true,
            Err(error) if is_closed(error.kind()) => false,
            Err(error) => panic!("neither an answer nor an end: {error}"),
        }
    }
}

fn is_closed(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe)
}

/// A frame with a request header of version 1 and this body.
pub fn request(api_key: i16, api_version: i16, correlation_id: i32, body: &[u8]) -> Vec<u8> {
    let mut frame = BytesMut::new();
    let client = b"raw";
    frame.put_i32((2 + 2 + 4 + 2 + client.len() + body.len()) as i32);
    frame.put_i16(api_key);
    frame.put_i16(api_version);
    frame.put_i32(correlation_id);
    frame.put_i16(client.len() as i16);
    frame.put_slice(client);
    frame.put_slice(body);
    frame.to_vec()
}

/// Resident memory of this process in bytes.
pub fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc is mounted");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
    let kib: u64 = line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number");
    kib * 1024
}
