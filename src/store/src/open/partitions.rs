//! The owned partitions: restored, recovered, made, put off or kept closed.

use super::RecoveryReport;
use super::found::Found;
use super::locate::locate_and_recover;
use crate::config::PartitionSpec;
use crate::error::StoreError;
use crate::foreign::Checkpoints;
use crate::later::{self, Budget};
use crate::progress::Progress;
use crate::recovery::{self, Repairs};
use crate::shared::{PartitionShared, Shared};
use crate::torn::Torn;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use odradek_base::{Offset, Rng, TopicPartition};
use odradek_log::epochs::LeaderEpochs;
use odradek_log::marks::Marks;
use odradek_log::partition::PartitionLog;
use odradek_log::producer_state::ProducerState;
use odradek_log::segment::names;
use odradek_log::state::{self, PartitionState};
use std::collections::BTreeSet;
use std::rc::Rc;

/// Partitions that are recovered at the same time.
const RECOVERED_AT_ONCE: usize = 16;

/// What opening the partitions leaves to be done.
pub(super) struct Opened {
    /// Ends of segments that only the journal can tell about.
    pub torn: Vec<(TopicPartition, Torn)>,
    /// Per log directory.
    pub checkpoints: Rc<Vec<Checkpoints>>,
}

/// `in_journal` reads which partitions have entries in the journal.
pub(super) async fn open_partitions(
    shared: &Rc<Shared>,
    found: &Found,
    clean: bool,
    in_journal: impl AsyncFn() -> Result<BTreeSet<TopicPartition>, StoreError>,
    owned: Vec<PartitionSpec>,
    rng: &mut Rng,
    report: &mut RecoveryReport,
) -> Result<Opened, StoreError> {
    let (mut missing, mut torn) = (Vec::new(), Vec::new());
    let mut budget = Budget(shared.config.opening_bytes_max);
    let stranded: BTreeSet<TopicPartition> = shared.stranded.files().into_iter().map(|(tp, _)| tp).collect();
    let mut journaled_partitions = None;
    let mut opening = FuturesUnordered::new();
    let mut checkpoints = Vec::new();
    if owned.iter().any(|spec| !found.partitions.contains_key(&spec.tp)) {
        for directory in &shared.config.log_dirs {
            // Where it cannot be read its partitions are checked from their beginning, or fare as their directory does.
            let read = Checkpoints::read(&shared.ring, directory).await;
            checkpoints.push(read.unwrap_or_else(|error| {
                tracing::warn!("{error}");
                Checkpoints::default()
            }));
        }
    }
    let checkpoints = Rc::new(checkpoints);
    let mut results = Vec::new();
    // A directory that this shard has not had before has nothing in its journal.
    let journaled = found.own.is_some();
    let mut progress = Progress::new(shared.config.shard, "partitions", owned.len(), shared.ring.now(), &shared.config.recovery);
    let own: BTreeSet<TopicPartition> = found.own.iter().flat_map(|own| &own.partitions).map(|state| state.partition).collect();
    for spec in owned {
        let state = found.partitions.get(&spec.tp);
        let jitter = rng.fork();
        let own_state = own.contains(&spec.tp);
        if state.is_none() && !stranded.contains(&spec.tp) && budget.is_spent_by(shared, &spec, &checkpoints).await {
            if journaled_partitions.is_none() {
                journaled_partitions = Some(in_journal().await?);
            }
            if journaled_partitions.as_ref().is_some_and(|known| !known.contains(&spec.tp)) {
                report.put_off += 1;
                later::put_off(shared, spec);
                continue;
            }
        }
        let offline_state = state.filter(|state| !shared.offline.is_online(usize::from(state.directory)));
        match state {
            _ if offline_state.is_some() => {
                let reason = offline_state.and_then(|state| shared.offline.reason(usize::from(state.directory))).unwrap_or_default();
                keep_closed(shared, &spec, StoreError::PartitionOffline { partition: spec.tp, reason: reason.to_string() }, report);
            }
            Some(state) if clean || !own_state => {
                let mut log = restore(&spec, state, jitter);
                let indexes: BTreeSet<Offset> =
                    state.segments.iter().filter(|segment| segment.aborted_entries > 0).map(|segment| segment.base_offset).collect();
                if !indexes.is_empty() {
                    let log_dir = shared.config.log_dirs.get(usize::from(state.directory)).cloned().unwrap_or_default();
                    let path = log_dir.join(names::partition_directory(&spec.topic_name, spec.tp.partition));
                    if let Err(error) = recovery::restore_aborted(&shared.ring, &path, &mut log, &indexes).await {
                        keep_closed(shared, &spec, error, report);
                        continue;
                    }
                }
                insert(shared, &spec, usize::from(state.directory), log);
            }
            _ => {
                let shared = shared.clone();
                let markers = found.marker.clone();
                let state = state.cloned();
                let checkpoints = checkpoints.clone();
                opening.push(async move {
                    let result =
                        locate_and_recover(&shared, &spec, state.as_ref(), own_state, &markers, &checkpoints, journaled, jitter).await;
                    (spec, result)
                });
                if opening.len() >= RECOVERED_AT_ONCE {
                    results.extend(opening.next().await);
                }
            }
        }
        for (spec, result) in results.drain(..) {
            take_recovered(shared, spec, result, &mut missing, &mut torn, &mut progress, report);
        }
    }
    while let Some((spec, result)) = opening.next().await {
        take_recovered(shared, spec, result, &mut missing, &mut torn, &mut progress, report);
    }
    missing.sort_by_key(|spec| spec.tp);
    report.created = missing.len();
    if !missing.is_empty() {
        match crate::create::create_all(shared, &missing).await {
            // They are made when there is room.
            Err(error) if error.is_full() => {}
            other => other?,
        }
    }
    Ok(Opened { torn, checkpoints })
}

pub(super) type Recovered = Result<Option<(usize, PartitionLog, Repairs)>, StoreError>;

fn take_recovered(
    shared: &Rc<Shared>,
    spec: PartitionSpec,
    result: Recovered,
    missing: &mut Vec<PartitionSpec>,
    torn: &mut Vec<(TopicPartition, Torn)>,
    progress: &mut Progress,
    report: &mut RecoveryReport,
) {
    let bytes = result.as_ref().ok().and_then(Option::as_ref).map_or(0, |(_, _, repairs)| repairs.bytes_checked);
    progress.step(bytes, shared.ring.now());
    match result {
        Ok(Some((directory, log, repairs))) => {
            report.recovered += 1;
            report.batches_checked += repairs.batches_checked;
            report.bytes_checked += repairs.bytes_checked;
            report.truncated.extend(repairs.truncated);
            report.gaps.extend(repairs.gaps.into_iter().map(|(from, to)| (spec.tp, from, to)));
            torn.extend(repairs.torn.map(|torn| (spec.tp, torn)));
            shared.unlinks.borrow_mut().extend(repairs.replaced);
            insert(shared, &spec, directory, log);
        }
        // It may lie in a directory that is offline (`LogManager.getOrCreateLog`).
        Ok(None) if shared.offline.any() => {
            let reason = "it is in no log directory that is online, and others are offline".to_owned();
            keep_closed(shared, &spec, StoreError::PartitionOffline { partition: spec.tp, reason }, report);
        }
        Ok(None) => missing.push(spec),
        Err(error) => keep_closed(shared, &spec, error, report),
    }
}

fn keep_closed(shared: &Shared, spec: &PartitionSpec, error: StoreError, report: &mut RecoveryReport) {
    report.damaged.insert(spec.tp, error.to_string());
    shared.keep_closed(spec.tp, &spec.topic_name, error);
}

fn restore(spec: &PartitionSpec, state: &PartitionState, jitter: Rng) -> PartitionLog {
    let mut producers = ProducerState::default();
    producers.load(state.producers.iter().map(|row| (row.producer, row.entry.clone())).collect());
    let mut segments: Vec<_> = state.segments.iter().map(state::SegmentState::restore).collect();
    if segments.is_empty() {
        segments.push(odradek_log::segment::meta::Segment::new(state.flushed, odradek_base::Timestamp(0)));
    }
    let epochs = LeaderEpochs::restore(state.epochs.clone());
    PartitionLog::restore(spec.tp, spec.config, Marks::settled(state.log_start, state.flushed), segments, producers, epochs, jitter)
}

pub(crate) fn insert(shared: &Shared, spec: &PartitionSpec, directory: usize, log: PartitionLog) -> Rc<PartitionShared> {
    let directory = directory.min(shared.config.log_dirs.len().saturating_sub(1));
    let log_dir = shared.config.log_dirs.get(directory).cloned().unwrap_or_default();
    let partition = PartitionShared::new(spec.tp, &spec.topic_name, directory, &log_dir, log);
    shared.partitions.borrow_mut().insert(spec.tp, partition.clone());
    partition
}
