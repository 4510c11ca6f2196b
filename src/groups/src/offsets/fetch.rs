//! OffsetFetch, versions 1 to 10. Always answered at once, from committed state.

use crate::Coordinator;
use crate::records::offset::CommittedOffset;
use crate::turn::Turn;
use crate::wire::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use crate::wire::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};
use crate::wire::messages::{OffsetFetchRequest, OffsetFetchResponse};
use crate::wire::{ErrorCode, NONE, own};

/// Since this version one request asks for several groups.
const VERSION_GROUPS: i16 = 8;
/// Since this version topics are named by id.
const VERSION_TOPIC_IDS: i16 = 10;
/// Kafka's "no committed offset".
const NO_OFFSET: i64 = -1;

impl Coordinator {
    /// The committed offsets of one group. From version 10 on the caller has put each topic's name next to its id, or
    /// left the name empty where there is no such topic.
    pub fn fetch_offsets(
        &self,
        turn: &Turn,
        request: &OffsetFetchRequestGroup,
        require_stable: bool,
        version: i16,
    ) -> OffsetFetchResponseGroup {
        let response = OffsetFetchResponseGroup::default().with_group_id(request.group_id.clone());
        if let Err(error) = self.validate_fetch(request) {
            return response.with_error_code(error.code());
        }
        let group = &*request.group_id;
        let topics = match &request.topics {
            Some(topics) => topics.iter().map(|topic| self.fetch_topic(group, topic, require_stable, version)).collect(),
            None => self.fetch_all(turn, group, require_stable, version),
        };
        response.with_topics(topics)
    }

    /// Classic groups let anybody read.
    fn validate_fetch(&self, request: &OffsetFetchRequestGroup) -> Result<(), ErrorCode> {
        match self.hard.consumer(&request.group_id).filter(|_| self.has_consumer(&request.group_id)) {
            Some(state) => state.validate_fetch(request.member_id.as_deref(), request.member_epoch),
            None => Ok(()),
        }
    }

    fn fetch_topic(&self, group: &str, topic: &OffsetFetchRequestTopics, require_stable: bool, version: i16) -> OffsetFetchResponseTopics {
        let unknown_id = version >= VERSION_TOPIC_IDS && topic.name.is_empty();
        let partitions = topic.partition_indexes.iter().map(|&index| {
            if unknown_id {
                no_offset(index, ErrorCode::UnknownTopicId.code())
            } else {
                self.fetch_partition(group, &topic.name, index, require_stable)
            }
        });
        OffsetFetchResponseTopics::default()
            .with_name(topic.name.clone())
            .with_topic_id(topic.topic_id)
            .with_partitions(partitions.collect())
    }

    fn fetch_all(&self, turn: &Turn, group: &str, require_stable: bool, version: i16) -> Vec<OffsetFetchResponseTopics> {
        let Some(topics) = self.hard.offsets_of(group) else { return Vec::new() };
        let by_id = version >= VERSION_TOPIC_IDS;
        topics
            .iter()
            .filter_map(|(name, partitions)| {
                let info = (turn.topics.by_name)(name);
                if by_id && info.is_none() {
                    // A topic that is gone has no id to be named by.
                    return None;
                }
                let partitions = partitions.keys().map(|&index| self.fetch_partition(group, name, index, require_stable));
                Some(
                    OffsetFetchResponseTopics::default()
                        .with_name(own(name).into())
                        .with_topic_id(info.map(|info| info.id.0).unwrap_or_default())
                        .with_partitions(partitions.collect()),
                )
            })
            .collect()
    }

    fn fetch_partition(&self, group: &str, topic: &str, index: i32, require_stable: bool) -> OffsetFetchResponsePartitions {
        if require_stable && self.hard.has_pending(group, topic, index) {
            return no_offset(index, ErrorCode::UnstableOffsetCommit.code());
        }
        match self.hard.offset(group, topic, index) {
            Some(CommittedOffset { offset, leader_epoch, metadata, .. }) => OffsetFetchResponsePartitions::default()
                .with_partition_index(index)
                .with_committed_offset(offset.get())
                .with_committed_leader_epoch(*leader_epoch)
                .with_metadata(Some(metadata.clone())),
            None => no_offset(index, NONE),
        }
    }
}

fn no_offset(index: i32, code: i16) -> OffsetFetchResponsePartitions {
    OffsetFetchResponsePartitions::default()
        .with_partition_index(index)
        .with_committed_offset(NO_OFFSET)
        .with_committed_leader_epoch(-1)
        .with_metadata(Some(Default::default()))
        .with_error_code(code)
}

/// The groups a request asks for; before version 8 it is one, in fields of its own.
pub fn groups_of(request: OffsetFetchRequest, version: i16) -> Vec<OffsetFetchRequestGroup> {
    if version >= VERSION_GROUPS {
        return request.groups;
    }
    let topics = request.topics.map(|topics| {
        let one = |topic: crate::wire::messages::offset_fetch_request::OffsetFetchRequestTopic| {
            OffsetFetchRequestTopics::default().with_name(topic.name).with_partition_indexes(topic.partition_indexes)
        };
        topics.into_iter().map(one).collect()
    });
    vec![OffsetFetchRequestGroup::default().with_group_id(request.group_id).with_topics(topics)]
}

/// The response made of its groups, in the layout of the version.
pub fn response_of(mut groups: Vec<OffsetFetchResponseGroup>, version: i16) -> OffsetFetchResponse {
    if version >= VERSION_GROUPS {
        return OffsetFetchResponse::default().with_groups(groups);
    }
    let Some(group) = groups.pop() else { return OffsetFetchResponse::default() };
    let topics = group.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.into_iter().map(|partition| {
            OffsetFetchResponsePartition::default()
                .with_partition_index(partition.partition_index)
                .with_committed_offset(partition.committed_offset)
                .with_committed_leader_epoch(partition.committed_leader_epoch)
                .with_metadata(partition.metadata)
                // Before version 2 there is no error for the whole response.
                .with_error_code(if version < 2 && group.error_code != NONE { group.error_code } else { partition.error_code })
        });
        OffsetFetchResponseTopic::default().with_name(topic.name).with_partitions(partitions.collect())
    });
    OffsetFetchResponse::default().with_topics(topics.collect()).with_error_code(if version < 2 { NONE } else { group.error_code })
}
