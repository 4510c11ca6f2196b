//! The state of one transactional id.

use odradek_base::{ProducerEpoch, ProducerId, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Where a transaction stands (`org.apache.kafka.coordinator.transaction.TransactionState`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// No transaction yet.
    Empty,
    Ongoing,
    PrepareCommit,
    PrepareAbort,
    CompleteCommit,
    CompleteAbort,
    /// The id is being forgotten.
    Dead,
    /// The epoch is being raised to shut out an old producer.
    PrepareEpochFence,
}

impl Status {
    const ALL: [Self; 8] = [
        Self::Empty,
        Self::Ongoing,
        Self::PrepareCommit,
        Self::PrepareAbort,
        Self::CompleteCommit,
        Self::CompleteAbort,
        Self::Dead,
        Self::PrepareEpochFence,
    ];

    pub(crate) fn from_code(code: i8) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.code() == code)
    }

    pub(crate) fn code(self) -> i8 {
        self as i8
    }

    /// No transaction is open or being ended.
    pub(crate) fn is_idle(self) -> bool {
        matches!(self, Self::Empty | Self::CompleteCommit | Self::CompleteAbort)
    }
}

/// What is persisted about a transactional id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    pub producer_id: ProducerId,
    /// The producer id before the epochs of that one were used up.
    pub previous_producer_id: ProducerId,
    /// The producer id to go on with after the transaction under way (KIP-890).
    pub next_producer_id: ProducerId,
    pub producer_epoch: ProducerEpoch,
    pub timeout_ms: i32,
    pub status: Status,
    pub partitions: BTreeMap<Arc<str>, BTreeSet<i32>>,
    pub last_update: Timestamp,
    /// `NONE` outside a transaction.
    pub start: Timestamp,
    /// `transaction.version` that the client speaks.
    pub client_version: i16,
}

/// An epoch from which on the producer id has no further one: the last is kept for fencing.
pub(crate) fn is_exhausted(epoch: ProducerEpoch) -> bool {
    epoch.get() >= i16::MAX - 1
}
