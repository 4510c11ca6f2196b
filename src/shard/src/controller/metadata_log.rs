//! The metadata log of one node: `__cluster_metadata-0`, Kafka's records in Kafka's batches, one file.
//!
//! Each change is one batch, flushed before anybody is told of it. A torn last batch was never told to anybody and is
//! cut off when the file is opened; damage before the end stops the start, because what follows it was acknowledged.
//!
//! On a full disk a change is refused and nothing of it stays in the file, so the next one is taken once there is room. A start does
//! without writing: what it has to write comes with the next change.

use odradek_base::{LeaderEpoch, Offset, Timestamp, disk};
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

impl MetadataLogError {
    /// Nothing was changed for lack of room: it may work later.
    fn is_full(&self) -> bool {
        matches!(self, Self::Io { error, .. } if disk::is_full(error))
    }
}

pub struct MetadataLog {
    path: PathBuf,
    file: File,
    position: u64,
    next_offset: Offset,
    /// The last change of an earlier run and its position, where a start found no room to write it again.
    unsettled: Option<(bytes::Bytes, u64)>,
    /// Records that a start found no room for.
    unwritten: Vec<MetadataRecord>,
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
        let unsettled = (!last.is_empty()).then_some((last, change as u64));
        let mut log = Self { path, file, position: position as u64, next_offset, unsettled, unwritten: Vec::new(), broken: false };
        match log.settle().await {
            Err(error) if error.is_full() => tracing::error!("metadata cannot be changed until there is room: {error}"),
            other => other?,
        }
        Ok((log, records))
    }

    /// Writes again what a start found no room for.
    async fn settle(&mut self) -> Result<(), MetadataLogError> {
        if let Some((bytes, position)) = &self.unsettled {
            let written = self.file.write_at(vec![bytes.clone()], *position, Sync::Data).await;
            written.map_err(|error| MetadataLogError::Io { path: self.path.clone(), error })?;
            self.unsettled = None;
        }
        Ok(())
    }

    /// Appends records and flushes them. For lack of room they are kept, and come with the next change: for records that every start makes anew.
    pub async fn append_or_keep(&mut self, records: &[MetadataRecord], now: Timestamp) -> Result<(), MetadataLogError> {
        match self.append(records, now).await {
            Err(error) if error.is_full() => {
                tracing::warn!("metadata of this start is written when there is room: {error}");
                self.unwritten.extend_from_slice(records);
                Ok(())
            }
            other => other,
        }
    }

    /// Appends records and flushes them.
    pub async fn append(&mut self, records: &[MetadataRecord], now: Timestamp) -> Result<(), MetadataLogError> {
        if self.broken {
            let error = std::io::Error::other("an earlier write failed; restart the broker once the disk is well");
            return Err(MetadataLogError::Io { path: self.path.clone(), error });
        }
        // Broken until proven otherwise: this future may also be dropped half way.
        self.broken = true;
        let result = self.write(records, now).await;
        self.broken = match &result {
            Ok(()) => false,
            Err(error) => !(error.is_full() && self.cut().await.is_ok()),
        };
        result
    }

    async fn write(&mut self, records: &[MetadataRecord], now: Timestamp) -> Result<(), MetadataLogError> {
        self.settle().await?;
        let records = [&self.unwritten, records].concat();
        let (bytes, offset) = encode(&records, self.next_offset, now);
        let length: usize = bytes.iter().map(bytes::Bytes::len).sum();
        let written = self.file.write_at(bytes, self.position, Sync::Data).await;
        written.map_err(|error| MetadataLogError::Io { path: self.path.clone(), error })?;
        self.unwritten.clear();
        self.position += length as u64;
        self.next_offset = offset;
        Ok(())
    }

    /// Takes a change that found no room out of the file again.
    async fn cut(&self) -> std::io::Result<()> {
        self.file.truncate(self.position).await?;
        self.file.sync_data().await
    }

    pub fn next_offset(&self) -> Offset {
        self.next_offset
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use odradek_base::{ShardId, TopicId};
    use odradek_cluster::records::TopicRecord;
    use odradek_ring::sim::{CrashMode, DiskFaults, HostId, World, WorldOptions};

    const HOST: HostId = HostId(1);

    fn topic(id: u128, name_bytes: usize) -> MetadataRecord {
        MetadataRecord::Topic(TopicRecord { name: "t".repeat(name_bytes), topic_id: TopicId(uuid::Uuid::from_u128(id)) })
    }

    fn free_bytes(world: &World, bytes: u64, copy_on_write: bool) {
        let capacity_bytes = world.disk_used(HOST) + bytes;
        world.set_disk_faults(HOST, DiskFaults { capacity_bytes, copy_on_write, short_one_in: 2, ..DiskFaults::default() });
    }

    fn open(world: &World) -> (Ring, MetadataLog, Vec<MetadataRecord>) {
        let ring = world.ring(HOST, ShardId(0));
        let opening = ring.clone();
        let opened = world.block_on(&ring, async move { MetadataLog::open(&opening, Path::new("/data")).await });
        let (log, records) = opened.expect("open");
        (ring, log, records)
    }

    /// One change; whether it was taken, or refused for lack of room.
    fn change(world: &World, ring: &Ring, mut log: MetadataLog, records: Vec<MetadataRecord>, keep: bool) -> (MetadataLog, bool) {
        let (log, result) = world.block_on(ring, async move {
            let result = if keep { log.append_or_keep(&records, Timestamp(1)).await } else { log.append(&records, Timestamp(1)).await };
            (log, result)
        });
        match result {
            Ok(()) => (log, true),
            Err(error) => {
                assert!(error.is_full(), "{error}");
                (log, false)
            }
        }
    }

    #[test]
    fn a_full_disk_refuses_changes_until_there_is_room() {
        for seed in 1..=8 {
            let world = World::new(seed, WorldOptions::default());
            let (ring, log, _) = open(&world);
            let (log, _) = change(&world, &ring, log, vec![topic(1, 10)], false);
            free_bytes(&world, 12_000, false);
            let length = || world.peek(HOST, &Path::new("/data").join(DIRECTORY).join(FILE)).expect("the log").len();
            let before = length();
            // A short write may leave a part of it.
            let (log, taken) = change(&world, &ring, log, (2..100).map(|id| topic(id, 200)).collect(), false);
            assert!(!taken);
            assert_eq!(length(), before);
            let (log, taken) = change(&world, &ring, log, vec![topic(200, 10)], false);
            assert!(taken, "a smaller one fits");
            drop(log);
            world.crash(HOST, CrashMode::PowerLoss);
            free_bytes(&world, 0, true);

            let (ring, log, records) = open(&world);
            assert_eq!(records, [topic(1, 10), topic(200, 10)]);
            let (log, _) = change(&world, &ring, log, vec![topic(300, 10)], true);
            let (log, taken) = change(&world, &ring, log, vec![topic(301, 10)], false);
            assert!(!taken, "there is no room for the last change of the earlier run");
            free_bytes(&world, 1 << 20, true);
            let (_, taken) = change(&world, &ring, log, vec![topic(302, 10)], false);
            assert!(taken);
            world.crash(HOST, CrashMode::PowerLoss);
            assert_eq!(open(&world).2, [topic(1, 10), topic(200, 10), topic(300, 10), topic(302, 10)]);
        }
    }
}
