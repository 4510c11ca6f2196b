//! What is told about a group, and what its state means for its offsets.

use super::{CONSUMER_PROTOCOL, ClassicGroup, State};
use crate::records::offset::CommittedOffset;
use crate::wire::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use crate::wire::messages::list_groups_response::ListedGroup;
use crate::wire::{ErrorCode, StrBytes, own};
use odradek_base::Timestamp;

impl State {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
        }
    }
}

impl ClassicGroup {
    pub(crate) fn listed(&self) -> ListedGroup {
        ListedGroup::default()
            .with_group_id(own(&self.id).into())
            .with_protocol_type(self.protocol_type.clone().unwrap_or_default())
            .with_group_state(StrBytes::from_static_str(self.state.name()))
            .with_group_type(StrBytes::from_static_str("classic"))
    }

    /// Members' subscriptions and assignments are only told while they are settled.
    pub(crate) fn described(&self) -> DescribedGroup {
        let stable = self.state == State::Stable;
        let protocol = self.protocol.clone().filter(|_| stable).unwrap_or_default();
        let mut members: Vec<_> = self.members.values().collect();
        members.sort_by_key(|member| member.order);
        let members = members.into_iter().map(|member| {
            DescribedGroupMember::default()
                .with_member_id(own(&member.id))
                .with_group_instance_id(member.instance.as_deref().map(own))
                .with_client_id(member.client_id.clone())
                .with_client_host(member.client_host.clone())
                .with_member_metadata(if stable { member.metadata(&protocol) } else { Default::default() })
                .with_member_assignment(if stable { member.assignment.clone() } else { Default::default() })
        });
        DescribedGroup::default()
            .with_group_id(own(&self.id).into())
            .with_group_state(StrBytes::from_static_str(self.state.name()))
            .with_protocol_type(self.protocol_type.clone().unwrap_or_default())
            .with_members(members.collect())
            .with_protocol_data(protocol)
    }

    pub(crate) fn validate_delete(&self) -> Result<(), ErrorCode> {
        if self.state == State::Empty { Ok(()) } else { Err(ErrorCode::NonEmptyGroup) }
    }

    /// Offsets of a living group can only be deleted where the coordinator knows what its members read.
    pub(crate) fn validate_offset_delete(&self) -> Result<(), ErrorCode> {
        if self.state == State::Empty || self.is_consumer() { Ok(()) } else { Err(ErrorCode::NonEmptyGroup) }
    }

    fn is_consumer(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER_PROTOCOL)
    }

    /// Whether members read the topic. Unreadable subscriptions of consumers may hold any topic.
    pub(crate) fn is_subscribed(&self, topic: &str) -> bool {
        match &self.subscribed {
            Some(topics) => topics.contains(topic),
            None => self.is_consumer(),
        }
    }

    /// The moment from which an offset's retention counts; `None`: it does not expire now (KIP-211).
    pub(crate) fn retention_base(&self, offset: &CommittedOffset) -> Option<Timestamp> {
        match (&self.protocol_type, self.state) {
            // Offsets of consumers without a group count from their commit.
            (None, _) => Some(offset.commit_timestamp),
            (Some(_), State::Empty) if self.state_since != Timestamp::NONE => Some(self.state_since),
            (Some(_), State::Empty) => Some(offset.commit_timestamp),
            (Some(_), State::Stable) if self.is_consumer() && self.subscribed.is_some() => Some(offset.commit_timestamp),
            _ => None,
        }
    }
}
