//! Consumer groups (KIP-848).

use super::harness::*;
use crate::wire::messages::consumer_group_heartbeat_request::TopicPartitions;
use crate::wire::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, OffsetDeleteRequest};
use crate::wire::{ErrorCode, own};
use crate::{GroupsConfig, Reply, Token};
use odradek_base::{Rng, TopicId};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

type Partitions = BTreeSet<(TopicId, i32)>;

/// A client of the consumer protocol. It gives up at once what it is told to.
#[derive(Debug, Clone)]
struct Consumer {
    group: String,
    id: String,
    instance: Option<String>,
    epoch: i32,
    topics: Option<Vec<&'static str>>,
    regex: Option<&'static str>,
    has: Partitions,
}

impl Consumer {
    fn new(id: &str, topics: &[&'static str]) -> Self {
        Self {
            group: GROUP.to_owned(),
            id: id.to_owned(),
            instance: None,
            epoch: 0,
            topics: Some(topics.to_vec()),
            regex: None,
            has: Partitions::new(),
        }
    }

    fn owned(&self) -> Vec<TopicPartitions> {
        let mut topics: BTreeMap<TopicId, Vec<i32>> = BTreeMap::new();
        for &(topic, index) in &self.has {
            topics.entry(topic).or_default().push(index);
        }
        topics.into_iter().map(|(topic, list)| TopicPartitions::default().with_topic_id(topic.0).with_partitions(list)).collect()
    }

    /// A heartbeat that tells everything.
    fn request(&self) -> ConsumerGroupHeartbeatRequest {
        ConsumerGroupHeartbeatRequest::default()
            .with_group_id(own(&self.group).into())
            .with_member_id(own(&self.id))
            .with_member_epoch(self.epoch)
            .with_instance_id(self.instance.as_deref().map(own))
            .with_rebalance_timeout_ms(5_000)
            .with_subscribed_topic_names(self.topics.as_ref().map(|names| names.iter().map(|name| own(name).into()).collect()))
            .with_subscribed_topic_regex(self.regex.map(own))
            .with_topic_partitions(Some(self.owned()))
    }

    fn take(&mut self, reply: &ConsumerGroupHeartbeatResponse) {
        if reply.error_code != 0 {
            if ["FENCED_MEMBER_EPOCH", "UNKNOWN_MEMBER_ID"].contains(&error_name(reply.error_code)) {
                self.epoch = 0;
                self.has.clear();
            }
            return;
        }
        self.epoch = reply.member_epoch;
        if let Some(assignment) = &reply.assignment {
            let partitions = assignment.topic_partitions.iter();
            self.has = partitions.flat_map(|topic| topic.partitions.iter().map(|&index| (TopicId(topic.topic_id), index))).collect();
        }
    }

    fn beat(&mut self, h: &mut Harness) -> &'static str {
        let reply = h.consumer_beat(self.request(), 1);
        self.take(&reply);
        error_name(reply.error_code)
    }

    fn leave(&mut self, h: &mut Harness, epoch: i32) -> &'static str {
        let reply = h.consumer_beat(Consumer { epoch, ..self.clone() }.request(), 1);
        (self.epoch, self.has) = (0, Partitions::new());
        error_name(reply.error_code)
    }

    fn indexes(&self, topic: &str) -> Vec<i32> {
        self.has.iter().filter(|(id, _)| *id == topic_id(topic)).map(|(_, index)| *index).collect()
    }
}

impl Harness {
    fn send_consumer_beat(&mut self, request: ConsumerGroupHeartbeatRequest, version: i16) -> Token {
        let token = self.token();
        self.act(|c, turn, fx| c.consumer_group_heartbeat(turn, &context(version), request, token, fx));
        token
    }

    fn consumer_beaten(&mut self, token: Token) -> ConsumerGroupHeartbeatResponse {
        match self.reply(token) {
            Some(Reply::ConsumerGroupHeartbeat(reply)) => reply,
            other => panic!("no ConsumerGroupHeartbeat answer: {other:?}"),
        }
    }

    fn consumer_beat(&mut self, request: ConsumerGroupHeartbeatRequest, version: i16) -> ConsumerGroupHeartbeatResponse {
        let token = self.send_consumer_beat(request, version);
        self.consumer_beaten(token)
    }

    /// Everybody sends heartbeats until nothing changes.
    fn settle(&mut self, consumers: &mut [Consumer]) {
        for _ in 0..3 + 3 * consumers.len() {
            self.advance(Duration::from_millis(1_100));
            for consumer in consumers.iter_mut() {
                assert_eq!(consumer.beat(self), "NONE");
            }
        }
    }

    fn consumer_state(&mut self, group: &str) -> String {
        self.act(|c, turn, _| {
            let described = c.describe_consumer_group(turn, group, 1);
            format!(
                "{} {} {}/{}",
                error_name(described.error_code),
                &*described.group_state,
                described.group_epoch,
                described.assignment_epoch
            )
        })
    }

    fn change_topics(&mut self, name: &str, partitions: i32) {
        self.topics.insert(name.to_owned(), partitions);
        self.act(|c, turn, fx| c.on_topics_changed(turn, fx));
    }

    fn consumer_commit(&mut self, consumer: &Consumer, epoch: i32, topic: &str, partition: i32) -> &'static str {
        let token = self.send_commit(commit_request(&consumer.group, &consumer.id, epoch, topic, partition, 7), 9);
        self.committed(token)
    }
}

/// Leaves records of every kind in the log.
pub(super) fn records_of_a_consumer_group(h: &mut Harness) {
    let mut a = Consumer { group: "k".to_owned(), regex: Some("[tu]"), ..Consumer::new("a", &["t"]) };
    a.beat(h);
}

fn outcome(reply: &ConsumerGroupHeartbeatResponse) -> String {
    format!("{} epoch={} assigned={}", error_name(reply.error_code), reply.member_epoch, reply.assignment.is_some())
}

/// The `consumer-group-*` rows of the conformance table.
#[test]
fn first_heartbeats_are_answered_as_by_kafka() {
    let base = || Consumer::new("m", &["t"]).request();
    let owning = TopicPartitions::default().with_topic_id(uuid::Uuid::from_u128(1)).with_partitions(vec![0]);
    let rows = [
        ("join", base(), "NONE epoch=2 assigned=true"),
        ("bad assignor", base().with_server_assignor(Some(own("nope"))), "UNSUPPORTED_ASSIGNOR epoch=0 assigned=false"),
        ("range", base().with_server_assignor(Some(own("range"))), "NONE epoch=2 assigned=true"),
        ("no topics", base().with_subscribed_topic_names(None), "INVALID_REQUEST epoch=0 assigned=false"),
        ("empty topics", base().with_subscribed_topic_names(Some(vec![])), "NONE epoch=1 assigned=true"),
        (
            "bad regex",
            base().with_subscribed_topic_names(None).with_subscribed_topic_regex(Some(own("(["))),
            "INVALID_REGULAR_EXPRESSION epoch=0 assigned=false",
        ),
        ("no rebalance timeout", base().with_rebalance_timeout_ms(-1), "INVALID_REQUEST epoch=0 assigned=false"),
        ("owning", base().with_topic_partitions(Some(vec![owning])), "INVALID_REQUEST epoch=0 assigned=false"),
        ("unknown", base().with_member_epoch(5), "GROUP_ID_NOT_FOUND epoch=0 assigned=false"),
        ("empty instance", base().with_instance_id(Some(own(""))), "INVALID_REQUEST epoch=0 assigned=false"),
        ("empty rack", base().with_rack_id(Some(own(""))), "INVALID_REQUEST epoch=0 assigned=false"),
        ("empty member", base().with_member_id(own("")), "INVALID_REQUEST epoch=0 assigned=false"),
        ("static leave", base().with_member_epoch(-2), "INVALID_REQUEST epoch=0 assigned=false"),
        ("epoch", base().with_member_epoch(-3), "INVALID_REQUEST epoch=0 assigned=false"),
    ];
    for (name, request, expected) in rows {
        let mut h = Harness::new();
        let reply = h.consumer_beat(request, 1);
        assert_eq!(outcome(&reply), expected, "{name}");
        assert_eq!(h.log.is_empty(), reply.error_code != 0, "{name}: a refused member leaves nothing behind");
    }
    let mut h = Harness::new();
    let reply = h.consumer_beat(base().with_member_id(own("")), 0);
    assert!(reply.error_code == 0 && reply.member_id.is_some_and(|id| !id.is_empty()), "version 0 lets the coordinator choose");
}

#[test]
fn later_heartbeats_are_answered_as_by_kafka() {
    let short = |id: &str, epoch| {
        let request = ConsumerGroupHeartbeatRequest::default().with_group_id(own(GROUP).into()).with_rebalance_timeout_ms(-1);
        request.with_member_id(own(id)).with_member_epoch(epoch)
    };
    for (id, epoch, expected) in [
        ("m", 2, "NONE epoch=2 assigned=false"),
        ("m", 5, "FENCED_MEMBER_EPOCH epoch=0 assigned=false"),
        ("nope", 2, "UNKNOWN_MEMBER_ID epoch=0 assigned=false"),
        ("m", -1, "NONE epoch=-1 assigned=false"),
    ] {
        let mut h = Harness::new();
        assert_eq!(Consumer::new("m", &["t"]).beat(&mut h), "NONE");
        assert_eq!(outcome(&h.consumer_beat(short(id, epoch), 1)), expected);
    }
}

#[test]
fn an_instance_is_released_by_leaving_and_its_partitions_wait() {
    let mut h = Harness::new();
    let of = |id: &str| Consumer { instance: Some("i".to_owned()), ..Consumer::new(id, &["t"]) };
    let (mut a, mut b) = (of("m1"), of("m2"));
    assert_eq!(a.beat(&mut h), "NONE");
    assert_eq!(b.beat(&mut h), "UNRELEASED_INSTANCE_ID");
    let before = h.consumer_state(GROUP);
    assert_eq!(b.leave(&mut h, -2), "FENCED_INSTANCE_ID");
    assert_eq!(a.leave(&mut h, -2), "NONE");
    assert_eq!(b.beat(&mut h), "NONE");
    assert_eq!((b.epoch, b.indexes("t")), (2, vec![0, 1]));
    assert_eq!(h.consumer_state(GROUP), before, "nobody else had to move");
    a.epoch = 2;
    assert_eq!(a.beat(&mut h), "FENCED_INSTANCE_ID");
    h.restart();
    assert_eq!(b.beat(&mut h), "NONE");
    // One that does not come back is out after its session.
    assert_eq!(b.leave(&mut h, -2), "NONE");
    h.advance(Duration::from_secs(46));
    assert_eq!(h.consumer_state(GROUP), "NONE Empty 3/2");
}

#[test]
fn partitions_are_given_up_before_they_are_taken_over() {
    let mut h = Harness::new();
    let (mut a, mut b) = (Consumer::new("a", &["u"]), Consumer::new("b", &["u"]));
    a.beat(&mut h);
    assert_eq!((a.epoch, a.indexes("u")), (2, vec![0, 1, 2, 3]));
    h.advance(Duration::from_secs(2));
    b.beat(&mut h);
    assert_eq!((b.epoch, b.indexes("u").len()), (3, 0), "they are not free yet");
    assert_eq!(h.consumer_state(GROUP), "NONE Reconciling 3/3");
    let holding = a.has.clone();
    a.beat(&mut h);
    assert_eq!((a.epoch, a.indexes("u").len()), (2, 2));
    b.beat(&mut h);
    assert_eq!(b.indexes("u").len(), 0, "told, but not given up");
    // Still holding all of them changes nothing.
    let reply = h.consumer_beat(Consumer { has: holding, ..a.clone() }.request(), 1);
    assert_eq!(reply.member_epoch, 2);
    a.beat(&mut h);
    assert_eq!(a.epoch, 3);
    b.beat(&mut h);
    assert_eq!(b.indexes("u").len(), 2);
    assert!(a.has.is_disjoint(&b.has));
    assert_eq!(h.consumer_state(GROUP), "NONE Stable 3/3");
}

#[test]
fn assignments_keep_their_distance() {
    let mut h = Harness::new();
    let (mut a, mut b) = (Consumer::new("a", &["t"]), Consumer::new("b", &["t"]));
    a.beat(&mut h);
    b.beat(&mut h);
    assert_eq!(h.consumer_state(GROUP), "NONE Assigning 3/2", "group.consumer.assignment.interval.ms");
    h.settle(&mut [a, b]);
    assert_eq!(h.consumer_state(GROUP), "NONE Stable 3/3");
}

#[test]
fn silent_and_slow_members_are_out() {
    let mut h = Harness::new();
    let (mut a, mut b) = (Consumer::new("a", &["u"]), Consumer::new("b", &["u"]));
    a.beat(&mut h);
    h.advance(Duration::from_secs(2));
    b.beat(&mut h);
    let stubborn = Consumer { has: a.has.clone(), ..a.clone() };
    a.beat(&mut h);
    for _ in 0..3 {
        h.advance(Duration::from_secs(2));
        h.consumer_beat(stubborn.request(), 1);
    }
    assert_eq!(error_name(h.consumer_beat(stubborn.request(), 1).error_code), "UNKNOWN_MEMBER_ID", "the rebalance timeout");
    assert_eq!(b.beat(&mut h), "NONE");
    assert_eq!(b.indexes("u").len(), 4);
    h.advance(Duration::from_secs(44));
    assert_eq!(b.beat(&mut h), "NONE");
    h.advance(Duration::from_secs(46));
    assert_eq!(b.beat(&mut h), "UNKNOWN_MEMBER_ID", "the session timeout");
    assert!(h.consumer_state(GROUP).starts_with("NONE Empty"));
}

#[test]
fn a_lost_answer_is_given_again() {
    let mut h = Harness::new();
    let mut a = Consumer::new("a", &["t"]);
    a.beat(&mut h);
    let before = a.clone();
    h.advance(Duration::from_secs(2));
    a.topics = Some(vec!["t", "u"]);
    a.beat(&mut h);
    assert_eq!((a.epoch, a.has.len()), (3, 6));
    let mut again = Consumer { topics: a.topics.clone(), ..before.clone() };
    assert_eq!(again.beat(&mut h), "NONE");
    assert_eq!((again.epoch, again.has.len()), (3, 6));
    h.advance(Duration::from_secs(2));
    a.topics = Some(vec!["t"]);
    a.beat(&mut h);
    a.beat(&mut h);
    assert_eq!((a.epoch, a.has.len()), (4, 2));
    assert_eq!(Consumer { has: before.has, ..before }.beat(&mut h), "FENCED_MEMBER_EPOCH", "that was too long ago");
}

#[test]
fn topics_that_change_bump_the_epoch() {
    let mut h = Harness::new();
    let mut a = Consumer::new("a", &["t", "later"]);
    a.beat(&mut h);
    assert_eq!((a.epoch, a.has.len()), (2, 2));
    h.advance(Duration::from_secs(2));
    h.change_topics("other", 3);
    a.beat(&mut h);
    assert_eq!(a.epoch, 2, "not its topic");
    h.change_topics("t", 3);
    a.beat(&mut h);
    assert_eq!((a.epoch, a.indexes("t")), (3, vec![0, 1, 2]));
    h.advance(Duration::from_secs(2));
    h.change_topics("later", 1);
    a.beat(&mut h);
    assert_eq!((a.epoch, a.indexes("later")), (4, vec![0]));
    h.advance(Duration::from_secs(2));
    h.topics.remove("t");
    h.change_topics("other", 4);
    a.beat(&mut h);
    a.beat(&mut h);
    assert_eq!((a.epoch, a.has.len()), (5, 1));
    h.restart();
    a.beat(&mut h);
    assert_eq!(a.epoch, 5, "a restart changes nothing");
}

#[test]
fn expressions_follow_the_topics() {
    let mut h = Harness::new();
    let mut a = Consumer { topics: None, regex: Some("x.*"), ..Consumer::new("a", &[]) };
    a.beat(&mut h);
    assert_eq!((a.epoch, a.has.len()), (2, 0));
    h.advance(Duration::from_secs(2));
    h.change_topics("x1", 2);
    a.beat(&mut h);
    assert_eq!((a.epoch, a.indexes("x1")), (3, vec![0, 1]));
    h.restart();
    h.advance(Duration::from_secs(2));
    a.regex = Some("u");
    a.beat(&mut h);
    a.beat(&mut h);
    assert_eq!((a.epoch, a.indexes("u").len(), a.has.len()), (4, 4, 4));
    let long = Consumer { id: "b".to_owned(), epoch: 0, has: Partitions::new(), ..a.clone() };
    let reply = h.consumer_beat(long.request().with_subscribed_topic_regex(Some(own(&"x".repeat(5_000)))), 1);
    assert_eq!(error_name(reply.error_code), "INVALID_REGULAR_EXPRESSION");
    assert_eq!(a.leave(&mut h, -1), "NONE");
    let state = h.coordinator.hard.consumer(GROUP).unwrap();
    assert!(state.regexes.is_empty() && state.members.is_empty() && state.targets.is_empty());
}

#[test]
fn offsets_are_fenced_by_the_epoch() {
    let mut h = Harness::new();
    let mut a = Consumer::new("a", &["t"]);
    a.beat(&mut h);
    assert_eq!(h.consumer_commit(&a, 2, "t", 0), "NONE");
    assert_eq!(h.consumer_commit(&a, 3, "t", 0), "STALE_MEMBER_EPOCH");
    assert_eq!(h.consumer_commit(&a, 1, "t", 0), "STALE_MEMBER_EPOCH");
    assert_eq!(h.simple_commit(GROUP, "t", 0, 1), "UNKNOWN_MEMBER_ID");
    h.advance(Duration::from_secs(2));
    a.topics = Some(vec!["t", "u"]);
    a.beat(&mut h);
    assert_eq!(a.epoch, 3);
    assert_eq!(h.consumer_commit(&a, 2, "t", 0), "NONE", "it has had the partition since then");
    assert_eq!(h.consumer_commit(&a, 2, "u", 0), "STALE_MEMBER_EPOCH");
    let fetch = |h: &mut Harness, member: Option<&str>, epoch| {
        let request = crate::wire::messages::offset_fetch_request::OffsetFetchRequestGroup::default().with_group_id(own(GROUP).into());
        let request = request.with_member_id(member.map(own)).with_member_epoch(epoch);
        error_name(h.act(|c, turn, _| c.fetch_offsets(turn, &request, false, 9)).error_code)
    };
    assert_eq!(fetch(&mut h, None, -1), "NONE");
    assert_eq!(fetch(&mut h, Some("a"), 3), "NONE");
    assert_eq!(fetch(&mut h, Some("a"), 2), "STALE_MEMBER_EPOCH");
    assert_eq!(fetch(&mut h, Some("b"), 2), "UNKNOWN_MEMBER_ID");
    let delete = OffsetDeleteRequest::default().with_group_id(own(GROUP).into()).with_topics(vec![
        crate::wire::messages::offset_delete_request::OffsetDeleteRequestTopic::default().with_name(own("t").into()).with_partitions(vec![
            crate::wire::messages::offset_delete_request::OffsetDeleteRequestPartition::default().with_partition_index(0),
        ]),
    ]);
    let token = h.token();
    h.act(|c, turn, fx| c.offset_delete(turn, &context(0), delete, token, fx));
    match h.reply(token) {
        Some(Reply::OffsetDelete(reply)) => {
            assert_eq!(error_name(reply.topics[0].partitions[0].error_code), "GROUP_SUBSCRIBED_TO_TOPIC");
        }
        other => panic!("{other:?}"),
    }
}

/// `classic-join-on-consumer-group` and `consumer-group-on-active-classic-group`.
#[test]
fn the_protocols_do_not_mix_while_members_live() {
    let mut h = Harness::new();
    let mut a = Consumer::new("m1", &["t"]);
    a.beat(&mut h);
    let reply = h.join(Member { protocol_type: "connect", ..Member::new(GROUP) }.request(), 5);
    assert_eq!(error_name(reply.error_code), "INCONSISTENT_GROUP_PROTOCOL");
    assert_eq!(h.beat(GROUP, "m1", None, 1), "UNKNOWN_MEMBER_ID");
    let described = h.coordinator.describe_group(GROUP, 6);
    assert_eq!(error_name(described.error_code), "GROUP_ID_NOT_FOUND");

    h.member("classic");
    let mut b = Consumer { group: "classic".to_owned(), ..Consumer::new("b", &["t"]) };
    assert_eq!(b.beat(&mut h), "GROUP_ID_NOT_FOUND");
    assert_eq!(h.consumer_state("classic"), "GROUP_ID_NOT_FOUND  0/0");
}

#[test]
fn empty_groups_change_and_keep_their_offsets() {
    let mut h = Harness::new();
    let member = h.member(GROUP);
    member.commit(&mut h, "t", 5);
    member.leave(&mut h);
    let mut a = Consumer::new("a", &["t"]);
    assert_eq!(a.beat(&mut h), "NONE");
    assert_eq!(h.offset(GROUP, "t", 0), 5);
    assert!(h.coordinator.hard.classic_metadata(GROUP).is_none());
    let listed = h.coordinator.list_groups(&Default::default());
    let listed: Vec<_> = listed.iter().map(|g| format!("{} {} {}", &**g.group_id, &*g.group_type, &*g.group_state)).collect();
    assert_eq!(listed, ["g consumer Stable"]);
    assert_eq!(h.delete_group(GROUP), "NON_EMPTY_GROUP");
    a.leave(&mut h, -1);
    let member = h.member(GROUP);
    assert_eq!((h.state(GROUP), h.offset(GROUP, "t", 0)), ("Stable".to_owned(), 5));
    assert!(h.coordinator.hard.consumer(GROUP).is_none());
    h.restart();
    assert_eq!(member.beat(&mut h), "NONE");

    let mut b = Consumer { group: "h".to_owned(), ..Consumer::new("b", &["t"]) };
    b.beat(&mut h);
    h.consumer_commit(&b, 2, "t", 0);
    b.leave(&mut h, -1);
    assert_eq!(h.delete_group("h"), "NONE");
    assert_eq!((h.delete_group("h"), h.offset("h", "t", 0)), ("GROUP_ID_NOT_FOUND", -1));
    assert!(h.coordinator.hard.consumer("h").is_none());
}

#[test]
fn heartbeats_behind_a_write_wait_and_a_failed_one_undoes_nothing() {
    let mut h = Harness::with(GroupsConfig { waiting_requests_max: 1, ..GroupsConfig::default() });
    h.auto_commit = false;
    let (a, b, c) = (Consumer::new("a", &["u"]), Consumer::new("b", &["u"]), Consumer::new("c", &["u"]));
    let first = h.send_consumer_beat(a.request(), 1);
    let second = h.send_consumer_beat(b.request(), 1);
    let third = h.consumer_beat(c.request(), 1);
    assert_eq!(third.error_code, ErrorCode::CoordinatorLoadInProgress.code(), "the line is full");
    assert!(h.replies.is_empty());
    h.fail_write(ErrorCode::NotEnoughReplicas);
    assert_eq!(error_name(h.consumer_beaten(first).error_code), "COORDINATOR_NOT_AVAILABLE");
    h.commit_write();
    assert_eq!(outcome(&h.consumer_beaten(second)), "NONE epoch=2 assigned=true");
    assert!(h.coordinator.hard.consumer(GROUP).unwrap().members.contains_key("b"));
    // A member that should be out stays until that is written.
    h.advance(Duration::from_secs(46));
    h.fail_write(ErrorCode::NotEnoughReplicas);
    assert_eq!(h.uncommitted.len(), 0);
    h.advance(Duration::from_secs(2));
    h.commit_writes();
    assert!(h.consumer_state(GROUP).starts_with("NONE Empty"));
}

#[test]
fn groups_have_a_size() {
    let mut h = Harness::with(GroupsConfig { consumer_members_max: 1, ..GroupsConfig::default() });
    assert_eq!(Consumer::new("a", &["t"]).beat(&mut h), "NONE");
    assert_eq!(Consumer::new("b", &["t"]).beat(&mut h), "GROUP_MAX_SIZE_REACHED");
}

/// Members come, go, hang and lose answers; topics grow; writes fail; the coordinator restarts.
#[test]
fn random_histories_never_give_a_partition_to_two() {
    let mut stable = 0;
    for seed in 0..40 {
        let mut rng = Rng::with_seed(seed);
        let mut h = Harness::new();
        let mut consumers: Vec<Consumer> = (0..5)
            .map(|i| Consumer {
                instance: (i == 0).then(|| "instance".to_owned()),
                regex: (i == 1).then_some("[tx].*"),
                ..Consumer::new(&format!("m{i}"), [&["t", "u"][..], &["u"], &["t"]][i % 3])
            })
            .collect();
        for step in 0..150 {
            let at = rng.below(5) as usize;
            match rng.below(20) {
                0 => drop(consumers[at].leave(&mut h, if at == 0 { -2 } else { -1 })),
                1 => consumers[at].epoch = 0,
                2 => h.advance(Duration::from_secs(rng.below(30))),
                3 => h.change_topics("u", 4 + step / 30),
                4 => h.restart(),
                5 => {
                    h.auto_commit = false;
                    let token = h.send_consumer_beat(consumers[at].request(), 1);
                    if !h.uncommitted.is_empty() {
                        h.fail_write(ErrorCode::KafkaStorageError);
                    }
                    h.commit_writes();
                    h.auto_commit = true;
                    assert!(h.reply(token).is_some());
                }
                6 => drop(h.consumer_beat(consumers[at].request(), 1)),
                _ => {
                    if consumers[at].epoch == 0 {
                        consumers[at].has.clear();
                    }
                    consumers[at].beat(&mut h);
                    h.advance(Duration::from_millis(300));
                }
            }
            let state = h.coordinator.hard.consumer(GROUP);
            let mut seen = BTreeSet::new();
            for member in state.iter().flat_map(|state| state.members.values()) {
                for (topic, indexes) in member.current.assigned.iter().chain(&member.current.revoking) {
                    indexes.keys().for_each(|index| assert!(seen.insert((*topic, *index)), "seed {seed}: two owners"));
                }
            }
            assert_eq!(h.reloaded().hard, h.coordinator.hard, "a reload finds the live state");
        }
        // In the end the living share everything.
        h.advance(Duration::from_secs(60));
        for consumer in &mut consumers {
            (consumer.epoch, consumer.has) = (0, Partitions::new());
        }
        h.settle(&mut consumers);
        let state = h.consumer_state(GROUP);
        assert!(state.starts_with("NONE Stable"), "seed {seed}: {state}");
        let all: Partitions = consumers.iter().flat_map(|consumer| consumer.has.clone()).collect();
        assert_eq!(all.len(), consumers.iter().map(|consumer| consumer.has.len()).sum::<usize>());
        assert_eq!(all.len(), (h.topics["t"] + h.topics["u"]) as usize, "seed {seed}");
        stable += 1;
    }
    assert_eq!(stable, 40);
}
