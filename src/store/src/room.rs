//! Whether there is room to write: full devices, and the reserve that is held back.
//!
//! A full device is told to producers at once and waited for; nothing has to be restarted. Records leave `disk_reserve_bytes` of each file system
//! free: below it appends are refused, below half of it segments are not written either. What is left is for the state file, indexes and
//! checkpoints, so that a stop on a full disk is as clean as any other.

use crate::config::PartitionSpec;
use crate::create;
use crate::error::StoreError;
use crate::shared::Shared;
use odradek_base::Instant;
use odradek_ring::Ring;
use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

/// How often free space is looked at, and how long something that found no room waits before it tries again.
pub(crate) const FULL_PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy, Default)]
struct Directory {
    /// A segment found no room here and has not been written since.
    full: bool,
    /// When that is tried next.
    try_at: Option<Instant>,
    /// Free bytes at the last look.
    free_bytes: Option<u64>,
}

#[derive(Debug)]
pub(crate) struct Room {
    reserve_bytes: u64,
    directories: RefCell<Vec<Directory>>,
    journal_dir: PathBuf,
    journal_free_bytes: Cell<Option<u64>>,
    /// The journal's next block finds no room, or waits for a segment that finds none.
    journal: Cell<bool>,
    /// The state file found no room.
    state: Cell<bool>,
    /// Partitions that found no room for their directories. They are closed until they are made.
    unmade: RefCell<Vec<PartitionSpec>>,
}

impl Room {
    pub fn new(log_dirs: usize, journal_dir: PathBuf, reserve_bytes: u64) -> Self {
        Self {
            reserve_bytes,
            directories: RefCell::new(vec![Directory::default(); log_dirs]),
            journal_dir,
            journal_free_bytes: Cell::new(None),
            journal: Cell::new(false),
            state: Cell::new(false),
            unmade: RefCell::default(),
        }
    }

    fn directory(&self, directory: usize) -> Directory {
        self.directories.borrow().get(directory).copied().unwrap_or_default()
    }

    fn is_below(&self, free_bytes: Option<u64>, bytes: u64) -> bool {
        self.reserve_bytes > 0 && free_bytes.is_some_and(|free| free < bytes)
    }

    /// Whether a log directory takes no appends.
    pub fn is_full(&self, directory: usize) -> bool {
        let known = self.directory(directory);
        known.full || self.is_below(known.free_bytes, self.reserve_bytes)
    }

    /// Whether a flush in `directory` may be begun now. Where there was no room one is tried every now and then; the others go on.
    pub fn may_try(&self, directory: usize, now: Instant) -> bool {
        let mut directories = self.directories.borrow_mut();
        let Some(known) = directories.get_mut(directory).filter(|known| known.full) else { return true };
        if known.try_at.is_some_and(|at| at > now) {
            return false;
        }
        known.try_at = Some(now + FULL_PAUSE);
        true
    }

    /// Whether segments of a log directory may not be written either.
    pub fn is_reserve_reached(&self, directory: usize) -> bool {
        self.is_below(self.directory(directory).free_bytes, self.reserve_bytes / 2)
    }

    /// Whether the journal may not grow.
    pub fn is_journal_reserve_reached(&self) -> bool {
        self.is_below(self.journal_free_bytes.get(), self.reserve_bytes / 2)
    }

    pub fn is_journal_full(&self) -> bool {
        self.journal.get()
    }

    /// Whether anything lacks room.
    pub fn is_any_full(&self) -> bool {
        self.journal.get() || self.state.get() || (0..self.directories.borrow().len()).any(|directory| self.is_full(directory))
    }

    pub fn is_state_full(&self) -> bool {
        self.state.get()
    }
}

impl Shared {
    /// Why an append to a partition in `directory` is refused for lack of room.
    pub fn check_room(&self, directory: usize) -> Result<(), StoreError> {
        let full = if self.room.is_journal_full() {
            Some(&self.room.journal_dir)
        } else if self.room.is_full(directory) || (self.room.is_any_full() && !self.is_admitted()) {
            self.config.log_dirs.get(directory)
        } else {
            None
        };
        match full {
            Some(path) => Err(StoreError::Full { path: path.clone() }),
            None => Ok(()),
        }
    }

    pub fn is_admitted(&self) -> bool {
        self.unflushed_bytes.get() < self.config.unflushed_bytes_max && self.has_memory()
    }

    /// Segments of a log directory find no room (any more).
    pub fn set_full(&self, directory: usize, full: bool) {
        let changed = match self.room.directories.borrow_mut().get_mut(directory) {
            Some(known) => {
                known.try_at = full.then(|| self.ring.now() + FULL_PAUSE);
                std::mem::replace(&mut known.full, full) != full
            }
            None => false,
        };
        if changed {
            let path = self.config.log_dirs.get(directory).cloned().unwrap_or_default();
            self.room_changed(&path.display().to_string(), full);
        }
    }

    /// The journal finds no room (any more). Everybody who waits for a block is told.
    pub fn set_journal_full(&self, full: bool) {
        if self.room.journal.replace(full) != full {
            self.room_changed(&format!("the journal in {}", self.room.journal_dir.display()), full);
        }
        if full {
            self.commit.notify_everybody();
        }
    }

    /// The state file finds no room (any more).
    pub fn set_state_full(&self, full: bool) {
        if self.room.state.replace(full) != full {
            self.deleted.changed.notify_all();
        }
    }

    fn room_changed(&self, place: &str, full: bool) {
        if full {
            tracing::error!(
                shard = %self.config.shard,
                "no room in {place}: produces there are refused until there is. Free space, delete topics or shorten their retention; nothing has to be restarted"
            );
        } else {
            tracing::info!(shard = %self.config.shard, "there is room in {place} again");
        }
        self.deleted.changed.notify_all();
        // Who waits for admission or for journal space looks again.
        self.relieved.notify_all();
        self.flush_wanted.notify_all();
    }

    /// Makes a partition later that finds no room for its directory now.
    pub fn make_later(&self, spec: &PartitionSpec, error: StoreError) {
        tracing::error!(partition = %spec.tp, topic = spec.topic_name, "partition is made when there is room: {error}");
        self.offline.close(spec.tp, error);
        self.room.unmade.borrow_mut().push(spec.clone());
    }

    async fn make_up(self: &Rc<Self>) {
        let mut unmade = std::mem::take(&mut *self.room.unmade.borrow_mut()).into_iter();
        let mut left = Vec::new();
        for spec in unmade.by_ref() {
            match create::create_closed(self, &spec).await {
                Ok(()) => {}
                Err(error) if error.is_full() => {
                    left.push(spec);
                    break;
                }
                Err(error) => {
                    tracing::error!(partition = %spec.tp, "partition could not be made, it is offline until the next start: {error}")
                }
            }
        }
        left.extend(unmade);
        self.room.unmade.borrow_mut().append(&mut left);
    }

    async fn look(&self) {
        for (index, path) in self.config.log_dirs.iter().enumerate() {
            let free_bytes = if self.offline.is_online(index) { self.ring.free_bytes(path).await.ok() } else { None };
            let before = self.room.is_full(index);
            if let Some(known) = self.room.directories.borrow_mut().get_mut(index) {
                known.free_bytes = free_bytes;
            }
            let now = self.room.is_full(index);
            if before != now {
                self.room_changed(&path.display().to_string(), now);
            }
        }
        self.room.journal_free_bytes.set(self.ring.free_bytes(&self.room.journal_dir).await.ok());
    }
}

/// Repeats what finds no room until it does. For what only writes over what is there, which takes room on few file systems.
pub(crate) async fn waited_for(ring: &Ring, attempt: impl AsyncFn() -> Result<(), StoreError>) -> Result<(), StoreError> {
    let mut told = false;
    loop {
        match attempt().await {
            Err(error) if error.is_full() => {
                if !std::mem::replace(&mut told, true) {
                    tracing::error!("the start waits for room: {error}");
                }
                ring.sleep(FULL_PAUSE).await;
            }
            other => return other,
        }
    }
}

/// Looks at the free space of the directories until the store closes.
pub(crate) async fn watch(shared: Rc<Shared>) {
    while !shared.closing.get() && shared.failed.borrow().is_none() {
        shared.look().await;
        if !shared.room.unmade.borrow().is_empty() {
            shared.make_up().await;
        }
        shared.ring.sleep(FULL_PAUSE).await;
    }
}
