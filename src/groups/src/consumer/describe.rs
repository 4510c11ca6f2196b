//! ConsumerGroupDescribe, and what ListGroups tells about consumer groups.

use super::assign;
use super::state::{ConsumerState, Member, Target};
use crate::Coordinator;
use crate::turn::Turn;
use crate::wire::messages::consumer_group_describe_response::{Assignment, DescribedGroup, Member as DescribedMember, TopicPartitions};
use crate::wire::messages::list_groups_response::ListedGroup;
use crate::wire::{ErrorCode, StrBytes, own};
use odradek_base::TopicId;

/// Since this version a member's type is told.
const VERSION_MEMBER_TYPE: i16 = 1;
/// A member that uses the consumer protocol.
const MEMBER_TYPE_CONSUMER: i8 = 1;

impl Coordinator {
    /// Describes one group of a ConsumerGroupDescribe request.
    pub fn describe_consumer_group(&self, turn: &Turn, group_id: &str, version: i16) -> DescribedGroup {
        let described = DescribedGroup::default().with_group_id(own(group_id).into());
        let state = if self.has_consumer(group_id) { self.hard.consumer(group_id) } else { None };
        let Some(state) = state else {
            let why = if self.has_classic(group_id) { "is not a consumer group" } else { "not found" };
            return described
                .with_error_code(ErrorCode::GroupIdNotFound.code())
                .with_error_message(Some(StrBytes::from_string(format!("Group {group_id} {why}."))));
        };
        let members = state.members.iter().map(|(id, member)| {
            let empty = Target::new();
            let target = state.targets.get(id).map_or(&empty, |target| &**target);
            describe_member(turn, id, member, target, version)
        });
        described
            .with_group_state(StrBytes::from_static_str(state.state_name()))
            .with_group_epoch(state.epoch)
            .with_assignment_epoch(state.assignment_epoch)
            .with_assignor_name(StrBytes::from_static_str(assign::preferred(state).unwrap_or_default().name()))
            .with_members(members.collect())
    }
}

impl ConsumerState {
    pub(crate) fn listed(&self, group_id: &str) -> ListedGroup {
        ListedGroup::default()
            .with_group_id(own(group_id).into())
            .with_protocol_type(StrBytes::from_static_str("consumer"))
            .with_group_state(StrBytes::from_static_str(self.state_name()))
            .with_group_type(StrBytes::from_static_str("consumer"))
    }
}

fn describe_member(turn: &Turn, id: &str, member: &Member, target: &Target, version: i16) -> DescribedMember {
    let subscription = &member.subscription;
    let assigned = member.current.assigned.iter().map(|(&topic, indexes)| (topic, indexes.keys().copied().collect()));
    let target = target.iter().map(|(&topic, indexes)| (topic, indexes.iter().copied().collect()));
    let described = DescribedMember::default()
        .with_member_id(own(id))
        .with_instance_id(subscription.instance.as_deref().map(own))
        .with_rack_id(subscription.rack.as_deref().map(own))
        .with_member_epoch(member.current.epoch)
        .with_client_id(own(&subscription.client_id))
        .with_client_host(own(&subscription.client_host))
        .with_subscribed_topic_names(subscription.topics.iter().map(|name| own(name).into()).collect())
        .with_subscribed_topic_regex(subscription.regex.as_deref().map(own))
        .with_assignment(assignment(turn, assigned))
        .with_target_assignment(assignment(turn, target));
    if version >= VERSION_MEMBER_TYPE { described.with_member_type(MEMBER_TYPE_CONSUMER) } else { described }
}

/// Topics that are gone have no name to be told by.
fn assignment(turn: &Turn, topics: impl Iterator<Item = (TopicId, Vec<i32>)>) -> Assignment {
    let named = topics.filter_map(|(topic, partitions)| {
        let name = (turn.topics.by_id)(topic)?;
        Some(TopicPartitions::default().with_topic_id(topic.0).with_topic_name(name.into()).with_partitions(partitions))
    });
    Assignment::default().with_topic_partitions(named.collect())
}
