//! The shard's state file: written when the store opens, every now and then, and on a clean stop.

use crate::error::StoreError;
use crate::segment_files;
use crate::shared::{PartitionShared, Shared};
use odradek_base::ShardId;
use odradek_log::journal::format::Sequence;
use odradek_log::state::{self, PartitionState, SegmentState, ShardState};
use odradek_ring::sync::Event;
use std::cell::Cell;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

const PREFIX: &str = "odradek-shard-";
const SUFFIX: &str = ".state";
/// Added to the name of a state file that says that the stop was clean, when a start that found no room to write a new one goes on.
const DISOWNED: &str = ".disowned";
/// How often somebody who waits for the state file looks whether the store ends.
const REQUEST_LOOK: Duration = Duration::from_millis(50);

pub(crate) fn path(shared: &Shared) -> PathBuf {
    shared.config.log_dirs.first().cloned().unwrap_or_default().join(file_name(shared.config.shard))
}

pub(crate) fn file_name(shard: ShardId) -> String {
    format!("{PREFIX}{shard}{SUFFIX}")
}

/// The file of a shard that [`disown`] left.
pub(crate) fn disowned_name(shard: ShardId) -> String {
    format!("{PREFIX}{shard}{SUFFIX}{DISOWNED}")
}

/// Whether a name in a log directory is a state file.
pub fn is_state_file(name: &str) -> bool {
    name.starts_with(PREFIX) && name.ends_with(SUFFIX)
}

/// Who waits for the state file: the flusher's task is the only one that writes it while the store runs.
#[derive(Default)]
pub(crate) struct StateRequests {
    /// Rewrites that were begun.
    begun: Cell<u64>,
    /// The last one that was begun and has succeeded.
    done: Cell<u64>,
    /// The rewrite that somebody waits for.
    wanted: Cell<u64>,
    written: Event,
}

impl StateRequests {
    pub fn is_waiting(&self) -> bool {
        self.wanted.get() > self.done.get()
    }
}

/// Returns true when the state as it is now is in the state file, durably; false when the store ends or fails before.
pub(crate) async fn checkpoint_now(shared: &Shared) -> bool {
    checkpoint_unless(shared, || false).await
}

/// The same, for somebody who does not wait any longer once `given_up` says so.
pub(crate) async fn checkpoint_unless(shared: &Shared, given_up: impl Fn() -> bool) -> bool {
    let requests = &shared.state_requests;
    let mine = requests.begun.get() + 1;
    requests.wanted.set(requests.wanted.get().max(mine));
    loop {
        let written = requests.written.listen();
        if requests.done.get() >= mine {
            return true;
        }
        if shared.failed.borrow().is_some() || given_up() {
            return false;
        }
        if shared.flusher_done.get() && shared.commit_done.get() {
            // The store is closing, and waits for whoever holds flushes.
            return write(shared, &collect(shared, false)).await.is_ok();
        }
        shared.flush_wanted.notify_all();
        shared.ring.timeout(shared.ring.now() + REQUEST_LOOK, written).await;
    }
}

pub(crate) fn is_due(shared: &Shared, since: Duration) -> bool {
    since >= shared.config.state_interval
        && (shared.state_dirty.get().is_some() || shared.partitions.borrow().values().any(|partition| partition.touched.get()))
}

/// What is known of `partition` now; its producers may be ahead of what is durable.
pub(crate) fn partition_state(partition: &PartitionShared) -> PartitionState {
    let log = partition.log.borrow();
    let marks = log.marks();
    PartitionState {
        partition: partition.tp,
        topic: partition.topic_name.to_string(),
        directory: partition.path.directory() as u16,
        log_start: marks.log_start.offset(),
        flushed: marks.flushed.offset(),
        high_watermark: marks.high_watermark.offset(),
        producers_at: marks.appended.offset(),
        epochs: log.epochs().entries().to_vec(),
        segments: log.segments().iter().map(SegmentState::of).collect(),
        producers: state::producer_rows(log.producers()),
    }
}

pub(crate) fn collect(shared: &Shared, clean: bool) -> ShardState {
    ShardState {
        clean,
        journal: shared.journal_id,
        last_sequence: shared.commit.durable.get(),
        journal_end: None,
        directories: shared.config.log_dirs.iter().map(|path| path.to_string_lossy().into_owned()).collect(),
        partitions: shared
            .sorted_partitions()
            .iter()
            .map(|partition| partition_state(partition))
            .chain(shared.retained.borrow().values().cloned())
            .collect(),
    }
}

/// Rewrites the state of a running store. It may name producers of appends that are not durable yet, so those are waited for first.
pub(crate) async fn checkpoint(shared: &Rc<Shared>) {
    let number = shared.state_requests.begun.get() + 1;
    shared.state_requests.begun.set(number);
    // Log start changes from here on are not in this state.
    shared.state_writing.set(shared.state_dirty.take());
    for partition in shared.partitions.borrow().values() {
        partition.touched.set(false);
    }
    let mut state = collect(shared, false);
    let collected = &shared.compaction.state_collected;
    collected.set(collected.get() + 1);
    let collected = collected.get();
    let appended = state
        .partitions
        .iter()
        .filter_map(|partition| shared.partitions.borrow().get(&partition.partition).map(|p| p.log.borrow().last_sequence()))
        .max();
    if let Some(sequence) = appended {
        loop {
            let committed = shared.commit.event(sequence).listen();
            if shared.commit.durable.get() >= sequence {
                break;
            }
            if shared.failed.borrow().is_some() {
                return;
            }
            if shared.journal_full.get() && shared.state_writing.get().is_none() {
                // The journal waits for what this task flushes.
                return;
            }
            shared.ring.timeout(shared.ring.now() + REQUEST_LOOK, committed).await;
        }
    }
    state.last_sequence = shared.commit.durable.get().min(state.last_sequence.max(appended.unwrap_or(Sequence(0))));
    match write(shared, &state).await {
        Ok(()) => {
            shared.state_writing.set(None);
            shared.set_state_full(false);
            shared.state_requests.done.set(number);
            shared.state_requests.written.notify_all();
            shared.compaction.state_written.set(collected);
            shared.release_journal();
        }
        Err(error) => {
            shared.set_state_full(error.is_full());
            shared.state_dirty.set(shared.state_writing.take().or(shared.state_dirty.get()));
            tracing::warn!("the shard's state could not be saved, an unclean start would have more to check: {error}");
        }
    }
}

/// Writes the state of a start. Where there is no room for it the start goes on with what the file says already, but not with a clean stop.
pub(crate) async fn write_first(shared: &Shared, clean: bool) -> Result<bool, StoreError> {
    match write(shared, &collect(shared, false)).await {
        Err(error) if error.is_full() => {
            if clean {
                disown(shared).await?;
            }
            shared.set_state_full(true);
            tracing::error!(shard = %shared.config.shard, "the start goes on without a new state file: {error}");
            Ok(false)
        }
        other => other.map(|()| true),
    }
}

/// Takes its name from a state file that says that the stop was clean: what it says else stays true of a log that goes on, as of any state file
/// that is older than its log. A name takes no room.
async fn disown(shared: &Shared) -> Result<(), StoreError> {
    let (from, directory) = (path(shared), shared.config.log_dirs.first().cloned().unwrap_or_default());
    let to = directory.join(disowned_name(shared.config.shard));
    shared.ring.rename(&from, &to).await.map_err(|error| StoreError::io("rename", &from, error))?;
    shared.ring.sync_dir(&directory).await.map_err(|error| StoreError::io("flush", &directory, error))?;
    shared.state_disowned.set(true);
    Ok(())
}

pub(crate) async fn write(shared: &Shared, state: &ShardState) -> Result<(), StoreError> {
    let path = path(shared);
    shared.ring.write_atomically(&path, &state::encode(state)).await.map_err(|error| StoreError::io("write", &path, error))?;
    if shared.state_disowned.replace(false) {
        segment_files::remove(&shared.ring, &path.with_file_name(disowned_name(shared.config.shard))).await?;
    }
    let partitions = shared.partitions.borrow();
    for state in &state.partitions {
        if let Some(partition) = partitions.get(&state.partition) {
            partition.producers_saved.set(state.producers_at);
        }
    }
    Ok(())
}
