//! DescribeLogDirs (key 35, KIP-113, KIP-827): what the log directories hold.

use crate::answer::Answer;
use crate::dispatch::{Close, Context};
use crate::log_dirs;
use crate::messages::LogDir;
use crate::shard::Shard;
use odradek_base::{PartitionIndex, TopicId, TopicPartition};
use odradek_store::Space;
use odradek_wire::messages::describe_log_dirs_response::{DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic};
use odradek_wire::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse};
use odradek_wire::{ErrorCode, StrBytes};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// Kafka's "not known" for sizes of volumes (`DescribeLogDirsResponse.UNKNOWN_VOLUME_BYTES`).
const UNKNOWN_BYTES: i64 = -1;

pub async fn handle(shard: &Rc<Shard>, context: &Context<'_>) -> Result<Answer, Close> {
    let request: DescribeLogDirsRequest = context.parse()?;
    let image = shard.image();
    let wanted: Option<BTreeSet<TopicPartition>> = request.topics.as_ref().map(|topics| {
        let known = topics.iter().filter_map(|asked| Some((image.topic(&asked.topic.0)?.id, &asked.partitions)));
        known.flat_map(|(id, indexes)| indexes.iter().map(move |index| TopicPartition::new(id, PartitionIndex(*index)))).collect()
    });
    let mut results = Vec::new();
    for dir in log_dirs::of_broker(shard, wanted.as_ref()).await {
        results.push(result_of(&image, dir));
    }
    context.respond(&DescribeLogDirsResponse::default().with_results(results))
}

fn result_of(image: &odradek_cluster::Image, dir: LogDir) -> DescribeLogDirsResult {
    let result = DescribeLogDirsResult::default()
        .with_log_dir(StrBytes::from_string(dir.path.display().to_string()))
        .with_total_bytes(UNKNOWN_BYTES)
        .with_usable_bytes(UNKNOWN_BYTES);
    if dir.offline {
        return result.with_error_code(ErrorCode::KafkaStorageError.code());
    }
    let mut topics: BTreeMap<TopicId, Vec<DescribeLogDirsPartition>> = BTreeMap::new();
    for replica in dir.replicas {
        let row = DescribeLogDirsPartition::default()
            .with_partition_index(replica.tp.partition.get())
            .with_partition_size(replica.size_bytes as i64)
            .with_offset_lag(replica.offset_lag)
            .with_is_future_key(replica.is_future);
        topics.entry(replica.tp.topic).or_default().push(row);
    }
    let topics = topics.into_iter().filter_map(|(id, partitions)| {
        let name = StrBytes::from_string(image.topic_by_id(id)?.name.to_string());
        Some(DescribeLogDirsTopic::default().with_name(name.into()).with_partitions(partitions))
    });
    let result = result.with_topics(topics.collect());
    match odradek_store::space(&dir.path) {
        Ok(Space { total_bytes, usable_bytes }) => result.with_total_bytes(total_bytes as i64).with_usable_bytes(usable_bytes as i64),
        Err(_) => result,
    }
}
