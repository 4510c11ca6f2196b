//! The other party: clients, a log that commits when told to, and a clock that moves when told to.

use crate::wire::messages::join_group_request::JoinGroupRequestProtocol;
use crate::wire::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use crate::wire::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use crate::wire::messages::sync_group_request::SyncGroupRequestAssignment;
use crate::wire::messages::*;
use crate::wire::{ErrorCode, StrBytes, own};
use crate::*;
use bytes::Bytes;
use odradek_base::{Instant, Rng, Timestamp, TopicId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

pub(crate) const START_MS: i64 = 1_700_000_000_000;
pub(crate) const GROUP: &str = "g";

pub(crate) struct Harness {
    pub(crate) coordinator: Coordinator,
    pub(crate) config: GroupsConfig,
    pub(crate) now: Instant,
    /// Every record that committed, in order.
    pub(crate) log: Vec<CoordinatorRecord>,
    /// Writes that wait for [`Harness::commit_writes`].
    pub(crate) uncommitted: VecDeque<Write>,
    /// Commit writes as soon as they appear.
    pub(crate) auto_commit: bool,
    pub(crate) replies: BTreeMap<Token, Reply>,
    pub(crate) topics: BTreeMap<String, i32>,
    next_token: u64,
    answered: BTreeSet<Token>,
}

impl Harness {
    pub(crate) fn new() -> Self {
        Self::with(GroupsConfig { initial_rebalance_delay: Duration::ZERO, ..GroupsConfig::default() })
    }

    pub(crate) fn with(config: GroupsConfig) -> Self {
        let mut harness = Self {
            coordinator: Coordinator::new(config.clone(), Rng::with_seed(1)),
            config,
            now: Instant(1_000_000),
            log: Vec::new(),
            uncommitted: VecDeque::new(),
            auto_commit: true,
            replies: BTreeMap::new(),
            topics: [("t".to_owned(), 2), ("u".to_owned(), 4)].into(),
            next_token: 0,
            answered: BTreeSet::new(),
        };
        harness.act(|c, turn, fx| c.loaded(turn, fx));
        harness
    }

    pub(crate) fn wall(&self) -> Timestamp {
        Timestamp(START_MS + (self.now.0 / 1_000_000) as i64)
    }

    /// One call into the coordinator, with everything it asks for done afterwards.
    pub(crate) fn act<T>(&mut self, call: impl FnOnce(&mut Coordinator, &Turn, &mut Effects) -> T) -> T {
        let mut fx = Effects::default();
        let result = self.call(&mut fx, call);
        self.take(fx);
        while self.auto_commit && !self.uncommitted.is_empty() {
            self.commit_write();
        }
        result
    }

    fn call<T>(&mut self, fx: &mut Effects, call: impl FnOnce(&mut Coordinator, &Turn, &mut Effects) -> T) -> T {
        let wall = self.wall();
        let topics = &self.topics;
        let by_name = |name: &str| topics.get(name).map(|&partitions| TopicInfo { id: topic_id(name), partitions });
        let by_id = |id: TopicId| topics.keys().find(|name| topic_id(name) == id).map(|name| own(name));
        let each_name = |f: &mut dyn FnMut(&str)| topics.keys().for_each(|name| f(name));
        let topics = Topics { by_name: &by_name, by_id: &by_id, each_name: &each_name, version: 1 };
        let turn = Turn { now: self.now, wall, topics };
        call(&mut self.coordinator, &turn, fx)
    }

    fn take(&mut self, fx: Effects) {
        self.uncommitted.extend(fx.writes);
        for (token, reply) in fx.replies {
            assert!(token.0 < self.next_token, "an answer to nobody");
            assert!(self.answered.insert(token), "{token:?} answered twice");
            self.replies.insert(token, reply);
        }
    }

    /// Commits the oldest write.
    pub(crate) fn commit_write(&mut self) {
        let write = self.uncommitted.pop_front().expect("a write to commit");
        self.log.extend(write.records.iter().cloned());
        let mut fx = Effects::default();
        self.call(&mut fx, |c, turn, fx| c.committed(turn, write.id, fx));
        self.take(fx);
    }

    pub(crate) fn fail_write(&mut self, error: ErrorCode) {
        let write = self.uncommitted.pop_front().expect("a write to fail");
        let mut fx = Effects::default();
        self.call(&mut fx, |c, turn, fx| c.failed(turn, write.id, error, fx));
        self.take(fx);
    }

    pub(crate) fn commit_writes(&mut self) {
        while !self.uncommitted.is_empty() {
            self.commit_write();
        }
    }

    /// Lets time pass, waking the coordinator whenever it asked for it.
    pub(crate) fn advance(&mut self, by: Duration) {
        let end = self.now + by;
        let mut calls = 0;
        while let Some(at) = self.coordinator.deadline().filter(|&at| at <= end) {
            self.now = self.now.max(at);
            self.act(|c, turn, fx| c.on_deadline(turn, fx));
            calls += 1;
            assert!(calls < 100_000, "deadlines that never end");
        }
        self.now = end;
    }

    /// A coordinator that only has the log: what a restart would find.
    pub(crate) fn reloaded(&self) -> Coordinator {
        let mut coordinator = Coordinator::new(self.config.clone(), Rng::with_seed(2));
        for record in &self.log {
            coordinator.replay(&record.key, record.value.as_deref()).unwrap();
        }
        coordinator
    }

    /// Replaces the coordinator by one that only has the log.
    pub(crate) fn restart(&mut self) {
        self.coordinator = self.reloaded();
        self.uncommitted.clear();
        self.act(|c, turn, fx| c.loaded(turn, fx));
    }

    pub(crate) fn token(&mut self) -> Token {
        self.next_token += 1;
        Token(self.next_token - 1)
    }

    /// The reply to a request, if it is there.
    pub(crate) fn reply(&mut self, token: Token) -> Option<Reply> {
        self.replies.remove(&token)
    }

    // ---- requests

    pub(crate) fn send_join(&mut self, request: JoinGroupRequest, version: i16) -> Token {
        let token = self.token();
        self.act(|c, turn, fx| c.join(turn, &context(version), request, token, fx));
        token
    }

    pub(crate) fn joined(&mut self, token: Token) -> JoinGroupResponse {
        match self.reply(token) {
            Some(Reply::JoinGroup(reply)) => reply,
            other => panic!("no JoinGroup answer: {other:?}"),
        }
    }

    pub(crate) fn join(&mut self, request: JoinGroupRequest, version: i16) -> JoinGroupResponse {
        let token = self.send_join(request, version);
        self.joined(token)
    }

    pub(crate) fn send_sync(&mut self, request: SyncGroupRequest) -> Token {
        let token = self.token();
        self.act(|c, turn, fx| c.sync(turn, &context(5), request, token, fx));
        token
    }

    pub(crate) fn synced(&mut self, token: Token) -> SyncGroupResponse {
        match self.reply(token) {
            Some(Reply::SyncGroup(reply)) => reply,
            other => panic!("no SyncGroup answer: {other:?}"),
        }
    }

    pub(crate) fn beat(&mut self, group: &str, member: &str, instance: Option<&str>, generation: i32) -> &'static str {
        let request = HeartbeatRequest::default()
            .with_group_id(own(group).into())
            .with_member_id(own(member))
            .with_group_instance_id(instance.map(own))
            .with_generation_id(generation);
        let token = self.token();
        self.act(|c, turn, fx| c.heartbeat(turn, &context(4), request, token, fx));
        match self.reply(token) {
            Some(Reply::Heartbeat(reply)) => error_name(reply.error_code),
            other => panic!("no Heartbeat answer: {other:?}"),
        }
    }

    pub(crate) fn leave(&mut self, group: &str, members: &[(&str, Option<&str>)]) -> String {
        let members = members.iter().map(|(id, instance)| {
            leave_group_request::MemberIdentity::default().with_member_id(own(id)).with_group_instance_id(instance.map(own))
        });
        let request = LeaveGroupRequest::default().with_group_id(own(group).into()).with_members(members.collect());
        let token = self.token();
        self.act(|c, turn, fx| c.leave(turn, &context(4), request, token, fx));
        match self.reply(token) {
            Some(Reply::LeaveGroup(reply)) => {
                let members: Vec<_> = reply.members.iter().map(|member| error_name(member.error_code)).collect();
                format!("{} {members:?}", error_name(reply.error_code)).replace('"', "'")
            }
            other => panic!("no LeaveGroup answer: {other:?}"),
        }
    }

    pub(crate) fn send_commit(&mut self, request: OffsetCommitRequest, version: i16) -> Token {
        let token = self.token();
        self.act(|c, turn, fx| c.offset_commit(turn, &context(version), request, token, fx));
        token
    }

    pub(crate) fn committed(&mut self, token: Token) -> &'static str {
        match self.reply(token) {
            Some(Reply::OffsetCommit(reply)) => error_name(reply.topics[0].partitions[0].error_code),
            other => panic!("no OffsetCommit answer: {other:?}"),
        }
    }

    pub(crate) fn commit(&mut self, request: OffsetCommitRequest) -> &'static str {
        let token = self.send_commit(request, 8);
        self.committed(token)
    }

    /// Commits without a member.
    pub(crate) fn simple_commit(&mut self, group: &str, topic: &str, partition: i32, offset: i64) -> &'static str {
        self.commit(commit_request(group, "", -1, topic, partition, offset))
    }

    /// The committed offset of a partition; -1: none.
    pub(crate) fn offset(&mut self, group: &str, topic: &str, partition: i32) -> i64 {
        let topics = vec![OffsetFetchRequestTopics::default().with_name(own(topic).into()).with_partition_indexes(vec![partition])];
        let request = OffsetFetchRequestGroup::default().with_group_id(own(group).into()).with_topics(Some(topics));
        let response = self.act(|c, turn, _| c.fetch_offsets(turn, &request, false, 8));
        assert_eq!(response.error_code, 0);
        response.topics[0].partitions[0].committed_offset
    }

    pub(crate) fn delete_group(&mut self, group: &str) -> &'static str {
        let token = self.token();
        self.act(|c, turn, fx| c.delete_group(turn, group, token, fx));
        match self.reply(token) {
            Some(Reply::DeleteGroup(Ok(()))) => "NONE",
            Some(Reply::DeleteGroup(Err(error))) => error_name(error.code()),
            other => panic!("no DeleteGroup answer: {other:?}"),
        }
    }

    pub(crate) fn state(&self, group: &str) -> String {
        self.coordinator.describe_group(group, 5).group_state.to_string()
    }

    // ---- members

    /// A member that has joined and synced alone, as leader.
    pub(crate) fn member(&mut self, group: &str) -> Member {
        let mut member = Member::new(group);
        let reply = member.join(self);
        assert_eq!(error_name(reply.error_code), "NONE");
        assert_eq!(member.sync(self), "NONE");
        member
    }

    pub(crate) fn static_member(&mut self, group: &str, instance: &str) -> Member {
        let mut member = Member { instance: Some(instance.to_owned()), ..Member::new(group) };
        member.join(self);
        assert_eq!(member.sync(self), "NONE");
        member
    }
}

/// A client of the classic protocol.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) group: String,
    pub(crate) id: String,
    pub(crate) instance: Option<String>,
    pub(crate) generation: i32,
    pub(crate) leader: String,
    pub(crate) protocols: Vec<&'static str>,
    pub(crate) protocol_type: &'static str,
    pub(crate) topics: Vec<&'static str>,
    pub(crate) session_ms: i32,
    pub(crate) rebalance_ms: i32,
}

impl Member {
    pub(crate) fn new(group: &str) -> Self {
        Self {
            group: group.to_owned(),
            id: String::new(),
            instance: None,
            generation: -1,
            leader: String::new(),
            protocols: vec!["range"],
            protocol_type: "consumer",
            topics: vec![],
            session_ms: 10_000,
            rebalance_ms: 3_000,
        }
    }

    pub(crate) fn request(&self) -> JoinGroupRequest {
        let protocols = self
            .protocols
            .iter()
            .map(|name| JoinGroupRequestProtocol::default().with_name(own(name)).with_metadata(subscription(&self.topics)));
        JoinGroupRequest::default()
            .with_group_id(own(&self.group).into())
            .with_member_id(own(&self.id))
            .with_group_instance_id(self.instance.as_deref().map(own))
            .with_session_timeout_ms(self.session_ms)
            .with_rebalance_timeout_ms(self.rebalance_ms)
            .with_protocol_type(own(self.protocol_type))
            .with_protocols(protocols.collect())
    }

    /// Asks for a member id if needed and sends the JoinGroup that waits.
    pub(crate) fn send_join(&mut self, harness: &mut Harness) -> Token {
        if self.id.is_empty() && self.instance.is_none() {
            let reply = harness.join(self.request(), 7);
            assert_eq!(error_name(reply.error_code), "MEMBER_ID_REQUIRED");
            self.id = reply.member_id.to_string();
        }
        harness.send_join(self.request(), 7)
    }

    pub(crate) fn take(&mut self, reply: &JoinGroupResponse) {
        if reply.error_code == 0 {
            self.id = reply.member_id.to_string();
            self.generation = reply.generation_id;
            self.leader = reply.leader.to_string();
        }
    }

    /// Joins when the answer comes at once.
    pub(crate) fn join(&mut self, harness: &mut Harness) -> JoinGroupResponse {
        let token = self.send_join(harness);
        let reply = harness.joined(token);
        self.take(&reply);
        reply
    }

    pub(crate) fn sync_request(&self, assignments: &[(&str, &'static [u8])]) -> SyncGroupRequest {
        let assignments = assignments.iter().map(|(member, share)| {
            SyncGroupRequestAssignment::default().with_member_id(own(member)).with_assignment(Bytes::from_static(share))
        });
        SyncGroupRequest::default()
            .with_group_id(own(&self.group).into())
            .with_generation_id(self.generation)
            .with_member_id(own(&self.id))
            .with_group_instance_id(self.instance.as_deref().map(own))
            .with_protocol_type(Some(own(self.protocol_type)))
            .with_protocol_name(Some(own(self.protocols[0])))
            .with_assignments(assignments.collect())
    }

    pub(crate) fn sync(&self, harness: &mut Harness) -> &'static str {
        let token = harness.send_sync(self.sync_request(&[(&self.id, b"abc")]));
        error_name(harness.synced(token).error_code)
    }

    pub(crate) fn beat(&self, harness: &mut Harness) -> &'static str {
        harness.beat(&self.group, &self.id, self.instance.as_deref(), self.generation)
    }

    pub(crate) fn commit_request(&self, topic: &str, partition: i32, offset: i64) -> OffsetCommitRequest {
        commit_request(&self.group, &self.id, self.generation, topic, partition, offset)
            .with_group_instance_id(self.instance.as_deref().map(own))
    }

    pub(crate) fn commit(&self, harness: &mut Harness, topic: &str, offset: i64) -> &'static str {
        harness.commit(self.commit_request(topic, 0, offset))
    }

    pub(crate) fn leave(&self, harness: &mut Harness) -> String {
        harness.leave(&self.group, &[(&self.id, self.instance.as_deref())])
    }
}

pub(crate) fn context(api_version: i16) -> RequestContext {
    RequestContext { client_id: StrBytes::from_static_str("client"), client_host: StrBytes::from_static_str("/127.0.0.1"), api_version }
}

pub(crate) fn commit_request(group: &str, member: &str, generation: i32, topic: &str, partition: i32, offset: i64) -> OffsetCommitRequest {
    let partition = OffsetCommitRequestPartition::default()
        .with_partition_index(partition)
        .with_committed_offset(offset)
        .with_committed_metadata(Some(own("")));
    let topic = OffsetCommitRequestTopic::default().with_name(own(topic).into()).with_partitions(vec![partition]);
    OffsetCommitRequest::default()
        .with_group_id(own(group).into())
        .with_member_id(own(member))
        .with_generation_id_or_member_epoch(generation)
        .with_topics(vec![topic])
}

/// A consumer's subscription, version 0.
pub(crate) fn subscription(topics: &[&str]) -> Bytes {
    let mut writer = odradek_wire::fields::Writer::default();
    writer.i16(0);
    writer.count(topics.len());
    for topic in topics {
        writer.string(topic);
    }
    writer.i32(-1);
    writer.finish()
}

pub(crate) fn topic_id(name: &str) -> TopicId {
    TopicId(uuid::Uuid::from_u128(name.bytes().fold(7, |sum, byte| sum * 256 + u128::from(byte))))
}

/// Kafka's name of the error codes that occur here.
pub(crate) fn error_name(code: i16) -> &'static str {
    match code {
        0 => "NONE",
        3 => "UNKNOWN_TOPIC_OR_PARTITION",
        14 => "COORDINATOR_LOAD_IN_PROGRESS",
        12 => "OFFSET_METADATA_TOO_LARGE",
        15 => "COORDINATOR_NOT_AVAILABLE",
        16 => "NOT_COORDINATOR",
        22 => "ILLEGAL_GENERATION",
        23 => "INCONSISTENT_GROUP_PROTOCOL",
        24 => "INVALID_GROUP_ID",
        25 => "UNKNOWN_MEMBER_ID",
        26 => "INVALID_SESSION_TIMEOUT",
        27 => "REBALANCE_IN_PROGRESS",
        28 => "INVALID_COMMIT_OFFSET_SIZE",
        42 => "INVALID_REQUEST",
        68 => "NON_EMPTY_GROUP",
        69 => "GROUP_ID_NOT_FOUND",
        79 => "MEMBER_ID_REQUIRED",
        81 => "GROUP_MAX_SIZE_REACHED",
        82 => "FENCED_INSTANCE_ID",
        86 => "GROUP_SUBSCRIBED_TO_TOPIC",
        88 => "UNSTABLE_OFFSET_COMMIT",
        100 => "UNKNOWN_TOPIC_ID",
        110 => "FENCED_MEMBER_EPOCH",
        111 => "UNRELEASED_INSTANCE_ID",
        112 => "UNSUPPORTED_ASSIGNOR",
        113 => "STALE_MEMBER_EPOCH",
        128 => "INVALID_REGULAR_EXPRESSION",
        _ => panic!("unexpected error code {code}"),
    }
}
