//! Joining, syncing, beating, leaving.

use super::harness::*;
use crate::GroupsConfig;
use crate::wire::ErrorCode;
use crate::wire::messages::*;
use crate::wire::own;
use std::time::Duration;

fn answer(reply: &JoinGroupResponse) -> String {
    format!("{} member-id={} generation={}", error_name(reply.error_code), !reply.member_id.is_empty(), reply.generation_id)
}

/// Joins, answering MEMBER_ID_REQUIRED as clients do.
fn join(change: impl FnOnce(&mut Member)) -> String {
    let mut h = Harness::new();
    let mut m = Member::new(GROUP);
    change(&mut m);
    let mut reply = h.join(m.request(), 7);
    if error_name(reply.error_code) == "MEMBER_ID_REQUIRED" {
        m.id = reply.member_id.to_string();
        reply = h.join(m.request(), 7);
    }
    answer(&reply)
}

#[test]
fn joining() {
    assert_eq!(join(|_| ()), "NONE member-id=true generation=1");
    assert_eq!(join(|m| m.id = "nope".to_owned()), "UNKNOWN_MEMBER_ID member-id=true generation=-1");
    assert_eq!(join(|m| m.group = String::new()), "INVALID_GROUP_ID member-id=false generation=-1");
    assert_eq!(join(|m| m.session_ms = 1_000), "INVALID_SESSION_TIMEOUT member-id=false generation=-1");
    assert_eq!(join(|m| m.session_ms = 9_999_999), "INVALID_SESSION_TIMEOUT member-id=false generation=-1");
    assert_eq!(join(|m| m.session_ms = 0), "INVALID_SESSION_TIMEOUT member-id=false generation=-1");
    assert_eq!(join(|m| m.protocols = vec![]), "INCONSISTENT_GROUP_PROTOCOL member-id=false generation=-1");
    assert_eq!(join(|m| m.protocol_type = ""), "INCONSISTENT_GROUP_PROTOCOL member-id=false generation=-1");
    assert_eq!(join(|m| m.instance = Some("inst".to_owned())), "NONE member-id=true generation=1");
    assert_eq!(join(|m| m.protocol_type = "connect"), "NONE member-id=true generation=1");
    assert_eq!(join(|m| m.rebalance_ms = -5), "NONE member-id=true generation=1");
}

#[test]
fn a_refused_first_join_leaves_no_group() {
    let mut h = Harness::new();
    h.join(Member { protocols: vec![], ..Member::new(GROUP) }.request(), 7);
    assert_eq!(h.state(GROUP), "Dead");
    assert_eq!(h.coordinator.list_groups(&ListGroupsRequest::default()).len(), 0);
}

#[test]
fn strings_too_long_for_records_are_refused() {
    let long = "x".repeat(40_000);
    assert_eq!(join(|m| m.group = long.clone()), "INVALID_GROUP_ID member-id=false generation=-1");
    assert_eq!(join(|m| m.instance = Some(long.clone())), "INVALID_REQUEST member-id=false generation=-1");
    let mut h = Harness::new();
    assert_eq!(h.simple_commit(&long, "t", 0, 1), "INVALID_REQUEST");
    assert_eq!(h.simple_commit(GROUP, &long, 0, 1), "INVALID_REQUEST");
}

#[test]
fn the_first_join_asks_for_a_member_id_since_version_4() {
    let mut h = Harness::new();
    let reply = h.join(Member::new(GROUP).request(), 7);
    assert_eq!(answer(&reply), "MEMBER_ID_REQUIRED member-id=true generation=-1");
    assert!(reply.member_id.starts_with("client-"));
    let old = h.join(Member::new("old").request(), 3);
    assert_eq!((answer(&old).as_str(), old.protocol_name.as_deref()), ("NONE member-id=true generation=1", Some("range")));
    let refused = h.join(Member { protocol_type: "", ..Member::new("x") }.request(), 6);
    assert_eq!(refused.protocol_name.as_deref(), Some(""), "not nullable before version 7");
}

#[test]
fn handed_out_ids_expire() {
    let mut h = Harness::with(GroupsConfig { pending_members_max: 1, ..GroupsConfig::default() });
    let reply = h.join(Member::new(GROUP).request(), 7);
    assert_eq!(error_name(h.join(Member::new(GROUP).request(), 7).error_code), "GROUP_MAX_SIZE_REACHED");
    h.advance(Duration::from_secs(11));
    let late = h.join(Member { id: reply.member_id.to_string(), ..Member::new(GROUP) }.request(), 7);
    assert_eq!(error_name(late.error_code), "UNKNOWN_MEMBER_ID");
}

#[test]
fn inconsistent_protocols_are_refused() {
    let mut h = Harness::new();
    let m = h.member(GROUP);
    let other = h.join(Member { protocols: vec!["other"], ..Member::new(GROUP) }.request(), 7);
    let kind = h.join(Member { protocol_type: "connect", ..Member::new(GROUP) }.request(), 7);
    assert_eq!((error_name(other.error_code), error_name(kind.error_code)), ("INCONSISTENT_GROUP_PROTOCOL", "INCONSISTENT_GROUP_PROTOCOL"));
    assert_eq!(m.beat(&mut h), "NONE");
}

#[test]
fn the_life_of_a_group() {
    let mut h = Harness::new();
    let mut m = Member::new(GROUP);
    let reply = m.join(&mut h);
    assert_eq!((m.generation, *m.leader == *m.id, reply.protocol_name.as_deref(), reply.members.len()), (1, true, Some("range"), 1));
    assert_eq!(reply.protocol_type.as_deref(), Some("consumer"));
    assert_eq!(m.beat(&mut h), "NONE", "heartbeats count before SyncGroup");
    assert_eq!(m.commit(&mut h, "t", 5), "REBALANCE_IN_PROGRESS");
    assert_eq!(m.sync(&mut h), "NONE");
    assert_eq!(m.sync(&mut h), "NONE", "again");
    assert_eq!(m.beat(&mut h), "NONE");
    assert_eq!(m.commit(&mut h, "t", 5), "NONE");
    assert_eq!(m.leave(&mut h), "NONE ['NONE']");
    assert_eq!(m.leave(&mut h), "NONE ['UNKNOWN_MEMBER_ID']");
    assert_eq!(m.beat(&mut h), "UNKNOWN_MEMBER_ID");
    assert_eq!(h.state(GROUP), "Empty");
}

#[test]
fn two_members_rebalance() {
    let mut h = Harness::new();
    let mut m = h.member(GROUP);
    let mut n = Member::new(GROUP);
    let second = n.send_join(&mut h);
    assert_eq!(h.reply(second), None);
    assert_eq!(m.beat(&mut h), "REBALANCE_IN_PROGRESS");
    assert_eq!(m.commit(&mut h, "t", 5), "NONE", "members may commit before they join again");
    let first = m.join(&mut h);
    let reply = h.joined(second);
    n.take(&reply);
    assert_eq!((first.generation_id, reply.generation_id), (2, 2));
    assert_eq!(first.leader, reply.leader);
    assert_eq!((first.members.len(), reply.members.len()), (2, 0));
    // Followers wait for the leader's assignment.
    let waiting = h.send_sync(n.sync_request(&[]));
    assert_eq!(h.reply(waiting), None);
    let leading = h.send_sync(m.sync_request(&[(&m.id, b"one"), (&n.id, b"two")]));
    assert_eq!(&h.synced(leading).assignment[..], b"one");
    assert_eq!(&h.synced(waiting).assignment[..], b"two");
    assert_eq!(n.leave(&mut h), "NONE ['NONE']");
    assert_eq!(m.beat(&mut h), "REBALANCE_IN_PROGRESS");
}

#[test]
fn assignments_are_persisted_before_anybody_is_told() {
    let mut h = Harness::new();
    h.auto_commit = false;
    let mut m = Member::new(GROUP);
    m.join(&mut h);
    let waiting = h.send_sync(m.sync_request(&[(&m.id, b"x")]));
    assert_eq!((h.reply(waiting), h.uncommitted.len()), (None, 1));
    assert_eq!(h.state(GROUP), "CompletingRebalance");
    h.commit_write();
    assert_eq!(&h.synced(waiting).assignment[..], b"x");
    assert_eq!(h.state(GROUP), "Stable");
}

#[test]
fn an_assignment_that_cannot_be_written_starts_a_rebalance() {
    let mut h = Harness::new();
    h.auto_commit = false;
    let mut m = Member::new(GROUP);
    m.join(&mut h);
    let waiting = h.send_sync(m.sync_request(&[(&m.id, b"x")]));
    h.fail_write(ErrorCode::KafkaStorageError);
    assert_eq!(error_name(h.synced(waiting).error_code), "NOT_COORDINATOR");
    assert_eq!(m.beat(&mut h), "REBALANCE_IN_PROGRESS");
    let again = m.join(&mut h);
    assert_eq!(again.generation_id, 2);
}

#[test]
fn a_rebalance_during_the_write_takes_the_assignment_back() {
    let mut h = Harness::new();
    h.auto_commit = false;
    let mut m = Member::new(GROUP);
    m.join(&mut h);
    let waiting = h.send_sync(m.sync_request(&[(&m.id, b"x")]));
    let mut n = Member::new(GROUP);
    n.send_join(&mut h);
    assert_eq!(error_name(h.synced(waiting).error_code), "REBALANCE_IN_PROGRESS");
    h.commit_writes();
    assert_eq!(h.state(GROUP), "PreparingRebalance");
}

#[test]
fn heartbeats_are_checked() {
    let mut h = Harness::new();
    let m = h.member(GROUP);
    assert_eq!(h.beat(GROUP, &m.id, None, m.generation + 5), "ILLEGAL_GENERATION");
    assert_eq!(h.beat(GROUP, &m.id, None, 0), "ILLEGAL_GENERATION");
    assert_eq!(h.beat(GROUP, "nope", None, 1), "UNKNOWN_MEMBER_ID");
    assert_eq!(h.beat("unknown", "x", None, 1), "UNKNOWN_MEMBER_ID");
    assert_eq!(h.beat("", "x", None, 1), "INVALID_GROUP_ID");
}

#[test]
fn syncs_are_checked() {
    let mut h = Harness::new();
    let m = h.member(GROUP);
    let mut sync = |change: &dyn Fn(&mut SyncGroupRequest)| {
        let mut request = m.sync_request(&[]);
        change(&mut request);
        let token = h.send_sync(request);
        error_name(h.synced(token).error_code)
    };
    assert_eq!(sync(&|r| r.generation_id += 5), "ILLEGAL_GENERATION");
    assert_eq!(sync(&|r| r.member_id = own("nope")), "UNKNOWN_MEMBER_ID");
    assert_eq!(sync(&|r| r.protocol_name = Some(own("zzz"))), "INCONSISTENT_GROUP_PROTOCOL");
    assert_eq!(sync(&|r| r.protocol_type = Some(own("zzz"))), "INCONSISTENT_GROUP_PROTOCOL");
    assert_eq!(sync(&|r| (r.protocol_type, r.protocol_name) = (None, None)), "NONE");
    assert_eq!(sync(&|r| r.group_id = own("unknown").into()), "UNKNOWN_MEMBER_ID");
    assert_eq!(sync(&|r| r.group_id = own("").into()), "INVALID_GROUP_ID");
}

#[test]
fn leaving_is_checked() {
    let mut h = Harness::new();
    h.member(GROUP);
    assert_eq!(h.leave(GROUP, &[("nope", None)]), "NONE ['UNKNOWN_MEMBER_ID']");
    assert_eq!(h.leave("unknown", &[("x", None)]), "NONE ['UNKNOWN_MEMBER_ID']");
    assert_eq!(h.leave("", &[("x", None)]), "INVALID_GROUP_ID []");
    let reply = h.join(Member::new(GROUP).request(), 7);
    assert_eq!(h.leave(GROUP, &[(&reply.member_id, None), ("x", None)]), "NONE ['NONE', 'UNKNOWN_MEMBER_ID']", "a pending member");
}

#[test]
fn silent_members_expire() {
    let mut h = Harness::new();
    let m = h.member(GROUP);
    h.advance(Duration::from_secs(9));
    assert_eq!(m.beat(&mut h), "NONE");
    h.advance(Duration::from_secs(9));
    assert_eq!(m.commit(&mut h, "t", 1), "NONE", "a commit is a sign of life");
    h.advance(Duration::from_secs(9));
    assert_eq!(m.beat(&mut h), "NONE");
    h.advance(Duration::from_secs(11));
    assert_eq!(m.beat(&mut h), "UNKNOWN_MEMBER_ID");
    assert_eq!(h.state(GROUP), "Empty");
}

#[test]
fn members_that_do_not_join_again_are_left_behind() {
    let mut h = Harness::new();
    let m = h.member(GROUP);
    let mut n = Member::new(GROUP);
    let token = n.send_join(&mut h);
    h.advance(Duration::from_millis(2_900));
    assert_eq!((m.beat(&mut h), h.reply(token)), ("REBALANCE_IN_PROGRESS", None));
    h.advance(Duration::from_millis(200));
    let reply = h.joined(token);
    n.take(&reply);
    assert_eq!((reply.generation_id, *reply.leader == *n.id, reply.members.len()), (2, true, 1));
    assert_eq!(m.beat(&mut h), "UNKNOWN_MEMBER_ID");
}

#[test]
fn members_that_never_sync_are_taken_out() {
    let mut h = Harness::new();
    let mut m = h.member(GROUP);
    let mut n = Member::new(GROUP);
    let token = n.send_join(&mut h);
    m.join(&mut h);
    let reply = h.joined(token);
    n.take(&reply);
    assert_eq!(m.sync(&mut h), "NONE");
    h.advance(Duration::from_millis(3_100));
    assert_eq!((m.beat(&mut h), n.beat(&mut h)), ("REBALANCE_IN_PROGRESS", "UNKNOWN_MEMBER_ID"));
}

#[test]
fn the_initial_delay_collects_members_and_is_extended() {
    let mut h = Harness::with(GroupsConfig { initial_rebalance_delay: Duration::from_secs(3), ..GroupsConfig::default() });
    let mut a = Member { rebalance_ms: 8_000, ..Member::new(GROUP) };
    let mut b = a.clone();
    let first = a.send_join(&mut h);
    h.advance(Duration::from_secs(2));
    let second = b.send_join(&mut h);
    h.advance(Duration::from_millis(1_500));
    assert_eq!(h.reply(first), None, "extended, because a member came");
    h.advance(Duration::from_secs(3));
    let (one, two) = (h.joined(first), h.joined(second));
    assert_eq!((one.generation_id, two.generation_id, one.members.len()), (1, 1, 2));
    assert_eq!(*one.leader, *a.id, "the first to join leads");
}

#[test]
fn the_initial_delay_ends_with_the_rebalance_timeout() {
    let mut h = Harness::with(GroupsConfig { initial_rebalance_delay: Duration::from_secs(3), ..GroupsConfig::default() });
    let mut tokens = Vec::new();
    for _ in 0..9 {
        tokens.push(Member { rebalance_ms: 5_000, ..Member::new(GROUP) }.send_join(&mut h));
        h.advance(Duration::from_secs(1));
    }
    let generations: Vec<_> = tokens.into_iter().filter_map(|token| h.reply(token)).collect();
    assert!(generations.len() >= 5, "5 s after the first join the group went on without later ones");
}

#[test]
fn the_protocol_most_members_prefer_wins() {
    let mut h = Harness::new();
    let mut a = Member { protocols: vec!["x", "y"], ..Member::new(GROUP) };
    a.join(&mut h);
    a.sync(&mut h);
    let mut b = Member { protocols: vec!["y", "x"], ..Member::new(GROUP) };
    let mut c = Member { protocols: vec!["z", "y", "x"], ..Member::new(GROUP) };
    let (second, third) = (b.send_join(&mut h), c.send_join(&mut h));
    let reply = a.join(&mut h);
    assert_eq!(reply.protocol_name.as_deref(), Some("y"));
    assert_eq!(h.joined(second).protocol_name, h.joined(third).protocol_name);
}

#[test]
fn a_full_group_refuses_members() {
    let mut h = Harness::with(GroupsConfig { members_max: 1, initial_rebalance_delay: Duration::ZERO, ..GroupsConfig::default() });
    let m = h.member(GROUP);
    let reply = h.join(Member::new(GROUP).request(), 7);
    assert_eq!(error_name(reply.error_code), "GROUP_MAX_SIZE_REACHED");
    assert_eq!(m.beat(&mut h), "NONE");
}

#[test]
fn a_leader_that_joins_again_rebalances_and_a_follower_does_not() {
    let mut h = Harness::new();
    let mut m = h.member(GROUP);
    let mut n = Member::new(GROUP);
    let token = n.send_join(&mut h);
    m.join(&mut h);
    let reply = h.joined(token);
    n.take(&reply);
    let waiting = h.send_sync(n.sync_request(&[]));
    assert_eq!(m.sync(&mut h), "NONE");
    h.synced(waiting);
    assert_eq!(n.join(&mut h).generation_id, 2);
    assert_eq!(m.beat(&mut h), "NONE");
    m.send_join(&mut h);
    assert_eq!(n.beat(&mut h), "REBALANCE_IN_PROGRESS");
}

#[test]
fn a_second_join_of_one_member_answers_the_first() {
    let mut h = Harness::new();
    h.member(GROUP);
    let mut n = Member::new(GROUP);
    let first = n.send_join(&mut h);
    let second = n.send_join(&mut h);
    assert_eq!(error_name(h.joined(first).error_code), "REBALANCE_IN_PROGRESS");
    assert_eq!(h.reply(second), None);
}

#[test]
fn single_leave_of_old_versions() {
    let mut h = Harness::new();
    let m = h.member(GROUP);
    let request = LeaveGroupRequest::default().with_group_id(own(GROUP).into());
    for (member, expected) in [("x", "UNKNOWN_MEMBER_ID"), (&*m.id, "NONE")] {
        let token = h.token();
        let request = request.clone().with_member_id(own(member));
        h.act(|c, turn, fx| c.leave(turn, &context(2), request, token, fx));
        let Some(crate::Reply::LeaveGroup(reply)) = h.reply(token) else { panic!("no answer") };
        assert_eq!((error_name(reply.error_code), reply.members.len()), (expected, 0));
    }
}
