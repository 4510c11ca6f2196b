//! Reading for fetches from the partitions of this shard.

use crate::messages::{ReadCall, ReadItem, ReadOutcome, WatchCall};
use crate::partitions::check_epoch;
use crate::shard::Shard;
use futures_util::future::{FutureExt, select_all};
use odradek_base::{LeaderEpoch, Offset};
use odradek_store::{Marks, Partition, ReadError};
use odradek_wire::ErrorCode;
use odradek_wire::fetch::AbortedTransaction;
use std::rc::Rc;

/// Reads every item, up to `call.bytes_max` together.
pub async fn read_all(shard: &Rc<Shard>, call: &ReadCall) -> Vec<ReadOutcome> {
    let mut room = call.bytes_max;
    let mut at_least_one = call.at_least_one;
    let mut outcomes = Vec::with_capacity(call.items.len());
    let mut assembled = shard.connections.queued.assemble();
    for item in &call.items {
        let outcome = read_one(shard, item, room, at_least_one, call.read_committed).await;
        let bytes = outcome.bytes();
        assembled.add(bytes);
        shard.counters.fetch(bytes);
        room = room.saturating_sub(bytes);
        at_least_one &= bytes == 0;
        outcomes.push(outcome);
    }
    outcomes
}

async fn read_one(shard: &Rc<Shard>, item: &ReadItem, room: usize, at_least_one: bool, read_committed: bool) -> ReadOutcome {
    let Some(partition) = shard.partition(item.tp) else {
        return ReadOutcome::failed(shard.missing(item.tp));
    };
    if let Err(error) = partition.check() {
        return ReadOutcome::failed(error.code());
    }
    if let Err(error) = check_epoch(item.current_leader_epoch, item.leader_epoch) {
        return ReadOutcome::failed(error);
    }
    let marks = partition.marks();
    if let Some(diverging) = divergence(&partition, &marks, item) {
        return ReadOutcome { diverging: Some(diverging), ..told(&marks) };
    }
    if item.offset < marks.log_start.0 || item.offset > marks.appended.0 {
        return ReadOutcome::failed(ErrorCode::OffsetOutOfRange);
    }
    let upto = if read_committed { marks.last_stable.0 } else { marks.high_watermark.0 };
    let bytes_max = item.bytes_max.min(room);
    if item.offset >= upto || (bytes_max == 0 && !at_least_one) {
        return told(&marks);
    }
    let records = match partition.read_memory(item.offset, upto, bytes_max, at_least_one) {
        Some(data) => data.batches,
        None => match partition.read(item.offset, upto, bytes_max, at_least_one).await {
            Ok(data) => data.batches,
            Err(error) => return ReadOutcome::failed(read_error_code(item, &error)),
        },
    };
    let mut outcome = told(&marks);
    if read_committed && !records.is_empty() {
        outcome.aborted = partition
            .aborted_transactions(item.offset, upto)
            .into_iter()
            .map(|aborted| AbortedTransaction { producer_id: aborted.producer_id, first_offset: aborted.first_offset })
            .collect();
    }
    outcome.records = records;
    outcome
}

fn told(marks: &Marks) -> ReadOutcome {
    ReadOutcome {
        high_watermark: marks.high_watermark.0,
        last_stable_offset: marks.last_stable.0,
        log_start_offset: marks.log_start.0,
        ..ReadOutcome::default()
    }
}

/// KIP-595 style divergence: what the reader fetched last comes from an epoch that ended earlier here.
fn divergence(partition: &Partition, marks: &Marks, item: &ReadItem) -> Option<(LeaderEpoch, Offset)> {
    if item.last_fetched_epoch.get() < 0 {
        return None;
    }
    let (epoch, end) = partition.end_offset_for_epoch(item.last_fetched_epoch)?;
    let differs = epoch < item.last_fetched_epoch || end < item.offset;
    (differs && item.offset <= marks.appended.0).then_some((epoch, end))
}

fn read_error_code(item: &ReadItem, error: &ReadError) -> ErrorCode {
    let code = error.code();
    if !matches!(
        code,
        ErrorCode::OffsetOutOfRange | ErrorCode::NotLeaderOrFollower | ErrorCode::UnknownTopicOrPartition | ErrorCode::CorruptMessage
    ) {
        tracing::error!(partition = %item.tp, offset = %item.offset, %error, "read failed");
    }
    code
}

/// Waits until one of the partitions has news for its reader, or for `wait_max`.
pub async fn watch(shard: &Rc<Shard>, call: WatchCall) {
    let deadline = shard.ring.now() + call.wait_max;
    loop {
        let mut news = Vec::with_capacity(call.items.len());
        for (tp, seen) in &call.items {
            let Some(partition) = shard.partition(*tp) else { return };
            // Listen first, look then: nothing can slip in between.
            news.push(partition.changed().listen().boxed_local());
            if partition.check().is_err() {
                return;
            }
            let marks = partition.marks();
            let end = if call.read_committed { marks.last_stable.0 } else { marks.high_watermark.0 };
            if end > *seen || marks.log_start.0 > *seen {
                return;
            }
        }
        if news.is_empty() {
            shard.ring.sleep_until(deadline).await;
            return;
        }
        if shard.ring.timeout(deadline, select_all(news)).await.is_none() {
            return;
        }
    }
}
