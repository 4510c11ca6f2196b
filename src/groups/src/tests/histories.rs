//! Random histories with a fixed seed each: what must hold whatever clients, the clock and the log do.

use super::harness::*;
use crate::wire::ErrorCode;
use crate::{GroupsConfig, Reply, Token};
use odradek_base::Rng;
use std::collections::BTreeMap;
use std::time::Duration;

const GROUPS: [&str; 2] = ["g", "h"];
const SEEDS: u64 = 60;
const STEPS: usize = 300;

struct History {
    h: Harness,
    rng: Rng,
    members: Vec<Member>,
    /// Unanswered JoinGroups and SyncGroups, by the member that sent them.
    joins: BTreeMap<Token, usize>,
    syncs: Vec<Token>,
    /// Unanswered commits: partition and offset.
    commits: BTreeMap<Token, (&'static str, i32, i64)>,
    acknowledged: BTreeMap<(&'static str, i32), i64>,
    generations: BTreeMap<&'static str, i32>,
    next_offset: i64,
}

impl History {
    fn new(seed: u64) -> Self {
        let delay = Duration::from_secs(if seed.is_multiple_of(2) { 0 } else { 3 });
        let mut h = Harness::with(GroupsConfig { initial_rebalance_delay: delay, ..GroupsConfig::default() });
        h.auto_commit = false;
        let members = (0..6)
            .map(|i| Member {
                instance: (i % 3 == 0).then(|| format!("instance-{}", i / 3)),
                protocols: if i % 2 == 0 { vec!["range"] } else { vec!["sticky", "range"] },
                ..Member::new(GROUPS[i % 2])
            })
            .collect();
        Self {
            h,
            rng: Rng::with_seed(seed),
            members,
            joins: BTreeMap::new(),
            syncs: Vec::new(),
            commits: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            generations: BTreeMap::new(),
            next_offset: 0,
        }
    }

    fn step(&mut self) {
        let i = self.rng.below(self.members.len() as u64) as usize;
        match self.rng.below(20) {
            0..=4 => {
                let member = &self.members[i];
                let token = self.h.send_join(member.request(), 7);
                self.joins.insert(token, i);
            }
            5..=7 => {
                let member = self.members[i].clone();
                let ids: Vec<String> = self.members.iter().map(|m| m.id.clone()).filter(|id| !id.is_empty()).collect();
                let shares: Vec<(&str, &'static [u8])> = ids.iter().map(|id| (&**id, &b"share"[..])).collect();
                self.syncs.push(self.h.send_sync(member.sync_request(&shares)));
            }
            8..=9 => {
                self.members[i].clone().beat(&mut self.h);
            }
            10..=12 => {
                let partition = self.rng.below(2) as i32;
                self.next_offset += 1;
                let group = GROUPS[i % 2];
                let token = self.h.send_commit(self.members[i].commit_request("t", partition, self.next_offset), 8);
                self.commits.insert(token, (group, partition, self.next_offset));
            }
            13 => {
                let member = self.members[i].clone();
                member.leave(&mut self.h);
                self.members[i].id.clear();
            }
            14..=17 => {
                if !self.h.uncommitted.is_empty() {
                    if self.rng.chance(8) { self.h.fail_write(ErrorCode::KafkaStorageError) } else { self.h.commit_write() }
                }
            }
            18 => self.h.advance(Duration::from_millis(self.rng.below(4_000))),
            _ => {
                if self.rng.chance(6) {
                    self.h.restart();
                    self.joins.clear();
                    self.syncs.clear();
                    self.commits.clear();
                    self.generations.clear();
                }
            }
        }
        self.read_answers();
        self.check();
    }

    fn read_answers(&mut self) {
        for (token, i) in self.joins.clone() {
            let Some(Reply::JoinGroup(reply)) = self.h.reply(token) else { continue };
            self.joins.remove(&token);
            let member = &mut self.members[i];
            match error_name(reply.error_code) {
                "NONE" => member.take(&reply),
                "MEMBER_ID_REQUIRED" => member.id = reply.member_id.to_string(),
                "UNKNOWN_MEMBER_ID" | "FENCED_INSTANCE_ID" => member.id.clear(),
                _ => {}
            }
        }
        for (token, (group, partition, offset)) in self.commits.clone() {
            let Some(Reply::OffsetCommit(reply)) = self.h.reply(token) else { continue };
            self.commits.remove(&token);
            if reply.topics[0].partitions[0].error_code == 0 {
                self.acknowledged.insert((group, partition), offset);
            }
        }
    }

    fn check(&mut self) {
        for group in GROUPS {
            if let Some(live) = self.h.coordinator.classic.get(group) {
                let before = self.generations.insert(group, live.generation()).unwrap_or(0);
                assert!(live.generation() >= before, "the generation of {group} went back");
                let ids: Vec<&str> = live.member_ids().map(|id| &**id).collect();
                match live.leader() {
                    Some(leader) => assert!(ids.contains(&leader), "the leader is not a member"),
                    None => assert!(ids.is_empty(), "members without a leader"),
                }
            }
        }
        for (&(group, partition), &offset) in &self.acknowledged.clone() {
            assert_eq!(self.h.offset(group, "t", partition), offset, "the last acknowledged commit is what is fetched");
        }
        assert_eq!(self.h.reloaded().hard, self.h.coordinator.hard, "a reload finds the live state");
    }
}

#[test]
fn random_histories_keep_the_invariants() {
    let mut generations = 0;
    let mut acknowledged = 0;
    for seed in 0..SEEDS {
        let mut history = History::new(seed);
        for _ in 0..STEPS {
            history.step();
        }
        // In the end everything is answered.
        history.h.commit_writes();
        history.h.auto_commit = true;
        history.h.advance(Duration::from_secs(3_600));
        history.read_answers();
        assert!(history.joins.is_empty(), "seed {seed}: a JoinGroup was never answered");
        for token in std::mem::take(&mut history.syncs) {
            assert!(history.h.reply(token).is_some(), "seed {seed}: a SyncGroup was never answered");
        }
        assert!(history.commits.is_empty());
        generations += history.generations.values().sum::<i32>();
        acknowledged += history.acknowledged.len();
    }
    // The histories are worth something only if things happen in them.
    assert!(generations > SEEDS as i32 * 5 && acknowledged > SEEDS as usize, "{generations} generations, {acknowledged} commits");
}
