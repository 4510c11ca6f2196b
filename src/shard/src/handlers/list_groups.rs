//! ListGroups (key 16): the groups of all shards of this node.
//!
//! A client asks every broker and puts the answers together by group id, so it does no harm that each shard of a node
//! answers for all of them; a client that asks only one broker sees every group of the node.

use crate::answer::Answer;
use crate::coordinators::groups;
use crate::dispatch::{Close, Context};
use crate::messages::{GroupsCall, GroupsReply};
use crate::shard::Shard;
use odradek_wire::messages::{ListGroupsRequest, ListGroupsResponse};
use std::rc::Rc;

pub async fn handle(shard: &Rc<Shard>, context: &Context<'_>) -> Result<Answer, Close> {
    let request: ListGroupsRequest = context.parse()?;
    let texts = |filter: &[odradek_wire::StrBytes]| filter.iter().map(|text| text.to_string()).collect::<Vec<_>>();
    let mut response = ListGroupsResponse::default();
    for owner in shard.node_shards() {
        let call =
            GroupsCall::List { states: texts(&request.states_filter), types: texts(&request.types_filter), version: context.version() };
        match groups::call(shard, owner, call).await {
            Some(GroupsReply::Listed(Ok(listed))) => response.groups.extend(listed),
            Some(GroupsReply::Listed(Err(error))) => response.error_code = error.code(),
            _ => response.error_code = odradek_wire::ErrorCode::CoordinatorNotAvailable.code(),
        }
    }
    response.groups.sort_by(|a, b| a.group_id.0.cmp(&b.group_id.0));
    context.respond(&response)
}
