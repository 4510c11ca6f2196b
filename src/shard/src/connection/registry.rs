//! The connections of one shard: their number, their idleness, the memory that unfinished requests hold.

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

pub struct Connections {
    /// Answers that wait, all connections together.
    pub queued: Rc<QueuedBytes>,
    next_id: Cell<u64>,
    open: RefCell<BTreeMap<u64, Open>>,
    partial: Rc<Partial>,
    refusals: Cell<u64>,
}

/// What unfinished requests hold, all connections of a shard together.
#[derive(Default)]
struct Partial {
    bytes: Cell<usize>,
    given_back: Event,
}

struct Open {
    stream: Stream,
    reading: Rc<Reading>,
}

/// How the reading of one connection goes.
struct Reading {
    last_active: Cell<Instant>,
    /// Bytes of the unfinished request.
    partial_bytes: Cell<usize>,
    /// It is the shard that does not read on.
    paused: Cell<bool>,
}

impl Reading {
    fn stalled(&self, now: Instant) -> bool {
        self.partial_bytes.get() > 0 && !self.paused.get() && now.since(self.last_active.get()) >= STALLED_AFTER
    }
}

/// One connection as its tasks see it.
pub struct Entry {
    id: u64,
    pub peer: Peer,
    reading: Rc<Reading>,
    partial: Rc<Partial>,
}

impl Connections {
    /// `queued_bytes_max`: what answers may hold, all connections together.
    pub fn new(queued_bytes_max: usize) -> Self {
        Self {
            queued: Rc::new(QueuedBytes::new(queued_bytes_max)),
            next_id: Cell::new(0),
            open: RefCell::default(),
            partial: Rc::default(),
            refusals: Cell::new(0),
        }
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
        let last_active = Cell::new(shard.ring.now());
        let reading = Rc::new(Reading { last_active, partial_bytes: Cell::new(0), paused: Cell::new(false) });
        self.open.borrow_mut().insert(id, Open { stream, reading: reading.clone() });
        let peer = Peer { address, host: format!("/{}", address.ip()) };
        Some(Entry { id, peer, reading, partial: self.partial.clone() })
    }

    pub fn remove(&self, shard: &Shard, entry: &Entry) {
        entry.arrived();
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
    /// Ends connections that stopped in the middle of a request, those that hold most first, until the rest fits.
    fn end_stalled(&self, now: Instant, bytes_max: usize) {
        let open = self.open.borrow();
        let mut stalled: Vec<&Open> = open.values().filter(|open| open.reading.stalled(now)).collect();
        stalled.sort_by_key(|open| std::cmp::Reverse(open.reading.partial_bytes.get()));
        let mut bytes = self.partial.bytes.get();
        for open in stalled {
            if bytes <= bytes_max {
                break;
            }
            bytes -= open.reading.partial_bytes.get();
            open.stream.shutdown();
        }
    }
}

impl Entry {
    pub fn touch(&self, now: Instant) {
        self.reading.last_active.set(now);
    }

    /// Notes how much an unfinished request of this connection holds, and waits while all together hold too much. One of them always
    /// goes on, so that requests finish and give their room back; one that its client does not go on with is ended.
    pub async fn hold_partial(&self, shard: &Shard, bytes: usize) {
        let before = self.note_partial(bytes);
        if bytes <= before.max(PARTIAL_BYTES_FREE) || self.has_room(shard) {
            return;
        }
        self.reading.paused.set(true);
        while !self.has_room(shard) && !shard.stopping.get() {
            let deadline = shard.ring.now() + STALLED_AFTER;
            if shard.ring.timeout(deadline, self.partial.given_back.listen()).await.is_none() {
                shard.connections.end_stalled(shard.ring.now(), shard.config.shard_queued_bytes_max);
            }
        }
        self.reading.paused.set(false);
        self.touch(shard.ring.now());
    }

    /// The request has arrived whole: what it holds is no longer waited for.
    pub fn arrived(&self) {
        self.note_partial(0);
    }

    /// Returns what was held before.
    fn note_partial(&self, bytes: usize) -> usize {
        let before = self.reading.partial_bytes.replace(bytes);
        if bytes != before {
            self.partial.bytes.set(self.partial.bytes.get() - before + bytes);
        }
        if bytes < before {
            self.partial.given_back.notify_all();
        }
        before
    }

    /// True while everything fits, and for the oldest connection that holds more than everybody may.
    fn has_room(&self, shard: &Shard) -> bool {
        let first = || {
            let open = shard.connections.open.borrow();
            open.iter().find(|(_, open)| open.reading.partial_bytes.get() > PARTIAL_BYTES_FREE).map(|(id, _)| *id)
        };
        self.partial.bytes.get() <= shard.config.shard_queued_bytes_max || first() == Some(self.id)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.arrived();
    }
}
