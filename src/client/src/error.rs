//! What can go wrong, and what the reader of the message can do about it.

use odradek_wire::ErrorCode;
use std::fmt;
use std::time::Duration;

/// Everything an operation of this crate can fail with.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ClientError {
    /// None of the bootstrap addresses, or a broker named by the metadata, could be connected to.
    #[error("cannot connect to {address}: {reason}")]
    Connect { address: String, reason: String },
    /// The connection ended while a response was outstanding.
    #[error("the connection to {address} ended: {reason}")]
    Disconnected { address: String, reason: String },
    /// Nothing arrived in time.
    #[error("timed out after {} ms: {doing}", after.as_millis())]
    Timeout { doing: String, after: Duration },
    /// The peer sent something that is not the Kafka protocol, or not the answer to what was asked.
    #[error("{address} sent bytes that are not a valid answer: {detail}")]
    Protocol { address: String, detail: String },
    /// Client and broker share no version of an API.
    #[error("{address} does not support {api} in a version this client speaks ({detail})")]
    UnsupportedVersion { address: String, api: String, detail: String },
    /// The broker answered with one of Kafka's error codes.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// A setting or an argument cannot be used.
    #[error("{0}")]
    Invalid(String),
    /// The interrupt flag of the configuration was raised (Ctrl-C).
    #[error("interrupted")]
    Interrupted,
}

/// One of Kafka's error codes, with what it was about.
#[derive(Debug, Clone)]
pub struct BrokerError {
    pub code: ErrorCode,
    /// What was being done, to what: `topic 'orders'`.
    pub subject: String,
    /// The broker's own explanation, where the response has a field for it.
    pub message: Option<String>,
}

impl BrokerError {
    /// `None` where `code` is 0.
    pub fn from_code(code: i16, subject: impl Into<String>, message: Option<&str>) -> Option<Self> {
        let code = ErrorCode::try_from_code(code)?;
        Some(Self { code, subject: subject.into(), message: message.filter(|m| !m.is_empty()).map(str::to_owned) })
    }

    /// Kafka's sentence for the error: the broker's own where it sent one, else the one the Java client attaches to the code.
    pub fn text(&self) -> String {
        self.message.clone().unwrap_or_else(|| default_text(self.code).to_owned())
    }
}

impl fmt::Display for BrokerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.subject, self.text(), code_name(self.code))
    }
}

impl std::error::Error for BrokerError {}

impl ClientError {
    /// An error if `code` is not 0.
    pub fn check(code: i16, subject: impl Into<String>, message: Option<&str>) -> Result<(), ClientError> {
        match BrokerError::from_code(code, subject, message) {
            None => Ok(()),
            Some(error) => Err(error.into()),
        }
    }

    /// Kafka's error code, where there is one.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            ClientError::Broker(error) => Some(error.code),
            _ => None,
        }
    }

    /// Whether repeating the same request later can succeed without anybody changing anything.
    pub fn is_retriable(&self) -> bool {
        match self {
            ClientError::Connect { .. } | ClientError::Disconnected { .. } | ClientError::Timeout { .. } => true,
            ClientError::Broker(error) => error.code.is_retriable(),
            _ => false,
        }
    }

    /// What to do next, where that is known.
    pub fn advice(&self) -> Option<&'static str> {
        match self {
            ClientError::Connect { .. } => {
                Some("Is the broker running, and does --bootstrap-server name its host and port? Start one with `odradek serve`.")
            }
            ClientError::Disconnected { .. } => {
                Some("The broker may have stopped, or the port may speak TLS or SASL; see the broker's log.")
            }
            ClientError::Timeout { .. } => {
                Some("The broker is reachable but slow or stuck; raise the timeout or look at the broker's log.")
            }
            ClientError::Protocol { .. } => Some("Check that the port is a Kafka PLAINTEXT listener."),
            ClientError::UnsupportedVersion { .. } => Some("The broker is too old or does not implement this API."),
            ClientError::Broker(error) => advice(error.code),
            ClientError::Invalid(_) | ClientError::Interrupted => None,
        }
    }
}

/// Kafka's name of a code: `UNKNOWN_TOPIC_OR_PARTITION`.
pub fn code_name(code: ErrorCode) -> String {
    let name = format!("{code:?}");
    let mut text = String::with_capacity(name.len() + 8);
    for (i, c) in name.chars().enumerate() {
        if c.is_ascii_uppercase() && i > 0 {
            text.push('_');
        }
        text.push(c.to_ascii_uppercase());
    }
    text
}

fn advice(code: ErrorCode) -> Option<&'static str> {
    use ErrorCode as E;
    Some(match code {
        E::UnknownTopicOrPartition | E::UnknownTopicId => {
            "List what exists with `odradek topic list`, create it with `odradek topic create NAME`."
        }
        E::TopicAlreadyExists => "Choose another name, or change the existing topic with `odradek topic alter`.",
        E::InvalidReplicationFactor => {
            "There are fewer brokers than replicas asked for; leave the replication factor out to use the default."
        }
        E::InvalidPartitions => "A topic needs at least one partition, and partitions can only be added.",
        E::InvalidTopicException => "Use up to 249 letters, digits, '.', '_' and '-'.",
        E::MessageTooLarge | E::RecordListTooLarge => "Send smaller records, or raise the topic's max.message.bytes.",
        E::GroupIdNotFound => "List groups with `odradek group list`.",
        E::NonEmptyGroup => "Stop the consumers of the group first.",
        E::OffsetOutOfRange => "The offset was deleted or never existed; start from earliest or latest.",
        E::UnsupportedForMessageFormat | E::UnsupportedVersion => "The broker does not implement this.",
        E::TopicAuthorizationFailed | E::GroupAuthorizationFailed | E::ClusterAuthorizationFailed => {
            "The principal of this client lacks the permission (ACL)."
        }
        E::KafkaStorageError => "The broker's disk failed; its log names the directory.",
        _ => return None,
    })
}

/// The sentence Kafka's Java client shows for a code when the broker sent none (`org.apache.kafka.common.protocol.Errors`).
/// Tools print it, so it is part of their visible interface; only codes a tool can meet are here.
fn default_text(code: ErrorCode) -> &'static str {
    use ErrorCode as E;
    match code {
        E::UnknownServerError => "The server experienced an unexpected error when processing the request.",
        E::OffsetOutOfRange => "The requested offset is not within the range of offsets maintained by the server.",
        E::CorruptMessage => {
            "This message has failed its CRC checksum, exceeds the valid size, has a null key for a compacted topic, or is otherwise corrupt."
        }
        E::UnknownTopicOrPartition => "This server does not host this topic-partition.",
        E::LeaderNotAvailable => "There is no leader for this topic-partition as we are in the middle of a leadership election.",
        E::NotLeaderOrFollower => {
            "For requests intended only for the leader, this error indicates that the broker is not the current leader. For requests intended for any replica, this error indicates that the broker is not a replica of the topic partition."
        }
        E::RequestTimedOut => "The request timed out.",
        E::MessageTooLarge => "The request included a message larger than the max message size the server will accept.",
        E::CoordinatorLoadInProgress => "The coordinator is loading and hence can't process requests.",
        E::CoordinatorNotAvailable => "The coordinator is not available.",
        E::NotCoordinator => "This is not the correct coordinator.",
        E::InvalidTopicException => "The request attempted to perform an operation on an invalid topic.",
        E::RecordListTooLarge => "The request included message batch larger than the configured segment size on the server.",
        E::NotEnoughReplicas => "Messages are rejected since there are fewer in-sync replicas than required.",
        E::InvalidRequiredAcks => "Produce request specified an invalid value for required acks.",
        E::IllegalGeneration => "Specified group generation id is not valid.",
        E::InvalidGroupId => "The configured groupId is invalid.",
        E::UnknownMemberId => "The coordinator is not aware of this member.",
        E::RebalanceInProgress => "The group is rebalancing, so a rejoin is needed.",
        E::TopicAuthorizationFailed => "Topic authorization failed.",
        E::GroupAuthorizationFailed => "Group authorization failed.",
        E::ClusterAuthorizationFailed => "Cluster authorization failed.",
        E::UnsupportedVersion => "The version of API is not supported.",
        E::TopicAlreadyExists => "Topic with this name already exists.",
        E::InvalidPartitions => "Number of partitions is below 1.",
        E::InvalidReplicationFactor => "Replication factor is below 1 or larger than the number of available brokers.",
        E::InvalidReplicaAssignment => "Replica assignment is invalid.",
        E::InvalidConfig => "Configuration is invalid.",
        E::NotController => "This is not the correct controller for this cluster.",
        E::InvalidRequest => {
            "This most likely occurs because of a request being malformed by the client library or the message was sent to an incompatible broker. See the broker logs for more details."
        }
        E::PolicyViolation => "Request parameters do not satisfy the configured policy.",
        E::OutOfOrderSequenceNumber => "The broker received an out of order sequence number.",
        E::InvalidProducerEpoch => "Producer attempted to produce with an old epoch.",
        E::KafkaStorageError => "Disk error when trying to access log file on the disk.",
        E::UnknownProducerId => {
            "This exception is raised by the broker if it could not locate the producer metadata associated with the producerId in question."
        }
        E::NonEmptyGroup => "The group is not empty.",
        E::GroupIdNotFound => "The group id does not exist.",
        E::TopicDeletionDisabled => "Topic deletion is disabled.",
        E::FencedLeaderEpoch => "The leader epoch in the request is older than the epoch on the broker.",
        E::UnknownLeaderEpoch => "The leader epoch in the request is newer than the epoch on the broker.",
        E::GroupSubscribedToTopic => "Deleting offsets of a topic is forbidden while the consumer group is actively subscribed to it.",
        E::InvalidRecord => "This record has failed the validation on broker and hence will be rejected.",
        E::UnknownTopicId => "This server does not host this topic ID.",
        _ => "The broker reported an error.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_kafkas_names_and_sentences() {
        assert_eq!(code_name(ErrorCode::UnknownTopicOrPartition), "UNKNOWN_TOPIC_OR_PARTITION");
        let error = BrokerError::from_code(3, "topic 'a'", None).expect("an error");
        assert_eq!(error.text(), "This server does not host this topic-partition.");
        assert_eq!(
            BrokerError::from_code(36, "t", Some("Topic 'a' already exists.")).map(|e| e.text()).as_deref(),
            Some("Topic 'a' already exists.")
        );
        assert!(BrokerError::from_code(0, "t", None).is_none());
    }

    #[test]
    fn advice_names_the_next_step() {
        let error = ClientError::Connect { address: "localhost:9".into(), reason: "refused".into() };
        assert!(error.advice().is_some_and(|a| a.contains("odradek serve")));
        assert!(error.is_retriable());
    }
}
