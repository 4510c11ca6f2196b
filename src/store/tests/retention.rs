//! Retention while power is lost: what it deletes stays deleted, and what it takes with it is known from somewhere else.

mod support;

use odradek_base::{Offset, ShardId, Timestamp};
use odradek_log::test_batches::idempotent;
use odradek_ring::Ring;
use odradek_ring::sim::{CrashMode, HostId, World, WorldOptions};
use odradek_store::{AppendOrigin, Appended, Durability, LogConfig, RecoveryReport, Store, StoreConfig};
use std::path::Path;
use std::time::Duration;
use support::*;

const HOST: HostId = HostId(1);
const PRODUCER: i64 = 7;
/// A dozen batches.
const SEGMENT_BYTES: u32 = 1000;
/// How often the tests look whether everything is flushed.
const LOOK: Duration = Duration::from_millis(100);

/// Only the state file of a start or a clean stop is written, unless somebody asks for one.
fn config() -> StoreConfig {
    StoreConfig { state_interval: Duration::from_secs(1 << 20), ..small(Path::new("/data")) }
}

fn open(world: &World) -> (Ring, Store, RecoveryReport) {
    let ring = world.ring(HOST, ShardId(0));
    let log = LogConfig { segment_bytes: SEGMENT_BYTES, retention_bytes: 0, ..LogConfig::default() };
    let (store, report) = world.block_on(&ring, Store::open(ring.clone(), config(), vec![spec(0, log)])).expect("open");
    (ring, store, report)
}

/// Appends the producer's batch number `number`, of one record.
fn put(world: &World, ring: &Ring, store: &Store, number: i32) -> Appended {
    let partition = store.partition(tp(0)).expect("there");
    world.block_on(ring, async move {
        let batch = idempotent(PRODUCER, 0, number, 1);
        let appended = partition
            .append(std::slice::from_ref(&batch), EPOCH, Timestamp(1), AppendOrigin::Client, Durability::Durable)
            .expect("a batch in order or a duplicate");
        partition.wait(appended.ticket).await.expect("durable");
        appended
    })
}

/// Lets everything be flushed, then retention takes it; returns the log start.
fn retain(world: &World, ring: &Ring, store: &Store) -> Offset {
    let partition = store.partition(tp(0)).expect("there");
    while partition.marks().flushed.offset() < partition.marks().appended.offset() {
        world.run_for(LOOK);
    }
    world.block_on(ring, async move {
        partition.run_retention(Timestamp(1)).await.expect("retention");
        partition.marks().log_start.offset()
    })
}

#[test]
fn what_a_producer_may_send_again_outlives_the_segments_that_say_so() {
    for (seed, mode) in (1..9).zip([CrashMode::Kill, CrashMode::PowerLoss].into_iter().cycle()) {
        let world = World::new(seed, WorldOptions::default());
        let (ring, store, _) = open(&world);
        let before: Vec<Offset> = (0..30).map(|number| put(&world, &ring, &store, number).base_offset).collect();
        assert_eq!(retain(&world, &ring, &store), Offset(30), "everything went");
        world.crash(HOST, mode);
        let (ring, store, report) = open(&world);
        assert!(report.damaged.is_empty(), "{report:?}");
        for number in 25..30 {
            let again = put(&world, &ring, &store, number);
            assert_eq!((again.duplicate, again.base_offset), (true, before[number as usize]), "seed {seed}, {mode:?}");
        }
        assert_eq!(put(&world, &ring, &store, 30).base_offset, Offset(30));
    }
}

/// Files of segments in the partition's directory.
fn segments(world: &World) -> Vec<String> {
    files(world).into_iter().filter(|path| path.contains(".log")).collect()
}

fn files(world: &World) -> Vec<String> {
    world.files(HOST).into_iter().map(|(path, _)| path).filter(|path| path.starts_with("/data/orders-0/0")).collect()
}

#[test]
fn a_clean_stop_leaves_no_names_of_deleted_segments_that_power_could_bring_back() {
    for seed in 1..9 {
        let world = World::new(seed, WorldOptions::default());
        let (ring, store, _) = open(&world);
        (0..40).for_each(|number| _ = put(&world, &ring, &store, number));
        assert_eq!(retain(&world, &ring, &store), Offset(40));
        world.block_on(&ring, store.close()).expect("close");
        world.crash(HOST, CrashMode::PowerLoss);
        assert_eq!(segments(&world), ["/data/orders-0/00000000000000000040.log"], "seed {seed}");
    }
}

#[test]
fn a_deleted_segment_whose_name_comes_back_is_removed() {
    for seed in 1..17 {
        let world = World::new(seed, WorldOptions::default());
        let (ring, store, _) = open(&world);
        (0..40).for_each(|number| _ = put(&world, &ring, &store, number));
        assert_eq!(retain(&world, &ring, &store), Offset(40));
        // The state file that is asked for here knows that they are gone.
        (40..50).for_each(|number| _ = put(&world, &ring, &store, number));
        assert_eq!(retain(&world, &ring, &store), Offset(50));
        (50..60).for_each(|number| _ = put(&world, &ring, &store, number));
        world.run_for(LOOK);
        world.crash(HOST, CrashMode::PowerLoss);

        let (ring, store, report) = open(&world);
        assert!(report.damaged.is_empty(), "seed {seed}: {report:?}");
        assert!(!segments(&world).iter().any(|path| path.ends_with("00.log")), "seed {seed}: {:?}", segments(&world));
        let base = |path: &String| path.rsplit('/').next().map(|name| name[..20].to_owned());
        let oldest = segments(&world).iter().filter_map(base).min();
        assert_eq!(files(&world).iter().filter_map(base).min(), oldest, "seed {seed}: indexes and snapshots of what is gone");
        assert_eq!(put(&world, &ring, &store, 60).base_offset, Offset(60), "seed {seed}");
    }
}
