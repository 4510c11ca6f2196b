//! Counters of one shard, for its metrics and its last words in the log.

use odradek_wire::api;
use std::cell::Cell;

/// Requests are counted at the place of their API in [`api::SUPPORTED`].
pub struct Counters {
    requests: Cell<u64>,
    by_api: Vec<Cell<u64>>,
    produced_batches: Cell<u64>,
    produced_bytes: Cell<u64>,
    fetched_bytes: Cell<u64>,
}

fn add(cell: &Cell<u64>, more: u64) {
    cell.set(cell.get() + more);
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            requests: Cell::default(),
            by_api: api::SUPPORTED.iter().map(|_| Cell::default()).collect(),
            produced_batches: Cell::default(),
            produced_bytes: Cell::default(),
            fetched_bytes: Cell::default(),
        }
    }
}

impl Counters {
    pub fn request(&self, api_key: i16) {
        add(&self.requests, 1);
        if let Some(cell) = self.cell(api_key) {
            add(cell, 1);
        }
    }

    fn cell(&self, api_key: i16) -> Option<&Cell<u64>> {
        self.by_api.get(api::SUPPORTED.iter().position(|range| range.key == api_key)?)
    }

    pub fn requests(&self) -> u64 {
        self.requests.get()
    }

    /// Requests of one API; 0 for one that is not supported.
    pub fn of_api(&self, api_key: i16) -> u64 {
        self.cell(api_key).map_or(0, Cell::get)
    }

    /// A client's batch was appended.
    pub fn produce(&self, bytes: usize) {
        add(&self.produced_batches, 1);
        add(&self.produced_bytes, bytes as u64);
    }

    /// Batches and bytes that clients produced.
    pub fn produced(&self) -> (u64, u64) {
        (self.produced_batches.get(), self.produced_bytes.get())
    }

    /// Batches were read for a client.
    pub fn fetch(&self, bytes: usize) {
        add(&self.fetched_bytes, bytes as u64);
    }

    pub fn fetched_bytes(&self) -> u64 {
        self.fetched_bytes.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_their_api() {
        let counters = Counters::default();
        for key in [api::FETCH, api::PRODUCE, api::FETCH, 999] {
            counters.request(key);
        }
        assert_eq!((counters.requests(), counters.of_api(api::FETCH), counters.of_api(api::PRODUCE)), (4, 2, 1));
        assert_eq!((counters.of_api(999), counters.of_api(api::METADATA)), (0, 0));
    }
}
