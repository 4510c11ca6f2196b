//! All groups of one `__consumer_offsets` partition: requests in, writes and replies out.

use crate::classic::{self, ClassicGroup, State};
use crate::config::GroupsConfig;
use crate::consumer::{ConsumerGroup, Draft};
use crate::effects::{Effects, Reply, Token, WriteId};
use crate::env::Env;
use crate::hard_state::HardState;
use crate::records::ReplayError;
use crate::records::group::GroupMetadata;
use crate::replies;
use crate::timers::Timers;
use crate::turn::{RequestContext, Turn};
use crate::wire::messages::describe_groups_response::DescribedGroup;
use crate::wire::messages::leave_group_request::MemberIdentity;
use crate::wire::messages::leave_group_response::MemberResponse;
use crate::wire::messages::list_groups_response::ListedGroup;
use crate::wire::messages::*;
use crate::wire::{ErrorCode, NONE, StrBytes, own};
use crate::writes::{InFlight, Then, Writes};
use odradek_base::{Instant, ProducerId, Rng};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Since this version DescribeGroups says that a group is not there, instead of calling it dead.
const DESCRIBE_VERSION_NOT_FOUND: i16 = 6;
/// Since this version LeaveGroup names several members.
const LEAVE_VERSION_BATCH: i16 = 3;
/// Longest string a record can hold, in bytes.
const STRING_BYTES_MAX: usize = i16::MAX as usize;
/// Room that a generated member id needs after the client's or instance's name: a dash and a UUID.
const MEMBER_ID_SUFFIX_BYTES: usize = 37;

/// The coordinator of one partition. Every public call is one turn of its owner's thread.
#[derive(Debug)]
pub struct Coordinator {
    pub(crate) config: GroupsConfig,
    pub(crate) rng: Rng,
    pub(crate) hard: HardState,
    pub(crate) classic: BTreeMap<Arc<str>, ClassicGroup>,
    pub(crate) consumer: BTreeMap<Arc<str>, ConsumerGroup>,
    /// Counts the changes of topics; consumer groups look at them with their next heartbeat.
    pub(crate) topics_generation: u64,
    pub(crate) timers: Timers,
    pub(crate) writes: Writes,
    /// Deleted topics whose offsets go when the named write is done.
    pub(crate) deleted_topics: VecDeque<(WriteId, BTreeSet<String>)>,
    next_expiry: Option<Instant>,
}

/// Loading.
impl Coordinator {
    /// An empty coordinator: replay the partition into it, then call [`Self::loaded`]. `rng` makes member ids.
    pub fn new(config: GroupsConfig, rng: Rng) -> Self {
        Self {
            config,
            rng,
            hard: HardState::default(),
            classic: BTreeMap::new(),
            consumer: BTreeMap::new(),
            topics_generation: 1,
            timers: Timers::default(),
            writes: Writes::default(),
            deleted_topics: VecDeque::new(),
            next_expiry: None,
        }
    }

    /// Applies a record of a batch outside transactions. On an error the record changed nothing: log it and go on.
    pub fn replay(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), ReplayError> {
        self.hard.replay(key, value)
    }

    /// Applies a record of a transactional batch.
    pub fn replay_transactional(&mut self, producer: ProducerId, key: &[u8], value: Option<&[u8]>) -> Result<(), ReplayError> {
        self.hard.replay_transactional(producer, key, value)
    }

    /// Applies the marker that ends a producer's transaction.
    pub fn replay_marker(&mut self, producer: ProducerId, commit: bool) {
        self.hard.replay_marker(producer, commit);
    }

    /// The partition is replayed up to its end: groups come to life, session timers start.
    pub fn loaded(&mut self, turn: &Turn, fx: &mut Effects) {
        let consumers = self.hard.consumer_groups().map(|(id, _)| id);
        let ids = self.hard.classic_groups().chain(self.hard.groups_with_offsets().map(|(id, _)| id)).chain(consumers);
        let ids: BTreeSet<Arc<str>> = ids.cloned().collect();
        for id in ids {
            self.restore(turn, fx, &id);
        }
        self.next_expiry = Some(turn.now + self.config.offsets_retention_check_interval);
    }

    /// Makes the group that hard state tells of, if it is not there.
    pub(crate) fn restore(&mut self, turn: &Turn, fx: &mut Effects, id: &Arc<str>) {
        if self.has_classic(id) || self.has_consumer(id) {
            return;
        }
        // Both may be there if a change from one to the other was written in part: members decide.
        let consumer = self.hard.consumer(id).filter(|state| !state.members.is_empty() || self.hard.classic_metadata(id).is_none());
        if let Some(state) = consumer.cloned() {
            let group = ConsumerGroup::restore(&mut self.env(turn, fx), id.clone(), &state);
            self.consumer.insert(id.clone(), group);
            return;
        }
        let metadata = self.hard.classic_metadata(id).cloned();
        let group = match &metadata {
            Some(bytes) => {
                let value = GroupMetadata::decode(bytes).expect("replay keeps only readable metadata");
                ClassicGroup::restore(&mut self.env(turn, fx), id.clone(), &value)
            }
            None => ClassicGroup::new(id.clone(), turn.wall),
        };
        self.classic.insert(id.clone(), group);
    }
}

/// Time and writes.
impl Coordinator {
    /// When [`Self::on_deadline`] wants to be called.
    pub fn deadline(&self) -> Option<Instant> {
        self.timers.next().into_iter().chain(self.next_expiry).min()
    }

    /// Does what is due: sessions, rebalances, retention. Early or repeated calls do no harm.
    pub fn on_deadline(&mut self, turn: &Turn, fx: &mut Effects) {
        // Groups that want to be woken at once are served by the next call, so that this one ends.
        let mut due = Vec::new();
        while let Some(id) = self.timers.pop(turn.now) {
            due.push(id);
        }
        for id in due {
            if let Some(group) = self.consumer.get_mut(&id) {
                group.armed().fired();
                self.consumer_deadline(turn, &id, fx);
            } else {
                self.with_classic(&id, turn, fx, |group, env| group.on_deadline(env));
            }
        }
        if self.next_expiry.is_some_and(|at| at <= turn.now) {
            self.next_expiry = Some(turn.now + self.config.offsets_retention_check_interval.max(Duration::from_millis(1)));
            self.expire_offsets(turn, fx);
        }
    }

    /// A write is in the log for good: applies its records and sends what waited for it.
    pub fn committed(&mut self, turn: &Turn, write: WriteId, fx: &mut Effects) {
        let InFlight { group, records, then } = self.writes.finish(write);
        for record in &records {
            self.hard.replay(&record.key, record.value.as_deref()).expect("own records are readable");
        }
        match then {
            Then::Nothing | Then::Delete(None) => {}
            Then::Reply(token, reply) => fx.reply(token, reply),
            Then::Delete(Some(token)) => fx.reply(token, Reply::DeleteGroup(Ok(()))),
            Then::Assign { generation } => {
                self.with_classic(&group, turn, fx, |group, env| group.assignment_written(env, generation, Ok(())));
            }
            Then::Replace { token, reply, .. } => fx.reply(token, reply),
            Then::Consumer(reply) => self.consumer_written(turn, &group, reply, Ok(()), fx),
        }
        if self.hard.offsets_of(&group).is_some() && !self.writes.deletes(&group) {
            // The group may have been deleted while this commit was under way. What a deletion on its way to the log
            // will take does not bring the group back; what it leaves does, when that write is done.
            self.restore(turn, fx, &group);
        }
        self.after_write(turn, write, fx);
    }

    /// A write did not reach the log: nothing changes, and its requests get an error.
    pub fn failed(&mut self, turn: &Turn, write: WriteId, error: ErrorCode, fx: &mut Effects) {
        let InFlight { group, then, .. } = self.writes.finish(write);
        let error = replies::of_append(error);
        match then {
            Then::Nothing => {}
            Then::Consumer(reply) => self.consumer_written(turn, &group, reply, Err(error), fx),
            Then::Reply(token, reply) => fx.reply(token, reply.failed(error)),
            Then::Delete(token) => {
                self.restore(turn, fx, &group);
                if let Some(token) = token {
                    fx.reply(token, Reply::DeleteGroup(Err(error)));
                }
            }
            Then::Assign { generation } => {
                self.with_classic(&group, turn, fx, |group, env| group.assignment_written(env, generation, Err(error)));
            }
            Then::Replace { token, reply, old_member } => {
                let mut reply = Some(reply);
                self.with_classic(&group, turn, fx, |group, env| {
                    group.replacement_written(env, token, reply.take().unwrap_or_default(), old_member, Err(error));
                });
                if let Some(reply) = reply {
                    fx.reply(token, Reply::JoinGroup(reply).failed(error));
                }
            }
        }
        self.after_write(turn, write, fx);
    }

    fn after_write(&mut self, turn: &Turn, write: WriteId, fx: &mut Effects) {
        while self.deleted_topics.front().is_some_and(|(after, _)| *after <= write) {
            let (_, names) = self.deleted_topics.pop_front().expect("looked at above");
            self.delete_offsets_of_topics(turn, &names, fx);
        }
    }
}

/// Classic membership.
impl Coordinator {
    pub fn join(&mut self, turn: &Turn, ctx: &RequestContext, request: JoinGroupRequest, token: Token, fx: &mut Effects) {
        let member = request.member_id.clone();
        if let Err(error) = self.try_join(turn, ctx, request, token, fx) {
            fx.reply(token, classic::join_error(&member, error, ctx.api_version));
        }
    }

    fn try_join(
        &mut self,
        turn: &Turn,
        ctx: &RequestContext,
        request: JoinGroupRequest,
        token: Token,
        fx: &mut Effects,
    ) -> Result<(), ErrorCode> {
        check_group_id(&request.group_id)?;
        let session = crate::env::millis(request.session_timeout_ms);
        if session < self.config.session_timeout_min || session > self.config.session_timeout_max {
            return Err(ErrorCode::InvalidSessionTimeout);
        }
        let instance = request.group_instance_id.as_deref();
        check_strings([&*request.member_id, &*request.protocol_type, &*ctx.client_host])?;
        check_strings(request.protocols.iter().map(|protocol| &*protocol.name))?;
        if instance.unwrap_or(&ctx.client_id).len() > STRING_BYTES_MAX - MEMBER_ID_SUFFIX_BYTES || ctx.client_id.len() > STRING_BYTES_MAX {
            return Err(ErrorCode::InvalidRequest);
        }
        let id = request.group_id.clone();
        if self.has_consumer(&id) && !self.consumer_is_empty(&id) {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        if !self.has_classic(&id) {
            if !request.member_id.is_empty() {
                return Err(ErrorCode::UnknownMemberId);
            }
            self.remove_empty_consumer(turn, &id, fx);
            self.create_classic(&id, turn)?;
        }
        self.with_classic(&id, turn, fx, |group, env| {
            group.join(env, ctx, request, token);
            Ok(())
        })?;
        // A refused first join leaves no group behind.
        if self.classic.get(&**id).is_some_and(ClassicGroup::is_untouched) && self.hard.offsets_of(&id).is_none() {
            self.forget_classic(&id);
        }
        Ok(())
    }

    pub fn sync(&mut self, turn: &Turn, _ctx: &RequestContext, request: SyncGroupRequest, token: Token, fx: &mut Effects) {
        let id = request.group_id.clone();
        let outcome = check_group_id(&id).and_then(|()| {
            self.with_classic(&id, turn, fx, |group, env| {
                group.sync(env, request, token);
                Ok(())
            })
        });
        if let Err(error) = outcome {
            fx.reply(token, classic::sync_error(error));
        }
    }

    pub fn heartbeat(&mut self, turn: &Turn, _ctx: &RequestContext, request: HeartbeatRequest, token: Token, fx: &mut Effects) {
        let outcome = check_group_id(&request.group_id)
            .and_then(|()| self.with_classic(&request.group_id, turn, fx, |group, env| group.heartbeat(env, &request)));
        fx.reply(token, classic::heartbeat_response(outcome));
    }

    pub fn leave(&mut self, turn: &Turn, ctx: &RequestContext, request: LeaveGroupRequest, token: Token, fx: &mut Effects) {
        if let Err(error) = check_group_id(&request.group_id) {
            return fx.reply(token, LeaveGroupResponse::default().with_error_code(error.code()));
        }
        let single = ctx.api_version < LEAVE_VERSION_BATCH;
        let members = if single { vec![MemberIdentity::default().with_member_id(request.member_id)] } else { request.members };
        let left = self.with_classic(&request.group_id, turn, fx, |group, env| Ok(group.leave(env, &members)));
        let responses = left.unwrap_or_else(|error| {
            let unknown = |member: &MemberIdentity| {
                MemberResponse::default()
                    .with_member_id(member.member_id.clone())
                    .with_group_instance_id(member.group_instance_id.clone())
                    .with_error_code(error.code())
            };
            members.iter().map(unknown).collect()
        });
        let response = if single {
            LeaveGroupResponse::default().with_error_code(responses.first().map_or(NONE, |member| member.error_code))
        } else {
            LeaveGroupResponse::default().with_members(responses)
        };
        fx.reply(token, response);
    }

    /// Describes one group of a DescribeGroups request.
    pub fn describe_group(&self, group_id: &str, version: i16) -> DescribedGroup {
        match self.classic.get(group_id) {
            Some(group) => group.described(),
            None => {
                let dead =
                    DescribedGroup::default().with_group_id(own(group_id).into()).with_group_state(StrBytes::from_static_str("Dead"));
                if version < DESCRIBE_VERSION_NOT_FOUND {
                    return dead;
                }
                let why = if self.has_consumer(group_id) { "is not a classic group" } else { "not found" };
                dead.with_error_code(ErrorCode::GroupIdNotFound.code())
                    .with_error_message(Some(StrBytes::from_string(format!("Group {group_id} {why}."))))
            }
        }
    }

    /// The groups that pass the filters, in the order of their ids. Unknown states and types match nothing.
    pub fn list_groups(&self, request: &ListGroupsRequest) -> Vec<ListedGroup> {
        let wanted = |filter: &[StrBytes], value: &str| filter.is_empty() || filter.iter().any(|f| f.eq_ignore_ascii_case(value));
        let consumers = self.consumer.keys().filter_map(|id| self.hard.consumer(id).map(|state| state.listed(id)));
        let groups = self.classic.values().map(ClassicGroup::listed).chain(consumers);
        let mut listed: Vec<ListedGroup> =
            groups.filter(|g| wanted(&request.states_filter, &g.group_state) && wanted(&request.types_filter, &g.group_type)).collect();
        listed.sort_by(|a, b| a.group_id.cmp(&b.group_id));
        listed
    }
}

/// What the other files of this room use.
impl Coordinator {
    pub(crate) fn env<'a, 't>(&'a mut self, turn: &'a Turn<'t>, fx: &'a mut Effects) -> Env<'a, 't> {
        Env { turn, config: &self.config, rng: &mut self.rng, timers: &mut self.timers, writes: &mut self.writes, fx }
    }

    pub(crate) fn has_classic(&self, group_id: &str) -> bool {
        self.classic.contains_key(group_id)
    }

    /// Lets a group handle something; UNKNOWN_MEMBER_ID where there is none.
    pub(crate) fn with_classic<T: FromOutcome>(
        &mut self,
        group_id: &str,
        turn: &Turn,
        fx: &mut Effects,
        handle: impl FnOnce(&mut ClassicGroup, &mut Env) -> T,
    ) -> T {
        let Some(group) = self.classic.get_mut(group_id) else { return T::unknown_member() };
        let mut env = Env { turn, config: &self.config, rng: &mut self.rng, timers: &mut self.timers, writes: &mut self.writes, fx };
        handle(group, &mut env)
    }

    pub(crate) fn create_classic(&mut self, group_id: &str, turn: &Turn) -> Result<(), ErrorCode> {
        if self.groups_count() >= self.config.groups_max {
            return Err(ErrorCode::CoordinatorNotAvailable);
        }
        let id: Arc<str> = Arc::from(group_id);
        self.classic.insert(id.clone(), ClassicGroup::new(id, turn.wall));
        Ok(())
    }

    pub(crate) fn groups_count(&self) -> usize {
        self.classic.len() + self.consumer.len()
    }

    /// An empty consumer group gives way to a classic one; offsets stay.
    fn remove_empty_consumer(&mut self, turn: &Turn, id: &str, fx: &mut Effects) {
        let Some((id, _)) = self.consumer.get_key_value(id) else { return };
        let id = id.clone();
        let state = self.hard.consumer(&id).cloned().unwrap_or_default();
        self.forget_consumer(&id);
        let records = Draft::new(id.clone(), state).remove_group();
        self.env(turn, fx).write(&id, records, Then::Nothing);
    }

    pub(crate) fn forget_classic(&mut self, group_id: &str) {
        if let Some(mut group) = self.classic.remove(group_id) {
            debug_assert_eq!(group.state(), State::Empty);
            let id = group.id().clone();
            self.timers.disarm(&id, group.armed());
        }
    }
}

/// What [`Coordinator::with_classic`] returns when the group is not there.
pub(crate) trait FromOutcome {
    fn unknown_member() -> Self;
}

impl<T> FromOutcome for Result<T, ErrorCode> {
    fn unknown_member() -> Self {
        Err(ErrorCode::UnknownMemberId)
    }
}

impl FromOutcome for () {
    fn unknown_member() {}
}

fn check_group_id(id: &str) -> Result<(), ErrorCode> {
    if id.is_empty() || id.len() > STRING_BYTES_MAX { Err(ErrorCode::InvalidGroupId) } else { Ok(()) }
}

/// Strings that end up in records must fit there.
fn check_strings<'a>(strings: impl IntoIterator<Item = &'a str>) -> Result<(), ErrorCode> {
    if strings.into_iter().any(|text| text.len() > STRING_BYTES_MAX) { Err(ErrorCode::InvalidRequest) } else { Ok(()) }
}
