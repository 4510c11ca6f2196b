//! DeleteGroups (key 42).

use crate::answer::Answer;
use crate::coordinators::groups;
use crate::dispatch::{Close, Context};
use crate::messages::{GroupsCall, GroupsReply};
use crate::shard::Shard;
use odradek_wire::messages::delete_groups_response::DeletableGroupResult;
use odradek_wire::messages::{DeleteGroupsRequest, DeleteGroupsResponse};
use odradek_wire::{ErrorCode, StrBytes};
use std::rc::Rc;

pub async fn handle(shard: &Rc<Shard>, context: &Context<'_>) -> Result<Answer, Close> {
    let request: DeleteGroupsRequest = context.parse()?;
    let mut results = Vec::with_capacity(request.groups_names.len());
    for (group, place) in groups::by_shard(shard, request.groups_names.iter().map(|group| group.0.as_str())) {
        let error = match place {
            Ok(owner) => match groups::call(shard, owner, GroupsCall::Delete { groups: vec![group.clone()] }).await {
                Some(GroupsReply::Deleted(mut answers)) if answers.len() == 1 => answers.remove(0).1,
                _ => Some(ErrorCode::CoordinatorNotAvailable),
            },
            Err(error) => Some(error),
        };
        results.push(
            DeletableGroupResult::default()
                .with_group_id(StrBytes::from_string(group).into())
                .with_error_code(error.map_or(0, |error| error.code())),
        );
    }
    context.respond(&DeleteGroupsResponse::default().with_results(results))
}
