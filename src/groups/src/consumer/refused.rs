//! Why a heartbeat was refused.

use crate::wire::messages::ConsumerGroupHeartbeatResponse;
use crate::wire::{ErrorCode, StrBytes};

#[derive(Debug)]
pub(crate) struct Refused {
    error: ErrorCode,
    message: String,
}

impl Refused {
    pub(crate) fn new(error: ErrorCode, message: impl Into<String>) -> Self {
        Self { error, message: message.into() }
    }

    pub(crate) fn response(self) -> ConsumerGroupHeartbeatResponse {
        ConsumerGroupHeartbeatResponse::default()
            .with_error_code(self.error.code())
            .with_error_message(Some(StrBytes::from_string(self.message)))
    }
}
