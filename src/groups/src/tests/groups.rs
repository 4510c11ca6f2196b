//! Describing, listing and deleting groups.

use super::harness::*;
use crate::wire::messages::ListGroupsRequest;
use crate::wire::messages::OffsetDeleteRequest;
use crate::wire::messages::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use crate::wire::own;
use crate::{GroupsConfig, Reply};
use std::time::Duration;

#[test]
fn described_groups() {
    let mut h = Harness::new();
    let m = h.member(GROUP);
    for version in [0, 5, 6] {
        let described = h.coordinator.describe_group(GROUP, version);
        assert_eq!(&*described.group_state, "Stable");
        assert_eq!((&*described.protocol_type, &*described.protocol_data), ("consumer", "range"));
        assert_eq!(*described.members[0].member_id, *m.id);
        assert_eq!(&described.members[0].member_assignment[..], b"abc");
        assert_eq!(&*described.members[0].client_host, "/127.0.0.1");
        let unknown = h.coordinator.describe_group("other", version);
        assert_eq!((&*unknown.group_state, unknown.members.len()), ("Dead", 0));
        assert_eq!(error_name(unknown.error_code), if version >= 6 { "GROUP_ID_NOT_FOUND" } else { "NONE" });
    }
}

#[test]
fn list_groups_filters() {
    let mut h = Harness::new();
    h.member(GROUP);
    h.simple_commit("e", "t", 0, 5);
    let list = |states: &[&str], types: &[&str]| {
        let request = ListGroupsRequest::default()
            .with_states_filter(states.iter().map(|s| own(s)).collect())
            .with_types_filter(types.iter().map(|s| own(s)).collect());
        let groups = h.coordinator.list_groups(&request);
        groups.iter().map(|g| format!("{} {} {}", g.group_id.0, g.group_state, g.group_type)).collect::<Vec<_>>().join(", ")
    };
    assert_eq!(list(&[], &[]), "e Empty classic, g Stable classic");
    assert_eq!(list(&["Stable"], &[]), "g Stable classic");
    assert_eq!(list(&["empty"], &[]), "e Empty classic");
    assert_eq!(list(&["Nonsense"], &[]), "");
    assert_eq!(list(&[], &["consumer"]), "");
    assert_eq!(list(&[], &["classic"]), "e Empty classic, g Stable classic");
}

#[test]
fn delete_group() {
    let mut h = Harness::new();
    let m = h.member(GROUP);
    m.commit(&mut h, "t", 5);
    assert_eq!(h.delete_group(GROUP), "NON_EMPTY_GROUP");
    assert_eq!(h.delete_group("unknown"), "GROUP_ID_NOT_FOUND");
    m.leave(&mut h);
    assert_eq!(h.delete_group(GROUP), "NONE");
    assert_eq!(h.delete_group(GROUP), "GROUP_ID_NOT_FOUND");
    assert_eq!(h.offset(GROUP, "t", 0), -1);
    assert_eq!(h.reloaded().hard, Default::default());
    // The empty group id holds offsets like any other.
    h.simple_commit("", "t", 0, 5);
    assert_eq!(h.delete_group(""), "NONE");
}

#[test]
fn a_group_with_very_many_offsets_is_deleted_in_several_batches() {
    let mut h = Harness::new();
    h.topics.insert("wide".to_owned(), 2_000);
    for partition in 0..1_300 {
        h.simple_commit(GROUP, "wide", partition, 1);
    }
    let before = h.log.len();
    h.auto_commit = false;
    let token = h.token();
    h.act(|c, turn, fx| c.delete_group(turn, GROUP, token, fx));
    assert_eq!(h.uncommitted.iter().map(|write| write.records.len()).collect::<Vec<_>>(), [500, 500, 301]);
    h.commit_writes();
    assert_eq!(h.reply(token), Some(Reply::DeleteGroup(Ok(()))));
    assert_eq!(h.log.len() - before, 1_301);
    assert_eq!(h.state(GROUP), "Dead");
    assert_eq!(h.reloaded().hard, Default::default());
}

#[test]
fn a_write_under_way_does_not_bring_a_deleted_group_back() {
    let mut h = Harness::new();
    let m = h.member(GROUP);
    m.commit(&mut h, "t", 5);
    h.auto_commit = false;
    m.leave(&mut h); // the empty generation is written while the group still has an offset
    assert!(!h.uncommitted.is_empty(), "nothing is under way");
    let token = h.token();
    h.act(|c, turn, fx| c.delete_group(turn, GROUP, token, fx));
    h.commit_writes();
    assert_eq!(h.reply(token), Some(Reply::DeleteGroup(Ok(()))));
    assert_eq!(h.state(GROUP), "Dead");
    assert!(h.coordinator.list_groups(&ListGroupsRequest::default()).is_empty());
    assert_eq!(h.reloaded().hard, Default::default());
}

#[test]
fn a_commit_under_way_outlives_a_deletion() {
    let mut h = Harness::new();
    h.auto_commit = false;
    let commit = h.send_commit(commit_request(GROUP, "", -1, "t", 0, 7), 8);
    let token = h.token();
    h.act(|c, turn, fx| c.delete_group(turn, GROUP, token, fx));
    h.commit_writes();
    assert_eq!(h.committed(commit), "NONE");
    assert_eq!(h.reply(token), Some(Reply::DeleteGroup(Ok(()))));
    assert_eq!(h.offset(GROUP, "t", 0), 7);
    assert_eq!(h.state(GROUP), "Empty");
    assert_eq!(h.reloaded().hard, h.coordinator.hard);
}

fn offset_delete(h: &mut Harness, group: &str, topic: &str) -> String {
    let topics = vec![
        OffsetDeleteRequestTopic::default()
            .with_name(own(topic).into())
            .with_partitions(vec![OffsetDeleteRequestPartition::default().with_partition_index(0)]),
    ];
    let request = OffsetDeleteRequest::default().with_group_id(own(group).into()).with_topics(topics);
    let token = h.token();
    h.act(|c, turn, fx| c.offset_delete(turn, &context(0), request, token, fx));
    let Some(Reply::OffsetDelete(reply)) = h.reply(token) else { panic!("no answer") };
    let partitions: Vec<_> = reply.topics.iter().flat_map(|t| &t.partitions).map(|p| error_name(p.error_code)).collect();
    format!("{} {partitions:?}", error_name(reply.error_code)).replace('"', "'")
}

#[test]
fn offset_deletion() {
    let mut h = Harness::new();
    h.simple_commit(GROUP, "t", 0, 5);
    assert_eq!(offset_delete(&mut h, GROUP, "t"), "NONE ['NONE']");
    assert_eq!(h.offset(GROUP, "t", 0), -1);
    assert_eq!(offset_delete(&mut h, GROUP, "t"), "NONE ['NONE']");
    assert_eq!(offset_delete(&mut h, GROUP, "none"), "NONE ['UNKNOWN_TOPIC_OR_PARTITION']");
    assert_eq!(offset_delete(&mut h, "other", "t"), "GROUP_ID_NOT_FOUND []");
}

#[test]
fn offsets_of_subscribed_topics_stay() {
    let mut h = Harness::new();
    let mut m = Member { topics: vec!["t"], ..Member::new(GROUP) };
    m.join(&mut h);
    m.sync(&mut h);
    m.commit(&mut h, "t", 5);
    m.commit(&mut h, "u", 6);
    assert_eq!(offset_delete(&mut h, GROUP, "t"), "NONE ['GROUP_SUBSCRIBED_TO_TOPIC']");
    assert_eq!(offset_delete(&mut h, GROUP, "u"), "NONE ['NONE']");
    assert_eq!((h.offset(GROUP, "t", 0), h.offset(GROUP, "u", 0)), (5, -1));
    // Connect's groups have subscriptions nobody here can read.
    let mut connect = Member { protocol_type: "connect", ..Member::new("c") };
    connect.join(&mut h);
    connect.sync(&mut h);
    assert_eq!(offset_delete(&mut h, "c", "t"), "NON_EMPTY_GROUP []");
}

#[test]
fn a_deleted_topic_takes_its_offsets_along() {
    let mut h = Harness::new();
    let m = h.member(GROUP);
    m.commit(&mut h, "t", 42);
    m.commit(&mut h, "u", 43);
    h.simple_commit("other", "t", 1, 1);
    h.auto_commit = false;
    // One commit is still under way when the topic goes.
    let late = h.send_commit(m.commit_request("t", 1, 9), 8);
    h.topics.remove("t");
    h.act(|c, turn, fx| c.on_topics_deleted(turn, &["t"], fx));
    h.commit_writes();
    assert_eq!(h.committed(late), "NONE");
    assert_eq!((h.offset(GROUP, "t", 0), h.offset(GROUP, "t", 1), h.offset("other", "t", 1)), (-1, -1, -1));
    assert_eq!(h.offset(GROUP, "u", 0), 43);
    assert_eq!(h.reloaded().hard, h.coordinator.hard);
}

#[test]
fn offsets_expire_after_the_group_is_empty() {
    let retention = Duration::from_secs(3_600);
    let mut h = Harness::with(GroupsConfig {
        offsets_retention: retention,
        offsets_retention_check_interval: Duration::from_secs(60),
        initial_rebalance_delay: Duration::ZERO,
        ..GroupsConfig::default()
    });
    let mut m = Member { topics: vec!["t"], session_ms: 1_800_000, ..Member::new(GROUP) };
    m.join(&mut h);
    m.sync(&mut h);
    m.commit(&mut h, "t", 1);
    m.commit(&mut h, "u", 2);
    h.simple_commit("simple", "t", 0, 3);
    for _ in 0..3 {
        h.advance(Duration::from_secs(1_500));
        assert_eq!(m.beat(&mut h), "NONE");
    }
    // 75 minutes on: the simple consumer's offset is gone with its group, and so is the topic that nobody reads.
    assert_eq!((h.offset("simple", "t", 0), h.offset(GROUP, "u", 0), h.offset(GROUP, "t", 0)), (-1, -1, 1));
    assert_eq!(h.state("simple"), "Dead");
    m.leave(&mut h);
    h.advance(Duration::from_secs(3_500));
    assert_eq!(h.offset(GROUP, "t", 0), 1, "counted from when the group became empty");
    h.advance(Duration::from_secs(200));
    assert_eq!((h.offset(GROUP, "t", 0), h.state(GROUP)), (-1, "Dead".to_owned()));
    assert_eq!(h.reloaded().hard, Default::default());
}

#[test]
fn an_old_clients_own_retention_counts() {
    let mut h = Harness::with(GroupsConfig { offsets_retention_check_interval: Duration::from_secs(60), ..GroupsConfig::default() });
    let token = h.send_commit(commit_request(GROUP, "", -1, "t", 0, 7).with_retention_time_ms(600_000), 3);
    assert_eq!(h.committed(token), "NONE");
    h.restart();
    h.advance(Duration::from_secs(590));
    assert_eq!(h.offset(GROUP, "t", 0), 7);
    h.advance(Duration::from_secs(130));
    assert_eq!(h.offset(GROUP, "t", 0), -1);
}
