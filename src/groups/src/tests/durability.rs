//! What a restart finds.

use super::harness::*;
use std::time::Duration;

#[test]
fn groups_come_back_with_members_and_generation() {
    let mut h = Harness::new();
    let mut m = Member { topics: vec!["t"], ..Member::new(GROUP) };
    m.join(&mut h);
    m.sync(&mut h);
    m.commit(&mut h, "t", 5);
    h.restart();
    assert_eq!((h.state(GROUP), h.offset(GROUP, "t", 0)), ("Stable".to_owned(), 5));
    assert_eq!(m.beat(&mut h), "NONE");
    let token = h.send_sync(m.sync_request(&[]));
    assert_eq!(&h.synced(token).assignment[..], b"abc");
    // Sessions were started anew.
    h.restart();
    h.advance(Duration::from_secs(9));
    assert_eq!(m.beat(&mut h), "NONE");
    h.advance(Duration::from_secs(11));
    assert_eq!(m.beat(&mut h), "UNKNOWN_MEMBER_ID");
    // The next generation counts on.
    h.restart();
    let mut n = Member::new(GROUP);
    assert_eq!(n.join(&mut h).generation_id, 3);
}

#[test]
fn a_generation_that_was_never_synced_does_not_come_back() {
    let mut h = Harness::new();
    let mut m = Member::new(GROUP);
    m.join(&mut h);
    h.restart();
    assert_eq!((h.state(GROUP).as_str(), m.beat(&mut h)), ("Dead", "UNKNOWN_MEMBER_ID"));
}

#[test]
fn a_restart_during_a_rebalance_keeps_the_last_complete_generation() {
    let mut h = Harness::new();
    let m = h.member(GROUP);
    let mut n = Member::new(GROUP);
    n.send_join(&mut h);
    h.restart();
    assert_eq!(m.beat(&mut h), "NONE");
    assert_eq!(n.beat(&mut h), "UNKNOWN_MEMBER_ID");
}
