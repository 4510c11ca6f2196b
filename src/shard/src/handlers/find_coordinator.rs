//! FindCoordinator (key 10, KIP-699): the broker that coordinates a group or a transactional id.

use crate::answer::Answer;
use crate::dispatch::{Close, Context};
use crate::shard::Shard;
use odradek_base::PartitionIndex;
use odradek_cluster::InternalTopic;
use odradek_wire::messages::find_coordinator_response::Coordinator;
use odradek_wire::messages::{FindCoordinatorRequest, FindCoordinatorResponse};
use odradek_wire::{ErrorCode, StrBytes};
use std::rc::Rc;

/// `FindCoordinatorRequest.CoordinatorType`.
const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
/// From this version on several keys may be asked for at once.
const BATCHED_FROM: i16 = 4;

pub async fn handle(shard: &Rc<Shard>, context: &Context<'_>) -> Result<Answer, Close> {
    let request: FindCoordinatorRequest = context.parse()?;
    if context.version() >= BATCHED_FROM {
        let mut coordinators = Vec::with_capacity(request.coordinator_keys.len());
        for key in &request.coordinator_keys {
            coordinators.push(find(shard, request.key_type, key).await);
        }
        return context.respond(&FindCoordinatorResponse::default().with_coordinators(coordinators));
    }
    let found = find(shard, request.key_type, &request.key).await;
    let response = FindCoordinatorResponse::default()
        .with_error_code(found.error_code)
        .with_error_message(found.error_message)
        .with_node_id(found.node_id)
        .with_host(found.host)
        .with_port(found.port);
    context.respond(&response)
}

async fn find(shard: &Rc<Shard>, key_type: i8, key: &StrBytes) -> Coordinator {
    let answer = Coordinator::default().with_key(key.clone()).with_node_id((-1).into()).with_port(-1);
    let result = match key_type {
        GROUP => locate(shard, InternalTopic::ConsumerOffsets, |partitions| odradek_groups::partition_for(key, partitions)).await,
        TRANSACTION => locate(shard, InternalTopic::TransactionState, |partitions| odradek_txn::partition_for(key, partitions)).await,
        // Share groups (KIP-932) are not here yet, and unknown types are nobody's.
        _ => Err((ErrorCode::InvalidRequest, "unknown coordinator type")),
    };
    match result {
        Ok((id, host, port)) => answer.with_node_id(id.into()).with_host(StrBytes::from_string(host)).with_port(port),
        Err((error, message)) => answer.with_error_code(error.code()).with_error_message(Some(StrBytes::from_static_str(message))),
    }
}

type Located = Result<(i32, String, i32), (ErrorCode, &'static str)>;

async fn locate(shard: &Rc<Shard>, topic: InternalTopic, partition_of: impl FnOnce(i32) -> PartitionIndex) -> Located {
    let unavailable = (ErrorCode::CoordinatorNotAvailable, "the coordinator's topic could not be made yet");
    let topic = match shard.topics.by_name(shard, topic.name()) {
        Some(topic) => topic,
        None => {
            crate::controller::create_internal_topic(shard, topic).await.map_err(|_| unavailable)?;
            shard.topics.by_name(shard, topic.name()).ok_or(unavailable)?
        }
    };
    let route = topic.partition(partition_of(topic.partitions.len() as i32)).ok_or(unavailable)?;
    shard.advertised(route.shard).ok_or(unavailable)
}
