//! Servers and clients that run on either backend.

use bytes::Bytes;
use odradek_ring::{ListenOptions, Listener, Ring, Stream};
use std::net::{Ipv4Addr, SocketAddr};

pub fn any_port() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

/// Listens and echoes every connection until it ends.
pub fn start_echo(ring: &Ring, addr: SocketAddr) -> SocketAddr {
    let listener = ring.listen(addr, ListenOptions::default()).expect("listen");
    let local = listener.local_addr();
    ring.spawn(accept_and_echo(ring.clone(), listener));
    local
}

async fn accept_and_echo(ring: Ring, listener: Listener) {
    while let Ok((stream, _)) = listener.accept().await {
        ring.spawn(async move {
            loop {
                match stream.recv().await {
                    Ok(chunk) if !chunk.is_empty() => {
                        if stream.send(vec![chunk]).await.is_err() {
                            return;
                        }
                    }
                    _ => return,
                }
            }
        });
    }
}

/// Cuts a stream into pieces of known length.
pub struct Reader {
    stream: Stream,
    rest: Vec<u8>,
}

impl Reader {
    pub fn new(stream: Stream) -> Self {
        Self { stream, rest: Vec::new() }
    }

    /// The next `len` bytes; fewer only at the end of the stream.
    pub async fn exactly(&mut self, len: usize) -> Vec<u8> {
        while self.rest.len() < len {
            let chunk = self.stream.recv().await.expect("receive");
            if chunk.is_empty() {
                break;
            }
            self.rest.extend_from_slice(&chunk);
        }
        let after = self.rest.split_off(len.min(self.rest.len()));
        std::mem::replace(&mut self.rest, after)
    }
}

/// Bytes that show where they are: no two aligned stretches of a few hundred bytes are alike.
pub fn pattern(len: usize, seed: u32) -> Bytes {
    (0..len as u32).map(|i| (i.wrapping_add(seed).wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

/// `requests` numbered requests of `len` bytes, all sent before the first answer is awaited.
pub async fn pipelined_echo(ring: &Ring, addr: SocketAddr, requests: u32, len: usize) {
    let stream = ring.connect(addr).await.expect("connect");
    let sender = stream.clone();
    ring.spawn(async move {
        for request in 0..requests {
            sender.send(vec![Bytes::copy_from_slice(&request.to_be_bytes()), pattern(len, request)]).await.expect("send");
        }
    });
    let mut reader = Reader::new(stream);
    for request in 0..requests {
        let answer = reader.exactly(4 + len).await;
        assert_eq!(answer[..4], request.to_be_bytes());
        assert_eq!(answer[4..], pattern(len, request), "request {request}");
    }
}
