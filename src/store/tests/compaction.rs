//! Compaction on the simulated ring: whatever the history and wherever it is cut off, the log's last value of each key is what a plain
//! model says, offsets and records never change, and readers go on reading.

mod support;

use bytes::Bytes;
use odradek_base::{Offset, Rng, ShardId, Timestamp};
use odradek_log::test_batches;
use odradek_ring::Ring;
use odradek_ring::sim::{CrashMode, HostId, World, WorldOptions};
use odradek_store::{CleanupPolicy, Compacted, Durability, LogConfig, Partition, RecoveryReport, Store, StoreConfig};
use odradek_wire::batch::{BatchView, batches};
use odradek_wire::compress::Codec;
use odradek_wire::records::{BatchBuilder, Record, RecordReader};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;
use support::*;

const HOST: HostId = HostId(1);
const DAY: i64 = 86_400_000;
/// When the first compaction runs; the records are older.
const NOW: i64 = 10 * DAY;
const KEYS: u64 = 40;

fn log_config() -> LogConfig {
    LogConfig {
        segment_bytes: 16 << 10,
        index_interval_bytes: 1024,
        cleanup: CleanupPolicy { delete: false, compact: true },
        min_cleanable_dirty_ratio: 0.0,
        file_delete_delay_ms: 50,
        ..LogConfig::default()
    }
}

fn config(dedupe_bytes: usize) -> StoreConfig {
    let mut config = StoreConfig { bypass_bytes: 8 << 10, tail_cache_bytes: 64 << 10, ..small(Path::new("/data")) };
    config.compaction.dedupe_bytes = dedupe_bytes;
    config
}

fn open(world: &World, dedupe_bytes: usize) -> (Ring, Store, Partition, RecoveryReport) {
    let ring = world.ring(HOST, ShardId(0));
    let (store, report) =
        world.block_on(&ring, Store::open(ring.clone(), config(dedupe_bytes), vec![spec(0, log_config())])).expect("open");
    assert!(report.damaged.is_empty() && report.holes.is_empty(), "{report:?}");
    let partition = store.partition(tp(0)).expect("owned");
    (ring, store, partition, report)
}

/// Every record that was acknowledged, by offset.
type Model = BTreeMap<i64, (Bytes, Option<Bytes>)>;

fn key_and_value(record: &Record) -> (Bytes, Option<Bytes>) {
    (record.key.clone().unwrap_or_default(), record.value.clone())
}

/// Appends random batches, some segments of them, and lets everything be flushed.
fn produce(world: &World, ring: &Ring, partition: &Partition, model: &mut Model, rng: &mut Rng) {
    for _ in 0..40 {
        let mut builder = BatchBuilder::new(Codec::ALL[rng.below(5) as usize]).base_timestamp(Timestamp(1000));
        for _ in 0..1 + rng.below(6) {
            let key = rng.below(KEYS).to_be_bytes();
            let mut value = vec![0; 8 + rng.below(700) as usize];
            value.iter_mut().for_each(|byte| *byte = rng.below(256) as u8);
            let timestamp = Timestamp(1000 + model.len() as i64 + rng.below(50) as i64);
            builder.append(timestamp, Some(&key), (!rng.chance(5)).then_some(&value), &[(b"h", None), (b"h", Some(b"x"))]);
        }
        let batch = test_batches::valid(builder.build());
        let appended = append(partition, &batch, Durability::Durable);
        world.block_on(ring, partition.wait(appended.ticket)).expect("durable");
        for record in RecordReader::new(&batch.bytes, 1 << 24).expect("records") {
            let record = record.expect("a record");
            model.insert(appended.base_offset.get() + record.offset.get(), key_and_value(&record));
        }
    }
    world.run_for(Duration::from_secs(3));
}

/// All records from `from` on; in offset order, each as the model has it.
async fn read(partition: Partition, from: i64) -> Vec<Record> {
    let end = partition.marks().high_watermark.offset();
    let (mut at, mut found) = (Offset(from), Vec::new());
    while at < end {
        let data = partition.read(at, end, 8 << 10, true).await.expect("readable");
        let before = at;
        for part in &data.batches {
            for view in batches(part) {
                let view = view.expect("whole batches");
                assert!(view.crc_valid() && view.last_offset() >= at);
                at = view.next_offset();
                let records = RecordReader::new(&part.slice_ref(view.bytes()), 1 << 24).expect("records");
                found.extend(records.map(|record| record.expect("a record")).filter(|record| record.offset.get() >= from));
            }
        }
        if at == before {
            // Nothing is left behind a gap at the end.
            break;
        }
    }
    found
}

fn last_values(rows: impl Iterator<Item = (Bytes, Option<Bytes>)>) -> BTreeMap<Bytes, Bytes> {
    let all: BTreeMap<Bytes, Option<Bytes>> = rows.collect();
    all.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
}

fn check(found: &[Record], model: &Model, context: &str) {
    let mut last = -1;
    for record in found {
        assert!(record.offset.get() > last, "{context}: offset {} twice", record.offset);
        last = record.offset.get();
        assert_eq!(model.get(&last), Some(&key_and_value(record)), "{context}: offset {last}");
        assert_eq!(record.headers.len(), 2, "{context}: headers with the same key");
    }
    let expected = last_values(model.values().cloned());
    assert_eq!(last_values(found.iter().map(key_and_value)), expected, "{context}: last value of each key");
}

/// Reads from everywhere while files are replaced.
async fn keep_reading(ring: Ring, partition: Partition, model: Rc<Model>, stop: Rc<Cell<bool>>, mut rng: Rng) {
    while !stop.get() {
        ring.sleep(Duration::from_millis(10)).await;
        let from = rng.below(model.len() as u64) as i64;
        let found = read(partition.clone(), from).await;
        let expected = last_values(model.range(from..).map(|(_, row)| row.clone()));
        let seen: BTreeMap<Bytes, Option<Bytes>> = found.iter().map(key_and_value).collect();
        for (key, value) in expected {
            assert_eq!(seen.get(&key), Some(&Some(value)), "a reader from {from} misses a last value");
        }
    }
}

async fn compact_all(partition: Partition, mut now: i64) -> Vec<Compacted> {
    let mut rounds = Vec::new();
    while let Some(compacted) = partition.run_compaction(Timestamp(now)).await.expect("compaction") {
        now += 1;
        rounds.push(compacted);
        assert!(rounds.len() < 1000);
    }
    rounds
}

/// Time lookups give the first record that is there with at least that time.
async fn check_times(partition: Partition, found: Vec<Record>) {
    for target in (900..1600).step_by(37) {
        let expected = found.iter().find(|record| record.timestamp.get() >= target).map(|record| (record.timestamp, record.offset));
        let answer = partition.offset_for_timestamp(Timestamp(target)).await.expect("lookup");
        assert_eq!(answer.map(|(timestamp, offset, _)| (timestamp, offset)), expected, "time {target}");
    }
    let largest = found.iter().map(|record| record.timestamp).max().expect("records");
    let answer = partition.offset_of_max_timestamp().await.expect("lookup").expect("one");
    assert_eq!(answer.0, largest);
    assert!(found.iter().any(|record| (record.timestamp, record.offset) == (answer.0, answer.1)));
    assert_eq!(partition.end_offset_for_epoch(EPOCH), Some((EPOCH, partition.marks().appended.offset())));
}

/// One history, compacted again and again; clean restarts and time lookups in between.
fn history(seed: u64, dedupe_bytes: usize) {
    let world = World::new(seed, WorldOptions::default());
    let (mut rng, mut model) = (world.rng(), Model::new());
    let mut reclaimed = 0;
    for round in 0..3 {
        let (ring, store, partition, _) = open(&world, dedupe_bytes);
        produce(&world, &ring, &partition, &mut model, &mut rng);
        let stop = Rc::new(Cell::new(false));
        for _ in 0..2 {
            ring.spawn(keep_reading(ring.clone(), partition.clone(), Rc::new(model.clone()), stop.clone(), rng.fork()));
        }
        let rounds = world.block_on(&ring, compact_all(partition.clone(), NOW + round * 2 * DAY));
        assert!(!rounds.is_empty(), "seed {seed}: something was due");
        reclaimed += rounds.iter().map(|round| round.bytes_before.saturating_sub(round.bytes_after)).sum::<u64>();
        stop.set(true);
        world.run_for(Duration::from_secs(2));
        world.block_on(&ring, store.close()).expect("close");
        world.crash(HOST, CrashMode::Kill);
        let (ring, store, partition, report) = open(&world, dedupe_bytes);
        assert!(report.clean, "{report:?}");
        let found = world.block_on(&ring, read(partition.clone(), 0));
        check(&found, &model, &format!("seed {seed} round {round}"));
        world.block_on(&ring, check_times(partition.clone(), found));
        assert_eq!(world.block_on(&ring, compact_all(partition, NOW + round * 2 * DAY)), [], "where it ended is known after a restart");
        world.block_on(&ring, store.close()).expect("close");
        world.crash(HOST, CrashMode::Kill);
    }
    assert!(reclaimed > 50 << 10, "seed {seed}: {reclaimed} bytes");
}

#[test]
fn random_histories_keep_the_last_value_of_each_key() {
    for seed in 1..3 {
        // Every other history has a table too small for its keys.
        history(seed, if seed % 2 == 0 { 24 * 16 } else { 1 << 20 });
    }
}

/// Crashes `after` the start of a compaction; returns how long the compaction takes when it is not cut off.
fn cut_off(seed: u64, after: Option<Duration>, mode: CrashMode) -> Duration {
    let world = World::new(seed, WorldOptions::default());
    let (mut rng, mut model) = (world.rng(), Model::new());
    let (ring, _store, partition, _) = open(&world, 1 << 20);
    produce(&world, &ring, &partition, &mut model, &mut rng);
    // A first compaction, so that the second one replaces what the first one made.
    world.block_on(&ring, compact_all(partition.clone(), NOW));
    produce(&world, &ring, &partition, &mut model, &mut rng);
    let started = ring.now();
    let Some(after) = after else {
        world.block_on(&ring, compact_all(partition, NOW + 2 * DAY));
        return ring.now() - started;
    };
    let compaction = compact_all(partition, NOW + 2 * DAY);
    ring.spawn(async move { drop(compaction.await) });
    world.run_for(after);
    world.crash(HOST, mode);
    for restart in 0..2 {
        // The second start comes after a crash at once: the first one's repairs are not in the state file of a clean stop.
        let (ring, _store, partition, _) = open(&world, 1 << 20);
        let found = world.block_on(&ring, read(partition.clone(), 0));
        let context = format!("seed {seed}, {mode:?} after {after:?}, start {restart}");
        check(&found, &model, &context);
        world.block_on(&ring, check_times(partition.clone(), found));
        if restart == 1 {
            world.block_on(&ring, compact_all(partition.clone(), NOW + 4 * DAY));
            let found = world.block_on(&ring, read(partition.clone(), 0));
            check(&found, &model, &context);
        }
        world.crash(HOST, mode);
    }
    let (ring, _store, partition, _) = open(&world, 1 << 20);
    check(&world.block_on(&ring, read(partition, 0)), &model, "after the last crash");
    Duration::ZERO
}

#[test]
fn a_crash_at_any_moment_of_a_compaction_is_safe() {
    const MOMENTS: u32 = 16;
    for seed in [1] {
        let takes = cut_off(seed, None, CrashMode::Kill);
        for moment in 0..=MOMENTS {
            for mode in [CrashMode::Kill, CrashMode::PowerLoss] {
                cut_off(seed, Some(takes * moment / MOMENTS), mode);
            }
        }
    }
}

#[test]
fn batches_stay_whole_and_name_their_offsets() {
    let world = World::new(9, WorldOptions::default());
    let (mut rng, mut model) = (world.rng(), Model::new());
    let (ring, store, partition, _) = open(&world, 1 << 20);
    produce(&world, &ring, &partition, &mut model, &mut rng);
    let before = partition.size_bytes();
    world.block_on(&ring, compact_all(partition.clone(), NOW));
    assert!(partition.size_bytes() < before * 3 / 4, "{} of {before} bytes left", partition.size_bytes());
    world.block_on(&ring, store.close()).expect("close");
    world.crash(HOST, CrashMode::Kill);
    let (ring, _store, partition, _) = open(&world, 1 << 20);
    // A read from an offset that is gone gives the batch that has it or the next one.
    let found = world.block_on(&ring, read(partition.clone(), 0));
    for from in 0..model.len() as i64 {
        let (partition, end) = (partition.clone(), partition.marks().high_watermark.offset());
        let data = world.block_on(&ring, async move { partition.read(Offset(from), end, 1, true).await }).expect("readable");
        let view = BatchView::parse(data.batches.first().expect("a batch")).expect("whole");
        assert!(view.last_offset().get() >= from);
        let next = found.iter().find(|record| record.offset.get() >= from).expect("the active segment has records");
        assert!(view.base_offset() <= next.offset);
    }
}

/// All records of a segment are superseded, and the state file was written when it was half full: it ends below what was flushed then.
#[test]
fn a_segment_that_compaction_emptied_may_end_below_what_was_flushed() {
    for (seed, mode) in (1..7).zip([CrashMode::Kill, CrashMode::PowerLoss].into_iter().cycle()) {
        let world = World::new(seed, WorldOptions::default());
        let fill = |ring: &Ring, partition: &Partition, batches: usize| {
            for _ in 0..batches {
                let mut builder = BatchBuilder::new(Codec::None).base_timestamp(Timestamp(1000));
                builder.append(Timestamp(1000), Some(b"key"), Some(&[1; 1000]), &[]);
                let batch = test_batches::valid(builder.build());
                let appended = append(partition, &batch, Durability::Durable);
                world.block_on(ring, partition.wait(appended.ticket)).expect("durable");
            }
            world.run_for(Duration::from_secs(3));
        };
        let (ring, _store, partition, _) = open(&world, 1 << 20);
        fill(&ring, &partition, 8);
        world.crash(HOST, CrashMode::Kill);
        // The state file of this start is the last one.
        let ring = world.ring(HOST, ShardId(0));
        let config = StoreConfig { state_interval: Duration::from_secs(1 << 20), ..config(1 << 20) };
        let opening = Store::open(ring.clone(), config, vec![spec(0, log_config())]);
        let (store, _) = world.block_on(&ring, opening).expect("open");
        let partition = store.partition(tp(0)).expect("owned");
        fill(&ring, &partition, 40);
        world.block_on(&ring, compact_all(partition.clone(), NOW));
        let offsets = |records: Vec<Record>| records.iter().map(|record| record.offset.get()).collect::<Vec<_>>();
        world.crash(HOST, mode);
        let (ring, _store, partition, _) = open(&world, 1 << 20);
        let left = offsets(world.block_on(&ring, read(partition, 0)));
        assert!(left.first() > Some(&9) && left.last() == Some(&47), "seed {seed}, {mode:?}: {left:?}");
    }
}
