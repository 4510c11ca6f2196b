//! Moving a partition to another log directory while it is written and read (KIP-113, `Partition.maybeReplaceCurrentWithFutureReplica`).
//!
//! The flushed parts of the segments are copied to `<topic>-<partition>.<unique>-future` in slices; appends go on, because what they bring is in
//! the journal and in memory until it is flushed. When little is left the partition's flushes are held, the rest is copied, everything is
//! flushed, and then:
//! 1. the new directory gets its name,
//! 2. the state file, durably, says that the partition lies there, which is the moment that counts,
//! 3. flushes go on there, and the old directory is set aside.
//!
//! A start after a crash finds a `-future` directory before step 1 (it begins the move again), or both directories before step 3 (it uses the one
//! that the state names and sets the other aside).

use crate::careful;
use crate::delete;
use crate::error::StoreError;
use crate::open;
use crate::segment_files;
use crate::shared::{PartitionHealth, PartitionShared, Shared};
use odradek_base::buffer::{align_down, align_up};
use odradek_base::{AlignedBuf, Offset};
use odradek_log::checkpoint;
use odradek_log::segment::names;
use odradek_ring::{File, OpenOptions, Sync};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

/// Bytes that are copied before others get their turn.
const SLICE_BYTES: u64 = 1 << 20;
/// Pause between two slices.
const SLICE_PAUSE: Duration = Duration::from_millis(1);
/// Flushes of the partition are held when so little is left to copy.
const REST_BYTES_MAX: u64 = 4 << 20;
/// How often to look whether a flush or a retention run of the partition has ended.
const LOOK: Duration = Duration::from_millis(2);
/// How long the old log directory may go on growing faster than it is copied before flushes are held all the same, in rounds over the segments.
const ROUNDS_MAX: usize = 16;

/// A move under way.
#[derive(Debug)]
pub(crate) struct Move {
    pub to: usize,
    copied_bytes: Cell<u64>,
    /// Offset up to which batches were copied.
    copied: Cell<Offset>,
    cancelled: Cell<bool>,
}

/// What is known of a move under way, for DescribeLogDirs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FutureReplica {
    pub log_dir: PathBuf,
    pub size_bytes: u64,
    /// Offsets that the copy lacks.
    pub offset_lag: i64,
}

/// Why a partition is not moved (`ReplicaManager.alterReplicaLogDirs`).
#[derive(Debug, Clone, thiserror::Error)]
pub enum AlterLogDirError {
    #[error("{0} is not in log.dirs")]
    NotFound(PathBuf),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl AlterLogDirError {
    /// Kafka's code.
    pub fn code(&self) -> odradek_wire::ErrorCode {
        match self {
            Self::NotFound(_) => odradek_wire::ErrorCode::LogDirNotFound,
            Self::Store(error) => error.code(),
        }
    }
}

/// Whether `path` is a log directory that takes partitions; its index.
pub(crate) fn directory_of(shared: &Shared, path: &Path) -> Result<usize, AlterLogDirError> {
    let found = shared.config.log_dirs.iter().position(|known| known == path);
    let directory = found.ok_or_else(|| AlterLogDirError::NotFound(path.to_owned()))?;
    match shared.offline.reason(directory) {
        Some(reason) => Err(StoreError::DirectoryOffline { path: path.to_owned(), reason: reason.to_string() }.into()),
        None => Ok(directory),
    }
}

/// Begins to move a partition to the log directory `path`; returns at once. A move to another directory is given up for this one, and one to where
/// the partition is already ends it.
pub(crate) fn begin(shared: &Rc<Shared>, partition: &Rc<PartitionShared>, path: &Path) -> Result<(), AlterLogDirError> {
    let to = directory_of(shared, path)?;
    shared.check()?;
    partition.check()?;
    let running = partition.moving.borrow().clone();
    if let Some(running) = running {
        if running.to == to {
            return Ok(());
        }
        running.cancelled.set(true);
        *partition.moving.borrow_mut() = None;
    }
    if partition.path.directory() == to {
        return Ok(());
    }
    let start = partition.log.borrow().segments().first().map_or(Offset::ZERO, |segment| segment.base_offset);
    let this = Rc::new(Move { to, copied_bytes: Cell::new(0), copied: Cell::new(start), cancelled: Cell::new(false) });
    *partition.moving.borrow_mut() = Some(this.clone());
    let (shared, partition) = (shared.clone(), partition.clone());
    shared.ring.clone().spawn(async move {
        // Retention or compaction is renaming files.
        while partition.retaining.get() {
            shared.ring.sleep(std::time::Duration::from_millis(2)).await;
        }
        run(&shared, &partition, &this).await;
    });
    Ok(())
}

pub(crate) fn describe(shared: &Shared, partition: &PartitionShared) -> Option<FutureReplica> {
    let moving = partition.moving.borrow();
    let moving = moving.as_ref()?;
    let end = partition.log.borrow().marks().appended.offset();
    Some(FutureReplica {
        log_dir: shared.config.log_dirs.get(moving.to).cloned().unwrap_or_default(),
        size_bytes: moving.copied_bytes.get(),
        offset_lag: (end.get() - moving.copied.get().get()).max(0),
    })
}

/// Waits until no move, nor anything else, renames files of a partition that was deleted. Returns the directory that a move had left, where the
/// caller has to set it aside.
pub(crate) async fn let_go(shared: &Shared, partition: &PartitionShared) -> Option<PathBuf> {
    loop {
        let left = partition.left.borrow_mut().take();
        if left.is_some() || (partition.moving.borrow().is_none() && !partition.retaining.get()) {
            return left;
        }
        shared.ring.sleep(LOOK).await;
    }
}

/// Copies in the log directories that are online: log directory, path, stem of the name.
async fn copies(shared: &Shared) -> Vec<(usize, PathBuf, String)> {
    let mut found = Vec::new();
    for (index, directory) in shared.config.log_dirs.iter().enumerate().filter(|(index, _)| shared.offline.is_online(*index)) {
        let Ok(entries) = shared.ring.read_dir(directory).await else { continue };
        let copies =
            entries.iter().filter(|entry| entry.is_dir).filter_map(|entry| Some((entry, names::partition_of_future(&entry.name)?)));
        found.extend(copies.map(|(entry, stem)| (index, directory.join(&entry.name), stem.to_owned())));
    }
    found
}

/// See [`crate::Store::remove_strays`].
pub(crate) async fn remove_strays(shared: &Rc<Shared>, owned: impl FnOnce() -> BTreeSet<String>) {
    let copies = copies(shared).await;
    if copies.is_empty() {
        return;
    }
    let owned = owned();
    for (_, path, stem) in copies.into_iter().filter(|(_, _, stem)| !owned.contains(stem)) {
        let Some((topic, partition)) = names::parse_partition_directory(&stem) else { continue };
        tracing::info!(copy = %path.display(), "removed: its partition is gone");
        if let Err(error) = delete::set_aside(shared, &path, topic, partition).await {
            tracing::warn!("the copy of a partition that is gone stays: {error}");
        }
    }
}

/// Begins moves again that the last run did not finish. Their copies are removed: what they hold was not known to be flushed.
pub(crate) async fn resume(shared: Rc<Shared>) {
    let shared = &shared;
    let by_name: BTreeMap<String, Rc<PartitionShared>> = shared
        .partitions
        .borrow()
        .values()
        .map(|known| (names::future_stem(&known.topic_name, known.tp.partition), known.clone()))
        .collect();
    // Read before anybody can begin a move; those of other shards are theirs to look after.
    for (index, path, stem) in copies(shared).await {
        let Some(partition) = by_name.get(&stem) else { continue };
        // An earlier topic of that name may have been moved, not this one. What has no id yet has nothing else either.
        let id = open::topic_id(&shared.ring, &path).await.ok().flatten();
        let ours = id.is_none_or(|id| id == partition.tp.topic || id.is_none());
        let to = shared.config.log_dirs.get(index).cloned().unwrap_or_default();
        if let Err(error) = delete::set_aside(shared, &path, &partition.topic_name, partition.tp.partition).await {
            tracing::warn!("an unfinished move cannot be begun again: {error}");
        } else if ours && !partition.is_deleted() && partition.path.directory() != index && partition.moving.borrow().is_none() {
            tracing::info!(partition = %partition.tp, to = %to.display(), "move to another log directory begins again");
            if let Err(error) = begin(shared, partition, &to) {
                tracing::warn!(partition = %partition.tp, "it does not: {error}");
            }
        }
    }
}

async fn run(shared: &Rc<Shared>, partition: &Rc<PartitionShared>, this: &Rc<Move>) {
    // Retention, compaction and an earlier move that was given up have files in hand.
    while partition.retaining.get() {
        shared.ring.sleep(LOOK).await;
    }
    partition.retaining.set(true);
    let from = partition.path.log_dir().to_owned();
    let there = partition.path.directory() == this.to;
    let target = shared.config.log_dirs.get(this.to).cloned().unwrap_or_default();
    let future = target.join(names::future_directory(&partition.topic_name, partition.tp.partition, shared.ring.rng().uuid()));
    let mover = Mover { shared, partition, this, target: &target, future: &future };
    let result = if there { Ok(true) } else { mover.carry_out().await };
    partition.held.set(false);
    partition.retaining.set(false);
    {
        let mut moving = partition.moving.borrow_mut();
        if moving.as_ref().is_some_and(|running| Rc::ptr_eq(running, this)) {
            *moving = None;
        }
    }
    shared.flush_wanted.notify_all();
    match result {
        Ok(true) => {
            tracing::info!(partition = %partition.tp, topic = %partition.topic_name, from = %from.display(), to = %target.display(), "moved to another log directory");
            return;
        }
        // Given up; when the store closes the copy stays, and the next start begins again.
        Ok(false) if shared.closing.get() => return,
        Ok(false) => {}
        Err(error) => {
            tracing::error!(partition = %partition.tp, topic = %partition.topic_name, to = %target.display(), "not moved, it stays where it is: {error}");
            let ours = matches!(&error, StoreError::Io { path, .. } if path.starts_with(&target));
            if ours && crate::offline::condemns_directory(&error) {
                shared.fail_directory(this.to, &error);
                return;
            }
            shared.read_failed(partition, &error);
        }
    }
    if let Err(error) = delete::set_aside(shared, &future, &partition.topic_name, partition.tp.partition).await {
        tracing::warn!("the copy of a move that was given up stays: {error}");
    }
}

struct Mover<'a> {
    shared: &'a Rc<Shared>,
    partition: &'a Rc<PartitionShared>,
    this: &'a Rc<Move>,
    target: &'a Path,
    future: &'a Path,
}

impl Mover<'_> {
    fn goes_on(&self) -> bool {
        !self.this.cancelled.get()
            && !self.shared.closing.get()
            && self.shared.failed.borrow().is_none()
            && *self.partition.health.borrow() == PartitionHealth::Online
    }

    /// False when the move was given up.
    async fn carry_out(&self) -> Result<bool, StoreError> {
        let ring = &self.shared.ring;
        ring.create_dir(self.future).await.map_err(|error| StoreError::io("create", self.future, error))?;
        let metadata = checkpoint::encode_partition_metadata(self.partition.tp.topic);
        segment_files::write_plain(ring, &self.future.join(names::PARTITION_METADATA), metadata.as_bytes()).await?;
        let mut copied = BTreeMap::new();
        for _ in 0..ROUNDS_MAX {
            if !self.copy_segments(&mut copied).await? {
                return Ok(false);
            }
            if self.left(&copied) <= REST_BYTES_MAX {
                break;
            }
        }
        self.partition.held.set(true);
        while self.partition.flushing.get() {
            ring.sleep(LOOK).await;
        }
        if !self.copy_segments(&mut copied).await? || !self.copy_others().await? {
            return Ok(false);
        }
        ring.sync_dir(self.future).await.map_err(|error| StoreError::io("flush", self.future, error))?;
        if !self.goes_on() {
            return Ok(false);
        }
        self.swap().await
    }

    /// Flushed bytes that are not copied yet.
    fn left(&self, copied: &BTreeMap<Offset, u64>) -> u64 {
        let log = self.partition.log.borrow();
        log.segments().iter().map(|segment| segment.flushed_bytes - copied.get(&segment.base_offset).unwrap_or(&0)).sum()
    }

    /// Copies what was flushed when it is called. False when the move was given up.
    async fn copy_segments(&self, copied: &mut BTreeMap<Offset, u64>) -> Result<bool, StoreError> {
        let segments: Vec<(Offset, u64, Offset)> = {
            let log = self.partition.log.borrow();
            let flushed = log.marks().flushed.offset();
            log.segments().iter().map(|segment| (segment.base_offset, segment.flushed_bytes, segment.next_offset.min(flushed))).collect()
        };
        let (first, last) = (segments.first().map(|segment| segment.0), segments.last().map(|segment| segment.0));
        for (base, bytes, next) in segments {
            let known = copied.get(&base).copied();
            // The first one says where the log begins. An empty file of a later one would say that everything before it is there.
            if known == Some(bytes) || (bytes == 0 && Some(base) != first) {
                continue;
            }
            let known = known.unwrap_or(0);
            if !self.copy_segment(base, known, bytes, Some(base) != last).await? {
                return Ok(false);
            }
            copied.insert(base, bytes);
            self.this.copied.set(self.this.copied.get().max(next));
        }
        Ok(true)
    }

    async fn copy_segment(&self, base: Offset, from: u64, to: u64, exact: bool) -> Result<bool, StoreError> {
        let path = self.future.join(names::segment_file(base, names::LOG));
        let direct = self.shared.direct.get(self.this.to).copied().unwrap_or(false);
        let ring = &self.shared.ring;
        let file = ring.open(&path, OpenOptions::READ_WRITE.direct(direct)).await.map_err(|error| StoreError::io("open", &path, error))?;
        let mut at = align_down(from);
        while at < to {
            if !self.goes_on() {
                return Ok(false);
            }
            let useful = SLICE_BYTES.min(to - at);
            if self.shared.room.is_full(self.this.to) {
                return Err(StoreError::Full { path: self.target.to_owned() });
            }
            self.copy_slice(base, &file, &path, at, useful as usize).await?;
            at += useful;
            self.this.copied_bytes.set(self.this.copied_bytes.get() + useful - from.saturating_sub(at - useful).min(useful));
            ring.sleep(SLICE_PAUSE).await;
        }
        if exact {
            file.truncate(to).await.map_err(|error| StoreError::io("truncate", &path, error))?;
        }
        file.sync_data().await.map_err(|error| StoreError::io("flush", &path, error))?;
        Ok(true)
    }

    /// Copies `useful` bytes at the aligned position `at`, padded with zeros to a whole block.
    async fn copy_slice(&self, base: Offset, to: &File, to_path: &Path, at: u64, useful: usize) -> Result<(), StoreError> {
        let reading = self.shared.cold_reads.begin(self.shared, useful).await;
        let path = segment_files::log_path(self.partition, base);
        let from = segment_files::open_log(self.shared, self.partition, &path).await?;
        let len = align_up(useful);
        let (mut buf, read) = careful::read(&from, &path, AlignedBuf::zeroed(len), at, len, useful, careful::twice()).await?;
        drop(reading);
        if read < useful {
            let reason = format!("it ends at byte {}, but {} were flushed", at + read as u64, at + useful as u64);
            return Err(StoreError::Damaged { path, reason });
        }
        buf[useful..].fill(0);
        to.write_at(vec![buf.freeze()], at, Sync::No).await.map_err(|error| StoreError::io("write", to_path, error))
    }

    /// Indexes, snapshots and the epoch checkpoint, while nothing changes them.
    async fn copy_others(&self) -> Result<bool, StoreError> {
        let ring = &self.shared.ring;
        let from: &Path = &self.partition.path;
        let entries = ring.read_dir(from).await.map_err(|error| StoreError::io("list", from, error))?;
        let segments: Vec<Offset> = self.partition.log.borrow().segments().iter().map(|segment| segment.base_offset).collect();
        for entry in entries.iter().filter(|entry| !entry.is_dir) {
            if !self.goes_on() {
                return Ok(false);
            }
            let wanted = match names::parse_segment_file(&entry.name) {
                Some((_, names::SNAPSHOT)) => true,
                Some((base, names::INDEX | names::TIME_INDEX | names::TRANSACTION_INDEX)) => segments.contains(&base),
                _ => entry.name == names::LEADER_EPOCHS,
            };
            if !wanted {
                continue;
            }
            let (source, path) = (from.join(&entry.name), self.future.join(&entry.name));
            let content = ring.read_to_vec(&source).await.map_err(|error| StoreError::io("read", &source, error))?;
            segment_files::write_plain(ring, &path, &content).await?;
            let file = ring.open(&path, OpenOptions::READ_WRITE).await.map_err(|error| StoreError::io("open", &path, error))?;
            file.sync_data().await.map_err(|error| StoreError::io("flush", &path, error))?;
        }
        Ok(true)
    }

    /// False when the move was given up.
    async fn swap(&self) -> Result<bool, StoreError> {
        let (shared, partition) = (self.shared, self.partition);
        let old = partition.path.to_path_buf();
        let new = self.target.join(names::partition_directory(&partition.topic_name, partition.tp.partition));
        // Left behind by a move whose end was not seen, or by a topic of that name.
        delete::set_aside(shared, &new, &partition.topic_name, partition.tp.partition).await?;
        shared.ring.rename(self.future, &new).await.map_err(|error| StoreError::io("rename", self.future, error))?;
        shared.ring.sync_dir(self.target).await.map_err(|error| StoreError::io("flush", self.target, error))?;
        if !self.goes_on() {
            // Deleted meanwhile, for example: the copy goes too.
            delete::set_aside(shared, &new, &partition.topic_name, partition.tp.partition).await?;
            return Ok(false);
        }
        *partition.left.borrow_mut() = Some(old.clone());
        partition.path.relocate(self.this.to, self.target);
        shared.files.forget_below(&old);
        if !crate::state_file::checkpoint_now(shared).await {
            // Nothing is written any more; the next start uses the directory that the state file names.
            return Ok(true);
        }
        // A deletion may have seen to it, and the name may be another topic's by now.
        let Some(old) = partition.left.borrow_mut().take() else { return Ok(true) };
        if let Err(error) = delete::set_aside(shared, &old, &partition.topic_name, partition.tp.partition).await {
            // It was moved all the same; the next start finds the rest.
            tracing::warn!("the old directory of a moved partition stays: {error}");
        }
        Ok(true)
    }
}
