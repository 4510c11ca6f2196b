//! Deleting a partition: its directory is renamed at once, so that its name is free, and unlinked later (Kafka's `LogManager.asyncDelete` and
//! `deleteLogs`).
//!
//! A `-delete` directory waits `log.segment.delete.delay.ms`, which is the broker's value for every topic, as in Kafka. It is then unlinked one file
//! after the other, where the configuration says ([`crate::Unlinker`]), one directory of the shard at a time. What a stop or a crash left is found by
//! the next start and waits once more. Where a device is full nothing waits: the space is needed.

use crate::error::StoreError;
use crate::later;
use crate::relocate;
use crate::segment_files;
use crate::shared::{PartitionHealth, Shared};
use odradek_base::{Instant, PartitionIndex, ShardId, TopicPartition};
use odradek_log::segment::names;
use odradek_ring::sync::Event;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

/// Who looks after what earlier runs left, of all shards.
const SWEEPING_SHARD: ShardId = ShardId(0);
/// How often a full directory is searched for what other shards set aside: they may not know that it is full.
const FULL_SWEEP_PAUSE: Duration = Duration::from_secs(10);

/// The `-delete` directories of this shard.
pub(crate) struct Deleted {
    /// `log.segment.delete.delay.ms`.
    delay: Cell<Duration>,
    /// Those that wait and since when, oldest first. Bounded by what is in the log directories.
    waiting: RefCell<VecDeque<(Instant, PathBuf)>>,
    /// One more waits, the delay is another one, a device became full, or the store closes.
    pub changed: Event,
}

impl Deleted {
    pub fn new(delay: Duration) -> Self {
        Self { delay: Cell::new(delay), waiting: RefCell::default(), changed: Event::new() }
    }

    pub fn set_delay(&self, delay: Duration) {
        if self.delay.replace(delay) != delay {
            self.changed.notify_all();
        }
    }

    fn wait(&self, path: PathBuf, now: Instant) {
        self.waiting.borrow_mut().push_back((now, path));
        self.changed.notify_all();
    }

    /// Takes out the directory that is to go next: one that has waited, or one on a device that is full.
    fn take_due(&self, shared: &Shared) -> Option<PathBuf> {
        let mut waiting = self.waiting.borrow_mut();
        let now = shared.ring.now();
        let due = |since: Instant| since + self.delay.get() <= now;
        let at = match waiting.front() {
            Some((since, _)) if due(*since) => Some(0),
            _ => waiting.iter().position(|(_, path)| shared.lacks_room(path)),
        };
        at.and_then(|at| waiting.remove(at)).map(|(_, path)| path)
    }

    fn next_due(&self) -> Option<Instant> {
        self.waiting.borrow().front().map(|(since, _)| *since + self.delay.get())
    }
}

impl Shared {
    /// Whether the log directory of a `-delete` directory, or something that may share its device, is full.
    fn lacks_room(&self, path: &Path) -> bool {
        let directory = self.config.log_dirs.iter().position(|log_dir| path.parent() == Some(log_dir));
        directory.is_some_and(|directory| self.is_cleared(directory))
    }

    /// Whether what was deleted in a log directory goes without waiting.
    fn is_cleared(&self, directory: usize) -> bool {
        self.room.is_full(directory) || self.room.is_journal_full() || self.room.is_state_full()
    }
}

pub(crate) async fn delete(shared: &Rc<Shared>, tp: TopicPartition) -> Result<(), StoreError> {
    let removed = shared.partitions.borrow_mut().remove(&tp);
    let Some(partition) = removed else {
        if shared.offline.forget(tp) {
            // Its directory, where that can be reached again, is set aside when a topic of that name needs it.
            shared.retained.borrow_mut().remove(&tp);
            shared.stranded.remove(&shared.ring, tp).await;
            return later::delete(shared, tp).await;
        }
        return Ok(());
    };
    let offline = partition.is_offline();
    *partition.health.borrow_mut() = PartitionHealth::Deleted;
    shared.sub_unflushed(partition.unflushed_bytes());
    shared.update_dirty(&partition);
    shared.read_ahead.forget(tp);
    shared.release_journal();
    partition.changed.notify_all();
    if offline {
        shared.offline.changed.notify_all();
    }
    shared.stranded.remove(&shared.ring, tp).await;
    // A move has names in hand, and the topic may be made again as soon as this returns.
    if let Some(left) = relocate::let_go(shared, &partition).await {
        set_aside(shared, &left, &partition.topic_name, tp.partition).await?;
    }
    match set_aside(shared, &partition.path, &partition.topic_name, tp.partition).await {
        Err(error) if offline => {
            tracing::warn!("the directory of a deleted partition stays, its log directory is offline: {error}");
            Ok(())
        }
        other => other,
    }
}

/// Renames a partition's directory to its `-delete` name, durably; it is unlinked later.
pub(crate) async fn set_aside(shared: &Rc<Shared>, path: &Path, topic: &str, partition: PartitionIndex) -> Result<(), StoreError> {
    let to = path.with_file_name(names::deleted_directory(topic, partition, shared.ring.rng().uuid()));
    shared.files.forget_below(path);
    match shared.ring.rename(path, &to).await {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(StoreError::io("rename", path, error)),
    }
    // A flush that was under way may have opened a file again.
    shared.files.forget_below(path);
    if let Some(parent) = path.parent() {
        shared.ring.sync_dir(parent).await.map_err(|error| StoreError::io("flush", parent, error))?;
    }
    shared.deleted.wait(to, shared.ring.now());
    Ok(())
}

/// Unlinks what has waited, until the store closes. What is left then stays for the next start.
pub(crate) async fn run(shared: Rc<Shared>) {
    if shared.config.shard == SWEEPING_SHARD {
        sweep(&shared, |_| true).await;
    }
    let mut swept: Option<Instant> = None;
    while !shared.closing.get() {
        let changed = shared.deleted.changed.listen();
        let full = (0..shared.config.log_dirs.len()).any(|directory| shared.is_cleared(directory));
        let sweep_at = swept.map(|swept| swept + FULL_SWEEP_PAUSE);
        if !full {
            swept = None;
        } else if sweep_at.is_none_or(|at| at <= shared.ring.now()) {
            sweep(&shared, |directory| shared.is_cleared(directory)).await;
            swept = Some(shared.ring.now());
            continue;
        }
        if let Some(path) = shared.deleted.take_due(&shared) {
            if let Err(error) = unlink(&shared, &path).await {
                tracing::warn!("a deleted partition's directory stays until the next start: {error}");
            }
            continue;
        }
        let sweep_at = sweep_at.filter(|_| full);
        match [shared.deleted.next_due(), sweep_at].into_iter().flatten().min() {
            Some(at) => drop(shared.ring.timeout(at, changed).await),
            None => changed.await,
        }
    }
}

/// Unlinks a directory, one file after the other.
async fn unlink(shared: &Shared, path: &Path) -> Result<(), StoreError> {
    let entries = match shared.ring.read_dir(path).await {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(StoreError::io("list", path, error)),
    };
    for entry in entries {
        if shared.closing.get() {
            return Ok(());
        }
        let file = path.join(&entry.name);
        match &shared.config.unlinker {
            Some(unlinker) => (unlinker.0)(file.clone()).await.map_err(|error| StoreError::io("remove", &file, error))?,
            None => {
                segment_files::remove(&shared.ring, &file).await?;
                shared.ring.yield_now().await;
            }
        }
    }
    match shared.ring.remove_dir(path).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(StoreError::io("remove", path, error)),
        _ => Ok(()),
    }
}

/// Finds the `-delete` directories of all shards in the log directories that are `wanted`.
async fn sweep(shared: &Shared, wanted: impl Fn(usize) -> bool) {
    for (index, directory) in shared.config.log_dirs.iter().enumerate() {
        if !wanted(index) || !shared.offline.is_online(index) {
            continue;
        }
        let Ok(entries) = shared.ring.read_dir(directory).await else { continue };
        let known: BTreeSet<PathBuf> = shared.deleted.waiting.borrow().iter().map(|(_, path)| path.clone()).collect();
        let found = entries.iter().filter(|entry| entry.is_dir && names::is_deleted(&entry.name)).map(|entry| directory.join(&entry.name));
        for path in found.filter(|path| !known.contains(path)) {
            shared.deleted.wait(path, shared.ring.now());
        }
    }
}
