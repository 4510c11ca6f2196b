//! Counters of one shard, read by `odradek` itself when asked how it does.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

#[derive(Default)]
pub struct Counters {
    requests: Cell<u64>,
    by_api: RefCell<BTreeMap<i16, u64>>,
}

impl Counters {
    pub fn request(&self, api_key: i16) {
        self.requests.set(self.requests.get() + 1);
        *self.by_api.borrow_mut().entry(api_key).or_default() += 1;
    }

    pub fn requests(&self) -> u64 {
        self.requests.get()
    }
}
