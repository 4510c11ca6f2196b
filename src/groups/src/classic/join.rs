//! JoinGroup, versions 0 to 9.

use super::member::{JoinWait, Member, Protocol};
use super::{ClassicGroup, NEW_MEMBER_JOIN_TIMEOUT, State};
use crate::effects::Token;
use crate::env::{Env, millis};
use crate::turn::RequestContext;
use crate::wire::messages::join_group_response::JoinGroupResponseMember;
use crate::wire::messages::{JoinGroupRequest, JoinGroupResponse};
use crate::wire::{ErrorCode, NONE, StrBytes, own};
use std::sync::Arc;

/// Since this version a member without an id is told one and comes back with it (KIP-394).
const VERSION_MEMBER_ID_REQUIRED: i16 = 4;
/// Since this version the protocol name of a response may be null.
const VERSION_NULLABLE_PROTOCOL: i16 = 7;

impl ClassicGroup {
    pub(crate) fn join(&mut self, env: &mut Env, ctx: &RequestContext, mut request: JoinGroupRequest, token: Token) {
        if ctx.api_version == 0 {
            request.rebalance_timeout_ms = request.session_timeout_ms;
        }
        let version = ctx.api_version;
        if let Err(error) = self.try_join(env, ctx, &request, token) {
            // A member without an id has none to be told, whatever went wrong.
            env.reply(token, error_response(&request.member_id, error, version));
        } else if self.state == State::PreparingRebalance {
            // Members that were already waiting may have waited only for this one.
            self.maybe_complete_join(env);
        }
    }

    fn try_join(&mut self, env: &mut Env, ctx: &RequestContext, request: &JoinGroupRequest, token: Token) -> Result<(), ErrorCode> {
        if !self.accepts(env.config.members_max, &request.member_id) {
            self.remove(env, &request.member_id, ErrorCode::UnknownMemberId);
            return Err(ErrorCode::GroupMaxSizeReached);
        }
        if !self.supports(request) {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        if request.member_id.is_empty() { self.join_new(env, ctx, request, token) } else { self.join_known(env, ctx, request, token) }
    }

    /// Whether the group has room for the member (`acceptJoiningMember`).
    fn accepts(&self, members_max: usize, member: &str) -> bool {
        match self.state {
            State::Empty => true,
            State::PreparingRebalance => {
                self.members.get(member).is_some_and(|m| m.awaiting_join.is_some()) || self.awaiting_join < members_max
            }
            State::CompletingRebalance | State::Stable => self.members.contains_key(member) || self.members.len() < members_max,
        }
    }

    /// Same protocol type, and one protocol that everybody supports.
    fn supports(&self, request: &JoinGroupRequest) -> bool {
        if self.members.is_empty() {
            return !request.protocol_type.is_empty() && !request.protocols.is_empty();
        }
        self.protocol_type.as_deref() == Some(&*request.protocol_type)
            && request.protocols.iter().any(|p| self.supported.get(&p.name) == Some(&self.members.len()))
    }

    fn join_new(&mut self, env: &mut Env, ctx: &RequestContext, request: &JoinGroupRequest, token: Token) -> Result<(), ErrorCode> {
        let prefix = request.group_instance_id.as_ref().unwrap_or(&ctx.client_id);
        let id: Arc<str> = format!("{}-{}", &**prefix, env.rng.uuid()).into();
        match request.group_instance_id.as_deref().map(|instance| self.instances.get(instance).cloned()) {
            Some(Some(old)) => self.replace_static(env, ctx, request, token, &old, id),
            None if ctx.api_version >= VERSION_MEMBER_ID_REQUIRED => {
                if self.pending.len() >= env.config.pending_members_max {
                    return Err(ErrorCode::GroupMaxSizeReached);
                }
                let until = env.turn.now + millis(request.session_timeout_ms);
                self.pending.insert(id.clone(), until);
                env.arm(&self.id, &mut self.armed, until);
                env.reply(token, error_response(&own(&id), ErrorCode::MemberIdRequired, ctx.api_version));
            }
            Some(None) | None => self.add_and_rebalance(env, ctx, request, token, id),
        }
        Ok(())
    }

    fn join_known(&mut self, env: &mut Env, ctx: &RequestContext, request: &JoinGroupRequest, token: Token) -> Result<(), ErrorCode> {
        let id = &*request.member_id;
        if self.pending.contains_key(id) {
            if request.group_instance_id.is_some() {
                // Ids are only handed out to dynamic members.
                return Err(ErrorCode::UnknownMemberId);
            }
            let (id, _) = self.pending.remove_entry(id).expect("looked up above");
            self.add_and_rebalance(env, ctx, request, token, id);
            return Ok(());
        }
        self.validate_member(id, request.group_instance_id.as_deref())?;
        let member = &self.members[id];
        let same_protocols = member.protocols.len() == request.protocols.len()
            && member.protocols.iter().zip(&request.protocols).all(|(a, b)| a.name == b.name && a.metadata == b.metadata);
        match self.state {
            State::Empty => return Err(ErrorCode::UnknownMemberId),
            // It did not get the answer to its last JoinGroup: tell it the generation again.
            State::CompletingRebalance if same_protocols => {
                let reply = self.joined_response(id, ctx.api_version, self.is_leader(id));
                env.reply(token, reply);
            }
            // A follower that joins again without a change needs no rebalance; a leader asks for one.
            State::Stable if same_protocols && !self.is_leader(id) => {
                let reply = self.joined_response(id, ctx.api_version, false);
                env.reply(token, reply);
            }
            State::PreparingRebalance | State::CompletingRebalance | State::Stable => {
                let id = self.members[id].id.clone();
                self.update(&id, request);
                self.wait_for_join(env, &id, JoinWait { token, version: ctx.api_version });
                self.rebalance_or_complete(env);
            }
        }
        Ok(())
    }

    fn add_and_rebalance(&mut self, env: &mut Env, ctx: &RequestContext, request: &JoinGroupRequest, token: Token, id: Arc<str>) {
        if self.join_phase.is_some_and(|phase| phase.initial.is_some()) {
            self.member_added = true;
        }
        let deadline = env.turn.now + NEW_MEMBER_JOIN_TIMEOUT;
        let member = Member {
            id: id.clone(),
            order: 0,
            instance: request.group_instance_id.as_deref().map(Arc::from),
            client_id: own(&ctx.client_id),
            client_host: own(&ctx.client_host),
            rebalance_timeout_ms: request.rebalance_timeout_ms,
            session_timeout_ms: request.session_timeout_ms,
            protocols: Protocol::from_request(&request.protocols),
            assignment: Default::default(),
            awaiting_join: None,
            awaiting_sync: None,
            is_new: true,
            pending_sync: false,
            session_deadline: deadline,
        };
        if self.members.is_empty() {
            self.protocol_type = Some(own(&request.protocol_type));
        }
        self.insert(member);
        if self.leader.is_none() {
            self.leader = Some(id.clone());
        }
        self.wait_for_join(env, &id, JoinWait { token, version: ctx.api_version });
        env.arm(&self.id, &mut self.armed, deadline);
        self.rebalance_or_complete(env);
    }

    pub(super) fn insert(&mut self, mut member: Member) {
        member.order = self.next_order;
        self.next_order += 1;
        self.add_supported(&member.protocols);
        if let Some(instance) = &member.instance {
            self.instances.insert(instance.clone(), member.id.clone());
        }
        self.awaiting_join += usize::from(member.awaiting_join.is_some());
        self.members.insert(member.id.clone(), member);
    }

    /// Takes over timeouts and protocols of a member that joins again.
    pub(super) fn update(&mut self, id: &str, request: &JoinGroupRequest) {
        let Some(member) = self.members.get_mut(id) else { return };
        member.rebalance_timeout_ms = request.rebalance_timeout_ms;
        member.session_timeout_ms = request.session_timeout_ms;
        let protocols = Protocol::from_request(&request.protocols);
        let old = std::mem::replace(&mut member.protocols, protocols.clone());
        self.remove_supported(&old);
        self.add_supported(&protocols);
    }

    /// Parks a JoinGroup. A client that asks twice has given up on its first connection.
    pub(super) fn wait_for_join(&mut self, env: &mut Env, id: &str, wait: JoinWait) {
        let member = self.members.get_mut(id).expect("only members wait");
        match member.awaiting_join.replace(wait) {
            Some(first) => env.reply(first.token, error_response(&own(id), ErrorCode::RebalanceInProgress, first.version)),
            None => self.awaiting_join += 1,
        }
    }

    /// Answers a member's parked JoinGroup, if it has one.
    pub(super) fn answer_join(&mut self, env: &mut Env, id: &str, reply: impl FnOnce(&Self, i16) -> JoinGroupResponse) {
        let Some(wait) = self.members.get_mut(id).and_then(|member| member.awaiting_join.take()) else { return };
        self.awaiting_join -= 1;
        env.reply(wait.token, reply(self, wait.version));
    }

    /// What a member is told about the current generation.
    pub(super) fn joined_response(&self, id: &str, version: i16, with_members: bool) -> JoinGroupResponse {
        let mut reply = response(own(id), NONE, version)
            .with_generation_id(self.generation)
            .with_protocol_type(self.protocol_type.clone())
            .with_leader(self.leader.as_deref().map(own).unwrap_or_default());
        if let Some(protocol) = &self.protocol {
            reply.protocol_name = Some(protocol.clone());
        }
        if with_members {
            let mut members: Vec<&Member> = self.members.values().collect();
            members.sort_by_key(|member| member.order);
            let protocol = self.protocol.as_deref().unwrap_or_default();
            reply.members = members
                .into_iter()
                .map(|member| {
                    JoinGroupResponseMember::default()
                        .with_member_id(own(&member.id))
                        .with_group_instance_id(member.instance.as_deref().map(own))
                        .with_metadata(member.metadata(protocol))
                })
                .collect();
        }
        reply
    }
}

/// A JoinGroup response without a generation.
pub(crate) fn error_response(member_id: &StrBytes, error: ErrorCode, version: i16) -> JoinGroupResponse {
    response(own(member_id), error.code(), version)
}

fn response(member_id: StrBytes, code: i16, version: i16) -> JoinGroupResponse {
    let protocol = if version >= VERSION_NULLABLE_PROTOCOL { None } else { Some(StrBytes::default()) };
    JoinGroupResponse::default()
        .with_error_code(code)
        .with_generation_id(-1)
        .with_protocol_name(protocol)
        .with_protocol_type(None)
        .with_member_id(member_id)
}
