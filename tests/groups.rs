//! Classic consumer groups over the wire, in both advertise modes.

mod support;

use bytes::Bytes;
use odradek_client::admin::NewTopic;
use odradek_client::consumer::{CommittedOffset, OffsetReset};
use odradek_client::{Cluster, Connection, Consumer, ConsumerConfig, text};
use odradek_wire::ErrorCode;
use odradek_wire::messages::join_group_request::JoinGroupRequestProtocol;
use odradek_wire::messages::leave_group_request::MemberIdentity;
use odradek_wire::messages::sync_group_request::SyncGroupRequestAssignment;
use odradek_wire::messages::{
    GroupId, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, OffsetCommitRequest, SyncGroupRequest,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::records::{batch, produce_ok};
use support::{Mode, TestBroker, code, code_of, eventually};

both_modes!(
    two_and_three_members_share_the_partitions,
    a_group_resumes_where_it_committed_after_a_restart,
    members_and_generation_outlive_a_restart,
    commits_without_members_and_admin_calls,
    groups_of_all_coordinators_are_listed,
    commits_of_strangers_are_refused,
    a_member_that_falls_silent_is_replaced,
    a_static_member_returns_to_its_place,
    a_new_member_starts_a_rebalance,
);

const TOPIC: &str = "t";

fn start_with(mode: Mode, partitions: i32, settings: &[&str]) -> TestBroker {
    let broker = TestBroker::start_with(mode, settings);
    let topic = NewTopic { name: TOPIC.to_owned(), partitions: Some(partitions), ..NewTopic::default() };
    broker.cluster().admin().create_topic(&topic, false).expect("created");
    broker
}

fn start(mode: Mode, partitions: i32) -> TestBroker {
    start_with(mode, partitions, &[])
}

fn consumer_config(group: &str) -> ConsumerConfig {
    ConsumerConfig {
        group: Some(group.to_owned()),
        heartbeat_interval: Duration::from_millis(50),
        session_timeout: Duration::from_secs(30),
        max_poll_interval: Duration::from_secs(30),
        offset_reset: OffsetReset::Earliest,
        fetch_max_wait: Duration::from_millis(50),
        ..ConsumerConfig::default()
    }
}

/// A consumer of its own thread that polls until it is told to leave.
struct Member {
    assignment: Arc<Mutex<Vec<(String, i32)>>>,
    records: Arc<Mutex<Vec<(i32, i64)>>>,
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<()>,
}

impl Member {
    fn join(broker: &TestBroker, group: &str) -> Self {
        let (assignment, records, stop) = (Arc::<Mutex<Vec<_>>>::default(), Arc::<Mutex<Vec<_>>>::default(), Arc::<AtomicBool>::default());
        let (cluster, config) = (broker.cluster(), consumer_config(group));
        let (assigned, seen, stopped) = (assignment.clone(), records.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            let mut consumer = Consumer::new(cluster, config);
            consumer.subscribe(vec![TOPIC.to_owned()]).expect("subscribed");
            while !stopped.load(Ordering::Relaxed) {
                let polled = consumer.poll(Duration::from_millis(50)).expect("polled");
                seen.lock().expect("unpoisoned").extend(polled.iter().map(|r| (r.partition, r.offset)));
                *assigned.lock().expect("unpoisoned") = consumer.assignment();
            }
            consumer.close().expect("left");
        });
        Self { assignment, records, stop, thread }
    }

    fn partitions(&self) -> BTreeSet<i32> {
        self.assignment.lock().expect("unpoisoned").iter().map(|(_, p)| *p).collect()
    }

    fn records(&self) -> Vec<(i32, i64)> {
        self.records.lock().expect("unpoisoned").clone()
    }

    fn leave(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the member's thread");
    }
}

/// Waits until the members have all partitions between them, evenly and without overlap.
fn await_balance(members: &[&Member], partitions: i32) {
    eventually("the group settles", || {
        let shares: Vec<BTreeSet<i32>> = members.iter().map(|m| m.partitions()).collect();
        let all: BTreeSet<i32> = shares.iter().flatten().copied().collect();
        let even = shares.iter().all(|s| s.len() == partitions as usize / members.len());
        (even && all == (0..partitions).collect()).then_some(())
    });
}

fn two_and_three_members_share_the_partitions(mode: Mode) {
    let broker = start(mode, 6);
    let mut cluster = broker.cluster();
    let mut produced = BTreeSet::new();
    let mut produce = |cluster: &mut Cluster| {
        for partition in 0..6 {
            let offset = produce_ok(cluster, TOPIC, partition, batch(&["x", "y"]));
            produced.extend([(partition, offset), (partition, offset + 1)]);
        }
        produced.clone()
    };
    let first = Member::join(&broker, "g");
    await_balance(&[&first], 6);
    produce(&mut cluster);
    let second = Member::join(&broker, "g");
    await_balance(&[&first, &second], 6);
    produce(&mut cluster);
    let third = Member::join(&broker, "g");
    await_balance(&[&first, &second, &third], 6);
    let described = cluster.admin().describe_group("g").expect("described");
    assert_eq!((described.state.as_str(), described.members.len(), described.assignor.as_str()), ("Stable", 3, "range"));
    assert!(described.members.iter().all(|m| m.client_id == "test" && m.host == "/127.0.0.1"));

    // While the group stands, each record goes to exactly one member: the one that has the partition.
    let counts: Vec<usize> = [&first, &second, &third].map(|m| m.records().len()).into();
    let before = produced_so_far(&[&first, &second, &third]);
    let all = produce(&mut cluster);
    eventually("every record arrives", || (produced_so_far(&[&first, &second, &third]) == all).then_some(()));
    let fresh: Vec<(i32, i64)> = [&first, &second, &third].iter().zip(counts).flat_map(|(m, n)| m.records().split_off(n)).collect();
    let news: BTreeSet<(i32, i64)> = all.difference(&before).copied().collect();
    let mut sorted: Vec<(i32, i64)> = fresh.iter().filter(|r| news.contains(r)).copied().collect();
    sorted.sort_unstable();
    assert_eq!(sorted, news.into_iter().collect::<Vec<_>>(), "no record twice");

    second.leave();
    await_balance(&[&first, &third], 6);
    third.leave();
    await_balance(&[&first], 6);
    let all = produce(&mut cluster);
    eventually("the last member reads everything", || {
        let own: BTreeSet<(i32, i64)> = first.records().into_iter().collect();
        (all.iter().rev().take(2).all(|r| own.contains(r))).then_some(())
    });
    first.leave();
    // What was read was committed on leaving.
    let committed = cluster.admin().group_offsets("g", None).expect("fetched");
    assert_eq!(committed.len(), 6);
    assert!(committed.values().all(|c| c.offset == 8), "{committed:?}");
    assert_eq!(cluster.admin().describe_group("g").expect("described").state, "Empty");
}

fn produced_so_far(members: &[&Member]) -> BTreeSet<(i32, i64)> {
    members.iter().flat_map(|m| m.records()).collect()
}

fn a_group_resumes_where_it_committed_after_a_restart(mode: Mode) {
    let mut broker = start(mode, 2);
    let mut cluster = broker.cluster();
    for i in 0..20 {
        for partition in 0..2 {
            produce_ok(&mut cluster, TOPIC, partition, batch(&[format!("{i}")]));
        }
    }
    let read = |broker: &TestBroker, count: usize, commit: bool| {
        let config = ConsumerConfig { auto_commit: false, poll_records_max: 1, ..consumer_config("resuming") };
        let mut consumer = Consumer::new(broker.cluster(), config);
        consumer.subscribe(vec![TOPIC.to_owned()]).expect("subscribed");
        let mut got = Vec::new();
        eventually("the records", || {
            got.extend(consumer.poll(Duration::from_millis(200)).expect("polled").iter().map(|r| (r.partition, r.offset)));
            (got.len() >= count).then_some(())
        });
        if commit {
            consumer.commit().expect("committed");
        }
        consumer.close().expect("closed");
        got
    };
    let mut seen = read(&broker, 15, true);
    let uncommitted = read(&broker, 5, false);
    assert!(uncommitted.iter().all(|r| !seen.contains(r)));
    let before = cluster.admin().group_offsets("resuming", None).expect("fetched");
    broker.restart();
    let mut cluster = broker.cluster();
    assert_eq!(cluster.admin().group_offsets("resuming", None).expect("fetched"), before);
    seen.extend(read(&broker, 25, true));
    assert_eq!(seen.len(), 40);
    let all: BTreeSet<(i32, i64)> = seen.into_iter().collect();
    assert_eq!(all, (0..2).flat_map(|p| (0..20).map(move |o| (p, o))).collect(), "each record once: what was committed is not read again");
    broker.restart();
    let after = broker.cluster().admin().group_offsets("resuming", None).expect("fetched");
    assert_eq!(after.into_iter().map(|((_, p), c)| (p, c.offset)).collect::<Vec<_>>(), [(0, 20), (1, 20)]);
}

/// A member whose requests the test writes itself.
struct RawMember {
    connection: Connection,
    group: String,
    id: String,
    instance: Option<String>,
    generation: i32,
    session_timeout_ms: i32,
}

impl RawMember {
    fn new(broker: &TestBroker, group: &str) -> Self {
        let mut cluster = broker.cluster();
        let coordinator = cluster.group_coordinator(group).expect("a coordinator");
        let connection = cluster.open_separate(coordinator).expect("open");
        let mut member =
            Self { connection, group: group.to_owned(), id: String::new(), instance: None, generation: -1, session_timeout_ms: 30_000 };
        // After a restart the coordinator reads its partition first; clients ask again until it has.
        eventually("the coordinator has loaded", || (member.heartbeat() != code(ErrorCode::CoordinatorLoadInProgress)).then_some(()));
        member
    }

    fn instance(&self) -> Option<odradek_wire::StrBytes> {
        self.instance.as_deref().map(text)
    }

    fn join_request(&self) -> JoinGroupRequest {
        JoinGroupRequest::default()
            .with_group_id(GroupId(text(&self.group)))
            .with_session_timeout_ms(self.session_timeout_ms)
            .with_rebalance_timeout_ms(30_000)
            .with_member_id(text(&self.id))
            .with_group_instance_id(self.instance())
            .with_protocol_type(text("consumer"))
            .with_protocols(vec![
                JoinGroupRequestProtocol::default()
                    .with_name(text("range"))
                    .with_metadata(Bytes::from_static(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0])),
            ])
    }

    fn send_join(&mut self) {
        self.connection.send(&self.join_request(), 9).expect("sent");
    }

    fn receive_join(&mut self) -> JoinGroupResponse {
        let joined = self.connection.receive::<JoinGroupRequest>().expect("an answer");
        if joined.error_code == 0 {
            self.id = joined.member_id.to_string();
            self.generation = joined.generation_id;
        }
        joined
    }

    /// Joins, with the id that the broker asks a new member to come back with (KIP-394).
    fn join(&mut self) -> JoinGroupResponse {
        self.ensure_id();
        self.send_join();
        self.receive_join()
    }

    fn ensure_id(&mut self) {
        if self.id.is_empty() && self.instance.is_none() {
            self.send_join();
            let asked = self.receive_join();
            assert_eq!(asked.error_code, code(ErrorCode::MemberIdRequired));
            self.id = asked.member_id.to_string();
        }
    }

    fn sync_request(&self, assignments: &[(&str, &'static [u8])]) -> SyncGroupRequest {
        let assignments = assignments
            .iter()
            .map(|(id, bytes)| SyncGroupRequestAssignment::default().with_member_id(text(id)).with_assignment(Bytes::from_static(bytes)));
        SyncGroupRequest::default()
            .with_group_id(GroupId(text(&self.group)))
            .with_generation_id(self.generation)
            .with_member_id(text(&self.id))
            .with_group_instance_id(self.instance())
            .with_protocol_type(Some(text("consumer")))
            .with_protocol_name(Some(text("range")))
            .with_assignments(assignments.collect())
    }

    /// The assignment that the leader gave this member.
    fn sync(&mut self, assignments: &[(&str, &'static [u8])]) -> Bytes {
        let synced = self.connection.call_at(&self.sync_request(assignments), 5).expect("an answer");
        assert_eq!(synced.error_code, 0);
        synced.assignment
    }

    fn heartbeat(&mut self) -> i16 {
        let request = HeartbeatRequest::default()
            .with_group_id(GroupId(text(&self.group)))
            .with_generation_id(self.generation)
            .with_member_id(text(&self.id))
            .with_group_instance_id(self.instance());
        self.connection.call_at(&request, 4).expect("an answer").error_code
    }

    fn commit(&mut self, offset: i64) -> i16 {
        commit(&mut self.connection, &self.group, self.generation, &self.id, offset)
    }

    fn leave(&mut self) -> i16 {
        let request = LeaveGroupRequest::default()
            .with_group_id(GroupId(text(&self.group)))
            .with_members(vec![MemberIdentity::default().with_member_id(text(&self.id)).with_group_instance_id(self.instance())]);
        let left = self.connection.call_at(&request, 5).expect("an answer");
        left.members.first().map_or(left.error_code, |m| m.error_code)
    }
}

fn commit(connection: &mut Connection, group: &str, generation: i32, member: &str, offset: i64) -> i16 {
    use odradek_wire::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
    let partition = OffsetCommitRequestPartition::default()
        .with_partition_index(0)
        .with_committed_offset(offset)
        .with_committed_leader_epoch(-1)
        .with_committed_metadata(Some(text("note")));
    let topic = OffsetCommitRequestTopic::default().with_name(odradek_client::topic_name(TOPIC)).with_partitions(vec![partition]);
    let request = OffsetCommitRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_generation_id_or_member_epoch(generation)
        .with_member_id(text(member))
        .with_topics(vec![topic]);
    connection.call_at(&request, 8).expect("an answer").topics[0].partitions[0].error_code
}

fn members_and_generation_outlive_a_restart(mode: Mode) {
    let mut broker = start(mode, 1);
    let mut member = RawMember::new(&broker, "standing");
    let joined = member.join();
    assert_eq!((joined.error_code, joined.leader.as_str(), joined.members.len()), (0, member.id.as_str(), 1));
    let id = member.id.clone();
    assert_eq!(&member.sync(&[(&id, b"all of it")])[..], b"all of it");
    assert_eq!((member.heartbeat(), member.commit(17)), (0, 0));
    broker.restart();
    let mut again = RawMember { id: member.id, generation: member.generation, ..RawMember::new(&broker, "standing") };
    assert_eq!(again.heartbeat(), 0, "the member and its generation are known");
    assert_eq!(&again.sync(&[])[..], b"all of it");
    assert_eq!(again.commit(18), 0);
    let described = broker.cluster().admin().describe_group("standing").expect("described");
    assert_eq!((described.state.as_str(), described.members.len()), ("Stable", 1));
    assert_eq!(again.leave(), 0);
    assert_eq!(again.heartbeat(), code(ErrorCode::UnknownMemberId));
}

fn offsets(pairs: &[(i32, i64)]) -> BTreeMap<(String, i32), CommittedOffset> {
    pairs
        .iter()
        .map(|&(p, offset)| ((TOPIC.to_owned(), p), CommittedOffset { offset, leader_epoch: 0, metadata: format!("of {p}") }))
        .collect()
}

fn commits_without_members_and_admin_calls(mode: Mode) {
    let mut broker = start(mode, 3);
    let mut cluster = broker.cluster();
    assert!(cluster.admin().group_offsets("plain", None).expect("fetched").is_empty());
    let wanted = offsets(&[(0, 5), (2, 7)]);
    cluster.admin().alter_group_offsets("plain", &wanted).expect("committed");
    assert_eq!(cluster.admin().group_offsets("plain", None).expect("fetched"), wanted);
    let one = cluster.admin().group_offsets("plain", Some(&[(TOPIC.to_owned(), 1), (TOPIC.to_owned(), 2)])).expect("fetched");
    assert_eq!(one, offsets(&[(2, 7)]));
    // Offsets may go back: the last commit counts.
    cluster.admin().alter_group_offsets("plain", &offsets(&[(2, 3)])).expect("committed");
    let listed = cluster.admin().list_groups(&[], &[]).expect("listed");
    assert_eq!(listed.iter().map(|g| (g.id.as_str(), g.state.as_str())).collect::<Vec<_>>(), [("plain", "Empty")]);
    assert!(cluster.admin().list_groups(&["Stable".to_owned()], &[]).expect("listed").is_empty());

    broker.restart();
    let mut cluster = broker.cluster();
    assert_eq!(cluster.admin().group_offsets("plain", None).expect("fetched"), offsets(&[(0, 5), (2, 3)]));
    let deleted = cluster.admin().delete_group_offsets("plain", &[(TOPIC.to_owned(), 0)]).expect("an answer");
    assert!(deleted.values().all(Result::is_ok) && deleted.len() == 1);
    assert_eq!(cluster.admin().group_offsets("plain", None).expect("fetched"), offsets(&[(2, 3)]));
    // An offset of a topic that is deleted goes with it.
    cluster.admin().delete_topic(TOPIC).expect("deleted");
    eventually("the offset goes with its topic", || {
        cluster.admin().group_offsets("plain", None).expect("fetched").is_empty().then_some(())
    });

    cluster.admin().create_topic(&NewTopic { name: TOPIC.to_owned(), partitions: Some(3), ..NewTopic::default() }, false).expect("created");
    cluster.admin().alter_group_offsets("plain", &offsets(&[(1, 1)])).expect("committed");
    cluster.admin().delete_group("plain").expect("deleted");
    assert_eq!(code_of(cluster.admin().delete_group("plain")), ErrorCode::GroupIdNotFound);
    assert!(cluster.admin().group_offsets("plain", None).expect("fetched").is_empty());
    assert_eq!(code_of(cluster.admin().describe_group("plain")), ErrorCode::GroupIdNotFound);
    broker.restart();
    assert!(broker.cluster().admin().list_groups(&[], &[]).expect("listed").is_empty(), "deleted for good");
}

fn groups_of_all_coordinators_are_listed(mode: Mode) {
    let mut broker = start(mode, 1);
    let mut cluster = broker.cluster();
    let groups: Vec<String> = (0..12).map(|i| format!("group {i:02}")).collect();
    let mut coordinators = BTreeSet::new();
    for (i, group) in groups.iter().enumerate() {
        cluster.admin().alter_group_offsets(group, &offsets(&[(0, i as i64)])).expect("committed");
        coordinators.insert(cluster.group_coordinator(group).expect("found"));
    }
    assert_eq!(coordinators.len(), mode.brokers(), "the groups are spread");
    for _ in 0..2 {
        let listed = cluster.admin().list_groups(&[], &[]).expect("listed");
        assert_eq!(listed.into_iter().map(|g| g.id).collect::<Vec<_>>(), groups);
        for (i, group) in groups.iter().enumerate() {
            assert_eq!(cluster.admin().group_offsets(group, None).expect("fetched"), offsets(&[(0, i as i64)]));
        }
        broker.restart();
        cluster = broker.cluster();
    }
}

fn commits_of_strangers_are_refused(mode: Mode) {
    let broker = start(mode, 1);
    let mut member = RawMember::new(&broker, "g");
    member.join();
    let id = member.id.clone();
    member.sync(&[(&id, b"a")]);
    assert_eq!(member.commit(5), 0);
    let generation = member.generation;
    assert_eq!(commit(&mut member.connection, "g", generation, "nobody", 6), code(ErrorCode::UnknownMemberId));
    assert_eq!(commit(&mut member.connection, "g", generation + 1, &id, 6), code(ErrorCode::IllegalGeneration));
    assert_eq!(commit(&mut member.connection, "g", generation - 1, &id, 6), code(ErrorCode::IllegalGeneration));
    assert_eq!(commit(&mut member.connection, "g", -1, "", 6), code(ErrorCode::UnknownMemberId), "a group with members is not simple");
    let mut cluster = broker.cluster();
    assert_eq!(cluster.admin().group_offsets("g", None).expect("fetched")[&(TOPIC.to_owned(), 0)].offset, 5);
    assert_eq!(code_of(cluster.admin().delete_group("g")), ErrorCode::NonEmptyGroup);
    member.generation += 1;
    assert_eq!(member.heartbeat(), code(ErrorCode::IllegalGeneration));
}

fn a_member_that_falls_silent_is_replaced(mode: Mode) {
    let broker = start_with(mode, 1, &["group.min.session.timeout.ms=100"]);
    let mut silent = RawMember { session_timeout_ms: 300, ..RawMember::new(&broker, "g") };
    silent.join();
    let silent_id = silent.id.clone();
    silent.sync(&[(&silent_id, b"mine")]);
    // The other one waits in JoinGroup until the silent one's session is over.
    let mut other = RawMember::new(&broker, "g");
    let joined = other.join();
    assert_eq!((joined.error_code, joined.members.len(), joined.leader.as_str()), (0, 1, other.id.as_str()));
    assert!(other.generation > silent.generation);
    let other_id = other.id.clone();
    assert_eq!(&other.sync(&[(&other_id, b"now mine")])[..], b"now mine");
    assert_eq!(silent.heartbeat(), code(ErrorCode::UnknownMemberId));
    assert_eq!(silent.commit(1), code(ErrorCode::UnknownMemberId));
    assert_eq!(other.heartbeat(), 0);
}

fn a_static_member_returns_to_its_place(mode: Mode) {
    let mut broker = start(mode, 1);
    let fixed = |broker: &TestBroker| RawMember { instance: Some("seat 1".to_owned()), ..RawMember::new(broker, "g") };
    let mut member = fixed(&broker);
    let joined = member.join();
    assert_eq!(joined.error_code, 0);
    let id = member.id.clone();
    member.sync(&[(&id, b"seat one")]);
    // It comes back without its id: the same seat, a new id, the same generation.
    let mut back = fixed(&broker);
    let rejoined = back.join();
    assert_eq!((rejoined.error_code, back.generation), (0, member.generation));
    assert_ne!(back.id, id);
    assert_eq!(&back.sync(&[])[..], b"seat one");
    assert_eq!(member.heartbeat(), code(ErrorCode::FencedInstanceId));
    broker.restart();
    let mut later = fixed(&broker);
    assert_eq!((later.join().error_code, later.generation), (0, back.generation));
    assert_eq!(&later.sync(&[])[..], b"seat one");
    let described = broker.cluster().admin().describe_group("g").expect("described");
    assert_eq!(described.members.iter().map(|m| m.instance.as_deref()).collect::<Vec<_>>(), [Some("seat 1")]);
}

fn a_new_member_starts_a_rebalance(mode: Mode) {
    let broker = start(mode, 1);
    let (mut first, mut second) = (RawMember::new(&broker, "g"), RawMember::new(&broker, "g"));
    first.join();
    let id = first.id.clone();
    first.sync(&[(&id, b"all")]);
    let old = first.generation;
    second.ensure_id();
    second.send_join();
    eventually("the first member hears of it", || (first.heartbeat() == code(ErrorCode::RebalanceInProgress)).then_some(()));
    // Until it joins again it may still commit what it has read.
    assert_eq!(first.commit(3), 0);
    first.send_join();
    let (one, two) = (first.receive_join(), second.receive_join());
    assert_eq!((one.error_code, two.error_code), (0, 0));
    assert_eq!((first.generation, second.generation), (old + 1, old + 1));
    assert_eq!((one.members.len(), two.members.len()), (2, 0), "the leader hears of all");
    assert_eq!(one.leader, two.leader);
    // The follower asks first and waits for the leader.
    second.connection.send(&second.sync_request(&[]), 5).expect("sent");
    let (first_id, second_id) = (first.id.clone(), second.id.clone());
    assert_eq!(&first.sync(&[(&first_id, b"left"), (&second_id, b"right")])[..], b"left");
    let synced = second.connection.receive::<SyncGroupRequest>().expect("an answer");
    assert_eq!((synced.error_code, &synced.assignment[..]), (0, &b"right"[..]));
    assert_eq!((first.heartbeat(), second.heartbeat()), (0, 0));
    assert_eq!(second.leave(), 0);
    eventually("the first member hears of it", || (first.heartbeat() == code(ErrorCode::RebalanceInProgress)).then_some(()));
}
