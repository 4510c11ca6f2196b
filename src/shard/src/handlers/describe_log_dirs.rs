//! DescribeLogDirs (key 35, KIP-113): what the log directories hold.

use crate::answer::Answer;
use crate::dispatch::{Close, Context};
use crate::messages::{PartitionCall, PartitionReply};
use crate::partitions;
use crate::shard::Shard;
use odradek_base::{PartitionIndex, TopicPartition};
use odradek_store::Space;
use odradek_wire::StrBytes;
use odradek_wire::messages::describe_log_dirs_response::{DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic};
use odradek_wire::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse};
use std::collections::BTreeMap;
use std::rc::Rc;

/// Kafka's "not known" for sizes of volumes (`DescribeLogDirsResponse.UNKNOWN_VOLUME_BYTES`).
const UNKNOWN_BYTES: i64 = -1;

pub async fn handle(shard: &Rc<Shard>, context: &Context<'_>) -> Result<Answer, Close> {
    let request: DescribeLogDirsRequest = context.parse()?;
    let mut wanted: Vec<(String, i32)> = Vec::new();
    match &request.topics {
        Some(topics) => {
            for topic in topics {
                wanted.extend(topic.partitions.iter().map(|partition| (topic.topic.0.to_string(), *partition)));
            }
        }
        None => {
            let image = shard.image();
            for topic in image.topics() {
                wanted.extend((0..topic.partitions.len() as i32).map(|partition| (topic.name.to_string(), partition)));
            }
        }
    }
    let mut directories: BTreeMap<String, BTreeMap<String, Vec<DescribeLogDirsPartition>>> =
        shard.config.log_dirs.iter().map(|dir| (dir.display().to_string(), BTreeMap::new())).collect();
    for (name, index) in wanted {
        let Some(topic) = shard.topics.by_name(shard, &name) else { continue };
        let Some(route) = topic.partition(PartitionIndex(index)) else { continue };
        if !shard.serves(route) {
            continue;
        }
        let reply = if route.shard == shard.id {
            partitions::answer(shard, TopicPartition::new(topic.id, PartitionIndex(index)), PartitionCall::Describe).await
        } else {
            partitions::ask(shard, &Ok(topic), index, |_| PartitionCall::Describe).await
        };
        if let PartitionReply::Description { directory, size_bytes } = reply {
            let row = DescribeLogDirsPartition::default().with_partition_index(index).with_partition_size(size_bytes as i64);
            directories.entry(directory).or_default().entry(name).or_default().push(row);
        }
    }
    let mut results = Vec::with_capacity(directories.len());
    for (directory, topics) in directories {
        let space = odradek_store::space(std::path::Path::new(&directory)).ok();
        let bytes = |of: fn(&Space) -> u64| space.as_ref().map_or(UNKNOWN_BYTES, |space| of(space) as i64);
        let topics = topics
            .into_iter()
            .map(|(name, partitions)| {
                DescribeLogDirsTopic::default().with_name(StrBytes::from_string(name).into()).with_partitions(partitions)
            })
            .collect();
        results.push(
            DescribeLogDirsResult::default()
                .with_log_dir(StrBytes::from_string(directory))
                .with_topics(topics)
                .with_total_bytes(bytes(|space| space.total_bytes))
                .with_usable_bytes(bytes(|space| space.usable_bytes)),
        );
    }
    context.respond(&DescribeLogDirsResponse::default().with_results(results))
}
