//! A segment file in the middle of a log is missing: the rest is served, nothing is cut, and the start says what is not there.

mod support;

use odradek_base::{Offset, ShardId};
use odradek_log::config::CleanupPolicy;
use odradek_ring::Ring;
use odradek_ring::sim::{CrashMode, HostId, World, WorldOptions};
use odradek_store::{Durability, LogConfig, RecoveryReport, Store};
use odradek_wire::ErrorCode;
use std::path::{Path, PathBuf};
use std::time::Duration;
use support::*;

const HOST: HostId = HostId(1);

fn open(world: &World, config: LogConfig) -> (Ring, Store, RecoveryReport) {
    let ring = world.ring(HOST, ShardId(0));
    let opening = Store::open(ring.clone(), small(Path::new("/data")), vec![spec(0, config)]);
    let (store, report) = world.block_on(&ring, opening).expect("open");
    assert!(report.damaged.is_empty() && report.truncated.is_empty(), "{report:?}");
    (ring, store, report)
}

fn put(world: &World, ring: &Ring, store: &Store, ids: std::ops::Range<u64>) -> Vec<Row> {
    let (store, pacing) = (store.clone(), ring.clone());
    world.block_on(ring, async move {
        let mut rows = Vec::new();
        for id in ids {
            store.wait_admission().await;
            let partition = store.partition(tp(0)).expect("there");
            let appended = append(&partition, &batch(id, 1, 9_000), Durability::Durable);
            partition.wait(appended.ticket).await.expect("durable");
            rows.push((appended.base_offset.get(), appended.last_offset.get(), id));
        }
        // The segments get them.
        pacing.sleep(Duration::from_secs(3)).await;
        rows
    })
}

fn rows_from(world: &World, ring: &Ring, store: &Store, from: i64) -> Vec<Row> {
    let partition = store.partition(tp(0)).expect("there");
    world.block_on(ring, async move { read_all(&partition, Offset(from), 20_000).await.expect("readable") })
}

/// Removes the third segment; the offsets that it had.
fn remove_one(world: &World) -> (i64, i64) {
    let segments: Vec<String> = world.files(HOST).into_iter().map(|(path, _)| path).filter(|path| path.ends_with(".log")).collect();
    assert!(segments.len() > 4, "{segments:?}");
    let base = |path: &str| -> i64 { path[path.len() - 24..path.len() - 4].parse().expect("an offset") };
    let (removed, next) = (segments[2].clone(), &segments[3]);
    let offsets = (base(&removed), base(next));
    let ring = world.ring(HOST, ShardId(9));
    let removing = ring.clone();
    world.block_on(&ring, async move {
        removing.remove_file(&PathBuf::from(removed)).await.expect("removed");
        removing.sync_dir(Path::new("/data/orders-0")).await.expect("flushed");
    });
    offsets
}

#[test]
fn what_lies_behind_a_gap_is_served_and_the_gap_is_named() {
    for seed in 1..=8 {
        let world = World::new(seed, WorldOptions::default());
        let (ring, store, _) = open(&world, small_segments());
        let mut rows = put(&world, &ring, &store, 0..60);
        world.crash(HOST, if seed.is_multiple_of(2) { CrashMode::PowerLoss } else { CrashMode::Kill });
        let (from, to) = remove_one(&world);
        world.crash(HOST, CrashMode::Kill);
        let (ring, store, report) = open(&world, small_segments());
        assert_eq!(report.gaps, [(tp(0), Offset(from), Offset(to))]);
        rows.retain(|row| row.1 < from || row.0 >= to);
        assert_eq!(rows_from(&world, &ring, &store, 0), rows);
        let behind: Vec<Row> = rows.iter().copied().filter(|row| row.0 >= to).collect();
        for asked in [from, from + 1, to - 1, to] {
            assert_eq!(rows_from(&world, &ring, &store, asked), behind, "from {asked}");
        }
        rows.extend(put(&world, &ring, &store, 100..130));
        world.crash(HOST, CrashMode::Kill);
        let (ring, store, report) = open(&world, small_segments());
        assert_eq!(report.gaps, [(tp(0), Offset(from), Offset(to))], "it is told again");
        assert_eq!(rows_from(&world, &ring, &store, 0), rows);
        world.block_on(&ring, store.close()).expect("close");
    }
}

#[test]
fn compaction_explains_gaps() {
    let world = World::new(1, WorldOptions::default());
    let (ring, store, _) = open(&world, small_segments());
    put(&world, &ring, &store, 0..60);
    world.crash(HOST, CrashMode::Kill);
    remove_one(&world);
    world.crash(HOST, CrashMode::Kill);
    let compacted = LogConfig { cleanup: CleanupPolicy { delete: false, compact: true }, ..small_segments() };
    assert!(open(&world, compacted).2.gaps.is_empty());
}

#[test]
fn a_file_that_went_after_a_clean_stop_is_told_to_who_reads_it() {
    let world = World::new(1, WorldOptions::default());
    let (ring, store, _) = open(&world, small_segments());
    let rows = put(&world, &ring, &store, 0..60);
    world.block_on(&ring, store.close()).expect("close");
    world.crash(HOST, CrashMode::Kill);
    let (from, to) = remove_one(&world);
    world.crash(HOST, CrashMode::Kill);
    let (ring, store, _) = open(&world, small_segments());
    let partition = store.partition(tp(0)).expect("there");
    let read = world.block_on(&ring, async move { partition.read(Offset(from), Offset(to), 20_000, true).await.map(|_| ()) });
    assert_eq!(read.map_err(|error| error.code()), Err(ErrorCode::KafkaStorageError));
    let behind: Vec<Row> = rows.into_iter().filter(|row| row.0 >= to).collect();
    assert_eq!(rows_from(&world, &ring, &store, to), behind);
}
