//! Fetch (key 1).

use crate::answer::Answer;
use crate::dispatch::{Close, Context};
use crate::fetch::Fetch;
use crate::fetch::session::{Asked, FINAL_EPOCH, Look, NO_SESSION, Position, SessionError, Wanted};
use crate::messages::{ReadItem, ReadOutcome};
use crate::shard::Shard;
use odradek_base::{LeaderEpoch, Offset, PartitionIndex, ShardId, TopicId, TopicPartition};
use odradek_wire::fetch::{FetchPartition, FetchTopic, encode_response};
use odradek_wire::messages::FetchRequest;
use odradek_wire::produce::TopicReference;
use odradek_wire::{ErrorCode, StrBytes};
use std::rc::Rc;
use std::time::Duration;

/// From this version on topics are named by id.
const TOPIC_ID_FROM: i16 = 13;
/// From this version on there are sessions.
const SESSION_FROM: i16 = 7;

pub async fn handle(shard: &Rc<Shard>, context: &Context<'_>) -> Result<Answer, Close> {
    let request: FetchRequest = context.parse()?;
    let by_id = context.version() >= TOPIC_ID_FROM;
    let read_committed = match request.isolation_level {
        0 => false,
        1 => true,
        _ => return Err(Close::Refused("a fetch with an isolation level that is neither 0 nor 1")),
    };
    let look = match look(shard, context, &request, by_id) {
        Ok(look) => look,
        Err(error) => {
            let code = match error {
                SessionError::NotFound => ErrorCode::FetchSessionIdNotFound,
                SessionError::InvalidEpoch => ErrorCode::InvalidFetchSessionEpoch,
                SessionError::TopicIdMismatch => ErrorCode::FetchSessionTopicIdError,
            };
            return Ok(Answer::parts(encode_response(
                context.version(),
                context.request.correlation_id,
                0,
                Some(code),
                NO_SESSION,
                &[],
                &[],
            )));
        }
    };
    // Clients that do not read may hold all that a shard gives for answers: the others go on with small ones.
    let bytes_max = shard.connections.queued.fetch_bytes_max().min(shard.config.fetch_bytes_max);
    let fetch = Fetch {
        items: look.partitions.iter().map(|(wanted, position)| item(shard, wanted, position, by_id)).collect(),
        bytes_min: request.min_bytes.max(0) as usize,
        bytes_max: (request.max_bytes.max(0) as usize).min(bytes_max),
        wait_max: Duration::from_millis(request.max_wait_ms.max(0) as u64),
        read_committed,
    };
    let outcomes = fetch.run(shard).await;
    let topics = topics_of(shard, &look, outcomes, by_id, read_committed);
    let parts = encode_response(context.version(), context.request.correlation_id, 0, None, look.session_id, &topics, &[]);
    Ok(Answer::parts(parts))
}

fn look(shard: &Rc<Shard>, context: &Context<'_>, request: &FetchRequest, by_id: bool) -> Result<Look, SessionError> {
    let wanted = |name: &StrBytes, id: uuid::Uuid, partition: i32| Wanted {
        topic_id: if by_id { TopicId(id) } else { TopicId::NONE },
        topic: if by_id { String::new() } else { name.to_string() },
        partition,
    };
    let asked = request
        .topics
        .iter()
        .flat_map(|topic| topic.partitions.iter().map(move |partition| (topic, partition)))
        .map(|(topic, partition)| {
            let position = Position::new(
                partition.fetch_offset,
                partition.partition_max_bytes,
                partition.current_leader_epoch,
                partition.last_fetched_epoch,
            );
            (wanted(&topic.topic.0, topic.topic_id, partition.partition), position)
        })
        .collect();
    let forgotten: Vec<Wanted> = request
        .forgotten_topics_data
        .iter()
        .flat_map(|topic| topic.partitions.iter().map(|partition| wanted(&topic.topic.0, topic.topic_id, *partition)))
        .collect();
    let epoch = if context.version() >= SESSION_FROM { request.session_epoch } else { FINAL_EPOCH };
    let now = shard.ring.now();
    let request = Asked { session_id: request.session_id, epoch, by_id, asked, forgotten };
    shard.sessions.borrow_mut().look(request, now, &mut shard.rng.borrow_mut())
}

/// Where a wanted partition is, or why it cannot be read.
fn item(shard: &Rc<Shard>, wanted: &Wanted, position: &Position, by_id: bool) -> Result<(ShardId, ReadItem), ErrorCode> {
    let reference =
        if by_id { TopicReference::Id(wanted.topic_id) } else { TopicReference::Name(StrBytes::from_string(wanted.topic.clone())) };
    let topic = shard.topics.resolve(shard, &reference)?;
    let index = PartitionIndex(wanted.partition);
    let route = topic.partition(index).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    if !shard.serves(route) {
        return Err(ErrorCode::NotLeaderOrFollower);
    }
    let item = ReadItem {
        tp: TopicPartition::new(topic.id, index),
        offset: Offset(position.fetch_offset),
        bytes_max: position.max_bytes.max(0) as usize,
        current_leader_epoch: LeaderEpoch(position.current_leader_epoch),
        leader_epoch: route.leader_epoch,
        last_fetched_epoch: LeaderEpoch(position.last_fetched_epoch),
    };
    Ok((route.shard, item))
}

/// Groups the outcomes by topic, leaving out what an incremental session need not repeat.
fn topics_of(shard: &Rc<Shard>, look: &Look, outcomes: Vec<ReadOutcome>, by_id: bool, read_committed: bool) -> Vec<FetchTopic> {
    let mut sessions = shard.sessions.borrow_mut();
    let mut topics: Vec<(TopicReference, FetchTopic)> = Vec::new();
    let mut with_records = Vec::new();
    for (at, outcome) in outcomes.into_iter().enumerate() {
        let Some((wanted, _)) = look.partitions.get(at) else { continue };
        let has_records = !outcome.records.is_empty();
        if has_records {
            with_records.push(at);
        }
        let failed = outcome.error.is_some() || outcome.diverging.is_some();
        let told = sessions.told(look, at, failed, has_records, outcome.high_watermark.get(), outcome.log_start_offset.get());
        if !told {
            continue;
        }
        let reference =
            if by_id { TopicReference::Id(wanted.topic_id) } else { TopicReference::Name(StrBytes::from_string(wanted.topic.clone())) };
        let partition = FetchPartition {
            error: outcome.error,
            high_watermark: outcome.high_watermark,
            last_stable_offset: outcome.last_stable_offset,
            log_start_offset: outcome.log_start_offset,
            aborted_transactions: (read_committed && outcome.error.is_none()).then_some(outcome.aborted),
            diverging_epoch: outcome.diverging,
            records: outcome.records,
            ..FetchPartition::empty(PartitionIndex(wanted.partition))
        };
        match topics.iter_mut().rev().find(|(have, _)| *have == reference) {
            Some((_, topic)) => topic.partitions.push(partition),
            None => topics.push((reference.clone(), FetchTopic { topic: reference, partitions: vec![partition] })),
        }
    }
    sessions.rotate(look, &with_records);
    topics.into_iter().map(|(_, topic)| topic).collect()
}
