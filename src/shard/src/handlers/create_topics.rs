//! CreateTopics (key 19): the controller's business.

use crate::answer::Answer;
use crate::controller::{self, Command, CommandResult};
use crate::dispatch::{Close, Context};
use crate::shard::Shard;
use odradek_wire::ErrorCode;
use odradek_wire::messages::create_topics_response::CreatableTopicResult;
use odradek_wire::messages::{CreateTopicsRequest, CreateTopicsResponse};
use std::rc::Rc;

pub async fn handle(shard: &Rc<Shard>, context: &Context<'_>) -> Result<Answer, Close> {
    let request: CreateTopicsRequest = context.parse()?;
    let asked = request.clone();
    let response = match controller::call(shard, Command::CreateTopics(request)).await {
        Some(CommandResult::CreateTopics(response)) => response,
        Some(CommandResult::Failed(error)) => failed(&asked, error),
        _ => failed(&asked, ErrorCode::NotController),
    };
    context.respond(&response)
}

fn failed(request: &CreateTopicsRequest, error: ErrorCode) -> CreateTopicsResponse {
    let topics = request.topics.iter().map(|topic| {
        CreatableTopicResult::default()
            .with_name(topic.name.clone())
            .with_error_code(error.code())
            .with_num_partitions(-1)
            .with_replication_factor(-1)
    });
    CreateTopicsResponse::default().with_topics(topics.collect())
}
