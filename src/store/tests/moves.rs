//! Moving a partition to another log directory on the simulated ring: it is written and read all the while, and a crash at any moment loses
//! nothing and leaves no copy behind.

mod support;

use odradek_base::{Offset, ShardId};
use odradek_ring::Ring;
use odradek_ring::sim::{CrashMode, DiskFailure, DiskOperation, HostId, World, WorldOptions};
use odradek_store::{AlterLogDirError, Durability, Partition, Store, StoreConfig};
use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;
use support::*;

const HOST: HostId = HostId(1);

fn seeds() -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let first = number("ODRADEK_STORE_SEED").unwrap_or(1);
    first..first + number("ODRADEK_STORE_SEEDS").unwrap_or(6)
}

fn config() -> StoreConfig {
    StoreConfig { log_dirs: vec!["/d0".into(), "/d1".into()], journal_dir: Some("/journal".into()), ..small(Path::new("/d0")) }
}

fn open(world: &World) -> (Ring, Store) {
    let ring = world.ring(HOST, ShardId(0));
    let (store, report) = world.block_on(&ring, Store::open(ring.clone(), config(), vec![spec(0, small_segments())])).expect("open");
    assert!(report.damaged.is_empty() && report.holes.is_empty(), "{report:?}");
    (ring, store)
}

type Rows = Rc<RefCell<Vec<Row>>>;

/// Writes until the world ends, noting what was acknowledged.
async fn produce(store: Store, ring: Ring, rows: Rows, mut id: u64) {
    loop {
        store.wait_admission().await;
        let partition = store.partition(tp(0)).expect("there");
        let batch = batch(id, 1, 1000 + (id as usize * 37) % 5000);
        let appended = append(&partition, &batch, Durability::Durable);
        if partition.wait(appended.ticket).await.is_ok() {
            rows.borrow_mut().push((appended.base_offset.get(), appended.last_offset.get(), id));
        }
        id += 1;
        if id.is_multiple_of(3) {
            ring.sleep(Duration::from_micros(200)).await;
        }
    }
}

fn partition(store: &Store) -> Partition {
    store.partition(tp(0)).expect("there")
}

fn check(world: &World, ring: &Ring, store: &Store, rows: &Rows) {
    // Appends may go on while this reads.
    let acknowledged = rows.borrow().clone();
    let there = partition(store);
    let found = world.block_on(ring, async move { read_all(&there, Offset(0), 20_000).await.expect("readable") });
    for pair in found.windows(2) {
        assert_eq!(pair[0].1 + 1, pair[1].0, "offsets are dense: {pair:?}");
    }
    for row in &acknowledged {
        assert!(found.contains(row), "{row:?} was acknowledged");
    }
}

/// Directories of the partition, whole or in part, in a log directory.
fn copies(world: &World, ring: &Ring, log_dir: &'static str) -> Vec<String> {
    let reading = ring.clone();
    let entries = world.block_on(ring, async move { reading.read_dir(Path::new(log_dir)).await }).expect("a directory");
    entries.into_iter().map(|entry| entry.name).filter(|name| name.starts_with("orders-0")).collect()
}

fn one_seed(seed: u64) {
    let world = World::new(seed, WorldOptions::default());
    let mut rng = world.rng();
    let rows = Rows::default();
    let mut to = "/d1";
    for round in 0..3u64 {
        let (ring, store) = open(&world);
        check(&world, &ring, &store, &rows);
        ring.spawn(produce(store.clone(), ring.clone(), rows.clone(), round * 100_000));
        world.run_for(Duration::from_millis(rng.below(400)));
        partition(&store).move_to(Path::new(to)).expect("it begins");
        world.run_for(Duration::from_millis(rng.below(120)));
        if rng.chance(3) {
            check(&world, &ring, &store, &rows);
        }
        world.crash(HOST, if rng.chance(2) { CrashMode::PowerLoss } else { CrashMode::Kill });
        // A move that was begun durably goes on with the next start.
        let (ring, store) = open(&world);
        check(&world, &ring, &store, &rows);
        world.run_for(Duration::from_secs(2));
        partition(&store).move_to(Path::new(to)).expect("again, or there already");
        assert!(world.run_until(|| partition(&store).future_replica().is_none()), "the move ends");
        world.run_for(Duration::from_secs(2));
        assert_eq!(partition(&store).log_dir(), Path::new(to));
        check(&world, &ring, &store, &rows);
        let other = if to == "/d1" { "/d0" } else { "/d1" };
        assert_eq!((copies(&world, &ring, to), copies(&world, &ring, other)), (vec!["orders-0".to_owned()], Vec::new()));
        if rng.chance(2) {
            world.block_on(&ring, store.close()).expect("close");
        }
        world.crash(HOST, CrashMode::PowerLoss);
        to = other;
    }
}

#[test]
fn a_move_survives_crashes_at_any_moment() {
    for seed in seeds() {
        if let Err(panic) = std::panic::catch_unwind(|| one_seed(seed)) {
            eprintln!("seed {seed} failed: ODRADEK_STORE_SEED={seed} ODRADEK_STORE_SEEDS=1 cargo test -p odradek-store --test moves");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn a_move_goes_on_under_load_and_ends() {
    let world = World::new(3, WorldOptions::default());
    let rows = Rows::default();
    let (ring, store) = open(&world);
    ring.spawn(produce(store.clone(), ring.clone(), rows.clone(), 0));
    world.run_for(Duration::from_secs(1));
    partition(&store).move_to(Path::new("/d1")).expect("it begins");
    let future = partition(&store).future_replica().expect("there is a copy");
    assert!(future.log_dir == Path::new("/d1") && future.offset_lag > 0);
    let before = rows.borrow().len();
    assert!(world.run_until(|| partition(&store).future_replica().is_none()));
    assert!(rows.borrow().len() > before, "appends go on");
    assert_eq!(partition(&store).log_dir(), Path::new("/d1"));
    world.run_for(Duration::from_secs(1));
    check(&world, &ring, &store, &rows);
}

#[test]
fn a_close_in_the_middle_is_clean_and_the_next_start_goes_on() {
    for wait in [0, 5, 20, 40, 60, 80] {
        let world = World::new(wait + 1, WorldOptions::default());
        let rows = Rows::default();
        let (ring, store) = open(&world);
        let writing = (store.clone(), rows.clone());
        world.block_on(&ring, async move {
            for id in 0..200 {
                writing.0.wait_admission().await;
                let appended = append(&partition(&writing.0), &batch(id, 1, 4000), Durability::Durable);
                partition(&writing.0).wait(appended.ticket).await.expect("durable");
                writing.1.borrow_mut().push((appended.base_offset.get(), appended.last_offset.get(), id));
            }
        });
        partition(&store).move_to(Path::new("/d1")).expect("it begins");
        world.run_for(Duration::from_millis(wait));
        world.block_on(&ring, store.close()).expect("close");
        world.crash(HOST, CrashMode::PowerLoss);
        let ring = world.ring(HOST, ShardId(0));
        let (store, report) = world.block_on(&ring, Store::open(ring.clone(), config(), vec![spec(0, small_segments())])).expect("open");
        assert!(report.clean, "{report:?}");
        check(&world, &ring, &store, &rows);
        world.run_for(Duration::from_secs(2));
        check(&world, &ring, &store, &rows);
        let at = partition(&store).log_dir().to_owned();
        assert_eq!(copies(&world, &ring, "/d0").len() + copies(&world, &ring, "/d1").len(), 1, "one directory, in {}", at.display());
    }
}

#[test]
fn a_move_that_fails_or_is_given_up_leaves_the_partition_where_it_is() {
    let world = World::new(9, WorldOptions::default());
    let rows = Rows::default();
    let (ring, store) = open(&world);
    ring.spawn(produce(store.clone(), ring.clone(), rows.clone(), 0));
    world.run_for(Duration::from_millis(500));
    assert!(matches!(partition(&store).move_to(Path::new("/d9")), Err(AlterLogDirError::NotFound(_))));
    partition(&store).move_to(Path::new("/d1")).expect("it begins");
    world.run_for(Duration::from_millis(5));
    partition(&store).move_to(Path::new("/d0")).expect("back to where it is");
    assert_eq!(partition(&store).future_replica(), None);
    world.run_for(Duration::from_secs(1));
    assert_eq!((partition(&store).log_dir(), copies(&world, &ring, "/d1")), (Path::new("/d0"), Vec::<String>::new()));
    world.fail_disk(HOST, DiskFailure { operation: DiskOperation::Write, path_contains: "-future/".to_owned(), times: 1 });
    partition(&store).move_to(Path::new("/d1")).expect("it begins");
    world.run_for(Duration::from_secs(1));
    assert_eq!((partition(&store).log_dir(), partition(&store).future_replica()), (Path::new("/d0"), None));
    assert!(partition(&store).check().is_ok(), "the directory that failed is the other one");
    let refused = partition(&store).move_to(Path::new("/d1")).expect_err("it is offline");
    assert_eq!(refused.code(), odradek_wire::ErrorCode::KafkaStorageError);
    check(&world, &ring, &store, &rows);
}
