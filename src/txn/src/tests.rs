//! The coordinator with a log that commits when told to.

use crate::*;
use odradek_base::{Instant, Rng, Timestamp};
use odradek_wire::messages::{InitProducerIdRequest, InitProducerIdResponse};
use odradek_wire::{ErrorCode, StrBytes};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

struct Harness {
    coordinator: Coordinator,
    config: TxnConfig,
    now: Instant,
    log: Vec<CoordinatorRecord>,
    uncommitted: VecDeque<Write>,
    replies: BTreeMap<Token, InitProducerIdResponse>,
    next_token: u64,
    next_id: i64,
    /// Ids in a block; 0: none is ever given.
    block: i64,
}

impl Harness {
    fn new() -> Self {
        Self::with(TxnConfig::default())
    }

    fn with(config: TxnConfig) -> Self {
        let mut harness = Self {
            coordinator: Coordinator::new(config.clone(), Rng::with_seed(1)),
            config,
            now: Instant(0),
            log: Vec::new(),
            uncommitted: VecDeque::new(),
            replies: BTreeMap::new(),
            next_token: 0,
            next_id: 1_000,
            block: 10,
        };
        harness.act(|c, turn, fx| c.loaded(turn, fx));
        harness
    }

    fn act(&mut self, call: impl FnOnce(&mut Coordinator, &Turn, &mut Effects)) {
        let turn = Turn { now: self.now, wall: Timestamp((self.now.0 / 1_000_000) as i64) };
        let mut fx = Effects::default();
        call(&mut self.coordinator, &turn, &mut fx);
        self.take(fx, &turn);
    }

    fn take(&mut self, fx: Effects, turn: &Turn) {
        self.uncommitted.extend(fx.writes);
        for (token, reply) in fx.replies {
            assert!(self.replies.insert(token, reply).is_none(), "answered twice");
        }
        if fx.producer_ids_wanted > 0 && self.block > 0 {
            let ids = self.next_id..self.next_id + self.block;
            self.next_id = ids.end;
            let mut fx = Effects::default();
            self.coordinator.provide_producer_ids(turn, ids, &mut fx);
            self.take(fx, turn);
        }
    }

    fn finish(&mut self, outcome: Result<(), ErrorCode>) {
        let write = self.uncommitted.pop_front().expect("a write under way");
        if outcome.is_ok() {
            self.log.extend(write.records);
        }
        self.act(|c, turn, fx| match outcome {
            Ok(()) => c.committed(turn, write.id, fx),
            Err(error) => c.failed(turn, write.id, error, fx),
        });
    }

    fn commit(&mut self) {
        while !self.uncommitted.is_empty() {
            self.finish(Ok(()));
        }
    }

    fn send(&mut self, id: &str, timeout: i32, producer: i64, epoch: i16) -> Token {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(Some(StrBytes::from_string(id.to_owned()).into()))
            .with_transaction_timeout_ms(timeout)
            .with_producer_id(producer.into())
            .with_producer_epoch(epoch);
        self.next_token += 1;
        let token = Token(self.next_token);
        self.act(|c, turn, fx| c.init_producer_id(turn, request, 4, token, fx));
        token
    }

    /// Error code, producer id, epoch.
    fn answer(&mut self, token: Token) -> Option<(i16, i64, i16)> {
        self.replies.remove(&token).map(|r| (r.error_code, r.producer_id.0, r.producer_epoch))
    }

    fn init(&mut self, id: &str, timeout: i32, producer: i64, epoch: i16) -> (i16, i64, i16) {
        let token = self.send(id, timeout, producer, epoch);
        self.commit();
        self.answer(token).expect("an answer")
    }

    fn reloaded(&self) -> Coordinator {
        let mut coordinator = Coordinator::new(self.config.clone(), Rng::with_seed(1));
        for record in &self.log {
            coordinator.replay(&record.key, record.value.as_deref()).unwrap();
        }
        coordinator
    }

    fn restart(&mut self) {
        self.coordinator = self.reloaded();
        self.uncommitted.clear();
        self.act(|c, turn, fx| c.loaded(turn, fx));
    }
}

const INVALID_REQUEST: i16 = 42;
const INVALID_TIMEOUT: i16 = 50;
const CONCURRENT: i16 = 51;
const FENCED: i16 = 90;

#[test]
fn requests_are_checked() {
    let mut h = Harness::new();
    for timeout in [0, -1, 900_001, i32::MIN] {
        assert_eq!(h.init("x", timeout, -1, -1), (INVALID_TIMEOUT, -1, -1));
    }
    assert_eq!(h.init("x", 900_000, -1, -1).0, 0);
    assert_eq!(h.init("", 60_000, -1, -1), (INVALID_REQUEST, -1, -1));
    assert_eq!(h.init(&"x".repeat(40_000), 60_000, -1, -1), (INVALID_REQUEST, -1, -1));
    assert_eq!(h.init("y", 60_000, -1, 3), (INVALID_REQUEST, -1, -1));
    assert_eq!(h.init("y", 60_000, 3, -1), (INVALID_REQUEST, -1, -1));
    assert_eq!(h.init("y", 60_000, 987_654, 3).0, 0, "what the coordinator does not know it does not doubt");
}

#[test]
fn epochs_grow_and_old_producers_are_fenced() {
    let mut h = Harness::new();
    let (error, id, epoch) = h.init("x", 60_000, -1, -1);
    assert_eq!((error, epoch), (0, 0));
    assert_eq!(h.init("x", 60_000, id, 0), (0, id, 1), "recovering with its own id and epoch");
    assert_eq!(h.init("x", 60_000, id, 0), (0, id, 1), "the answer got lost");
    assert_eq!(h.init("x", 60_000, -1, -1), (0, id, 2));
    assert_eq!(h.init("x", 60_000, -1, -1), (0, id, 3));
    assert_eq!(h.init("x", 60_000, id, 1), (FENCED, -1, -1));
    assert_eq!(h.init("x", 60_000, id + 999, 3), (FENCED, -1, -1));
    let other = h.init("z", 60_000, -1, -1);
    assert!(other.1 != id && other.2 == 0);
    h.restart();
    assert_eq!(h.init("x", 60_000, -1, -1), (0, id, 4));
}

#[test]
fn a_producer_id_whose_epochs_are_used_up_is_replaced() {
    let mut h = Harness::new();
    let (_, id, _) = h.init("x", 60_000, -1, -1);
    for epoch in 1..i16::MAX {
        assert_eq!(h.init("x", 60_000, id, epoch - 1), (0, id, epoch));
    }
    let (error, new, epoch) = h.init("x", 60_000, id, i16::MAX - 1);
    assert_eq!((error, epoch), (0, 0));
    assert_ne!(new, id);
    assert_eq!(h.init("x", 60_000, id, i16::MAX - 1), (0, new, 0), "the answer got lost");
    assert_eq!(h.init("x", 60_000, id, 5), (FENCED, -1, -1));
}

#[test]
fn one_change_at_a_time_and_none_before_it_is_written() {
    let mut h = Harness::new();
    let first = h.send("x", 60_000, -1, -1);
    assert_eq!(h.answer(first), None);
    let second = h.send("x", 60_000, -1, -1);
    assert_eq!(h.answer(second), Some((CONCURRENT, -1, -1)));
    h.finish(Err(ErrorCode::NotEnoughReplicas));
    assert_eq!(h.answer(first), Some((ErrorCode::CoordinatorNotAvailable.code(), -1, -1)));
    assert!(h.coordinator.transactions.is_empty());
    assert_eq!(h.init("x", 60_000, -1, -1).2, 0);
}

#[test]
fn requests_wait_for_producer_ids_but_not_forever() {
    let mut h = Harness::new();
    h.block = 0;
    let (a, b) = (h.send("a", 60_000, -1, -1), h.send("b", 60_000, -1, -1));
    assert_eq!((h.answer(a), h.answer(b)), (None, None));
    h.act(|c, turn, fx| c.provide_producer_ids(turn, 70..71, fx));
    h.commit();
    assert_eq!((h.answer(a), h.answer(b)), (Some((0, 70, 0)), None));
    h.now = h.coordinator.deadline().unwrap();
    h.act(|c, turn, fx| c.on_deadline(turn, fx));
    assert_eq!(h.answer(b), Some((ErrorCode::CoordinatorLoadInProgress.code(), -1, -1)));
    let mut small = Harness::with(TxnConfig { waiting_requests_max: 1, ..TxnConfig::default() });
    small.block = 0;
    small.send("a", 60_000, -1, -1);
    let refused = small.send("b", 60_000, -1, -1);
    assert_eq!(small.answer(refused), Some((ErrorCode::CoordinatorLoadInProgress.code(), -1, -1)));
}

#[test]
fn unused_ids_are_forgotten() {
    let mut h = Harness::new();
    h.init("x", 60_000, -1, -1);
    h.now = h.now + Duration::from_secs(6 * 24 * 3_600);
    h.init("y", 60_000, -1, -1);
    h.now = h.now + Duration::from_secs(25 * 3_600);
    h.act(|c, turn, fx| c.on_deadline(turn, fx));
    h.commit();
    assert_eq!(h.coordinator.transactions.keys().map(|id| &**id).collect::<Vec<_>>(), ["y"]);
    assert_eq!(h.reloaded().transactions, h.coordinator.transactions);
}

#[test]
fn an_open_transaction_of_another_broker_is_not_touched() {
    let mut h = Harness::new();
    h.init("x", 60_000, -1, -1);
    let mut open = h.coordinator.transactions["x"].clone();
    open.status = Status::Ongoing;
    let record = crate::records::record("x", Some(&open));
    h.coordinator.replay(&record.key, record.value.as_deref()).unwrap();
    assert_eq!(h.init("x", 60_000, -1, -1), (CONCURRENT, -1, -1));
}

#[test]
fn random_histories_never_give_a_pair_twice() {
    for seed in 0..50 {
        let mut h = Harness::new();
        let mut rng = Rng::with_seed(seed);
        h.block = 2;
        let mut open: BTreeMap<Token, &str> = BTreeMap::new();
        let mut held: BTreeMap<&str, (i64, i16)> = BTreeMap::new();
        let mut given: BTreeSet<(i64, i16)> = BTreeSet::new();
        for _ in 0..400 {
            let id = ["a", "b", "c"][rng.below(3) as usize];
            match rng.below(10) {
                0..=3 => {
                    let (producer, epoch) = held.get(id).copied().filter(|_| rng.chance(2)).unwrap_or((-1, -1));
                    let token = h.send(id, 60_000, producer, epoch);
                    open.insert(token, id);
                }
                4..=8 if !h.uncommitted.is_empty() => {
                    h.finish(if rng.chance(6) { Err(ErrorCode::KafkaStorageError) } else { Ok(()) });
                }
                9 if rng.chance(10) => {
                    h.restart();
                    open.clear();
                }
                _ => {}
            }
            for (token, id) in open.clone() {
                let Some((error, producer, epoch)) = h.answer(token) else { continue };
                open.remove(&token);
                if error == 0 {
                    let pair = (producer, epoch);
                    assert!(given.insert(pair) || held.get(id) == Some(&pair), "seed {seed}: {pair:?} given again");
                    held.insert(id, pair);
                }
            }
            assert_eq!(h.reloaded().transactions, h.coordinator.transactions, "seed {seed}");
        }
        assert!(given.len() > 10, "seed {seed}: nothing happened");
    }
}

#[test]
fn damaged_records_never_panic() {
    let mut h = Harness::new();
    h.init("some-id", 60_000, -1, -1);
    let record = h.log[0].clone();
    let (key, value) = (record.key.to_vec(), record.value.unwrap().to_vec());
    let mut rng = Rng::with_seed(4);
    let mut refused = 0;
    for _ in 0..20_000 {
        let (mut key, mut value) = (key.clone(), value.clone());
        let target = if rng.chance(4) { &mut key } else { &mut value };
        let at = rng.below(target.len() as u64) as usize;
        target[at] = rng.next_u64() as u8;
        if rng.chance(3) {
            target.truncate(rng.below(target.len() as u64) as usize);
        }
        refused += usize::from(h.coordinator.replay(&key, Some(&value)).is_err());
    }
    assert!(refused > 1_000);
    h.init("some-id", 60_000, -1, -1);
}
