//! OffsetForLeaderEpoch (key 23, KIP-101, KIP-320): where an epoch ended.

use crate::answer::Answer;
use crate::dispatch::{Close, Context};
use crate::fetch;
use crate::messages::{PartitionCall, PartitionReply};
use crate::partitions;
use crate::shard::Shard;
use futures_util::future::FutureExt;
use odradek_base::LeaderEpoch;
use odradek_wire::messages::offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
use odradek_wire::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};
use odradek_wire::produce::TopicReference;
use std::rc::Rc;

pub async fn handle(shard: &Rc<Shard>, context: &Context<'_>) -> Result<Answer, Close> {
    let request: OffsetForLeaderEpochRequest = context.parse()?;
    let mut topics = Vec::with_capacity(request.topics.len());
    for asked in &request.topics {
        let topic = shard.topics.resolve(shard, &TopicReference::Name(asked.topic.0.clone()));
        let answers = asked.partitions.iter().map(|wanted| {
            let topic = &topic;
            async move {
                let reply = partitions::ask(shard, topic, wanted.partition, |leader_epoch| PartitionCall::EndOffsetForEpoch {
                    epoch: LeaderEpoch(wanted.leader_epoch),
                    current_leader_epoch: LeaderEpoch(wanted.current_leader_epoch),
                    leader_epoch,
                })
                .await;
                let result = EpochEndOffset::default().with_partition(wanted.partition).with_leader_epoch(-1).with_end_offset(-1);
                match reply {
                    PartitionReply::EndOffset { leader_epoch, end_offset } => {
                        result.with_leader_epoch(leader_epoch).with_end_offset(end_offset)
                    }
                    other => result.with_error_code(partitions::error_of(&other)),
                }
            }
            .boxed_local()
        });
        let partitions = fetch::all(answers.collect()).await;
        topics.push(OffsetForLeaderTopicResult::default().with_topic(asked.topic.clone()).with_partitions(partitions));
    }
    context.respond(&OffsetForLeaderEpochResponse::default().with_topics(topics))
}
