//! OffsetCommit, versions 2 to 10.

use crate::Coordinator;
use crate::effects::{Effects, Token};
use crate::records::Key;
use crate::records::offset::CommittedOffset;
use crate::turn::{RequestContext, Turn};
use crate::wire::messages::offset_commit_request::OffsetCommitRequestPartition;
use crate::wire::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use crate::wire::messages::{OffsetCommitRequest, OffsetCommitResponse};
use crate::wire::{ErrorCode, code, own};
use odradek_base::{Offset, Timestamp, TopicId};
use std::sync::Arc;

/// Since this version a group that is not there has an error of its own.
const VERSION_GROUP_NOT_FOUND: i16 = 9;
/// Since this version topics are named by id.
const VERSION_TOPIC_IDS: i16 = 10;

impl Coordinator {
    /// Commits offsets; the reply waits for the write. From version 10 on the caller has put each topic's name next to
    /// its id, or left the name empty where there is no such topic.
    pub fn offset_commit(&mut self, turn: &Turn, ctx: &RequestContext, request: OffsetCommitRequest, token: Token, fx: &mut Effects) {
        let group = match self.validate_commit(turn, ctx, &request, fx) {
            Ok(group) => group,
            Err(error) => return fx.reply(token, all_failed(&request, error)),
        };
        let expire_timestamp = match request.retention_time_ms {
            -1 => None,
            ms => Some(Timestamp(turn.wall.get().saturating_add(ms))),
        };
        let mut records = Vec::with_capacity(request.topics.iter().map(|topic| topic.partitions.len()).sum());
        let mut response = OffsetCommitResponse::default();
        for topic in &request.topics {
            let known = (turn.topics.by_name)(&topic.name);
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for partition in &topic.partitions {
                let outcome = match known {
                    _ if topic.name.is_empty() && ctx.api_version >= VERSION_TOPIC_IDS => Err(ErrorCode::UnknownTopicId),
                    Some(info) if (0..info.partitions).contains(&partition.partition_index) => self.check_metadata(partition),
                    _ => Err(ErrorCode::UnknownTopicOrPartition),
                };
                if outcome.is_ok() {
                    let key = Key::Offset { group: &group, topic: &topic.name, partition: partition.partition_index };
                    records.push(key.with(committed(partition, turn.wall, expire_timestamp).encode()));
                }
                partitions.push(answer(partition, code(&outcome)));
            }
            response.topics.push(
                OffsetCommitResponseTopic::default()
                    .with_name(topic.name.clone())
                    .with_topic_id(topic.topic_id)
                    .with_partitions(partitions),
            );
        }
        self.env(turn, fx).write_then_reply(&group, records, token, response);
    }

    fn check_metadata(&self, partition: &OffsetCommitRequestPartition) -> Result<(), ErrorCode> {
        // The record has room for 32,767 bytes whatever the setting says.
        let max = self.config.offset_metadata_bytes_max.min(i16::MAX as usize);
        let length = partition.committed_metadata.as_ref().map_or(0, |text| text.len());
        if length > max { Err(ErrorCode::OffsetMetadataTooLarge) } else { Ok(()) }
    }

    /// Whether the sender may commit in this group; makes the group of a consumer that manages its partitions itself.
    fn validate_commit(
        &mut self,
        turn: &Turn,
        ctx: &RequestContext,
        request: &OffsetCommitRequest,
        fx: &mut Effects,
    ) -> Result<Arc<str>, ErrorCode> {
        let generation = request.generation_id_or_member_epoch;
        let too_long = |text: &str| text.len() > i16::MAX as usize;
        if too_long(&request.group_id) || request.topics.iter().any(|topic| too_long(&topic.name)) {
            return Err(ErrorCode::InvalidRequest);
        }
        if let Some((id, _)) = self.consumer.get_key_value(&**request.group_id) {
            let id = id.clone();
            let state = self.hard.consumer(&id).ok_or(ErrorCode::UnknownMemberId)?;
            return state.validate_commit(turn, ctx, request).map(|()| id);
        }
        if !self.has_classic(&request.group_id) {
            if generation >= 0 {
                let found = ctx.api_version < VERSION_GROUP_NOT_FOUND;
                return Err(if found { ErrorCode::IllegalGeneration } else { ErrorCode::GroupIdNotFound });
            }
            self.create_classic(&request.group_id, turn)?;
        }
        let instance = request.group_instance_id.as_deref();
        self.with_classic(&request.group_id, turn, fx, |group, env| {
            group.validate_commit(env, &request.member_id, instance, generation)?;
            Ok(group.id().clone())
        })
    }
}

fn committed(partition: &OffsetCommitRequestPartition, wall: Timestamp, expire_timestamp: Option<Timestamp>) -> CommittedOffset {
    CommittedOffset {
        offset: Offset(partition.committed_offset),
        leader_epoch: partition.committed_leader_epoch,
        metadata: partition.committed_metadata.clone().unwrap_or_default(),
        commit_timestamp: wall,
        expire_timestamp,
        topic_id: TopicId::NONE,
    }
}

fn answer(partition: &OffsetCommitRequestPartition, code: i16) -> OffsetCommitResponsePartition {
    OffsetCommitResponsePartition::default().with_partition_index(partition.partition_index).with_error_code(code)
}

fn all_failed(request: &OffsetCommitRequest, error: ErrorCode) -> OffsetCommitResponse {
    let topics = request.topics.iter().map(|topic| {
        OffsetCommitResponseTopic::default()
            .with_name(own(&topic.name).into())
            .with_topic_id(topic.topic_id)
            .with_partitions(topic.partitions.iter().map(|partition| answer(partition, error.code())).collect())
    });
    OffsetCommitResponse::default().with_topics(topics.collect())
}
