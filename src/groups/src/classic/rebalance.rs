//! The rebalance itself: who is waited for, how long, and what ends it.

use super::member::Member;
use super::{CONSUMER_PROTOCOL, ClassicGroup, InitialDelay, JoinPhase, State, join_error, sync_error};
use crate::env::{Env, millis};
use crate::wire::ErrorCode;
use crate::writes::Then;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

impl ClassicGroup {
    /// Starts a rebalance, or ends the one under way when everybody is there.
    pub(super) fn rebalance_or_complete(&mut self, env: &mut Env) {
        if self.state == State::PreparingRebalance { self.maybe_complete_join(env) } else { self.prepare_rebalance(env) }
    }

    pub(super) fn prepare_rebalance(&mut self, env: &mut Env) {
        if self.state == State::CompletingRebalance {
            self.clear_assignment(env, ErrorCode::RebalanceInProgress);
        }
        self.sync_deadline = None;
        let timeout = self.rebalance_timeout();
        let initial = self.state == State::Empty;
        self.enter(State::PreparingRebalance, env.turn.wall);
        if initial {
            // The first members of a group seldom come alone: wait a little for the others.
            let delay = env.config.initial_rebalance_delay;
            let remaining = timeout.saturating_sub(delay);
            self.member_added = false;
            self.start_join_phase(env, delay, Some(InitialDelay { delay, remaining }));
            if delay.is_zero() {
                self.join_phase_over(env);
            }
        } else if self.all_joined() {
            self.complete_join(env);
        } else {
            self.start_join_phase(env, timeout, None);
        }
    }

    fn start_join_phase(&mut self, env: &mut Env, wait: Duration, initial: Option<InitialDelay>) {
        let deadline = env.turn.now + wait;
        self.join_phase = Some(JoinPhase { deadline, initial });
        env.arm(&self.id, &mut self.armed, deadline);
    }

    /// The longest a member asked for.
    fn rebalance_timeout(&self) -> Duration {
        self.members.values().map(|member| millis(member.rebalance_timeout_ms)).max().unwrap_or_default()
    }

    fn all_joined(&self) -> bool {
        self.awaiting_join == self.members.len() && self.pending.is_empty()
    }

    /// Ends the join phase early when all members are there; an initial delay is always waited out.
    pub(super) fn maybe_complete_join(&mut self, env: &mut Env) {
        let initial = self.join_phase.is_some_and(|phase| phase.initial.is_some());
        if self.state == State::PreparingRebalance && !initial && self.all_joined() {
            self.complete_join(env);
        }
    }

    /// The join phase has lasted as long as it may.
    fn join_phase_over(&mut self, env: &mut Env) {
        match self.join_phase.and_then(|phase| phase.initial) {
            Some(InitialDelay { delay, remaining }) if self.member_added && !remaining.is_zero() => {
                self.member_added = false;
                let initial = InitialDelay { delay: delay.min(remaining), remaining: remaining.saturating_sub(delay) };
                self.start_join_phase(env, initial.delay, Some(initial));
            }
            _ => self.complete_join(env),
        }
    }

    /// Goes on with the members that came (`completeClassicGroupJoin`).
    fn complete_join(&mut self, env: &mut Env) {
        self.join_phase = None;
        let late: Vec<Arc<str>> = self
            .members
            .values()
            .filter(|member| member.awaiting_join.is_none() && member.instance.is_none())
            .map(|member| member.id.clone())
            .collect();
        for id in late {
            self.remove(env, &id, ErrorCode::UnknownMemberId);
        }
        if !self.elect_joined_leader() && !self.members.is_empty() {
            // Only static members are left and none came: wait until one comes or all sessions end.
            let timeout = self.rebalance_timeout().max(JOIN_RETRY_MIN);
            self.start_join_phase(env, timeout, None);
            return;
        }
        self.next_generation(env);
        if self.state == State::Empty {
            let record = self.metadata_record(|member| member.assignment.clone());
            env.write(&self.id, vec![record], Then::Nothing);
            return;
        }
        let ids: Vec<Arc<str>> = self.members.keys().cloned().collect();
        for id in &ids {
            self.answer_join(env, id, |group, version| group.joined_response(id, version, group.is_leader(id)));
            self.extend_session(env, id);
            let member = self.members.get_mut(id).expect("collected above");
            member.is_new = false;
            member.pending_sync = true;
        }
        let deadline = env.turn.now + self.rebalance_timeout();
        self.sync_deadline = Some(deadline);
        env.arm(&self.id, &mut self.armed, deadline);
    }

    /// A leader that came stays; otherwise the first member that came leads.
    fn elect_joined_leader(&mut self) -> bool {
        if self.leader.as_ref().and_then(|id| self.members.get(id)).is_some_and(|leader| leader.awaiting_join.is_some()) {
            return true;
        }
        let first = self.members.values().filter(|member| member.awaiting_join.is_some()).min_by_key(|member| member.order);
        match first {
            Some(member) => {
                self.leader = Some(member.id.clone());
                true
            }
            None => false,
        }
    }

    fn next_generation(&mut self, env: &mut Env) {
        // Kafka lets the generation overflow; 2^31 rebalances of one group do not happen, a panic must not either.
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        for member in self.members.values_mut() {
            member.pending_sync = false;
        }
        self.protocol = self.select_protocol();
        let next = if self.members.is_empty() { State::Empty } else { State::CompletingRebalance };
        self.enter(next, env.turn.wall);
        self.read_subscriptions();
    }

    /// Which topics the members consume, as far as their subscriptions can be read (`computeSubscribedTopics`).
    pub(super) fn read_subscriptions(&mut self) {
        self.subscribed = match (&self.protocol_type, &self.protocol) {
            (Some(kind), _) if **kind != *CONSUMER_PROTOCOL => None,
            (None, _) => None,
            (Some(_), None) => self.members.is_empty().then(BTreeSet::new),
            (Some(_), Some(protocol)) => {
                let mut topics = BTreeSet::new();
                let readable = self.members.values().all(|member| subscribed_topics(&member.metadata(protocol), &mut topics));
                readable.then_some(topics)
            }
        };
    }

    /// Takes assignments back and answers SyncGroups that wait for them.
    pub(super) fn clear_assignment(&mut self, env: &mut Env, error: ErrorCode) {
        let mut waited = Vec::new();
        for member in self.members.values_mut() {
            member.assignment = Default::default();
            if let Some(token) = member.awaiting_sync.take() {
                env.reply(token, sync_error(error));
                waited.push(member.id.clone());
            }
        }
        for id in waited {
            self.extend_session(env, &id);
        }
    }

    /// Takes a member out and answers what it waits for. The caller decides about a rebalance.
    pub(super) fn remove(&mut self, env: &mut Env, id: &str, error: ErrorCode) {
        self.pending.remove(id);
        if !self.members.contains_key(id) {
            return;
        }
        // The response names no member id, so that the client starts anew.
        self.answer_join(env, id, |_, version| join_error(&Default::default(), error, version));
        let Some(Member { protocols, instance, awaiting_sync, .. }) = self.members.remove(id) else { return };
        if let Some(token) = awaiting_sync {
            env.reply(token, sync_error(error));
        }
        self.remove_supported(&protocols);
        if let Some(instance) = instance
            && self.instances.get(&instance).is_some_and(|owner| **owner == *id)
        {
            self.instances.remove(&instance);
        }
        if self.is_leader(id) {
            self.leader = self.members.values().min_by_key(|member| member.order).map(|member| member.id.clone());
        }
    }

    /// What follows when members have gone.
    pub(super) fn members_left(&mut self, env: &mut Env) {
        match self.state {
            State::Stable | State::CompletingRebalance => self.prepare_rebalance(env),
            State::PreparingRebalance => self.maybe_complete_join(env),
            State::Empty => {}
        }
    }

    /// Everything whose time has come.
    pub(crate) fn on_deadline(&mut self, env: &mut Env) {
        self.armed.fired();
        let now = env.turn.now;
        let pending = self.pending.len();
        self.pending.retain(|_, until| *until > now);
        let expired: Vec<Arc<str>> = self.members.values().filter(|m| m.session_expired(now)).map(|m| m.id.clone()).collect();
        for id in &expired {
            self.remove(env, id, ErrorCode::UnknownMemberId);
        }
        if !expired.is_empty() || self.pending.len() < pending {
            self.members_gone(env, !expired.is_empty());
        }
        if self.join_phase.is_some_and(|phase| phase.deadline <= now) {
            self.join_phase_over(env);
        }
        if self.sync_deadline.is_some_and(|at| at <= now) {
            self.sync_phase_over(env);
        }
        self.arm_next(env);
    }

    fn members_gone(&mut self, env: &mut Env, members: bool) {
        if members {
            self.members_left(env);
        } else {
            self.maybe_complete_join(env);
        }
    }

    /// Members that never asked for their assignment are taken out.
    fn sync_phase_over(&mut self, env: &mut Env) {
        self.sync_deadline = None;
        let silent: Vec<Arc<str>> = self.members.values().filter(|m| m.pending_sync).map(|m| m.id.clone()).collect();
        if silent.is_empty() {
            return;
        }
        for id in &silent {
            self.remove(env, id, ErrorCode::UnknownMemberId);
        }
        self.members_left(env);
    }

    fn arm_next(&mut self, env: &mut Env) {
        let now = env.turn.now;
        let sessions = self.members.values().map(|member| {
            // A member that waits for us is looked at again when it no longer does, or after a while.
            let at = member.session_deadline;
            if at > now { at } else { now + millis(member.session_timeout_ms).max(JOIN_RETRY_MIN) }
        });
        let next = sessions
            .chain(self.pending.values().copied())
            .chain(self.join_phase.map(|phase| phase.deadline))
            .chain(self.sync_deadline)
            .min();
        if let Some(at) = next {
            env.arm(&self.id, &mut self.armed, at);
        }
    }
}

/// Shortest pause between two looks at a group that waits for others, so that a zero timeout cannot spin.
const JOIN_RETRY_MIN: Duration = Duration::from_millis(100);

/// Adds the topics of a subscription; false when it is not one. Version 0 is a prefix of all versions.
fn subscribed_topics(metadata: &[u8], topics: &mut BTreeSet<String>) -> bool {
    use odradek_wire::fields::Reader;
    let mut reader = Reader::new(metadata);
    let mut read = || {
        reader.i16()?;
        for _ in 0..reader.count(false)? {
            topics.insert(reader.string(false)?.to_owned());
        }
        Ok::<_, odradek_wire::fields::FieldError>(())
    };
    read().is_ok()
}
