//! What survives a restart of a consumer group; changed by [`ConsumerState::replay`] only.

use crate::records::consumer as value;
use crate::records::{Key, Read};
use imbl::OrdMap;
use odradek_base::TopicId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The epoch a group has before its first change (`ModernGroup`).
const FIRST_EPOCH: i32 = 1;
/// Epoch of a static member that has left for a while (KIP-848).
pub(crate) const EPOCH_STATIC_LEAVE: i32 = -2;
/// Epoch of a member that has left.
pub(crate) const EPOCH_LEAVE: i32 = -1;

/// Partitions a member should have, without empty topics.
pub(crate) type Target = BTreeMap<TopicId, BTreeSet<i32>>;
/// Partitions a member has, each with the epoch at which it got them; without empty topics.
pub(crate) type Assigned = BTreeMap<TopicId, BTreeMap<i32, i32>>;

/// A consumer group as it is persisted. Cheap to clone: a request works on a copy until its records are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConsumerState {
    pub(crate) epoch: i32,
    /// Over the subscribed topics and their partition counts; 0: none.
    pub(crate) metadata_hash: i64,
    pub(crate) assignment_epoch: i32,
    /// When the target was computed, in ms since the epoch; 0: never, or not known.
    pub(crate) assignment_timestamp: i64,
    pub(crate) members: OrdMap<Arc<str>, Arc<Member>>,
    pub(crate) targets: OrdMap<Arc<str>, Arc<Target>>,
    pub(crate) regexes: OrdMap<Arc<str>, Arc<Resolved>>,
    /// There is a record of type 4 from Kafka 4.0 or older, to be removed with the next change.
    pub(crate) old_metadata: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) subscription: Subscription,
    pub(crate) current: Current,
}

/// What a member tells about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Subscription {
    pub(crate) instance: Option<Arc<str>>,
    pub(crate) rack: Option<Arc<str>>,
    pub(crate) client_id: Arc<str>,
    pub(crate) client_host: Arc<str>,
    pub(crate) topics: BTreeSet<Arc<str>>,
    /// Never empty.
    pub(crate) regex: Option<Arc<str>>,
    pub(crate) rebalance_timeout_ms: i32,
    pub(crate) assignor: Option<Arc<str>>,
}

/// Where a member stands on its way to its target.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Current {
    pub(crate) epoch: i32,
    /// The member may not have seen the last change of its epoch and come with this one.
    pub(crate) previous_epoch: i32,
    pub(crate) state: MemberState,
    pub(crate) assigned: Assigned,
    /// To be given up by the member before anything else happens to it.
    pub(crate) revoking: Assigned,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum MemberState {
    #[default]
    Stable,
    /// The member has partitions to give up.
    Unrevoked,
    /// Other members have yet to give up partitions of its target.
    Unreleased,
    /// Written by a newer Kafka.
    Unknown,
}

impl MemberState {
    pub(crate) fn from_code(code: i8) -> Self {
        match code {
            0 => Self::Stable,
            1 => Self::Unrevoked,
            2 => Self::Unreleased,
            _ => Self::Unknown,
        }
    }

    pub(crate) fn code(self) -> i8 {
        match self {
            Self::Stable => 0,
            Self::Unrevoked => 1,
            Self::Unreleased => 2,
            Self::Unknown => 127,
        }
    }
}

/// The topics that match a regular expression.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Resolved {
    pub(crate) topics: BTreeSet<Arc<str>>,
    /// Of the metadata they were found in.
    pub(crate) version: i64,
    /// In ms since the epoch.
    pub(crate) timestamp: i64,
}

impl Default for ConsumerState {
    fn default() -> Self {
        Self {
            epoch: FIRST_EPOCH,
            metadata_hash: 0,
            assignment_epoch: 0,
            assignment_timestamp: 0,
            members: OrdMap::new(),
            targets: OrdMap::new(),
            regexes: OrdMap::new(),
            old_metadata: false,
        }
    }
}

impl Current {
    pub(crate) fn is_reconciled_to(&self, assignment_epoch: i32) -> bool {
        self.state == MemberState::Stable && self.epoch == assignment_epoch
    }
}

impl ConsumerState {
    /// Applies one record of this group. A record that cannot be read changes nothing.
    pub(crate) fn replay(&mut self, key: &Key, record: Option<&[u8]>) -> Read<()> {
        match (*key, record) {
            (Key::Consumer { .. }, Some(bytes)) => (self.epoch, self.metadata_hash) = value::decode_metadata(bytes)?,
            (Key::Consumer { .. }, None) => *self = Self { members: self.members.clone(), ..Self::default() },
            (Key::ConsumerPartitions { .. }, Some(bytes)) => {
                value::check_partition_metadata(bytes)?;
                self.old_metadata = true;
            }
            (Key::ConsumerPartitions { .. }, None) => self.old_metadata = false,
            (Key::ConsumerMember { member, .. }, Some(bytes)) => {
                let subscription = Subscription::decode(bytes)?;
                let current = self.members.get(member).map(|member| member.current.clone()).unwrap_or_default();
                self.members.insert(Arc::from(member), Arc::new(Member { subscription, current }));
            }
            (Key::ConsumerMember { member, .. }, None) => {
                self.members.remove(member);
            }
            (Key::ConsumerTargets { .. }, Some(bytes)) => {
                (self.assignment_epoch, self.assignment_timestamp) = value::decode_target_metadata(bytes)?;
            }
            (Key::ConsumerTargets { .. }, None) => (self.assignment_epoch, self.assignment_timestamp) = (0, 0),
            (Key::ConsumerTarget { member, .. }, Some(bytes)) => {
                self.targets.insert(Arc::from(member), Arc::new(value::decode_target(bytes)?));
            }
            (Key::ConsumerTarget { member, .. }, None) => {
                self.targets.remove(member);
            }
            (Key::ConsumerCurrent { member, .. }, Some(bytes)) => {
                let current = Current::decode(bytes)?;
                let subscription = self.members.get(member).map(|member| member.subscription.clone()).unwrap_or_default();
                self.members.insert(Arc::from(member), Arc::new(Member { subscription, current }));
            }
            (Key::ConsumerCurrent { member, .. }, None) => {
                if let Some(subscription) = self.members.get(member).map(|member| member.subscription.clone()) {
                    self.members.insert(Arc::from(member), Arc::new(Member::subscribed_as(subscription)));
                }
            }
            (Key::ConsumerRegex { regex, .. }, Some(bytes)) => {
                self.regexes.insert(Arc::from(regex), Arc::new(Resolved::decode(bytes)?));
            }
            (Key::ConsumerRegex { regex, .. }, None) => {
                self.regexes.remove(regex);
            }
            (Key::Offset { .. } | Key::Group { .. }, _) => unreachable!("records of other kinds are not handed to a consumer group"),
        }
        Ok(())
    }

    /// Id and epoch of the member that holds an instance id.
    pub(crate) fn holder(&self, instance: &str) -> Option<(&Arc<str>, &Arc<Member>)> {
        self.members.iter().find(|(_, member)| member.subscription.instance.as_deref() == Some(instance))
    }

    /// Topics of all members, by name or by expression.
    pub(crate) fn subscribed(&self) -> BTreeSet<&Arc<str>> {
        let by_name = self.members.values().flat_map(|member| &member.subscription.topics);
        let resolved: BTreeSet<&Arc<str>> = self.members.values().filter_map(|member| member.subscription.regex.as_ref()).collect();
        let by_regex = resolved.into_iter().filter_map(|regex| self.regexes.get(regex)).flat_map(|resolved| &resolved.topics);
        by_name.chain(by_regex).collect()
    }

    /// Whether any member reads the topic.
    pub(crate) fn is_subscribed(&self, topic: &str) -> bool {
        self.members.values().any(|member| self.reads(&member.subscription, topic))
    }

    pub(crate) fn reads(&self, subscription: &Subscription, topic: &str) -> bool {
        subscription.topics.contains(topic)
            || subscription.regex.as_deref().and_then(|regex| self.regexes.get(regex)).is_some_and(|found| found.topics.contains(topic))
    }

    /// `ConsumerGroupState`
    pub(crate) fn state_name(&self) -> &'static str {
        if self.members.is_empty() {
            "Empty"
        } else if self.epoch > self.assignment_epoch {
            "Assigning"
        } else if self.members.values().any(|member| !member.current.is_reconciled_to(self.assignment_epoch)) {
            "Reconciling"
        } else {
            "Stable"
        }
    }
}
