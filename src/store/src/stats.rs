//! What the store counted.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

#[derive(Default)]
pub(crate) struct Counters {
    journal_blocks: Cell<u64>,
    journal_bytes: Cell<u64>,
    segment_bytes: Cell<u64>,
    batch_bytes: Cell<u64>,
    flushes: Cell<u64>,
    cold_reads: Cell<u64>,
    cold_read_bytes: Cell<u64>,
    index_read_bytes: Cell<u64>,
    corrupt_reads: Cell<u64>,
    compactions: Cell<u64>,
    /// Damaged places that the log has already.
    corrupt_places: RefCell<BTreeSet<(PathBuf, u64)>>,
}

/// Damaged places that are remembered.
const CORRUPT_PLACES_MAX: usize = 1024;

fn add(cell: &Cell<u64>, more: u64) {
    cell.set(cell.get() + more);
}

impl Counters {
    pub fn journal_block(&self, bytes: u64) {
        add(&self.journal_blocks, 1);
        add(&self.journal_bytes, bytes);
    }

    pub fn segment_write(&self, bytes: u64) {
        add(&self.flushes, 1);
        add(&self.segment_bytes, bytes);
    }

    pub fn appended(&self, bytes: u64) {
        add(&self.batch_bytes, bytes);
    }

    pub fn cold_read(&self, bytes: u64) {
        add(&self.cold_reads, 1);
        add(&self.cold_read_bytes, bytes);
    }

    pub fn index_read(&self, bytes: u64) {
        add(&self.index_read_bytes, bytes);
    }

    /// A compaction was finished.
    pub fn compaction(&self) {
        add(&self.compactions, 1);
    }

    /// A read found damage. Returns whether it is the first one there.
    pub fn corrupt(&self, path: &Path, position: u64) -> bool {
        add(&self.corrupt_reads, 1);
        let mut places = self.corrupt_places.borrow_mut();
        places.len() < CORRUPT_PLACES_MAX && places.insert((path.to_owned(), position))
    }

    pub fn fill(&self, stats: &mut StoreStats) {
        stats.journal_blocks = self.journal_blocks.get();
        stats.journal_bytes_written = self.journal_bytes.get();
        stats.segment_bytes_written = self.segment_bytes.get();
        stats.batch_bytes_appended = self.batch_bytes.get();
        stats.flushes = self.flushes.get();
        stats.cold_reads = self.cold_reads.get();
        stats.cold_read_bytes = self.cold_read_bytes.get();
        stats.index_read_bytes = self.index_read_bytes.get();
        stats.corrupt_reads = self.corrupt_reads.get();
        let places = self.corrupt_places.borrow();
        stats.corrupt_places = places.len();
        stats.corrupt_partitions = places.iter().filter_map(|(path, _)| path.parent()).collect::<BTreeSet<_>>().len();
        stats.compactions = self.compactions.get();
    }
}

/// What a cache or queue of a store holds, and what it may hold at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    pub what: &'static str,
    pub now: u64,
    pub most: u64,
}

/// The store at one moment. Bytes and counts since it was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoreStats {
    pub partitions: usize,
    /// Memory of recent batches: arenas of journal blocks that are alive, wherever they are held, and the batches' places.
    pub tail_bytes: u64,
    /// Memory of blocks that are built or wait to be written.
    pub building_bytes: u64,
    /// Of `tail_bytes`: what only answers to clients keep alive.
    pub pinned_bytes: u64,
    /// Appended, not yet in segments.
    pub unflushed_bytes: u64,
    /// Memory of buffers with cold data, wherever they are held, and of those kept for the next.
    pub read_ahead_bytes: u64,
    /// Memory of cold reads that are under way.
    pub cold_reading_bytes: u64,
    /// Memory of batches on their way into segments, and of compaction's buffers.
    pub writing_bytes: u64,
    /// Memory of the compaction's table of keys.
    pub compaction_bytes: u64,
    /// Journal space that cannot be reused yet.
    pub journal_used_bytes: u64,
    pub open_files: usize,
    pub journal_blocks: u64,
    pub journal_bytes_written: u64,
    pub segment_bytes_written: u64,
    pub batch_bytes_appended: u64,
    pub flushes: u64,
    pub cold_reads: u64,
    pub cold_read_bytes: u64,
    /// Read of index files, for lookups.
    pub index_read_bytes: u64,
    /// Reads that found a damaged batch, and the places where they did.
    pub corrupt_reads: u64,
    pub corrupt_places: usize,
    /// Directories of partitions with such places.
    pub corrupt_partitions: usize,
    pub compactions: u64,
    /// The journal failed: nothing is written until a restart.
    pub journal_failed: bool,
    /// The journal finds no room.
    pub journal_full: bool,
}

impl StoreStats {
    /// Bytes written to disk per byte appended.
    pub fn write_amplification(&self) -> f64 {
        if self.batch_bytes_appended == 0 {
            return 1.0;
        }
        (self.journal_bytes_written + self.segment_bytes_written) as f64 / self.batch_bytes_appended as f64
    }
}
