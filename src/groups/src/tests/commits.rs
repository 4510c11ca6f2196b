//! Committing and fetching offsets.

use super::harness::*;
use crate::fetch;
use crate::wire::ErrorCode;
use crate::wire::messages::offset_fetch_request::{OffsetFetchRequestTopic, OffsetFetchRequestTopics};
use crate::wire::messages::{OffsetFetchRequest, OffsetFetchResponse};
use crate::wire::own;
use odradek_base::ProducerId;

#[test]
fn commits_are_checked() {
    let mut h = Harness::new();
    let m = h.member(GROUP);
    assert_eq!(m.commit(&mut h, "t", 5), "NONE");
    assert_eq!(h.commit(commit_request(GROUP, "nope", m.generation, "t", 0, 5)), "UNKNOWN_MEMBER_ID");
    assert_eq!(h.commit(commit_request(GROUP, &m.id, 0, "t", 0, 5)), "ILLEGAL_GENERATION");
    assert_eq!(h.commit(commit_request(GROUP, &m.id, m.generation + 1, "t", 0, 5)), "ILLEGAL_GENERATION");
    assert_eq!(h.simple_commit(GROUP, "t", 0, 5), "UNKNOWN_MEMBER_ID", "a group with members");
    assert_eq!(h.simple_commit("simple", "t", 0, 5), "NONE");
    assert_eq!(h.simple_commit("", "t", 0, 5), "NONE");
    assert_eq!(h.commit(commit_request("unknown", "x", 3, "t", 0, 5)), "ILLEGAL_GENERATION");
    let token = h.send_commit(commit_request("unknown", "x", 3, "t", 0, 5), 9);
    assert_eq!(h.committed(token), "GROUP_ID_NOT_FOUND");
    assert_eq!(m.commit(&mut h, "none", 5), "UNKNOWN_TOPIC_OR_PARTITION");
    assert_eq!(h.commit(m.commit_request("t", 9, 5)), "UNKNOWN_TOPIC_OR_PARTITION");
    assert_eq!(h.commit(m.commit_request("t", -1, 5)), "UNKNOWN_TOPIC_OR_PARTITION");
    assert_eq!(m.commit(&mut h, "t", -5), "NONE");
    assert_eq!(h.offset(GROUP, "t", 0), -5);
    assert_eq!(m.commit(&mut h, "t", 1 << 50), "NONE");
    let token = h.send_commit(m.commit_request("t", 0, 5), 2);
    assert_eq!(h.committed(token), "NONE");
}

#[test]
fn metadata_is_bounded() {
    let mut h = Harness::new();
    let m = h.member(GROUP);
    let mut with = |metadata: Option<&str>| {
        let mut request = m.commit_request("t", 0, 5);
        request.topics[0].partitions[0].committed_metadata = metadata.map(own);
        h.commit(request)
    };
    assert_eq!(with(Some(&"x".repeat(4096))), "NONE");
    assert_eq!(with(Some(&"x".repeat(4097))), "OFFSET_METADATA_TOO_LARGE");
    assert_eq!(with(None), "NONE");
}

#[test]
fn commits_by_topic_id() {
    let mut h = Harness::new();
    let m = h.member(GROUP);
    let id = topic_id("t").0;
    let mut request = m.commit_request("", 0, 5);
    request.topics[0].topic_id = id;
    let token = h.send_commit(request.clone(), 10);
    assert_eq!(h.committed(token), "UNKNOWN_TOPIC_ID", "the caller found no name");
    request.topics[0].name = own("t").into();
    let token = h.send_commit(request, 10);
    let Some(crate::Reply::OffsetCommit(reply)) = h.reply(token) else { panic!("no answer") };
    assert_eq!((reply.topics[0].topic_id, reply.topics[0].partitions[0].error_code), (id, 0));
    assert_eq!(h.offset(GROUP, "t", 0), 5);
}

#[test]
fn nothing_is_seen_before_it_is_committed_and_failures_change_nothing() {
    let mut h = Harness::new();
    h.simple_commit(GROUP, "t", 0, 1);
    h.auto_commit = false;
    let token = h.send_commit(commit_request(GROUP, "", -1, "t", 0, 2), 8);
    assert_eq!((h.reply(token), h.offset(GROUP, "t", 0)), (None, 1));
    h.fail_write(ErrorCode::KafkaStorageError);
    assert_eq!((h.committed(token), h.offset(GROUP, "t", 0)), ("NOT_COORDINATOR", 1));
    let token = h.send_commit(commit_request(GROUP, "", -1, "t", 0, 3), 8);
    h.fail_write(ErrorCode::MessageTooLarge);
    assert_eq!(h.committed(token), "INVALID_COMMIT_OFFSET_SIZE");
    let token = h.send_commit(commit_request(GROUP, "", -1, "t", 0, 4), 8);
    h.commit_write();
    assert_eq!((h.committed(token), h.offset(GROUP, "t", 0)), ("NONE", 4));
}

fn fetch(h: &mut Harness, group: &str, topics: Option<&[(&str, &[i32])]>, version: i16, stable: bool) -> OffsetFetchResponse {
    let request = OffsetFetchRequest::default().with_group_id(own(group).into()).with_topics(topics.map(|topics| {
        let topic = |(name, partitions): &(&str, &[i32])| {
            OffsetFetchRequestTopic::default().with_name(own(name).into()).with_partition_indexes(partitions.to_vec())
        };
        topics.iter().map(topic).collect()
    }));
    let groups = fetch::groups_of(request, version);
    let answers = groups.iter().map(|group| h.act(|c, turn, _| c.fetch_offsets(turn, group, stable, version))).collect();
    fetch::response_of(answers, version)
}

fn show(response: &OffsetFetchResponse) -> String {
    let partitions: Vec<Vec<_>> = response
        .topics
        .iter()
        .map(|topic| {
            let one = |p: &crate::wire::messages::offset_fetch_response::OffsetFetchResponsePartition| {
                (p.partition_index, p.committed_offset, p.metadata.as_deref().unwrap_or("null").to_owned(), error_name(p.error_code))
            };
            topic.partitions.iter().map(one).collect()
        })
        .collect();
    format!("{} {partitions:?}", error_name(response.error_code)).replace('"', "'")
}

#[test]
fn fetched_offsets() {
    let mut h = Harness::new();
    let m = h.member(GROUP);
    let mut request = m.commit_request("t", 0, 42);
    request.topics[0].partitions[0].committed_metadata = Some(own("me"));
    assert_eq!(h.commit(request), "NONE");
    let named = fetch(&mut h, GROUP, Some(&[("t", &[0, 1])]), 7, false);
    assert_eq!(show(&named), "NONE [[(0, 42, 'me', 'NONE'), (1, -1, '', 'NONE')]]");
    assert_eq!(show(&fetch(&mut h, GROUP, None, 7, false)), "NONE [[(0, 42, 'me', 'NONE')]]");
    assert_eq!(show(&fetch(&mut h, "other", Some(&[("t", &[0, 7])]), 7, false)), "NONE [[(0, -1, '', 'NONE'), (7, -1, '', 'NONE')]]");
    assert_eq!(show(&fetch(&mut h, "other", Some(&[("none", &[0])]), 1, false)), "NONE [[(0, -1, '', 'NONE')]]");
    assert_eq!(show(&fetch(&mut h, "other", None, 7, false)), "NONE []");
    h.simple_commit("", "t", 0, 5);
    assert_eq!(show(&fetch(&mut h, "", Some(&[("t", &[0])]), 7, false)), "NONE [[(0, 5, '', 'NONE')]]");
}

#[test]
fn offsets_of_open_transactions_are_unstable() {
    let mut h = Harness::new();
    h.simple_commit(GROUP, "t", 0, 1);
    let record = h.log.last().unwrap().clone();
    h.coordinator.replay_transactional(ProducerId(4), &record.key, record.value.as_deref()).unwrap();
    assert_eq!(show(&fetch(&mut h, GROUP, Some(&[("t", &[0])]), 7, true)), "NONE [[(0, -1, '', 'UNSTABLE_OFFSET_COMMIT')]]");
    assert_eq!(show(&fetch(&mut h, GROUP, Some(&[("t", &[0])]), 7, false)), "NONE [[(0, 1, '', 'NONE')]]");
    h.coordinator.replay_marker(ProducerId(4), true);
    assert_eq!(show(&fetch(&mut h, GROUP, Some(&[("t", &[0])]), 7, true)), "NONE [[(0, 1, '', 'NONE')]]");
}

#[test]
fn fetches_by_topic_id() {
    let mut h = Harness::new();
    h.simple_commit(GROUP, "t", 0, 1);
    h.simple_commit(GROUP, "u", 0, 2);
    h.topics.remove("u");
    let topic = |name: &str| OffsetFetchRequestTopics::default().with_name(own(name).into()).with_partition_indexes(vec![0]);
    let mut group = fetch::groups_of(OffsetFetchRequest::default().with_group_id(own(GROUP).into()), 1).pop().unwrap();
    group.topics = Some(vec![topic("t"), topic("")]);
    let answer = h.act(|c, turn, _| c.fetch_offsets(turn, &group, false, 10));
    assert_eq!(answer.topics[0].partitions[0].committed_offset, 1);
    assert_eq!(error_name(answer.topics[1].partitions[0].error_code), "UNKNOWN_TOPIC_ID");
    group.topics = None;
    let answer = h.act(|c, turn, _| c.fetch_offsets(turn, &group, false, 10));
    assert_eq!(answer.topics.iter().map(|topic| topic.topic_id).collect::<Vec<_>>(), [topic_id("t").0]);
}
