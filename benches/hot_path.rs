//! The hot pieces, one by one: `cargo bench`. What they add up to is measured by `odradek bench`, against a running broker.

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use odradek_base::{LeaderEpoch, Offset, PartitionIndex, ShardId, Timestamp, TopicId, TopicPartition};
use odradek_log::journal::format::{JournalId, Sequence};
use odradek_log::journal::writer::{Assignment, Writer, WriterLimits};
use odradek_ring::sim::{HostId, World, WorldOptions};
use odradek_store::{AppendOrigin, Durability, LogConfig, PartitionSpec, Store, StoreConfig};
use odradek_wire::batch::BatchView;
use odradek_wire::batch::validate::{ValidBatch, ValidationRules, validate};
use odradek_wire::compress::Codec;
use odradek_wire::fetch::{self, FetchPartition, FetchTopic};
use odradek_wire::frame::FrameReader;
use odradek_wire::messages::ProduceRequest as ProduceMessage;
use odradek_wire::messages::produce_request::{PartitionProduceData, TopicProduceData};
use odradek_wire::produce::{ProduceRequest, TopicReference};
use odradek_wire::records::BatchBuilder;
use odradek_wire::{StrBytes, api, encode_request, parse_header};
use std::hint::black_box;
use std::path::PathBuf;
use std::rc::Rc;
use uuid::Uuid;

/// A batch of 15 records of 1 KiB: what a busy producer sends.
const RECORDS: usize = 15;
const RECORD_BYTES: usize = 1024;
const VERSION: i16 = 11;
/// The fetch version that names topics by id.
const FETCH_VERSION: i16 = 17;

fn batch() -> Bytes {
    let mut builder = BatchBuilder::new(Codec::None).base_timestamp(Timestamp(1));
    for at in 0..RECORDS {
        builder.append(Timestamp(1 + at as i64), Some(b"key"), Some(&[at as u8; RECORD_BYTES]), &[]);
    }
    builder.build()
}

fn valid() -> ValidBatch {
    validate(&batch(), &ValidationRules::default(), Timestamp(1)).expect("valid")
}

fn tp(partition: i32) -> TopicPartition {
    TopicPartition::new(TopicId(Uuid::from_u128(1)), PartitionIndex(partition))
}

/// Received bytes to a checked batch header, and to a batch of which every record was checked.
fn frame_to_batch(c: &mut Criterion) {
    let partition = PartitionProduceData::default().with_index(0).with_records(Some(batch()));
    let topic = TopicProduceData::default().with_name(StrBytes::from_static_str("orders").into()).with_partition_data(vec![partition]);
    let request = ProduceMessage::default().with_acks(-1).with_topic_data(vec![topic]);
    let frame = encode_request(api::PRODUCE, VERSION, 1, Some("bench"), &request).expect("encodes");
    let records = |frame: &Bytes| {
        let mut reader = FrameReader::new(1 << 20);
        reader.push(frame.clone());
        let request = parse_header(reader.next().expect("a frame").expect("whole")).expect("a header");
        let mut request = ProduceRequest::parse(&request.body, VERSION).expect("a produce");
        request.topics[0].partitions[0].records.take().expect("records")
    };
    let mut group = c.benchmark_group("frame");
    group.throughput(Throughput::Bytes(frame.len() as u64));
    group.bench_function("to batch view", |b| b.iter(|| BatchView::parse(&records(black_box(&frame))).expect("a batch").record_count()));
    let rules = ValidationRules::default();
    group.bench_function("to valid batch", |b| b.iter(|| validate(&records(black_box(&frame)), &rules, Timestamp(1)).expect("valid")));
    group.finish();
}

fn crc(c: &mut Criterion) {
    let batch = batch();
    let mut group = c.benchmark_group("crc");
    group.throughput(Throughput::Bytes(batch.len() as u64));
    group.bench_function("of a batch", |b| b.iter(|| BatchView::parse(black_box(&batch)).expect("a batch").crc_valid()));
    group.finish();
}

/// Batches copied into journal blocks of up to 1 MiB, and each block sealed.
fn journal_append(c: &mut Criterion) {
    const BATCHES: i64 = 64;
    let batch = batch();
    let limits = WriterLimits { block_bytes_max: 1 << 20, arena_bytes: 1 << 20 };
    let mut group = c.benchmark_group("journal");
    group.throughput(Throughput::Bytes(batch.len() as u64 * BATCHES as u64));
    group.bench_function("64 batches to one block", |b| {
        let mut writer = Writer::new(ShardId(0), JournalId(1), Sequence(1), limits);
        b.iter(|| {
            for at in 0..BATCHES {
                let base_offset = Offset(at * RECORDS as i64);
                let last_offset = Offset(base_offset.get() + RECORDS as i64 - 1);
                let assign = Assignment { base_offset, last_offset, leader_epoch: LeaderEpoch(0), log_append_time: None };
                writer.push_batch((), tp(at as i32), black_box(&batch), assign, true);
            }
            while let Some(block) = writer.take(Sequence(u64::MAX)) {
                black_box(block);
            }
        });
    });
    group.finish();
}

/// The answer to a fetch of 16 partitions with four slices each: headers are written, records are not touched.
fn fetch_assembly(c: &mut Criterion) {
    let batch = batch();
    let partition = |index| FetchPartition { records: vec![batch.clone(); 4], ..FetchPartition::empty(PartitionIndex(index)) };
    let topics = [FetchTopic { topic: TopicReference::Id(TopicId(Uuid::from_u128(1))), partitions: (0..16).map(partition).collect() }];
    let mut group = c.benchmark_group("fetch");
    group.throughput(Throughput::Bytes(topics[0].partitions.iter().map(FetchPartition::record_bytes).sum::<usize>() as u64));
    group.bench_function("16 partitions to one answer", |b| {
        b.iter(|| fetch::encode_response(FETCH_VERSION, 1, 0, None, 0, black_box(&topics), &[]));
    });
    group.finish();
}

/// One round of group commit on the simulated ring: an append to each of 16 partitions, one journal block, its completion, everybody woken.
/// The simulated disk copies what it is given; the device's time is virtual and does not count.
fn group_commit(c: &mut Criterion) {
    const PARTITIONS: i32 = 16;
    let world = World::new(1, WorldOptions::default());
    let ring = world.ring(HostId(1), ShardId(0));
    let config =
        StoreConfig { log_dirs: vec![PathBuf::from("/data")], journal_file_bytes: 16 << 20, journal_files: 4, ..StoreConfig::default() };
    // Old segments go at once: the simulated disk is memory.
    let log = LogConfig { segment_bytes: 4 << 20, retention_bytes: 4 << 20, file_delete_delay_ms: 0, ..LogConfig::default() };
    let owned = (0..PARTITIONS).map(|at| PartitionSpec { tp: tp(at), topic_name: "orders".into(), config: log }).collect();
    let (store, _) = world.block_on(&ring, Store::open(ring.clone(), config, owned)).expect("open");
    let batch = Rc::new(valid());
    let mut rounds = 0u64;
    let mut group = c.benchmark_group("group commit");
    group.throughput(Throughput::Elements(PARTITIONS as u64));
    group.sample_size(20);
    group.bench_function("16 appends, one block", |b| {
        b.iter_batched(
            || {
                rounds += 1;
                if rounds.is_multiple_of(512) {
                    let (store, now) = (store.clone(), ring.wall_clock());
                    world.block_on(&ring, async move {
                        for partition in store.partitions() {
                            partition.run_retention(now).await.expect("retention");
                        }
                    });
                }
            },
            |()| {
                let (store, batch) = (store.clone(), batch.clone());
                world.block_on(&ring, async move {
                    store.wait_admission().await;
                    let mut waiting = Vec::new();
                    for at in 0..PARTITIONS {
                        let partition = store.partition(tp(at)).expect("owned");
                        let batch = std::slice::from_ref(&*batch);
                        let origin = AppendOrigin::Client;
                        let appended =
                            partition.append(batch, LeaderEpoch(0), Timestamp(1), origin, Durability::Durable).expect("appended");
                        waiting.push((partition, appended.ticket));
                    }
                    for (partition, ticket) in waiting {
                        partition.wait(ticket).await.expect("durable");
                    }
                });
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group!(benches, frame_to_batch, crc, journal_append, fetch_assembly, group_commit);
criterion_main!(benches);
