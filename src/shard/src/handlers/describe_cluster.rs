//! DescribeCluster (key 60, KIP-700).

use crate::answer::Answer;
use crate::dispatch::{Close, Context};
use crate::shard::Shard;
use odradek_cluster::describe;
use odradek_wire::messages::DescribeClusterRequest;

pub fn handle(shard: &Shard, context: &Context<'_>) -> Result<Answer, Close> {
    let request: DescribeClusterRequest = context.parse()?;
    context.respond(&describe::cluster(&shard.image(), &shard.view(), &request, context.version()))
}
