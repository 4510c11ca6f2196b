//! AlterConfigs (key 33): the controller's business.

use crate::answer::Answer;
use crate::controller::{self, Command, CommandResult};
use crate::dispatch::{Close, Context};
use crate::shard::Shard;
use odradek_wire::ErrorCode;
use odradek_wire::messages::alter_configs_response::AlterConfigsResourceResponse;
use odradek_wire::messages::{AlterConfigsRequest, AlterConfigsResponse};
use std::rc::Rc;

pub async fn handle(shard: &Rc<Shard>, context: &Context<'_>) -> Result<Answer, Close> {
    let request: AlterConfigsRequest = context.parse()?;
    let asked = request.clone();
    let response = match controller::call(shard, Command::AlterConfigs(request)).await {
        Some(CommandResult::AlterConfigs(response)) => response,
        Some(CommandResult::Failed(error)) => failed(&asked, error),
        _ => failed(&asked, ErrorCode::NotController),
    };
    context.respond(&response)
}

fn failed(request: &AlterConfigsRequest, error: ErrorCode) -> AlterConfigsResponse {
    let responses = request.resources.iter().map(|resource| {
        AlterConfigsResourceResponse::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone())
            .with_error_code(error.code())
    });
    AlterConfigsResponse::default().with_responses(responses.collect())
}
