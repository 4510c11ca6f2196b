//! What the store's tests share.
#![allow(dead_code)]

use bytes::Bytes;
use odradek_base::{LeaderEpoch, Offset, PartitionIndex, ShardId, Timestamp, TopicId, TopicPartition};
use odradek_log::test_batches;
use odradek_store::{AppendOrigin, Appended, Durability, LogConfig, Partition, PartitionSpec, ReadError, StoreConfig};
use odradek_wire::batch::{BatchView, ValidBatch, batches};
use odradek_wire::compress::Codec;
use odradek_wire::records::{BatchBuilder, RecordReader};
use std::path::Path;
use std::time::Duration;
use uuid::Uuid;

pub const EPOCH: LeaderEpoch = LeaderEpoch(3);

pub fn tp(partition: i32) -> TopicPartition {
    TopicPartition::new(TopicId(Uuid::from_u128(77)), PartitionIndex(partition))
}

pub fn spec(partition: i32, config: LogConfig) -> PartitionSpec {
    PartitionSpec { tp: tp(partition), topic_name: "orders".to_owned(), config }
}

/// Bounds so small that everything rolls, flushes, evicts and recycles within a short run.
pub fn small(directory: &Path) -> StoreConfig {
    StoreConfig {
        log_dirs: vec![directory.to_owned()],
        shard: ShardId(0),
        journal_file_bytes: 256 << 10,
        journal_files: 4,
        journal_block_bytes_max: 32 << 10,
        bypass_bytes: 48 << 10,
        tail_cache_bytes: 256 << 10,
        unflushed_bytes_max: 192 << 10,
        open_files_max: 8,
        read_ahead_bytes: 128 << 10,
        delete_delay: Duration::ZERO,
        flush_age: Duration::from_millis(200),
        state_interval: Duration::from_millis(500),
        ..StoreConfig::default()
    }
}

pub fn small_segments() -> LogConfig {
    LogConfig { segment_bytes: 64 << 10, index_interval_bytes: 2048, ..LogConfig::default() }
}

/// A batch whose records carry `id` in their first bytes.
pub fn batch(id: u64, records: usize, value_bytes: usize) -> ValidBatch {
    let mut builder = BatchBuilder::new(Codec::None).base_timestamp(Timestamp(1000 + id as i64));
    let mut value = vec![id as u8; value_bytes.max(8)];
    value[..8].copy_from_slice(&id.to_le_bytes());
    for _ in 0..records {
        builder.append(Timestamp(1000 + id as i64), None, Some(&value), &[]);
    }
    test_batches::valid(builder.build())
}

pub fn append(partition: &Partition, batch: &ValidBatch, durability: Durability) -> Appended {
    partition.append(std::slice::from_ref(batch), EPOCH, Timestamp(5000), AppendOrigin::Client, durability).expect("append")
}

/// Base offset, last offset and id of a batch.
pub type Row = (i64, i64, u64);

pub fn row(batch: &Bytes) -> Row {
    let view = BatchView::parse(batch).expect("a batch");
    assert!(view.crc_valid());
    let record = RecordReader::new(batch, 1 << 24).expect("records").next().expect("one").expect("readable");
    let value = record.value.expect("a value");
    (view.base_offset().get(), view.last_offset().get(), u64::from_le_bytes(value[..8].try_into().expect("8 bytes")))
}

/// Everything a consumer sees from `from` on.
pub async fn read_all(partition: &Partition, from: Offset, max_bytes: usize) -> Result<Vec<Row>, ReadError> {
    let mut rows = Vec::new();
    let mut at = from;
    let end = partition.marks().high_watermark.offset();
    while at < end {
        let data = partition.read(at, end, max_bytes, true).await?;
        let before = at;
        for part in &data.batches {
            for view in batches(part) {
                let view = view.expect("whole batches");
                at = view.next_offset();
                rows.push(row(&part.slice_ref(view.bytes())));
            }
        }
        assert!(at > before, "a read below the high watermark returns something");
    }
    Ok(rows)
}
