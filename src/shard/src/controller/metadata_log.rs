//! The metadata log of one node: `__cluster_metadata-0`, Kafka's records in Kafka's batches, one file.
//!
//! Each change is one batch, flushed before anybody is told of it. A torn last batch was never told to anybody and is
//! cut off when the file is opened; damage before the end stops the start, because what follows it was acknowledged.

use odradek_base::{LeaderEpoch, Offset, Timestamp};
use odradek_cluster::MetadataRecord;
use odradek_ring::{File, OpenOptions, Ring, Sync};
use odradek_wire::batch::batches;
use odradek_wire::compress::Codec;
use odradek_wire::records::{BatchBuilder, RecordReader};
use std::path::{Path, PathBuf};

/// Kafka's name for the directory of the metadata partition.
pub const DIRECTORY: &str = "__cluster_metadata-0";
pub(super) const FILE: &str = "00000000000000000000.log";
/// Bytes that one batch of metadata may hold. Ours are uncompressed and much smaller.
pub(super) const BATCH_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Records per batch: a change with more is split, each part valid by itself.
const BATCH_RECORDS_MAX: usize = 10_000;

#[derive(Debug, thiserror::Error)]
pub enum MetadataLogError {
    #[error("{path}: {error}")]
    Io { path: PathBuf, error: std::io::Error },
    #[error(
        "{path} is damaged at byte {position} ({reason}) although later records follow: restore the file from a backup, or move the \
         data directory away to start anew"
    )]
    Damaged { path: PathBuf, position: usize, reason: String },
}

/// Batches with `records` from `offset` on, and the offset after them.
pub(super) fn encode(records: &[MetadataRecord], mut offset: Offset, now: Timestamp) -> (Vec<bytes::Bytes>, Offset) {
    let mut batches = Vec::new();
    for part in records.chunks(BATCH_RECORDS_MAX) {
        let mut builder = BatchBuilder::new(Codec::None).base_offset(offset).leader_epoch(LeaderEpoch(0));
        for record in part {
            builder.append(now, None, Some(&record.encode()), &[]);
        }
        offset = offset.advance(part.len() as i64);
        batches.push(builder.build());
    }
    (batches, offset)
}

pub struct MetadataLog {
    path: PathBuf,
    file: File,
    position: u64,
    next_offset: Offset,
    /// A write failed: what the file holds is unknown, so nothing more is written.
    broken: bool,
}

impl MetadataLog {
    /// Opens or makes the log and gives the records that it holds, in order.
    pub async fn open(ring: &Ring, dir: &Path) -> Result<(Self, Vec<MetadataRecord>), MetadataLogError> {
        let dir = dir.join(DIRECTORY);
        let path = dir.join(FILE);
        let io = |error| MetadataLogError::Io { path: path.clone(), error };
        ring.create_dir_all(&dir).await.map_err(io)?;
        let options = OpenOptions { read: true, write: true, create: true, ..OpenOptions::default() };
        let file = ring.open(&path, options).await.map_err(io)?;
        ring.sync_dir(&dir).await.map_err(io)?;
        let bytes = bytes::Bytes::from(ring.read_to_vec(&path).await.map_err(io)?);

        let mut records = Vec::new();
        let mut next_offset = Offset::ZERO;
        let mut position = 0;
        // Where the last change begins: all parts of a change but its last are full.
        let (mut change, mut in_change) = (0, false);
        for batch in batches(&bytes) {
            let Ok(batch) = batch else { break };
            if !batch.crc_valid() {
                if position + batch.total_bytes() < bytes.len() {
                    let reason = "wrong CRC".into();
                    return Err(MetadataLogError::Damaged { path, position, reason });
                }
                break;
            }
            let damaged = |reason: String| MetadataLogError::Damaged { path: path.clone(), position, reason };
            if !batch.is_control() {
                let reader = RecordReader::new(&bytes.slice_ref(batch.bytes()), BATCH_BYTES_MAX).map_err(|e| damaged(e.to_string()))?;
                for record in reader {
                    let record = record.map_err(|error| damaged(error.to_string()))?;
                    let value = record.value.unwrap_or_default();
                    records.push(MetadataRecord::decode(&value).map_err(|error| damaged(error.to_string()))?);
                }
            }
            if !in_change {
                change = position;
            }
            in_change = batch.record_count() as usize == BATCH_RECORDS_MAX;
            next_offset = batch.next_offset();
            position += batch.total_bytes();
        }
        if position < bytes.len() {
            tracing::warn!(path = %path.display(), position, cut = bytes.len() - position, "cut a torn end off the metadata log");
            file.truncate(position as u64).await.map_err(io)?;
            file.sync_data().await.map_err(io)?;
        }
        // Its flush may have failed, or the process may have died before it. Linux shows what a failed flush left behind and never writes it
        // unless it is written again.
        let last = bytes.slice(change..position);
        if !last.is_empty() {
            file.write_at(vec![last], change as u64, Sync::Data).await.map_err(io)?;
        }
        Ok((Self { path, file, position: position as u64, next_offset, broken: false }, records))
    }

    /// Appends records and flushes them.
    pub async fn append(&mut self, records: &[MetadataRecord], now: Timestamp) -> Result<(), MetadataLogError> {
        if self.broken {
            let error = std::io::Error::other("an earlier write failed; restart the broker once the disk is well");
            return Err(MetadataLogError::Io { path: self.path.clone(), error });
        }
        let (bytes, offset) = encode(records, self.next_offset, now);
        let length: usize = bytes.iter().map(bytes::Bytes::len).sum();
        // Broken until proven otherwise: this future may also be dropped half way.
        self.broken = true;
        if let Err(error) = self.file.write_at(bytes, self.position, Sync::Data).await {
            // Where there was no room the file can be put back to what it was, and written again when there is some.
            let full = matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded);
            self.broken = !(full && self.file.truncate(self.position).await.is_ok() && self.file.sync_data().await.is_ok());
            return Err(MetadataLogError::Io { path: self.path.clone(), error });
        }
        self.broken = false;
        self.position += length as u64;
        self.next_offset = offset;
        Ok(())
    }

    pub fn next_offset(&self) -> Offset {
        self.next_offset
    }
}
