//! LeaveGroup (key 13).

use crate::answer::Answer;
use crate::coordinators::groups;
use crate::dispatch::{Close, Context};
use crate::shard::Shard;
use odradek_groups::Reply;
use odradek_wire::messages::{LeaveGroupRequest, LeaveGroupResponse};
use std::rc::Rc;

pub async fn handle(shard: &Rc<Shard>, context: &Context<'_>) -> Result<Answer, Close> {
    let request: LeaveGroupRequest = context.parse()?;
    let group_id = request.group_id.0.clone();
    groups::answer(
        shard,
        context,
        &group_id,
        |groups, turn, from, token, fx| groups.leave(turn, from, request, token, fx),
        |reply| match reply {
            Reply::LeaveGroup(response) => Some(response),
            _ => None,
        },
        |error| LeaveGroupResponse::default().with_error_code(error.code()),
    )
    .await
}
