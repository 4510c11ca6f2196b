//! Durable batches of partitions that are offline.
//!
//! The journal is given back in order, so one partition that can no longer be flushed would hold all of it and in the end stop the shard. Its
//! batches that no segment has are therefore put into a file of their own beside the journal, `odradek-shard-<shard>-<topic id>-<partition>.stranded`:
//! record batches one after the other, exactly as they go to the segment. The next start that can open the partition replays
//! them before the journal; the file goes when its batches are in the segments for good.

use crate::error::StoreError;
use crate::room::FULL_PAUSE;
use crate::segment_files;
use crate::shared::{PartitionHealth, PartitionShared, Shared};
use bytes::Bytes;
use odradek_base::{Offset, PartitionIndex, ShardId, TopicId, TopicPartition};
use odradek_log::journal::format::Sequence;
use odradek_log::segment::scan::{self, Scan};
use odradek_ring::Ring;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;
use uuid::Uuid;

const SUFFIX: &str = ".stranded";
/// How often to look whether a flush that is under way has ended.
const FLUSH_LOOK: Duration = Duration::from_millis(5);

/// The files that exist.
#[derive(Debug, Default)]
pub(crate) struct Stranded(RefCell<BTreeMap<TopicPartition, PathBuf>>);

impl Stranded {
    pub fn files(&self) -> Vec<(TopicPartition, PathBuf)> {
        self.0.borrow().iter().map(|(tp, path)| (*tp, path.clone())).collect()
    }

    fn note(&self, partition: TopicPartition, path: PathBuf) {
        self.0.borrow_mut().insert(partition, path);
    }

    /// Finds the files of a shard in the journal's directory.
    pub async fn find(&self, ring: &Ring, directory: &Path, shard: ShardId) -> Result<(), StoreError> {
        let entries = ring.read_dir(directory).await.map_err(|error| StoreError::io("list", directory, error))?;
        for entry in entries {
            if let Some(partition) = parse_file_name(shard, &entry.name) {
                self.note(partition, directory.join(&entry.name));
            }
        }
        Ok(())
    }

    /// Removes the file of a partition that needs it no more.
    pub async fn remove(&self, ring: &Ring, partition: TopicPartition) {
        let path = self.0.borrow_mut().remove(&partition);
        if let Some(path) = path
            && let Err(error) = segment_files::remove(ring, &path).await
        {
            tracing::warn!("{error}");
        }
    }
}

fn file_name(shard: ShardId, partition: TopicPartition) -> String {
    format!("odradek-shard-{shard}-{}-{}{SUFFIX}", partition.topic.0.simple(), partition.partition)
}

fn parse_file_name(shard: ShardId, name: &str) -> Option<TopicPartition> {
    let rest = name.strip_prefix(&format!("odradek-shard-{shard}-"))?.strip_suffix(SUFFIX)?;
    let (topic, partition) = rest.split_once('-')?;
    Some(TopicPartition::new(TopicId(Uuid::try_parse(topic).ok()?), PartitionIndex(partition.parse().ok()?)))
}

/// The batches of a file. Such a file is written as a whole, so anything else than whole batches is damage.
pub(crate) async fn read(ring: &Ring, path: &Path) -> Result<Vec<Bytes>, StoreError> {
    let content = Bytes::from(ring.read_to_vec(path).await.map_err(|error| StoreError::io("read", path, error))?);
    let mut batches = Vec::new();
    let (mut at, mut expected) = (0, Offset::ZERO);
    while at < content.len() {
        let Scan::Batch(batch) = scan::next(&content[at..], expected, true) else {
            return Err(StoreError::Damaged { path: path.to_owned(), reason: format!("no valid batch at byte {at}") });
        };
        expected = batch.next_offset();
        batches.push(content.slice_ref(batch.bytes()));
        at += batch.total_bytes();
    }
    Ok(batches)
}

/// Replaces the file of a partition. Durable on return.
pub(crate) async fn write(shared: &Shared, partition: TopicPartition, batches: &[Bytes]) -> Result<(), StoreError> {
    let path = shared.config.journal_dir().join(file_name(shared.config.shard, partition));
    let content: Vec<u8> = batches.iter().flat_map(|batch| batch.iter().copied()).collect();
    shared.ring.write_atomically(&path, &content).await.map_err(|error| StoreError::io("write", &path, error))?;
    shared.stranded.note(partition, path);
    Ok(())
}

/// Puts the pending batches of a partition that went offline into its file, and lets the journal forget them.
pub(crate) async fn put_aside(shared: &Rc<Shared>, partition: &Rc<PartitionShared>) {
    // Nothing is appended any more; what is on its way into the journal arrives first.
    let last = partition.log.borrow().last_sequence();
    loop {
        let committed = shared.commit.event(last).listen();
        if shared.commit.durable.get() >= last {
            break;
        }
        if shared.failed.borrow().is_some() {
            return;
        }
        committed.await;
    }
    while partition.flushing.get() {
        shared.ring.sleep(FLUSH_LOOK).await;
    }
    loop {
        if shared.failed.borrow().is_some() || shared.closing.get() || !matches!(*partition.health.borrow(), PartitionHealth::Offline(_)) {
            return;
        }
        let pending: Vec<Bytes> = partition.log.borrow().tail().pending().map(|batch| batch.bytes.clone()).collect();
        let result = if pending.is_empty() { Ok(()) } else { write(shared, partition.tp, &pending).await };
        match result {
            Ok(()) if partition.is_deleted() => return shared.stranded.remove(&shared.ring, partition.tp).await,
            Ok(()) => break,
            Err(error) if error.is_full() => {
                tracing::warn!(partition = %partition.tp, "its batches are put aside when there is room: {error}");
                shared.ring.sleep(FULL_PAUSE).await;
            }
            Err(error) => {
                tracing::error!(partition = %partition.tp, "its batches cannot be put aside and hold the journal: {error}");
                return;
            }
        }
    }
    shared.sub_unflushed(partition.unflushed_bytes());
    partition.stranded.set(true);
    shared.update_dirty(partition);
    shared.release_journal();
    shared.evict();
    tracing::info!(partition = %partition.tp, topic = %partition.topic_name, "batches that no segment has were put aside for the next start");
}

/// Batches that only the journal has, of partitions that this start could not open, by partition.
#[derive(Debug, Default)]
pub(crate) struct Homeless(BTreeMap<TopicPartition, Vec<Bytes>>);

impl Homeless {
    pub fn add(&mut self, partition: TopicPartition, batch: Bytes) {
        self.0.entry(partition).or_default().push(batch);
    }

    /// Adds them to their files. Where these find no room the journal keeps them, from its block `from` on, until there is some.
    pub async fn save_or_keep(self, shared: &Rc<Shared>, from: Sequence) -> Result<(), StoreError> {
        match self.save(shared).await {
            Err(error) if error.is_full() => {
                tracing::error!(shard = %shared.config.shard, "batches of partitions that are closed stay in the journal until there is room: {error}");
                shared.homeless_from.set(Some(from));
                let shared = shared.clone();
                shared.ring.clone().spawn(async move { self.save_later(&shared).await });
                Ok(())
            }
            other => other,
        }
    }

    async fn save_later(self, shared: &Rc<Shared>) {
        while !shared.closing.get() && shared.failed.borrow().is_none() {
            shared.ring.sleep(FULL_PAUSE).await;
            match self.save(shared).await {
                Ok(()) => {
                    shared.homeless_from.set(None);
                    return shared.release_journal();
                }
                Err(error) if error.is_full() => {}
                Err(error) => {
                    tracing::error!("batches of partitions that are closed cannot be put aside and hold the journal: {error}");
                    return;
                }
            }
        }
    }

    async fn save(&self, shared: &Shared) -> Result<(), StoreError> {
        let files: BTreeMap<TopicPartition, PathBuf> = shared.stranded.files().into_iter().collect();
        // Those of partitions that were deleted meanwhile go.
        for (&partition, batches) in self.0.iter().filter(|(partition, _)| shared.offline.closed(**partition).is_some()) {
            let mut all = match files.get(&partition) {
                Some(path) => read(&shared.ring, path).await?,
                None => Vec::new(),
            };
            let known = all.len();
            let last = |batch: &Bytes| odradek_wire::batch::BatchView::parse(batch).map_or(Offset(-1), |view| view.last_offset());
            let mut end = all.last().map_or(Offset(-1), last);
            for batch in batches {
                if last(batch) > end {
                    end = last(batch);
                    all.push(batch.clone());
                }
            }
            if all.len() > known {
                write(shared, partition, &all).await?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        let partition = TopicPartition::new(TopicId(Uuid::from_u128(9)), PartitionIndex(12));
        let name = file_name(ShardId(3), partition);
        assert_eq!(parse_file_name(ShardId(3), &name), Some(partition));
        assert_eq!(parse_file_name(ShardId(1), &name), None);
        assert_eq!(parse_file_name(ShardId(3), "odradek-shard-3-00000001.journal"), None);
    }
}
