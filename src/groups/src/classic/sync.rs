//! SyncGroup, versions 0 to 5: the leader hands out partitions, everybody fetches its share.

use super::{ClassicGroup, State};
use crate::effects::Token;
use crate::env::Env;
use crate::wire::messages::{SyncGroupRequest, SyncGroupResponse};
use crate::wire::{ErrorCode, StrBytes};
use crate::writes::Then;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;

impl ClassicGroup {
    pub(crate) fn sync(&mut self, env: &mut Env, request: SyncGroupRequest, token: Token) {
        if let Err(error) = self.try_sync(env, &request, token) {
            env.reply(token, error_response(error));
        }
    }

    fn try_sync(&mut self, env: &mut Env, request: &SyncGroupRequest, token: Token) -> Result<(), ErrorCode> {
        let id = &*request.member_id;
        self.validate_member(id, request.group_instance_id.as_deref())?;
        if request.generation_id != self.generation {
            return Err(ErrorCode::IllegalGeneration);
        }
        if differs(&request.protocol_type, &self.protocol_type) || differs(&request.protocol_name, &self.protocol) {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        match self.state {
            State::Empty => Err(ErrorCode::UnknownMemberId),
            State::PreparingRebalance => Err(ErrorCode::RebalanceInProgress),
            State::Stable => {
                self.members.get_mut(id).expect("validated above").pending_sync = false;
                let reply = self.assigned_response(id);
                env.reply(token, reply);
                Ok(())
            }
            State::CompletingRebalance => {
                let member = self.members.get_mut(id).expect("validated above");
                member.pending_sync = false;
                if let Some(first) = member.awaiting_sync.replace(token) {
                    // The client has given up on its first connection.
                    env.reply(first, error_response(ErrorCode::RebalanceInProgress));
                }
                if self.is_leader(id) {
                    self.persist_assignment(env, request);
                }
                Ok(())
            }
        }
    }

    /// Writes the generation with the leader's assignment. Members the leader forgot get an empty one.
    fn persist_assignment(&mut self, env: &mut Env, request: &SyncGroupRequest) {
        let mut shares: BTreeMap<&str, &Bytes> = BTreeMap::new();
        for share in &request.assignments {
            shares.insert(&share.member_id, &share.assignment);
        }
        for member in self.members.values_mut() {
            // Nobody is told before the write commits; a rebalance before that takes it back.
            member.assignment = shares.get(&*member.id).map(|share| Bytes::copy_from_slice(share)).unwrap_or_default();
        }
        let record = self.metadata_record(|member| member.assignment.clone());
        env.write(&self.id, vec![record], Then::Assign { generation: self.generation });
    }

    /// The assignment of a generation is persisted, or could not be.
    pub(crate) fn assignment_written(&mut self, env: &mut Env, generation: i32, outcome: Result<(), ErrorCode>) {
        if self.state != State::CompletingRebalance || self.generation != generation {
            return;
        }
        if let Err(error) = outcome {
            self.clear_assignment(env, error);
            self.prepare_rebalance(env);
            return;
        }
        self.enter(State::Stable, env.turn.wall);
        let ids: Vec<Arc<str>> = self.members.keys().cloned().collect();
        for id in ids {
            if let Some(token) = self.members.get_mut(&id).and_then(|member| member.awaiting_sync.take()) {
                let reply = self.assigned_response(&id);
                env.reply(token, reply);
                self.extend_session(env, &id);
            }
        }
    }

    fn assigned_response(&self, id: &str) -> SyncGroupResponse {
        SyncGroupResponse::default()
            .with_protocol_type(self.protocol_type.clone())
            .with_protocol_name(self.protocol.clone())
            .with_assignment(self.members.get(id).map(|member| member.assignment.clone()).unwrap_or_default())
    }
}

/// Whether a member names another protocol than the group's; old versions name none.
fn differs(named: &Option<StrBytes>, group: &Option<StrBytes>) -> bool {
    matches!((named, group), (Some(named), Some(group)) if named != group)
}

pub(crate) fn error_response(error: ErrorCode) -> SyncGroupResponse {
    SyncGroupResponse::default().with_error_code(error.code()).with_protocol_type(None).with_protocol_name(None)
}
