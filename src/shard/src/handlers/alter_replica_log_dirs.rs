//! AlterReplicaLogDirs (key 34, KIP-113): moves partitions between log directories. The answer says that a move was begun; DescribeLogDirs shows
//! how far it is.
//!
//! As in Kafka (`ReplicaManager.alterReplicaLogDirs`) a directory that this broker does not have is LOG_DIR_NOT_FOUND and one that is offline
//! KAFKA_STORAGE_ERROR, before anything is said about the partition, and a partition of another broker is REPLICA_NOT_AVAILABLE.

use crate::answer::Answer;
use crate::dispatch::{Close, Context};
use crate::messages::{PartitionCall, PartitionReply};
use crate::partitions;
use crate::shard::Shard;
use odradek_wire::ErrorCode;
use odradek_wire::messages::alter_replica_log_dirs_response::{AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult};
use odradek_wire::messages::{AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse};
use odradek_wire::produce::TopicReference;
use std::path::Path;
use std::rc::Rc;

pub async fn handle(shard: &Rc<Shard>, context: &Context<'_>) -> Result<Answer, Close> {
    let request: AlterReplicaLogDirsRequest = context.parse()?;
    let mut results = Vec::new();
    for dir in &request.dirs {
        let path = Path::new(dir.path.as_str());
        for topic in &dir.topics {
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for &index in &topic.partitions {
                let error = alter(shard, path, &topic.name.0, index).await;
                let result = AlterReplicaLogDirPartitionResult::default().with_partition_index(index);
                partitions.push(result.with_error_code(error.map_or(0, |error| error.code())));
            }
            results.push(AlterReplicaLogDirTopicResult::default().with_topic_name(topic.name.clone()).with_partitions(partitions));
        }
    }
    context.respond(&AlterReplicaLogDirsResponse::default().with_results(results))
}

async fn alter(shard: &Rc<Shard>, path: &Path, name: &odradek_wire::StrBytes, index: i32) -> Option<ErrorCode> {
    if let Err(error) = shard.store().check_log_dir(path) {
        return Some(error.code());
    }
    let topic = shard.topics.resolve(shard, &TopicReference::Name(name.clone()));
    match partitions::ask(shard, &topic, index, |_| PartitionCall::AlterLogDir { path: path.to_owned() }).await {
        PartitionReply::LogDirAltered => None,
        // Kafka keeps the older error here for older clients.
        PartitionReply::Failed(ErrorCode::NotLeaderOrFollower) => Some(ErrorCode::ReplicaNotAvailable),
        PartitionReply::Failed(error) => Some(error),
        _ => Some(ErrorCode::UnknownServerError),
    }
}
