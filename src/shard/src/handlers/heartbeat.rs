//! Heartbeat (key 12).

use crate::answer::Answer;
use crate::coordinators::groups;
use crate::dispatch::{Close, Context};
use crate::shard::Shard;
use odradek_groups::Reply;
use odradek_wire::messages::{HeartbeatRequest, HeartbeatResponse};
use std::rc::Rc;

pub async fn handle(shard: &Rc<Shard>, context: &Context<'_>) -> Result<Answer, Close> {
    let request: HeartbeatRequest = context.parse()?;
    let group_id = request.group_id.0.clone();
    groups::answer(
        shard,
        context,
        &group_id,
        |groups, turn, from, token, fx| groups.heartbeat(turn, from, request, token, fx),
        |reply| match reply {
            Reply::Heartbeat(response) => Some(response),
            _ => None,
        },
        |error| HeartbeatResponse::default().with_error_code(error.code()),
    )
    .await
}
