//! The group coordinators of one shard.

use super::slot::{Logic, Out};
use super::{Place, Slots, forward};
use crate::answer::Answer;
use crate::dispatch::{Close, Context};
use crate::messages::{Call, GroupsCall, GroupsReply, Reply as CallReply};
use crate::shard::Shard;
use odradek_base::{Instant, ShardId, TopicId};
use odradek_groups::{
    Coordinator, CoordinatorRecord, Effects, Reply, RequestContext, Token, TopicInfo, Topics, Turn, WriteId, partition_for,
};
use odradek_wire::messages::list_groups_response::ListedGroup;
use odradek_wire::messages::{
    ListGroupsRequest, offset_fetch_request::OffsetFetchRequestGroup, offset_fetch_response::OffsetFetchResponseGroup,
};
use odradek_wire::{Encodable, ErrorCode, StrBytes};
use std::any::Any;
use std::rc::Rc;

pub type GroupSlots = Slots<Groups>;

/// The group coordinator behind the slot's mechanism.
pub struct Groups(pub Coordinator);

impl Logic for Groups {
    type Reply = Reply;
    const NAME: &'static str = "group coordinator";

    fn replay(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), String> {
        self.0.replay(key, value).map_err(|error| error.to_string())
    }

    fn loaded(&mut self, shard: &Shard, out: &mut Out<Reply>) {
        with_turn(shard, |turn| effects(out, |fx| self.0.loaded(turn, fx)));
    }

    fn committed(&mut self, shard: &Shard, write: u64, out: &mut Out<Reply>) {
        with_turn(shard, |turn| effects(out, |fx| self.0.committed(turn, WriteId(write), fx)));
    }

    fn failed(&mut self, shard: &Shard, write: u64, error: ErrorCode, out: &mut Out<Reply>) {
        with_turn(shard, |turn| effects(out, |fx| self.0.failed(turn, WriteId(write), error, fx)));
    }

    fn deadline(&self) -> Option<Instant> {
        self.0.deadline()
    }

    fn on_deadline(&mut self, shard: &Shard, out: &mut Out<Reply>) {
        with_turn(shard, |turn| effects(out, |fx| self.0.on_deadline(turn, fx)));
    }
}

/// Runs a call into the coordinator and hands its effects to the slot.
fn effects(out: &mut Out<Reply>, call: impl FnOnce(&mut Effects)) {
    let mut fx = Effects::default();
    call(&mut fx);
    let records = |records: Vec<CoordinatorRecord>| records.into_iter().map(|record| (record.key, record.value)).collect();
    out.writes.extend(fx.writes.into_iter().map(|write| (write.id.0, records(write.records))));
    out.replies.extend(fx.replies.into_iter().map(|(token, reply)| (token.0, reply)));
}

/// What the coordinator may know of time and topics.
pub fn with_turn<T>(shard: &Shard, call: impl FnOnce(&Turn<'_>) -> T) -> T {
    let image = shard.image();
    let by_name = |name: &str| image.topic(name).map(|topic| TopicInfo { id: topic.id, partitions: topic.partitions.len() as i32 });
    let by_id = |id: TopicId| image.topic_by_id(id).map(|topic| StrBytes::from_string(topic.name.to_string()));
    let each_name = |visit: &mut dyn FnMut(&str)| image.topics().for_each(|topic| visit(&topic.name));
    let topics = Topics { by_name: &by_name, by_id: &by_id, each_name: &each_name, version: shard.metadata_version() };
    call(&Turn { now: shard.ring.now(), wall: shard.ring.wall_clock(), topics })
}

pub fn request_context(context: &Context<'_>) -> RequestContext {
    // Copied: the coordinator keeps them for as long as the member lives.
    RequestContext {
        client_id: StrBytes::from_string(context.client_id().to_string()),
        client_host: StrBytes::from_string(context.peer.host.clone()),
        api_version: context.version(),
    }
}

/// Puts a request about one group to its coordinator, wherever that is, and answers with what it says.
///
/// `failed` makes the response for an error of this layer, `take` picks the response out of the coordinator's reply.
pub async fn answer<R: Encodable + Any>(
    shard: &Rc<Shard>,
    context: &Context<'_>,
    group_id: &str,
    request: impl FnOnce(&mut Coordinator, &Turn<'_>, &RequestContext, Token, &mut Effects),
    take: impl FnOnce(Reply) -> Option<R>,
    failed: impl FnOnce(ErrorCode) -> R,
) -> Result<Answer, Close> {
    let slot = match shard.groups.locate(shard, |partitions| partition_for(group_id, partitions)) {
        Place::Here(slot) => slot,
        Place::There(owner) => return forward(shard, owner, context).await,
        Place::Nowhere(error) => return context.respond(&failed(error)),
    };
    let from = request_context(context);
    let reply = slot
        .ask(shard, |groups, token, out| {
            with_turn(shard, |turn| effects(out, |fx| request(&mut groups.0, turn, &from, Token(token), fx)));
        })
        .await;
    let response = match reply.map(take) {
        Ok(Some(response)) => response,
        Ok(None) => failed(ErrorCode::UnknownServerError),
        Err(error) => failed(error),
    };
    context.respond(&response)
}

/// Splits group ids by the shard that coordinates them.
pub fn by_shard<'a>(shard: &Shard, groups: impl Iterator<Item = &'a str>) -> Vec<(String, Result<ShardId, ErrorCode>)> {
    groups
        .map(|group| {
            let place = match shard.groups.locate(shard, |partitions| partition_for(group, partitions)) {
                Place::Here(_) => Ok(shard.id),
                Place::There(owner) => Ok(owner),
                Place::Nowhere(error) => Err(error),
            };
            (group.to_string(), place)
        })
        .collect()
}

/// Asks another shard, or this one, about its groups.
pub async fn call(shard: &Rc<Shard>, owner: ShardId, call: GroupsCall) -> Option<GroupsReply> {
    if owner == shard.id {
        return Some(serve(shard, call).await);
    }
    match shard.mailbox.call(owner, Call::Groups(Box::new(call))).await {
        Ok(CallReply::Groups(reply)) => Some(*reply),
        _ => None,
    }
}

/// Answers for the groups of this shard.
pub async fn serve(shard: &Rc<Shard>, call: GroupsCall) -> GroupsReply {
    match call {
        GroupsCall::Describe { groups, version } => {
            let described = groups.iter().map(|group| describe(shard, group, version)).collect();
            GroupsReply::Described(described)
        }
        GroupsCall::DescribeConsumer { group, version } => {
            GroupsReply::DescribedConsumer(Box::new(describe_consumer(shard, &group, version)))
        }
        GroupsCall::List { states, types, version: _ } => GroupsReply::Listed(list(shard, states, types)),
        GroupsCall::Delete { groups } => {
            let mut results = Vec::with_capacity(groups.len());
            for group in groups {
                let result = delete(shard, &group).await;
                results.push((group, result));
            }
            GroupsReply::Deleted(results)
        }
        GroupsCall::FetchOffsets { group, require_stable, version } => {
            GroupsReply::Offsets(Box::new(fetch_offsets(shard, &group, require_stable, version)))
        }
        GroupsCall::TopicsDeleted { names } => {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            for slot in shard.groups.all() {
                slot.act(shard, |groups, out| {
                    with_turn(shard, |turn| effects(out, |fx| groups.0.on_topics_deleted(turn, &names, fx)));
                });
            }
            GroupsReply::Done
        }
        GroupsCall::TopicsChanged => {
            for slot in shard.groups.all() {
                slot.act(shard, |groups, out| {
                    with_turn(shard, |turn| effects(out, |fx| groups.0.on_topics_changed(turn, fx)));
                });
            }
            GroupsReply::Done
        }
    }
}

fn describe(shard: &Shard, group: &str, version: i16) -> odradek_wire::messages::describe_groups_response::DescribedGroup {
    let failed = |error: ErrorCode| {
        odradek_wire::messages::describe_groups_response::DescribedGroup::default()
            .with_error_code(error.code())
            .with_group_id(StrBytes::from_string(group.to_string()).into())
            .with_authorized_operations(i32::MIN)
    };
    match shard.groups.locate(shard, |partitions| partition_for(group, partitions)) {
        Place::Here(slot) => slot.read(|groups| groups.0.describe_group(group, version)).unwrap_or_else(failed),
        Place::There(_) => failed(ErrorCode::NotCoordinator),
        Place::Nowhere(error) => failed(error),
    }
}

fn describe_consumer(shard: &Shard, group: &str, version: i16) -> odradek_wire::messages::consumer_group_describe_response::DescribedGroup {
    let failed = |error: ErrorCode| {
        odradek_wire::messages::consumer_group_describe_response::DescribedGroup::default()
            .with_error_code(error.code())
            .with_group_id(StrBytes::from_string(group.to_string()).into())
    };
    match shard.groups.locate(shard, |partitions| partition_for(group, partitions)) {
        Place::Here(slot) => {
            slot.read(|groups| with_turn(shard, |turn| groups.0.describe_consumer_group(turn, group, version))).unwrap_or_else(failed)
        }
        Place::There(_) => failed(ErrorCode::NotCoordinator),
        Place::Nowhere(error) => failed(error),
    }
}

fn list(shard: &Shard, states: Vec<String>, types: Vec<String>) -> Result<Vec<ListedGroup>, ErrorCode> {
    let strings = |texts: Vec<String>| texts.into_iter().map(StrBytes::from_string).collect();
    let request = ListGroupsRequest::default().with_states_filter(strings(states)).with_types_filter(strings(types));
    let mut listed = Vec::new();
    for slot in shard.groups.all() {
        listed.extend(slot.read(|groups| groups.0.list_groups(&request))?);
    }
    Ok(listed)
}

async fn delete(shard: &Rc<Shard>, group: &str) -> Option<ErrorCode> {
    let slot = match shard.groups.locate(shard, |partitions| partition_for(group, partitions)) {
        Place::Here(slot) => slot,
        Place::There(_) => return Some(ErrorCode::NotCoordinator),
        Place::Nowhere(error) => return Some(error),
    };
    let reply = slot
        .ask(shard, |groups, token, out| {
            with_turn(shard, |turn| effects(out, |fx| groups.0.delete_group(turn, group, Token(token), fx)));
        })
        .await;
    match reply {
        Ok(Reply::DeleteGroup(result)) => result.err(),
        Ok(_) => Some(ErrorCode::UnknownServerError),
        Err(error) => Some(error),
    }
}

fn fetch_offsets(shard: &Shard, group: &OffsetFetchRequestGroup, require_stable: bool, version: i16) -> OffsetFetchResponseGroup {
    let failed = |error: ErrorCode| OffsetFetchResponseGroup::default().with_group_id(group.group_id.clone()).with_error_code(error.code());
    match shard.groups.locate(shard, |partitions| partition_for(&group.group_id, partitions)) {
        Place::Here(slot) => {
            slot.read(|groups| with_turn(shard, |turn| groups.0.fetch_offsets(turn, group, require_stable, version))).unwrap_or_else(failed)
        }
        Place::There(_) => failed(ErrorCode::NotCoordinator),
        Place::Nowhere(error) => failed(error),
    }
}
