//! Partitions that open behind the start.
//!
//! What this shard wrote is checked from its recovery point on, which the journal's size bounds. A log of which no state file says anything (a Kafka
//! node's, or ours after the state file was lost) may have to be read from its beginning, and there may be thousands. Such logs are
//! checked at once only as far as [`crate::StoreConfig::opening_bytes_max`] goes. The others stay closed, and are offline in the metadata, until their turn comes
//! while the shard serves what it has; each opens as soon as it was checked. Nothing of theirs is in the journal, so no order between
//! them and anything else has to be kept. A stop in between leaves them as they were.

use crate::config::PartitionSpec;
use crate::delete;
use crate::error::StoreError;
use crate::foreign::Checkpoints;
use crate::open;
use crate::progress::Progress;
use crate::recovery::{self, Repairs};
use crate::shared::Shared;
use futures_util::StreamExt;
use futures_util::stream;
use odradek_base::TopicPartition;
use odradek_log::segment::names;
use odradek_ring::sync::Event;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

/// Logs that are checked at the same time, beside what the shard serves.
const AT_ONCE: usize = 4;

/// The partitions that wait, or are being checked.
#[derive(Default)]
pub(crate) struct Later {
    waiting: RefCell<BTreeMap<TopicPartition, Rc<Waiting>>>,
}

struct Waiting {
    spec: PartitionSpec,
    /// It is being checked.
    running: Cell<bool>,
    done: Event,
}

impl Later {
    pub fn is_empty(&self) -> bool {
        self.waiting.borrow().is_empty()
    }

    fn of(&self, tp: TopicPartition) -> Option<Rc<Waiting>> {
        self.waiting.borrow().get(&tp).cloned()
    }
}

/// What a start may still read of logs that nothing is known of.
pub(crate) struct Budget(pub u64);

impl Budget {
    /// Whether a log that nobody's state file knows is left for later.
    pub async fn is_spent_by(&mut self, shared: &Shared, spec: &PartitionSpec, checkpoints: &[Checkpoints]) -> bool {
        let name = names::partition_directory(&spec.topic_name, spec.tp.partition);
        let mut bytes = 0;
        for (directory, log_dir) in shared.config.log_dirs.iter().enumerate().filter(|(index, _)| shared.offline.is_online(*index)) {
            let known = checkpoints.get(directory).map(|checkpoints| checkpoints.of(&spec.topic_name, spec.tp.partition));
            let from = known.map(|known| known.recovery_point).unwrap_or_default();
            // What cannot be looked at is told by who opens it.
            bytes += recovery::unchecked_bytes(&shared.ring, &log_dir.join(&name), from).await.unwrap_or(0);
        }
        let spent = bytes > self.0;
        if !spent {
            self.0 -= bytes;
        }
        spent
    }
}

/// Closes a partition until it was checked.
pub(crate) fn put_off(shared: &Shared, spec: PartitionSpec) {
    shared.offline.close(spec.tp, StoreError::Opening(spec.tp));
    let waiting = Waiting { spec, running: Cell::new(false), done: Event::new() };
    shared.later.waiting.borrow_mut().insert(waiting.spec.tp, Rc::new(waiting));
}

/// Checks the partitions that wait and opens them, until the store closes. `journaled`: an earlier start of this shard wrote a state file.
pub(crate) async fn run(shared: Rc<Shared>, markers: Vec<bool>, checkpoints: Rc<Vec<Checkpoints>>, journaled: bool) {
    let all: Vec<Rc<Waiting>> = shared.later.waiting.borrow().values().cloned().collect();
    if all.is_empty() {
        return;
    }
    tracing::info!(shard = %shared.config.shard, partitions = all.len(), "logs of which no state file tells are checked now; each opens when that is done");
    let progress =
        RefCell::new(Progress::new(shared.config.shard, "logs behind the start", all.len(), shared.ring.now(), &shared.config.recovery));
    let check = async |waiting: Rc<Waiting>| {
        let tp = waiting.spec.tp;
        // Deleted meanwhile, or the store closes.
        if shared.closing.get() || shared.offline.closed(tp).is_none() {
            return;
        }
        waiting.running.set(true);
        let bytes = check(&shared, &waiting.spec, &markers, &checkpoints, journaled).await;
        waiting.running.set(false);
        if !shared.closing.get() {
            shared.later.waiting.borrow_mut().remove(&tp);
        }
        waiting.done.notify_all();
        progress.borrow_mut().step(bytes, shared.ring.now());
    };
    stream::iter(all).for_each_concurrent(AT_ONCE, check).await;
    tracing::info!(shard = %shared.config.shard, "all logs behind the start are checked");
}

/// Returns the bytes that were read.
async fn check(shared: &Rc<Shared>, spec: &PartitionSpec, markers: &[bool], checkpoints: &[Checkpoints], journaled: bool) -> u64 {
    // What somebody's checkpoints list is as they left it: a torn end is theirs, and not damage to something that our journal had.
    let listed = checkpoints.iter().any(|checkpoints| checkpoints.lists(&spec.topic_name, spec.tp.partition));
    let journaled = journaled && !listed;
    let jitter = shared.ring.rng();
    let found = open::locate_and_recover(shared, spec, None, false, markers, checkpoints, journaled, jitter).await;
    let still_wanted = !shared.closing.get() && shared.offline.closed(spec.tp).is_some();
    match found {
        _ if !still_wanted => 0,
        Ok(Some((_, _, Repairs { torn: Some(torn), bytes_checked, .. }))) => {
            shared.keep_closed(spec.tp, &spec.topic_name, torn.damage());
            bytes_checked
        }
        Ok(Some((directory, log, repairs))) => {
            shared.unlinks.borrow_mut().extend(repairs.replaced);
            let partition = open::insert(shared, spec, directory, log);
            partition.touched.set(true);
            shared.offline.forget(spec.tp);
            repairs.bytes_checked
        }
        Ok(None) => {
            let reason = "its directory is gone".to_owned();
            shared.keep_closed(spec.tp, &spec.topic_name, StoreError::PartitionOffline { partition: spec.tp, reason });
            0
        }
        Err(error) => {
            shared.keep_closed(spec.tp, &spec.topic_name, error);
            0
        }
    }
}

/// A partition that was deleted, and is no longer closed, while it waited: its directories go. Waits for a check that is under way, which has their
/// files open.
pub(crate) async fn delete(shared: &Rc<Shared>, tp: TopicPartition) -> Result<(), StoreError> {
    let Some(waiting) = shared.later.of(tp) else { return Ok(()) };
    while waiting.running.get() {
        let done = waiting.done.listen();
        if waiting.running.get() {
            done.await;
        }
    }
    shared.later.waiting.borrow_mut().remove(&tp);
    let name = names::partition_directory(&waiting.spec.topic_name, tp.partition);
    for (index, log_dir) in shared.config.log_dirs.iter().enumerate() {
        let path = log_dir.join(&name);
        if shared.offline.is_online(index) && open::topic_id(&shared.ring, &path).await.is_ok_and(|topic| topic == Some(tp.topic)) {
            delete::set_aside(shared, &path, &waiting.spec.topic_name, tp.partition).await?;
        }
    }
    Ok(())
}
