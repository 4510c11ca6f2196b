//! Produce (key 0, KIP-98).

use crate::answer::Answer;
use crate::dispatch::{Close, Context};
use crate::shard::Shard;
use odradek_wire::api;
use odradek_wire::produce::ProduceRequest;
use std::rc::Rc;

pub async fn handle(shard: &Rc<Shard>, context: &Context<'_>) -> Result<Answer, Close> {
    let request =
        ProduceRequest::parse(&context.request.body, context.version()).map_err(|error| Close::Body { key: api::PRODUCE, error })?;
    crate::produce::start(shard, context, request).await
}
