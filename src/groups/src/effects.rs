//! What a call asks the caller to do.

use crate::wire::ErrorCode;
use crate::wire::messages::*;
use bytes::Bytes;

/// Names a parked request; chosen by the caller, given back with its reply exactly once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// Names one write of a coordinator. Ids grow in the order the writes must reach the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WriteId(pub u64);

/// One record of `__consumer_offsets`. No value: a tombstone.
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
    pub replies: Vec<(Token, Reply)>,
}

impl Effects {
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.replies.is_empty()
    }

    pub(crate) fn reply(&mut self, token: Token, reply: impl Into<Reply>) {
        self.replies.push((token, reply.into()));
    }
}

macro_rules! replies {
    ($($name:ident($message:ty)),+ $(,)?) => {
        /// The answer to one request.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Reply {
            $($name($message),)+
            /// The outcome for one group of a DeleteGroups request; the caller collects them.
            DeleteGroup(Result<(), ErrorCode>),
        }

        $(impl From<$message> for Reply {
            fn from(message: $message) -> Self {
                Self::$name(message)
            }
        })+
    };
}

replies! {
    JoinGroup(JoinGroupResponse),
    SyncGroup(SyncGroupResponse),
    Heartbeat(HeartbeatResponse),
    LeaveGroup(LeaveGroupResponse),
    OffsetCommit(OffsetCommitResponse),
    OffsetDelete(OffsetDeleteResponse),
    ConsumerGroupHeartbeat(ConsumerGroupHeartbeatResponse),
}
