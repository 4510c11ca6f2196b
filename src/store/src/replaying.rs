//! What the journal has that segments lack, brought back into the partitions that were opened.

use crate::error::StoreError;
use crate::journal_scan;
use crate::open::RecoveryReport;
use crate::progress::Progress;
use crate::settle::Present;
use crate::shared::{CachedBlock, PartitionHealth, PartitionShared, Shared};
use crate::state_file::partition_state;
use crate::strand::{self, Homeless};
use crate::torn::Torn;
use bytes::Bytes;
use odradek_base::{Offset, TopicPartition};
use odradek_log::journal::format::{EntryHeader, EntryKind, Sequence};
use odradek_log::journal::replay::{self, Hole, Plan};
use odradek_log::journal::space::FileNumber;
use odradek_log::journal::writer::Counted;
use odradek_log::state::PartitionState;
use odradek_ring::Ring;
use odradek_wire::batch::BatchView;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

/// What replaying needs and gathers.
pub(crate) struct Replaying<'a> {
    /// What the state file says.
    pub states: &'a BTreeMap<TopicPartition, PartitionState>,
    pub present: Present,
    pub homeless: Homeless,
    /// Log end offsets that blocks name of earlier ones, and the sequences of the blocks that do.
    pub ends: BTreeMap<TopicPartition, (Offset, Sequence)>,
    pub report: &'a mut RecoveryReport,
}

/// Applies batches that were put aside when their partitions went offline. They count as part of the journal block `sequence`, the first one.
pub(crate) async fn stranded(shared: &Rc<Shared>, sequence: Sequence, replaying: &mut Replaying<'_>) -> Result<(), StoreError> {
    for (tp, path) in shared.stranded.files() {
        let Some(partition) = shared.partitions.borrow().get(&tp).cloned() else { continue };
        let batches = match strand::read(&shared.ring, &path).await {
            Ok(batches) => batches,
            Err(error) => {
                close_damaged(shared, &partition, error, replaying);
                continue;
            }
        };
        for batch in batches {
            let Ok(view) = BatchView::parse(&batch) else { continue };
            let header = EntryHeader {
                kind: EntryKind::Batch,
                partition: tp,
                leader_epoch: view.leader_epoch(),
                offset: view.base_offset(),
                payload_bytes: batch.len() as u32,
            };
            if let Err(reason) = replay_batch(shared, &partition, &header, &batch, sequence, replaying) {
                close_damaged(shared, &partition, StoreError::Damaged { path: path.clone(), reason }, replaying);
                break;
            }
        }
    }
    Ok(())
}

/// A partition that cannot be continued. What only the journal has of it is kept.
fn close_damaged(shared: &Shared, partition: &Rc<PartitionShared>, error: StoreError, replaying: &mut Replaying<'_>) {
    replaying.report.damaged.insert(partition.tp, error.to_string());
    shared.keep_closed(partition.tp, &partition.topic_name, error);
    for batch in partition.log.borrow().tail().pending() {
        replaying.homeless.add(partition.tp, batch.bytes.clone());
    }
    drop_damaged(shared, partition);
}

/// The partitions that have entries in the journal.
pub(crate) async fn partitions_of(
    ring: &Ring,
    files: &BTreeMap<FileNumber, PathBuf>,
    plan: &Plan,
) -> Result<BTreeSet<TopicPartition>, StoreError> {
    let mut found = BTreeSet::new();
    for block in &plan.blocks {
        let bytes = journal_scan::read_block(ring, files, block).await?;
        found.extend(replay::entries(&bytes).into_iter().flatten().map(|(header, _)| header.partition));
    }
    Ok(found)
}

/// Applies the journal to the partitions.
pub(crate) async fn journal(
    shared: &Rc<Shared>,
    files: &BTreeMap<FileNumber, PathBuf>,
    plan: &Plan,
    replaying: &mut Replaying<'_>,
) -> Result<(), StoreError> {
    replaying.report.journal_blocks = plan.blocks.len();
    let mut progress = Progress::new(shared.config.shard, "journal blocks", plan.blocks.len(), shared.ring.now(), &shared.config.recovery);
    for block in &plan.blocks {
        let bytes = journal_scan::read_block(&shared.ring, files, block).await?;
        let arena = Arc::new(shared.arenas.hold(bytes.len()));
        let bytes = Counted { bytes, arena: arena.clone() }.share();
        let Some(entries) = replay::entries(&bytes) else {
            let path = files.get(&block.file).cloned().unwrap_or_default();
            return Err(StoreError::Damaged { path, reason: format!("journal block {} does not hold together", block.sequence) });
        };
        let ends = |(header, range): &(EntryHeader, Range<usize>)| {
            let view = BatchView::parse(&bytes[range.clone()]);
            (*header, view.map_or(header.offset, |view| view.next_offset()))
        };
        shared.writer.borrow_mut().follow(entries.iter().map(ends));
        let mut tagged = Vec::new();
        for (header, range) in entries {
            let partition = shared.partitions.borrow().get(&header.partition).cloned();
            let Some(partition) = partition else {
                if header.kind == EntryKind::LogEnd {
                    continue;
                }
                let failed = replaying.report.failed(header.partition);
                replaying.report.foreign_batches += u64::from(!failed);
                if failed && header.kind == EntryKind::Batch {
                    replaying.homeless.add(header.partition, bytes.slice(range));
                }
                continue;
            };
            match header.kind {
                EntryKind::LogStart => {
                    if shared.state_dirty.get().is_none() {
                        shared.state_dirty.set(Some(block.sequence));
                    }
                    partition.log.borrow_mut().advance_log_start(header.offset);
                }
                EntryKind::LogEnd => {
                    let known = replaying.ends.entry(header.partition).or_insert((header.offset, block.sequence));
                    if known.0 < header.offset {
                        *known = (header.offset, block.sequence);
                    }
                }
                EntryKind::Batch => {
                    let payload = bytes.slice(range);
                    if let Err(reason) = replay_batch(shared, &partition, &header, &payload, block.sequence, replaying) {
                        let error = StoreError::Damaged { path: partition.path.to_path_buf(), reason };
                        close_damaged(shared, &partition, error, replaying);
                        replaying.homeless.add(header.partition, payload);
                        continue;
                    }
                    tagged.push(partition);
                }
            }
        }
        let size = bytes.len() as u64;
        progress.step(size, shared.ring.now());
        drop(bytes);
        shared.cache.push(CachedBlock { sequence: block.sequence, arena, partitions: tagged });
        shared.evict();
    }
    if replaying.report.foreign_batches > 0 {
        tracing::warn!(
            batches = replaying.report.foreign_batches,
            "the journal holds batches of partitions that this shard does not own (deleted topics, or a changed number of shards)"
        );
    }
    Ok(())
}

/// Cuts the tails that the journal has brought back. What it did not bring back was flushed once.
pub(crate) async fn torn_tails(shared: &Rc<Shared>, torn: Vec<(TopicPartition, Torn)>, replaying: &mut Replaying<'_>) {
    for (tp, torn) in torn {
        let Some(partition) = shared.partitions.borrow().get(&tp).cloned() else { continue };
        if partition.log.borrow().marks().appended.offset() > torn.offset {
            if let Err(error) = torn.cut(&shared.ring).await {
                close_damaged(shared, &partition, error, replaying);
            }
        } else {
            close_damaged(shared, &partition, torn.damage(), replaying);
        }
    }
}

/// Closes partitions that lost their last records with a journal block that cannot be read.
pub(crate) fn lost_ends(shared: &Rc<Shared>, plan: &Plan, replaying: &mut Replaying<'_>) {
    for (tp, (lost_end, sequence)) in std::mem::take(&mut replaying.ends) {
        let Some(partition) = shared.partitions.borrow().get(&tp).cloned() else { continue };
        let end = partition.log.borrow().marks().appended.offset();
        if end >= lost_end {
            continue;
        }
        let hole = plan.holes.iter().rev().find(|hole| hole.last < sequence);
        let blocks = hole.map_or_else(|| format!("a journal block before {sequence}"), Hole::to_string);
        let reason = format!(
            "offsets {end} to {} were acknowledged and are lost with {blocks}. Restore the journal in {} and the log directories from a copy of one \
             moment; or take what the partition has from its files, and delete the topic",
            lost_end.0 - 1,
            shared.config.journal_dir().display()
        );
        // A later start finds no journal that tells of it.
        shared.retain([PartitionState { flushed: lost_end, ..partition_state(&partition) }]);
        close_damaged(shared, &partition, StoreError::Damaged { path: partition.path.to_path_buf(), reason }, replaying);
    }
}

/// A log start may lie among batches that only the journal had: now they are there.
pub(crate) fn log_starts(shared: &Rc<Shared>, replaying: &mut Replaying<'_>) {
    for (tp, state) in replaying.states {
        let Some(partition) = shared.partitions.borrow().get(tp).cloned() else { continue };
        let end = {
            let mut log = partition.log.borrow_mut();
            log.advance_log_start(state.log_start);
            log.marks().appended.offset()
        };
        if end < state.log_start {
            let reason = format!("the log ends at offset {end}, but records up to {} were deleted", state.log_start);
            let error = StoreError::Damaged { path: partition.path.to_path_buf(), reason };
            close_damaged(shared, &partition, error, replaying);
        }
    }
}

fn replay_batch(
    shared: &Shared,
    partition: &Rc<PartitionShared>,
    header: &EntryHeader,
    payload: &Bytes,
    sequence: Sequence,
    replaying: &mut Replaying<'_>,
) -> Result<(), String> {
    let last = BatchView::parse(payload).map_or(header.offset, |view| view.last_offset());
    let mut log = partition.log.borrow_mut();
    let now = shared.ring.wall_clock();
    if !log.replay(header, payload, sequence, now).map_err(|error| format!("the journal does not continue the log: {error}"))? {
        let flushed = replaying.states.get(&header.partition).map_or(Offset::ZERO, |state| state.flushed);
        replaying.present.note(header.partition, last, payload.len(), flushed);
        return Ok(());
    }
    log.completed(header.offset, last, sequence, payload.clone());
    drop(log);
    shared.unflushed_bytes.set(shared.unflushed_bytes.get() + payload.len() as u64);
    shared.update_dirty(partition);
    replaying.report.journal_batches += 1;
    Ok(())
}

/// A partition with a gap: its pending batches must not reach the segment.
fn drop_damaged(shared: &Shared, partition: &Rc<PartitionShared>) {
    let pending: u64 = partition.log.borrow().tail().pending_bytes();
    shared.sub_unflushed(pending);
    *partition.health.borrow_mut() = PartitionHealth::Deleted;
    shared.update_dirty(partition);
    shared.partitions.borrow_mut().remove(&partition.tp);
}
