//! Settings of a shard's store. Every bound has a name here.

use crate::compaction::CompactionConfig;
use crate::progress::RecoveryProgress;
use futures_util::future::LocalBoxFuture;
use odradek_base::{ShardId, TopicPartition};
use odradek_log::LogConfig;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;
use std::{fmt, io};

/// `odradek.direct.io`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DirectIo {
    /// Direct where the file system can, through the page cache otherwise.
    #[default]
    Auto,
    /// Refuse to start where a file system cannot.
    Required,
    /// Always through the page cache.
    Off,
}

/// Removes a file somewhere else than on the shard: unlinking a large one keeps the kernel busy for long. One that is not there counts as removed.
#[derive(Clone)]
pub struct Unlinker(pub Rc<dyn Fn(PathBuf) -> LocalBoxFuture<'static, io::Result<()>>>);

impl fmt::Debug for Unlinker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unlinker")
    }
}

#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// `log.dirs`. The first one also holds the shard's state file.
    pub log_dirs: Vec<PathBuf>,
    /// `odradek.journal.dir`; the first log directory without one.
    pub journal_dir: Option<PathBuf>,
    pub shard: ShardId,
    pub direct_io: DirectIo,
    /// Who unlinks the files of deleted partitions; the ring itself without one.
    pub unlinker: Option<Unlinker>,
    /// Size of one journal file, in bytes.
    pub journal_file_bytes: u64,
    /// Journal files of the shard, at least 2; they are made as they are needed.
    pub journal_files: usize,
    /// A journal block is closed at this size; a larger batch gets a block of its own.
    pub journal_block_bytes_max: usize,
    /// A partition with this much pending is flushed at once, in one large write.
    pub bypass_bytes: u64,
    /// Recent batches kept in memory, in bytes of journal blocks.
    pub tail_cache_bytes: u64,
    /// Appended bytes that are not in segments yet; beyond it [`crate::Store::wait_admission`] waits. Below `tail_cache_bytes` and the journal's size.
    pub unflushed_bytes_max: u64,
    /// Segment and index files open at once.
    pub open_files_max: usize,
    /// Bytes of cold reads that are under way at the same time.
    pub cold_reads_bytes_max: usize,
    /// The same while the journal is being written: a write waits behind what the device has begun to read.
    pub cold_reads_live_bytes_max: usize,
    /// `odradek.cold.reads.percent`: share of the time that cold reads may take while the journal is being written.
    pub cold_reads_live_percent: u32,
    /// Cold data kept for readers that go on where they stopped, what is read ahead for them included, in bytes.
    pub read_ahead_bytes: usize,
    /// `log.segment.delete.delay.ms`: how long the directories of deleted partitions wait to be unlinked. [`crate::Store::set_delete_delay`] changes it.
    pub delete_delay: Duration,
    /// Bytes of logs of which no state file tells that are checked before the store opens; the others are checked, and opened, afterwards.
    pub opening_bytes_max: u64,
    /// Pending batches are flushed at the latest after this time.
    pub flush_age: Duration,
    /// `odradek.disk.reserve.bytes`: free bytes of each file system that records do not take; 0 for none.
    pub disk_reserve_bytes: u64,
    /// Time between two rewrites of the state file, which bounds what an unclean start has to check.
    pub state_interval: Duration,
    pub compaction: CompactionConfig,
    /// Told while the store opens.
    pub recovery: Rc<RecoveryProgress>,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            log_dirs: vec![PathBuf::from("odradek-data")],
            journal_dir: None,
            shard: ShardId(0),
            direct_io: DirectIo::Auto,
            unlinker: None,
            journal_file_bytes: 64 << 20,
            journal_files: 8,
            journal_block_bytes_max: 1 << 20,
            bypass_bytes: 1 << 20,
            tail_cache_bytes: 256 << 20,
            unflushed_bytes_max: 128 << 20,
            open_files_max: 1024,
            cold_reads_bytes_max: 8 << 20,
            cold_reads_live_bytes_max: 256 << 10,
            cold_reads_live_percent: 30,
            read_ahead_bytes: 32 << 20,
            delete_delay: Duration::from_secs(60),
            opening_bytes_max: 256 << 20,
            flush_age: Duration::from_secs(30),
            disk_reserve_bytes: 0,
            state_interval: Duration::from_secs(60),
            compaction: CompactionConfig::default(),
            recovery: Rc::default(),
        }
    }
}

impl StoreConfig {
    /// Directory of the journal files.
    pub fn journal_dir(&self) -> PathBuf {
        self.journal_dir.clone().or_else(|| self.log_dirs.first().cloned()).unwrap_or_default()
    }

    /// Brings bounds into the order that the store relies on: what is pending fits in the journal and in memory.
    pub(crate) fn normalised(mut self) -> Self {
        self.journal_files = self.journal_files.max(2);
        self.journal_file_bytes = odradek_base::buffer::align_down(self.journal_file_bytes.max(64 << 10));
        let journal_bytes = self.journal_file_bytes * self.journal_files as u64;
        self.unflushed_bytes_max = self.unflushed_bytes_max.min(journal_bytes / 2).max(64 << 10);
        self.tail_cache_bytes = self.tail_cache_bytes.max(self.unflushed_bytes_max);
        self.journal_block_bytes_max = self.journal_block_bytes_max.clamp(16 << 10, self.journal_file_bytes as usize);
        self.cold_reads_live_bytes_max = self.cold_reads_live_bytes_max.min(self.cold_reads_bytes_max);
        self.open_files_max = self.open_files_max.max(8);
        self
    }
}

/// A partition that this shard owns.
#[derive(Debug, Clone)]
pub struct PartitionSpec {
    pub tp: TopicPartition,
    pub topic_name: String,
    pub config: LogConfig,
}
