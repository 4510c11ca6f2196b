//! What survives a restart: committed offsets and the last persisted metadata of each group.
//!
//! Only [`HardState::replay`] and its transactional kin change it. Classic groups keep the persisted value as the
//! bytes it came in: the live group is the working copy, this is what a reload would find.

use crate::consumer::ConsumerState;
use crate::records::Key;
use crate::records::ReplayError;
use crate::records::group::GroupMetadata;
use crate::records::offset::CommittedOffset;
use bytes::Bytes;
use odradek_base::ProducerId;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Offsets by partition of one topic.
pub(crate) type PartitionOffsets = BTreeMap<i32, CommittedOffset>;
/// Offsets by topic of one group.
pub(crate) type TopicOffsets = BTreeMap<Arc<str>, PartitionOffsets>;

#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct HardState {
    /// No group without topics, no topic without partitions.
    offsets: BTreeMap<Arc<str>, TopicOffsets>,
    /// GroupMetadataValue of each classic group, checked to be readable.
    classic: BTreeMap<Arc<str>, Bytes>,
    consumer: BTreeMap<Arc<str>, ConsumerState>,
    /// Offsets written inside transactions that are still open (KIP-98), by producer.
    pending: BTreeMap<ProducerId, BTreeMap<Arc<str>, TopicOffsets>>,
}

impl HardState {
    /// Applies one record. A record that cannot be read changes nothing.
    pub(crate) fn replay(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), ReplayError> {
        match (Key::decode(key)?, value) {
            (Key::Offset { group, topic, partition }, Some(value)) => {
                let value = CommittedOffset::decode(value)?;
                // A later plain commit wins over an open transaction's, whatever becomes of that.
                self.remove_pending(group, topic, partition);
                insert(&mut self.offsets, group, topic, partition, value);
            }
            (Key::Offset { group, topic, partition }, None) => {
                remove(&mut self.offsets, group, topic, partition);
                self.remove_pending(group, topic, partition);
            }
            (Key::Group { group }, Some(value)) => {
                GroupMetadata::decode(value)?;
                self.classic.insert(Arc::from(group), Bytes::copy_from_slice(value));
            }
            (Key::Group { group }, None) => {
                self.classic.remove(group);
            }
            (key, value) => self.replay_consumer(&key, value)?,
        }
        Ok(())
    }

    fn replay_consumer(&mut self, key: &Key, value: Option<&[u8]>) -> Result<(), ReplayError> {
        let group = key.group();
        match (self.consumer.get_mut(group), value) {
            (Some(state), _) => state.replay(key, value)?,
            (None, Some(_)) => {
                let mut state = ConsumerState::default();
                state.replay(key, value)?;
                self.consumer.insert(Arc::from(group), state);
            }
            (None, None) => {}
        }
        // The last tombstone of a group that is deleted.
        if matches!(key, Key::Consumer { .. }) && value.is_none() && self.consumer.get(group).is_some_and(|state| state.members.is_empty())
        {
            self.consumer.remove(group);
        }
        Ok(())
    }

    fn remove_pending(&mut self, group: &str, topic: &str, partition: i32) {
        if !self.pending.is_empty() {
            self.pending.retain(|_, groups| {
                remove(groups, group, topic, partition);
                !groups.is_empty()
            });
        }
    }

    /// Applies one record of a transactional batch: an offset stays pending until its producer's marker.
    pub(crate) fn replay_transactional(&mut self, producer: ProducerId, key: &[u8], value: Option<&[u8]>) -> Result<(), ReplayError> {
        match (Key::decode(key)?, value) {
            (Key::Offset { group, topic, partition }, Some(value)) => {
                let value = CommittedOffset::decode(value)?;
                insert(self.pending.entry(producer).or_default(), group, topic, partition, value);
                Ok(())
            }
            _ => Err(ReplayError::Invalid("a transaction holds something else than offsets")),
        }
    }

    /// Applies a transaction marker: the producer's pending offsets become committed, or vanish.
    pub(crate) fn replay_marker(&mut self, producer: ProducerId, commit: bool) {
        let Some(groups) = self.pending.remove(&producer) else { return };
        if !commit {
            return;
        }
        for (group, topics) in groups {
            let into = self.offsets.entry(group).or_default();
            for (topic, partitions) in topics {
                into.entry(topic).or_default().extend(partitions);
            }
        }
    }

    pub(crate) fn offset(&self, group: &str, topic: &str, partition: i32) -> Option<&CommittedOffset> {
        self.offsets.get(group)?.get(topic)?.get(&partition)
    }

    pub(crate) fn offsets_of(&self, group: &str) -> Option<&TopicOffsets> {
        self.offsets.get(group)
    }

    pub(crate) fn groups_with_offsets(&self) -> impl Iterator<Item = (&Arc<str>, &TopicOffsets)> {
        self.offsets.iter()
    }

    /// Groups with offsets of open transactions.
    pub(crate) fn groups_with_pending(&self) -> impl Iterator<Item = &Arc<str>> {
        self.pending.values().flat_map(BTreeMap::keys)
    }

    pub(crate) fn has_pending(&self, group: &str, topic: &str, partition: i32) -> bool {
        let holds = |groups: &BTreeMap<Arc<str>, TopicOffsets>| groups.get(group)?.get(topic)?.get(&partition).map(|_| ());
        self.pending.values().any(|groups| holds(groups).is_some())
    }

    pub(crate) fn classic_metadata(&self, group: &str) -> Option<&Bytes> {
        self.classic.get(group)
    }

    pub(crate) fn consumer(&self, group: &str) -> Option<&ConsumerState> {
        self.consumer.get(group)
    }

    pub(crate) fn consumer_groups(&self) -> impl Iterator<Item = (&Arc<str>, &ConsumerState)> {
        self.consumer.iter()
    }

    pub(crate) fn classic_groups(&self) -> impl Iterator<Item = &Arc<str>> {
        self.classic.keys()
    }
}

fn insert(groups: &mut BTreeMap<Arc<str>, TopicOffsets>, group: &str, topic: &str, partition: i32, value: CommittedOffset) {
    let topics = match groups.get_mut(group) {
        Some(topics) => topics,
        None => groups.entry(Arc::from(group)).or_default(),
    };
    let partitions = match topics.get_mut(topic) {
        Some(partitions) => partitions,
        None => topics.entry(Arc::from(topic)).or_default(),
    };
    partitions.insert(partition, value);
}

fn remove(groups: &mut BTreeMap<Arc<str>, TopicOffsets>, group: &str, topic: &str, partition: i32) {
    let Some(topics) = groups.get_mut(group) else { return };
    let Some(partitions) = topics.get_mut(topic) else { return };
    partitions.remove(&partition);
    if partitions.is_empty() {
        topics.remove(topic);
    }
    if topics.is_empty() {
        groups.remove(group);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::own;
    use odradek_base::{Offset, Timestamp, TopicId};

    fn at(offset: i64) -> Bytes {
        let value = CommittedOffset {
            offset: Offset(offset),
            leader_epoch: -1,
            metadata: own(""),
            commit_timestamp: Timestamp(1),
            expire_timestamp: None,
            topic_id: TopicId::NONE,
        };
        value.encode()
    }

    #[test]
    fn transactional_offsets_wait_for_their_marker() {
        let mut state = HardState::default();
        let key = Key::Offset { group: "g", topic: "t", partition: 0 }.encode();
        state.replay(&key, Some(&at(1))).unwrap();
        state.replay_transactional(ProducerId(7), &key, Some(&at(2))).unwrap();
        assert!(state.has_pending("g", "t", 0) && !state.has_pending("g", "t", 1));
        assert_eq!(state.offset("g", "t", 0).unwrap().offset, Offset(1));
        state.replay_marker(ProducerId(7), false);
        assert!(!state.has_pending("g", "t", 0));
        assert_eq!(state.offset("g", "t", 0).unwrap().offset, Offset(1));
        state.replay_transactional(ProducerId(7), &key, Some(&at(3))).unwrap();
        state.replay_marker(ProducerId(8), true);
        assert_eq!(state.offset("g", "t", 0).unwrap().offset, Offset(1));
        state.replay_marker(ProducerId(7), true);
        assert_eq!(state.offset("g", "t", 0).unwrap().offset, Offset(3));
    }

    #[test]
    fn tombstones_leave_nothing_behind() {
        let mut state = HardState::default();
        let key = Key::Offset { group: "g", topic: "t", partition: 0 }.encode();
        state.replay(&key, Some(&at(1))).unwrap();
        state.replay(&key, None).unwrap();
        assert_eq!(state, HardState::default());
        assert!(state.replay(&key, Some(b"\x00\x03\x00")).is_err());
        assert_eq!(state, HardState::default());
    }
}
