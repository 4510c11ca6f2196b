//! DescribeAcls (29): there is no authorizer yet, and Kafka's answer to that is SECURITY_DISABLED.

use crate::answer::Answer;
use crate::dispatch::{Close, Context};
use odradek_wire::messages::{DescribeAclsRequest, DescribeAclsResponse};
use odradek_wire::{ErrorCode, StrBytes};

pub fn handle(context: &Context<'_>) -> Result<Answer, Close> {
    let _: DescribeAclsRequest = context.parse()?;
    let response = DescribeAclsResponse::default()
        .with_error_code(ErrorCode::SecurityDisabled.code())
        .with_error_message(Some(StrBytes::from_static_str("No Authorizer is configured on the broker")));
    context.respond(&response)
}
