//! Looking offsets up by time costs the same whatever a segment holds: counted in bytes read, on a real ring and a real directory.

mod support;

use odradek_base::{Offset, Timestamp};
use odradek_log::LogConfig;
use odradek_ring::{Ring, RingConfig};
use odradek_store::{Durability, Partition, Store, StoreConfig, StoreStats};
use std::path::Path;
use support::*;

/// What one lookup may read: a stretch of the segment (64 KiB and what aligns it) and the same of a batch for the largest timestamp.
const LOG_BYTES_MAX: u64 = 192 << 10;
/// What it may read of indexes: a few blocks of 4 KiB of each.
const INDEX_BYTES_MAX: u64 = 16 << 12;
/// Batches of about 1 KiB: one segment of about a quarter of a MiB, and one of 12 MiB with an index of many blocks.
const SIZES: [u64; 2] = [250, 12_000];

fn ring() -> Ring {
    Ring::new(RingConfig { recv_buffers: 2, recv_buffer_bytes: 4096, ..RingConfig::default() }).expect("io_uring")
}

/// One segment, an index entry for every second batch or so.
fn log_config() -> LogConfig {
    LogConfig { index_interval_bytes: 512, ..LogConfig::default() }
}

async fn open(ring: &Ring, config: &StoreConfig) -> Store {
    Store::open(ring.clone(), config.clone(), vec![spec(0, log_config())]).await.expect("open").0
}

async fn fill(store: &Store, batches: u64) {
    let partition = store.partition(tp(0)).expect("owned");
    for id in 0..batches {
        store.wait_admission().await;
        let appended = append(&partition, &batch(id, 1, 1000), Durability::Durable);
        if id % 100 == 99 || id + 1 == batches {
            partition.wait(appended.ticket).await.expect("written");
        }
    }
}

/// Batch `id` has timestamp 1000 + `id` and offset `id`.
async fn look(store: &Store, batches: u64) -> (u64, u64) {
    let partition = store.partition(tp(0)).expect("owned");
    let (mut log, mut index) = (0, 0);
    let mut cost = |before: StoreStats, after: StoreStats| {
        log = log.max(after.cold_read_bytes - before.cold_read_bytes);
        index = index.max(after.index_read_bytes - before.index_read_bytes);
    };
    for step in 0..40 {
        // Far apart and out of order, so that nothing that was read before helps.
        let id = (step * 7919) % batches;
        let before = store.stats();
        let found = partition.offset_for_timestamp(Timestamp(1000 + id as i64)).await.expect("lookup");
        let found = found.unwrap_or_else(|| panic!("batch {id} of {batches} is not found"));
        assert_eq!((found.0, found.1), (Timestamp(1000 + id as i64), Offset(id as i64)));
        cost(before, store.stats());
    }
    let before = store.stats();
    let largest = partition.offset_of_max_timestamp().await.expect("lookup").expect("there is one");
    assert_eq!(largest.1, Offset(batches as i64 - 1));
    cost(before, store.stats());
    assert_eq!(partition.offset_for_timestamp(Timestamp(0)).await.expect("lookup").map(|found| found.1), Some(Offset(0)));
    assert_eq!(partition.offset_for_timestamp(Timestamp(1000 + batches as i64)).await.expect("lookup"), None);
    (log, index)
}

fn check(what: &str, batches: u64, (log, index): (u64, u64)) {
    assert!(log <= LOG_BYTES_MAX, "{what}, {batches} batches: {log} bytes of the log");
    assert!(index <= INDEX_BYTES_MAX, "{what}, {batches} batches: {index} bytes of the indexes");
}

fn remove_indexes(directory: &Path) {
    let mut removed = 0;
    for entry in std::fs::read_dir(directory.join("orders-0")).expect("the partition") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "index" || extension == "timeindex") {
            std::fs::remove_file(path).expect("remove");
            removed += 1;
        }
    }
    assert!(removed >= 2, "there were {removed} indexes");
}

#[test]
fn a_lookup_reads_the_same_of_a_small_and_a_large_segment() {
    for batches in SIZES {
        let directory = tempfile::tempdir().expect("a directory");
        let config = small(directory.path());
        let first = ring();
        first.block_on(async {
            let store = open(&first, &config).await;
            fill(&store, batches).await;
            check("as written", batches, look(&store, batches).await);
            store.close().await.expect("close");
            let store = open(&first, &config).await;
            check("after a clean stop", batches, look(&store, batches).await);
            // The process dies: nothing is closed.
        });
        first.shutdown();
        remove_indexes(directory.path());
        // Without the state everything is checked, and the indexes are built again.
        std::fs::remove_file(directory.path().join("odradek-shard-0.state")).expect("there is a state file");
        let second = ring();
        second.block_on(async {
            let store = open(&second, &config).await;
            check("with indexes rebuilt", batches, look(&store, batches).await);
            store.close().await.expect("close");
        });
        second.shutdown();
    }
}

/// The largest timestamp comes first and nothing is as large for a long time: the time index has one entry for all of it.
#[test]
fn a_plateau_of_the_largest_timestamp_is_not_scanned() {
    let directory = tempfile::tempdir().expect("a directory");
    let config = small(directory.path());
    let ring = ring();
    ring.block_on(async {
        let store = open(&ring, &config).await;
        let partition = store.partition(tp(0)).expect("owned");
        append_at(&store, &partition, 5000, 1).await;
        append_at(&store, &partition, 1000, 4000).await;
        append_at(&store, &partition, 6000, 1).await;
        append_at(&store, &partition, 1000, 4000).await;
        let before = store.stats();
        let found = partition.offset_for_timestamp(Timestamp(5001)).await.expect("lookup").expect("there is one");
        assert_eq!((found.0, found.1), (Timestamp(6000), Offset(4001)));
        let read = store.stats().cold_read_bytes - before.cold_read_bytes;
        assert!(read > 0 && read <= LOG_BYTES_MAX, "{read} bytes of the log");
        store.close().await.expect("close");
    });
    ring.shutdown();
}

async fn append_at(store: &Store, partition: &Partition, id: u64, times: usize) {
    for at in 0..times {
        store.wait_admission().await;
        let appended = append(partition, &batch(id - 1000, 1, 1000), Durability::Durable);
        if at % 100 == 99 || at + 1 == times {
            partition.wait(appended.ticket).await.expect("written");
        }
    }
}
