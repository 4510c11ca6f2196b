//! AlterReplicaLogDirs (key 34, KIP-113).
//!
//! A directory that this broker does not have is LOG_DIR_NOT_FOUND. The directory where a replica already is needs no
//! move. Moving between directories is not there yet and is refused as such.

use crate::answer::Answer;
use crate::dispatch::{Close, Context};
use crate::shard::Shard;
use odradek_base::{PartitionIndex, TopicPartition};
use odradek_wire::ErrorCode;
use odradek_wire::messages::alter_replica_log_dirs_response::{AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult};
use odradek_wire::messages::{AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse};
use std::path::Path;

pub fn handle(shard: &Shard, context: &Context<'_>) -> Result<Answer, Close> {
    let request: AlterReplicaLogDirsRequest = context.parse()?;
    let mut results = Vec::new();
    for dir in &request.dirs {
        let path = Path::new(dir.path.as_str());
        for topic in &dir.topics {
            let partitions = topic.partitions.iter().map(|&index| {
                let error = alter(shard, path, &topic.name.0, index);
                AlterReplicaLogDirPartitionResult::default()
                    .with_partition_index(index)
                    .with_error_code(error.map_or(0, |error| error.code()))
            });
            results
                .push(AlterReplicaLogDirTopicResult::default().with_topic_name(topic.name.clone()).with_partitions(partitions.collect()));
        }
    }
    context.respond(&AlterReplicaLogDirsResponse::default().with_results(results))
}

fn alter(shard: &Shard, path: &Path, topic: &str, index: i32) -> Option<ErrorCode> {
    if !shard.config.log_dirs.iter().any(|dir| dir == path) {
        return Some(ErrorCode::LogDirNotFound);
    }
    let Some(topic) = shard.topics.by_name(shard, topic) else { return Some(ErrorCode::UnknownTopicOrPartition) };
    let partition = shard.partition(TopicPartition::new(topic.id, PartitionIndex(index)));
    match partition {
        None => Some(ErrorCode::ReplicaNotAvailable),
        Some(partition) if partition.log_dir() == path => None,
        Some(_) => Some(ErrorCode::InvalidRequest),
    }
}
