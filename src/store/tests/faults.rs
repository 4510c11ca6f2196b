//! The store on the simulated ring while its disk fails: what was acknowledged is there afterwards, and what does not depend on the failed
//! part goes on.

mod support;

use odradek_base::{Offset, Rng, ShardId, TopicPartition};
use odradek_log::journal::replay::scan;
use odradek_log::journal::space::FileNumber;
use odradek_log::test_batches::idempotent;
use odradek_ring::Ring;
use odradek_ring::sim::{CrashMode, DiskFailure, DiskOperation, HostId, World, WorldOptions};
use odradek_store::{Durability, Partition, RecoveryReport, Store, StoreConfig, StoreError};
use odradek_wire::ErrorCode;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;
use support::*;

const HOST: HostId = HostId(1);
/// Within a batch.
const PRODUCER_ID_LAST_BYTE: u64 = 50;

fn open(world: &World, config: &StoreConfig, partitions: i32) -> (Ring, Store, RecoveryReport) {
    let ring = world.ring(HOST, ShardId(0));
    let owned = (0..partitions).map(|partition| spec(partition, small_segments())).collect();
    let (store, report) = world.block_on(&ring, Store::open(ring.clone(), config.clone(), owned)).expect("open");
    (ring, store, report)
}

/// Appends a batch and waits for it; its row, or why it was refused.
async fn put(partition: &Partition, id: u64, bytes: usize) -> Result<Row, ErrorCode> {
    let batch = batch(id, 2, bytes);
    let appended = partition
        .append(std::slice::from_ref(&batch), EPOCH, odradek_base::Timestamp(1), odradek_store::AppendOrigin::Client, Durability::Durable)
        .map_err(|error| error.code())?;
    partition.wait(appended.ticket).await.map_err(|error| error.code())?;
    Ok((appended.base_offset.get(), appended.last_offset.get(), id))
}

fn put_many(world: &World, ring: &Ring, store: &Store, index: i32, ids: std::ops::Range<u64>, bytes: usize) -> Vec<Row> {
    let store = store.clone();
    world.block_on(ring, async move {
        let mut rows = Vec::new();
        for id in ids {
            store.wait_admission().await;
            rows.push(put(&store.partition(tp(index)).expect("there"), id, bytes).await.expect("acknowledged"));
        }
        rows
    })
}

/// Everything of a partition, first without memory's help for what the segments have.
fn rows_of(world: &World, ring: &Ring, store: &Store, index: i32) -> Vec<Row> {
    let partition = store.partition(tp(index)).expect("open");
    world.block_on(ring, async move { read_all(&partition, Offset(0), 20_000).await.expect("readable") })
}

fn fail(world: &World, operation: DiskOperation, path_contains: &str) {
    world.fail_disk(HOST, DiskFailure { operation, path_contains: path_contains.to_owned(), times: 1 });
}

fn two_directories() -> StoreConfig {
    StoreConfig { log_dirs: vec!["/d0".into(), "/d1".into()], journal_dir: Some("/journal".into()), ..small(Path::new("/d0")) }
}

fn each_seed(test: impl Fn(u64) + std::panic::RefUnwindSafe) {
    for seed in 1..=8 {
        if let Err(panic) = std::panic::catch_unwind(|| test(seed)) {
            eprintln!("seed {seed} failed");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn a_journal_flush_that_failed_is_not_relied_on_after_a_restart() {
    each_seed(|seed| {
        let world = World::new(seed, WorldOptions::default());
        let config = small(Path::new("/data"));
        let (ring, store, _) = open(&world, &config, 1);
        let mut rows = put_many(&world, &ring, &store, 0, 0..10, 500);
        fail(&world, DiskOperation::Sync, ".journal");
        let partition = store.partition(tp(0)).expect("there");
        let failed = world.block_on(&ring, async move { put(&partition, 10, 500).await });
        assert_eq!(failed, Err(ErrorCode::KafkaStorageError));
        let partition = store.partition(tp(0)).expect("there");
        let refused = world.block_on(&ring, async move { put(&partition, 11, 500).await });
        assert_eq!(refused, Err(ErrorCode::KafkaStorageError), "a journal that failed is not tried again");
        world.crash(HOST, CrashMode::Kill);

        // What the page cache still has of the failed block is visible, so it has to stay.
        let (ring, store, report) = open(&world, &config, 1);
        assert!(report.holes.is_empty() && report.damaged.is_empty(), "{report:?}");
        let seen = rows_of(&world, &ring, &store, 0);
        assert!(seen.starts_with(&rows));
        rows = seen;
        rows.extend(put_many(&world, &ring, &store, 0, 20..25, 500));
        world.crash(HOST, CrashMode::PowerLoss);

        let (ring, store, report) = open(&world, &config, 1);
        assert!(report.holes.is_empty() && report.damaged.is_empty(), "{report:?}");
        assert_eq!(rows_of(&world, &ring, &store, 0), rows);
    });
}

/// Writes so much elsewhere that the journal is reused several times.
fn churn(world: &World, ring: &Ring, store: &Store, index: i32, from: u64) -> Vec<Row> {
    put_many(world, ring, store, index, from..from + 150, 12_000)
}

fn a_failed_flush_of(path_contains: &'static str) {
    each_seed(|seed| {
        let world = World::new(seed, WorldOptions::default());
        let config = small(Path::new("/data"));
        let (ring, store, _) = open(&world, &config, 2);
        let mut one = put_many(&world, &ring, &store, 1, 0..3, 4_000);
        fail(&world, DiskOperation::Sync, &format!("orders-0/{path_contains}"));
        let mut zero = Vec::new();
        let partition = store.partition(tp(0)).expect("there");
        for id in 0..400 {
            let (partition, ring2) = (partition.clone(), ring.clone());
            let row = world.block_on(&ring, async move {
                ring2.sleep(Duration::from_millis(2)).await;
                put(&partition, id, 2_000).await
            });
            match row {
                Ok(row) => zero.push(row),
                Err(code) => {
                    assert_eq!(code, ErrorCode::KafkaStorageError);
                    break;
                }
            }
        }
        assert!(matches!(partition.check(), Err(StoreError::PartitionOffline { .. })), "the failed flush took the partition offline");
        let refused = partition.clone();
        let read = world.block_on(&ring, async move { refused.read(Offset(0), Offset(1), 100, true).await.map(|_| ()) });
        assert_eq!(read.expect_err("offline").code(), ErrorCode::KafkaStorageError);
        // The others go on, for longer than the journal is.
        one.extend(churn(&world, &ring, &store, 1, 1000));
        world.crash(HOST, if seed.is_multiple_of(2) { CrashMode::Kill } else { CrashMode::PowerLoss });

        let (ring, store, report) = open(&world, &config, 2);
        assert!(report.damaged.is_empty(), "{report:?}");
        assert_eq!(rows_of(&world, &ring, &store, 0), zero);
        one.extend(churn(&world, &ring, &store, 1, 2000));
        world.crash(HOST, CrashMode::PowerLoss);

        let (ring, store, report) = open(&world, &config, 2);
        assert!(report.damaged.is_empty(), "{report:?}");
        assert_eq!(rows_of(&world, &ring, &store, 0), zero, "what the failed flush dropped was taken for flushed");
        assert_eq!(rows_of(&world, &ring, &store, 1), one);
        world.block_on(&ring, store.close()).expect("close");
    });
}

#[test]
fn a_segment_flush_that_failed_takes_the_partition_and_is_not_relied_on() {
    a_failed_flush_of("00000000000000000000.log");
}

#[test]
fn an_index_flush_that_failed_takes_the_partition_and_is_not_relied_on() {
    a_failed_flush_of("00000000000000000000.index");
}

#[test]
fn a_state_file_flush_that_failed_leaves_the_old_state() {
    each_seed(|seed| {
        let world = World::new(seed, WorldOptions::default());
        let config = small(Path::new("/data"));
        let (ring, store, _) = open(&world, &config, 1);
        let mut rows = put_many(&world, &ring, &store, 0, 0..20, 4_000);
        fail(&world, DiskOperation::Sync, ".state");
        world.run_for(Duration::from_secs(3));
        rows.extend(put_many(&world, &ring, &store, 0, 100..220, 8_000));
        world.crash(HOST, CrashMode::PowerLoss);
        let (ring, store, report) = open(&world, &config, 1);
        assert!(report.damaged.is_empty() && report.holes.is_empty(), "{report:?}");
        assert_eq!(rows_of(&world, &ring, &store, 0), rows);
    });
}

#[test]
fn segments_that_a_killed_process_had_not_flushed_survive_a_later_power_loss() {
    each_seed(|seed| {
        let world = World::new(seed, WorldOptions::default());
        let config = small(Path::new("/data"));
        let (ring, store, _) = open(&world, &config, 2);
        let zero = put_many(&world, &ring, &store, 0, 0..30 + seed, 3_000);
        world.run_for(Duration::from_millis(seed * 17));
        world.crash(HOST, CrashMode::Kill);
        let (ring, store, _) = open(&world, &config, 2);
        let one = churn(&world, &ring, &store, 1, 1000);
        world.crash(HOST, CrashMode::PowerLoss);
        let (ring, store, report) = open(&world, &config, 2);
        assert!(report.damaged.is_empty(), "{report:?}");
        assert_eq!((rows_of(&world, &ring, &store, 0), rows_of(&world, &ring, &store, 1)), (zero, one));
    });
}

#[test]
fn a_failing_directory_takes_its_own_partitions_only() {
    each_seed(|seed| {
        let world = World::new(seed, WorldOptions::default());
        let config = two_directories();
        let (ring, store, _) = open(&world, &config, 4);
        let in_d1: Vec<i32> = (0..4).filter(|index| store.partition(tp(*index)).expect("there").log_dir() == Path::new("/d1")).collect();
        assert_eq!(in_d1, [1, 3], "spread, the directory with the fewest partitions first");
        let mut rows: Vec<Vec<Row>> = (0..4).map(|index| put_many(&world, &ring, &store, index, 0..5, 3_000)).collect();
        let operation = if seed.is_multiple_of(2) { DiskOperation::Write } else { DiskOperation::Sync };
        fail(&world, operation, "/d1/");
        world.run_for(Duration::from_secs(3));
        for index in in_d1 {
            let partition = store.partition(tp(index)).expect("there");
            assert_eq!(partition.check().expect_err("offline").code(), ErrorCode::KafkaStorageError);
        }
        for index in [0, 2] {
            rows[index as usize].extend(churn(&world, &ring, &store, index, 1000));
        }
        // A new partition goes where it can live.
        let making = store.clone();
        world.block_on(&ring, async move { making.create(spec(4, small_segments())).await.map(|_| ()) }).expect("created");
        assert_eq!(store.partition(tp(4)).expect("there").log_dir(), Path::new("/d0"));
        world.crash(HOST, CrashMode::PowerLoss);

        // The directory cannot be opened at the next start.
        fail(&world, DiskOperation::Write, "/d1/odradek-shard-0.probe");
        let (ring, store, report) = open(&world, &config, 5);
        assert_eq!(report.offline_directories.len(), 1, "{report:?}");
        assert_eq!(report.damaged.keys().copied().collect::<Vec<_>>(), [tp(1), tp(3)]);
        assert_eq!(store.closed(tp(1)).expect("closed").code(), ErrorCode::KafkaStorageError);
        let making = store.clone();
        let made = world.block_on(&ring, async move { making.create(spec(1, small_segments())).await.map(|_| ()) });
        assert!(made.is_err(), "a new partition must not take the place of one that is offline");
        for index in [0, 2] {
            rows[index as usize].extend(churn(&world, &ring, &store, index, 2000));
        }
        world.block_on(&ring, store.close()).expect("close");
        world.crash(HOST, CrashMode::PowerLoss);

        let (ring, store, report) = open(&world, &config, 5);
        assert!(report.damaged.is_empty() && report.offline_directories.is_empty(), "{report:?}");
        for (index, rows) in rows.iter().enumerate() {
            assert_eq!(&rows_of(&world, &ring, &store, index as i32), rows, "partition {index}");
        }
        world.block_on(&ring, store.close()).expect("close");
    });
}

#[test]
fn a_flipped_bit_is_told_to_who_reads_it_and_to_nobody_else() {
    each_seed(|seed| {
        let world = World::new(seed, WorldOptions::default());
        let config = small(Path::new("/data"));
        let (ring, store, _) = open(&world, &config, 2);
        let zero = put_many(&world, &ring, &store, 0, 0..20, 1_000);
        let one = put_many(&world, &ring, &store, 1, 100..120, 1_000);
        world.block_on(&ring, store.close()).expect("close");
        world.crash(HOST, CrashMode::Kill);
        let log = Path::new("/data/orders-0/00000000000000000000.log");
        let content = world.peek(HOST, log).expect("the segment");
        let starts: Vec<u64> = odradek_wire::batch::batches(&content)
            .map(|view| view.expect("whole").total_bytes() as u64)
            .scan(0, |at, bytes| {
                *at += bytes;
                Some(*at - bytes)
            })
            .collect();
        // Somewhere in what the CRC covers, or in the length.
        let victim = 3 + (seed as usize * 5) % 14;
        let within = if seed == 1 { 8 } else { 25 + seed * 97 };
        assert!(world.flip_bit(HOST, log, starts[victim] + within, 3));

        let (ring, store, _) = open(&world, &config, 2);
        let partition = store.partition(tp(0)).expect("open");
        let (before, damaged) = (zero[..victim].to_vec(), Offset(zero[victim].0));
        let reading = partition.clone();
        let good = world.block_on(&ring, async move {
            let mut rows = Vec::new();
            let mut at = Offset(0);
            while at < damaged {
                let data = reading.read(at, Offset(40), 3_000, true).await.expect("before the damage");
                for part in &data.batches {
                    for view in odradek_wire::batch::batches(part) {
                        let view = view.expect("whole");
                        at = view.next_offset();
                        rows.push(row(&part.slice_ref(view.bytes())));
                    }
                }
            }
            rows
        });
        assert_eq!(good, before);
        for times in 1..=3 {
            let reading = partition.clone();
            let error = world.block_on(&ring, async move { reading.read(damaged, Offset(40), 3_000, true).await }).expect_err("damaged");
            assert_eq!(error.code(), ErrorCode::CorruptMessage);
            let odradek_store::ReadError::Corrupt { path, position, .. } = &error else { panic!("{error}") };
            assert_eq!((path.as_path(), *position), (log, starts[victim]));
            assert_eq!((store.stats().corrupt_reads, store.stats().corrupt_places), (times, 1));
        }
        if within != 8 {
            let (reading, next) = (partition.clone(), zero[victim + 1]);
            let data =
                world.block_on(&ring, async move { reading.read(Offset(next.0), Offset(40), 1, true).await }).expect("behind the damage");
            assert_eq!(row(&data.batches[0]), next);
        }
        assert_eq!(rows_of(&world, &ring, &store, 1), one);
        assert!(put_many(&world, &ring, &store, 0, 50..51, 100)[0].0 == 40, "it takes records");
    });
}

/// An entry that names a wrong offset would have a reader begin behind what it wants, one with a wrong position in the middle of a batch.
#[test]
fn a_damaged_offset_index_leads_no_reader_astray() {
    for bit in 0..64u64 {
        let world = World::new(bit, WorldOptions::default());
        let config = small(Path::new("/data"));
        let (ring, store, _) = open(&world, &config, 1);
        let rows = put_many(&world, &ring, &store, 0, 0..20, 1_000);
        world.block_on(&ring, store.close()).expect("close");
        world.crash(HOST, CrashMode::Kill);
        let index = Path::new("/data/orders-0/00000000000000000000.index");
        let entries = world.peek(HOST, index).expect("the index").len() as u64 / 8;
        assert!(entries > 4);
        assert!(world.flip_bit(HOST, index, entries / 2 * 8 + bit / 8, (bit % 8) as u8));
        for wanted in &rows[6..18] {
            // A fresh store, which has read nothing yet and so looks in the index.
            let (ring, store, _) = open(&world, &config, 1);
            let (partition, at) = (store.partition(tp(0)).expect("open"), Offset(wanted.0));
            let read = world.block_on(&ring, async move { partition.read(at, Offset(40), 1, true).await });
            let data = read.unwrap_or_else(|error| panic!("bit {bit}, offset {at}: {error}"));
            assert_eq!(row(&data.batches[0]), *wanted, "bit {bit}");
            world.block_on(&ring, store.close()).expect("close");
            world.crash(HOST, CrashMode::Kill);
        }
    }
}

#[test]
fn a_flipped_offset_makes_no_reader_pass_over_records() {
    // Bits of a base offset (big endian), which no CRC covers: beyond the log, beyond the next batch, and among the last ones.
    for (byte, bit, victim) in [(0, 4, 9), (5, 0, 9), (7, 3, 4), (7, 2, 2), (7, 5, 19)] {
        let world = World::new(u64::from(bit), WorldOptions::default());
        let config = small(Path::new("/data"));
        let (ring, store, _) = open(&world, &config, 1);
        let written = put_many(&world, &ring, &store, 0, 0..20, 1_000);
        world.block_on(&ring, store.close()).expect("close");
        world.crash(HOST, CrashMode::Kill);
        let log = Path::new("/data/orders-0/00000000000000000000.log");
        let content = world.peek(HOST, log).expect("the segment");
        let start: u64 = odradek_wire::batch::batches(&content).take(victim).map(|view| view.expect("whole").total_bytes() as u64).sum();
        assert!(world.flip_bit(HOST, log, start + byte, bit));

        let (ring, store, _) = open(&world, &config, 1);
        let partition = store.partition(tp(0)).expect("open");
        let end = written.last().expect("written").0 + 2;
        let mut at = Offset(0);
        loop {
            let reading = partition.clone();
            match world.block_on(&ring, async move { reading.read(at, Offset(end), 64 << 10, true).await }) {
                Ok(data) => {
                    assert!(!data.batches.is_empty(), "byte {byte}, bit {bit}: nothing at {at}");
                    for part in &data.batches {
                        for view in odradek_wire::batch::batches(part) {
                            let view = view.expect("whole");
                            assert_eq!(view.base_offset(), at, "byte {byte}, bit {bit}");
                            at = view.next_offset();
                        }
                    }
                }
                Err(error) => break assert_eq!(error.code(), ErrorCode::CorruptMessage),
            }
        }
        let stops: Vec<Offset> = [victim.saturating_sub(1), victim].map(|at| Offset(written[at].0)).to_vec();
        assert!(stops.contains(&at), "byte {byte}, bit {bit}: stopped at {at}, the damage is at {:?}", stops[1]);
    }
}

#[test]
fn a_bit_that_flips_after_its_flush_is_no_torn_tail_even_if_no_state_file_knows_of_the_flush() {
    each_seed(|seed| {
        let world = World::new(seed, WorldOptions::default());
        // The state file of the start is the last one: it knows of no flush.
        let config = StoreConfig { state_interval: Duration::from_secs(3600), ..small(Path::new("/data")) };
        let (ring, store, _) = open(&world, &config, 2);
        put_many(&world, &ring, &store, 0, 0..20, 1_000);
        // Until the journal has been reused, and with it what it had of partition 0.
        let one = churn(&world, &ring, &store, 1, 100);
        world.crash(HOST, CrashMode::Kill);
        let log = Path::new("/data/orders-0/00000000000000000000.log");
        let content = world.peek(HOST, log).expect("the segment");
        let position = content.len() as u64 * seed / 10;
        assert!(world.flip_bit(HOST, log, position, 3));
        let damaged = world.peek(HOST, log);

        for _ in 0..2 {
            let (ring, store, report) = open(&world, &config, 2);
            let reason = report.damaged.get(&tp(0)).expect("closed");
            assert!(reason.contains("the journal no longer has it"), "{reason}");
            assert!(store.partition(tp(0)).is_none());
            assert_eq!(world.peek(HOST, log), damaged, "nothing was cut");
            assert_eq!(rows_of(&world, &ring, &store, 1), one);
            world.crash(HOST, CrashMode::PowerLoss);
        }
    });
}

#[test]
fn what_a_torn_tail_says_of_producers_is_not_believed() {
    each_seed(|seed| {
        let world = World::new(seed, WorldOptions::default());
        let config = StoreConfig { state_interval: Duration::from_secs(3600), ..small(Path::new("/data")) };
        let (ring, store, _) = open(&world, &config, 1);
        let partition = store.partition(tp(0)).expect("open");
        let written = [idempotent(7, 0, 0, 1), idempotent(7, 0, 1, 1)];
        for batch in &written {
            let (waiting, ticket) = (partition.clone(), append(&partition, batch, Durability::Durable).ticket);
            world.block_on(&ring, async move { waiting.wait(ticket).await }).expect("durable");
        }
        // Until it is in the segment too; the journal still has it.
        world.run_for(Duration::from_secs(2));
        world.crash(HOST, CrashMode::Kill);
        // The second batch's header goes on naming a producer, but another one: 15.
        let log = Path::new("/data/orders-0/00000000000000000000.log");
        assert!(world.flip_bit(HOST, log, written[0].bytes.len() as u64 + PRODUCER_ID_LAST_BYTE, 3));

        let (_, store, report) = open(&world, &config, 1);
        assert!(report.damaged.is_empty() && report.truncated.len() == 1, "{report:?}");
        let partition = store.partition(tp(0)).expect("open");
        let again = append(&partition, &written[1], Durability::Durable);
        assert_eq!((again.base_offset, again.duplicate), (Offset(1), true), "the journal's producer is known");
        let first = append(&partition, &idempotent(15, 0, 3, 1), Durability::Durable);
        assert_eq!((first.base_offset, first.duplicate), (Offset(2), false), "the torn tail's is not: it may begin with any sequence");
    });
}

/// Positions of the blocks in the first journal file, by sequence.
fn journal_blocks(world: &World, path: &Path) -> BTreeMap<u64, u64> {
    let content = world.peek(HOST, path).expect("the journal");
    let mut found = Vec::new();
    scan(&content, FileNumber(0), 0, ShardId(0), &mut found);
    found.iter().map(|block| (block.sequence.0, block.position)).collect()
}

#[test]
fn journal_blocks_that_cannot_be_read_close_the_partitions_that_lost_by_them() {
    each_seed(|seed| {
        let world = World::new(seed, WorldOptions::default());
        let mut rng = Rng::with_seed(seed);
        // Only the journal has what is written here.
        let config = StoreConfig { flush_age: Duration::from_secs(3600), ..small(Path::new("/data")) };
        let (ring, store, _) = open(&world, &config, 4);
        let deleting = store.partition(tp(3)).expect("there");
        put_many(&world, &ring, &store, 3, 100..103, 100);
        let mut rows: Vec<Vec<Row>> = vec![Vec::new(); 3];
        let mut owners = Vec::new();
        for id in 0..10 {
            let owner = rng.below(3) as usize;
            rows[owner].extend(put_many(&world, &ring, &store, owner as i32, id..id + 1, 500));
            owners.push(Some(owner));
            if id == 2 {
                let deleting = deleting.clone();
                world.block_on(&ring, async move { deleting.delete_records(Offset(4)).await }).expect("deleted");
                owners.push(None);
            }
        }
        world.crash(HOST, CrashMode::Kill);
        let journal = Path::new("/data/odradek-shard-0-00000000.journal");
        let blocks = journal_blocks(&world, journal);
        assert_eq!(blocks.len(), owners.len() + 3, "each append made a block of its own");
        // One block, or two in a row; not the last, which would be a torn tail.
        let (victim, count) = (rng.below(owners.len() as u64 - 2) as usize, 1 + seed as usize % 2);
        for gone in victim..victim + count {
            assert!(world.flip_bit(HOST, journal, blocks[&(4 + gone as u64)] + 100, 3));
        }
        let lost: BTreeSet<usize> = owners[victim..victim + count].iter().flatten().copied().collect();

        for start in 0..3 {
            let (ring, store, report) = open(&world, &config, 4);
            assert_eq!(report.holes.len(), usize::from(start == 0), "{report:?}");
            let closed: BTreeSet<TopicPartition> = lost.iter().map(|index| tp(*index as i32)).collect();
            assert_eq!(report.damaged.keys().copied().collect::<BTreeSet<_>>(), closed, "blocks {victim} and {count} of {owners:?}");
            for partition in closed {
                assert_eq!(store.closed(partition).expect("closed").code(), ErrorCode::KafkaStorageError);
            }
            for index in (0..3).filter(|index| !lost.contains(index)) {
                assert_eq!(rows_of(&world, &ring, &store, index as i32), rows[index], "partition {index}");
                let id = 1000 * (start + 1);
                rows[index].extend(put_many(&world, &ring, &store, index as i32, id..id + 40, 12_000));
            }
            // The next block repeats that records were deleted.
            let partition = store.partition(tp(3)).expect("open");
            assert_eq!(partition.marks().log_start.offset(), Offset(4));
            world.crash(HOST, CrashMode::PowerLoss);
        }
    });
}
