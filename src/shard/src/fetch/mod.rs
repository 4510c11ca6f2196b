//! Fetch: sessions, reading, waiting for records.
//!
//! A fetch reads what is there; when that is less than the client's minimum it listens to its partitions and reads again
//! when one has news, until the client's time is up. While it waits it costs nothing. Partitions of other shards
//! (`odradek.advertise=node`) are read and watched by mailbox.

pub mod read;
pub mod session;

use crate::messages::{Call, ReadCall, ReadItem, ReadOutcome, Reply, WatchCall};
use crate::shard::Shard;
use futures_util::future::{FutureExt, LocalBoxFuture, join_all, select_all};
use odradek_base::{Offset, ShardId};
use odradek_wire::ErrorCode;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

/// The longest that one watch of another shard's partitions lasts; a fetch that waits longer asks again.
const REMOTE_WATCH_MAX: Duration = Duration::from_secs(5);

/// What one fetch wants, after its session and its topics were looked up.
pub struct Fetch {
    /// By place in the look: which shard has the partition and what to read, or why it cannot be read.
    pub items: Vec<Result<(ShardId, ReadItem), ErrorCode>>,
    pub bytes_min: usize,
    pub bytes_max: usize,
    pub wait_max: Duration,
    pub read_committed: bool,
}

impl Fetch {
    /// Reads until there is enough, an error, or the time is up. Outcomes are in the order of the items.
    pub async fn run(&self, shard: &Rc<Shard>) -> Vec<ReadOutcome> {
        let deadline = shard.ring.now() + self.wait_max;
        loop {
            let mut outcomes = self.read_once(shard).await;
            let bytes: usize = outcomes.iter().map(ReadOutcome::bytes).sum();
            let failed = outcomes.iter().any(|outcome| outcome.error.is_some() || outcome.diverging.is_some());
            let left = deadline - shard.ring.now();
            if bytes >= self.bytes_min || failed || left.is_zero() || shard.stopping.get() {
                return outcomes;
            }
            // They are read again: nothing is kept in memory meanwhile.
            outcomes.iter_mut().for_each(|outcome| outcome.records = Vec::new());
            self.wait_for_news(shard, &outcomes, left).await;
        }
    }

    fn by_shard(&self) -> BTreeMap<ShardId, Vec<usize>> {
        let mut places: BTreeMap<ShardId, Vec<usize>> = BTreeMap::new();
        for (at, item) in self.items.iter().enumerate() {
            if let Ok((owner, _)) = item {
                places.entry(*owner).or_default().push(at);
            }
        }
        places
    }

    fn item(&self, at: usize) -> Option<&ReadItem> {
        self.items.get(at).and_then(|item| item.as_ref().ok()).map(|(_, item)| item)
    }

    async fn read_once(&self, shard: &Rc<Shard>) -> Vec<ReadOutcome> {
        let mut outcomes: Vec<ReadOutcome> = self
            .items
            .iter()
            .map(|item| match item {
                Ok(_) => ReadOutcome::failed(ErrorCode::NotLeaderOrFollower),
                Err(error) => ReadOutcome::failed(*error),
            })
            .collect();
        let mut room = self.bytes_max;
        let mut at_least_one = true;
        let mut assembled = shard.connections.queued.assemble();
        for (owner, places) in self.by_shard() {
            let items = places.iter().filter_map(|&at| self.item(at).cloned()).collect();
            let call = ReadCall { items, bytes_max: room, at_least_one, read_committed: self.read_committed };
            let read = if owner == shard.id {
                read::read_all(shard, &call).await
            } else {
                match shard.mailbox.call(owner, Call::Read(call)).await {
                    Ok(Reply::Read(outcomes)) => outcomes,
                    _ => Vec::new(),
                }
            };
            for (at, outcome) in places.into_iter().zip(read) {
                let bytes = outcome.bytes();
                assembled.add(bytes);
                room = room.saturating_sub(bytes);
                at_least_one &= bytes == 0;
                outcomes[at] = outcome;
            }
        }
        outcomes
    }

    async fn wait_for_news(&self, shard: &Rc<Shard>, outcomes: &[ReadOutcome], left: Duration) {
        let mut watches: Vec<LocalBoxFuture<'_, ()>> = Vec::new();
        for (owner, places) in self.by_shard() {
            let items = places.iter().filter_map(|&at| Some((self.item(at)?.tp, self.seen(outcomes, at)))).collect();
            // What another shard does for this fetch it does not know the end of: it gives up by itself now and then.
            let wait_max = if owner == shard.id { left } else { left.min(REMOTE_WATCH_MAX) };
            let call = WatchCall { items, read_committed: self.read_committed, wait_max };
            if owner == shard.id {
                watches.push(read::watch(shard, call).boxed_local());
            } else {
                watches.push(shard.mailbox.call(owner, Call::Watch(call)).map(|_| ()).boxed_local());
            }
        }
        if watches.is_empty() {
            shard.ring.sleep(left).await;
        } else {
            select_all(watches).await;
        }
    }

    /// The end that the reader of an item was told: news is what lies beyond.
    fn seen(&self, outcomes: &[ReadOutcome], at: usize) -> Offset {
        outcomes.get(at).map_or(Offset(-1), |told| if self.read_committed { told.last_stable_offset } else { told.high_watermark })
    }
}

/// Runs several futures and gives their results in order.
pub async fn all<T>(futures: Vec<LocalBoxFuture<'_, T>>) -> Vec<T> {
    join_all(futures).await
}
