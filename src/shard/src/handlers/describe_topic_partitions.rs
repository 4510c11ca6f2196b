//! DescribeTopicPartitions (key 75, KIP-966).

use crate::answer::Answer;
use crate::dispatch::{Close, Context};
use crate::shard::Shard;
use odradek_cluster::describe;
use odradek_wire::messages::DescribeTopicPartitionsRequest;

pub fn handle(shard: &Shard, context: &Context<'_>) -> Result<Answer, Close> {
    let request: DescribeTopicPartitionsRequest = context.parse()?;
    let partitions_max = shard.config.settings.request_partitions_max();
    context.respond(&describe::topic_partitions(&shard.image(), &shard.view(), &request, partitions_max))
}
