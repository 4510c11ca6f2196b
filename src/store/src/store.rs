//! The handle of a shard's store.

use crate::cold_reads;
use crate::compaction::{self, Compacted};
use crate::config::{PartitionSpec, StoreConfig};
use crate::error::StoreError;
use crate::open::{self, RecoveryReport};
use crate::partition::Partition;
use crate::relocate::AlterLogDirError;
use crate::shared::Shared;
use crate::stats::{Held, StoreStats};
use crate::{close, create, delete, relocate};
use odradek_base::TopicPartition;
use odradek_ring::Ring;
use odradek_ring::sync::Listen;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

/// Arenas beside the tail: those that blocks are built in and the one on its way to the disk.
const ARENAS_BESIDE: usize = 3;

/// One of `log.dirs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogDir {
    pub path: PathBuf,
    /// Why its partitions are not served.
    pub offline: Option<String>,
    /// It takes no records for lack of room.
    pub full: bool,
}

/// The partitions of one shard. Clones are the same store.
#[derive(Clone)]
pub struct Store {
    pub(crate) shared: Rc<Shared>,
}

impl Store {
    /// Opens the store of `config.shard` with the partitions that the metadata gives to this shard: replays the journal, recovers segments, makes
    /// directories that are missing. Partitions that cannot be opened are in the report; everything else that fails is an error.
    pub async fn open(ring: Ring, config: StoreConfig, owned: Vec<PartitionSpec>) -> Result<(Store, RecoveryReport), StoreError> {
        open::open(ring, config, owned).await
    }

    /// Makes a new, empty partition, durably.
    pub async fn create(&self, spec: PartitionSpec) -> Result<Partition, StoreError> {
        self.shared.check()?;
        let partition = create::create(&self.shared, &spec, true).await?;
        Ok(Partition { shared: self.shared.clone(), partition })
    }

    /// Makes many partitions with one flush of their names. All are attempted; the first error is returned.
    pub async fn create_all(&self, specs: Vec<PartitionSpec>) -> Result<(), StoreError> {
        self.shared.check()?;
        // One that exists and could not be opened stays as it is; the others are made.
        let specs: Vec<PartitionSpec> = specs.into_iter().filter(|spec| self.shared.offline.closed(spec.tp).is_none()).collect();
        create::create_all(&self.shared, &specs).await
    }

    /// Deletes a partition. Its handles report [`StoreError::Deleted`] from now on. One that is not there is fine.
    pub async fn delete(&self, tp: TopicPartition) -> Result<(), StoreError> {
        delete::delete(&self.shared, tp).await
    }

    /// `log.segment.delete.delay.ms`, for what waits already too.
    pub fn set_delete_delay(&self, delay: Duration) {
        self.shared.deleted.set_delay(delay);
    }

    /// Sets aside copies of moves that were under way ([`Partition::move_to`]) whose partitions no shard of this node has any more. `owned` gives the
    /// stems of all partitions' copies ([`odradek_log::segment::names::future_stem`]); it is asked after the directories were read.
    pub async fn remove_strays(&self, owned: impl FnOnce() -> BTreeSet<String>) {
        relocate::remove_strays(&self.shared, owned).await;
    }

    pub fn partition(&self, tp: TopicPartition) -> Option<Partition> {
        let partition = self.shared.partitions.borrow().get(&tp)?.clone();
        Some(Partition { shared: self.shared.clone(), partition })
    }

    /// Why a partition that this shard owns could not be opened, or made.
    pub fn closed(&self, tp: TopicPartition) -> Option<StoreError> {
        self.shared.offline.closed(tp)
    }

    /// Partitions that this shard owns and cannot serve before a restart.
    pub fn offline(&self) -> BTreeSet<TopicPartition> {
        let mut offline = self.shared.offline.partitions();
        let partitions = self.shared.partitions.borrow();
        offline.extend(partitions.values().filter(|partition| partition.is_offline()).map(|partition| partition.tp));
        offline
    }

    /// Done when [`Store::offline`] gives something else than now.
    pub fn offline_changed(&self) -> Listen {
        self.shared.offline.changed.listen()
    }

    /// Partitions that this shard owns and could not open.
    pub fn closed_count(&self) -> usize {
        self.shared.offline.closed_count()
    }

    /// The log directories and what this shard has in them.
    pub fn log_dirs(&self) -> Vec<LogDir> {
        let dirs = self.shared.config.log_dirs.iter().enumerate();
        dirs.map(|(index, path)| LogDir {
            path: path.clone(),
            offline: self.shared.offline.reason(index).map(|reason| reason.to_string()),
            full: self.shared.room.is_full(index),
        })
        .collect()
    }

    /// Whether the journal is being written: whoever keeps the shard or the disk for long delays an acknowledgement.
    pub fn writes_are_live(&self) -> bool {
        cold_reads::writes_are_live(&self.shared)
    }

    /// Whether a partition could be moved to `path`.
    pub fn check_log_dir(&self, path: &Path) -> Result<(), AlterLogDirError> {
        relocate::directory_of(&self.shared, path).map(|_| ())
    }

    /// All partitions, in the order of their ids.
    pub fn partitions(&self) -> Vec<Partition> {
        self.shared.sorted_partitions().into_iter().map(|partition| Partition { shared: self.shared.clone(), partition }).collect()
    }

    /// Backpressure: returns when appended bytes that no segment has yet are below their bound, or when the journal failed
    /// or a device is full (the append then says so).
    pub async fn wait_admission(&self) {
        loop {
            let relieved = self.shared.relieved.listen();
            if self.is_admitted() || self.shared.check().is_err() || self.shared.room.is_any_full() {
                return;
            }
            self.shared.flush_wanted.notify_all();
            relieved.await;
        }
    }

    /// Whether [`Store::wait_admission`] would return at once.
    pub fn is_admitted(&self) -> bool {
        self.shared.is_admitted()
    }

    /// Flushes everything, cuts segments to their exact length, writes snapshots and checkpoints, and marks the shard's state as clean. No append may
    /// be under way. After all shards of a node have closed, [`crate::write_kafka_checkpoints`] makes the directories ready for Kafka.
    pub async fn close(self) -> Result<(), StoreError> {
        close::close(&self.shared).await
    }

    /// Compacts the log of this shard that needs it most. `None` when none does.
    pub async fn run_compaction(&self) -> Result<Option<Compacted>, StoreError> {
        compaction::run_filthiest(&self.shared).await
    }

    /// Everything bounded that the store keeps in memory. Appends that are admitted together may exceed the bound of unflushed bytes by what they
    /// bring; of the tail, what no segment has stays, and arenas that blocks are built in come on top.
    pub fn held(&self) -> [Held; 4] {
        let (shared, config) = (&self.shared, &self.shared.config);
        let held = |what, now, most| Held { what, now, most };
        let arenas = (ARENAS_BESIDE * config.journal_block_bytes_max) as u64;
        [
            held("unflushed bytes", shared.unflushed_bytes.get(), config.unflushed_bytes_max),
            held("tail", shared.tail_bytes() + shared.building_bytes(), config.tail_cache_bytes + config.unflushed_bytes_max + arenas),
            held("read ahead", shared.read_ahead.bytes() as u64, config.read_ahead_bytes as u64),
            held("open files", shared.files.len() as u64, config.open_files_max as u64),
        ]
    }

    pub fn stats(&self) -> StoreStats {
        let mut stats = StoreStats {
            partitions: self.shared.partitions.borrow().len(),
            tail_bytes: self.shared.tail_bytes(),
            building_bytes: self.shared.building_bytes(),
            pinned_bytes: self.shared.pinned_bytes(),
            read_ahead_bytes: self.shared.kept_cold_bytes() as u64,
            cold_reading_bytes: self.shared.cold_reads.bytes() as u64,
            writing_bytes: self.shared.writing.bytes() as u64,
            compaction_bytes: self.shared.compaction.table.bytes() as u64,
            unflushed_bytes: self.shared.unflushed_bytes.get(),
            journal_used_bytes: self.shared.journal.used_bytes(),
            open_files: self.shared.files.len(),
            journal_failed: self.shared.failed.borrow().is_some(),
            journal_full: self.shared.room.is_journal_full(),
            ..StoreStats::default()
        };
        self.shared.counters.fill(&mut stats);
        stats
    }
}
