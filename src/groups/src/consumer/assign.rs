//! Server-side assignors: who should have which partitions (KIP-848).
//!
//! Both are deterministic and sticky: what a member has already stays with it as far as balance allows.

use super::state::{ConsumerState, Target};
use crate::turn::Turn;
use odradek_base::TopicId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Assignor {
    /// As even as possible over all topics together: `UniformAssignor`.
    #[default]
    Uniform,
    /// As even as possible within each topic, the same partitions of equal topics together: `RangeAssignor`.
    Range,
}

impl Assignor {
    pub(crate) fn by_name(name: &str) -> Option<Self> {
        match name {
            "uniform" => Some(Self::Uniform),
            "range" => Some(Self::Range),
            _ => None,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Range => "range",
        }
    }
}

/// The assignor most members name; equal votes go to the default. `None`: nobody names one.
pub(crate) fn preferred(state: &ConsumerState) -> Option<Assignor> {
    let mut votes: BTreeMap<Assignor, usize> = BTreeMap::new();
    for name in state.members.values().filter_map(|member| member.subscription.assignor.as_deref()) {
        if let Some(assignor) = Assignor::by_name(name) {
            *votes.entry(assignor).or_default() += 1;
        }
    }
    let most = votes.values().copied().max()?;
    votes.into_iter().find(|(_, count)| *count == most).map(|(assignor, _)| assignor)
}

/// The target of every member, also of those that get nothing.
pub(crate) fn targets(turn: &Turn, state: &ConsumerState, assignor: Assignor) -> BTreeMap<Arc<str>, Target> {
    let mut partitions: BTreeMap<TopicId, i32> = BTreeMap::new();
    let mut ids: BTreeMap<Arc<str>, TopicId> = BTreeMap::new();
    for name in state.subscribed() {
        if let Some(info) = (turn.topics.by_name)(name) {
            partitions.insert(info.id, info.partitions);
            ids.insert(name.clone(), info.id);
        }
    }
    let subscribers: Vec<Subscriber> = state
        .members
        .iter()
        .map(|(id, member)| {
            let by_regex = member.subscription.regex.as_ref().and_then(|regex| state.regexes.get(regex));
            let names = member.subscription.topics.iter().chain(by_regex.iter().flat_map(|resolved| &resolved.topics));
            let topics: BTreeSet<TopicId> = names.filter_map(|name| ids.get(name).copied()).collect();
            let old = state.targets.get(id).map(|target| (**target).clone()).unwrap_or_default();
            Subscriber { id: id.clone(), topics, target: kept(old, &partitions) }
        })
        .collect();
    let assigned = match assignor {
        Assignor::Uniform => uniform(subscribers, &partitions),
        Assignor::Range => range(subscribers, &partitions),
    };
    assigned.into_iter().map(|subscriber| (subscriber.id, subscriber.target)).collect()
}

#[derive(Debug, Clone)]
struct Subscriber {
    id: Arc<str>,
    topics: BTreeSet<TopicId>,
    target: Target,
}

impl Subscriber {
    fn count(&self) -> usize {
        self.target.values().map(BTreeSet::len).sum()
    }

    fn add(&mut self, topic: TopicId, partition: i32) {
        self.target.entry(topic).or_default().insert(partition);
    }

    fn remove(&mut self, topic: TopicId, partition: i32) {
        if let Some(partitions) = self.target.get_mut(&topic) {
            partitions.remove(&partition);
            if partitions.is_empty() {
                self.target.remove(&topic);
            }
        }
    }
}

/// What is left of an old target: partitions that still exist.
fn kept(mut target: Target, partitions: &BTreeMap<TopicId, i32>) -> Target {
    target.retain(|topic, indexes| {
        let count = partitions.get(topic).copied().unwrap_or(0);
        indexes.retain(|index| (0..count).contains(index));
        !indexes.is_empty()
    });
    target
}

/// Keeps what members have and still want, gives the rest to those with least, then evens out.
fn uniform(mut members: Vec<Subscriber>, partitions: &BTreeMap<TopicId, i32>) -> Vec<Subscriber> {
    let mut free: BTreeSet<(TopicId, i32)> =
        partitions.iter().flat_map(|(&topic, &count)| (0..count).map(move |partition| (topic, partition))).collect();
    for member in &mut members {
        let topics = &member.topics;
        member.target.retain(|topic, indexes| {
            // A partition in two targets (of a damaged log) goes to the first.
            indexes.retain(|&index| topics.contains(topic) && free.remove(&(*topic, index)));
            !indexes.is_empty()
        });
    }
    let mut load: BTreeSet<(usize, usize)> = members.iter().enumerate().map(|(at, member)| (member.count(), at)).collect();
    for (topic, partition) in free {
        let Some(&(count, at)) = load.iter().find(|(_, at)| members[*at].topics.contains(&topic)) else { continue };
        load.remove(&(count, at));
        members[at].add(topic, partition);
        load.insert((count + 1, at));
    }
    while let Some((from, to, topic, partition)) = improvement(&members, &load) {
        for (at, more) in [(from, false), (to, true)] {
            let before = members[at].count();
            load.remove(&(before, at));
            if more {
                members[at].add(topic, partition)
            } else {
                members[at].remove(topic, partition)
            }
            load.insert((members[at].count(), at));
        }
    }
    members
}

/// A partition that should move because its owner has at least two more than another subscriber of its topic. Each
/// move brings two counts closer, so there is an end.
fn improvement(members: &[Subscriber], load: &BTreeSet<(usize, usize)>) -> Option<(usize, usize, TopicId, i32)> {
    for &(most, from) in load.iter().rev() {
        let least = load.first()?.0;
        if most < least + 2 {
            return None;
        }
        for &(count, to) in load.iter().take_while(|(count, _)| count + 2 <= most) {
            debug_assert!(count + 2 <= most);
            let shared = members[from].target.iter().rev().find(|(topic, _)| members[to].topics.contains(*topic));
            if let Some((&topic, partition)) = shared.and_then(|(topic, indexes)| Some((topic, *indexes.last()?))) {
                return Some((from, to, topic, partition));
            }
        }
    }
    None
}

/// Each topic by itself: everybody its share of the topic, old partitions first, new ones in runs.
fn range(mut members: Vec<Subscriber>, partitions: &BTreeMap<TopicId, i32>) -> Vec<Subscriber> {
    let old: Vec<Target> = members.iter_mut().map(|member| std::mem::take(&mut member.target)).collect();
    for (&topic, &count) in partitions {
        let subscribed: Vec<usize> = (0..members.len()).filter(|&at| members[at].topics.contains(&topic)).collect();
        if subscribed.is_empty() {
            continue;
        }
        let share = count.max(0) as usize / subscribed.len();
        let mut extra = count.max(0) as usize % subscribed.len();
        let mut free: BTreeSet<i32> = (0..count).collect();
        let mut missing = Vec::new();
        for &at in &subscribed {
            let had: Vec<i32> = old[at].get(&topic).into_iter().flatten().copied().filter(|index| free.contains(index)).collect();
            let mut keep = had.len().min(share);
            if had.len() > share && extra > 0 {
                keep += 1;
                extra -= 1;
            } else {
                missing.push((at, share - keep));
            }
            for &index in &had[..keep] {
                free.remove(&index);
                members[at].add(topic, index);
            }
        }
        let mut free = free.into_iter();
        for (at, mut wanted) in missing {
            if extra > 0 {
                wanted += 1;
                extra -= 1;
            }
            free.by_ref().take(wanted).for_each(|index| members[at].add(topic, index));
        }
    }
    members
}

#[cfg(test)]
mod tests {
    use super::*;
    use odradek_base::Rng;

    fn topic(n: u128) -> TopicId {
        TopicId(uuid::Uuid::from_u128(n))
    }

    fn subscriber(id: &str, topics: &[u128]) -> Subscriber {
        Subscriber { id: id.into(), topics: topics.iter().map(|&n| topic(n)).collect(), target: Target::new() }
    }

    fn shares(members: &[Subscriber]) -> Vec<Vec<(u128, i32)>> {
        let share = |member: &Subscriber| {
            member.target.iter().flat_map(|(topic, indexes)| indexes.iter().map(|&index| (topic.0.as_u128(), index))).collect()
        };
        members.iter().map(share).collect()
    }

    /// Every partition of a subscribed topic has exactly one owner, who subscribes to the topic.
    fn check(members: &[Subscriber], partitions: &BTreeMap<TopicId, i32>) {
        let mut seen = BTreeSet::new();
        for member in members {
            for (topic, indexes) in &member.target {
                assert!(member.topics.contains(topic));
                indexes.iter().for_each(|index| assert!(seen.insert((*topic, *index)), "two owners"));
            }
        }
        for (topic, count) in partitions {
            let wanted = members.iter().any(|member| member.topics.contains(topic));
            (0..*count).for_each(|index| assert_eq!(seen.contains(&(*topic, index)), wanted));
        }
    }

    #[test]
    fn uniform_counts_all_topics_together_and_range_each_by_itself() {
        let partitions: BTreeMap<TopicId, i32> = [(topic(1), 3), (topic(2), 3)].into();
        let members = || vec![subscriber("a", &[1, 2]), subscriber("b", &[1, 2])];
        let even = uniform(members(), &partitions);
        assert_eq!(even.iter().map(Subscriber::count).collect::<Vec<_>>(), [3, 3]);
        let ranges = range(members(), &partitions);
        assert_eq!(shares(&ranges), [vec![(1, 0), (1, 1), (2, 0), (2, 1)], vec![(1, 2), (2, 2)]]);
    }

    #[test]
    fn what_a_member_has_stays_with_it() {
        let partitions: BTreeMap<TopicId, i32> = [(topic(1), 6)].into();
        for assign in [uniform, range] {
            let mut members = assign(vec![subscriber("b", &[1])], &partitions);
            assert_eq!(members[0].count(), 6);
            members.insert(0, subscriber("a", &[1]));
            members.push(subscriber("c", &[1]));
            let before = members[1].target.clone();
            let members = assign(members, &partitions);
            assert_eq!(members.iter().map(Subscriber::count).collect::<Vec<_>>(), [2, 2, 2]);
            assert!(members[1].target[&topic(1)].is_subset(&before[&topic(1)]));
            assert_eq!(shares(&assign(members.clone(), &partitions)), shares(&members), "nothing moves without need");
        }
    }

    #[test]
    fn members_with_different_topics_are_evened_out_where_they_can() {
        let partitions: BTreeMap<TopicId, i32> = [(topic(1), 4), (topic(2), 2)].into();
        let members = uniform(vec![subscriber("a", &[1, 2]), subscriber("b", &[1]), subscriber("c", &[])], &partitions);
        check(&members, &partitions);
        assert_eq!(members.iter().map(Subscriber::count).collect::<Vec<_>>(), [3, 3, 0]);
    }

    #[test]
    fn random_groups_get_every_partition_once() {
        let mut rng = Rng::with_seed(4);
        for _ in 0..300 {
            let partitions: BTreeMap<TopicId, i32> = (0..rng.below(4)).map(|n| (topic(n.into()), rng.below(9) as i32)).collect();
            let mut members: Vec<Subscriber> = Vec::new();
            for round in 0..6 {
                if rng.chance(3) && !members.is_empty() {
                    members.remove(rng.below(members.len() as u64) as usize);
                } else {
                    let topics: Vec<u128> = (0..4).filter(|_| !rng.chance(3)).collect();
                    let topics = topics.into_iter().filter(|&n| partitions.contains_key(&topic(n))).collect::<Vec<_>>();
                    members.push(subscriber(&format!("m{round}"), &topics));
                }
                members = if rng.chance(2) { uniform(members, &partitions) } else { range(members, &partitions) };
                check(&members, &partitions);
            }
        }
    }
}
