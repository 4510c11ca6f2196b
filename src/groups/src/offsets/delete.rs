//! OffsetDelete (KIP-496), DeleteGroups, and what the deletion of a topic takes along.

use crate::Coordinator;
use crate::consumer::Draft;
use crate::effects::{CoordinatorRecord, Effects, Reply, Token};
use crate::records::Key;
use crate::turn::{RequestContext, Turn};
use crate::wire::messages::offset_delete_response::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic};
use crate::wire::messages::{OffsetDeleteRequest, OffsetDeleteResponse};
use crate::wire::{ErrorCode, code};
use crate::writes::Then;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Tombstones in one batch, so that it stays far below any `max.message.bytes`.
pub(crate) const TOMBSTONES_PER_WRITE_MAX: usize = 500;

impl Coordinator {
    pub fn offset_delete(&mut self, turn: &Turn, _ctx: &RequestContext, request: OffsetDeleteRequest, token: Token, fx: &mut Effects) {
        let group_id: &str = &request.group_id;
        let checked = match (self.classic.get(group_id), self.consumer.get_key_value(group_id)) {
            (Some(group), _) => group.validate_offset_delete().map(|()| group.id().clone()),
            (None, Some((id, _))) => Ok(id.clone()),
            (None, None) => Err(ErrorCode::GroupIdNotFound),
        };
        let id = match checked {
            Ok(id) => id,
            Err(error) => return fx.reply(token, OffsetDeleteResponse::default().with_error_code(error.code())),
        };
        let mut records = Vec::new();
        let mut response = OffsetDeleteResponse::default();
        for topic in &request.topics {
            let subscribed = self.is_subscribed(group_id, &topic.name);
            let partitions = topic.partitions.iter().map(|partition| {
                let index = partition.partition_index;
                let outcome = if !turn.topics.has_partition(&topic.name, index) {
                    Err(ErrorCode::UnknownTopicOrPartition)
                } else if subscribed {
                    Err(ErrorCode::GroupSubscribedToTopic)
                } else {
                    if self.hard.offset(group_id, &topic.name, index).is_some() || self.hard.has_pending(group_id, &topic.name, index) {
                        records.push(Key::Offset { group: group_id, topic: &topic.name, partition: index }.tombstone());
                    }
                    Ok(())
                };
                OffsetDeleteResponsePartition::default().with_partition_index(index).with_error_code(code(&outcome))
            });
            let partitions = partitions.collect();
            response.topics.push(OffsetDeleteResponseTopic::default().with_name(topic.name.clone()).with_partitions(partitions));
        }
        self.env(turn, fx).write_then_reply(&id, records, token, response);
    }

    /// Deletes one group of a DeleteGroups request, with its offsets. Answered with [`Reply::DeleteGroup`].
    pub fn delete_group(&mut self, turn: &Turn, group_id: &str, token: Token, fx: &mut Effects) {
        let checked = match self.classic.get(group_id) {
            Some(group) => group.validate_delete(),
            None if !self.has_consumer(group_id) => Err(ErrorCode::GroupIdNotFound),
            None if self.consumer_is_empty(group_id) => Ok(()),
            None => Err(ErrorCode::NonEmptyGroup),
        };
        match checked {
            Ok(()) => self.remove_group(turn, group_id, Some(token), fx),
            Err(error) => fx.reply(token, Reply::DeleteGroup(Err(error))),
        }
    }

    /// Writes the tombstones of a group and forgets it. Offsets whose write is still under way come after this in
    /// the log and bring the group back: they were committed after it was deleted.
    pub(crate) fn remove_group(&mut self, turn: &Turn, group_id: &str, token: Option<Token>, fx: &mut Effects) {
        let (id, metadata) = if let Some(mut group) = self.classic.remove(group_id) {
            let id = group.id().clone();
            self.timers.disarm(&id, group.armed());
            (id, vec![Key::Group { group: group_id }.tombstone()])
        } else if let Some((id, _)) = self.consumer.get_key_value(group_id) {
            let id = id.clone();
            self.forget_consumer(&id);
            let state = self.hard.consumer(&id).cloned().unwrap_or_default();
            (id.clone(), Draft::new(id, state).remove_group())
        } else {
            return;
        };
        let mut tombstones = self.offset_tombstones(group_id, |_, _, _| true);
        let last = tombstones.pop_if(|chunk| chunk.len() < TOMBSTONES_PER_WRITE_MAX).unwrap_or_default();
        let mut env = self.env(turn, fx);
        for chunk in tombstones {
            env.write(&id, chunk, Then::Nothing);
        }
        let mut last = last;
        last.extend(metadata);
        env.write(&id, last, Then::Delete(token));
    }

    /// Tombstones for the chosen offsets of a group, in batches.
    pub(crate) fn offset_tombstones(
        &self,
        group: &str,
        chosen: impl Fn(&str, i32, &crate::records::offset::CommittedOffset) -> bool,
    ) -> Vec<Vec<CoordinatorRecord>> {
        let offsets = self.hard.offsets_of(group).into_iter().flatten();
        let records: Vec<CoordinatorRecord> = offsets
            .flat_map(|(topic, partitions)| partitions.iter().map(move |(&partition, offset)| (topic, partition, offset)))
            .filter(|(topic, partition, offset)| chosen(topic, *partition, offset))
            .map(|(topic, partition, _)| Key::Offset { group, topic, partition }.tombstone())
            .collect();
        records.chunks(TOMBSTONES_PER_WRITE_MAX).map(<[_]>::to_vec).collect()
    }

    /// Topics are gone, and their offsets in all groups with them. Call it when the image no longer has the topics.
    pub fn on_topics_deleted(&mut self, turn: &Turn, names: &[&str], fx: &mut Effects) {
        let names: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
        match self.writes.last() {
            // Commits under way were accepted before the deletion: let them land first.
            Some(last) => self.deleted_topics.push_back((last, names)),
            None => self.delete_offsets_of_topics(turn, &names, fx),
        }
    }

    /// Topics or partition counts have changed: consumer groups look at their subscriptions again, each with its next
    /// heartbeat, as in Kafka. The members of classic groups watch that themselves.
    pub fn on_topics_changed(&mut self, _turn: &Turn, _fx: &mut Effects) {
        self.topics_generation += 1;
    }

    /// Whether members of the group read the topic.
    pub(crate) fn is_subscribed(&self, group_id: &str, topic: &str) -> bool {
        match self.classic.get(group_id) {
            Some(group) => group.is_subscribed(topic),
            None => self.hard.consumer(group_id).is_some_and(|state| state.is_subscribed(topic)),
        }
    }

    pub(crate) fn delete_offsets_of_topics(&mut self, turn: &Turn, names: &BTreeSet<String>, fx: &mut Effects) {
        let concerned = |topics: &crate::hard_state::TopicOffsets| topics.keys().any(|topic| names.contains(&**topic));
        let groups: Vec<Arc<str>> =
            self.hard.groups_with_offsets().filter(|(_, topics)| concerned(topics)).map(|(group, _)| group.clone()).collect();
        for group in groups {
            for chunk in self.offset_tombstones(&group, |topic, _, _| names.contains(topic)) {
                self.env(turn, fx).write(&group, chunk, Then::Nothing);
            }
        }
    }
}
