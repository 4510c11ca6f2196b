//! A static member comes back under a new member id (KIP-345).

use super::member::{JoinWait, Member};
use super::{ClassicGroup, State, join_error, sync_error};
use crate::effects::Token;
use crate::env::Env;
use crate::turn::RequestContext;
use crate::wire::messages::{JoinGroupRequest, JoinGroupResponse};
use crate::wire::{ErrorCode, own};
use crate::writes::Then;
use std::sync::Arc;

/// Since this version a leader that was replaced can be told not to assign again (KIP-814).
const VERSION_SKIP_ASSIGNMENT: i16 = 9;

impl ClassicGroup {
    /// Gives the place of member `old` to a new member id. In a stable group whose protocol does not change
    /// nobody else notices: the new id is persisted, and there is no rebalance.
    pub(super) fn replace_static(
        &mut self,
        env: &mut Env,
        ctx: &RequestContext,
        request: &JoinGroupRequest,
        token: Token,
        old: &Arc<str>,
        new: Arc<str>,
    ) {
        let leader_before = self.leader.clone();
        self.rename(env, old, new.clone(), ErrorCode::FencedInstanceId);
        self.update(&new, request);
        let member = self.members.get_mut(&new).expect("renamed above");
        member.client_id = own(&ctx.client_id);
        member.client_host = own(&ctx.client_host);
        self.extend_session(env, &new);
        if self.state != State::Stable || self.select_protocol() != self.protocol {
            self.wait_for_join(env, &new, JoinWait { token, version: ctx.api_version });
            self.rebalance_or_complete(env);
            return;
        }
        let skip_assignment = ctx.api_version >= VERSION_SKIP_ASSIGNMENT && self.is_leader(&new);
        let mut reply: JoinGroupResponse = self.joined_response(&new, ctx.api_version, skip_assignment);
        reply.skip_assignment = skip_assignment;
        if ctx.api_version < VERSION_SKIP_ASSIGNMENT {
            // An old client that finds itself the leader would assign: it is told the leader's old id.
            reply.leader = leader_before.as_deref().map(own).unwrap_or_default();
        }
        let record = self.metadata_record(|member| member.assignment.clone());
        env.write(&self.id, vec![record], Then::Replace { token, reply, old_member: old.clone() });
    }

    /// Moves a member to another id. Whoever still waits under the old one gets `error`.
    fn rename(&mut self, env: &mut Env, old: &Arc<str>, new: Arc<str>, error: ErrorCode) {
        self.answer_join(env, old, |_, version| join_error(&own(old), error, version));
        let mut member: Member = self.members.remove(old).expect("an instance id names a member");
        if let Some(token) = member.awaiting_sync.take() {
            env.reply(token, sync_error(error));
        }
        if self.is_leader(old) {
            self.leader = Some(new.clone());
        }
        if let Some(instance) = &member.instance {
            self.instances.insert(instance.clone(), new.clone());
        }
        member.id = new.clone();
        self.members.insert(new, member);
    }

    /// The new id is persisted, or could not be: then the old one counts again.
    pub(crate) fn replacement_written(
        &mut self,
        env: &mut Env,
        token: Token,
        mut reply: JoinGroupResponse,
        old: Arc<str>,
        outcome: Result<(), ErrorCode>,
    ) {
        if let Err(error) = outcome {
            let new: Arc<str> = Arc::from(&*reply.member_id);
            if self.members.contains_key(&new) && !self.members.contains_key(&old) {
                self.rename(env, &new, old, ErrorCode::UnknownMemberId);
            }
            reply = join_error(&Default::default(), error, VERSION_SKIP_ASSIGNMENT);
            reply.protocol_name = Some(Default::default());
        }
        env.reply(token, reply);
    }
}
