//! Deleted partitions on the simulated ring: the name is free at once, the files wait and then go, whatever happens in between.

mod support;

use odradek_base::{Offset, PartitionIndex, ShardId, TopicId, TopicPartition};
use odradek_log::segment::names;
use odradek_ring::sim::{CrashMode, DiskFaults, HostId, World, WorldOptions};
use odradek_ring::{OpenOptions, Ring, Sync};
use odradek_store::{Durability, PartitionSpec, Store, StoreConfig};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;
use support::*;
use uuid::Uuid;

const HOST: HostId = HostId(1);
const HOUR: Duration = Duration::from_secs(3600);

/// The partition of `orders` as the `generation`-th topic of that name.
fn generation(generation: u128, partition: i32) -> PartitionSpec {
    let tp = TopicPartition::new(TopicId(Uuid::from_u128(generation)), PartitionIndex(partition));
    PartitionSpec { tp, ..spec(partition, small_segments()) }
}

fn config(delay: Duration) -> StoreConfig {
    StoreConfig { log_dirs: vec!["/d0".into(), "/d1".into()], delete_delay: delay, ..small(Path::new("/d0")) }
}

fn open_shard(world: &World, shard: u16, config: &StoreConfig, owned: &[PartitionSpec]) -> (Ring, Store) {
    let ring = world.ring(HOST, ShardId(shard));
    let config = StoreConfig { shard: ShardId(shard), ..config.clone() };
    let (store, report) = world.block_on(&ring, Store::open(ring.clone(), config, owned.to_vec())).expect("open");
    assert!(report.damaged.is_empty() && report.holes.is_empty(), "{report:?}");
    (ring, store)
}

fn open(world: &World, config: &StoreConfig, owned: &[PartitionSpec]) -> (Ring, Store) {
    open_shard(world, 0, config, owned)
}

fn put_many(world: &World, ring: &Ring, store: &Store, tp: TopicPartition, ids: std::ops::Range<u64>) -> Vec<Row> {
    let store = store.clone();
    world.block_on(ring, async move {
        let mut rows = Vec::new();
        for id in ids {
            store.wait_admission().await;
            let partition = store.partition(tp).expect("there");
            let appended = append(&partition, &batch(id, 1, 9_000), Durability::Durable);
            partition.wait(appended.ticket).await.expect("durable");
            rows.push((appended.base_offset.get(), appended.last_offset.get(), id));
        }
        rows
    })
}

fn rows_of(world: &World, ring: &Ring, store: &Store, tp: TopicPartition) -> Vec<Row> {
    let partition = store.partition(tp).expect("there");
    world.block_on(ring, async move { read_all(&partition, Offset(0), 20_000).await.expect("readable") })
}

fn delete(world: &World, ring: &Ring, store: &Store, tp: TopicPartition) {
    let store = store.clone();
    world.block_on(ring, async move { store.delete(tp).await }).expect("deleted");
}

fn create(world: &World, ring: &Ring, store: &Store, spec: &PartitionSpec) {
    let (store, spec) = (store.clone(), spec.clone());
    world.block_on(ring, async move { store.create_all(vec![spec]).await }).expect("created");
}

/// Files in directories that wait to be unlinked.
fn waiting(world: &World) -> Vec<String> {
    world.files(HOST).into_iter().map(|(path, _)| path).filter(|path| path.contains("-delete/")).collect()
}

/// Names in the log directories that belong to `orders`.
fn directories(world: &World, ring: &Ring) -> Vec<String> {
    let reading = ring.clone();
    world.block_on(ring, async move {
        let mut found = Vec::new();
        for log_dir in ["/d0", "/d1"] {
            let entries = reading.read_dir(Path::new(log_dir)).await.expect("a directory");
            found.extend(entries.into_iter().filter(|entry| entry.is_dir).map(|entry| entry.name));
        }
        found.sort();
        found
    })
}

fn crash(world: &World, seed: u64) {
    world.crash(HOST, if seed.is_multiple_of(2) { CrashMode::PowerLoss } else { CrashMode::Kill });
}

#[test]
fn files_wait_while_the_name_is_used_again() {
    for seed in 1..=6 {
        let world = World::new(seed, WorldOptions::default());
        let (first, second) = (generation(1, 0), generation(2, 0));
        let (ring, store) = open(&world, &config(HOUR), std::slice::from_ref(&first));
        put_many(&world, &ring, &store, first.tp, 0..30);
        delete(&world, &ring, &store, first.tp);
        create(&world, &ring, &store, &second);
        let mut rows = put_many(&world, &ring, &store, second.tp, 100..110);
        world.run_for(HOUR / 2);
        assert!(waiting(&world).iter().any(|path| path.ends_with(".log")), "{:?}", waiting(&world));
        let reopened = if seed.is_multiple_of(3) {
            world.block_on(&ring, store.close()).expect("close");
            world.crash(HOST, CrashMode::Kill);
            open(&world, &config(HOUR), std::slice::from_ref(&second))
        } else {
            crash(&world, seed);
            open(&world, &config(HOUR), std::slice::from_ref(&second))
        };
        let (ring, store) = reopened;
        // They wait anew.
        world.run_for(HOUR * 3 / 4);
        assert!(!waiting(&world).is_empty());
        world.run_for(HOUR);
        assert_eq!(directories(&world, &ring), ["orders-0"]);
        rows.extend(put_many(&world, &ring, &store, second.tp, 200..205));
        assert_eq!(rows_of(&world, &ring, &store, second.tp), rows);
    }
}

#[test]
fn a_shorter_delay_counts_for_what_waits() {
    let world = World::new(1, WorldOptions::default());
    let (ring, store) = open(&world, &config(HOUR), &[generation(1, 0)]);
    put_many(&world, &ring, &store, generation(1, 0).tp, 0..10);
    delete(&world, &ring, &store, generation(1, 0).tp);
    world.run_for(Duration::from_secs(60));
    assert!(!waiting(&world).is_empty());
    store.set_delete_delay(Duration::from_secs(10));
    world.run_for(Duration::from_secs(5));
    assert_eq!(directories(&world, &ring), Vec::<String>::new());
}

#[test]
fn a_crash_while_files_are_unlinked_leaves_nothing_for_ever() {
    for seed in 1..=12 {
        let world = World::new(seed, WorldOptions::default());
        let mut rng = world.rng();
        let specs: Vec<PartitionSpec> = (0..4).map(|partition| generation(1, partition)).collect();
        let (ring, store) = open(&world, &config(Duration::ZERO), &specs);
        for spec in &specs {
            put_many(&world, &ring, &store, spec.tp, 0..30);
        }
        for spec in &specs {
            delete(&world, &ring, &store, spec.tp);
        }
        world.run_for(Duration::from_millis(rng.below(20)));
        crash(&world, seed);
        let (ring, store) = open(&world, &config(Duration::from_millis(500)), &[]);
        world.run_for(Duration::from_secs(5));
        assert_eq!(directories(&world, &ring), Vec::<String>::new(), "seed {seed}");
        world.block_on(&ring, store.close()).expect("close");
    }
}

#[test]
fn a_full_device_takes_what_other_shards_let_wait() {
    for seed in 1..=4 {
        let world = World::new(seed, WorldOptions::default());
        let (mine, theirs) = (generation(1, 0), generation(1, 1));
        let (ring_1, store_1) = open_shard(&world, 1, &config(HOUR), std::slice::from_ref(&theirs));
        put_many(&world, &ring_1, &store_1, theirs.tp, 0..60);
        let (ring, store) = open(&world, &config(HOUR), std::slice::from_ref(&mine));
        delete(&world, &ring_1, &store_1, theirs.tp);
        assert!(!waiting(&world).is_empty());
        let capacity_bytes = world.disk_used(HOST) + (700 << 10);
        world.set_disk_faults(HOST, DiskFaults { capacity_bytes, ..DiskFaults::default() });
        let (writing, tp) = (store.clone(), mine.tp);
        let refused = world.block_on(&ring, async move {
            for id in 0..400 {
                writing.wait_admission().await;
                let partition = writing.partition(tp).expect("there");
                let batch = batch(id, 1, 9_000);
                let origin = odradek_store::AppendOrigin::Client;
                let appended = partition.append(&[batch], EPOCH, odradek_base::Timestamp(1), origin, Durability::Durable);
                match appended {
                    Ok(appended) if partition.wait(appended.ticket).await.is_ok() => {}
                    _ => return true,
                }
            }
            false
        });
        assert!(refused, "the device becomes full");
        world.run_for(Duration::from_secs(15));
        assert_eq!(waiting(&world), Vec::<String>::new());
        put_many(&world, &ring, &store, mine.tp, 1000..1005);
    }
}

/// As a move that a crash interrupted leaves it.
fn make_copy(world: &World, ring: &Ring, log_dir: &'static str, topic: &str, spec: &PartitionSpec) {
    let directory = Path::new(log_dir).join(names::future_directory(topic, spec.tp.partition, Uuid::from_u128(9)));
    let (ring, id) = (ring.clone(), spec.tp.topic);
    world.block_on(&ring.clone(), async move {
        ring.create_dir_all(&directory).await.expect("made");
        for (name, content) in [
            (names::PARTITION_METADATA.to_owned(), odradek_log::checkpoint::encode_partition_metadata(id)),
            (names::segment_file(Offset(0), names::LOG), "part of a segment".to_owned()),
        ] {
            let file = ring.open(&directory.join(name), OpenOptions::READ_WRITE).await.expect("open");
            file.write_at(vec![content.into()], 0, Sync::Data).await.expect("written");
        }
        ring.sync_dir(Path::new(log_dir)).await.expect("flushed");
    });
}

#[test]
fn copies_of_partitions_that_are_gone_go_and_others_are_made_again() {
    let world = World::new(1, WorldOptions::default());
    let long = PartitionSpec { topic_name: "x".repeat(240), ..generation(5, 0) };
    let owned = [generation(2, 0), generation(2, 1), long.clone()];
    let (ring, store) = open(&world, &config(Duration::ZERO), &owned);
    let place = |store: &Store, tp| store.partition(tp).expect("there").log_dir().to_owned();
    let other = |log_dir: &Path| if log_dir == Path::new("/d0") { "/d1" } else { "/d0" };
    let rows = put_many(&world, &ring, &store, long.tp, 0..10);
    let before: Vec<_> = owned.iter().map(|spec| place(&store, spec.tp)).collect();
    // Of an earlier topic of that name, of one that is being moved, of one with a long name, of one that is gone.
    make_copy(&world, &ring, other(&before[0]), "orders", &generation(1, 0));
    make_copy(&world, &ring, other(&before[1]), "orders", &generation(2, 1));
    make_copy(&world, &ring, other(&before[2]), &long.topic_name, &long);
    make_copy(&world, &ring, "/d0", "gone", &generation(3, 7));
    world.crash(HOST, CrashMode::Kill);
    let (ring, store) = open(&world, &config(Duration::ZERO), &owned);
    let stems: BTreeSet<String> = owned.iter().map(|spec| names::future_stem(&spec.topic_name, spec.tp.partition)).collect();
    let removing = store.clone();
    world.block_on(&ring, async move { removing.remove_strays(|| stems).await });
    world.run_for(Duration::from_secs(5));
    assert_eq!(directories(&world, &ring), ["orders-0".to_owned(), "orders-1".to_owned(), format!("{}-0", long.topic_name)]);
    assert_eq!(place(&store, owned[0].tp), before[0], "nobody asked to move this topic");
    assert_eq!(place(&store, owned[1].tp), Path::new(other(&before[1])));
    assert_eq!(place(&store, long.tp), Path::new(other(&before[2])));
    assert_eq!(rows_of(&world, &ring, &store, long.tp), rows);
}

#[test]
fn deleting_and_making_again_meets_a_move_at_any_moment() {
    for seed in 1..=24 {
        let world = World::new(seed, WorldOptions::default());
        let mut rng = world.rng();
        let (first, second) = (generation(1, 0), generation(2, 0));
        let (ring, store) = open(&world, &config(Duration::ZERO), std::slice::from_ref(&first));
        put_many(&world, &ring, &store, first.tp, 0..15);
        let moved = store.partition(first.tp).expect("there");
        let to = if moved.log_dir() == Path::new("/d0") { "/d1" } else { "/d0" };
        moved.move_to(Path::new(to)).expect("it begins");
        world.run_for(Duration::from_micros(rng.below(60_000)));
        delete(&world, &ring, &store, first.tp);
        create(&world, &ring, &store, &second);
        let rows = put_many(&world, &ring, &store, second.tp, 100..105);
        world.run_for(Duration::from_secs(3));
        assert_eq!(directories(&world, &ring), ["orders-0"], "seed {seed}");
        crash(&world, seed);
        let (ring, store) = open(&world, &config(Duration::ZERO), std::slice::from_ref(&second));
        assert_eq!(rows_of(&world, &ring, &store, second.tp), rows, "seed {seed}");
    }
}
