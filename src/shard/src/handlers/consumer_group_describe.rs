//! ConsumerGroupDescribe (key 69).

use crate::answer::Answer;
use crate::coordinators::groups;
use crate::dispatch::{Close, Context};
use crate::messages::{GroupsCall, GroupsReply};
use crate::shard::Shard;
use odradek_wire::messages::consumer_group_describe_response::DescribedGroup;
use odradek_wire::messages::{ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse};
use odradek_wire::{ErrorCode, StrBytes};
use std::rc::Rc;

pub async fn handle(shard: &Rc<Shard>, context: &Context<'_>) -> Result<Answer, Close> {
    let request: ConsumerGroupDescribeRequest = context.parse()?;
    let mut described = Vec::with_capacity(request.group_ids.len());
    for (group, place) in groups::by_shard(shard, request.group_ids.iter().map(|group| group.0.as_str())) {
        let failed = |error: ErrorCode| {
            DescribedGroup::default().with_error_code(error.code()).with_group_id(StrBytes::from_string(group.clone()).into())
        };
        let result = match place {
            Ok(owner) => {
                let call = GroupsCall::DescribeConsumer { group: group.clone(), version: context.version() };
                match groups::call(shard, owner, call).await {
                    Some(GroupsReply::DescribedConsumer(answer)) => *answer,
                    _ => failed(ErrorCode::CoordinatorNotAvailable),
                }
            }
            Err(error) => failed(error),
        };
        described.push(result);
    }
    context.respond(&ConsumerGroupDescribeResponse::default().with_groups(described))
}
