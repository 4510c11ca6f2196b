//! Records of `__consumer_offsets` and `__transaction_state`: replayed, or reported as unreadable and without effect. A coordinator that
//! replayed them comes to life, answers about every group, and its timers run.
#![no_main]

use odradek_fuzz as _;

use libfuzzer_sys::fuzz_target;
use odradek_base::{Instant, ProducerId, Rng, Timestamp};
use odradek_groups::{Coordinator, Effects, GroupsConfig, Topics, Turn};
use odradek_wire::messages::ListGroupsRequest;
use std::time::Duration;

/// Deadlines that are followed after the start.
const DEADLINES: usize = 8;

fuzz_target!(|data: &[u8]| {
    let mut groups = Coordinator::new(GroupsConfig::default(), Rng::with_seed(1));
    let mut txn = odradek_txn::Coordinator::new(odradek_txn::TxnConfig::default(), Rng::with_seed(1));
    let mut rest = data;
    // A record: a byte that says how it was written, two lengths, key and value.
    while let [how, key_bytes, value_bytes, bytes @ ..] = rest {
        let (key, bytes) = bytes.split_at(bytes.len().min(usize::from(*key_bytes)));
        let (value, bytes) = bytes.split_at(bytes.len().min(usize::from(*value_bytes)));
        rest = bytes;
        let value = (how & 1 == 0).then_some(value);
        match how >> 1 & 3 {
            0 | 1 => drop(groups.replay(key, value)),
            2 => drop(groups.replay_transactional(ProducerId(7), key, value)),
            _ => groups.replay_marker(ProducerId(7), how & 1 == 0),
        }
        let _ = txn.replay(key, value);
    }

    let mut now = Instant(1);
    let mut fx = Effects::default();
    let turn = |now| Turn { now, wall: Timestamp(1_000_000), topics: Topics::none() };
    groups.loaded(&turn(now), &mut fx);
    for group in groups.list_groups(&ListGroupsRequest::default()) {
        let _ = groups.describe_group(&group.group_id, 5);
    }
    for _ in 0..DEADLINES {
        let Some(deadline) = groups.deadline() else { break };
        now = now.max(deadline);
        groups.on_deadline(&turn(now), &mut fx);
        for write in std::mem::take(&mut fx.writes) {
            groups.committed(&turn(now), write.id, &mut fx);
        }
        now = now + Duration::from_millis(1);
    }

    let mut fx = odradek_txn::Effects::default();
    let turn = |now| odradek_txn::Turn { now, wall: Timestamp(1_000_000) };
    txn.loaded(&turn(Instant(1)), &mut fx);
    if let Some(deadline) = txn.deadline() {
        txn.on_deadline(&turn(deadline), &mut fx);
    }
});
