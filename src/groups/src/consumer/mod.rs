//! Consumer groups: the rebalance protocol of KIP-848, in which the coordinator assigns the partitions.
//!
//! A heartbeat works on a copy of the persisted state ([`Draft`]) and turns what changes into records; its reply waits
//! for them. While a group has such a write under way its other heartbeats wait in line, so every decision rests on
//! committed state and a failed write needs no undoing. Sessions and rebalance timeouts are soft state.
//!
//! Differences to Kafka: regular expressions are resolved with the heartbeat instead of after it; groups with live
//! members do not change between the classic and the consumer protocol (`group.consumer.migration.policy` is as if
//! `disabled`): a consumer is refused by a classic group with GROUP_ID_NOT_FOUND, a classic member by a consumer group
//! with INCONSISTENT_GROUP_PROTOCOL. Empty groups change freely and keep their offsets.

mod assign;
mod describe;
mod draft;
mod heartbeat;
mod leave;
mod offsets;
mod reconcile;
mod refused;
mod regex;
mod state;

pub(crate) use draft::Draft;
pub(crate) use state::{Assigned, ConsumerState, Current, Member, MemberState, Resolved, Subscription, Target};

use crate::Coordinator;
use crate::effects::{CoordinatorRecord, Effects, Reply, Token};
use crate::env::{Env, millis};
use crate::records::Key;
use crate::timers::Armed;
use crate::turn::{RequestContext, Turn};
use crate::wire::ErrorCode;
use crate::wire::messages::ConsumerGroupHeartbeatRequest;
use crate::writes::Then;
use odradek_base::Instant;
use refused::Refused;
use state::{EPOCH_LEAVE, EPOCH_STATIC_LEAVE};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// How long members that should be out stay in when the write that says so has failed.
const FENCE_RETRY: Duration = Duration::from_secs(1);

/// Soft state of a consumer group; the rest is in [`ConsumerState`].
#[derive(Debug)]
pub(crate) struct ConsumerGroup {
    id: Arc<str>,
    /// A change is on its way to the log.
    busy: bool,
    /// A timeout fired meanwhile.
    due: bool,
    /// Heartbeats that came meanwhile, at most `waiting_requests_max`.
    waiting: VecDeque<Waiting>,
    /// Until when each member must have sent a heartbeat. Entries of members that are gone vanish when they fire.
    sessions: BTreeMap<Arc<str>, Instant>,
    /// Until when a member must have given up its partitions, and its epoch by then.
    rebalances: BTreeMap<Arc<str>, (i32, Instant)>,
    /// The change of topics that was last looked at.
    topics_seen: u64,
    armed: Armed,
}

#[derive(Debug)]
struct Waiting {
    ctx: RequestContext,
    request: ConsumerGroupHeartbeatRequest,
    token: Token,
}

impl ConsumerGroup {
    fn new(id: Arc<str>) -> Self {
        Self {
            id,
            busy: false,
            due: false,
            waiting: VecDeque::new(),
            sessions: BTreeMap::new(),
            rebalances: BTreeMap::new(),
            topics_seen: 0,
            armed: Armed::default(),
        }
    }

    /// The group as it was persisted: all timeouts start anew.
    pub(crate) fn restore(env: &mut Env, id: Arc<str>, state: &ConsumerState) -> Self {
        let mut group = Self::new(id);
        for (id, member) in &state.members {
            group.extend_session(env, id);
            group.watch_revocation(env, id, member);
        }
        group
    }

    pub(crate) fn armed(&mut self) -> &mut Armed {
        &mut self.armed
    }

    fn extend_session(&mut self, env: &mut Env, member: &Arc<str>) {
        let at = env.turn.now + env.config.consumer_session_timeout;
        self.sessions.insert(member.clone(), at);
        env.arm(&self.id, &mut self.armed, at);
    }

    /// Starts the rebalance timeout of a member that has partitions to give up, or stops it.
    fn watch_revocation(&mut self, env: &mut Env, id: &Arc<str>, member: &Member) {
        if member.current.state == MemberState::Unrevoked {
            let at = env.turn.now + millis(member.subscription.rebalance_timeout_ms);
            self.rebalances.insert(id.clone(), (member.current.epoch, at));
            env.arm(&self.id, &mut self.armed, at);
        } else {
            self.rebalances.remove(id);
        }
    }

    fn arm_next(&mut self, env: &mut Env) {
        let next = self.sessions.values().copied().chain(self.rebalances.values().map(|&(_, at)| at)).min();
        if let Some(at) = next {
            env.arm(&self.id, &mut self.armed, at);
        }
    }

    fn write(&mut self, env: &mut Env, records: Vec<CoordinatorRecord>, reply: Option<(Token, Reply)>) {
        self.busy = true;
        env.write(&self.id, records, Then::Consumer(reply));
    }
}

impl Coordinator {
    pub(crate) fn has_consumer(&self, group_id: &str) -> bool {
        self.consumer.contains_key(group_id)
    }

    /// No members, and none on its way.
    pub(crate) fn consumer_is_empty(&self, group_id: &str) -> bool {
        let idle = self.consumer.get(group_id).is_none_or(|group| !group.busy);
        idle && self.hard.consumer(group_id).is_none_or(|state| state.members.is_empty())
    }

    /// ConsumerGroupHeartbeat, versions 0 and 1.
    pub fn consumer_group_heartbeat(
        &mut self,
        turn: &Turn,
        ctx: &RequestContext,
        request: ConsumerGroupHeartbeatRequest,
        token: Token,
        fx: &mut Effects,
    ) {
        let outcome = heartbeat::validate(&request, ctx.api_version).and_then(|()| match self.consumer.get_mut(&**request.group_id) {
            Some(group) if group.busy && group.waiting.len() >= self.config.waiting_requests_max => {
                Err(Refused::new(ErrorCode::CoordinatorLoadInProgress, "Too many heartbeats of the group wait for its last change."))
            }
            Some(group) if group.busy => {
                group.waiting.push_back(Waiting { ctx: ctx.clone(), request, token });
                Ok(())
            }
            Some(_) | None => self.handle_heartbeat(turn, ctx, &request, token, fx),
        });
        if let Err(refused) = outcome {
            fx.reply(token, refused.response());
        }
    }

    fn handle_heartbeat(
        &mut self,
        turn: &Turn,
        ctx: &RequestContext,
        request: &ConsumerGroupHeartbeatRequest,
        token: Token,
        fx: &mut Effects,
    ) -> Result<(), Refused> {
        let (id, records) = self.find_or_create(request)?;
        let mut draft = Draft::new(id.clone(), self.hard.consumer(&id).cloned().unwrap_or_default());
        draft.records = records;
        let leaving = matches!(request.member_epoch, EPOCH_LEAVE | EPOCH_STATIC_LEAVE);
        let topics_changed = self.consumer.get(&id).is_none_or(|group| group.topics_seen != self.topics_generation);
        let before = draft.next.clone();
        let beat = heartbeat::Heartbeat { turn, ctx, config: &self.config, request, topics_changed };
        let response = if leaving { leave::leave(turn, &mut draft, request)? } else { beat.run(&mut draft, &mut self.rng)? };

        if !self.consumer.contains_key(&id) {
            self.forget_classic(&id);
            self.consumer.insert(id.clone(), ConsumerGroup::new(id.clone()));
        }
        let mut env = Env { turn, config: &self.config, rng: &mut self.rng, timers: &mut self.timers, writes: &mut self.writes, fx };
        let group = self.consumer.get_mut(&id).expect("inserted above");
        if !leaving {
            group.topics_seen = self.topics_generation;
            let member_id = response.member_id.as_deref().unwrap_or_default();
            if let Some((member_id, member)) = draft.next.members.get_key_value(member_id) {
                group.extend_session(&mut env, member_id);
                if before.members.get(member_id).is_none_or(|old| old.current != member.current) {
                    group.watch_revocation(&mut env, member_id, member);
                }
            }
        }
        if draft.records.is_empty() {
            env.reply(token, response);
        } else {
            group.write(&mut env, draft.records, Some((token, response.into())));
        }
        Ok(())
    }

    /// The group of a heartbeat, and what has to go before it can be one. An empty classic group becomes a consumer group.
    fn find_or_create(&self, request: &ConsumerGroupHeartbeatRequest) -> Result<(Arc<str>, Vec<CoordinatorRecord>), Refused> {
        let id = &**request.group_id;
        if let Some(group) = self.consumer.get(id) {
            return Ok((group.id.clone(), Vec::new()));
        }
        let joins = request.member_epoch == 0;
        match self.classic.get(id) {
            Some(classic) if !joins || !classic.is_empty() => {
                Err(Refused::new(ErrorCode::GroupIdNotFound, format!("Group {id} is not a consumer group.")))
            }
            None if !joins => Err(Refused::new(ErrorCode::GroupIdNotFound, format!("Consumer group {id} not found."))),
            None if self.groups_count() >= self.config.groups_max => {
                Err(Refused::new(ErrorCode::CoordinatorNotAvailable, "The coordinator has as many groups as it may."))
            }
            Some(_) | None => {
                let old = self.hard.classic_metadata(id).map(|_| Key::Group { group: id }.tombstone());
                Ok((Arc::from(id), old.into_iter().collect()))
            }
        }
    }

    /// A change is in the log, or is not: answers it, and lets the heartbeats behind it go on.
    pub(crate) fn consumer_written(
        &mut self,
        turn: &Turn,
        id: &Arc<str>,
        reply: Option<(Token, Reply)>,
        outcome: Result<(), ErrorCode>,
        fx: &mut Effects,
    ) {
        if let Some((token, reply)) = reply {
            fx.reply(token, if let Err(error) = outcome { reply.failed(error) } else { reply });
        }
        let Some(group) = self.consumer.get_mut(id) else { return };
        group.busy = false;
        let waiting = std::mem::take(&mut group.waiting);
        let mut env = Env { turn, config: &self.config, rng: &mut self.rng, timers: &mut self.timers, writes: &mut self.writes, fx };
        if outcome.is_err() {
            group.topics_seen = 0;
            let retry = turn.now + FENCE_RETRY;
            group.sessions.values_mut().filter(|at| **at <= turn.now).for_each(|at| *at = retry);
            group.rebalances.values_mut().filter(|(_, at)| *at <= turn.now).for_each(|(_, at)| *at = retry);
        }
        group.arm_next(&mut env);
        if self.hard.consumer(id).is_none() {
            // It was about to be made.
            self.forget_consumer(id);
            self.restore(turn, fx, id);
        }
        for Waiting { ctx, request, token } in waiting {
            self.consumer_group_heartbeat(turn, &ctx, request, token, fx);
        }
        if self.consumer.get(id).is_some_and(|group| group.due) {
            self.consumer_deadline(turn, id, fx);
        }
    }

    /// Timeouts of members: those that are due are out, and the others share their partitions.
    pub(crate) fn consumer_deadline(&mut self, turn: &Turn, id: &Arc<str>, fx: &mut Effects) {
        let Some(group) = self.consumer.get_mut(id) else { return };
        let Some(state) = self.hard.consumer(id) else {
            group.due = group.busy;
            return;
        };
        group.due = group.busy;
        if group.busy {
            return;
        }
        group.sessions.retain(|member, at| *at > turn.now || state.members.contains_key(member));
        let still_revoking = |member: &Arc<str>, epoch: i32| {
            state.members.get(member).is_some_and(|m| m.current.state == MemberState::Unrevoked && m.current.epoch == epoch)
        };
        group.rebalances.retain(|member, (epoch, at)| *at > turn.now || still_revoking(member, *epoch));
        let silent = group.sessions.iter().filter(|(_, at)| **at <= turn.now).map(|(member, _)| member);
        let slow = group.rebalances.iter().filter(|(_, (_, at))| *at <= turn.now).map(|(member, _)| member);
        let out: std::collections::BTreeSet<Arc<str>> = silent.chain(slow).cloned().collect();

        let mut env = Env { turn, config: &self.config, rng: &mut self.rng, timers: &mut self.timers, writes: &mut self.writes, fx };
        if out.is_empty() {
            return group.arm_next(&mut env);
        }
        let mut draft = Draft::new(id.clone(), state.clone());
        out.iter().for_each(|member| draft.remove_member(member));
        draft.remove_unused_regexes();
        draft.bump_epoch(turn, true);
        group.write(&mut env, draft.records, None);
    }

    /// Forgets the soft state of a group that goes away.
    pub(crate) fn forget_consumer(&mut self, group_id: &str) {
        if let Some(mut group) = self.consumer.remove(group_id) {
            self.timers.disarm(&group.id, &mut group.armed);
        }
    }
}
