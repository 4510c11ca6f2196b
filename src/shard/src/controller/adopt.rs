//! The first start on the directories of a stopped Apache Kafka node: its topics become ours, its files stay where they are.
//!
//! Kafka's metadata log (`__cluster_metadata-0`, which has a `quorum-state` beside it) is read, from its newest snapshot on, and put aside
//! under another name; where there is none, the partition directories themselves say what there is. Our own metadata log is written
//! under a name of its own and takes the place last, so that a crash at any point leaves either Kafka's log or ours. Partition
//! directories are not touched here: the store checks them as it checks any directory that it did not close itself.
//!
//! Only a data directory that never was Odradek's is adopted: directories that appear later under a topic's name are not looked for.

use super::metadata_log::{self, BATCH_BYTES_MAX, DIRECTORY, FILE};
use bytes::Bytes;
use odradek_base::{BrokerId, Offset};
use odradek_cluster::MetadataRecord;
use odradek_cluster::adopt::{self, AdoptError, FoundPartition, KafkaMetadata};
use odradek_log::checkpoint;
use odradek_log::segment::names;
use odradek_ring::{DirEntry, Ring};
use odradek_wire::batch::batches;
use odradek_wire::records::RecordReader;
use std::io;
use std::path::{Path, PathBuf};

/// What a Kafka node keeps beside its metadata log, and we do not.
const QUORUM_STATE: &str = "quorum-state";
/// Where Kafka's metadata log is put: renamed back, Kafka finds it again.
const PUT_ASIDE: &str = "__cluster_metadata-0.kafka";
/// Our own metadata log until it takes its place.
const ADOPTING: &str = "odradek-metadata.adopting";

#[derive(Debug, thiserror::Error)]
pub enum AdoptionError {
    #[error("{path}: {error}")]
    Io { path: PathBuf, error: io::Error },
    #[error("{path} is damaged: {reason}")]
    Damaged { path: PathBuf, reason: String },
    #[error("the topics of a Kafka node are not taken over, and its files stay as they are: {0}")]
    Refused(#[from] AdoptError),
}

/// Takes over what a Kafka node left in `log_dirs`, unless this node has a metadata log already. `bootstrap` are the first records of a new
/// cluster, `shards` the brokers that get the partitions.
pub async fn run(
    ring: &Ring,
    metadata_dir: &Path,
    log_dirs: &[PathBuf],
    bootstrap: Vec<MetadataRecord>,
    shards: &[BrokerId],
) -> Result<(), AdoptionError> {
    let current = metadata_dir.join(DIRECTORY);
    let adopting = metadata_dir.join(ADOPTING);
    let of_kafka = exists(ring, &current.join(QUORUM_STATE)).await?;
    if !of_kafka {
        if exists(ring, &current.join(FILE)).await? {
            return Ok(());
        }
        // The last start got as far as putting Kafka's log aside.
        if exists(ring, &metadata_dir.join(PUT_ASIDE)).await? && exists(ring, &adopting.join(FILE)).await? {
            return take_place(ring, metadata_dir).await;
        }
    }
    if were_ours(ring, log_dirs).await? {
        // Journals wait for partitions on the shards that they were on, and only our own metadata says which.
        tracing::error!(directory = %current.display(), "the metadata log of this node is gone although its shards have state: nothing is adopted");
        return Ok(());
    }
    let found = find_partitions(ring, log_dirs).await?;
    let kafka = if of_kafka { Some(read_metadata(ring, &current).await?) } else { None };
    if kafka.is_none() && found.is_empty() {
        return Ok(());
    }
    let adoption = adopt::adopt(kafka.as_ref(), &found, shards)?;
    for note in &adoption.notes {
        tracing::warn!("adopting a Kafka node: {note}");
    }
    let mut records = bootstrap;
    records.extend(adoption.records);
    write(ring, &adopting, &records).await?;
    if of_kafka {
        let aside = metadata_dir.join(PUT_ASIDE);
        ring.rename(&current, &aside).await.map_err(|error| AdoptionError::Io { path: current.clone(), error })?;
        sync_dir(ring, metadata_dir).await?;
    }
    take_place(ring, metadata_dir).await?;
    tracing::info!(topics = adoption.topics, partitions = adoption.partitions, "adopted the topics of a Kafka node");
    Ok(())
}

async fn exists(ring: &Ring, path: &Path) -> Result<bool, AdoptionError> {
    ring.exists(path).await.map_err(|error| AdoptionError::Io { path: path.to_path_buf(), error })
}

async fn sync_dir(ring: &Ring, path: &Path) -> Result<(), AdoptionError> {
    ring.sync_dir(path).await.map_err(|error| AdoptionError::Io { path: path.to_path_buf(), error })
}

async fn write(ring: &Ring, directory: &Path, records: &[MetadataRecord]) -> Result<(), AdoptionError> {
    let path = directory.join(FILE);
    let io = |error| AdoptionError::Io { path: path.clone(), error };
    ring.create_dir_all(directory).await.map_err(io)?;
    let (batches, _) = metadata_log::encode(records, Offset::ZERO, ring.wall_clock());
    ring.write_atomically(&path, &batches.concat()).await.map_err(io)
}

/// The last step: from here on the directories are ours.
async fn take_place(ring: &Ring, metadata_dir: &Path) -> Result<(), AdoptionError> {
    let current = metadata_dir.join(DIRECTORY);
    ring.rename(&metadata_dir.join(ADOPTING), &current).await.map_err(|error| AdoptionError::Io { path: current.clone(), error })?;
    sync_dir(ring, metadata_dir).await
}

/// Whether shards of ours have ever opened these directories.
async fn were_ours(ring: &Ring, log_dirs: &[PathBuf]) -> Result<bool, AdoptionError> {
    let Some(first) = log_dirs.first() else { return Ok(false) };
    let entries = list(ring, first).await?;
    Ok(entries.iter().any(|entry| odradek_store::is_state_file(&entry.name)))
}

async fn find_partitions(ring: &Ring, log_dirs: &[PathBuf]) -> Result<Vec<FoundPartition>, AdoptionError> {
    let mut found = Vec::new();
    for log_dir in log_dirs {
        let entries = list(ring, log_dir).await?;
        for entry in entries.iter().filter(|entry| entry.is_dir) {
            let Some((topic, partition)) = names::parse_partition_directory(&entry.name) else { continue };
            let path = log_dir.join(&entry.name);
            let metadata = read_text(ring, &path.join(names::PARTITION_METADATA)).await?;
            // The metadata log has the shape of a partition's directory, but no topic id.
            let Some(topic_id) = metadata.as_deref().and_then(checkpoint::decode_partition_metadata) else { continue };
            let epochs = read_text(ring, &path.join(names::LEADER_EPOCHS)).await?;
            let leader_epoch = epochs.as_deref().and_then(checkpoint::decode_epochs).and_then(|epochs| Some(epochs.last()?.epoch));
            found.push(FoundPartition { topic: topic.to_owned(), partition, topic_id, leader_epoch });
        }
    }
    Ok(found)
}

/// What is in a directory; nothing in one that is not made yet.
async fn list(ring: &Ring, path: &Path) -> Result<Vec<DirEntry>, AdoptionError> {
    match ring.read_dir(path).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other.map_err(|error| AdoptionError::Io { path: path.to_path_buf(), error }),
    }
}

/// A small text file; `None` where there is none.
async fn read_text(ring: &Ring, path: &Path) -> Result<Option<String>, AdoptionError> {
    match ring.read_to_vec(path).await {
        Ok(bytes) => Ok(String::from_utf8(bytes).ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(AdoptionError::Io { path: path.to_path_buf(), error }),
    }
}

/// Replays Kafka's metadata log: the newest snapshot (`<end offset>-<epoch>.checkpoint`), then the batches behind it.
async fn read_metadata(ring: &Ring, directory: &Path) -> Result<KafkaMetadata, AdoptionError> {
    let io = |path: &Path, error| AdoptionError::Io { path: path.to_path_buf(), error };
    let entries = ring.read_dir(directory).await.map_err(|error| io(directory, error))?;
    let mut kafka = KafkaMetadata::default();
    let snapshot = entries.iter().filter_map(|entry| Some((snapshot_end(&entry.name)?, &entry.name))).max();
    let mut end = Offset::ZERO;
    if let Some(((offset, _), name)) = snapshot {
        let path = directory.join(name);
        let bytes = Bytes::from(ring.read_to_vec(&path).await.map_err(|error| io(&path, error))?);
        replay(&mut kafka, &path, &bytes, Offset::ZERO, false)?;
        end = offset;
    }
    let mut logs: Vec<(Offset, &str)> = entries
        .iter()
        .filter_map(|entry| Some((names::parse_segment_file(&entry.name)?, entry.name.as_str())))
        .filter(|((_, extension), _)| *extension == names::LOG)
        .map(|((base, _), name)| (base, name))
        .collect();
    logs.sort_unstable();
    for (at, (_, name)) in logs.iter().enumerate() {
        let path = directory.join(name);
        let bytes = Bytes::from(ring.read_to_vec(&path).await.map_err(|error| io(&path, error))?);
        let next = replay(&mut kafka, &path, &bytes, end, at + 1 == logs.len())?;
        end = end.max(next);
    }
    Ok(kafka)
}

/// End offset and epoch of a snapshot file's name.
fn snapshot_end(name: &str) -> Option<(Offset, u32)> {
    let (offset, epoch) = name.strip_suffix(".checkpoint")?.split_once('-')?;
    Some((Offset(offset.parse().ok()?), epoch.parse().ok()?))
}

/// Replays the batches of a file from `from` on; the offset after the last. With `torn` a damaged end is one that was never acknowledged.
fn replay(kafka: &mut KafkaMetadata, path: &Path, bytes: &Bytes, from: Offset, torn: bool) -> Result<Offset, AdoptionError> {
    let damaged = |reason: String| AdoptionError::Damaged { path: path.to_path_buf(), reason };
    let mut next = from;
    for batch in batches(bytes) {
        let batch = match batch {
            Ok(batch) if batch.crc_valid() => batch,
            _ if torn => break,
            Ok(batch) => return Err(damaged(format!("wrong CRC in the batch at offset {}", batch.base_offset()))),
            Err(error) => return Err(damaged(error.to_string())),
        };
        let base = batch.base_offset();
        next = batch.next_offset();
        if batch.is_control() || base < from {
            continue;
        }
        let records = RecordReader::new(&bytes.slice_ref(batch.bytes()), BATCH_BYTES_MAX).map_err(|error| damaged(error.to_string()))?;
        for record in records {
            let record = record.map_err(|error| damaged(error.to_string()))?;
            kafka.replay(&record.value.unwrap_or_default())?;
        }
    }
    Ok(next)
}
