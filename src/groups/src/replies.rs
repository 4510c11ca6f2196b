//! Putting an error into a reply that waited for a write that failed.

use crate::effects::Reply;
use crate::wire::{ErrorCode, NONE};

/// Kafka's translation of an append error into what clients of the coordinator understand
/// (`CoordinatorOperationExceptionHelper`, `GroupMetadataManager.appendGroupMetadataErrorToResponseError`).
pub(crate) fn of_append(error: ErrorCode) -> ErrorCode {
    match error {
        ErrorCode::UnknownTopicOrPartition
        | ErrorCode::NotEnoughReplicas
        | ErrorCode::NotEnoughReplicasAfterAppend
        | ErrorCode::RequestTimedOut => ErrorCode::CoordinatorNotAvailable,
        ErrorCode::NotLeaderOrFollower | ErrorCode::KafkaStorageError => ErrorCode::NotCoordinator,
        ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge | ErrorCode::InvalidFetchSize => ErrorCode::UnknownServerError,
        other => other,
    }
}

impl Reply {
    /// The same reply saying that nothing was written.
    pub(crate) fn failed(mut self, error: ErrorCode) -> Self {
        let code = error.code();
        match &mut self {
            Self::JoinGroup(reply) => reply.error_code = code,
            Self::SyncGroup(reply) => reply.error_code = code,
            Self::Heartbeat(reply) => reply.error_code = code,
            Self::LeaveGroup(reply) => reply.error_code = code,
            Self::ConsumerGroupHeartbeat(reply) => {
                reply.error_code = code;
                reply.assignment = None;
            }
            Self::OffsetDelete(reply) => {
                reply.error_code = code;
                reply.topics.clear();
            }
            Self::OffsetCommit(reply) => {
                for partition in reply.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
                    if partition.error_code == NONE {
                        partition.error_code = match error {
                            // A commit that does not fit has an error of its own (`OffsetMetadataManager`).
                            ErrorCode::UnknownServerError => ErrorCode::InvalidCommitOffsetSize.code(),
                            _ => code,
                        };
                    }
                }
            }
            Self::DeleteGroup(outcome) => *outcome = Err(error),
        }
        self
    }
}
