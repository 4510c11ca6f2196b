//! What the parts of one shard's store share.

use crate::buffer_pool::BufferPool;
use crate::careful::TailBlock;
use crate::cold_reads::ColdReads;
use crate::compaction::Compaction;
use crate::compaction::swap::PartitionCompaction;
use crate::config::StoreConfig;
use crate::delete::Deleted;
use crate::error::StoreError;
use crate::fd_cache::FileCache;
use crate::journal_files::JournalFiles;
use crate::later::Later;
use crate::located::Located;
use crate::offline::Offline;
use crate::read_ahead::ReadAhead;
use crate::relocate::Move;
use crate::room::Room;
use crate::state_file::StateRequests;
use crate::stats::Counters;
use crate::strand::Stranded;

use odradek_base::{Gauge, Held, Instant, Offset, TopicPartition};
use odradek_log::journal::format::{JournalId, Sequence};
use odradek_log::journal::writer::Writer;
use odradek_log::partition::PartitionLog;
use odradek_log::segment::names;
use odradek_log::state::PartitionState;
use odradek_log::tail::TailBatch;
use odradek_ring::Ring;
use odradek_ring::sync::Event;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

/// Waiters of consecutive journal blocks wait on different events, so that a block wakes only its own.
const COMMIT_EVENTS: usize = 4;

/// Whether a partition takes part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PartitionHealth {
    Online,
    Offline(Rc<str>),
    Deleted,
}

/// One partition. The log is borrowed only within a synchronous step, never across an await.
pub(crate) struct PartitionShared {
    pub tp: TopicPartition,
    pub topic_name: Rc<str>,
    pub path: Located,
    pub log: RefCell<PartitionLog>,
    pub health: RefCell<PartitionHealth>,
    pub changed: Event,
    /// Key in the set of dirty partitions, and since when.
    pub dirty: Cell<Option<(Sequence, Instant)>>,
    /// Waits in the flusher's list of partitions with a lot pending.
    pub queued: Cell<bool>,
    /// A flush is under way; one at a time.
    pub flushing: Cell<bool>,
    /// Retention or compaction is renaming files; oldest first, so that a crash in between leaves no gap.
    pub retaining: Cell<bool>,
    /// No flush may begin: the last part of the partition is being moved.
    pub held: Cell<bool>,
    /// It is being moved to another log directory.
    pub moving: RefCell<Option<Rc<Move>>>,
    /// The directory that a move has left, until the state file says so: whoever takes it from here sets it aside.
    pub left: RefCell<Option<PathBuf>>,
    pub compaction: PartitionCompaction,
    /// What the last flush left in the last block.
    pub tail_block: Cell<Option<TailBlock>>,
    /// The active segment's file is longer than its content.
    pub padded: Cell<bool>,
    /// What was pending when it went offline is in a file of its own and no longer held in the journal.
    pub stranded: Cell<bool>,
    /// The state file has the producers' batches below.
    pub producers_saved: Cell<Offset>,
    /// Files got or lost names that may not be durable.
    pub renamed: Cell<bool>,
    /// Somebody appended or moved a mark since the directory was written, so a clean stop has something to write.
    pub touched: Cell<bool>,
}

impl PartitionShared {
    pub fn new(tp: TopicPartition, topic_name: &str, directory: usize, log_dir: &Path, log: PartitionLog) -> Rc<Self> {
        Rc::new(Self {
            tp,
            topic_name: topic_name.into(),
            path: Located::new(directory, log_dir, &names::partition_directory(topic_name, tp.partition)),
            log: RefCell::new(log),
            health: RefCell::new(PartitionHealth::Online),
            changed: Event::new(),
            dirty: Cell::new(None),
            queued: Cell::new(false),
            flushing: Cell::new(false),
            retaining: Cell::new(false),
            held: Cell::new(false),
            moving: RefCell::new(None),
            left: RefCell::new(None),
            compaction: PartitionCompaction::default(),
            tail_block: Cell::new(None),
            padded: Cell::new(false),
            stranded: Cell::new(false),
            producers_saved: Cell::new(Offset::ZERO),
            renamed: Cell::new(false),
            touched: Cell::new(false),
        })
    }

    pub fn check(&self) -> Result<(), StoreError> {
        match &*self.health.borrow() {
            PartitionHealth::Online => Ok(()),
            PartitionHealth::Offline(reason) => Err(StoreError::PartitionOffline { partition: self.tp, reason: reason.to_string() }),
            PartitionHealth::Deleted => Err(StoreError::Deleted(self.tp)),
        }
    }

    pub fn is_offline(&self) -> bool {
        matches!(*self.health.borrow(), PartitionHealth::Offline(_))
    }

    pub fn is_deleted(&self) -> bool {
        *self.health.borrow() == PartitionHealth::Deleted
    }

    /// Whether the journal and memory need not keep its batches any more.
    pub fn is_let_go(&self) -> bool {
        self.stranded.get() || self.is_deleted()
    }

    /// Its share of [`Shared::unflushed_bytes`].
    pub fn unflushed_bytes(&self) -> u64 {
        if self.stranded.get() {
            return 0;
        }
        self.log.borrow().segments().iter().map(|segment| segment.bytes - segment.flushed_bytes).sum()
    }
}

/// A journal block whose batches are in memory.
pub(crate) struct CachedBlock {
    pub sequence: Sequence,
    /// The memory that its batches pin, together with its neighbours of the same arena.
    pub arena: Arc<Held>,
    pub partitions: Vec<Rc<PartitionShared>>,
}

/// Bytes that a batch in memory takes beside its own: its place in the partition's tail, which grows by doubling, and in its [`CachedBlock`].
const BATCH_PLACE_BYTES: u64 = (2 * size_of::<TailBatch>() + size_of::<Rc<PartitionShared>>()) as u64;

/// Recent blocks in memory, oldest first.
#[derive(Default)]
pub(crate) struct BlockCache {
    blocks: RefCell<VecDeque<CachedBlock>>,
    arena_bytes: Cell<u64>,
    batches: Cell<u64>,
}

impl BlockCache {
    pub fn push(&self, block: CachedBlock) {
        let mut blocks = self.blocks.borrow_mut();
        if !blocks.back().is_some_and(|last| Arc::ptr_eq(&last.arena, &block.arena)) {
            self.arena_bytes.set(self.arena_bytes.get() + block.arena.bytes() as u64);
        }
        self.batches.set(self.batches.get() + block.partitions.len() as u64);
        blocks.push_back(block);
    }

    /// Takes the oldest block out when `may_go` says so.
    fn pop_if(&self, may_go: impl FnOnce(&CachedBlock) -> bool) -> Option<CachedBlock> {
        let mut blocks = self.blocks.borrow_mut();
        if !may_go(blocks.front()?) {
            return None;
        }
        let block = blocks.pop_front()?;
        if !blocks.front().is_some_and(|next| Arc::ptr_eq(&next.arena, &block.arena)) {
            self.arena_bytes.set(self.arena_bytes.get() - block.arena.bytes() as u64);
        }
        self.batches.set(self.batches.get() - block.partitions.len() as u64);
        Some(block)
    }

    pub fn is_empty(&self) -> bool {
        self.blocks.borrow().is_empty()
    }

    /// Bytes of the arenas of these blocks.
    pub fn arena_bytes(&self) -> u64 {
        self.arena_bytes.get()
    }

    /// Bytes that the places of their batches take.
    pub fn place_bytes(&self) -> u64 {
        self.batches.get() * BATCH_PLACE_BYTES
    }
}

/// How far the journal is.
pub(crate) struct CommitMarks {
    pub written: Cell<Sequence>,
    pub durable: Cell<Sequence>,
    /// When the last block became durable.
    pub moved_at: Cell<Instant>,
    /// A block is being written.
    pub under_way: Cell<bool>,
    /// It was written, or could not be.
    pub settled: Event,
    events: [Event; COMMIT_EVENTS],
}

impl CommitMarks {
    pub fn new(last: Sequence, now: Instant) -> Self {
        Self {
            written: Cell::new(last),
            durable: Cell::new(last),
            moved_at: Cell::new(now),
            under_way: Cell::new(false),
            settled: Event::new(),
            events: Default::default(),
        }
    }

    pub fn event(&self, sequence: Sequence) -> &Event {
        &self.events[sequence.0 as usize % COMMIT_EVENTS]
    }

    pub fn notify_everybody(&self) {
        self.events.iter().for_each(Event::notify_all);
    }
}

pub(crate) struct Shared {
    pub ring: Ring,
    pub config: StoreConfig,
    /// Per log directory: direct I/O works there.
    pub direct: Vec<bool>,
    pub journal_id: JournalId,
    pub writer: RefCell<Writer<Rc<PartitionShared>>>,
    pub journal: JournalFiles,
    pub commit: CommitMarks,
    /// The journal has something to write, or the store closes.
    pub work: Event,
    pub partitions: RefCell<BTreeMap<TopicPartition, Rc<PartitionShared>>>,
    /// Partitions with durable batches that their segments lack, by the oldest journal block that has one.
    pub dirty: RefCell<BTreeSet<(Sequence, TopicPartition)>>,
    /// Partitions with a lot pending.
    pub large: RefCell<VecDeque<Rc<PartitionShared>>>,
    pub cache: BlockCache,
    /// Bytes of the arenas of journal blocks that are alive, wherever they are held.
    pub arenas: Gauge,
    pub unflushed_bytes: Cell<u64>,
    /// Unflushed bytes or journal space became less.
    pub relieved: Event,
    pub flush_wanted: Event,
    /// The journal waits for a file.
    pub journal_full: Cell<bool>,
    /// Oldest journal block with a log start change that the state file lacks.
    pub state_dirty: Cell<Option<Sequence>>,
    /// The same, of the changes that are in the state file being written.
    pub state_writing: Cell<Option<Sequence>>,
    pub state_requests: StateRequests,
    /// The state file of an earlier start lies under another name until it is written anew ([`crate::state_file::disown`]).
    pub state_disowned: Cell<bool>,
    /// Oldest journal block with batches of partitions that could not be opened, while they find no room in a file of their own.
    pub homeless_from: Cell<Option<Sequence>>,
    pub failed: RefCell<Option<StoreError>>,
    pub closing: Cell<bool>,
    pub commit_done: Cell<bool>,
    pub flusher_done: Cell<bool>,
    pub stopped: Event,
    pub files: FileCache,
    pub cold_reads: ColdReads,
    /// Memory of what is being written to segments.
    pub writing: Gauge,
    pub cold_buffers: BufferPool,
    pub read_ahead: ReadAhead,
    pub counters: Counters,
    pub compaction: Compaction,
    /// Files that wait to be unlinked.
    pub unlinks: RefCell<BTreeSet<PathBuf>>,
    pub deleted: Deleted,
    /// What the state file says of partitions that could not be opened; it is kept.
    pub retained: RefCell<BTreeMap<TopicPartition, PartitionState>>,
    pub offline: Offline,
    pub later: Later,
    pub room: Room,
    pub stranded: Stranded,
}

impl Shared {
    /// Keeps what is known of partitions that could not be opened. What was said of one before stays.
    pub fn retain(&self, states: impl IntoIterator<Item = PartitionState>) {
        let mut retained = self.retained.borrow_mut();
        for state in states {
            retained.entry(state.partition).or_insert(state);
        }
    }

    /// The oldest journal block that a replay needs.
    pub fn replay_from(&self) -> Sequence {
        let dirty = self.dirty.borrow().first().map(|(sequence, _)| *sequence);
        [dirty, self.state_dirty.get(), self.state_writing.get(), self.homeless_from.get()]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(Sequence(u64::MAX))
    }

    pub fn check(&self) -> Result<(), StoreError> {
        match &*self.failed.borrow() {
            Some(error) => Err(error.clone()),
            None if self.closing.get() => Err(StoreError::Closed),
            None => Ok(()),
        }
    }

    /// The journal failed: nothing is written any more, everybody who waits is told.
    pub fn fail(&self, error: StoreError) {
        tracing::error!(shard = %self.config.shard, "journal offline, this shard takes no more writes until a restart: {error}");
        let offline = StoreError::JournalOffline(error.to_string());
        *self.failed.borrow_mut() = Some(offline);
        self.commit.notify_everybody();
        self.relieved.notify_all();
        self.flush_wanted.notify_all();
        for partition in self.sorted_partitions() {
            partition.changed.notify_all();
        }
    }

    /// All partitions in the order of their ids.
    pub fn sorted_partitions(&self) -> Vec<Rc<PartitionShared>> {
        let mut partitions: Vec<_> = self.partitions.borrow().values().cloned().collect();
        partitions.sort_by_key(|partition| partition.tp);
        partitions
    }

    /// Puts `partition` at its place among the dirty ones after its pending batches changed.
    pub fn update_dirty(&self, partition: &PartitionShared) {
        let pending = if partition.is_let_go() { None } else { partition.log.borrow().tail().first_pending() };
        let known = partition.dirty.get().map(|(sequence, _)| sequence);
        if pending == known {
            return;
        }
        let mut dirty = self.dirty.borrow_mut();
        if let Some(known) = known {
            dirty.remove(&(known, partition.tp));
        }
        partition.dirty.set(pending.map(|sequence| {
            dirty.insert((sequence, partition.tp));
            (sequence, self.ring.now())
        }));
    }

    /// Gives journal files back that no replay needs, and tells who waits for one.
    pub fn release_journal(&self) {
        // Without anything dirty every block that was completed may go.
        let from = self.replay_from().min(self.commit.durable.get().next());
        self.journal.release(from);
        self.relieved.notify_all();
    }

    /// What the tail takes of memory: its batches, their places, and the arenas that answers pin although the cache has let them go.
    pub fn tail_bytes(&self) -> u64 {
        self.arenas.bytes().saturating_sub(self.writer.borrow().held_bytes()) as u64 + self.cache.place_bytes()
    }

    /// Buffers with cold data that are kept for readers or held by answers, and free ones.
    pub fn kept_cold_bytes(&self) -> usize {
        (self.cold_buffers.lent_bytes() + self.cold_buffers.free_bytes()).saturating_sub(self.cold_reads.looked_at_bytes())
    }

    /// What blocks take that are built or wait to be written.
    pub fn building_bytes(&self) -> u64 {
        let writer = self.writer.borrow();
        (writer.held_bytes() + writer.entry_bytes()) as u64
    }

    /// Bytes of the arenas that only answers to clients keep alive.
    pub fn pinned_bytes(&self) -> u64 {
        (self.arenas.bytes() as u64).saturating_sub(self.cache.arena_bytes() + self.writer.borrow().held_bytes() as u64)
    }

    /// Whether answers from memory are copied instead of being slices of blocks: clients that do not read hold blocks that the cache has let
    /// go, and a slice of a few bytes holds a whole arena.
    pub fn copies_answers(&self) -> bool {
        self.pinned_bytes() > self.config.tail_cache_bytes / 4
    }

    /// Whether the memory of batches that are not in segments is within its bound; their bytes alone say little when they are small.
    pub fn has_memory(&self) -> bool {
        let used = self.cache.arena_bytes() + self.cache.place_bytes() + self.building_bytes();
        used < self.config.tail_cache_bytes + self.config.unflushed_bytes_max
    }

    /// Drops the oldest flushed batches from memory until the tail is within its bound.
    pub fn evict(&self) {
        while self.tail_bytes() > self.config.tail_cache_bytes && !self.cache.is_empty() {
            let evicted = self.cache.pop_if(|front| {
                front.partitions.iter().all(|partition| partition.is_let_go() || partition.log.borrow().tail().evictable(front.sequence))
            });
            let Some(block) = evicted else {
                self.flush_wanted.notify_all();
                return;
            };
            for partition in &block.partitions {
                partition.log.borrow_mut().evict(block.sequence);
            }
        }
    }

    pub fn sub_unflushed(&self, bytes: u64) {
        let now = self.unflushed_bytes.get();
        assert!(now >= bytes, "unflushed bytes below zero");
        self.unflushed_bytes.set(now - bytes);
    }
}
