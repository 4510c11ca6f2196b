//! The one place of this crate that knows where Kafka's messages come from.

pub use odradek_wire::{ErrorCode, StrBytes, messages};

/// Text for a message.
pub(crate) fn text(value: impl Into<String>) -> StrBytes {
    StrBytes::from_string(value.into())
}

/// A topic name for a message.
pub(crate) fn topic_name(value: &str) -> messages::TopicName {
    messages::TopicName(text(value))
}

/// An error code and what the client is told about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    pub code: ErrorCode,
    pub message: String,
}

impl Refusal {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    pub(crate) fn message(&self) -> Option<StrBytes> {
        Some(text(self.message.as_str()))
    }
}
