//! Where each log's last compaction ended, in Kafka's format (`cleaner-offset-checkpoint`). Kafka has one file in each log directory; the shards of a
//! running node each have their own beside it, and a clean stop merges them ([`crate::write_kafka_checkpoints`]). What is lost of it costs
//! a compaction from the log's start, nothing else.

use crate::shared::Shared;
use odradek_base::{Offset, PartitionIndex, ShardId};
use odradek_log::checkpoint;
use odradek_log::segment::names;
use std::collections::BTreeMap;
use std::path::PathBuf;

const PREFIX: &str = "odradek-shard-";
const SUFFIX: &str = ".cleaner-offsets";

pub(crate) fn is_offsets_file(name: &str) -> bool {
    name.starts_with(PREFIX) && name.ends_with(SUFFIX)
}

fn path(shared: &Shared, shard: ShardId) -> PathBuf {
    shared.config.log_dirs.first().cloned().unwrap_or_default().join(format!("{PREFIX}{shard}{SUFFIX}"))
}

/// Reads what is known of this shard's partitions. A file that cannot be read is no reason not to start.
pub(crate) async fn load(shared: &Shared) {
    let mut known: BTreeMap<(String, PartitionIndex), Offset> = BTreeMap::new();
    let files = shared.config.log_dirs.iter().map(|directory| directory.join(names::CLEANER_OFFSETS));
    for file in files.chain([path(shared, shared.config.shard)]) {
        let Ok(bytes) = shared.ring.read_to_vec(&file).await else { continue };
        match std::str::from_utf8(&bytes).ok().and_then(checkpoint::decode_offsets) {
            Some(rows) => rows.into_iter().for_each(|(topic, partition, offset)| {
                known.insert((topic, partition), offset);
            }),
            None => tracing::warn!(file = %file.display(), "not a checkpoint of offsets: logs are compacted from their start"),
        }
    }
    if known.is_empty() {
        return;
    }
    // Rows of topics that are gone are dropped with the first look.
    *shared.compaction.offsets.borrow_mut() = Some(String::new());
    for partition in shared.partitions.borrow().values() {
        let offset = known.get(&(partition.topic_name.to_string(), partition.tp.partition)).copied();
        partition.compaction.clean_end.set(offset);
    }
}

/// Writes the file when something in it changed.
pub(crate) async fn write(shared: &Shared) {
    let text = {
        let partitions = shared.sorted_partitions();
        let rows = partitions
            .iter()
            .filter_map(|partition| Some((&*partition.topic_name, partition.tp.partition, partition.compaction.clean_end.get()?)));
        checkpoint::encode_offsets(rows)
    };
    let nothing = checkpoint::encode_offsets(std::iter::empty());
    if shared.compaction.offsets.borrow().as_ref().unwrap_or(&nothing) == &text {
        return;
    }
    let path = path(shared, shared.config.shard);
    match shared.ring.write_atomically(&path, text.as_bytes()).await {
        Ok(()) => *shared.compaction.offsets.borrow_mut() = Some(text),
        Err(error) => {
            tracing::warn!(file = %path.display(), %error, "what was compacted could not be noted down; after a restart it is done again")
        }
    }
}
