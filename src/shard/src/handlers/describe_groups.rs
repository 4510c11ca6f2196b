//! DescribeGroups (key 15).

use crate::answer::Answer;
use crate::coordinators::groups;
use crate::dispatch::{Close, Context};
use crate::messages::{GroupsCall, GroupsReply};
use crate::shard::Shard;
use odradek_wire::messages::describe_groups_response::DescribedGroup;
use odradek_wire::messages::{DescribeGroupsRequest, DescribeGroupsResponse};
use odradek_wire::{ErrorCode, StrBytes};
use std::rc::Rc;

pub async fn handle(shard: &Rc<Shard>, context: &Context<'_>) -> Result<Answer, Close> {
    let request: DescribeGroupsRequest = context.parse()?;
    let mut described = Vec::with_capacity(request.groups.len());
    for (group, place) in groups::by_shard(shard, request.groups.iter().map(|group| group.0.as_str())) {
        let failed = |error: ErrorCode| {
            DescribedGroup::default()
                .with_error_code(error.code())
                .with_group_id(StrBytes::from_string(group.clone()).into())
                .with_authorized_operations(i32::MIN)
        };
        let result = match place {
            Ok(owner) => {
                let call = GroupsCall::Describe { groups: vec![group.clone()], version: context.version() };
                match groups::call(shard, owner, call).await {
                    Some(GroupsReply::Described(mut answers)) if answers.len() == 1 => answers.remove(0),
                    _ => failed(ErrorCode::CoordinatorNotAvailable),
                }
            }
            Err(error) => failed(error),
        };
        described.push(result);
    }
    context.respond(&DescribeGroupsResponse::default().with_groups(described))
}
