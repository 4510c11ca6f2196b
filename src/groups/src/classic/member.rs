//! One member of a classic group.

use crate::effects::Token;
use crate::wire::messages::join_group_request::JoinGroupRequestProtocol;
use crate::wire::{StrBytes, own};
use bytes::Bytes;
use odradek_base::Instant;
use std::sync::Arc;

#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) id: Arc<str>,
    /// Place in the order of joining: decides who leads next.
    pub(crate) order: u64,
    /// `group.instance.id` of a static member (KIP-345).
    pub(crate) instance: Option<Arc<str>>,
    pub(crate) client_id: StrBytes,
    pub(crate) client_host: StrBytes,
    pub(crate) rebalance_timeout_ms: i32,
    pub(crate) session_timeout_ms: i32,
    /// In the member's order of preference.
    pub(crate) protocols: Vec<Protocol>,
    pub(crate) assignment: Bytes,
    pub(crate) awaiting_join: Option<JoinWait>,
    pub(crate) awaiting_sync: Option<Token>,
    /// Joined, but not yet answered for the first time: it cannot heartbeat.
    pub(crate) is_new: bool,
    /// Was told the generation and has not sent SyncGroup yet.
    pub(crate) pending_sync: bool,
    pub(crate) session_deadline: Instant,
}

/// An assignment strategy a member supports, with its subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Protocol {
    pub(crate) name: StrBytes,
    pub(crate) metadata: Bytes,
}

/// A parked JoinGroup.
#[derive(Debug, Clone, Copy)]
pub(crate) struct JoinWait {
    pub(crate) token: Token,
    pub(crate) version: i16,
}

impl Protocol {
    /// Owned copies of a request's protocols.
    pub(crate) fn from_request(protocols: &[JoinGroupRequestProtocol]) -> Vec<Self> {
        let copy = |p: &JoinGroupRequestProtocol| Self { name: own(&p.name), metadata: Bytes::copy_from_slice(&p.metadata) };
        protocols.iter().map(copy).collect()
    }
}

impl Member {
    /// Subscription under a protocol; empty when the member does not support it.
    pub(crate) fn metadata(&self, protocol: &str) -> Bytes {
        self.protocols.iter().find(|p| *p.name == *protocol).map(|p| p.metadata.clone()).unwrap_or_default()
    }

    /// The first of its protocols that `accepts` takes.
    pub(crate) fn vote(&self, accepts: impl Fn(&StrBytes) -> bool) -> Option<&StrBytes> {
        self.protocols.iter().map(|p| &p.name).find(|name| accepts(name))
    }

    /// A member that waits for the coordinator does not lose its session meanwhile.
    pub(crate) fn session_expired(&self, now: Instant) -> bool {
        let waits_for_us = !self.is_new && (self.awaiting_join.is_some() || self.awaiting_sync.is_some());
        !waits_for_us && self.session_deadline <= now
    }
}
