//! ListOffsets (key 2): offsets by time or by Kafka's special timestamps.

use crate::answer::Answer;
use crate::dispatch::{Close, Context};
use crate::fetch;
use crate::messages::{PartitionCall, PartitionReply};
use crate::partitions;
use crate::shard::Shard;
use crate::topics::Topic;
use futures_util::future::FutureExt;
use odradek_base::LeaderEpoch;
use odradek_wire::ErrorCode;
use odradek_wire::messages::list_offsets_request::ListOffsetsPartition;
use odradek_wire::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use odradek_wire::messages::{ListOffsetsRequest, ListOffsetsResponse};
use odradek_wire::produce::TopicReference;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Kafka's special timestamps (`ListOffsetsRequest`), with the first version that has each.
const MAX_TIMESTAMP: (i64, i16) = (-3, 7);
const EARLIEST_LOCAL: (i64, i16) = (-4, 8);
const LATEST_TIERED: (i64, i16) = (-5, 9);
const EARLIEST_PENDING_UPLOAD: (i64, i16) = (-6, 11);

/// From this version on answers carry the leader epoch.
const LEADER_EPOCH_FROM: i16 = 4;

pub async fn handle(shard: &Rc<Shard>, context: &Context<'_>) -> Result<Answer, Close> {
    let request: ListOffsetsRequest = context.parse()?;
    let version = context.version();
    let read_committed = request.isolation_level == 1;
    let mut topics = Vec::with_capacity(request.topics.len());
    for asked in &request.topics {
        let topic = shard.topics.resolve(shard, &TopicReference::Name(asked.name.0.clone()));
        let mut times: BTreeMap<i32, u32> = BTreeMap::new();
        for partition in &asked.partitions {
            *times.entry(partition.partition_index).or_default() += 1;
        }
        let answers = asked.partitions.iter().map(|wanted| {
            let twice = times.get(&wanted.partition_index).is_some_and(|&times| times > 1);
            one(shard, &topic, wanted, twice, version, read_committed).boxed_local()
        });
        let mut partitions = fetch::all(answers.collect()).await;
        // Kafka keeps partitions in a map: one named twice is answered once, as invalid.
        let mut seen = std::collections::BTreeSet::new();
        partitions.retain(|partition| seen.insert(partition.partition_index));
        topics.push(ListOffsetsTopicResponse::default().with_name(asked.name.clone()).with_partitions(partitions));
    }
    context.respond(&ListOffsetsResponse::default().with_topics(topics))
}

async fn one(
    shard: &Rc<Shard>,
    topic: &Result<Rc<Topic>, ErrorCode>,
    wanted: &ListOffsetsPartition,
    twice: bool,
    version: i16,
    read_committed: bool,
) -> ListOffsetsPartitionResponse {
    let empty = ListOffsetsPartitionResponse::default()
        .with_partition_index(wanted.partition_index)
        .with_timestamp(-1)
        .with_offset(-1)
        .with_leader_epoch(-1);
    let epoch_known = version >= LEADER_EPOCH_FROM;
    let reply = if twice {
        PartitionReply::Failed(ErrorCode::InvalidRequest)
    } else if !timestamp_known(wanted.timestamp, version) {
        PartitionReply::Failed(ErrorCode::UnsupportedVersion)
    } else {
        let current_leader_epoch = LeaderEpoch(wanted.current_leader_epoch);
        partitions::ask(shard, topic, wanted.partition_index, |leader_epoch| PartitionCall::Offset {
            timestamp: wanted.timestamp,
            read_committed,
            current_leader_epoch,
            leader_epoch,
        })
        .await
    };
    match reply {
        PartitionReply::Offset { timestamp, offset, leader_epoch } => {
            empty.with_timestamp(timestamp).with_offset(offset).with_leader_epoch(if epoch_known { leader_epoch } else { -1 })
        }
        other => empty.with_error_code(partitions::error_of(&other)),
    }
}

fn timestamp_known(timestamp: i64, version: i16) -> bool {
    if timestamp >= -2 {
        return true;
    }
    [MAX_TIMESTAMP, EARLIEST_LOCAL, LATEST_TIERED, EARLIEST_PENDING_UPLOAD]
        .iter()
        .any(|(special, since)| timestamp == *special && version >= *since)
}
