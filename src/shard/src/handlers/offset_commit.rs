//! OffsetCommit (key 8).

use crate::answer::Answer;
use crate::coordinators::groups;
use crate::dispatch::{Close, Context};
use crate::shard::Shard;
use odradek_base::TopicId;
use odradek_groups::Reply;
use odradek_wire::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use odradek_wire::messages::{OffsetCommitRequest, OffsetCommitResponse};
use odradek_wire::{ErrorCode, StrBytes};
use std::rc::Rc;

/// From this version on topics are named by id.
const TOPIC_ID_FROM: i16 = 10;

pub async fn handle(shard: &Rc<Shard>, context: &Context<'_>) -> Result<Answer, Close> {
    let mut request: OffsetCommitRequest = context.parse()?;
    if context.version() >= TOPIC_ID_FROM {
        // The coordinator knows topics by name; an id that nobody knows leaves the name empty.
        let image = shard.image();
        for topic in &mut request.topics {
            let name = image.topic_by_id(TopicId(topic.topic_id)).map_or_else(String::new, |known| known.name.to_string());
            topic.name = StrBytes::from_string(name).into();
        }
    }
    let group_id = request.group_id.0.clone();
    let asked = request.clone();
    groups::answer(
        shard,
        context,
        &group_id,
        |groups, turn, from, token, fx| groups.offset_commit(turn, from, request, token, fx),
        |reply| match reply {
            Reply::OffsetCommit(response) => Some(response),
            _ => None,
        },
        |error| failed(&asked, error),
    )
    .await
}

/// The same error for every partition that was asked for.
fn failed(request: &OffsetCommitRequest, error: ErrorCode) -> OffsetCommitResponse {
    let topics = request
        .topics
        .iter()
        .map(|topic| {
            let partitions = topic.partitions.iter().map(|partition| {
                OffsetCommitResponsePartition::default().with_partition_index(partition.partition_index).with_error_code(error.code())
            });
            OffsetCommitResponseTopic::default()
                .with_name(topic.name.clone())
                .with_topic_id(topic.topic_id)
                .with_partitions(partitions.collect())
        })
        .collect();
    OffsetCommitResponse::default().with_topics(topics)
}
