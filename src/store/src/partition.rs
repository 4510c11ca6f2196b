//! The handle of a partition.

use crate::compaction::{self, Compacted};
use crate::error::{AppendError, DeleteRecordsError, ReadError, StoreError};
use crate::reader;
use crate::relocate::{self, AlterLogDirError, FutureReplica};
use crate::shared::{PartitionShared, Shared};
use crate::{lookup, retention};
use bytes::Bytes;
use odradek_base::{LeaderEpoch, Offset, Timestamp, TopicPartition};
use odradek_log::journal::format::Sequence;
use odradek_log::partition::{AppendContext, HighWatermarkRule};
use odradek_log::segment::transaction_index::AbortedTransaction;
use odradek_log::{LogConfig, Marks};
use odradek_ring::sync::Event;
use odradek_wire::batch::ValidBatch;
use std::future::Future;
use std::path::Path;
use std::rc::Rc;

pub use odradek_log::partition::AppendOrigin;

/// What an append waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Stable storage (acks=all).
    Durable,
    /// The kernel has it: survives the process, not the machine (acks=1).
    Written,
    /// Nothing (acks=0).
    None,
}

/// The journal block an append is in, and how far that has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommitTicket {
    sequence: Sequence,
    durability: Durability,
}

impl CommitTicket {
    pub(crate) fn new(sequence: Sequence, durability: Durability) -> Self {
        Self { sequence, durability }
    }
}

/// A successful append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    pub base_offset: Offset,
    pub last_offset: Offset,
    /// With LogAppendTime.
    pub log_append_time: Option<Timestamp>,
    pub log_start_offset: Offset,
    pub ticket: CommitTicket,
    /// The batch was there already; the offsets are those of then.
    pub duplicate: bool,
}

/// Whole batches in offset order; each element holds one or several.
#[derive(Debug, Clone, Default)]
pub struct ReadData {
    /// The first batch contains the offset that was asked for, or is the first one after it.
    pub batches: Vec<Bytes>,
}

impl ReadData {
    pub fn bytes(&self) -> usize {
        self.batches.iter().map(Bytes::len).sum()
    }
}

/// One partition of this shard. Clones are the same partition; it goes on working (with errors) after it was deleted.
#[derive(Clone)]
pub struct Partition {
    pub(crate) shared: Rc<Shared>,
    pub(crate) partition: Rc<PartitionShared>,
}

impl Partition {
    pub fn tp(&self) -> TopicPartition {
        self.partition.tp
    }

    pub fn topic_name(&self) -> &str {
        &self.partition.topic_name
    }

    /// The log directory (`log.dirs` entry) that the partition lies in.
    pub fn log_dir(&self) -> &Path {
        self.partition.path.log_dir()
    }

    /// Place of that directory in `log.dirs`.
    pub fn directory(&self) -> usize {
        self.partition.path.directory()
    }

    /// Begins to move the partition to another of `log.dirs`; returns at once. Appends and reads go on. A start after a crash goes on with it.
    pub fn move_to(&self, log_dir: &Path) -> Result<(), AlterLogDirError> {
        relocate::begin(&self.shared, &self.partition, log_dir)
    }

    /// The copy in another log directory that a move has so far.
    pub fn future_replica(&self) -> Option<FutureReplica> {
        relocate::describe(&self.shared, &self.partition)
    }

    /// Appends `batches`, all or none, to the open journal block and gives them offsets. Does not wait: see [`Partition::wait`].
    /// Checks the producer state (KIP-98): a batch that is there already is answered with its first offset.
    pub fn append(
        &self,
        batches: &[ValidBatch],
        leader_epoch: LeaderEpoch,
        now: Timestamp,
        origin: AppendOrigin,
        durability: Durability,
    ) -> Result<Appended, AppendError> {
        self.shared.check()?;
        self.partition.check()?;
        self.shared.check_room(self.partition.path.directory())?;
        let mut log = self.partition.log.borrow_mut();
        let appended = {
            let mut writer = self.shared.writer.borrow_mut();
            let durable = durability == Durability::Durable;
            log.append(&mut writer, &self.partition, batches, AppendContext { leader_epoch, now, origin, durable })?
        };
        let log_start_offset = log.marks().log_start.offset();
        drop(log);
        if !appended.duplicate {
            let bytes: u64 = batches.iter().map(|batch| batch.bytes.len() as u64).sum();
            self.shared.unflushed_bytes.set(self.shared.unflushed_bytes.get() + bytes);
            self.shared.counters.appended(bytes);
            self.partition.touched.set(true);
            self.shared.work.notify_all();
        }
        Ok(Appended {
            base_offset: appended.base_offset,
            last_offset: appended.last_offset,
            log_append_time: appended.log_append_time,
            log_start_offset,
            ticket: CommitTicket { sequence: appended.sequence, durability },
            duplicate: appended.duplicate,
        })
    }

    /// Whether [`Partition::wait`] would return at once with success.
    pub fn is_committed(&self, ticket: CommitTicket) -> bool {
        match ticket.durability {
            Durability::Durable => self.shared.commit.durable.get() >= ticket.sequence,
            Durability::Written => self.shared.commit.written.get() >= ticket.sequence,
            Durability::None => true,
        }
    }

    /// Waits until the append is as safe as it asked to be. Costs one waiter on an event that fires once per journal block.
    pub fn wait(&self, ticket: CommitTicket) -> impl Future<Output = Result<(), StoreError>> + use<> {
        let this = self.clone();
        async move {
            loop {
                let committed = this.shared.commit.event(ticket.sequence).listen();
                if this.is_committed(ticket) {
                    return Ok(());
                }
                if let Some(error) = &*this.shared.failed.borrow() {
                    return Err(error.clone());
                }
                if this.shared.room.is_journal_full() {
                    // It is written when there is room, as after a time-out; who sent it is told now.
                    return Err(StoreError::Full { path: this.shared.config.journal_dir() });
                }
                committed.await;
            }
        }
    }

    pub fn marks(&self) -> Marks {
        self.partition.log.borrow().marks()
    }

    /// Fires when the high watermark, the last stable offset, the log start or the partition's health changes.
    pub fn changed(&self) -> Event {
        self.partition.changed.clone()
    }

    /// Error when the partition is deleted or offline.
    pub fn check(&self) -> Result<(), StoreError> {
        self.partition.check()
    }

    /// Batches from memory, without waiting: from the one that contains `from`, below `upto`, up to `max_bytes`, but at least one with
    /// `at_least_one`. `None` when `from` is not in memory.
    pub fn read_memory(&self, from: Offset, upto: Offset, max_bytes: usize, at_least_one: bool) -> Option<ReadData> {
        reader::read_memory(&self.shared, &self.partition, from, upto, max_bytes, at_least_one)
    }

    /// As [`Partition::read_memory`], from the segment files where memory does not have it.
    pub async fn read(&self, from: Offset, upto: Offset, max_bytes: usize, at_least_one: bool) -> Result<ReadData, ReadError> {
        reader::read(&self.shared, &self.partition, from, upto, max_bytes, at_least_one).await
    }

    /// The first record with a timestamp of at least `target`, among the durable ones: its timestamp, offset and leader epoch.
    pub async fn offset_for_timestamp(&self, target: Timestamp) -> Result<Option<(Timestamp, Offset, LeaderEpoch)>, ReadError> {
        lookup::offset_for_timestamp(&self.shared, &self.partition, target).await
    }

    /// The first record with the largest timestamp.
    pub async fn offset_of_max_timestamp(&self) -> Result<Option<(Timestamp, Offset, LeaderEpoch)>, ReadError> {
        lookup::offset_of_max_timestamp(&self.shared, &self.partition).await
    }

    /// The largest epoch not beyond `epoch` and where it ends (KIP-101, KIP-279).
    pub fn end_offset_for_epoch(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        self.partition.log.borrow().end_offset_for_epoch(epoch)
    }

    /// The epoch of the last record.
    pub fn leader_epoch(&self) -> Option<LeaderEpoch> {
        self.partition.log.borrow().epochs().latest()
    }

    pub fn epoch_at(&self, offset: Offset) -> Option<LeaderEpoch> {
        self.partition.log.borrow().epochs().epoch_at(offset)
    }

    /// A leadership with `epoch` begins at the log's end.
    pub fn set_leader_epoch(&self, epoch: LeaderEpoch) {
        self.partition.log.borrow_mut().set_leader_epoch(epoch);
        self.partition.touched.set(true);
    }

    /// Who moves the high watermark; by default it follows what is durable here.
    pub fn set_high_watermark_rule(&self, rule: HighWatermarkRule) {
        self.partition.log.borrow_mut().set_high_watermark_rule(rule);
    }

    /// Moves the high watermark forward, with [`HighWatermarkRule::External`].
    pub fn advance_high_watermark(&self, to: Offset) {
        if self.partition.log.borrow_mut().advance_high_watermark(to) {
            self.partition.changed.notify_all();
        }
    }

    /// Moves the log start offset to `before` (-1: the high watermark), durably. Returns the new log start.
    pub async fn delete_records(&self, before: Offset) -> Result<Offset, DeleteRecordsError> {
        retention::delete_records(self, before).await
    }

    /// Deletes segments that retention no longer wants and forgets expired producers. Returns the bytes freed.
    pub async fn run_retention(&self, now: Timestamp) -> Result<u64, StoreError> {
        retention::run(&self.shared, &self.partition, now).await
    }

    /// Compacts the log when it is due (`cleanup.policy=compact`). `None` when it is not, or somebody else is at it.
    pub async fn run_compaction(&self, now: Timestamp) -> Result<Option<Compacted>, StoreError> {
        compaction::run(&self.shared, &self.partition, now).await
    }

    /// Takes effect with the next append, flush or retention run.
    pub fn set_config(&self, config: LogConfig) {
        self.partition.log.borrow_mut().set_config(config);
    }

    pub fn config(&self) -> LogConfig {
        *self.partition.log.borrow().config()
    }

    /// Bytes of all batches.
    pub fn size_bytes(&self) -> u64 {
        self.partition.log.borrow().size_bytes()
    }

    /// Aborted transactions with records in `from..upto`.
    pub fn aborted_transactions(&self, from: Offset, upto: Offset) -> Vec<AbortedTransaction> {
        self.partition.log.borrow().aborted_transactions(from, upto)
    }
}
