//! The commit loop: one journal block after the other, each with everything that arrived while the one before was written.

use crate::error::StoreError;
use crate::room;
use crate::shared::{CachedBlock, PartitionShared, Shared};
use odradek_log::journal::format::EntryKind;
use odradek_log::journal::space::Place;
use odradek_log::journal::writer::SealedBlock;
use odradek_ring::Sync;
use odradek_ring::sim::planted::{Mistake, is_planted};
use std::rc::Rc;

pub(crate) async fn run(shared: Rc<Shared>) {
    loop {
        let work = shared.work.listen();
        let block = shared.writer.borrow_mut().take(shared.replay_from());
        let Some(block) = block else {
            if shared.closing.get() {
                break;
            }
            work.await;
            continue;
        };
        if let Err(error) = write(&shared, &block).await {
            shared.fail(error);
            break;
        }
        complete(&shared, block);
    }
    shared.commit_done.set(true);
    shared.stopped.notify_all();
}

/// Writes a block and makes it durable. The next one is begun only afterwards, so that a block that is missing below a valid one is always damage.
async fn write(shared: &Rc<Shared>, block: &SealedBlock<Rc<PartitionShared>>) -> Result<(), StoreError> {
    let place = shared.journal.place(shared, block.sequence, block.bytes.len() as u64).await?;
    loop {
        shared.commit.under_way.set(true);
        let result = write_at(shared, block, place).await;
        shared.commit.under_way.set(false);
        shared.commit.settled.notify_all();
        match result {
            Err(error) if error.is_full() && !shared.closing.get() => {
                // Nothing was lost: the whole block is here and is written again from its start, and flushed after that.
                shared.set_journal_full(true);
                shared.ring.sleep(room::FULL_PAUSE).await;
            }
            other => {
                shared.set_journal_full(false);
                return other;
            }
        }
    }
}

async fn write_at(shared: &Rc<Shared>, block: &SealedBlock<Rc<PartitionShared>>, place: Place) -> Result<(), StoreError> {
    let (file, path) = shared.journal.prepare(shared, place, block.bytes.len() as u64).await?;
    let position = place.position;
    let early = is_planted(Mistake::FlushBeforeWrite);
    if early {
        file.sync_data().await.map_err(|error| StoreError::io("flush", &path, error))?;
    }
    let sync = if block.durable && !early { Sync::Data } else { Sync::No };
    file.write_at(vec![block.bytes.clone()], position, sync).await.map_err(|error| StoreError::io("write", &path, error))?;
    shared.counters.journal_block(block.bytes.len() as u64);
    shared.commit.written.set(block.sequence);
    if !block.durable && !early {
        // acks=1 is answered now; consumers see the records after the flush that follows at once.
        shared.commit.event(block.sequence).notify_all();
        file.sync_data().await.map_err(|error| StoreError::io("flush", &path, error))?;
    }
    Ok(())
}

/// Everything in `block` is on stable storage: moves the marks and wakes who waits.
pub(crate) fn complete(shared: &Shared, block: SealedBlock<Rc<PartitionShared>>) {
    shared.commit.durable.set(block.sequence);
    shared.commit.moved_at.set(shared.ring.now());
    shared.commit.written.set(block.sequence);
    let mut partitions = Vec::with_capacity(block.entries.len());
    for entry in &block.entries {
        let partition = &entry.tag;
        if partition.is_deleted() {
            continue;
        }
        let mut log = partition.log.borrow_mut();
        let moved = match entry.kind {
            EntryKind::Batch => log.completed(entry.base_offset, entry.last_offset, block.sequence, block.payload(entry)),
            EntryKind::LogStart => {
                if shared.state_dirty.get().is_none() {
                    shared.state_dirty.set(Some(block.sequence));
                }
                log.advance_log_start(entry.base_offset)
            }
            // Of earlier blocks, so not among this one's own.
            EntryKind::LogEnd => false,
        };
        let pending = log.tail().pending_bytes();
        drop(log);
        shared.update_dirty(partition);
        if pending >= shared.config.bypass_bytes && !partition.queued.replace(true) {
            shared.large.borrow_mut().push_back(partition.clone());
            shared.flush_wanted.notify_all();
        }
        if moved {
            partition.changed.notify_all();
        }
        if entry.kind == EntryKind::Batch {
            partitions.push(partition.clone());
        }
    }
    let SealedBlock { sequence, arena, .. } = block;
    shared.cache.push(CachedBlock { sequence, arena, partitions });
    shared.evict();
    shared.commit.event(sequence).notify_all();
}
