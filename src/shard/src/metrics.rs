//! What a shard tells of itself: one table of metrics, and the cells that carry their values to whoever asks on another thread.
//!
//! The shard's thread alone writes the cells, with plain stores and only when somebody has asked: nothing here costs a record or an idle shard anything.
//! Names, help texts and where a value comes from stand in one row each.

use crate::memory::{MemorySplit, Part};
use crate::shard::Shard;
use futures_util::task::AtomicWaker;
use odradek_ring::RingStats;
use odradek_store::StoreStats;
use odradek_wire::api;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;

/// Partitions that are looked at before other tasks get their turn.
const PARTITIONS_PER_TURN: usize = 256;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows while the process lives.
    Counter,
    Gauge,
}

/// What the values of one moment are taken from.
pub struct Moment<'a> {
    shard: &'a Shard,
    store: StoreStats,
    ring: RingStats,
    offline_partitions: u64,
}

/// A metric with one value per shard. Counters are named without `_total`, which the text format adds.
pub struct Scalar {
    pub name: &'static str,
    pub help: &'static str,
    pub kind: Kind,
    read: fn(&Moment<'_>) -> u64,
}

const fn gauge(name: &'static str, help: &'static str, read: fn(&Moment<'_>) -> u64) -> Scalar {
    Scalar { name, help, kind: Kind::Gauge, read }
}

const fn counter(name: &'static str, help: &'static str, read: fn(&Moment<'_>) -> u64) -> Scalar {
    Scalar { name, help, kind: Kind::Counter, read }
}

#[rustfmt::skip]
pub const SCALARS: &[Scalar] = &[
    gauge("odradek_shard_ready", "1 when the shard has opened its partitions.", |m| u64::from(m.shard.store_if_open().is_some())),
    gauge("odradek_recovery_steps", "Partitions and journal blocks that the start of the shard has to look at, as far as it knows yet.", |m| m.shard.recovery.steps()),
    gauge("odradek_recovery_steps_done", "Those of odradek_recovery_steps that are done.", |m| m.shard.recovery.done()),
    gauge("odradek_connections", "Open client connections.", |m| m.shard.connections.count() as u64),
    gauge("odradek_fetch_sessions", "Fetch sessions (KIP-227).", |m| m.shard.sessions.borrow().len() as u64),
    counter("odradek_received_bytes", "Bytes received from clients.", |m| m.ring.recv_bytes),
    counter("odradek_produced_batches", "Batches that clients produced.", |m| m.shard.counters.produced().0),
    counter("odradek_produced_bytes", "Bytes of the batches that clients produced, as they arrived.", |m| m.shard.counters.produced().1),
    counter("odradek_fetched_bytes", "Bytes of batches that were read for clients.", |m| m.shard.counters.fetched_bytes()),
    counter("odradek_appended_bytes", "Bytes of batches appended to logs, the coordinators' own among them.", |m| m.store.batch_bytes_appended),
    counter("odradek_journal_blocks", "Journal blocks made durable, each with one flush.", |m| m.store.journal_blocks),
    counter("odradek_journal_bytes", "Bytes written to the journal.", |m| m.store.journal_bytes_written),
    gauge("odradek_journal_used_bytes", "Bytes of the journal that cannot be reused yet.", |m| m.store.journal_used_bytes),
    counter("odradek_segment_writes", "Writes of batches to segments.", |m| m.store.flushes),
    counter("odradek_segment_bytes", "Bytes written to segments.", |m| m.store.segment_bytes_written),
    gauge("odradek_unflushed_bytes", "Bytes of batches that are not in a segment yet.", |m| m.store.unflushed_bytes),
    counter("odradek_cold_reads", "Reads of cold data from segments.", |m| m.store.cold_reads),
    counter("odradek_cold_read_bytes", "Bytes of cold data read from segments.", |m| m.store.cold_read_bytes),
    counter("odradek_index_read_bytes", "Bytes of index files read for lookups.", |m| m.store.index_read_bytes),
    counter("odradek_compactions", "Compactions of logs that were finished.", |m| m.store.compactions),
    gauge("odradek_partitions", "Partitions that the shard has open, offline ones among them.", |m| m.store.partitions as u64),
    gauge("odradek_offline_partitions", "Partitions that are offline or could not be opened.", |m| m.offline_partitions),
    gauge("odradek_damaged_partitions", "Partitions in which reads have found damaged records since the start.", |m| m.store.corrupt_partitions as u64),
    counter("odradek_corrupt_reads", "Reads that found damaged records.", |m| m.store.corrupt_reads),
    gauge("odradek_journal_offline", "1 when the journal failed and the shard takes no writes until a restart.", |m| u64::from(m.store.journal_failed)),
    gauge("odradek_journal_full", "1 while the journal finds no room on its device.", |m| u64::from(m.store.journal_full)),
    gauge("odradek_open_segment_files", "Segment and index files that are kept open.", |m| m.store.open_files as u64),
    gauge("odradek_pinned_bytes", "Of the memory of the tail: what only responses that wait for their clients keep alive.", |m| m.store.pinned_bytes),
    counter("odradek_system_calls", "System calls of the shard's ring.", |m| m.ring.syscalls()),
    counter("odradek_receive_starved", "Times that receiving stopped for want of a receive buffer.", |m| m.ring.recv_starved),
];

/// A metric of each log directory.
pub struct OfDirectory {
    pub name: &'static str,
    pub help: &'static str,
}

pub const OF_DIRECTORY: &[OfDirectory] = &[
    OfDirectory { name: "odradek_log_dir_bytes", help: "Bytes of the shard's logs in a log directory." },
    OfDirectory { name: "odradek_log_dir_offline", help: "1 when a log directory has failed and its partitions of the shard are offline." },
    OfDirectory { name: "odradek_log_dir_full", help: "1 while a log directory has no room and takes no records." },
];

/// The values of one shard, last told.
pub struct Told {
    wanted: AtomicBool,
    waker: AtomicWaker,
    /// Counts how often the shard has told; stored after the values.
    times: AtomicU64,
    scalars: Vec<AtomicU64>,
    memory: Vec<AtomicU64>,
    /// In the order of [`api::SUPPORTED`].
    requests: Vec<AtomicU64>,
    /// By directory, in the order of [`OF_DIRECTORY`].
    directories: Vec<Vec<AtomicU64>>,
}

fn cells(count: usize) -> Vec<AtomicU64> {
    (0..count).map(|_| AtomicU64::new(0)).collect()
}

impl Told {
    fn new(directories: usize) -> Self {
        Self {
            wanted: AtomicBool::new(false),
            waker: AtomicWaker::new(),
            times: AtomicU64::new(0),
            scalars: cells(SCALARS.len()),
            memory: cells(Part::ALL.len()),
            requests: cells(api::SUPPORTED.len()),
            directories: (0..directories).map(|_| cells(OF_DIRECTORY.len())).collect(),
        }
    }

    /// Asks the shard for fresh values; they are there when [`Told::times`] has grown.
    pub fn ask(&self) {
        self.wanted.store(true, Ordering::Release);
        self.waker.wake();
    }

    pub fn times(&self) -> u64 {
        self.times.load(Ordering::Acquire)
    }

    /// In the order of [`SCALARS`].
    pub fn scalar(&self, at: usize) -> u64 {
        read(&self.scalars, at)
    }

    /// Bytes in use.
    pub fn memory(&self, part: Part) -> u64 {
        read(&self.memory, part as usize)
    }

    /// Requests by API, in the order of [`api::SUPPORTED`].
    pub fn requests(&self, at: usize) -> u64 {
        read(&self.requests, at)
    }

    pub fn of_directory(&self, directory: usize, at: usize) -> u64 {
        self.directories.get(directory).map_or(0, |cells| read(cells, at))
    }

    async fn asked(&self) {
        poll_fn(|context| {
            self.waker.register(context.waker());
            if self.wanted.load(Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        // The shard alone takes the wish back; one that comes meanwhile is answered by what follows.
        self.wanted.store(false, Ordering::Release);
    }
}

fn read(cells: &[AtomicU64], at: usize) -> u64 {
    cells.get(at).map_or(0, |cell| cell.load(Ordering::Relaxed))
}

fn write(cells: &[AtomicU64], values: impl IntoIterator<Item = u64>) {
    cells.iter().zip(values).for_each(|(cell, value)| cell.store(value, Ordering::Relaxed));
}

/// What all shards tell. Clones are the same.
#[derive(Clone)]
pub struct Metrics {
    shards: Arc<Vec<Told>>,
}

impl Metrics {
    pub fn new(shards: u16, directories: usize) -> Self {
        Self { shards: Arc::new((0..shards).map(|_| Told::new(directories)).collect()) }
    }

    /// By shard.
    pub fn shards(&self) -> &[Told] {
        &self.shards
    }
}

/// Tells the values of this shard whenever they are asked for.
pub(crate) async fn tell(shard: Rc<Shard>, metrics: Metrics) {
    let Some(told) = metrics.shards().get(usize::from(shard.id.get())) else { return };
    loop {
        told.asked().await;
        let (offline_partitions, directories) = look_at_partitions(&shard, told.directories.len()).await;
        let store = shard.store_if_open().map(|store| store.stats()).unwrap_or_default();
        let moment = Moment { shard: &shard, store, ring: shard.ring.stats(), offline_partitions };
        write(&told.scalars, SCALARS.iter().map(|scalar| (scalar.read)(&moment)));
        write(&told.memory, Part::ALL.map(|part| memory_in_use(&moment, part)));
        write(&told.requests, api::SUPPORTED.iter().map(|range| shard.counters.of_api(range.key)));
        for (cells, values) in told.directories.iter().zip(directories) {
            write(cells, values);
        }
        told.times.store(told.times() + 1, Ordering::Release);
    }
}

/// Bytes that a part of this shard holds. `pending` is what goes beyond the tail's bound.
fn memory_in_use(moment: &Moment<'_>, part: Part) -> u64 {
    let Moment { shard, store, ring, .. } = moment;
    let split: &MemorySplit = &shard.config.memory;
    match part {
        Part::Receive => split.bytes(Part::Receive) / 2 + ring.recv_unread_bytes.min(split.bytes(Part::Receive) / 2),
        Part::Tail => store.tail_bytes.min(split.bytes(Part::Tail)),
        Part::Pending => store.tail_bytes.saturating_sub(split.bytes(Part::Tail)) + store.building_bytes,
        Part::Requests => shard.connections.request_bytes() as u64,
        Part::Answers => shard.connections.queued.bytes() as u64,
        Part::ReadAhead => store.read_ahead_bytes,
        Part::ColdReads => store.cold_reading_bytes,
        Part::Writes => store.writing_bytes,
        Part::Compaction => store.compaction_bytes,
        Part::Sessions => shard.sessions.borrow().bytes() as u64,
    }
}

/// Offline partitions, and the values of [`OF_DIRECTORY`] for each log directory.
async fn look_at_partitions(shard: &Shard, directories: usize) -> (u64, Vec<[u64; OF_DIRECTORY.len()]>) {
    let mut values = vec![[0; OF_DIRECTORY.len()]; directories];
    let Some(store) = shard.store_if_open() else { return (0, values) };
    let mut offline = store.closed_count() as u64;
    for (count, partition) in store.partitions().into_iter().enumerate() {
        if count % PARTITIONS_PER_TURN == PARTITIONS_PER_TURN - 1 {
            shard.ring.yield_now().await;
        }
        offline += u64::from(partition.check().is_err());
        if let Some(values) = values.get_mut(partition.directory()) {
            values[0] += partition.size_bytes();
        }
    }
    for (at, directory) in store.log_dirs().into_iter().enumerate() {
        if let Some(values) = values.get_mut(at) {
            values[1] = u64::from(directory.offline.is_some());
            values[2] = u64::from(directory.full);
        }
    }
    (offline, values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_say_their_unit() {
        let mut names: Vec<&str> = SCALARS.iter().map(|row| row.name).chain(OF_DIRECTORY.iter().map(|row| row.name)).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        for row in SCALARS {
            assert!(row.name.starts_with("odradek_") && !row.name.ends_with("_total") && row.help.ends_with('.'), "{}", row.name);
            let of_bytes = row.help.to_lowercase().contains("bytes ") || row.help.contains("memory");
            assert!(!of_bytes || row.name.ends_with("_bytes"), "{}: {}", row.name, row.help);
        }
    }

    #[test]
    fn values_are_there_once_they_were_told() {
        let metrics = Metrics::new(2, 1);
        let [first, second] = metrics.shards() else { panic!("two shards") };
        first.ask();
        assert!(first.wanted.load(Ordering::Acquire) && !second.wanted.load(Ordering::Acquire));
        write(&first.memory, Part::ALL.iter().map(|part| *part as u64 + 100));
        assert_eq!((first.memory(Part::Sessions), second.memory(Part::Sessions)), (109, 0));
        assert_eq!((first.of_directory(0, 2), first.of_directory(1, 0), first.scalar(9999)), (0, 0, 0));
    }
}
