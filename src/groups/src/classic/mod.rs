//! A classic group: the rebalance state machine of KIP-134, with KIP-345 static members and KIP-394 member ids.
//!
//! ```text
//!            join                     all joined, or timeout
//!   Empty ---------> PreparingRebalance ---------> CompletingRebalance ---------> Stable
//!     ^                  |   ^     ^                        |   leader's sync       |
//!     |   nobody left    |   |     |     member change      |   persisted           |
//!     +------------------+   +-----+------------------------+-----------------------+
//! ```
//!
//! Membership is soft state. What a restart finds is the GroupMetadata record that is written when a leader's
//! assignment, an empty generation, or the new id of a static member is persisted.

mod describe;
mod join;
mod leave;
mod member;
mod rebalance;
mod replace;
mod restore;
mod sync;

use crate::effects::CoordinatorRecord;
use crate::env::{Env, millis};
use crate::records::Key;
use crate::records::group::{GroupMetadata, MemberMetadata};
use crate::timers::Armed;
use crate::wire::{ErrorCode, StrBytes};
use bytes::Bytes;
use member::Member;
use odradek_base::{Instant, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

pub(crate) use join::error_response as join_error;
pub(crate) use leave::heartbeat_response;
pub(crate) use sync::error_response as sync_error;

/// How long a new member may wait in JoinGroup before it counts as gone (`classicGroupNewMemberJoinTimeoutMs`).
const NEW_MEMBER_JOIN_TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// Protocol type of consumers, whose subscriptions the coordinator can read.
const CONSUMER_PROTOCOL: &str = "consumer";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Empty,
    PreparingRebalance,
    CompletingRebalance,
    Stable,
}

/// The time until which a rebalance waits for its members.
#[derive(Debug, Clone, Copy)]
struct JoinPhase {
    deadline: Instant,
    /// First rebalance of the group: more members may extend it by the delay, at most by `remaining` in total.
    initial: Option<InitialDelay>,
}

#[derive(Debug, Clone, Copy)]
struct InitialDelay {
    delay: Duration,
    remaining: Duration,
}

#[derive(Debug)]
pub(crate) struct ClassicGroup {
    id: Arc<str>,
    state: State,
    /// When the state was entered; `NONE` after loading a record that does not say.
    state_since: Timestamp,
    generation: i32,
    protocol_type: Option<StrBytes>,
    protocol: Option<StrBytes>,
    leader: Option<Arc<str>>,
    members: BTreeMap<Arc<str>, Member>,
    next_order: u64,
    /// Member id of each static member.
    instances: BTreeMap<Arc<str>, Arc<str>>,
    /// Ids handed out with MEMBER_ID_REQUIRED and not used yet, until when.
    pending: BTreeMap<Arc<str>, Instant>,
    /// How many members support a protocol.
    supported: BTreeMap<StrBytes, usize>,
    awaiting_join: usize,
    join_phase: Option<JoinPhase>,
    /// A member joined since the initial delay was last set.
    member_added: bool,
    /// Until when all members must have sent SyncGroup.
    sync_deadline: Option<Instant>,
    /// Topics of all members; `None` where the subscriptions cannot be read.
    subscribed: Option<BTreeSet<String>>,
    armed: Armed,
}

impl ClassicGroup {
    pub(crate) fn new(id: Arc<str>, wall: Timestamp) -> Self {
        Self {
            id,
            state: State::Empty,
            state_since: wall,
            generation: 0,
            protocol_type: None,
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            next_order: 0,
            instances: BTreeMap::new(),
            pending: BTreeMap::new(),
            supported: BTreeMap::new(),
            awaiting_join: 0,
            join_phase: None,
            member_added: false,
            sync_deadline: None,
            subscribed: None,
            armed: Armed::default(),
        }
    }

    pub(crate) fn id(&self) -> &Arc<str> {
        &self.id
    }

    pub(crate) fn state(&self) -> State {
        self.state
    }

    #[cfg(test)]
    pub(crate) fn generation(&self) -> i32 {
        self.generation
    }

    #[cfg(test)]
    pub(crate) fn leader(&self) -> Option<&str> {
        self.leader.as_deref()
    }

    #[cfg(test)]
    pub(crate) fn member_ids(&self) -> impl Iterator<Item = &Arc<str>> {
        self.members.keys()
    }

    pub(crate) fn armed(&mut self) -> &mut Armed {
        &mut self.armed
    }

    /// Nobody is in it, nobody is about to be, and no generation was ever completed: nothing to keep.
    pub(crate) fn is_untouched(&self) -> bool {
        self.state == State::Empty && self.generation == 0 && self.protocol_type.is_none() && self.pending.is_empty()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.state == State::Empty && self.members.is_empty() && self.pending.is_empty()
    }

    fn enter(&mut self, state: State, wall: Timestamp) {
        self.state = state;
        self.state_since = wall;
    }

    fn is_leader(&self, member: &str) -> bool {
        self.leader.as_deref() == Some(member)
    }

    /// Checks that the sender is a member, under its own instance id (`ClassicGroup.validateMember`).
    fn validate_member(&self, member: &str, instance: Option<&str>) -> Result<(), ErrorCode> {
        if let Some(instance) = instance {
            match self.instances.get(instance) {
                None => return Err(ErrorCode::UnknownMemberId),
                Some(id) if **id != *member => return Err(ErrorCode::FencedInstanceId),
                Some(_) => {}
            }
        }
        if self.members.contains_key(member) { Ok(()) } else { Err(ErrorCode::UnknownMemberId) }
    }

    /// Whether a member may commit offsets now (`ClassicGroup.validateOffsetCommit`); keeps its session alive.
    pub(crate) fn validate_commit(
        &mut self,
        env: &mut Env,
        member: &str,
        instance: Option<&str>,
        generation: i32,
    ) -> Result<(), ErrorCode> {
        if generation < 0 && self.state == State::Empty {
            return Ok(());
        }
        if generation < 0 && member.is_empty() && instance.is_none() {
            // A commit without a member is only taken while nobody consumes in the group.
            return Err(ErrorCode::UnknownMemberId);
        }
        self.validate_member(member, instance)?;
        if generation != self.generation {
            return Err(ErrorCode::IllegalGeneration);
        }
        if self.state == State::CompletingRebalance {
            // The member knows the generation but not its partitions yet: let it wait for them.
            return Err(ErrorCode::RebalanceInProgress);
        }
        self.extend_session(env, member);
        Ok(())
    }

    /// Restarts a member's session timer.
    fn extend_session(&mut self, env: &mut Env, member: &str) {
        let Some(member) = self.members.get_mut(member) else { return };
        let at = env.turn.now + millis(member.session_timeout_ms);
        member.session_deadline = at;
        env.arm(&self.id, &mut self.armed, at);
    }

    fn add_supported(&mut self, protocols: &[member::Protocol]) {
        let names: BTreeSet<&StrBytes> = protocols.iter().map(|p| &p.name).collect();
        for name in names {
            *self.supported.entry(name.clone()).or_default() += 1;
        }
    }

    fn remove_supported(&mut self, protocols: &[member::Protocol]) {
        let names: BTreeSet<&StrBytes> = protocols.iter().map(|p| &p.name).collect();
        for name in names {
            if let Some(count) = self.supported.get_mut(name) {
                *count -= 1;
                if *count == 0 {
                    self.supported.remove(name);
                }
            }
        }
    }

    /// The protocol all members support that most of them prefer; equal votes go to the smaller name.
    fn select_protocol(&self) -> Option<StrBytes> {
        let count = self.members.len();
        let mut votes: BTreeMap<&StrBytes, usize> = BTreeMap::new();
        for member in self.members.values() {
            if let Some(name) = member.vote(|name| self.supported.get(name) == Some(&count)) {
                *votes.entry(name).or_default() += 1;
            }
        }
        let most = votes.values().copied().max()?;
        votes.into_iter().find(|(_, count)| *count == most).map(|(name, _)| name.clone())
    }

    /// The record of this generation; `assignment` gives each member's share.
    fn metadata_record(&self, assignment: impl Fn(&Member) -> Bytes) -> CoordinatorRecord {
        let protocol = self.protocol.as_deref();
        let mut members: Vec<&Member> = self.members.values().collect();
        members.sort_by_key(|member| member.order);
        let shares: Vec<(Bytes, Bytes)> =
            members.iter().map(|member| (member.metadata(protocol.unwrap_or_default()), assignment(member))).collect();
        let members = members.iter().zip(&shares).map(|(member, (subscription, assignment))| MemberMetadata {
            member_id: &member.id,
            instance_id: member.instance.as_deref(),
            client_id: &member.client_id,
            client_host: &member.client_host,
            rebalance_timeout_ms: member.rebalance_timeout_ms,
            session_timeout_ms: member.session_timeout_ms,
            subscription,
            assignment,
        });
        let value = GroupMetadata {
            protocol_type: self.protocol_type.as_deref().unwrap_or_default(),
            generation: self.generation,
            protocol,
            leader: self.leader.as_deref(),
            state_timestamp: self.state_since.get(),
            members: members.collect(),
        };
        Key::Group { group: &self.id }.with(value.encode())
    }
}
