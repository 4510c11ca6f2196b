//! Opening a shard's store.
//!
//! After a clean stop the state file has everything: no segment and no journal block is read. Otherwise each owned partition is checked from its
//! recovery point on, then the journal is replayed over it: entries that the segments have are recognised by their offsets, the others
//! become the tail in memory, exactly as if they had just been appended, and their journal blocks stay until they are flushed.

mod directories;
mod found;
mod locate;
mod partitions;

pub(crate) use locate::{locate_and_recover, topic_id};
pub(crate) use partitions::insert;

use directories::{Directories, directories};
use found::find_state;
use partitions::{Opened, open_partitions};

use crate::buffer_pool::BufferPool;
use crate::cold_reads::ColdReads;
use crate::commit;
use crate::config::{PartitionSpec, StoreConfig};
use crate::delete::Deleted;
use crate::error::StoreError;
use crate::fd_cache::FileCache;
use crate::journal_files::{self, JournalFiles};
use crate::journal_scan;
use crate::later::{self, Later};
use crate::offline::Offline;
use crate::read_ahead::ReadAhead;
use crate::reader;
use crate::replaying::{self, Replaying};
use crate::room::{self, Room};
use crate::segment_files;
use crate::settle::{self, Present};
use crate::shared::{BlockCache, CommitMarks, Shared};
use crate::state_file::StateRequests;
use crate::stats::Counters;
use crate::store::Store;
use crate::strand::{Homeless, Stranded};
use crate::{flusher, relocate, state_file};
use odradek_base::{Gauge, Offset, TopicPartition};
use odradek_log::journal::format::{JournalId, Sequence};
use odradek_log::journal::replay::{Hole, Plan};
use odradek_log::journal::space::{FileNumber, Space, UsedFile};
use odradek_log::journal::writer::{Writer, WriterLimits};
use odradek_log::segment::names;
use odradek_ring::Ring;
use odradek_ring::sim::planted::{Mistake, is_planted};
use odradek_ring::sync::Event;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

/// What opening a store found and did.
#[derive(Debug, Clone, Default)]
pub struct RecoveryReport {
    /// The last stop was clean: nothing had to be checked.
    pub clean: bool,
    pub partitions: usize,
    /// Partitions whose directories were made now.
    pub created: usize,
    /// Partitions that were checked.
    pub recovered: usize,
    /// Partitions that are checked, and opened, behind the start.
    pub put_off: usize,
    pub batches_checked: u64,
    pub bytes_checked: u64,
    /// Journal blocks that were replayed, and the batches that segments lacked.
    pub journal_blocks: usize,
    pub journal_batches: u64,
    /// Journal blocks that must have been there and are not.
    pub holes: Vec<Hole>,
    /// Offsets that no segment has, from the first to the one after the last, by partition; not of compacted topics.
    pub gaps: Vec<(TopicPartition, Offset, Offset)>,
    /// Files with a torn tail, and the bytes that were cut.
    pub truncated: Vec<(PathBuf, u64)>,
    /// Partitions that stay closed, and why.
    pub damaged: BTreeMap<TopicPartition, String>,
    /// Journal entries of partitions that this shard does not own: their batches.
    pub foreign_batches: u64,
    /// Log directories that could not be opened, and why; their partitions are among `damaged`.
    pub offline_directories: Vec<(PathBuf, String)>,
    /// Bytes at the ends of segments that were written again, because an earlier run may not have flushed them.
    pub rewritten_bytes: u64,
    /// Log directories without direct I/O, and why.
    pub buffered: Vec<(PathBuf, String)>,
    pub took: Duration,
}

impl RecoveryReport {
    /// Whether a partition could not be opened.
    pub fn failed(&self, partition: TopicPartition) -> bool {
        self.damaged.contains_key(&partition)
    }
}

pub(crate) async fn open(ring: Ring, config: StoreConfig, owned: Vec<PartitionSpec>) -> Result<(Store, RecoveryReport), StoreError> {
    let started = ring.now();
    let config = config.normalised();
    let mut report = RecoveryReport { partitions: owned.len(), ..RecoveryReport::default() };
    let Directories { direct, journal_direct, offline } = directories(&ring, &config, &mut report).await?;
    let found = find_state(&ring, &config).await?;
    let clean = found.own.as_ref().is_some_and(|state| state.clean);
    report.clean = clean || found.own.is_none();

    let journal_dir = config.journal_dir();
    let files = journal_scan::list(&ring, &journal_dir, config.shard).await?;
    let known = found.own.as_ref().map(|state| (state.journal, state.last_sequence.0));
    let plan = if clean {
        Plan { journal: known.map(|(journal, _)| journal), ..Plan::default() }
    } else {
        journal_scan::plan(&ring, &files, config.shard, known.map(|(journal, _)| journal), known.map_or(0, |(_, last)| last)).await?
    };
    report.clean &= plan.blocks.is_empty();
    for hole in &plan.holes {
        let place = plan.place(hole).and_then(|(file, position)| Some((files.get(&file)?, position)));
        let (file, position) = place.map_or((journal_dir.as_path(), 0), |(path, position)| (path.as_path(), position));
        tracing::error!(
            file = %file.display(), position,
            "{hole} cannot be read although it was on stable storage; partitions that the next block or a gap in their offsets shows to have lost \
             records by it stay closed"
        );
    }
    report.holes.clone_from(&plan.holes);
    let last = plan.last.map(|block| block.sequence).max(known.map(|(_, last)| Sequence(last))).unwrap_or(Sequence(0));
    let mut rng = ring.rng();
    let journal_id = plan.journal.unwrap_or_else(|| JournalId(rng.next_u64()));
    let space = restore_space(&config, &files, &plan);
    let limits = WriterLimits { block_bytes_max: config.journal_block_bytes_max, arena_bytes: config.journal_block_bytes_max };

    let writer = Writer::new(config.shard, journal_id, last.next(), limits);
    let shared = Rc::new(Shared {
        arenas: writer.memory().clone(),
        writer: RefCell::new(writer),
        journal: JournalFiles::new(&journal_dir, config.shard, journal_direct, config.journal_file_bytes, space),
        commit: CommitMarks::new(last, ring.now()),
        work: Event::new(),
        partitions: RefCell::new(BTreeMap::new()),
        dirty: RefCell::new(BTreeSet::new()),
        large: RefCell::new(VecDeque::new()),
        cache: BlockCache::default(),
        unflushed_bytes: Cell::new(0),
        relieved: Event::new(),
        flush_wanted: Event::new(),
        journal_full: Cell::new(false),
        state_dirty: Cell::new(None),
        state_writing: Cell::new(None),
        state_requests: StateRequests::default(),
        state_disowned: Cell::new(found.disowned),
        homeless_from: Cell::new(None),
        failed: RefCell::new(None),
        closing: Cell::new(false),
        commit_done: Cell::new(false),
        flusher_done: Cell::new(false),
        stopped: Event::new(),
        files: FileCache::new(config.open_files_max),
        cold_reads: ColdReads::default(),
        writing: Gauge::default(),
        cold_buffers: BufferPool::new(reader::buffer_sizes(), config.read_ahead_bytes),
        read_ahead: ReadAhead::new(config.read_ahead_bytes),
        counters: Counters::default(),
        compaction: crate::compaction::Compaction::default(),
        unlinks: RefCell::new(BTreeSet::new()),
        deleted: Deleted::new(config.delete_delay),
        retained: RefCell::default(),
        offline: Offline::new(offline),
        later: Later::default(),
        room: Room::new(config.log_dirs.len(), journal_dir.clone(), config.disk_reserve_bytes),
        stranded: Stranded::default(),
        journal_id,
        direct,
        config,
        ring: ring.clone(),
    });
    shared.stranded.find(&ring, &journal_dir, shared.config.shard).await?;
    let in_journal = async || replaying::partitions_of(&ring, &files, &plan).await;
    let Opened { torn, checkpoints } = open_partitions(&shared, &found, clean, in_journal, owned, &mut rng, &mut report).await?;
    crate::compaction::offsets::load(&shared).await;
    let mut replaying = Replaying {
        states: &found.partitions,
        present: Present::default(),
        homeless: Homeless::default(),
        ends: BTreeMap::new(),
        report: &mut report,
    };
    replaying::stranded(&shared, plan.blocks.first().map_or(last, |block| block.sequence), &mut replaying).await?;
    if !is_planted(Mistake::NoReplay) {
        replaying::journal(&shared, &files, &plan, &mut replaying).await?;
    }
    replaying::torn_tails(&shared, torn, &mut replaying).await;
    if !is_planted(Mistake::NoLookBack) {
        replaying::lost_ends(&shared, &plan, &mut replaying);
    }
    replaying::log_starts(&shared, &mut replaying);
    let Replaying { present, homeless, .. } = replaying;
    homeless.save_or_keep(&shared, plan.blocks.first().map_or(last, |block| block.sequence)).await?;
    room::waited_for(&ring, || settle::journal(&ring, &journal_dir, &files, &plan)).await?;
    report.rewritten_bytes = settle::segments(&shared, present).await;
    shared.retain(report.damaged.keys().filter_map(|partition| found.partitions.get(partition)).cloned());
    // From now on the directory is not clean; must be known before the first append.
    if state_file::write_first(&shared, clean).await? {
        // What a compaction replaced was needed to tell old state from new.
        crate::retention::unlink_all(&shared).await;
    }
    for (index, directory) in shared.config.log_dirs.iter().enumerate() {
        if shared.offline.is_online(index) {
            segment_files::remove(&ring, &directory.join(names::CLEAN_SHUTDOWN)).await?;
        }
    }
    ring.spawn(commit::run(shared.clone()));
    ring.spawn(flusher::run(shared.clone()));
    ring.spawn(journal_files::zero_ahead(shared.clone()));
    ring.spawn(room::watch(shared.clone()));
    ring.spawn(later::run(shared.clone(), found.marker, checkpoints, found.own.is_some()));
    ring.spawn(relocate::resume(shared.clone()));
    ring.spawn(crate::delete::run(shared.clone()));
    report.took = ring.now() - started;
    if !report.clean {
        tracing::info!(
            shard = %shared.config.shard,
            partitions = report.recovered,
            checked_mib = report.bytes_checked >> 20,
            journal_blocks = report.journal_blocks,
            journal_batches = report.journal_batches,
            closed = report.damaged.len(),
            took_ms = report.took.as_millis() as u64,
            "recovered after an unclean stop"
        );
    }
    Ok((Store { shared }, report))
}

fn restore_space(config: &StoreConfig, files: &BTreeMap<FileNumber, PathBuf>, plan: &Plan) -> Space {
    let mut used: Vec<UsedFile> = Vec::new();
    for block in &plan.blocks {
        let end = block.position + u64::from(block.block_bytes);
        match used.iter_mut().find(|file| file.file == block.file) {
            Some(file) => {
                file.last = file.last.max(block.sequence);
                file.end = file.end.max(end);
            }
            None => used.push(UsedFile { file: block.file, last: block.sequence, end }),
        }
    }
    used.sort_by_key(|file| file.last);
    let spare = files.keys().copied().filter(|number| used.iter().all(|file| file.file != *number)).collect();
    Space::restore(config.journal_file_bytes, config.journal_files, used, spare)
}
