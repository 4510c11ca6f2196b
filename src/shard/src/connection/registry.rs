//! The connections of one shard: their number, their idleness, the memory that unfinished requests hold.

use super::Peer;
use crate::shard::Shard;
use odradek_base::Instant;
use odradek_ring::Stream;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How often idle connections are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(5);

#[derive(Default)]
pub struct Connections {
    next_id: Cell<u64>,
    open: RefCell<BTreeMap<u64, Open>>,
    partial_bytes: Rc<Cell<usize>>,
    refusals: Cell<u64>,
}

struct Open {
    stream: Stream,
    last_active: Rc<Cell<Instant>>,
}

/// One connection as its tasks see it.
pub struct Entry {
    id: u64,
    pub peer: Peer,
    last_active: Rc<Cell<Instant>>,
    partial_bytes: Cell<usize>,
    partial_bytes_all: Rc<Cell<usize>>,
}

impl Connections {
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
        let last_active = Rc::new(Cell::new(shard.ring.now()));
        self.open.borrow_mut().insert(id, Open { stream, last_active: last_active.clone() });
        let peer = Peer { address, host: format!("/{}", address.ip()) };
        Some(Entry { id, peer, last_active, partial_bytes: Cell::new(0), partial_bytes_all: self.partial_bytes.clone() })
    }

    pub fn remove(&self, shard: &Shard, entry: &Entry) {
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
                if now.since(open.last_active.get()) >= shard.config.connection_idle_max {
                    open.stream.shutdown();
                }
            }
        }
    }
}

impl Entry {
    pub fn touch(&self, now: Instant) {
        self.last_active.set(now);
    }

    /// Notes how much an unfinished frame of this connection holds; false when all together hold too much and this
    /// connection made it more.
    pub fn hold_partial(&self, shard: &Shard, bytes: usize) -> bool {
        let before = self.partial_bytes.replace(bytes);
        let all = self.partial_bytes_all.get() - before + bytes;
        self.partial_bytes_all.set(all);
        bytes <= before || all <= shard.config.partial_requests_bytes_max
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.partial_bytes_all.set(self.partial_bytes_all.get() - self.partial_bytes.get());
    }
}
