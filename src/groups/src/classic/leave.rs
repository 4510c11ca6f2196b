//! Heartbeat and LeaveGroup.

use super::{ClassicGroup, State};
use crate::env::Env;
use crate::wire::messages::leave_group_request::MemberIdentity;
use crate::wire::messages::leave_group_response::MemberResponse;
use crate::wire::messages::{HeartbeatRequest, HeartbeatResponse};
use crate::wire::{ErrorCode, code};

impl ClassicGroup {
    pub(crate) fn heartbeat(&mut self, env: &mut Env, request: &HeartbeatRequest) -> Result<(), ErrorCode> {
        self.validate_member(&request.member_id, request.group_instance_id.as_deref())?;
        if request.generation_id != self.generation {
            return Err(ErrorCode::IllegalGeneration);
        }
        self.extend_session(env, &request.member_id);
        match self.state {
            State::Empty => Err(ErrorCode::UnknownMemberId),
            State::PreparingRebalance => Err(ErrorCode::RebalanceInProgress),
            State::CompletingRebalance | State::Stable => Ok(()),
        }
    }

    /// Takes members out, each by its id, its instance id, or both, and rebalances once.
    pub(crate) fn leave(&mut self, env: &mut Env, members: &[MemberIdentity]) -> Vec<MemberResponse> {
        let mut left = false;
        let mut responses = Vec::with_capacity(members.len());
        for member in members {
            let outcome = self.leave_one(env, member);
            left |= outcome.is_ok();
            responses.push(
                MemberResponse::default()
                    .with_member_id(member.member_id.clone())
                    .with_group_instance_id(member.group_instance_id.clone())
                    .with_error_code(code(&outcome)),
            );
        }
        if left {
            self.members_left(env);
        }
        responses
    }

    fn leave_one(&mut self, env: &mut Env, member: &MemberIdentity) -> Result<(), ErrorCode> {
        let instance = member.group_instance_id.as_deref();
        let id = if member.member_id.is_empty() {
            // An administrator names static members by their instance id only.
            instance.and_then(|instance| self.instances.get(instance)).cloned().ok_or(ErrorCode::UnknownMemberId)?
        } else if self.pending.remove(&*member.member_id).is_some() {
            return Ok(());
        } else {
            self.validate_member(&member.member_id, instance)?;
            self.members[&*member.member_id].id.clone()
        };
        self.remove(env, &id, ErrorCode::UnknownMemberId);
        Ok(())
    }
}

pub(crate) fn heartbeat_response(outcome: Result<(), ErrorCode>) -> HeartbeatResponse {
    HeartbeatResponse::default().with_error_code(code(&outcome))
}
