//! DescribeConfigs (key 32, KIP-133).

use crate::answer::Answer;
use crate::dispatch::{Close, Context};
use crate::shard::Shard;
use odradek_cluster::describe;
use odradek_wire::messages::DescribeConfigsRequest;

pub fn handle(shard: &Shard, context: &Context<'_>) -> Result<Answer, Close> {
    let request: DescribeConfigsRequest = context.parse()?;
    let local = shard.config.broker_of(shard.id);
    context.respond(&describe::configs(&shard.image(), &shard.config.settings, &shard.view(), local, &request))
}
