//! Logs of which no state file tells open behind the start, each when it was checked; what the shard knows serves meanwhile.

mod support;

use odradek_base::{Offset, ShardId};
use odradek_ring::Ring;
use odradek_ring::sim::{CrashMode, DiskFaults, HostId, World, WorldOptions};
use odradek_store::{LogConfig, RecoveryReport, Store, StoreConfig};
use odradek_wire::ErrorCode;
use std::path::Path;
use std::time::Duration;
use support::*;

const HOST: HostId = HostId(1);
const PARTITIONS: i32 = 6;

fn config(opening_bytes_max: u64) -> StoreConfig {
    StoreConfig { opening_bytes_max, ..small(Path::new("/data")) }
}

fn open(world: &World, config: &StoreConfig, owned: std::ops::Range<i32>) -> (Ring, Store, RecoveryReport) {
    let ring = world.ring(HOST, ShardId(0));
    let owned = owned.map(|partition| spec(partition, LogConfig::default())).collect();
    let (store, report) = world.block_on(&ring, Store::open(ring.clone(), config.clone(), owned)).expect("open");
    (ring, store, report)
}

fn put(world: &World, ring: &Ring, store: &Store, index: i32, ids: std::ops::Range<u64>) -> Vec<Row> {
    let partition = store.partition(tp(index)).expect("open");
    world.block_on(ring, async move {
        let mut rows = Vec::new();
        for id in ids {
            let appended = append(&partition, &batch(id, 1, 5_000), odradek_store::Durability::Durable);
            partition.wait(appended.ticket).await.expect("written");
            rows.push((appended.base_offset.get(), appended.last_offset.get(), id));
        }
        rows
    })
}

fn rows_of(world: &World, ring: &Ring, store: &Store, index: i32) -> Vec<Row> {
    let partition = store.partition(tp(index)).expect("open");
    world.block_on(ring, async move { read_all(&partition, Offset(0), 50_000).await.expect("readable") })
}

/// Partitions with records, after a clean stop, as a broker of another make leaves them: without our state file and journal.
fn foreign(world: &World) -> Vec<Vec<Row>> {
    let (ring, store, _) = open(world, &config(1 << 30), 0..PARTITIONS);
    let rows = (0..PARTITIONS).map(|index| put(world, &ring, &store, index, 0..40)).collect();
    world.block_on(&ring, store.close()).expect("close");
    let files = world.files(HOST);
    let ours = files.iter().map(|(path, _)| path).filter(|path| path.ends_with(".state") || path.ends_with(".journal")).cloned();
    let ours: Vec<String> = ours.collect();
    world.block_on(&ring, {
        let ring = ring.clone();
        async move {
            for path in ours {
                ring.remove_file(Path::new(&path)).await.expect("removed");
            }
            ring.sync_dir(Path::new("/data")).await.expect("flushed");
        }
    });
    world.crash(HOST, CrashMode::Kill);
    rows
}

fn slow(world: &World) {
    let latency = Duration::from_millis(5);
    world.set_disk_faults(HOST, DiskFaults { latency_min: latency, latency_max: latency, ..DiskFaults::default() });
}

#[test]
fn what_is_known_serves_while_the_rest_is_checked() {
    let world = World::new(1, WorldOptions::default());
    let rows = foreign(&world);
    slow(&world);
    // Room for the first one alone.
    let (ring, store, report) = open(&world, &config(300_000), 0..PARTITIONS);
    assert_eq!((report.put_off, report.recovered), (5, 1));
    assert_eq!(rows_of(&world, &ring, &store, 0), rows[0]);
    let put_off = store.offline();
    assert!(!put_off.is_empty() && store.partition(tp(5)).is_none());
    assert!(put_off.iter().all(|tp| store.closed(*tp).is_some_and(|error| error.code() == ErrorCode::NotLeaderOrFollower)));
    let making = store.clone();
    let made = world.block_on(&ring, async move { making.create(spec(5, LogConfig::default())).await.map(|_| ()) });
    assert!(made.is_err(), "a new partition must not take its place");

    world.run_for(Duration::from_secs(5));
    assert!(store.offline().is_empty());
    for index in 0..PARTITIONS {
        assert_eq!(rows_of(&world, &ring, &store, index), rows[index as usize], "partition {index}");
        assert_eq!(put(&world, &ring, &store, index, 50..51)[0].0, 40, "partition {index}");
    }
    world.block_on(&ring, store.close()).expect("close");
    let (ring, store, report) = open(&world, &config(300_000), 0..PARTITIONS);
    assert!(report.clean && report.put_off == 0, "{report:?}");
    assert_eq!(rows_of(&world, &ring, &store, 3).len(), 41);
}

#[test]
fn a_stop_or_a_crash_in_between_leaves_them_as_they_were() {
    for (seed, clean) in [(1, true), (2, false), (3, false)] {
        let world = World::new(seed, WorldOptions::default());
        let rows = foreign(&world);
        slow(&world);
        let (ring, store, _) = open(&world, &config(300_000), 0..PARTITIONS);
        let more = put(&world, &ring, &store, 0, 60..70);
        assert!(!store.offline().is_empty());
        if clean {
            world.block_on(&ring, store.close()).expect("close");
        }
        world.crash(HOST, if seed == 2 { CrashMode::PowerLoss } else { CrashMode::Kill });
        let (ring, store, report) = open(&world, &config(300_000), 0..PARTITIONS);
        assert!(!report.clean && report.damaged.is_empty(), "{report:?}");
        world.run_for(Duration::from_secs(5));
        assert_eq!(rows_of(&world, &ring, &store, 0), [&rows[0][..], &more].concat());
        for index in 1..PARTITIONS {
            assert_eq!(rows_of(&world, &ring, &store, index), rows[index as usize], "seed {seed}, partition {index}");
        }
    }
}

#[test]
fn one_that_is_deleted_while_it_waits_is_gone_and_its_name_is_free() {
    let world = World::new(1, WorldOptions::default());
    let rows = foreign(&world);
    slow(&world);
    let (ring, store, _) = open(&world, &config(0), 0..PARTITIONS);
    assert_eq!(store.offline().len(), PARTITIONS as usize);
    // The first is being checked, the last has not been begun.
    for index in [0, 5] {
        let deleting = store.clone();
        world.block_on(&ring, async move { deleting.delete(tp(index)).await }).expect("deleted");
        let path = format!("/data/orders-{index}/");
        assert!(!world.files(HOST).iter().any(|(file, _)| file.starts_with(&path)), "partition {index}");
        let making = store.clone();
        world.block_on(&ring, async move { making.create(spec(index, LogConfig::default())).await.map(|_| ()) }).expect("a new one");
        put(&world, &ring, &store, index, 7..8);
    }
    world.run_for(Duration::from_secs(5));
    assert!(store.offline().is_empty());
    assert_eq!((rows_of(&world, &ring, &store, 0), rows_of(&world, &ring, &store, 5)), (vec![(0, 0, 7)], vec![(0, 0, 7)]));
    for index in 1..5 {
        assert_eq!(rows_of(&world, &ring, &store, index), rows[index as usize], "partition {index}");
    }
}

#[test]
fn a_torn_end_is_cut_as_kafka_cuts_it_and_the_others_open() {
    let world = World::new(1, WorldOptions::default());
    let rows = foreign(&world);
    assert!(world.flip_bit(HOST, Path::new("/data/orders-2/00000000000000000000.log"), 60_000, 3));
    let (ring, store, report) = open(&world, &config(0), 0..PARTITIONS);
    assert_eq!(report.put_off, PARTITIONS as usize);
    world.run_for(Duration::from_secs(5));
    // Nobody's checkpoint says that more was flushed: what follows the damage counts as a torn write, as for Kafka.
    for index in (0..PARTITIONS).filter(|index| *index != 2) {
        assert_eq!(rows_of(&world, &ring, &store, index), rows[index as usize], "partition {index}");
    }
    let cut = rows_of(&world, &ring, &store, 2);
    assert!(!cut.is_empty() && rows[2].starts_with(&cut) && cut.len() < rows[2].len());
}
