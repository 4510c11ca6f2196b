//! Writes on their way to the log, and what waits for them.

use crate::effects::{CoordinatorRecord, Effects, Reply, Token, Write, WriteId};
use crate::wire::messages::JoinGroupResponse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What happens when a write has committed or failed.
#[derive(Debug)]
pub(crate) enum Then {
    Nothing,
    /// The reply goes out; after a failure with the error in it.
    Reply(Token, Reply),
    /// The leader's assignment of this generation is persisted: answer the members' SyncGroups.
    Assign {
        generation: i32,
    },
    /// A static member has a new id (KIP-345); after a failure it gets the old one back.
    Replace {
        token: Token,
        reply: JoinGroupResponse,
        old_member: Arc<str>,
    },
    /// A change of a consumer group, and the reply to the heartbeat that made it.
    Consumer(Option<(Token, Reply)>),
    /// The group is gone; after a failure it comes back.
    Delete(Option<Token>),
}

#[derive(Debug)]
pub(crate) struct InFlight {
    pub(crate) group: Arc<str>,
    pub(crate) records: Vec<CoordinatorRecord>,
    pub(crate) then: Then,
}

#[derive(Debug, Default)]
pub(crate) struct Writes {
    in_flight: BTreeMap<WriteId, InFlight>,
    next: u64,
}

impl Writes {
    /// Hands records to the caller as one batch. Records are shared, not copied.
    pub(crate) fn emit(&mut self, fx: &mut Effects, group: &Arc<str>, records: Vec<CoordinatorRecord>, then: Then) {
        assert!(!records.is_empty(), "a write without records would never commit");
        let id = WriteId(self.next);
        self.next += 1;
        fx.writes.push(Write { id, records: records.clone() });
        self.in_flight.insert(id, InFlight { group: group.clone(), records, then });
    }

    /// Takes the write out; it must be the oldest one, because the log is one sequence.
    pub(crate) fn finish(&mut self, id: WriteId) -> InFlight {
        let (oldest, write) = self.in_flight.pop_first().expect("only an emitted write can finish");
        assert_eq!(oldest, id, "writes finish in the order they were emitted");
        write
    }

    pub(crate) fn last(&self) -> Option<WriteId> {
        self.in_flight.last_key_value().map(|(&id, _)| id)
    }

    /// Whether a deletion of the group is on its way to the log.
    pub(crate) fn deletes(&self, group: &str) -> bool {
        self.in_flight.values().any(|write| matches!(write.then, Then::Delete(_)) && *write.group == *group)
    }

    pub(crate) fn groups(&self) -> BTreeSet<Arc<str>> {
        self.in_flight.values().map(|write| write.group.clone()).collect()
    }
}
