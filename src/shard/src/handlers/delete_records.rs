//! DeleteRecords (key 21, KIP-107): moves the log start offset on.

use crate::answer::Answer;
use crate::dispatch::{Close, Context};
use crate::fetch;
use crate::messages::{PartitionCall, PartitionReply};
use crate::partitions;
use crate::shard::Shard;
use futures_util::future::FutureExt;
use odradek_base::PartitionIndex;
use odradek_wire::ErrorCode;
use odradek_wire::messages::delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
use odradek_wire::messages::{DeleteRecordsRequest, DeleteRecordsResponse};
use odradek_wire::produce::TopicReference;
use std::rc::Rc;

pub async fn handle(shard: &Rc<Shard>, context: &Context<'_>) -> Result<Answer, Close> {
    let request: DeleteRecordsRequest = context.parse()?;
    let mut topics = Vec::with_capacity(request.topics.len());
    for asked in &request.topics {
        let topic = shard.topics.resolve(shard, &TopicReference::Name(asked.name.0.clone()));
        // Records of a topic that is only compacted are not deleted by offset (KIP-107), nor those of internal topics.
        let forbidden = topic.as_ref().is_ok_and(|topic| topic.internal || !topic.config.cleanup.delete);
        let answers = asked.partitions.iter().map(|wanted| {
            let topic = &topic;
            async move {
                let known = topic.as_ref().is_ok_and(|topic| topic.partition(PartitionIndex(wanted.partition_index)).is_some());
                let reply = if forbidden && known {
                    PartitionReply::Failed(ErrorCode::PolicyViolation)
                } else {
                    partitions::ask(shard, topic, wanted.partition_index, |_| PartitionCall::DeleteRecords { before: wanted.offset }).await
                };
                let result = DeleteRecordsPartitionResult::default().with_partition_index(wanted.partition_index).with_low_watermark(-1);
                match reply {
                    PartitionReply::LowWatermark(low) => result.with_low_watermark(low.get()),
                    other => result.with_error_code(partitions::error_of(&other)),
                }
            }
            .boxed_local()
        });
        let partitions = fetch::all(answers.collect()).await;
        topics.push(DeleteRecordsTopicResult::default().with_name(asked.name.clone()).with_partitions(partitions));
    }
    context.respond(&DeleteRecordsResponse::default().with_topics(topics))
}
