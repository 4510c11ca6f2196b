//! Brings durable batches from memory into the segments, a few partitions per round, so that it never stands in the journal's way.
//!
//! A partition is flushed when it has a lot pending (one large write is cheap per byte), when it has the oldest journal block and the
//! journal or memory fills up, or when its batches are old. Within a round all writes come first, then all flushes: the file system then
//! commits its own metadata once for many of them. The more is pending, the shorter the pause between rounds.

use crate::byte_gate::ByteGate;
use crate::error::StoreError;
use crate::room::FULL_PAUSE;
use crate::segment_files;
use crate::shared::{PartitionHealth, PartitionShared, Shared};
use crate::state_file;
use futures_util::future::join_all;
use odradek_log::partition::FlushPlan;
use odradek_ring::File;
use odradek_ring::sim::planted::{Mistake, is_planted};
use std::rc::Rc;
use std::time::Duration;

/// Partitions per round.
const ROUND_PARTITIONS: usize = 16;
/// Bytes of one partition per round.
const PARTITION_BYTES_MAX: u64 = 4 << 20;
/// Bytes of all partitions that are being written at the same time: they are copied into staging memory first, and a journal block waits behind
/// what the device has begun to write.
const WRITTEN_AT_ONCE_BYTES_MAX: usize = 4 << 20;
/// Share of a bound (unflushed bytes, journal, cache) beyond which old batches are flushed.
const PRESSURE_LOW: f64 = 0.4;
/// Share beyond which there is no pause between rounds.
const PRESSURE_HIGH: f64 = 0.75;
/// Shortest time between two rewrites of the state file that somebody waits for.
const STATE_PAUSE: Duration = Duration::from_millis(10);
/// Pause between rounds at the low mark; it shrinks to nothing at the high one.
const PAUSE_MAX: Duration = Duration::from_millis(20);
/// How often ages are looked at when nothing else happens.
const IDLE_LOOK: Duration = Duration::from_secs(1);

pub(crate) async fn run(shared: Rc<Shared>) {
    let mut state_written = shared.ring.now();
    while !shared.closing.get() && shared.failed.borrow().is_none() {
        let wanted = shared.flush_wanted.listen();
        let picked = pick(&shared);
        shared.forget_full();
        if picked.is_empty() {
            let now = shared.ring.now();
            let retried = shared.state_requests.is_waiting() && now >= state_written + STATE_PAUSE
                || shared.room.is_state_full() && now - state_written >= FULL_PAUSE;
            if retried || state_file::is_due(&shared, now - state_written) {
                state_file::checkpoint(&shared).await;
                state_written = shared.ring.now();
                continue;
            }
            shared.ring.timeout(now + IDLE_LOOK, wanted).await;
            continue;
        }
        round(&shared, picked).await;
        let asked = shared.state_requests.is_waiting() && shared.ring.now() >= state_written + STATE_PAUSE;
        if asked || shared.state_dirty.get().is_some_and(|sequence| blocks_journal(&shared, sequence)) {
            state_written = shared.ring.now();
            state_file::checkpoint(&shared).await;
        }
        let pause = pause(pressure(&shared));
        if !pause.is_zero() {
            shared.ring.sleep(pause).await;
        }
    }
    shared.flusher_done.set(true);
    shared.stopped.notify_all();
}

fn blocks_journal(shared: &Shared, sequence: odradek_log::journal::format::Sequence) -> bool {
    shared.journal.pressure() > PRESSURE_LOW && shared.replay_from() == sequence
}

/// How full the fullest bound is.
fn pressure(shared: &Shared) -> f64 {
    if shared.journal_full.get() {
        return 1.0;
    }
    let unflushed = shared.unflushed_bytes.get() as f64 / shared.config.unflushed_bytes_max as f64;
    // The cache is meant to be full; it only presses when its oldest block cannot go.
    let stuck = shared.cache.arena_bytes() + shared.cache.place_bytes() > shared.config.tail_cache_bytes;
    unflushed.max(shared.journal.pressure()).max(if stuck { PRESSURE_HIGH } else { 0.0 })
}

fn pause(pressure: f64) -> Duration {
    PAUSE_MAX.mul_f64(((PRESSURE_HIGH - pressure) / (PRESSURE_HIGH - PRESSURE_LOW)).clamp(0.0, 1.0))
}

/// The partitions of the next round.
fn pick(shared: &Shared) -> Vec<Rc<PartitionShared>> {
    let mut picked: Vec<Rc<PartitionShared>> = Vec::new();
    let now = shared.ring.now();
    while picked.len() < ROUND_PARTITIONS {
        let Some(partition) = shared.large.borrow_mut().pop_front() else { break };
        partition.queued.set(false);
        if may_flush(&partition)
            && !picked.iter().any(|other| Rc::ptr_eq(other, &partition))
            && shared.room.may_try(partition.path.directory(), now)
        {
            picked.push(partition);
        }
    }
    let pressed = pressure(shared) > PRESSURE_LOW;
    // Whether there is room again shows when a partition that found none is flushed.
    let any_full = shared.room.is_any_full();
    let partitions = shared.partitions.borrow();
    for (_, tp) in shared.dirty.borrow().iter() {
        if picked.len() == ROUND_PARTITIONS {
            break;
        }
        let Some(partition) = partitions.get(tp) else { continue };
        let old = partition.dirty.get().is_some_and(|(_, since)| now - since > shared.config.flush_age);
        if !pressed && !old && !any_full {
            break;
        }
        if may_flush(partition)
            && !picked.iter().any(|other| Rc::ptr_eq(other, partition))
            && shared.room.may_try(partition.path.directory(), now)
        {
            picked.push(partition.clone());
        }
    }
    picked
}

impl Shared {
    /// A directory where nothing waits to be flushed is full no more as far as is known.
    fn forget_full(&self) {
        for directory in (0..self.config.log_dirs.len()).filter(|directory| self.room.is_full(*directory)) {
            let partitions = self.partitions.borrow();
            let waits =
                self.dirty.borrow().iter().any(|(_, tp)| partitions.get(tp).is_some_and(|known| known.path.directory() == directory));
            drop(partitions);
            if !waits {
                self.set_full(directory, false);
            }
        }
    }
}

fn may_flush(partition: &PartitionShared) -> bool {
    let held = partition.held.get() || partition.compaction.holds_flushes.get();
    *partition.health.borrow() == PartitionHealth::Online && !partition.flushing.get() && !held
}

/// Flushes `partitions`. Returns whether a device was full.
async fn round(shared: &Rc<Shared>, partitions: Vec<Rc<PartitionShared>>) -> bool {
    let staging = ByteGate::default();
    let written = join_all(partitions.iter().map(|partition| write(shared, partition, &staging))).await;
    let work: Vec<(&Rc<PartitionShared>, FlushPlan, File)> = partitions
        .iter()
        .zip(written.iter())
        .filter_map(|(partition, written)| written.as_ref().ok().cloned().flatten().map(|(plan, file)| (partition, plan, file)))
        .collect();
    let finished = join_all(work.iter().map(|(partition, plan, file)| finish(shared, partition, plan, file))).await;
    let mut full = false;
    for (partition, result) in partitions.iter().zip(written) {
        full |= judge(shared, partition, result.map(|_| ()));
    }
    for ((partition, _, _), result) in work.iter().zip(finished) {
        let flushed = result.is_ok();
        full |= judge(shared, partition, result);
        if flushed {
            shared.set_full(partition.path.directory(), false);
        }
    }
    for partition in &partitions {
        partition.flushing.set(false);
        shared.update_dirty(partition);
        let pending = partition.log.borrow().tail().pending_bytes();
        if pending >= shared.config.bypass_bytes && !full && may_flush(partition) && !partition.queued.replace(true) {
            shared.large.borrow_mut().push_back(partition.clone());
        }
    }
    shared.release_journal();
    shared.evict();
    full
}

/// What a failed flush means: a full device is waited for, anything else takes the partition offline. A flush that failed is never tried again
/// as if it had worked: the kernel may have dropped the data and forgotten the error.
fn judge(shared: &Rc<Shared>, partition: &Rc<PartitionShared>, result: Result<(), StoreError>) -> bool {
    match result {
        Ok(()) => false,
        Err(error) if error.is_full() => {
            tracing::debug!(partition = %partition.tp, "flush waits for room: {error}");
            shared.set_full(partition.path.directory(), true);
            true
        }
        Err(error) => {
            if !partition.is_deleted() {
                shared.fail_partition(partition, &error);
            }
            false
        }
    }
}

async fn write(shared: &Shared, partition: &PartitionShared, staging: &ByteGate) -> Result<Option<(FlushPlan, File)>, StoreError> {
    partition.flushing.set(true);
    let plan = partition.log.borrow().plan_flush(PARTITION_BYTES_MAX);
    let Some(plan) = plan else { return Ok(None) };
    if shared.room.is_reserve_reached(partition.path.directory()) {
        return Err(StoreError::Full { path: partition.path.log_dir().to_owned() });
    }
    let _passage = staging.pass(plan.bytes as usize, || WRITTEN_AT_ONCE_BYTES_MAX).await;
    let file = segment_files::write_plan(shared, partition, &plan).await?;
    Ok(Some((plan, file)))
}

async fn finish(shared: &Shared, partition: &PartitionShared, plan: &FlushPlan, file: &File) -> Result<(), StoreError> {
    if plan.completes {
        let path = segment_files::log_path(partition, plan.segment);
        file.truncate(plan.position + plan.bytes).await.map_err(|error| StoreError::io("truncate", &path, error))?;
        partition.padded.set(false);
    }
    if !is_planted(Mistake::NoSegmentFlush) {
        file.sync_data().await.map_err(|error| StoreError::io("flush", &segment_files::log_path(partition, plan.segment), error))?;
    }
    if partition.is_deleted() {
        return Ok(());
    }
    let (snapshots, unfinished) = {
        let mut log = partition.log.borrow_mut();
        log.flushed(plan);
        (log.take_snapshots(plan.through), log.take_unfinished())
    };
    shared.sub_unflushed(plan.bytes);
    segment_files::write_indexes(shared, partition, plan.segment, plan.completes).await?;
    for (segment, bytes) in unfinished {
        segment_files::cut_padding(shared, partition, segment, bytes).await?;
        segment_files::write_indexes(shared, partition, segment, true).await?;
    }
    for snapshot in snapshots {
        let name = odradek_log::segment::names::segment_file(snapshot.offset, odradek_log::segment::names::SNAPSHOT);
        segment_files::write_plain(&shared.ring, &partition.path.join(name), &snapshot.bytes).await?;
    }
    Ok(())
}

/// Flushes everything of all partitions, on a clean stop.
pub(crate) async fn flush_all(shared: &Rc<Shared>) -> Result<(), StoreError> {
    loop {
        let waiting: Vec<_> = {
            let partitions = shared.partitions.borrow();
            let dirty = shared.dirty.borrow();
            dirty
                .iter()
                .filter_map(|(_, tp)| partitions.get(tp))
                .filter(|partition| may_flush(partition))
                .take(ROUND_PARTITIONS)
                .cloned()
                .collect()
        };
        if waiting.is_empty() {
            return Ok(());
        }
        if round(shared, waiting).await {
            return Err(StoreError::Io {
                operation: "flush",
                path: shared.config.log_dirs.first().cloned().unwrap_or_default(),
                error: std::sync::Arc::new(std::io::Error::from(std::io::ErrorKind::StorageFull)),
            });
        }
    }
}
