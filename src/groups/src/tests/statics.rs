//! Static members (KIP-345, KIP-814).

use super::harness::*;
use crate::wire::ErrorCode;
use std::time::Duration;

#[test]
fn a_replaced_member_is_fenced_and_the_generation_stays() {
    let mut h = Harness::new();
    let a = h.static_member(GROUP, "one");
    let mut b = Member { instance: Some("one".to_owned()), ..Member::new(GROUP) };
    let reply = b.join(&mut h);
    assert_eq!(error_name(reply.error_code), "NONE");
    assert_eq!(b.generation, a.generation);
    assert_ne!(b.id, a.id);
    assert_eq!(*reply.leader, *a.id, "an old client must not think that it leads");
    assert_eq!(a.beat(&mut h), "FENCED_INSTANCE_ID");
    assert_eq!(a.commit(&mut h, "t", 1), "FENCED_INSTANCE_ID");
    assert_eq!(a.sync(&mut h), "FENCED_INSTANCE_ID");
    assert_eq!(a.leave(&mut h), "NONE ['FENCED_INSTANCE_ID']");
    assert_eq!(b.beat(&mut h), "NONE");
    // The assignment is the old member's, also after a restart.
    let token = h.send_sync(b.sync_request(&[]));
    assert_eq!(&h.synced(token).assignment[..], b"abc");
    h.restart();
    assert_eq!((b.beat(&mut h), a.beat(&mut h)), ("NONE", "FENCED_INSTANCE_ID"));
}

#[test]
fn since_version_9_a_replaced_leader_leads_without_assigning() {
    let mut h = Harness::new();
    let a = h.static_member(GROUP, "one");
    let b = Member { instance: Some("one".to_owned()), ..Member::new(GROUP) };
    let reply = h.join(b.request(), 9);
    assert_eq!((reply.skip_assignment, reply.members.len()), (true, 1));
    assert_eq!(reply.leader, reply.member_id);
    assert_ne!(*reply.member_id, *a.id);
}

#[test]
fn a_replacement_that_cannot_be_written_is_taken_back() {
    let mut h = Harness::new();
    let a = h.static_member(GROUP, "one");
    h.auto_commit = false;
    let b = Member { instance: Some("one".to_owned()), ..Member::new(GROUP) };
    let token = h.send_join(b.request(), 7);
    assert_eq!(h.reply(token), None, "answered when the new id is persisted");
    h.fail_write(ErrorCode::NotEnoughReplicas);
    assert_eq!(error_name(h.joined(token).error_code), "COORDINATOR_NOT_AVAILABLE");
    assert_eq!(a.beat(&mut h), "NONE");
}

#[test]
fn a_replacement_with_other_protocols_rebalances() {
    let mut h = Harness::new();
    h.static_member(GROUP, "one");
    let mut b = Member { instance: Some("one".to_owned()), protocols: vec!["sticky"], ..Member::new(GROUP) };
    // The only member is replaced by one that supports something else.
    let reply = b.join(&mut h);
    assert_eq!(error_name(reply.error_code), "INCONSISTENT_GROUP_PROTOCOL");
    b.protocols = vec!["sticky", "range"];
    let reply = b.join(&mut h);
    assert_eq!((reply.generation_id, reply.protocol_name.as_deref()), (2, Some("sticky")));
}

#[test]
fn unknown_instances() {
    let mut h = Harness::new();
    let m = h.static_member(GROUP, "one");
    let stranger = Member { instance: Some("two".to_owned()), ..m.clone() };
    assert_eq!(stranger.beat(&mut h), "UNKNOWN_MEMBER_ID");
    assert_eq!(stranger.leave(&mut h), "NONE ['UNKNOWN_MEMBER_ID']");
    assert_eq!(h.leave(GROUP, &[("", Some("one")), ("", Some("zzz"))]), "NONE ['NONE', 'UNKNOWN_MEMBER_ID']");
    assert_eq!(m.beat(&mut h), "UNKNOWN_MEMBER_ID");
}

#[test]
fn a_static_member_keeps_its_place_while_it_is_away() {
    let mut h = Harness::new();
    let a = h.static_member(GROUP, "one");
    let mut b = Member::new(GROUP);
    let token = b.send_join(&mut h);
    // The static member does not join again in time: it stays a member, another one leads.
    h.advance(Duration::from_millis(3_100));
    let reply = h.joined(token);
    b.take(&reply);
    assert_eq!((reply.members.len(), *reply.leader == *b.id), (2, true));
    assert_eq!(h.beat(GROUP, &a.id, Some("one"), 2), "NONE");
    // Its session ends it in the end.
    assert_eq!(b.sync(&mut h), "NONE");
    h.advance(Duration::from_millis(6_000));
    b.beat(&mut h);
    h.advance(Duration::from_millis(6_000));
    assert_eq!(h.beat(GROUP, &a.id, Some("one"), 2), "UNKNOWN_MEMBER_ID");
}
