//! SaslHandshake (17) and SaslAuthenticate (36) on a listener without SASL: refused as Kafka refuses them.

use crate::answer::Answer;
use crate::dispatch::{Close, Context};
use odradek_wire::messages::{SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest, SaslHandshakeResponse};
use odradek_wire::{ErrorCode, StrBytes, api};

pub fn handle(context: &Context<'_>) -> Result<Answer, Close> {
    if context.request.api_key == api::SASL_HANDSHAKE {
        let _: SaslHandshakeRequest = context.parse()?;
        return context.respond(&SaslHandshakeResponse::default().with_error_code(ErrorCode::IllegalSaslState.code()));
    }
    let _: SaslAuthenticateRequest = context.parse()?;
    let response = SaslAuthenticateResponse::default()
        .with_error_code(ErrorCode::IllegalSaslState.code())
        .with_error_message(Some(StrBytes::from_static_str("SaslAuthenticate request received on a listener without SASL")));
    context.respond(&response)
}
