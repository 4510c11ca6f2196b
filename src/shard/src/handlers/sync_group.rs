//! SyncGroup (key 14).

use crate::answer::Answer;
use crate::coordinators::groups;
use crate::dispatch::{Close, Context};
use crate::shard::Shard;
use odradek_groups::Reply;
use odradek_wire::messages::{SyncGroupRequest, SyncGroupResponse};
use std::rc::Rc;

pub async fn handle(shard: &Rc<Shard>, context: &Context<'_>) -> Result<Answer, Close> {
    let request: SyncGroupRequest = context.parse()?;
    let group_id = request.group_id.0.clone();
    groups::answer(
        shard,
        context,
        &group_id,
        |groups, turn, from, token, fx| groups.sync(turn, from, request, token, fx),
        |reply| match reply {
            Reply::SyncGroup(response) => Some(response),
            _ => None,
        },
        |error| SyncGroupResponse::default().with_error_code(error.code()),
    )
    .await
}
