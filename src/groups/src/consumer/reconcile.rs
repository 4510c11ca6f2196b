//! One step of a member towards its target: give up first, then take over (`CurrentAssignmentBuilder`).
//!
//! ```text
//!              target without some of its partitions
//!   Stable ------------------------------------------> Unrevoked    keeps its epoch until it no longer reports them
//!     ^  \                                                |
//!     |   \  target has partitions others still hold      |  given up
//!     |    +-----------------> Unreleased <---------------+
//!     |                            |
//!     +----------------------------+  all released
//! ```

use super::state::{Assigned, Current, MemberState, Target};
use odradek_base::TopicId;
use std::collections::{BTreeMap, BTreeSet};

/// What the step is taken towards, and what it depends on.
pub(crate) struct Step<'a> {
    pub(crate) target_epoch: i32,
    pub(crate) target: &'a Target,
    /// The member subscribes to the topic.
    pub(crate) subscribed: &'a dyn Fn(TopicId) -> bool,
    /// The subscription has changed with this request, so that the target may not know it yet.
    pub(crate) subscription_changed: bool,
    /// What the member reports to have; `None`: it does not say.
    pub(crate) owned: Option<&'a BTreeMap<TopicId, BTreeSet<i32>>>,
    /// Another member holds the partition.
    pub(crate) held: &'a dyn Fn(TopicId, i32) -> bool,
}

/// A newer coordinator left the member in a state that is not known here: it has to start anew.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fenced;

impl Step<'_> {
    /// Where the member stands after the step.
    pub(crate) fn take(&self, current: &Current) -> Result<Current, Fenced> {
        match current.state {
            MemberState::Stable if current.epoch != self.target_epoch => Ok(self.advance(current, current.epoch)),
            MemberState::Stable if self.subscription_changed => Ok(self.strip(current)),
            MemberState::Stable => Ok(current.clone()),
            MemberState::Unrevoked if self.owns_any(&current.revoking) => {
                Ok(if self.subscription_changed { self.strip(current) } else { current.clone() })
            }
            MemberState::Unrevoked | MemberState::Unreleased => Ok(self.advance(current, current.epoch)),
            MemberState::Unknown if self.owned.is_some_and(BTreeMap::is_empty) => Ok(self.advance(current, self.target_epoch)),
            MemberState::Unknown => Err(Fenced),
        }
    }

    /// A member that does not say what it has may have anything.
    fn owns_any(&self, partitions: &Assigned) -> bool {
        let Some(owned) = self.owned else { return true };
        partitions
            .iter()
            .any(|(topic, indexes)| owned.get(topic).is_some_and(|reported| indexes.keys().any(|index| reported.contains(index))))
    }

    fn advance(&self, current: &Current, epoch: i32) -> Current {
        let (mut assigned, mut revoking, mut pending) = (Assigned::new(), Assigned::new(), Target::new());
        let mut unreleased = false;
        let nothing = BTreeSet::new();
        let topics: BTreeSet<TopicId> = self.target.keys().chain(current.assigned.keys()).copied().collect();
        for topic in topics {
            let target = self.target.get(&topic).filter(|_| (self.subscribed)(topic)).unwrap_or(&nothing);
            let has = current.assigned.get(&topic);
            for (&index, &since) in has.into_iter().flatten() {
                let into = if target.contains(&index) { &mut assigned } else { &mut revoking };
                into.entry(topic).or_default().insert(index, since);
            }
            for &index in target.iter().filter(|index| has.is_none_or(|has| !has.contains_key(index))) {
                let own = current.revoking.get(&topic).is_some_and(|revoked| revoked.contains_key(&index));
                if !own && (self.held)(topic, index) {
                    unreleased = true;
                } else {
                    pending.entry(topic).or_default().insert(index);
                }
            }
        }
        if !revoking.is_empty() && self.owns_any(&revoking) {
            return Current { epoch, previous_epoch: current.epoch, state: MemberState::Unrevoked, assigned, revoking };
        }
        for (topic, indexes) in pending {
            assigned.entry(topic).or_default().extend(indexes.into_iter().map(|index| (index, self.target_epoch)));
        }
        let state = if unreleased { MemberState::Unreleased } else { MemberState::Stable };
        Current { epoch: self.target_epoch, previous_epoch: current.epoch, state, assigned, revoking: Assigned::new() }
    }

    /// Takes away topics that the member no longer subscribes to, before a new target says so.
    fn strip(&self, current: &Current) -> Current {
        let (assigned, gone): (Assigned, Assigned) = current.assigned.clone().into_iter().partition(|(topic, _)| (self.subscribed)(*topic));
        if gone.is_empty() {
            return current.clone();
        }
        let mut revoking = current.revoking.clone();
        for (topic, indexes) in gone {
            revoking.entry(topic).or_default().extend(indexes);
        }
        let mut next = Current { previous_epoch: current.epoch, assigned, ..current.clone() };
        if self.owns_any(&revoking) {
            next.state = MemberState::Unrevoked;
            next.revoking = revoking;
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOPIC: TopicId = TopicId(uuid::Uuid::from_u128(1));

    fn assigned(indexes: &[(i32, i32)]) -> Assigned {
        if indexes.is_empty() { Assigned::new() } else { [(TOPIC, indexes.iter().copied().collect())].into() }
    }

    fn indexes(list: &[i32]) -> Target {
        if list.is_empty() { Target::new() } else { [(TOPIC, list.iter().copied().collect())].into() }
    }

    /// A step to epoch 9 and `target`; `owned` is what the member reports, `held` what others have.
    fn step(current: &Current, target: &[i32], owned: Option<&[i32]>, held: &[i32]) -> Current {
        let owned = owned.map(indexes);
        Step {
            target_epoch: 9,
            target: &indexes(target),
            subscribed: &|_| true,
            subscription_changed: false,
            owned: owned.as_ref(),
            held: &|_, index| held.contains(&index),
        }
        .take(current)
        .unwrap()
    }

    fn stable(epoch: i32, has: &[(i32, i32)]) -> Current {
        Current { epoch, assigned: assigned(has), ..Current::default() }
    }

    #[test]
    fn a_member_gives_up_before_it_takes_over() {
        let start = stable(5, &[(0, 5), (1, 5)]);
        let revoking = step(&start, &[1, 2], Some(&[0, 1]), &[]);
        assert_eq!((revoking.epoch, revoking.state), (5, MemberState::Unrevoked), "the epoch waits");
        assert_eq!((&revoking.assigned, &revoking.revoking), (&assigned(&[(1, 5)]), &assigned(&[(0, 5)])));
        assert_eq!(step(&revoking, &[1, 2], Some(&[0, 1]), &[]), revoking, "not given up yet");
        assert_eq!(step(&revoking, &[1, 2], None, &[]), revoking, "it does not say");
        let done = step(&revoking, &[1, 2], Some(&[1]), &[]);
        assert_eq!((done.epoch, done.previous_epoch, done.state), (9, 5, MemberState::Stable));
        assert_eq!(done.assigned, assigned(&[(1, 5), (2, 9)]), "each partition with the epoch it came at");
    }

    #[test]
    fn partitions_of_others_are_waited_for() {
        let waiting = step(&stable(5, &[]), &[0, 1], Some(&[]), &[1]);
        assert_eq!((waiting.epoch, waiting.state, &waiting.assigned), (9, MemberState::Unreleased, &assigned(&[(0, 9)])));
        assert_eq!(step(&waiting, &[0, 1], Some(&[0]), &[1]).assigned, waiting.assigned);
        let done = step(&waiting, &[0, 1], Some(&[0]), &[]);
        assert_eq!((done.state, &done.assigned), (MemberState::Stable, &assigned(&[(0, 9), (1, 9)])));
    }

    #[test]
    fn what_was_about_to_go_can_come_back() {
        let revoking = step(&stable(5, &[(0, 5)]), &[], Some(&[0]), &[]);
        let back = step(&revoking, &[0], Some(&[]), &[0]);
        assert_eq!((back.state, &back.assigned), (MemberState::Stable, &assigned(&[(0, 9)])));
    }

    #[test]
    fn unsubscribed_topics_go_at_once() {
        let step = Step {
            target_epoch: 5,
            target: &indexes(&[0]),
            subscribed: &|_| false,
            subscription_changed: true,
            owned: Some(&indexes(&[0])),
            held: &|_, _| false,
        };
        let next = step.take(&stable(5, &[(0, 5)])).unwrap();
        assert_eq!((next.epoch, next.state, &next.revoking), (5, MemberState::Unrevoked, &assigned(&[(0, 5)])));
    }

    #[test]
    fn an_unknown_state_starts_anew() {
        let unknown = Current { state: MemberState::Unknown, ..stable(5, &[(0, 5)]) };
        let step = |owned: Option<&Target>| {
            Step { target_epoch: 9, target: &indexes(&[0]), subscribed: &|_| true, subscription_changed: false, owned, held: &|_, _| false }
                .take(&unknown)
        };
        assert_eq!(step(Some(&indexes(&[0]))), Err(Fenced));
        assert_eq!(step(Some(&Target::new())).unwrap().state, MemberState::Stable);
    }
}
