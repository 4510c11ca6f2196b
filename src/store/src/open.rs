//! Opening a shard's store.
//!
//! After a clean stop the state file has everything: no segment and no journal block is read. Otherwise each owned partition is checked from its
//! recovery point on, then the journal is replayed over it: entries that the segments have are recognised by their offsets, the others
//! become the tail in memory, exactly as if they had just been appended, and their journal blocks stay until they are flushed.

use crate::buffer_pool::BufferPool;
use crate::cold_reads::ColdReads;
use crate::commit;
use crate::config::{DirectIo, PartitionSpec, StoreConfig};
use crate::delete::Deleted;
use crate::error::StoreError;
use crate::fd_cache::FileCache;
use crate::foreign::{Checkpoints, Known};
use crate::journal_files::{self, JournalFiles};
use crate::journal_scan;
use crate::later::{self, Budget, Later};
use crate::offline::Offline;
use crate::progress::Progress;
use crate::read_ahead::ReadAhead;
use crate::reader;
use crate::recovery::{self, Repairs};
use crate::replaying::{self, Replaying};
use crate::room::{self, Room};
use crate::segment_files;
use crate::settle::{self, Present};
use crate::shared::{BlockCache, CommitMarks, PartitionShared, Shared};
use crate::state_file::StateRequests;
use crate::stats::Counters;
use crate::store::Store;
use crate::strand::{Homeless, Stranded};
use crate::torn::Torn;
use crate::{flusher, relocate, state_file};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use odradek_base::{Gauge, Offset, Rng, TopicPartition};
use odradek_log::checkpoint;
use odradek_log::epochs::LeaderEpochs;
use odradek_log::journal::format::{JournalId, Sequence};
use odradek_log::journal::replay::{Hole, Plan};
use odradek_log::journal::space::{FileNumber, Space, UsedFile};
use odradek_log::journal::writer::{Writer, WriterLimits};
use odradek_log::marks::Marks;
use odradek_log::partition::PartitionLog;
use odradek_log::producer_state::ProducerState;
use odradek_log::segment::names;
use odradek_log::state::{self, PartitionState, ShardState};
use odradek_ring::sim::planted::{Mistake, is_planted};
use odradek_ring::sync::Event;
use odradek_ring::{OpenOptions, Ring};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

/// Partitions that are recovered at the same time.
const RECOVERED_AT_ONCE: usize = 16;

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

struct Found {
    /// State of the owned partitions, by id.
    partitions: BTreeMap<TopicPartition, PartitionState>,
    own: Option<ShardState>,
    /// A broker (Kafka, or this one) stopped cleanly on the directory.
    marker: Vec<bool>,
    /// The own state is one that an earlier start on a full disk left.
    disowned: bool,
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
        tracing::error!(first = %hole.first, last = %hole.last, "journal blocks are missing although later ones are there");
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
        cold_buffers: BufferPool::new(reader::BUFFER_BYTES, config.read_ahead_bytes),
        read_ahead: ReadAhead::new(config.read_ahead_bytes),
        counters: Counters::default(),
        compaction: crate::compaction::Compaction::default(),
        unlinks: RefCell::new(BTreeSet::new()),
        deleted: Deleted::new(config.delete_delay),
        retained: RefCell::new(Vec::new()),
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
    let mut replaying =
        Replaying { states: &found.partitions, present: Present::default(), homeless: Homeless::default(), report: &mut report };
    replaying::stranded(&shared, plan.blocks.first().map_or(last, |block| block.sequence), &mut replaying).await?;
    if !is_planted(Mistake::NoReplay) {
        replaying::journal(&shared, &files, &plan, &mut replaying).await?;
    }
    replaying::torn_tails(&shared, torn, &mut replaying).await;
    replaying::log_starts(&shared, &mut replaying);
    let Replaying { present, homeless, .. } = replaying;
    homeless.save_or_keep(&shared, plan.blocks.first().map_or(last, |block| block.sequence)).await?;
    room::waited_for(&ring, || settle::journal(&ring, &journal_dir, &files, &plan)).await?;
    report.rewritten_bytes = settle::segments(&shared, present).await;
    let retained = report.damaged.keys().filter_map(|partition| found.partitions.get(partition)).cloned().collect();
    *shared.retained.borrow_mut() = retained;
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

/// What is known of the directories before anything is read.
struct Directories {
    /// Per log directory: direct I/O works there.
    direct: Vec<bool>,
    journal_direct: bool,
    /// Per log directory: why it cannot be used.
    offline: Vec<Option<Rc<str>>>,
}

/// Makes the directories and finds out which can be used, and where direct I/O works. The journal's directory and the first log directory, which
/// has the state file, must be there; of the others each may be offline.
async fn directories(ring: &Ring, config: &StoreConfig, report: &mut RecoveryReport) -> Result<Directories, StoreError> {
    let journal_dir = config.journal_dir();
    let mut known = Directories { direct: Vec::new(), journal_direct: false, offline: Vec::new() };
    for (index, directory) in config.log_dirs.iter().enumerate() {
        let probed = match probe(ring, directory, config, report).await {
            Err(error) if index > 0 && *directory != journal_dir && matches!(error, StoreError::Io { .. }) && !error.is_full() => {
                let reason = format!("log directory {} is offline: {error}", directory.display());
                tracing::error!("{reason}; its partitions are not served until a restart that can open it");
                report.offline_directories.push((directory.clone(), error.to_string()));
                Err(reason)
            }
            probed => Ok(probed?),
        };
        known.direct.push(probed.as_ref().copied().unwrap_or(false));
        known.offline.push(probed.err().map(Rc::from));
    }
    known.journal_direct = probe(ring, &journal_dir, config, report).await?;
    Ok(known)
}

async fn probe(ring: &Ring, directory: &Path, config: &StoreConfig, report: &mut RecoveryReport) -> Result<bool, StoreError> {
    ring.create_dir_all(directory).await.map_err(|error| StoreError::io("create", directory, error))?;
    match config.direct_io {
        DirectIo::Off => {
            ring.read_dir(directory).await.map_err(|error| StoreError::io("list", directory, error))?;
            Ok(false)
        }
        _ => probe_direct(ring, directory, config, report).await,
    }
}

async fn probe_direct(ring: &Ring, directory: &Path, config: &StoreConfig, report: &mut RecoveryReport) -> Result<bool, StoreError> {
    let path = directory.join(format!("odradek-shard-{}.probe", config.shard));
    let options = OpenOptions { read: true, write: true, create: true, truncate: true, direct: true, ..OpenOptions::default() };
    let result = match ring.open(&path, options).await {
        Ok(file) => {
            let block = odradek_base::AlignedBuf::zeroed(odradek_base::BLOCK_ALIGNMENT).freeze();
            file.write_at(vec![block], 0, odradek_ring::Sync::No).await
        }
        Err(error) => Err(error),
    };
    segment_files::remove(ring, &path).await?;
    match result {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::InvalidInput || error.raw_os_error() == Some(libc_eopnotsupp()) => {
            if config.direct_io == DirectIo::Required {
                return Err(StoreError::NoDirectIo { path: directory.to_owned(), error: std::sync::Arc::new(error) });
            }
            if !report.buffered.iter().any(|(known, _)| known == directory) {
                tracing::warn!(directory = %directory.display(), "no direct I/O ({error}): writes go through the page cache");
                report.buffered.push((directory.to_owned(), error.to_string()));
            }
            Ok(false)
        }
        // It could be opened for direct I/O; that there is no room says nothing about that.
        Err(error) if matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded) => Ok(true),
        Err(error) => Err(StoreError::io("write", &path, error)),
    }
}

/// `EOPNOTSUPP` on Linux.
const fn libc_eopnotsupp() -> i32 {
    95
}

/// Reads the state files: this shard's own, and those of other shards for partitions that used to be theirs.
async fn find_state(ring: &Ring, config: &StoreConfig) -> Result<Found, StoreError> {
    let mut found = Found { partitions: BTreeMap::new(), own: None, marker: Vec::new(), disowned: false };
    for directory in &config.log_dirs {
        found.marker.push(ring.exists(&directory.join(names::CLEAN_SHUTDOWN)).await.unwrap_or(false));
    }
    let Some(directory) = config.log_dirs.first() else { return Ok(found) };
    let entries = ring.read_dir(directory).await.map_err(|error| StoreError::io("list", directory, error))?;
    let mut own_name = state_file::file_name(config.shard);
    let disowned = state_file::disowned_name(config.shard);
    let there = |name: &str| entries.iter().any(|entry| entry.name == name);
    found.disowned = there(&disowned);
    if found.disowned && !there(&own_name) {
        own_name = disowned;
    }
    for entry in entries.iter().filter(|entry| state_file::is_state_file(&entry.name) || entry.name == own_name) {
        let path = directory.join(&entry.name);
        let bytes = ring.read_to_vec(&path).await.map_err(|error| StoreError::io("read", &path, error))?;
        let Some(mut state) = state::decode(&bytes) else {
            tracing::error!(file = %path.display(), "state file is damaged and not used: all segments are checked");
            continue;
        };
        if entry.name == own_name {
            // A start has gone on from a disowned one.
            state.clean &= state_file::is_state_file(&entry.name);
            for partition in &state.partitions {
                found.partitions.insert(partition.partition, partition.clone());
            }
            found.own = Some(state);
        } else if state.clean {
            for partition in state.partitions {
                found.partitions.entry(partition.partition).or_insert(partition);
            }
        }
    }
    Ok(found)
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

/// What opening the partitions leaves to be done.
struct Opened {
    /// Ends of segments that only the journal can tell about.
    torn: Vec<(TopicPartition, Torn)>,
    /// Per log directory.
    checkpoints: Rc<Vec<Checkpoints>>,
}

/// `in_journal` reads which partitions have entries in the journal.
async fn open_partitions(
    shared: &Rc<Shared>,
    found: &Found,
    clean: bool,
    in_journal: impl AsyncFn() -> Result<BTreeSet<TopicPartition>, StoreError>,
    owned: Vec<PartitionSpec>,
    rng: &mut Rng,
    report: &mut RecoveryReport,
) -> Result<Opened, StoreError> {
    let (mut missing, mut torn) = (Vec::new(), Vec::new());
    let mut budget = Budget(shared.config.opening_bytes_max);
    let stranded: BTreeSet<TopicPartition> = shared.stranded.files().into_iter().map(|(tp, _)| tp).collect();
    let mut journaled_partitions = None;
    let mut opening = FuturesUnordered::new();
    let mut checkpoints = Vec::new();
    if owned.iter().any(|spec| !found.partitions.contains_key(&spec.tp)) {
        for directory in &shared.config.log_dirs {
            // Where it cannot be read its partitions are checked from their beginning, or fare as their directory does.
            let read = Checkpoints::read(&shared.ring, directory).await;
            checkpoints.push(read.unwrap_or_else(|error| {
                tracing::warn!("{error}");
                Checkpoints::default()
            }));
        }
    }
    let checkpoints = Rc::new(checkpoints);
    let mut results = Vec::new();
    // A directory that this shard has not had before has nothing in its journal.
    let journaled = found.own.is_some();
    let mut progress = Progress::new(shared.config.shard, "partitions", owned.len(), shared.ring.now(), &shared.config.recovery);
    let own: BTreeSet<TopicPartition> = found.own.iter().flat_map(|own| &own.partitions).map(|state| state.partition).collect();
    for spec in owned {
        let state = found.partitions.get(&spec.tp);
        let jitter = rng.fork();
        let own_state = own.contains(&spec.tp);
        if state.is_none() && !stranded.contains(&spec.tp) && budget.is_spent_by(shared, &spec, &checkpoints).await {
            if journaled_partitions.is_none() {
                journaled_partitions = Some(in_journal().await?);
            }
            if journaled_partitions.as_ref().is_some_and(|known| !known.contains(&spec.tp)) {
                report.put_off += 1;
                later::put_off(shared, spec);
                continue;
            }
        }
        let offline_state = state.filter(|state| !shared.offline.is_online(usize::from(state.directory)));
        match state {
            _ if offline_state.is_some() => {
                let reason = offline_state.and_then(|state| shared.offline.reason(usize::from(state.directory))).unwrap_or_default();
                keep_closed(shared, &spec, StoreError::PartitionOffline { partition: spec.tp, reason: reason.to_string() }, report);
            }
            Some(state) if clean || !own_state => {
                let mut log = restore(&spec, state, jitter);
                let indexes: BTreeSet<Offset> =
                    state.segments.iter().filter(|segment| segment.aborted_entries > 0).map(|segment| segment.base_offset).collect();
                if !indexes.is_empty() {
                    let log_dir = shared.config.log_dirs.get(usize::from(state.directory)).cloned().unwrap_or_default();
                    let path = log_dir.join(names::partition_directory(&spec.topic_name, spec.tp.partition));
                    if let Err(error) = recovery::restore_aborted(&shared.ring, &path, &mut log, &indexes).await {
                        keep_closed(shared, &spec, error, report);
                        continue;
                    }
                }
                insert(shared, &spec, usize::from(state.directory), log);
            }
            _ => {
                let shared = shared.clone();
                let markers = found.marker.clone();
                let state = state.cloned();
                let checkpoints = checkpoints.clone();
                opening.push(async move {
                    let result =
                        locate_and_recover(&shared, &spec, state.as_ref(), own_state, &markers, &checkpoints, journaled, jitter).await;
                    (spec, result)
                });
                if opening.len() >= RECOVERED_AT_ONCE {
                    results.extend(opening.next().await);
                }
            }
        }
        for (spec, result) in results.drain(..) {
            take_recovered(shared, spec, result, &mut missing, &mut torn, &mut progress, report);
        }
    }
    while let Some((spec, result)) = opening.next().await {
        take_recovered(shared, spec, result, &mut missing, &mut torn, &mut progress, report);
    }
    missing.sort_by_key(|spec| spec.tp);
    report.created = missing.len();
    if !missing.is_empty() {
        match crate::create::create_all(shared, &missing).await {
            // They are made when there is room.
            Err(error) if error.is_full() => {}
            other => other?,
        }
    }
    Ok(Opened { torn, checkpoints })
}

type Recovered = Result<Option<(usize, PartitionLog, Repairs)>, StoreError>;

fn take_recovered(
    shared: &Rc<Shared>,
    spec: PartitionSpec,
    result: Recovered,
    missing: &mut Vec<PartitionSpec>,
    torn: &mut Vec<(TopicPartition, Torn)>,
    progress: &mut Progress,
    report: &mut RecoveryReport,
) {
    let bytes = result.as_ref().ok().and_then(Option::as_ref).map_or(0, |(_, _, repairs)| repairs.bytes_checked);
    progress.step(bytes, shared.ring.now());
    match result {
        Ok(Some((directory, log, repairs))) => {
            report.recovered += 1;
            report.batches_checked += repairs.batches_checked;
            report.bytes_checked += repairs.bytes_checked;
            report.truncated.extend(repairs.truncated);
            report.gaps.extend(repairs.gaps.into_iter().map(|(from, to)| (spec.tp, from, to)));
            torn.extend(repairs.torn.map(|torn| (spec.tp, torn)));
            shared.unlinks.borrow_mut().extend(repairs.replaced);
            insert(shared, &spec, directory, log);
        }
        // It may lie in a directory that is offline (`LogManager.getOrCreateLog`).
        Ok(None) if shared.offline.any() => {
            let reason = "it is in no log directory that is online, and others are offline".to_owned();
            keep_closed(shared, &spec, StoreError::PartitionOffline { partition: spec.tp, reason }, report);
        }
        Ok(None) => missing.push(spec),
        Err(error) => keep_closed(shared, &spec, error, report),
    }
}

fn keep_closed(shared: &Shared, spec: &PartitionSpec, error: StoreError, report: &mut RecoveryReport) {
    tracing::error!(partition = %spec.tp, topic = spec.topic_name, "partition stays closed: {error}");
    report.damaged.insert(spec.tp, error.to_string());
    shared.offline.close(spec.tp, error);
}

/// Finds the directory of a partition and recovers it; `None` when there is none.
#[allow(clippy::too_many_arguments)]
pub(crate) async fn locate_and_recover(
    shared: &Rc<Shared>,
    spec: &PartitionSpec,
    state: Option<&PartitionState>,
    own_state: bool,
    markers: &[bool],
    checkpoints: &[Checkpoints],
    journaled: bool,
    jitter: Rng,
) -> Recovered {
    let name = names::partition_directory(&spec.topic_name, spec.tp.partition);
    if own_state
        && shared.config.log_dirs.len() == 1
        && let Some(state) = state
    {
        // This shard had the partition open, so the directory of that name is this topic's: a deletion would have taken it out of the metadata.
        let directory = usize::from(state.directory);
        if let Some(log_dir) = shared.config.log_dirs.get(directory).filter(|_| shared.offline.is_online(directory)) {
            match recovery::recover(
                &shared.ring,
                &log_dir.join(&name),
                spec.tp,
                spec.config,
                Some(state),
                false,
                true,
                Known::NOTHING,
                jitter.clone(),
            )
            .await
            {
                Ok((log, repairs)) => return Ok(Some((directory, log, repairs))),
                // Moved, or gone: looked for everywhere.
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
    }
    let mut there = Vec::new();
    for (directory, log_dir) in shared.config.log_dirs.iter().enumerate().filter(|(index, _)| shared.offline.is_online(*index)) {
        let path = log_dir.join(&name);
        match shared.ring.metadata(&path).await {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(StoreError::io("inspect", &path, error)),
        }
        match topic_id(&shared.ring, &path).await? {
            Some(other) if other != spec.tp.topic && !other.is_none() => {
                // A topic of that name was deleted, and this one created, before the directory went.
                crate::delete::set_aside(shared, &path, &spec.topic_name, spec.tp.partition).await?;
                continue;
            }
            Some(_) => {}
            None => {
                // Made just before a crash.
                let metadata = checkpoint::encode_partition_metadata(spec.tp.topic);
                if let Err(error) =
                    segment_files::write_plain(&shared.ring, &path.join(names::PARTITION_METADATA), metadata.as_bytes()).await
                {
                    tracing::warn!("{error}");
                }
            }
        }
        there.push((directory, path));
    }
    // Several: a move to another log directory was under way. The state says which one counts; without a state, the one with more in it.
    let stated = state.and_then(|state| there.iter().position(|(directory, _)| *directory == usize::from(state.directory)));
    let chosen = match stated {
        Some(at) => Some(at),
        None if there.len() > 1 => {
            let mut ends = Vec::new();
            for (_, path) in &there {
                ends.push(recovery::end_of(&shared.ring, path).await?);
            }
            (0..there.len()).max_by_key(|at| ends.get(*at))
        }
        None => (!there.is_empty()).then_some(0),
    };
    if let Some(chosen) = chosen {
        let (directory, path) = there.swap_remove(chosen);
        let clean = markers.get(directory).copied().unwrap_or(false);
        let known = checkpoints.get(directory).map_or(Known::NOTHING, |checkpoints| checkpoints.of(&spec.topic_name, spec.tp.partition));
        let (log, repairs) = recovery::recover(&shared.ring, &path, spec.tp, spec.config, state, clean, journaled, known, jitter).await?;
        for (_, copy) in there {
            tracing::warn!(used = %path.display(), removed = %copy.display(), "a partition lies in two log directories, as after a move that was interrupted");
            crate::delete::set_aside(shared, &copy, &spec.topic_name, spec.tp.partition).await?;
        }
        return Ok(Some((directory, log, repairs)));
    }
    match state {
        Some(state) if state.flushed > state.log_start => {
            Err(StoreError::Damaged { path: PathBuf::from(name), reason: "the directory is gone".to_owned() })
        }
        _ => Ok(None),
    }
}

pub(crate) async fn topic_id(ring: &Ring, path: &Path) -> Result<Option<odradek_base::TopicId>, StoreError> {
    let path = path.join(names::PARTITION_METADATA);
    match ring.read_to_vec(&path).await {
        Ok(bytes) => Ok(std::str::from_utf8(&bytes).ok().and_then(checkpoint::decode_partition_metadata)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StoreError::io("read", &path, error)),
    }
}

fn restore(spec: &PartitionSpec, state: &PartitionState, jitter: Rng) -> PartitionLog {
    let mut producers = ProducerState::default();
    producers.load(state.producers.iter().map(|row| (row.producer, row.entry.clone())).collect());
    let mut segments: Vec<_> = state.segments.iter().map(state::SegmentState::restore).collect();
    if segments.is_empty() {
        segments.push(odradek_log::segment::meta::Segment::new(state.flushed, odradek_base::Timestamp(0)));
    }
    let epochs = LeaderEpochs::restore(state.epochs.clone());
    PartitionLog::restore(spec.tp, spec.config, Marks::settled(state.log_start, state.flushed), segments, producers, epochs, jitter)
}

pub(crate) fn insert(shared: &Shared, spec: &PartitionSpec, directory: usize, log: PartitionLog) -> Rc<PartitionShared> {
    let directory = directory.min(shared.config.log_dirs.len().saturating_sub(1));
    let log_dir = shared.config.log_dirs.get(directory).cloned().unwrap_or_default();
    let partition = PartitionShared::new(spec.tp, &spec.topic_name, directory, &log_dir, log);
    shared.partitions.borrow_mut().insert(spec.tp, partition.clone());
    partition
}
