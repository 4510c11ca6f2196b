//! JoinGroup (key 11).

use crate::answer::Answer;
use crate::coordinators::groups;
use crate::dispatch::{Close, Context};
use crate::shard::Shard;
use odradek_groups::Reply;
use odradek_wire::messages::{JoinGroupRequest, JoinGroupResponse};
use std::rc::Rc;

pub async fn handle(shard: &Rc<Shard>, context: &Context<'_>) -> Result<Answer, Close> {
    let request: JoinGroupRequest = context.parse()?;
    let (group_id, member_id) = (request.group_id.0.clone(), request.member_id.clone());
    groups::answer(
        shard,
        context,
        &group_id,
        |groups, turn, from, token, fx| groups.join(turn, from, request, token, fx),
        |reply| match reply {
            Reply::JoinGroup(response) => Some(response),
            _ => None,
        },
        |error| JoinGroupResponse::default().with_error_code(error.code()).with_generation_id(-1).with_member_id(member_id),
    )
    .await
}
