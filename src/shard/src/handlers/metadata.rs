//! Metadata (key 3): topics, brokers and who leads what; makes missing topics where that is allowed.

use crate::answer::Answer;
use crate::controller::{self, Command};
use crate::dispatch::{Close, Context};
use crate::shard::Shard;
use odradek_cluster::describe;
use odradek_wire::messages::MetadataRequest;
use std::rc::Rc;

pub async fn handle(shard: &Rc<Shard>, context: &Context<'_>) -> Result<Answer, Close> {
    let request: MetadataRequest = context.parse()?;
    let version = context.version();
    let auto_create = shard.config.settings.auto_create_topics();
    let described = describe::metadata(&shard.image(), &shard.view(), &request, version, auto_create);
    if described.creatable.is_empty() {
        return context.respond(&described.response);
    }
    // The topics are there on every shard when the command is answered, so the client need not ask again.
    controller::call(shard, Command::AutoCreate(described.creatable)).await;
    context.respond(&describe::metadata(&shard.image(), &shard.view(), &request, version, false).response)
}
