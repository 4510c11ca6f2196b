//! Errors of the store and Kafka's codes for them.

use odradek_base::{Offset, TopicPartition, disk};
use odradek_log::partition::AppendError as LogAppendError;
use odradek_log::producer_state::ProducerError;
use odradek_wire::ErrorCode;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// Why a store or a partition cannot do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    #[error("{operation} {path}: {error}")]
    Io { operation: &'static str, path: PathBuf, error: std::sync::Arc<std::io::Error> },
    #[error(
        "the file system of {path} has no direct I/O ({error}): put log.dirs and odradek.journal.dir on ext4 or xfs, or set odradek.direct.io=auto"
    )]
    NoDirectIo { path: PathBuf, error: std::sync::Arc<std::io::Error> },
    /// The journal failed: this shard writes nothing any more.
    #[error("the journal of this shard is offline: {0}")]
    JournalOffline(String),
    /// This partition failed.
    #[error("partition {partition} is offline: {reason}")]
    PartitionOffline { partition: TopicPartition, reason: String },
    /// Nothing was written, and appends are refused until there is room.
    #[error("no room in {path}")]
    Full { path: PathBuf },
    #[error("log directory {path} is offline: {reason}")]
    DirectoryOffline { path: PathBuf, reason: String },
    #[error("partition {0} was deleted")]
    Deleted(TopicPartition),
    /// It opens when that is done.
    #[error("partition {0} is being checked, because no state file tells of it")]
    Opening(TopicPartition),
    #[error("partition {0} exists already")]
    Exists(TopicPartition),
    #[error("the store is closed")]
    Closed,
    #[error("{path} is damaged: {reason}")]
    Damaged { path: PathBuf, reason: String },
}

impl StoreError {
    pub(crate) fn io(operation: &'static str, path: &Path, error: std::io::Error) -> Self {
        Self::Io { operation, path: path.to_owned(), error: std::sync::Arc::new(error) }
    }

    /// A file or directory is not there.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { error, .. } if error.kind() == std::io::ErrorKind::NotFound)
    }

    /// The device is full: the operation may work later.
    pub(crate) fn is_full(&self) -> bool {
        match self {
            Self::Full { .. } => true,
            Self::Io { error, .. } => disk::is_full(error),
            _ => false,
        }
    }

    /// Kafka's code.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Deleted(_) | Self::Opening(_) => ErrorCode::NotLeaderOrFollower,
            _ => ErrorCode::KafkaStorageError,
        }
    }
}

/// Why nothing was appended.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    #[error(transparent)]
    Log(#[from] LogAppendError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl AppendError {
    /// Kafka's code.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Log(LogAppendError::Producer(error)) => match error {
                ProducerError::OutOfOrderSequence { .. } => ErrorCode::OutOfOrderSequenceNumber,
                ProducerError::InvalidProducerEpoch { .. } => ErrorCode::InvalidProducerEpoch,
                ProducerError::InvalidTransactionState(_) => ErrorCode::InvalidTxnState,
                ProducerError::CoordinatorFenced { .. } => ErrorCode::TransactionCoordinatorFenced,
            },
            Self::Log(LogAppendError::Empty | LogAppendError::InvalidControlBatch) => ErrorCode::InvalidRecord,
            Self::Log(LogAppendError::OffsetsOutOfOrder { .. }) => ErrorCode::CorruptMessage,
            Self::Store(error) => error.code(),
        }
    }
}

/// Why nothing was read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    #[error("offset {requested} is outside of the log's range {start} to {end}")]
    OffsetOutOfRange { requested: Offset, start: Offset, end: Offset },
    #[error("{path} is damaged at byte {position}: {reason}")]
    Corrupt { path: PathBuf, position: u64, reason: Rc<str> },
    #[error(transparent)]
    Io(StoreError),
    #[error("partition {0} was deleted")]
    Deleted(TopicPartition),
}

impl ReadError {
    /// Kafka's code.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::OffsetOutOfRange { .. } => ErrorCode::OffsetOutOfRange,
            Self::Corrupt { .. } => ErrorCode::CorruptMessage,
            Self::Io(_) => ErrorCode::KafkaStorageError,
            Self::Deleted(_) => ErrorCode::NotLeaderOrFollower,
        }
    }
}

/// Why the log start offset did not move.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DeleteRecordsError {
    #[error(transparent)]
    OutOfRange(#[from] odradek_log::partition::StartOutOfRange),
    /// The topic is compacted only.
    #[error("records of a topic without cleanup.policy=delete cannot be deleted")]
    Policy,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl DeleteRecordsError {
    /// Kafka's code.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::OutOfRange(_) => ErrorCode::OffsetOutOfRange,
            Self::Policy => ErrorCode::PolicyViolation,
            Self::Store(error) => error.code(),
        }
    }
}
