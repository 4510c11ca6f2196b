//! CreatePartitions (key 37): the controller's business.

use crate::answer::Answer;
use crate::controller::{self, Command, CommandResult};
use crate::dispatch::{Close, Context};
use crate::shard::Shard;
use odradek_wire::ErrorCode;
use odradek_wire::messages::create_partitions_response::CreatePartitionsTopicResult;
use odradek_wire::messages::{CreatePartitionsRequest, CreatePartitionsResponse};
use std::rc::Rc;

pub async fn handle(shard: &Rc<Shard>, context: &Context<'_>) -> Result<Answer, Close> {
    let request: CreatePartitionsRequest = context.parse()?;
    let asked = request.clone();
    let response = match controller::call(shard, Command::CreatePartitions(request)).await {
        Some(CommandResult::CreatePartitions(response)) => response,
        Some(CommandResult::Failed(error)) => failed(&asked, error),
        _ => failed(&asked, ErrorCode::NotController),
    };
    context.respond(&response)
}

fn failed(request: &CreatePartitionsRequest, error: ErrorCode) -> CreatePartitionsResponse {
    let results = request
        .topics
        .iter()
        .map(|topic| CreatePartitionsTopicResult::default().with_name(topic.name.clone()).with_error_code(error.code()));
    CreatePartitionsResponse::default().with_results(results.collect())
}
