//! Bytes from a damaged or foreign log.

use super::harness::*;
use crate::records::group::GroupMetadata;
use crate::records::offset::CommittedOffset;
use crate::{Coordinator, GroupsConfig};
use bytes::Bytes;
use odradek_base::{ProducerId, Rng};
use std::time::Duration;

/// Records of every kind.
fn samples() -> Vec<(Bytes, Bytes)> {
    let mut h = Harness::new();
    h.static_member(GROUP, "one");
    h.member("h");
    h.simple_commit("s", "t", 1, 5);
    super::consumers::records_of_a_consumer_group(&mut h);
    h.log.iter().filter_map(|record| Some((record.key.clone(), record.value.clone()?))).collect()
}

fn mutate(rng: &mut Rng, bytes: &[u8]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    for _ in 0..=rng.below(3) {
        match rng.below(4) {
            0 => out.truncate(rng.below(out.len() as u64 + 1) as usize),
            1 => out.push(rng.next_u64() as u8),
            _ if out.is_empty() => {}
            2 => {
                let at = rng.below(out.len() as u64) as usize;
                out[at] = rng.next_u64() as u8;
            }
            _ => {
                let at = rng.below(out.len() as u64) as usize;
                out[at] = [0, 0x7f, 0x80, 0xff][rng.below(4) as usize];
            }
        }
    }
    out
}

#[test]
fn damaged_records_never_panic() {
    let samples = samples();
    assert!(samples.len() >= 3);
    let mut rng = Rng::with_seed(9);
    let mut refused = 0;
    for _ in 0..400 {
        let mut h = Harness::new();
        h.coordinator = Coordinator::new(GroupsConfig::default(), rng.fork());
        for _ in 0..20 {
            let (key, value) = &samples[rng.below(samples.len() as u64) as usize];
            let (key, value) = (mutate(&mut rng, key), mutate(&mut rng, value));
            let value = (!rng.chance(10)).then_some(&value[..]);
            let outcome = match rng.below(4) {
                0 => h.coordinator.replay_transactional(ProducerId(1), &key, value),
                _ => h.coordinator.replay(&key, value),
            };
            refused += usize::from(outcome.is_err());
        }
        h.coordinator.replay_marker(ProducerId(1), rng.chance(2));
        // Whatever was accepted can be lived with.
        h.act(|c, turn, fx| c.loaded(turn, fx));
        h.advance(Duration::from_secs(2_000));
        Member::new(GROUP).send_join(&mut h);
        h.advance(Duration::from_secs(700));
    }
    assert!(refused > 1_000, "{refused}");
}

#[test]
fn random_bytes_never_panic() {
    let mut rng = Rng::with_seed(3);
    for _ in 0..20_000 {
        let length = rng.below(64) as usize;
        let mut bytes: Vec<u8> = (0..length).map(|_| rng.next_u64() as u8).collect();
        if length > 2 {
            (bytes[0], bytes[1]) = (0, rng.below(18) as u8);
        }
        let _ = CommittedOffset::decode(&bytes);
        let _ = GroupMetadata::decode(&bytes);
        let _ = crate::records::Key::decode(&bytes);
        let _ = (crate::consumer::Current::decode(&bytes), crate::consumer::Subscription::decode(&bytes));
    }
}
