//! DescribeTopicPartitions (KIP-966): topics by name, page by page.

use super::{OPERATIONS_OMITTED, TOPIC_OPERATIONS, see};
use crate::image::{Image, Topic};
use crate::names;
use crate::protocol::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use crate::protocol::messages::{DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse};
use crate::protocol::{ErrorCode, topic_name};
use crate::view::View;
use odradek_base::{PartitionIndex, TopicPartition};
use std::collections::BTreeSet;

/// `partitions_max`: the setting `max.request.partition.size.limit`.
pub fn topic_partitions(
    image: &Image,
    view: &View<'_>,
    request: &DescribeTopicPartitionsRequest,
    partitions_max: i32,
) -> DescribeTopicPartitionsResponse {
    let wanted: BTreeSet<&str> = request.topics.iter().map(|topic| &*topic.name.0).collect();
    let all = wanted.is_empty();
    let (first, start) = match &request.cursor {
        Some(cursor) => (&*cursor.topic_name.0, cursor.partition_index),
        None => ("", 0),
    };
    if start < 0 || (request.cursor.is_some() && !all && !wanted.contains(first)) {
        return refuse(request);
    }
    let names: Box<dyn Iterator<Item = &str>> =
        if all { Box::new(image.topics_from(first).map(|topic| &*topic.name)) } else { Box::new(wanted.range(first..).copied()) };
    let mut left = usize::try_from(request.response_partition_limit.min(partitions_max)).unwrap_or(0).max(1);
    let mut topics = Vec::new();
    for name in names {
        if left == 0 {
            return answer(topics, Some((name, 0)));
        }
        let from = if name == first { PartitionIndex(start) } else { PartitionIndex(0) };
        let Some(topic) = image.topic(name) else {
            let code = if names::check(name).is_ok() { ErrorCode::UnknownTopicOrPartition } else { ErrorCode::InvalidTopicException };
            topics.push(unknown(name, code, TOPIC_OPERATIONS));
            continue;
        };
        let (told, next) = tell(image, view, topic, from, left);
        left -= told.partitions.len();
        topics.push(told);
        if let Some(next) = next {
            return answer(topics, Some((name, next.get())));
        }
    }
    answer(topics, None)
}

fn answer(topics: Vec<DescribeTopicPartitionsResponseTopic>, next: Option<(&str, i32)>) -> DescribeTopicPartitionsResponse {
    let cursor = next.map(|(name, index)| Cursor::default().with_topic_name(topic_name(name)).with_partition_index(index));
    DescribeTopicPartitionsResponse::default().with_topics(topics).with_next_cursor(cursor)
}

/// A cursor that fits no topic of the request.
fn refuse(request: &DescribeTopicPartitionsRequest) -> DescribeTopicPartitionsResponse {
    let topics = request.topics.iter().map(|topic| unknown(&topic.name.0, ErrorCode::InvalidRequest, OPERATIONS_OMITTED));
    answer(topics.collect(), None)
}

fn unknown(name: &str, code: ErrorCode, operations: i32) -> DescribeTopicPartitionsResponseTopic {
    DescribeTopicPartitionsResponseTopic::default()
        .with_error_code(code.code())
        .with_name(Some(topic_name(name)))
        .with_is_internal(names::is_internal(name))
        .with_topic_authorized_operations(operations)
}

/// At most `left` partitions of a topic, and where to go on.
fn tell(
    image: &Image,
    view: &View<'_>,
    topic: &Topic,
    from: PartitionIndex,
    left: usize,
) -> (DescribeTopicPartitionsResponseTopic, Option<PartitionIndex>) {
    let mut rest = topic.partitions.range(from..);
    let partitions = rest.by_ref().take(left).map(|(index, partition)| {
        let seen = see(image, view, TopicPartition::new(topic.id, *index), partition);
        DescribeTopicPartitionsResponsePartition::default()
            .with_error_code(seen.error_code)
            .with_partition_index(index.get())
            .with_leader_id(seen.leader)
            .with_leader_epoch(partition.leader_epoch.get())
            .with_replica_nodes(seen.replicas)
            .with_isr_nodes(seen.isr)
            .with_eligible_leader_replicas(Some(Vec::new()))
            .with_last_known_elr(Some(Vec::new()))
            .with_offline_replicas(seen.offline)
    });
    let told = DescribeTopicPartitionsResponseTopic::default()
        .with_name(Some(topic_name(&topic.name)))
        .with_topic_id(topic.id.0)
        .with_is_internal(topic.is_internal())
        .with_partitions(partitions.collect())
        .with_topic_authorized_operations(TOPIC_OPERATIONS);
    let next = rest.next().map(|(&index, _)| index);
    (told, next)
}
