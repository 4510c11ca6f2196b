//! A group comes back from its GroupMetadata record.

use super::member::{Member, Protocol};
use super::{ClassicGroup, State};
use crate::env::{Env, millis};
use crate::records::group::GroupMetadata;
use crate::wire::own;
use bytes::Bytes;
use odradek_base::Timestamp;
use std::sync::Arc;

impl ClassicGroup {
    /// The group as it was persisted: generation, leader and members kept, all sessions started anew.
    pub(crate) fn restore(env: &mut Env, id: Arc<str>, value: &GroupMetadata) -> Self {
        let mut group = Self::new(id, Timestamp(value.state_timestamp));
        group.generation = value.generation;
        group.protocol_type = (!value.protocol_type.is_empty()).then(|| own(value.protocol_type));
        group.protocol = value.protocol.map(own);
        for member in &value.members {
            if group.members.contains_key(member.member_id) {
                continue;
            }
            group.insert(Member {
                id: Arc::from(member.member_id),
                order: 0,
                instance: member.instance_id.map(Arc::from),
                client_id: own(member.client_id),
                client_host: own(member.client_host),
                rebalance_timeout_ms: member.rebalance_timeout_ms,
                session_timeout_ms: member.session_timeout_ms,
                protocols: vec![Protocol {
                    name: own(value.protocol.unwrap_or_default()),
                    metadata: Bytes::copy_from_slice(member.subscription),
                }],
                assignment: Bytes::copy_from_slice(member.assignment),
                awaiting_join: None,
                awaiting_sync: None,
                is_new: false,
                pending_sync: false,
                session_deadline: env.turn.now + millis(member.session_timeout_ms),
            });
        }
        let first = group.members.values().min_by_key(|member| member.order).map(|member| member.id.clone());
        group.leader = value.leader.filter(|leader| group.members.contains_key(*leader)).map(Arc::from).or(first);
        if !group.members.is_empty() {
            group.state = State::Stable;
        }
        group.read_subscriptions();
        let sessions: Vec<_> = group.members.values().map(|member| member.session_deadline).collect();
        for at in sessions {
            env.arm(&group.id, &mut group.armed, at);
        }
        group
    }
}
