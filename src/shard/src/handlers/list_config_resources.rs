//! ListConfigResources (key 74, KIP-1142).

use crate::answer::Answer;
use crate::dispatch::{Close, Context};
use crate::shard::Shard;
use odradek_cluster::describe;
use odradek_wire::messages::ListConfigResourcesRequest;

pub fn handle(shard: &Shard, context: &Context<'_>) -> Result<Answer, Close> {
    let request: ListConfigResourcesRequest = context.parse()?;
    context.respond(&describe::config_resources(&shard.image(), &shard.view(), &request, context.version()))
}
