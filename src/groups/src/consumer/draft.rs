//! A change of a consumer group in the making: records, and the state they lead to.

use super::assign::{self, Assignor};
use super::state::{ConsumerState, Current, Member, Subscription, Target};
use crate::effects::CoordinatorRecord;
use crate::records::Key;
use crate::records::consumer as value;
use crate::turn::Turn;
use bytes::Bytes;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

pub(crate) struct Draft {
    group: Arc<str>,
    /// What the group is once the records are written.
    pub(crate) next: ConsumerState,
    pub(crate) records: Vec<CoordinatorRecord>,
}

impl Draft {
    pub(crate) fn new(group: Arc<str>, state: ConsumerState) -> Self {
        Self { group, next: state, records: Vec::new() }
    }

    fn put(&mut self, key: Key, record: Option<Bytes>) {
        self.next.replay(&key, record.as_deref()).expect("own records are readable");
        self.records.push(CoordinatorRecord { key: key.encode(), value: record });
    }

    pub(crate) fn set_subscription(&mut self, member: &str, subscription: &Subscription) {
        let group = self.group.clone();
        self.put(Key::ConsumerMember { group: &group, member }, Some(subscription.encode()));
    }

    pub(crate) fn set_current(&mut self, member: &str, current: &Current) {
        let group = self.group.clone();
        self.put(Key::ConsumerCurrent { group: &group, member }, Some(current.encode()));
    }

    pub(crate) fn set_target(&mut self, member: &str, target: &Target) {
        let group = self.group.clone();
        self.put(Key::ConsumerTarget { group: &group, member }, Some(value::encode_target(target)));
    }

    pub(crate) fn set_regex(&mut self, regex: &str, resolved: &super::Resolved) {
        let group = self.group.clone();
        self.put(Key::ConsumerRegex { group: &group, regex }, Some(resolved.encode()));
    }

    pub(crate) fn remove_member(&mut self, member: &str) {
        let group = self.group.clone();
        self.put(Key::ConsumerCurrent { group: &group, member }, None);
        self.put(Key::ConsumerTarget { group: &group, member }, None);
        self.put(Key::ConsumerMember { group: &group, member }, None);
    }

    /// Drops the resolutions of expressions that no member has any more.
    pub(crate) fn remove_unused_regexes(&mut self) {
        let group = self.group.clone();
        let used: BTreeSet<&Arc<str>> = self.next.members.values().filter_map(|member| member.subscription.regex.as_ref()).collect();
        let unused: Vec<Arc<str>> = self.next.regexes.keys().filter(|regex| !used.contains(*regex)).cloned().collect();
        for regex in unused {
            self.put(Key::ConsumerRegex { group: &group, regex: &regex }, None);
        }
    }

    /// A new group epoch: if `changed`, or if the subscribed topics are not what they were.
    pub(crate) fn bump_epoch(&mut self, turn: &Turn, changed: bool) {
        let hash = metadata_hash(turn, &self.next);
        if !changed && hash == self.next.metadata_hash {
            return;
        }
        let group = self.group.clone();
        let epoch = self.next.epoch.saturating_add(1);
        self.put(Key::Consumer { group: &group }, Some(value::encode_metadata(epoch, hash)));
        if self.next.old_metadata {
            self.put(Key::ConsumerPartitions { group: &group }, None);
        }
    }

    /// Computes the target of the group's epoch, unless the last one is too young.
    pub(crate) fn update_targets(&mut self, turn: &Turn, interval: Duration) {
        let wall = turn.wall.get();
        let last = self.next.assignment_timestamp;
        let may = last == 0 || interval.is_zero() || wall >= last.saturating_add(interval.as_millis() as i64) || wall < last;
        if self.next.assignment_epoch >= self.next.epoch || !may {
            return;
        }
        let group = self.group.clone();
        let targets = assign::targets(turn, &self.next, self.assignor());
        for (member, target) in targets {
            if self.next.targets.get(&member).is_none_or(|old| **old != target) {
                self.set_target(&member, &target);
            }
        }
        self.put(Key::ConsumerTargets { group: &group }, Some(value::encode_target_metadata(self.next.epoch, wall)));
    }

    /// The assignor most members ask for.
    fn assignor(&self) -> Assignor {
        assign::preferred(&self.next).unwrap_or_default()
    }

    pub(crate) fn member(&self, id: &str) -> Option<&Member> {
        self.next.members.get(id).map(|member| &**member)
    }

    /// Tombstones of everything a group without members has.
    pub(crate) fn remove_group(mut self) -> Vec<CoordinatorRecord> {
        let group = self.group.clone();
        let members: Vec<Arc<str>> = self.next.members.keys().chain(self.next.targets.keys()).cloned().collect();
        members.iter().for_each(|member| self.remove_member(member));
        self.remove_unused_regexes();
        if self.next.old_metadata {
            self.put(Key::ConsumerPartitions { group: &group }, None);
        }
        self.put(Key::ConsumerTargets { group: &group }, None);
        self.put(Key::Consumer { group: &group }, None);
        self.records
    }
}

/// FNV-1a over names, ids and partition counts of the subscribed topics that exist; 0 where there are none. Kafka's
/// hash is another: the first heartbeat after its log was taken over costs one group epoch.
fn metadata_hash(turn: &Turn, state: &ConsumerState) -> i64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut any = false;
    for name in state.subscribed() {
        let Some(info) = (turn.topics.by_name)(name) else { continue };
        any = true;
        let parts = [name.as_bytes(), &[0], info.id.0.as_bytes(), &info.partitions.to_be_bytes()];
        for byte in parts.into_iter().flatten() {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    if any { hash as i64 } else { 0 }
}
