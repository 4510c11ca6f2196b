//! The store on a real ring and a real directory.

mod support;

use odradek_base::{Offset, Timestamp};
use odradek_log::LogConfig;
use odradek_ring::{Ring, RingConfig};
use odradek_store::{Durability, Store, StoreConfig};
use support::*;

fn ring() -> Ring {
    Ring::new(RingConfig { recv_buffers: 2, recv_buffer_bytes: 4096, ..RingConfig::default() }).expect("io_uring")
}

#[test]
fn appends_are_durable_readable_and_there_after_a_clean_stop() {
    let directory = tempfile::tempdir().expect("a directory");
    let config = small(directory.path());
    let ring = ring();
    ring.block_on(async {
        let (store, report) = Store::open(ring.clone(), config.clone(), vec![spec(0, small_segments())]).await.expect("open");
        assert!(report.clean && report.created == 1, "{report:?}");
        let partition = store.partition(tp(0)).expect("owned");
        let mut expected = Vec::new();
        for id in 0..300u64 {
            store.wait_admission().await;
            let durability = [Durability::Durable, Durability::Written, Durability::None][id as usize % 3];
            let appended = append(&partition, &batch(id, 3, 700), durability);
            assert_eq!(appended.base_offset, Offset(id as i64 * 3));
            partition.wait(appended.ticket).await.expect("written");
            expected.push((id as i64 * 3, id as i64 * 3 + 2, id));
        }
        let last = append(&partition, &batch(300, 1, 200_000), Durability::Durable);
        partition.wait(last.ticket).await.expect("durable");
        expected.push((900, 900, 300));
        let marks = partition.marks();
        assert_eq!((marks.durable.get(), marks.high_watermark.get(), marks.appended.get()), (901, 901, 901));
        assert_eq!(read_all(&partition, Offset(0), 10_000).await.expect("read"), expected);
        let found = partition.offset_for_timestamp(Timestamp(1150)).await.expect("lookup").expect("there is one");
        assert_eq!((found.0, found.1, found.2), (Timestamp(1150), Offset(450), EPOCH));
        let largest = partition.offset_of_max_timestamp().await.expect("lookup").expect("there is one");
        assert_eq!((largest.0, largest.1), (Timestamp(1300), Offset(900)));
        store.clone().close().await.expect("close");

        let (store, report) = Store::open(ring.clone(), config.clone(), vec![spec(0, small_segments())]).await.expect("open");
        assert!(report.clean && report.batches_checked == 0 && report.recovered == 0, "{report:?}");
        let partition = store.partition(tp(0)).expect("owned");
        for max_bytes in [1, 5000, 1 << 20] {
            assert_eq!(read_all(&partition, Offset(0), max_bytes).await.expect("read"), expected, "{max_bytes}");
        }
        assert_eq!(read_all(&partition, Offset(451), 1).await.expect("read")[0].0, 450);
        let found = partition.offset_for_timestamp(Timestamp(1150)).await.expect("lookup").expect("there is one");
        assert_eq!((found.0, found.1), (Timestamp(1150), Offset(450)));
        store.close().await.expect("close");
    });
    ring.shutdown();
}

#[test]
fn a_killed_store_replays_its_journal() {
    let directory = tempfile::tempdir().expect("a directory");
    let config =
        StoreConfig { journal_file_bytes: 8 << 20, unflushed_bytes_max: 8 << 20, tail_cache_bytes: 16 << 20, ..small(directory.path()) };
    let owned = || (0..20).map(|i| spec(i, LogConfig::default())).collect::<Vec<_>>();
    let first = ring();
    let mut expected = vec![Vec::new(); 20];
    first.block_on(async {
        let (store, _) = Store::open(first.clone(), config.clone(), owned()).await.expect("open");
        for id in 0..400u64 {
            let partition = store.partition(tp((id % 20) as i32)).expect("owned");
            let appended = append(&partition, &batch(id, 2, 500), Durability::Written);
            partition.wait(appended.ticket).await.expect("written");
            expected[(id % 20) as usize].push((appended.base_offset.get(), appended.last_offset.get(), id));
        }
    });
    // The process dies: nothing is closed.
    first.shutdown();
    let second = ring();
    second.block_on(async {
        let (store, report) = Store::open(second.clone(), config.clone(), owned()).await.expect("open");
        assert!(!report.clean && report.holes.is_empty() && report.damaged.is_empty(), "{report:?}");
        for (index, expected) in expected.iter().enumerate() {
            let partition = store.partition(tp(index as i32)).expect("owned");
            assert_eq!(&read_all(&partition, Offset(0), 4096).await.expect("read"), expected, "partition {index}");
        }
        store.delete(tp(3)).await.expect("delete");
        assert!(store.partition(tp(3)).is_none());
        store.close().await.expect("close");
    });
    second.shutdown();
}
