//! Readers that catch up from disk: as fast as the device without writes, with a share of its time beside them. In virtual time.

mod support;

use odradek_base::{Offset, ShardId};
use odradek_ring::Ring;
use odradek_ring::sim::{DiskFaults, HostId, World, WorldOptions};
use odradek_store::{Durability, LogConfig, Store, StoreConfig};
use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;
use support::*;

const HOST: HostId = HostId(1);
/// What every operation of the device takes.
const LATENCY: Duration = Duration::from_millis(1);
const BATCHES: u64 = 800;

/// A log of which the most is on disk only.
fn filled(percent: u32) -> (World, Ring, Store) {
    let world = World::new(7, WorldOptions::default());
    let config = StoreConfig { cold_reads_live_percent: percent, ..small(Path::new("/data")) };
    let ring = world.ring(HOST, ShardId(0));
    // One segment: opening files is no part of the share.
    let owned = vec![spec(0, LogConfig::default()), spec(1, LogConfig::default())];
    let (store, _) = world.block_on(&ring, Store::open(ring.clone(), config, owned)).expect("open");
    let partition = store.partition(tp(0)).expect("owned");
    let filling = store.clone();
    world.block_on(&ring, async move {
        for id in 0..BATCHES {
            filling.wait_admission().await;
            let appended = append(&partition, &batch(id, 1, 9_000), Durability::Durable);
            partition.wait(appended.ticket).await.expect("written");
        }
    });
    world.run_for(Duration::from_secs(2));
    world.set_disk_faults(HOST, DiskFaults { latency_min: LATENCY, latency_max: LATENCY, ..DiskFaults::default() });
    (world, ring, store)
}

/// How long a reader needs for everything, and how many writes were acknowledged meanwhile.
fn reading_takes(percent: u32, live: bool) -> (Duration, u64) {
    let (world, ring, store) = filled(percent);
    let (over, written) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(0)));
    if live {
        let (partition, over, written) = (store.partition(tp(1)).expect("owned"), over.clone(), written.clone());
        ring.spawn(async move {
            while !over.get() {
                let appended = append(&partition, &batch(written.get(), 1, 100), Durability::Durable);
                partition.wait(appended.ticket).await.expect("written");
                written.set(written.get() + 1);
            }
        });
        world.run_for(10 * LATENCY);
    }
    let (began, before) = (world.now(), written.get());
    let partition = store.partition(tp(0)).expect("owned");
    let rows = world.block_on(&ring, async move { read_all(&partition, Offset(0), 64 << 10).await });
    over.set(true);
    assert_eq!(rows.expect("readable").len() as u64, BATCHES);
    (world.now() - began, written.get() - before)
}

#[test]
fn beside_live_writes_readers_have_their_share_and_writes_go_on() {
    let ((all, _), (tenth, written)) = (reading_takes(100, true), reading_takes(10, true));
    assert!(tenth > 4 * all, "{tenth:?} with a tenth of the time, {all:?} with all of it");
    // One write after the other, hardly ever held up.
    assert!(u128::from(written) * LATENCY.as_nanos() * 3 > tenth.as_nanos(), "{written} writes in {tenth:?}");
}

#[test]
fn without_writes_the_share_does_not_count() {
    assert_eq!(reading_takes(1, false).0, reading_takes(100, false).0);
}
