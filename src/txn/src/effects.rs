//! What the caller brings to a call, and what a call asks the caller to do.

use bytes::Bytes;
use odradek_base::{Instant, Timestamp};
use odradek_wire::messages::InitProducerIdResponse;

/// The time of one call into the coordinator.
#[derive(Debug, Clone, Copy)]
pub struct Turn {
    /// The ring's monotonic clock: timeouts.
    pub now: Instant,
    /// Kafka's wall clock: timestamps in records, expiry of ids.
    pub wall: Timestamp,
}

/// Names a parked request; chosen by the caller, given back with its reply exactly once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// Names one write of a coordinator. Ids grow in the order the writes must reach the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WriteId(pub u64);

/// One record of `__transaction_state`. No value: a tombstone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoordinatorRecord {
    pub key: Bytes,
    pub value: Option<Bytes>,
}

/// Records that belong in one atomic batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    pub id: WriteId,
    pub records: Vec<CoordinatorRecord>,
}

/// Collected by the caller after each call: append the writes in order, then send the replies.
///
/// Each write comes back once, in order, through `Coordinator::committed` or `Coordinator::failed`.
#[derive(Debug, Default)]
pub struct Effects {
    pub writes: Vec<Write>,
    pub replies: Vec<(Token, InitProducerIdResponse)>,
    /// Producer ids that requests wait for: answer with `Coordinator::provide_producer_ids`.
    pub producer_ids_wanted: u32,
}
