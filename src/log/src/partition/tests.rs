//! The partition against a plain model: random appends, completions, flushes, evictions and DeleteRecords.

use super::*;
use crate::journal::format::JournalId;
use crate::journal::writer::{SealedBlock, Writer, WriterLimits};
use crate::test_batches;
use odradek_base::{PartitionIndex, ShardId, TopicId};
use odradek_wire::batch::{BatchView, batches};
use std::collections::{BTreeMap, VecDeque};

fn log(config: LogConfig) -> PartitionLog {
    let partition = TopicPartition::new(TopicId::NONE, PartitionIndex(0));
    PartitionLog::new(partition, config, Offset::ZERO, Timestamp(0), Rng::with_seed(1))
}

fn writer() -> Writer<()> {
    Writer::new(ShardId(0), JournalId(1), Sequence(1), WriterLimits { block_bytes_max: 16 << 10, arena_bytes: 32 << 10 })
}

fn context(origin: AppendOrigin) -> AppendContext {
    AppendContext { leader_epoch: LeaderEpoch(1), now: Timestamp(9000), origin, durable: true }
}

/// Segment files as plain bytes, and every batch in order.
#[derive(Default)]
struct Model {
    files: BTreeMap<Offset, Vec<u8>>,
    batches: Vec<(Offset, Offset, usize)>,
    completed: usize,
}

fn complete(log: &mut PartitionLog, model: &mut Model, block: &SealedBlock<()>) {
    for entry in &block.entries {
        assert!(log.completed(entry.base_offset, entry.last_offset, block.sequence, block.payload(entry)));
        model.completed += 1;
    }
}

fn flush(log: &mut PartitionLog, model: &mut Model, bytes_max: u64) -> bool {
    let Some(plan) = log.plan_flush(bytes_max) else { return false };
    let file = model.files.entry(plan.segment).or_default();
    assert_eq!(file.len() as u64, plan.position, "flushes append");
    plan.batches.iter().for_each(|batch| file.extend_from_slice(batch));
    log.flushed(&plan);
    true
}

/// What the files and the tail hold together is what was appended.
fn check(log: &PartitionLog, model: &Model) {
    let marks = log.marks();
    let end = model.batches.last().map_or(0, |(_, last, _)| last.get() + 1);
    assert_eq!(marks.appended.get(), end);
    let durable = model.completed.checked_sub(1).map_or(0, |at| model.batches[at].1.get() + 1);
    assert_eq!((marks.durable.get(), marks.high_watermark.get()), (durable, durable));
    let mut flushed = 0;
    for (base, file) in &model.files {
        let segment = &log.segments()[log.segment_by_base(*base).expect("a segment for each file")];
        assert_eq!(segment.flushed_bytes, file.len() as u64);
        let mut position = 0u64;
        for batch in batches(file).map(|batch| batch.expect("whole batches")) {
            assert_eq!(batch.base_offset(), model.batches[flushed].0);
            // Index entries point at the batches they name.
            for entry in segment.offset_index.memory().iter().filter(|entry| u64::from(entry.position) == position) {
                assert_eq!(base.get() + i64::from(entry.relative_offset), batch.last_offset().get());
            }
            position += batch.total_bytes() as u64;
            flushed += 1;
        }
    }
    assert_eq!(marks.flushed.get(), flushed.checked_sub(1).map_or(0, |at| model.batches[at].1.get() + 1));
    let pending: Vec<Offset> = log.tail().pending().map(|batch| batch.base_offset).collect();
    let expected: Vec<Offset> = model.batches[flushed..model.completed].iter().map(|(base, _, _)| *base).collect();
    assert_eq!(pending, expected, "what is not flushed is in memory");
    assert_eq!(log.size_bytes(), model.batches.iter().map(|(_, _, bytes)| *bytes as u64).sum::<u64>());
}

#[test]
fn random_histories_match_the_model() {
    for seed in 0..200 {
        let mut rng = Rng::with_seed(seed);
        let config = LogConfig { segment_bytes: 4000 + rng.below(20_000) as u32, index_interval_bytes: 1000, ..LogConfig::default() };
        let (mut log, mut writer, mut model, mut in_flight) = (log(config), writer(), Model::default(), VecDeque::new());
        for _ in 0..200 {
            match rng.below(10) {
                0..5 => {
                    let batch = test_batches::valid(test_batches::plain(1 + rng.below(5) as usize, rng.below(1500) as usize));
                    let appended =
                        log.append(&mut writer, &(), std::slice::from_ref(&batch), context(AppendOrigin::Client)).expect("append");
                    model.batches.push((appended.base_offset, appended.last_offset, batch.bytes.len()));
                }
                5..7 => in_flight.extend(writer.take(Sequence(1))),
                7 => {
                    if let Some(block) = in_flight.pop_front() {
                        complete(&mut log, &mut model, &block);
                    }
                }
                8 => {
                    flush(&mut log, &mut model, rng.below(10_000));
                }
                _ => {
                    let before = log.tail().len();
                    log.evict(Sequence(rng.below(20)));
                    assert!(log.tail().len() <= before);
                }
            }
            check(&log, &model);
        }
        in_flight.extend(std::iter::from_fn(|| writer.take(Sequence(1))));
        for block in in_flight {
            complete(&mut log, &mut model, &block);
        }
        while flush(&mut log, &mut model, 5000) {}
        check(&log, &model);
        assert_eq!(log.marks().flushed.get(), log.marks().appended.get());
    }
}

#[test]
fn duplicates_change_nothing() {
    let (mut log, mut writer) = (log(LogConfig::default()), writer());
    let one = test_batches::idempotent(5, 0, 0, 3);
    let first = log.append(&mut writer, &(), std::slice::from_ref(&one), context(AppendOrigin::Client)).expect("append");
    let again = log.append(&mut writer, &(), std::slice::from_ref(&one), context(AppendOrigin::Client)).expect("duplicate");
    assert!(again.duplicate && !first.duplicate);
    assert_eq!((again.base_offset, again.last_offset, again.sequence), (first.base_offset, first.last_offset, first.sequence));
    assert_eq!(log.marks().appended.get(), 3);
    let gap = log.append(&mut writer, &(), &[test_batches::idempotent(5, 0, 9, 1)], context(AppendOrigin::Client));
    assert!(matches!(gap, Err(AppendError::Producer(crate::producer_state::ProducerError::OutOfOrderSequence { .. }))));
    // All or nothing: the second of two is out of order.
    let two = [test_batches::idempotent(5, 0, 3, 1), test_batches::idempotent(5, 0, 7, 1)];
    assert!(log.append(&mut writer, &(), &two, context(AppendOrigin::Client)).is_err());
    assert_eq!(log.marks().appended.get(), 3);
}

#[test]
fn delete_records_stays_below_the_high_watermark() {
    let (mut log, mut writer) = (log(LogConfig::default()), writer());
    let batch = test_batches::valid(test_batches::plain(9, 10));
    log.append(&mut writer, &(), &[batch], context(AppendOrigin::Client)).expect("append");
    assert!(log.resolve_log_start(Offset(1)).is_err(), "nothing is durable yet");
    let block = writer.take(Sequence(1)).expect("a block");
    complete(&mut log, &mut Model::default(), &block);
    assert_eq!(log.resolve_log_start(Offset(-1)), Ok(Offset(9)));
    assert!(log.resolve_log_start(Offset(10)).is_err() && log.resolve_log_start(Offset(-2)).is_err());
    assert!(log.advance_log_start(Offset(4)) && !log.advance_log_start(Offset(2)));
    assert_eq!(log.marks().log_start.get(), 4);
    let header = BatchView::parse(&block.payload(&block.entries[0])).expect("a batch").leader_epoch();
    assert_eq!(header, LeaderEpoch(1));
}

/// Appends a batch that is on stable storage and not yet in its segment.
fn append_durable(log: &mut PartitionLog, writer: &mut Writer<()>, batch: odradek_wire::batch::ValidBatch) {
    log.append(writer, &(), &[batch], context(AppendOrigin::Client)).expect("append");
    let block = writer.take(Sequence(u64::MAX)).expect("a block");
    complete(log, &mut Model::default(), &block);
}

fn flush_all(log: &mut PartitionLog) {
    while let Some(plan) = log.plan_flush(u64::MAX) {
        log.flushed(&plan);
    }
}

#[test]
fn a_segment_whose_files_wait_for_the_next_flush_is_not_compacted() {
    let cleanup = crate::config::CleanupPolicy { delete: false, compact: true };
    let (mut log, mut writer) = (log(LogConfig { segment_bytes: 2000, cleanup, ..LogConfig::default() }), writer());
    let batch = || test_batches::valid(test_batches::plain(1, 1500));
    append_durable(&mut log, &mut writer, batch());
    flush_all(&mut log);
    // The first segment is complete now, and flushed; its padding is still there.
    append_durable(&mut log, &mut writer, batch());
    assert_eq!(log.cleanable(None, Timestamp(9000)), None);
    flush_all(&mut log);
    assert_eq!(log.cleanable(None, Timestamp(9000)), None, "still about to be cut");
    assert_eq!(log.take_unfinished().len(), 1);
    assert_eq!(log.cleanable(None, Timestamp(9000)).map(|found| found.first_uncleanable), Some(Offset(1)));
}

#[test]
fn segments_with_what_a_producer_may_send_again_go_when_the_state_file_has_it() {
    let (mut log, mut writer) = (log(LogConfig { segment_bytes: 300, ..LogConfig::default() }), writer());
    for sequence in 0..20 {
        append_durable(&mut log, &mut writer, test_batches::idempotent(5, 0, sequence, 1));
    }
    flush_all(&mut log);
    let count = log.segments().len();
    let end_of = |count: usize| log.segments()[count - 1].next_offset;
    let known = log.producers_known_without(count, Offset::ZERO);
    assert!(end_of(known) <= Offset(15) && end_of(known + 1) > Offset(15), "the last five batches stay: {known} of {count} may go");
    assert_eq!(log.producers_known_without(count, Offset(20)), count, "all are saved");
    let half = log.producers_known_without(count, Offset(18));
    assert!(end_of(half) <= Offset(18) && half > known, "those up to there are saved");
    assert_eq!(log.producers_known_without(2, Offset(20)), 2);
}
