//! The store on the simulated ring: power losses and kills at random moments, checked against a model.
//!
//! Rule: what was acknowledged is there after a restart, at its offset, once, in order. Written-only appends survive a kill, durable ones
//! a power loss too. Nothing appears that was never appended.

mod support;

use odradek_base::{Offset, Rng, ShardId};
use odradek_ring::Ring;
use odradek_ring::sim::{CrashMode, HostId, World, WorldOptions};
use odradek_store::{Durability, LogConfig, Partition, PartitionSpec, Store, StoreConfig};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;
use support::*;

const PARTITIONS: i32 = 4;
const HOST: HostId = HostId(1);

fn seeds() -> u64 {
    std::env::var("ODRADEK_STORE_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(60)
}

fn first_seed() -> u64 {
    std::env::var("ODRADEK_STORE_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

#[derive(Clone, Copy, Debug)]
struct Acknowledged {
    row: Row,
    durability: Durability,
}

#[derive(Default)]
struct Model {
    next_id: Cell<u64>,
    /// All appends, by id: the row they got.
    appended: RefCell<BTreeMap<u64, (i32, Row)>>,
    acknowledged: RefCell<BTreeMap<i32, Vec<Acknowledged>>>,
    /// DeleteRecords that were answered.
    log_starts: RefCell<BTreeMap<i32, i64>>,
    /// DeleteRecords that were asked for.
    log_starts_asked: RefCell<BTreeMap<i32, i64>>,
}

fn config() -> StoreConfig {
    small(Path::new("/data"))
}

fn log_config(seed: u64) -> LogConfig {
    // Some runs delete old segments.
    let retention_bytes = if seed.is_multiple_of(3) { 150 << 10 } else { -1 };
    LogConfig { retention_bytes, retention_ms: -1, ..small_segments() }
}

fn owned(seed: u64) -> Vec<PartitionSpec> {
    (0..PARTITIONS).map(|partition| spec(partition, log_config(seed))).collect()
}

async fn produce(store: Store, ring: Ring, model: Rc<Model>, mut rng: Rng) {
    loop {
        store.wait_admission().await;
        let index = rng.below(PARTITIONS as u64) as i32;
        let Some(partition) = store.partition(tp(index)) else { return };
        let id = model.next_id.get();
        model.next_id.set(id + 1);
        let value_bytes = if rng.chance(40) { 60_000 } else { 8 + rng.below(6000) as usize };
        let batch = batch(id, 1 + rng.below(4) as usize, value_bytes);
        let durability = [Durability::Durable, Durability::Durable, Durability::Written, Durability::None][rng.below(4) as usize];
        let appended = append(&partition, &batch, durability);
        let row = (appended.base_offset.get(), appended.last_offset.get(), id);
        model.appended.borrow_mut().insert(id, (index, row));
        let acknowledged = {
            let (partition, model) = (partition.clone(), model.clone());
            async move {
                if partition.wait(appended.ticket).await.is_ok() && durability != Durability::None {
                    model.acknowledged.borrow_mut().entry(index).or_default().push(Acknowledged { row, durability });
                    if durability == Durability::Durable {
                        assert!(partition.marks().durable.get() > row.1);
                    }
                }
            }
        };
        ring.spawn(acknowledged);
        match rng.below(12) {
            0 => check_read(&partition, &model, index, &mut rng).await,
            1 => {
                let _ = partition.run_retention(ring.wall_clock()).await;
            }
            2 if rng.chance(4) => delete_records(&partition, &model, index, &mut rng).await,
            3 | 4 => ring.sleep(Duration::from_micros(rng.below(3000))).await,
            _ => {}
        }
    }
}

async fn delete_records(partition: &Partition, model: &Model, index: i32, rng: &mut Rng) {
    let marks = partition.marks();
    let span = marks.high_watermark.get() - marks.log_start.get();
    let before = marks.log_start.get() + rng.below(span as u64 + 1) as i64;
    {
        let mut asked = model.log_starts_asked.borrow_mut();
        let known = asked.entry(index).or_default();
        *known = (*known).max(before);
    }
    if let Ok(start) = partition.delete_records(Offset(before)).await {
        assert!(start.get() >= before);
        let mut starts = model.log_starts.borrow_mut();
        let known = starts.entry(index).or_default();
        *known = (*known).max(before);
    }
}

/// A read of a running store returns what was appended there.
async fn check_read(partition: &Partition, model: &Model, index: i32, rng: &mut Rng) {
    let marks = partition.marks();
    let span = marks.high_watermark.get() - marks.log_start.get();
    if span == 0 {
        return;
    }
    let from = Offset(marks.log_start.get() + rng.below(span as u64) as i64);
    match partition.read(from, marks.high_watermark.offset(), 1 + rng.below(20_000) as usize, true).await {
        Ok(data) => {
            let mut next = None;
            for part in &data.batches {
                for view in odradek_wire::batch::batches(part) {
                    let found = row(&part.slice_ref(view.expect("whole").bytes()));
                    assert_eq!(model.appended.borrow().get(&found.2), Some(&(index, found)));
                    match next {
                        None => assert!(found.0 <= from.get() && from.get() <= found.1, "the first batch contains what was asked for"),
                        Some(next) => assert_eq!(found.0, next),
                    }
                    next = Some(found.1 + 1);
                }
            }
            assert!(next.is_some());
        }
        Err(odradek_store::ReadError::OffsetOutOfRange { .. }) => assert!(from < partition.marks().log_start.offset()),
        Err(error) => panic!("{error}"),
    }
}

/// Compares an opened store with the model, and takes it as the model's new truth.
async fn check(store: Store, model: Rc<Model>, crash: Option<CrashMode>) {
    for index in 0..PARTITIONS {
        let partition = store.partition(tp(index)).expect("owned");
        let marks = partition.marks();
        let start = marks.log_start.get();
        assert!(start >= model.log_starts.borrow().get(&index).copied().unwrap_or(0), "a deleted record is back");
        assert_eq!(marks.high_watermark.get(), marks.appended.get(), "everything that survived is durable");
        let rows = read_all(&partition, Offset(start), 30_000).await.expect("readable");
        let mut next = None;
        for found in &rows {
            assert_eq!(
                model.appended.borrow().get(&found.2),
                Some(&(index, *found)),
                "partition {index} holds what was never appended there"
            );
            match next {
                None => assert!(found.0 <= start, "the first batch contains the log start"),
                Some(next) => assert_eq!(found.0, next, "offsets are dense"),
            }
            next = Some(found.1 + 1);
        }
        assert_eq!(next.unwrap_or(start), marks.appended.get());
        let there: BTreeMap<i64, Row> = rows.iter().map(|row| (row.0, *row)).collect();
        for acknowledged in model.acknowledged.borrow_mut().entry(index).or_default().iter() {
            let survives = acknowledged.durability == Durability::Durable || crash != Some(CrashMode::PowerLoss);
            if survives && acknowledged.row.1 >= start {
                assert_eq!(there.get(&acknowledged.row.0), Some(&acknowledged.row), "partition {index}: acknowledged and lost");
            }
        }
        // What survived is the truth from here on.
        let now: Vec<Acknowledged> = rows.iter().map(|row| Acknowledged { row: *row, durability: Durability::Durable }).collect();
        model.acknowledged.borrow_mut().insert(index, now);
    }
}

fn one_seed(seed: u64) {
    let world = World::new(seed, WorldOptions::default());
    let model = Rc::new(Model::default());
    let mut rng = world.rng();
    let mut crash = None;
    for _ in 0..4 {
        let ring = world.ring(HOST, ShardId(0));
        let (store, report) = world.block_on(&ring, Store::open(ring.clone(), config(), owned(seed))).expect("open");
        assert!(report.holes.is_empty() && report.damaged.is_empty() && report.foreign_batches == 0, "{report:?}");
        world.block_on(&ring, check(store.clone(), model.clone(), crash));
        if rng.chance(4) {
            world.block_on(&ring, store.close()).expect("close");
            crash = None;
            world.crash(HOST, CrashMode::Kill);
            continue;
        }
        ring.spawn(produce(store.clone(), ring.clone(), model.clone(), rng.fork()));
        ring.spawn(produce(store, ring.clone(), model.clone(), rng.fork()));
        world.run_for(Duration::from_millis(1 + rng.below(900)));
        let mode = if rng.chance(3) { CrashMode::Kill } else { CrashMode::PowerLoss };
        world.crash(HOST, mode);
        crash = Some(mode);
    }
    let ring = world.ring(HOST, ShardId(0));
    let (store, _) = world.block_on(&ring, Store::open(ring.clone(), config(), owned(seed))).expect("open");
    world.block_on(&ring, check(store.clone(), model.clone(), crash));
    world.block_on(&ring, store.close()).expect("close");
    let (store, report) = world.block_on(&ring, Store::open(ring.clone(), config(), owned(seed))).expect("open");
    assert!(report.clean && report.batches_checked == 0, "{report:?}");
    world.block_on(&ring, check(store, model.clone(), None));
}

/// What a restart after a kill found in the page cache counts as durable from then on, so the power may fail right after it.
fn killed_then_without_power(seed: u64) {
    let world = World::new(seed, WorldOptions::default());
    let model = Rc::new(Model::default());
    let mut rng = world.rng();
    for _ in 0..3 {
        for (crash, next) in [(None, CrashMode::Kill), (Some(CrashMode::Kill), CrashMode::PowerLoss)] {
            let ring = world.ring(HOST, ShardId(0));
            let (store, report) = world.block_on(&ring, Store::open(ring.clone(), config(), owned(1))).expect("open");
            assert!(report.holes.is_empty() && report.damaged.is_empty(), "{report:?}");
            world.block_on(&ring, check(store.clone(), model.clone(), crash));
            if next == CrashMode::Kill {
                ring.spawn(produce(store.clone(), ring.clone(), model.clone(), rng.fork()));
                world.run_for(Duration::from_millis(1 + rng.below(300)));
            }
            world.crash(HOST, next);
        }
    }
    let ring = world.ring(HOST, ShardId(0));
    let (store, report) = world.block_on(&ring, Store::open(ring.clone(), config(), owned(1))).expect("open");
    assert!(report.holes.is_empty() && report.damaged.is_empty(), "{report:?}");
    // The model took over what the restart after the kill showed, as durable.
    world.block_on(&ring, check(store, model, Some(CrashMode::PowerLoss)));
}

fn each_seed(test: &str, one: fn(u64)) {
    for seed in first_seed()..first_seed() + seeds() {
        let result = std::panic::catch_unwind(|| one(seed));
        if let Err(panic) = result {
            eprintln!("seed {seed} failed: ODRADEK_STORE_SEED={seed} ODRADEK_STORE_SEEDS=1 cargo test -p odradek-store --test sim {test}");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn nothing_acknowledged_is_lost_over_crashes() {
    each_seed("nothing_acknowledged_is_lost_over_crashes", one_seed);
}

#[test]
fn a_power_loss_after_a_kill_loses_nothing() {
    each_seed("a_power_loss_after_a_kill_loses_nothing", killed_then_without_power);
}
