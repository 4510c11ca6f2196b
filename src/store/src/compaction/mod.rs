//! Compacting the logs of this shard, one at a time, through the ring: what `odradek_log::compaction` decides, carried out.
//!
//! A log is read in chunks ([`files`]), what stays is written to `.cleaned` files beside it, and these take the old segments' place
//! ([`swap`]). Between chunks other tasks get their turn, and `log.cleaner.io.max.bytes.per.second` bounds how fast it goes. Where each log's
//! last compaction ended is kept in [`offsets`].
//!
//! Failure behaviour: a full device ends a compaction, which is tried again later; a damaged batch or any other failure before the swap leaves the
//! log as it is and this log is not compacted again before a restart; a failure within the swap takes the partition offline.

pub(crate) mod files;
pub(crate) mod offsets;
pub(crate) mod swap;

use crate::error::StoreError;
use crate::shared::{PartitionHealth, PartitionShared, Shared};
use files::{CleanedFile, SegmentBatches};
use odradek_base::{Gauge, Held, Instant, Offset, Timestamp};
use odradek_log::compaction::{BatchClean, BatchIndex, Cleanable, Cleaned, CleanedTransactions, Filter, Group, Indexed, OffsetMap, groups};
use odradek_log::segment::meta::{BatchSummary, Segment};
use odradek_log::segment::names;
use odradek_log::segment::transaction_index::{self, AbortedTransaction};
use odradek_wire::batch::BatchView;
use odradek_wire::records::RecordsError;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

/// Bytes of records that are worked through before other tasks get their turn.
const STEP_BYTES: usize = 64 << 10;
/// How often a compaction looks whether the flusher has let go of a partition, and how many times at most.
const FLUSH_PAUSE: Duration = Duration::from_millis(5);
const FLUSH_LOOKS_MAX: usize = 200;
/// How often a throttled compaction looks whether the store closes.
const THROTTLE_LOOK: Duration = Duration::from_millis(100);
/// Largest segment that Kafka's position fields can hold.
const SEGMENT_BYTES_MAX: u64 = i32::MAX as u64;

/// `log.cleaner.*`, as far as one shard's store obeys them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CompactionConfig {
    /// This shard's share of `log.cleaner.dedupe.buffer.size`, in bytes. The table is made for a compaction and given back after it.
    pub dedupe_bytes: usize,
    /// `log.cleaner.io.buffer.load.factor`: how full the table gets.
    pub load_factor: f64,
    /// `log.cleaner.io.buffer.size`: bytes read or written at once.
    pub io_buffer_bytes: usize,
    /// This shard's share of `log.cleaner.io.max.bytes.per.second`, reads and writes together.
    pub io_bytes_per_second: f64,
}

impl Default for CompactionConfig {
    fn default() -> Self {
        Self { dedupe_bytes: 128 << 20, load_factor: 0.9, io_buffer_bytes: 512 << 10, io_bytes_per_second: f64::MAX }
    }
}

/// What one compaction did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Compacted {
    /// Everything below is compacted.
    pub end: Offset,
    pub segments_before: usize,
    pub segments_after: usize,
    pub bytes_before: u64,
    pub bytes_after: u64,
}

/// What the compactions of a shard share.
#[derive(Default)]
pub(crate) struct Compaction {
    /// Counts the states that were collected, and the last of them that was written: replaced files stay until the state file knows of it.
    pub state_collected: Cell<u64>,
    pub state_written: Cell<u64>,
    /// Replaced files that wait to be unlinked, and the state that must have been written before.
    pub replaced: RefCell<BTreeMap<PathBuf, u64>>,
    /// Compactions under way.
    pub running: Cell<usize>,
    /// Memory of the table of keys.
    pub table: Gauge,
    /// The file of offsets as it was last written.
    pub offsets: RefCell<Option<String>>,
    /// When the next byte may be read or written.
    allowed: Cell<Option<Instant>>,
}

/// Compacts the log of this shard that needs it most. `None` when none does.
pub(crate) async fn run_filthiest(shared: &Rc<Shared>) -> Result<Option<Compacted>, StoreError> {
    let now = shared.ring.wall_clock();
    let mut best: Option<(Cleanable, Rc<PartitionShared>)> = None;
    for partition in shared.partitions.borrow().values() {
        let Some(found) = due(partition, now) else { continue };
        if best.as_ref().is_none_or(|(best, _)| found.dirty_ratio() > best.dirty_ratio()) {
            best = Some((found, partition.clone()));
        }
    }
    let Some((_, partition)) = best else {
        offsets::write(shared).await;
        return Ok(None);
    };
    let compacted = run(shared, &partition, now).await;
    offsets::write(shared).await;
    compacted
}

fn due(partition: &PartitionShared, now: Timestamp) -> Option<Cleanable> {
    if *partition.health.borrow() != PartitionHealth::Online || partition.compaction.barred.get() {
        return None;
    }
    if partition.moving.borrow().is_some() {
        return None;
    }
    let log = partition.log.borrow();
    log.cleanable(partition.compaction.clean_end.get(), now).filter(|found| found.is_due(log.config()))
}

/// Compacts `partition` if it is due.
pub(crate) async fn run(shared: &Rc<Shared>, partition: &Rc<PartitionShared>, now: Timestamp) -> Result<Option<Compacted>, StoreError> {
    shared.check()?;
    partition.check()?;
    if partition.compaction.running.replace(true) {
        return Ok(None);
    }
    let counted = &shared.compaction.running;
    counted.set(counted.get() + 1);
    let result = compact(shared, partition, now).await;
    counted.set(counted.get() - 1);
    partition.compaction.running.set(false);
    shared.stopped.notify_all();
    match result {
        Ok(compacted) => {
            if compacted.is_some() {
                shared.counters.compaction();
            }
            Ok(compacted)
        }
        Err(_) if partition.is_deleted() || shared.closing.get() => Ok(None),
        Err(error) => {
            if !error.is_full() {
                partition.compaction.barred.set(true);
                tracing::error!(partition = %partition.tp, topic = %partition.topic_name, "not compacted again before a restart: {error}");
            }
            Err(error)
        }
    }
}

async fn compact(shared: &Rc<Shared>, partition: &Rc<PartitionShared>, now: Timestamp) -> Result<Option<Compacted>, StoreError> {
    for _ in 0..FLUSH_LOOKS_MAX {
        // The flusher may be about to complete a segment with its indexes.
        if !partition.flushing.get() {
            break;
        }
        shared.ring.sleep(FLUSH_PAUSE).await;
    }
    if partition.flushing.get() {
        return Ok(None);
    }
    let Some(found) = due(partition, now) else { return Ok(None) };
    let oldest = partition.log.borrow().segments().first().map_or(Offset::ZERO, |first| first.base_offset);
    match rewrite(shared, partition, &found, now).await {
        // Retention took segments away under the compaction.
        Err(_) if partition.moving.borrow().is_some() => Ok(None),
        Err(_) if partition.log.borrow().segments().first().is_none_or(|first| first.base_offset > oldest) => Ok(None),
        other => other,
    }
}

async fn rewrite(
    shared: &Rc<Shared>,
    partition: &Rc<PartitionShared>,
    found: &Cleanable,
    now: Timestamp,
) -> Result<Option<Compacted>, StoreError> {
    let (started, directory) = (shared.ring.now(), partition.path.directory());
    let aborted = aborted_transactions(shared, partition).await?;
    let (map, _table) = build_map(shared, partition, found, aborted.clone()).await?;
    let end = map.latest().next().min(found.first_uncleanable);
    let keys = map.len();
    let (groups, mut filter) = {
        let log = partition.log.borrow();
        let filter = Filter::new(map, CleanedTransactions::new(aborted), log.producers(), now, log.config().delete_retention_ms);
        (groups(log.segments(), end, log.config()), filter)
    };
    let mut compacted = Compacted { end, ..Compacted::default() };
    for group in groups {
        let (segment, transactions) = match write_group(shared, partition, &group, &mut filter).await {
            Ok(written) => written,
            Err(error) => {
                swap::discard(shared, partition, &group).await;
                return Err(error);
            }
        };
        let bytes_after = segment.bytes;
        match swap::swap(shared, partition, directory, &group, segment, transactions).await? {
            Some(bytes_before) => {
                compacted.segments_before += group.bases.len();
                compacted.segments_after += 1;
                compacted.bytes_before += bytes_before;
                compacted.bytes_after += bytes_after;
            }
            // Retention took a part of the group: nothing is lost, the rest has its turn the next time.
            None => return Ok(None),
        }
    }
    partition.compaction.clean_end.set(Some(end));
    tracing::info!(
        partition = %partition.tp, topic = %partition.topic_name, from = %found.first_dirty, %end, keys,
        segments = compacted.segments_before, became = compacted.segments_after,
        bytes = compacted.bytes_before, left = compacted.bytes_after, took = ?(shared.ring.now() - started), "log compacted"
    );
    Ok(Some(compacted))
}

/// All aborted transactions that are known of a log: those in memory and those in index files.
async fn aborted_transactions(shared: &Shared, partition: &PartitionShared) -> Result<Vec<AbortedTransaction>, StoreError> {
    let (mut aborted, bases) = {
        let log = partition.log.borrow();
        let with_index = log.segments().iter().filter(|segment| segment.aborted.file_only() > 0 || !segment.aborted.is_empty());
        (log.aborted_transactions(Offset(i64::MIN), Offset(i64::MAX)), with_index.map(|segment| segment.base_offset).collect::<Vec<_>>())
    };
    for base in bases {
        let path = partition.path.join(names::segment_file(base, names::TRANSACTION_INDEX));
        match shared.ring.read_to_vec(&path).await {
            Ok(bytes) => aborted.extend(transaction_index::decode(&bytes)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(StoreError::io("read", &path, error)),
        }
    }
    Ok(aborted)
}

async fn build_map(
    shared: &Rc<Shared>,
    partition: &Rc<PartitionShared>,
    found: &Cleanable,
    aborted: Vec<AbortedTransaction>,
) -> Result<(OffsetMap, Held), StoreError> {
    let config = shared.config.compaction;
    let mut rng = shared.ring.rng();
    let keys_expected = (found.first_uncleanable.get() - found.first_dirty.get()).max(0) as u64;
    let mut map = OffsetMap::new(config.dedupe_bytes, config.load_factor, keys_expected, [rng.next_u64(), rng.next_u64()]);
    let table = shared.compaction.table.hold(map.bytes());
    let mut transactions = CleanedTransactions::new(aborted);
    let segments: Vec<(Offset, Offset)> = {
        let log = partition.log.borrow();
        let pairs = log.segments().windows(2).filter_map(|pair| Some((pair.first()?.base_offset, pair.get(1)?.base_offset)));
        pairs.filter(|(base, next)| *next > found.first_dirty && *base < found.first_uncleanable).collect()
    };
    for (base, next_base) in segments {
        let mut batches = SegmentBatches::open(shared, partition, base).await?;
        while let Some(batch) = batches.next().await? {
            let mut index = BatchIndex::start(&batch, &mut transactions).map_err(|error| batches.damaged(&error))?;
            loop {
                match index.step(STEP_BYTES, found.first_dirty, &mut map).map_err(|error| batches.damaged(&error))? {
                    Indexed::Whole => break,
                    Indexed::Partly => take_turns(shared, partition).await?,
                    Indexed::Full => return Ok((map, table)),
                }
            }
        }
        // What was removed at the segment's end is done with.
        map.advance(Offset(next_base.get() - 1));
    }
    Ok((map, table))
}

/// Writes what stays of a group's segments to `.cleaned` files, flushed. The caller discards them on an error.
async fn write_group(
    shared: &Rc<Shared>,
    partition: &Rc<PartitionShared>,
    group: &Group,
    filter: &mut Filter,
) -> Result<(Segment, Vec<AbortedTransaction>), StoreError> {
    let base = group.bases.first().copied().unwrap_or_default();
    let (config, created) = {
        let log = partition.log.borrow();
        let created =
            log.segments().iter().filter(|segment| group.bases.contains(&segment.base_offset)).map(|segment| segment.created).max();
        (*log.config(), created.unwrap_or(Timestamp(0)))
    };
    let mut segment = Segment::new(base, created);
    let mut file = CleanedFile::create(shared, partition, base).await?;
    for old in &group.bases {
        let mut batches = SegmentBatches::open(shared, partition, *old).await?;
        while let Some(batch) = batches.next().await? {
            let Cleaned::Kept(kept) = clean_batch(shared, partition, &batch, filter).await?.map_err(|error| batches.damaged(&error))?
            else {
                continue;
            };
            let Ok(view) = BatchView::parse(&kept) else { continue };
            segment.append(&BatchSummary::of(&view), &config);
            if segment.bytes > SEGMENT_BYTES_MAX {
                return Err(batches.damaged(&"its batches grow beyond a segment's size when they are compressed again"));
            }
            file.push(&kept).await?;
        }
    }
    segment.index_time();
    segment.flushed_bytes = segment.bytes;
    let transactions = filter.transactions.take_retained();
    transactions.iter().for_each(|transaction| segment.aborted.push(*transaction));
    file.finish().await?;
    swap::write_indexes(shared, partition, &mut segment).await?;
    Ok((segment, transactions))
}

async fn clean_batch(
    shared: &Rc<Shared>,
    partition: &PartitionShared,
    batch: &bytes::Bytes,
    filter: &mut Filter,
) -> Result<Result<Cleaned, RecordsError>, StoreError> {
    let mut clean = match BatchClean::start(batch, filter) {
        Ok(clean) => clean,
        Err(error) => return Ok(Err(error)),
    };
    let mut spent = 0;
    loop {
        match clean.step(STEP_BYTES, filter) {
            Ok(Some(cleaned)) => return Ok(Ok(cleaned)),
            Ok(None) => {
                spent += STEP_BYTES;
                if spent > batch.len() + STEP_BYTES {
                    take_turns(shared, partition).await?;
                }
            }
            Err(error) => return Ok(Err(error)),
        }
    }
}

/// Lets other tasks run. An error when the compaction should end.
pub(crate) async fn take_turns(shared: &Shared, partition: &PartitionShared) -> Result<(), StoreError> {
    shared.ring.yield_now().await;
    shared.check()?;
    partition.check()
}

/// Waits until `bytes` may be read or written (`log.cleaner.io.max.bytes.per.second`), then lets other tasks run.
pub(crate) async fn throttle(shared: &Shared, partition: &PartitionShared, bytes: usize) -> Result<(), StoreError> {
    let rate = shared.config.compaction.io_bytes_per_second;
    let (now, allowed) = (shared.ring.now(), &shared.compaction.allowed);
    let from = allowed.get().filter(|allowed| *allowed > now).unwrap_or(now);
    // Without a bound this is nothing; with a tiny one a wait still ends.
    let pause = Duration::try_from_secs_f64(bytes as f64 / rate.max(1.0)).unwrap_or(Duration::MAX).min(Duration::from_secs(3600));
    allowed.set(Some(from + pause));
    while shared.ring.now() < from {
        // A clean stop does not wait for the rest.
        take_turns(shared, partition).await?;
        shared.ring.sleep_until(from.min(shared.ring.now() + THROTTLE_LOOK)).await;
    }
    take_turns(shared, partition).await
}
