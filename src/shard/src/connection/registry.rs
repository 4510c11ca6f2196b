//! The connections of one shard: their number, their idleness, the memory that their requests and answers hold.
//!
//! Requests are counted from their first byte until they are answered or waiting for the disk. While all together hold too much, unfinished ones are
//! read one after the other; clients that keep a large one and do not go on with it lose their connection. Answers that nobody reads hold
//! memory too: while all together hold too much, clients that take nothing lose theirs.

use super::Peer;
use super::queue::QueuedBytes;
use crate::shard::Shard;
use odradek_base::Instant;
use odradek_ring::Stream;
use odradek_ring::sync::Event;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How often idle connections are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(5);
/// An unfinished request of this size is never made to wait for room: what is cut by chance goes on at once.
const PARTIAL_BYTES_FREE: usize = 64 * 1024;
/// While there is no room for unfinished requests, a client that sends nothing of one for this long loses its connection.
const STALLED_AFTER: Duration = Duration::from_secs(1);
/// While answers hold too much, a client that takes nothing for this long loses its connection.
const UNREAD_AFTER: Duration = Duration::from_secs(5);
/// What a request other than Produce takes for each of its bytes: its fields are taken apart.
const REQUEST_EXPANSION: usize = 4;

pub struct Connections {
    /// Answers that wait, all connections together.
    pub queued: Rc<QueuedBytes>,
    next_id: Cell<u64>,
    open: RefCell<BTreeMap<u64, Open>>,
    requests: Rc<Requests>,
    refusals: Cell<u64>,
    /// Somebody looks after clients that take nothing.
    guarded: Cell<bool>,
}

/// What requests hold, all connections of a shard together.
struct Requests {
    bytes: Cell<usize>,
    bytes_max: usize,
    given_back: Event,
}

struct Open {
    stream: Stream,
    reading: Rc<Reading>,
}

/// How the reading of one connection goes.
struct Reading {
    last_active: Cell<Instant>,
    /// Bytes of the request that arrives or is worked on, and of what came behind it.
    bytes: Cell<usize>,
    state: Cell<State>,
    /// Bytes of answers that wait.
    answer_bytes: Rc<Cell<usize>>,
    /// Since when the client is being sent something.
    sending: Cell<Option<Instant>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Bytes of a request are awaited.
    Arriving,
    /// It is the shard that does not read on.
    Paused,
    /// A whole request is being worked on.
    Working,
    /// A request waits for something other than the shard, for as long as its client says.
    Waiting,
}

impl Reading {
    /// Whether it keeps memory that nobody but its client can free, and its client does nothing.
    fn stalled(&self, now: Instant) -> bool {
        let keeps = match self.state.get() {
            State::Arriving => self.bytes.get() > 0,
            State::Waiting => self.bytes.get() > PARTIAL_BYTES_FREE,
            State::Paused | State::Working => false,
        };
        keeps && now.since(self.last_active.get()) >= STALLED_AFTER
    }

    fn unread(&self, now: Instant) -> bool {
        self.sending.get().is_some_and(|since| now.since(since) >= UNREAD_AFTER)
    }
}

/// One connection as its tasks see it.
pub struct Entry {
    id: u64,
    pub peer: Peer,
    reading: Rc<Reading>,
    requests: Rc<Requests>,
}

impl Connections {
    /// What requests and answers may hold, all connections together.
    pub fn new(requests_bytes_max: usize, answers_bytes_max: usize) -> Self {
        Self {
            queued: Rc::new(QueuedBytes::new(answers_bytes_max)),
            next_id: Cell::new(0),
            open: RefCell::default(),
            requests: Rc::new(Requests { bytes: Cell::new(0), bytes_max: requests_bytes_max, given_back: Event::new() }),
            refusals: Cell::new(0),
            guarded: Cell::new(false),
        }
    }

    /// Bytes that requests hold, all connections together.
    pub fn request_bytes(&self) -> usize {
        self.requests.bytes.get()
    }

    /// Registers a new connection; `None` when the node has as many as it may have.
    pub fn admit(&self, shard: &Shard, stream: Stream, address: SocketAddr) -> Option<Entry> {
        if shard.config.connections_open.fetch_add(1, Ordering::Relaxed) >= shard.config.connections_max {
            shard.config.connections_open.fetch_sub(1, Ordering::Relaxed);
            self.refusals.set(self.refusals.get() + 1);
            if self.refusals.get().is_power_of_two() {
                tracing::warn!(
                    refused = self.refusals.get(),
                    bound = shard.config.connections_max,
                    "refused a connection: raise max.connections if this many clients are wanted"
                );
            }
            return None;
        }
        let id = self.next_id.get();
        self.next_id.set(id + 1);
        let reading = Rc::new(Reading {
            last_active: Cell::new(shard.ring.now()),
            bytes: Cell::new(0),
            state: Cell::new(State::Arriving),
            answer_bytes: Rc::default(),
            sending: Cell::new(None),
        });
        self.open.borrow_mut().insert(id, Open { stream, reading: reading.clone() });
        let peer = Peer { address, host: format!("/{}", address.ip()) };
        Some(Entry { id, peer, reading, requests: self.requests.clone() })
    }

    pub fn remove(&self, shard: &Shard, entry: &Entry) {
        entry.note(0);
        if self.open.borrow_mut().remove(&entry.id).is_some() {
            shard.config.connections_open.fetch_sub(1, Ordering::Relaxed);
        }
    }

    pub fn count(&self) -> usize {
        self.open.borrow().len()
    }

    /// Ends every connection; their readers see the end of the stream.
    pub fn shutdown_all(&self) {
        for open in self.open.borrow().values() {
            open.stream.shutdown();
        }
    }

    /// Closes connections that have been silent for `connections.max.idle.ms`, for ever.
    pub async fn sweep(shard: Rc<Shard>) {
        loop {
            shard.ring.sleep(SWEEP_INTERVAL.min(shard.config.connection_idle_max)).await;
            let now = shard.ring.now();
            for open in shard.connections.open.borrow().values() {
                if now.since(open.reading.last_active.get()) >= shard.config.connection_idle_max {
                    open.stream.shutdown();
                }
            }
        }
    }
}

impl Connections {
    /// Ends connections whose request stands still, those that hold most first, until the rest fits.
    fn end_stalled(&self, now: Instant, bytes_max: usize) {
        self.end_largest(self.requests.bytes.get(), bytes_max, |reading| reading.stalled(now).then(|| reading.bytes.get()));
    }

    /// Ends connections, those that hold most first, until what is left of `bytes` fits. `holds` says what would be gained.
    fn end_largest(&self, mut bytes: usize, bytes_max: usize, holds: impl Fn(&Reading) -> Option<usize>) {
        let open = self.open.borrow();
        let mut candidates: Vec<(usize, &Open)> = open.values().filter_map(|open| Some((holds(&open.reading)?, open))).collect();
        candidates.sort_by_key(|(holds, _)| std::cmp::Reverse(*holds));
        for (holds, open) in candidates {
            if bytes <= bytes_max {
                break;
            }
            bytes = bytes.saturating_sub(holds);
            open.stream.shutdown();
        }
    }

    /// While answers hold more than they may, ends connections whose clients take nothing.
    pub fn guard_answers(shard: &Rc<Shard>) {
        if !shard.connections.queued.is_over() || shard.connections.guarded.replace(true) {
            return;
        }
        let shard = shard.clone();
        shard.ring.clone().spawn(async move {
            let connections = &shard.connections;
            while connections.queued.is_over() && !shard.stopping.get() {
                shard.ring.sleep(STALLED_AFTER).await;
                let now = shard.ring.now();
                let holds = |reading: &Reading| reading.unread(now).then(|| reading.answer_bytes.get());
                connections.end_largest(connections.queued.bytes(), connections.queued.bytes_max(), holds);
            }
            connections.guarded.set(false);
        });
    }
}

impl Entry {
    pub fn touch(&self, now: Instant) {
        self.reading.last_active.set(now);
    }

    /// Bytes of answers that wait on this connection.
    pub fn answer_bytes(&self) -> Rc<Cell<usize>> {
        self.reading.answer_bytes.clone()
    }

    /// A send to the client has begun, or is over.
    pub fn sending(&self, since: Option<Instant>) {
        self.reading.sending.set(since);
    }

    /// A whole request is worked on; it and what came behind it hold `frame` and `behind` bytes.
    pub fn works_on(&self, frame: usize, behind: usize, is_produce: bool, waits: bool) {
        self.reading.state.set(if waits { State::Waiting } else { State::Working });
        let before = self.note(if is_produce { frame } else { frame * REQUEST_EXPANSION } + behind);
        if before > PARTIAL_BYTES_FREE {
            // Another one's turn to be read whatever all together hold.
            self.requests.given_back.notify_all();
        }
    }

    /// Notes how much an unfinished request of this connection holds, and waits while all together hold too much. One of them always
    /// goes on, so that requests finish and give their room back; one that its client does not go on with is ended.
    pub async fn hold_partial(&self, shard: &Shard, bytes: usize) {
        self.reading.state.set(State::Arriving);
        let before = self.note(bytes);
        if bytes <= before.max(PARTIAL_BYTES_FREE) || self.has_room(shard) {
            return;
        }
        self.reading.state.set(State::Paused);
        let mut look_at = shard.ring.now() + STALLED_AFTER;
        while !self.has_room(shard) && !shard.stopping.get() {
            // Others give room back all the time without its being enough: the look does not wait for silence.
            if shard.ring.timeout(look_at, self.requests.given_back.listen()).await.is_none() {
                shard.connections.end_stalled(shard.ring.now(), self.requests.bytes_max);
                look_at = shard.ring.now() + STALLED_AFTER;
            }
        }
        self.reading.state.set(State::Arriving);
        self.touch(shard.ring.now());
    }

    /// Returns what was held before.
    fn note(&self, bytes: usize) -> usize {
        let before = self.reading.bytes.replace(bytes);
        if bytes != before {
            self.requests.bytes.set(self.requests.bytes.get() - before + bytes);
        }
        // Not for every small request: whoever waits would look again each time.
        if bytes < before && (before > PARTIAL_BYTES_FREE || self.requests.bytes.get() <= self.requests.bytes_max) {
            self.requests.given_back.notify_all();
        }
        before
    }

    /// True while everything fits, and for the oldest connection that holds more than everybody may.
    fn has_room(&self, shard: &Shard) -> bool {
        let first = || {
            let open = shard.connections.open.borrow();
            let reads = |reading: &Reading| matches!(reading.state.get(), State::Arriving | State::Paused);
            open.iter().find(|(_, open)| reads(&open.reading) && open.reading.bytes.get() > PARTIAL_BYTES_FREE).map(|(id, _)| *id)
        };
        self.requests.bytes.get() <= self.requests.bytes_max || first() == Some(self.id)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.note(0);
    }
}
