//! DeleteTopics (key 20): the controller's business.

use crate::answer::Answer;
use crate::controller::{self, Command, CommandResult};
use crate::dispatch::{Close, Context};
use crate::shard::Shard;
use odradek_wire::ErrorCode;
use odradek_wire::messages::delete_topics_response::DeletableTopicResult;
use odradek_wire::messages::{DeleteTopicsRequest, DeleteTopicsResponse};
use std::rc::Rc;

pub async fn handle(shard: &Rc<Shard>, context: &Context<'_>) -> Result<Answer, Close> {
    let request: DeleteTopicsRequest = context.parse()?;
    let asked = request.clone();
    let response = match controller::call(shard, Command::DeleteTopics(request, context.version())).await {
        Some(CommandResult::DeleteTopics(response)) => response,
        Some(CommandResult::Failed(error)) => failed(&asked, error),
        _ => failed(&asked, ErrorCode::NotController),
    };
    context.respond(&response)
}

fn failed(request: &DeleteTopicsRequest, error: ErrorCode) -> DeleteTopicsResponse {
    let by_name = request.topic_names.iter().map(|name| DeletableTopicResult::default().with_name(Some(name.clone())));
    let by_state =
        request.topics.iter().map(|topic| DeletableTopicResult::default().with_name(topic.name.clone()).with_topic_id(topic.topic_id));
    let responses = by_name.chain(by_state).map(|result| result.with_error_code(error.code()));
    DeleteTopicsResponse::default().with_responses(responses.collect())
}
