//! What the store keeps in memory stays within its bounds, whatever clients hold and however small batches are. In virtual time.

mod support;

use odradek_base::{Offset, ShardId};
use odradek_ring::Ring;
use odradek_ring::sim::{DiskFaults, HostId, World, WorldOptions};
use odradek_store::{Durability, LogConfig, Store, StoreConfig, StoreStats};
use std::path::Path;
use std::time::Duration;
use support::*;

const HOST: HostId = HostId(1);
/// Arenas that blocks are built in and the one on its way to the disk.
const ARENAS_BESIDE: u64 = 3;

fn config() -> StoreConfig {
    StoreConfig { tail_cache_bytes: 1 << 20, unflushed_bytes_max: 512 << 10, journal_file_bytes: 1 << 20, ..small(Path::new("/data")) }
}

fn open(config: &StoreConfig, partitions: i32) -> (World, Ring, Store) {
    let world = World::new(7, WorldOptions::default());
    let ring = world.ring(HOST, ShardId(0));
    let owned = (0..partitions).map(|partition| spec(partition, LogConfig::default())).collect();
    let (store, _) = world.block_on(&ring, Store::open(ring.clone(), config.clone(), owned)).expect("open");
    (world, ring, store)
}

fn tail_is_bounded(stats: &StoreStats, config: &StoreConfig) {
    let bound = config.tail_cache_bytes + config.unflushed_bytes_max + ARENAS_BESIDE * config.journal_block_bytes_max as u64;
    assert!(stats.tail_bytes + stats.building_bytes <= bound, "{stats:?}");
}

#[test]
fn slices_that_nobody_gives_back_pin_no_more_than_the_tail() {
    let config = config();
    let (world, ring, store) = open(&config, 1);
    let partition = store.partition(tp(0)).expect("owned");
    world.block_on(&ring, async move {
        let mut kept = Vec::new();
        for id in 0..800 {
            store.wait_admission().await;
            let appended = append(&partition, &batch(id, 1, if id % 8 == 0 { 10 } else { 9_000 }), Durability::Durable);
            partition.wait(appended.ticket).await.expect("written");
            if id % 8 == 0 {
                // A client that takes nothing: a small slice of each arena, for ever.
                let data = partition.read_memory(appended.base_offset, appended.last_offset.next(), 1, true).expect("in memory");
                assert_eq!(data.batches.iter().map(row).collect::<Vec<_>>(), [(id as i64, id as i64, id)]);
                kept.extend(data.batches);
            }
            tail_is_bounded(&store.stats(), &config);
        }
        let pinned = store.stats().pinned_bytes;
        assert!(pinned > config.tail_cache_bytes / 4, "slices were pinned until it was too much: {pinned}");
        drop(kept);
        assert_eq!(store.stats().pinned_bytes, 0);
        store.close().await.expect("closed");
    });
}

#[test]
fn tiny_batches_count_with_what_they_take_beside_their_bytes() {
    let config = StoreConfig { unflushed_bytes_max: 1 << 20, ..config() };
    let (world, ring, store) = open(&config, 1);
    let clock = ring.clone();
    // A slow disk: batches pile up.
    let slow = Duration::from_millis(20);
    world.set_disk_faults(HOST, DiskFaults { latency_min: slow, latency_max: slow, ..DiskFaults::default() });
    world.block_on(&ring, async move {
        let partition = store.partition(tp(0)).expect("owned");
        let mut last = None;
        for id in 0..20_000 {
            store.wait_admission().await;
            let appended = append(&partition, &batch(id, 1, 8), Durability::Durable);
            tail_is_bounded(&store.stats(), &config);
            last = Some(appended);
        }
        partition.wait(last.expect("one").ticket).await.expect("written");
        clock.sleep(Duration::from_secs(5)).await;
        // All of it is in the segment now. What is still in memory: no more than fits with a place of 120 bytes or more beside each batch of 79.
        let end = partition.marks().high_watermark.offset();
        let in_memory = (0..end.get()).filter(|at| partition.read_memory(Offset(*at), end, 1, true).is_some()).count() as u64;
        assert!(in_memory > 1000 && in_memory * (79 + 120) < config.tail_cache_bytes, "{in_memory}");
        store.close().await.expect("closed");
    });
}

#[test]
fn cold_reads_that_nobody_gives_back_are_copied_in_the_end() {
    let config = StoreConfig { read_ahead_bytes: 4 << 20, cold_reads_bytes_max: 2 << 20, ..config() };
    let (world, ring, store) = open(&config, 1);
    let partition = store.partition(tp(0)).expect("owned");
    let (filling, to) = (store.clone(), partition.clone());
    world.block_on(&ring, async move {
        for id in 0..4_000 {
            filling.wait_admission().await;
            let appended = append(&to, &batch(id, 1, 9_000), Durability::Durable);
            to.wait(appended.ticket).await.expect("written");
        }
    });
    world.run_for(Duration::from_secs(2));
    world.block_on(&ring, async move {
        let end = partition.marks().high_watermark.offset();
        let (mut at, mut kept, mut bytes) = (Offset(0), Vec::new(), 0);
        while at < end {
            // A third of what is read: not so little that it would be copied for its smallness.
            let data = partition.read(at, end, 400_000, true).await.expect("read");
            bytes += data.bytes();
            kept.extend(data.batches);
            let last = row(&kept
                .last()
                .map(|batches| {
                    odradek_wire::batch::batches(batches).map(|view| batches.slice_ref(view.expect("whole").bytes())).last().expect("one")
                })
                .expect("read"));
            at = Offset(last.1 + 1);
            let stats = store.stats();
            let bound = config.read_ahead_bytes + config.cold_reads_bytes_max;
            assert!(stats.read_ahead_bytes + stats.cold_reading_bytes <= bound as u64, "{stats:?}");
        }
        assert!(bytes > 4 * (config.read_ahead_bytes + config.cold_reads_bytes_max), "far more was read than may be kept: {bytes}");
        drop(kept);
        store.close().await.expect("closed");
    });
}
