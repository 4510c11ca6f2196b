//! Where a log starts, over restarts.

mod support;

use odradek_base::{Offset, ShardId};
use odradek_ring::Ring;
use odradek_ring::sim::{CrashMode, HostId, World, WorldOptions};
use odradek_store::{AppendOrigin, Durability, Store, StoreConfig};
use std::path::Path;
use support::*;

const HOST: HostId = HostId(1);

fn open(world: &World, config: &StoreConfig) -> (Ring, Store) {
    let ring = world.ring(HOST, ShardId(0));
    let owned = vec![spec(0, small_segments())];
    let (store, report) = world.block_on(&ring, Store::open(ring.clone(), config.clone(), owned)).expect("open");
    assert!(report.damaged.is_empty(), "{report:?}");
    (ring, store)
}

/// DeleteRecords into the middle of a batch that no segment has yet, and starts that find the log start in the state file.
#[test]
fn a_log_start_within_a_batch_of_the_journal_survives_two_starts() {
    let world = World::new(1, WorldOptions::default());
    let config = small(Path::new("/data"));
    let (ring, store) = open(&world, &config);
    let partition = store.partition(tp(0)).expect("there");
    world.block_on(&ring, async move {
        for id in 0..4 {
            let batch = batch(id, 2, 100);
            let appended = partition
                .append(std::slice::from_ref(&batch), EPOCH, odradek_base::Timestamp(1), AppendOrigin::Client, Durability::Durable)
                .expect("appended");
            partition.wait(appended.ticket).await.expect("durable");
        }
        assert_eq!(partition.delete_records(Offset(3)).await.ok(), Some(Offset(3)));
    });
    for _ in 0..3 {
        world.crash(HOST, CrashMode::Kill);
        let (_, store) = open(&world, &config);
        let marks = store.partition(tp(0)).expect("open").marks();
        assert_eq!((marks.log_start.offset(), marks.high_watermark.offset()), (Offset(3), Offset(8)));
    }
}
