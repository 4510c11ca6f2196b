//! The generator's own limit: its producers against a peer on loopback that throws requests away and answers at once.
//!
//! No broker can look better than this through the same generator on the same machine.

use super::crew::{Crew, Threads};
use super::lane::Lane;
use super::writer::Writer;
use super::{Engine, Pace, Share, Until};
use crate::BenchError;
use crate::connections::Link;
use crate::measure::GeneratorLimit;
use crate::scenario::Scenario;
use odradek_wire::messages::ProduceResponse;
use odradek_wire::{api, encode_response};
use rustix::event::{PollFd, PollFlags, poll};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use uuid::Uuid;

/// A version with named topics: the peer has no ids.
const VERSION: i16 = 9;
/// More connections than this change nothing about the limit.
const CONNECTIONS_MAX: usize = 256;
/// Seconds of measurement, and no more than a part of the scenario's; a third of that before it counts.
const LENGTH_S: f64 = 0.3;
const LENGTH_SHARE: f64 = 0.1;
const READ_BYTES: usize = 256 << 10;

/// What a scenario's producers could do, full batches in closed loop; `None` where it has none, or where nothing is answered.
pub fn generator_limit(scenario: &Scenario, threads: &Threads) -> Result<Option<GeneratorLimit>, BenchError> {
    let Some(producers) = scenario.producers.as_ref().filter(|p| p.acks != "0") else { return Ok(None) };
    let writers = producers.count.min(CONNECTIONS_MAX);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    let abort = Arc::new(AtomicBool::new(false));
    let mut engines = Vec::new();
    let mut peers = Vec::new();
    for thread in 0..threads.count() {
        let share = Share { thread, threads: threads.count(), writers };
        let mut engine = Engine::new(scenario, share, 1, "odradek-bench", 1, abort.clone())?;
        engine.encoder.version = VERSION;
        for index in (0..writers).filter(|&w| share.own(w).is_some()) {
            let mut writer = Writer::new(Link::open("127.0.0.1", port.into())?, producers.in_flight);
            peers.push(Peer::new(listener.accept()?.0)?);
            writer.lanes.push(engine.lanes.len());
            engine.lanes.push(Lane::new("limit", Uuid::nil(), 0, index as u32, None));
            engine.reactor.add(&writer.link, engine.writers.len() as u64)?;
            engine.writers.push(writer);
        }
        engines.push(engine);
    }
    let answer = encode_response(api::PRODUCE, VERSION, 0, &ProduceResponse::default())
        .map_err(|e| BenchError::Broker(format!("an empty Produce response: {e}")))?;
    let peer = std::thread::Builder::new().name("limit".into()).spawn(move || answer_all(&mut peers, &answer))?;
    // On threads of their own, so that this one is pinned nowhere when it starts a broker.
    let (threads, pinned) = (threads.clone(), threads.cores.first().copied().flatten().filter(|_| threads.count() == 1));
    let length = Duration::from_secs_f64((scenario.duration_s * LENGTH_SHARE).min(LENGTH_S));
    let warm_up = length / 3;
    let run = move || -> Result<GeneratorLimit, BenchError> {
        crate::pin(pinned)?;
        let mut crew = Crew::new(engines, threads, abort);
        crew.begin(warm_up, None);
        crew.drive(Pace::Closed, Until::Time(warm_up.as_nanos() as u64), &mut |_| ())?;
        let end = crew.window(length, None);
        crew.drive(Pace::Closed, Until::Time(end), &mut |_| ())?;
        let step = crew.last_step();
        Ok(GeneratorLimit { requests_per_s: step.requests_per_s, mb_per_s: step.mb_per_s })
    };
    let measured = std::thread::scope(|scope| scope.spawn(run).join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    // The connections are closed now, which ends it.
    let answered = peer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    answered.map_err(BenchError::Output).and(measured).map(Some)
}

/// A connection of the peer: how much of the present request is still to come.
struct Peer {
    stream: TcpStream,
    prefix: [u8; 4],
    prefix_bytes: usize,
    left: usize,
    open: bool,
}

impl Peer {
    fn new(stream: TcpStream) -> std::io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self { stream, prefix: [0; 4], prefix_bytes: 0, left: 0, open: true })
    }

    /// Requests that end in these bytes.
    fn requests(&mut self, mut bytes: &[u8]) -> usize {
        let mut ended = 0;
        while !bytes.is_empty() {
            if self.left == 0 {
                self.prefix[self.prefix_bytes] = bytes[0];
                self.prefix_bytes += 1;
                bytes = &bytes[1..];
                if self.prefix_bytes == self.prefix.len() {
                    self.left = u32::from_be_bytes(self.prefix) as usize;
                    self.prefix_bytes = 0;
                }
                continue;
            }
            let taken = self.left.min(bytes.len());
            self.left -= taken;
            bytes = &bytes[taken..];
            ended += usize::from(self.left == 0);
        }
        ended
    }
}

/// Answers every request on these connections until all are closed.
fn answer_all(peers: &mut Vec<Peer>, answer: &[u8]) -> std::io::Result<()> {
    let mut buffer = vec![0; READ_BYTES];
    while !peers.is_empty() {
        let ready: Vec<usize> = {
            let mut entries: Vec<PollFd<'_>> = peers.iter().map(|p| PollFd::new(&p.stream, PollFlags::IN)).collect();
            poll(&mut entries, None)?;
            entries.iter().enumerate().filter(|(_, e)| !e.revents().is_empty()).map(|(i, _)| i).collect()
        };
        for index in ready {
            let peer = &mut peers[index];
            peer.open = match peer.stream.read(&mut buffer) {
                Ok(0) => false,
                Ok(bytes) => {
                    let requests = peer.requests(&buffer[..bytes]);
                    // A few bytes for each: the socket takes them, or the other end is gone.
                    requests == 0 || peer.stream.write_all(&answer.repeat(requests)).is_ok()
                }
                Err(error) => error.kind() == ErrorKind::Interrupted,
            };
        }
        peers.retain(|p| p.open);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_whatever_the_pieces() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let bytes = [&[0u8, 0, 0, 3][..], b"abc", &[0, 0, 0, 1], b"x", &[0, 0, 0, 2], b"y"].concat();
        for size in 1..=bytes.len() {
            let mut peer = Peer::new(near.try_clone().unwrap()).unwrap();
            assert_eq!(bytes.chunks(size).map(|piece| peer.requests(piece)).sum::<usize>(), 2, "in pieces of {size}");
            assert_eq!(peer.requests(b"z"), 1);
        }
    }

    #[test]
    fn producers_find_their_limit_without_a_broker() {
        let scenario = |acks: &str| {
            let text = format!("name = 'x'\nrate.requests_per_s = 5\n[producers]\ncount = 3\nacks = '{acks}'\nbatch_bytes = 2048\n");
            Scenario::parse(&text).unwrap()
        };
        for threads in [1, 2] {
            let threads = Threads { cores: vec![None; threads] };
            let limit = generator_limit(&scenario("all"), &threads).unwrap().expect("producers");
            // Two records of 1 KiB and what is around them.
            let bytes = limit.mb_per_s * 1e6 / limit.requests_per_s;
            assert!(limit.requests_per_s > 0.0 && (2048.0..2300.0).contains(&bytes), "{limit:?}");
        }
        assert!(generator_limit(&scenario("0"), &Threads::one()).unwrap().is_none());
    }
}
