//! Membership in a classic consumer group: join, sync, heartbeat, leave, commit.
//!
//! The membership has a connection of its own to the coordinator, because JoinGroup and SyncGroup wait in the broker.
//! Heartbeats are sent from `tick`, which the consumer calls in every poll: a caller that does not poll loses its place,
//! as in Kafka.

use super::assignor::{Assignment, Member, range};
use super::config::ConsumerConfig;
use crate::cluster::{Cluster, Topics, text, topic_name};
use crate::connection::Connection;
use crate::connection::Request;
use crate::error::ClientError;
use bytes::{BufMut, Bytes, BytesMut};
use odradek_wire::Encodable;
use odradek_wire::ErrorCode;
use odradek_wire::fields::{FieldError, Read, Reader};
use odradek_wire::messages::consumer_protocol_assignment::{ConsumerProtocolAssignment, TopicPartition as AssignedTopic};
use odradek_wire::messages::consumer_protocol_subscription::ConsumerProtocolSubscription;
use odradek_wire::messages::join_group_request::{JoinGroupRequest, JoinGroupRequestProtocol};
use odradek_wire::messages::join_group_response::JoinGroupResponse;
use odradek_wire::messages::leave_group_request::{LeaveGroupRequest, MemberIdentity};
use odradek_wire::messages::offset_commit_request::{OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use odradek_wire::messages::sync_group_request::{SyncGroupRequest, SyncGroupRequestAssignment};
use odradek_wire::messages::{GroupId, HeartbeatRequest};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const PROTOCOL_TYPE: &str = "consumer";
const PROTOCOL_NAME: &str = "range";
/// OffsetCommit version up to which topics are named (10 names them by id).
const OFFSET_COMMIT_NAMED_MAX: i16 = 9;
/// Time on top of the rebalance timeout that JoinGroup may take.
const JOIN_GRACE: Duration = Duration::from_secs(5);

/// An offset to commit or committed: `(offset, leader epoch, metadata)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommittedOffset {
    pub offset: i64,
    pub leader_epoch: i32,
    pub metadata: String,
}

/// What `Membership::tick` found.
#[derive(Debug, PartialEq, Eq)]
pub enum Tick {
    Stable,
    /// The member has to give up its partitions (commit first) and call `join`.
    Rejoin,
}

/// A consumer's place in its group.
#[derive(Debug)]
pub struct Membership {
    group: String,
    instance: Option<String>,
    session_timeout: Duration,
    rebalance_timeout: Duration,
    heartbeat_interval: Duration,
    member_id: String,
    generation: i32,
    joined: bool,
    last_heartbeat: Instant,
    coordinator: Option<Connection>,
}

impl Membership {
    pub fn new(group: &str, config: &ConsumerConfig) -> Self {
        Self {
            group: group.to_owned(),
            instance: config.group_instance.clone(),
            session_timeout: config.session_timeout,
            rebalance_timeout: config.max_poll_interval,
            heartbeat_interval: config.heartbeat_interval,
            member_id: String::new(),
            generation: -1,
            joined: false,
            last_heartbeat: Instant::now(),
            coordinator: None,
        }
    }

    pub fn is_joined(&self) -> bool {
        self.joined
    }

    pub fn generation(&self) -> i32 {
        self.generation
    }

    pub fn member_id(&self) -> &str {
        &self.member_id
    }

    /// Joins with these topics and returns what this member was given. Repeats until the group settles.
    pub fn join(&mut self, cluster: &mut Cluster, topics: &[String]) -> Result<Assignment, ClientError> {
        let deadline = Instant::now() + self.rebalance_timeout + cluster.config().operation_timeout;
        loop {
            let error = match self.try_join(cluster, topics) {
                Ok(assignment) => {
                    self.joined = true;
                    self.last_heartbeat = Instant::now();
                    return Ok(assignment);
                }
                Err(error) => error,
            };
            self.joined = false;
            match error.code() {
                // KIP-394: the broker gave an id, join again with it (it was stored).
                Some(ErrorCode::MemberIdRequired) => continue,
                Some(ErrorCode::UnknownMemberId) => self.forget(),
                Some(ErrorCode::IllegalGeneration) => self.generation = -1,
                Some(ErrorCode::RebalanceInProgress) => {}
                Some(ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable) => self.coordinator = None,
                _ if matches!(error, ClientError::Disconnected { .. } | ClientError::Connect { .. } | ClientError::Timeout { .. }) => {
                    self.coordinator = None
                }
                _ if error.is_retriable() => {}
                _ => return Err(error),
            }
            if Instant::now() >= deadline {
                return Err(error);
            }
            cluster.pause()?;
        }
    }

    /// Sends a heartbeat when one is due.
    pub fn tick(&mut self, cluster: &mut Cluster) -> Result<Tick, ClientError> {
        if !self.joined {
            return Ok(Tick::Rejoin);
        }
        if self.last_heartbeat.elapsed() < self.heartbeat_interval {
            return Ok(Tick::Stable);
        }
        self.last_heartbeat = Instant::now();
        let request = HeartbeatRequest::default()
            .with_group_id(GroupId(text(&self.group)))
            .with_generation_id(self.generation)
            .with_member_id(text(&self.member_id))
            .with_group_instance_id(self.instance.as_deref().map(text));
        let result = self.call(cluster, &request).and_then(|r| ClientError::check(r.error_code, self.subject(), None));
        let Err(error) = result else { return Ok(Tick::Stable) };
        match error.code() {
            Some(ErrorCode::RebalanceInProgress | ErrorCode::IllegalGeneration) => self.joined = false,
            Some(ErrorCode::UnknownMemberId) => {
                self.forget();
                self.joined = false;
            }
            // A coordinator that moved or is unreachable: the session may still be alive, look for it again next time.
            _ if error.is_retriable() => self.coordinator = None,
            _ => return Err(error),
        }
        Ok(if self.joined { Tick::Stable } else { Tick::Rejoin })
    }

    /// Commits offsets under this membership.
    pub fn commit(&mut self, cluster: &mut Cluster, offsets: &BTreeMap<(String, i32), CommittedOffset>) -> Result<(), ClientError> {
        let deadline = Instant::now() + cluster.config().operation_timeout;
        let request = offset_commit_request(&self.group, self.generation, &self.member_id, self.instance.as_deref(), offsets);
        loop {
            let result = self.call_capped(cluster, &request, OFFSET_COMMIT_NAMED_MAX).and_then(|response| {
                for topic in &response.topics {
                    for partition in &topic.partitions {
                        let subject = format!("commit of {}-{} in group '{}'", topic.name.0, partition.partition_index, self.group);
                        ClientError::check(partition.error_code, subject, None)?;
                    }
                }
                Ok(())
            });
            match result {
                Err(error) if error.is_retriable() && error.code() != Some(ErrorCode::RebalanceInProgress) && Instant::now() < deadline => {
                    self.coordinator = None;
                    cluster.pause()?;
                }
                other => return other,
            }
        }
    }

    /// Leaves, so that the others do not wait for the session timeout. Static members stay (KIP-345).
    pub fn leave(&mut self, cluster: &mut Cluster) -> Result<(), ClientError> {
        if !self.joined || self.instance.is_some() {
            return Ok(());
        }
        self.joined = false;
        let mut request = LeaveGroupRequest::default().with_group_id(GroupId(text(&self.group)));
        self.connect(cluster)?;
        let version = self.coordinator.as_ref().map_or(Ok(0), |c| c.version::<LeaveGroupRequest>(i16::MAX))?;
        if version >= 3 {
            request.members = vec![
                MemberIdentity::default()
                    .with_member_id(text(&self.member_id))
                    .with_reason((version >= 5).then(|| text("the consumer is being closed"))),
            ];
        } else {
            request.member_id = text(&self.member_id);
        }
        let response = self.call(cluster, &request)?;
        ClientError::check(response.error_code, self.subject(), None)
    }

    fn try_join(&mut self, cluster: &mut Cluster, topics: &[String]) -> Result<Assignment, ClientError> {
        self.connect(cluster)?;
        let subscription = ConsumerProtocolSubscription::default().with_topics(topics.iter().map(|t| text(t)).collect());
        let request = JoinGroupRequest::default()
            .with_group_id(GroupId(text(&self.group)))
            .with_session_timeout_ms(ms(self.session_timeout))
            .with_rebalance_timeout_ms(ms(self.rebalance_timeout))
            .with_member_id(text(&self.member_id))
            .with_group_instance_id(self.instance.as_deref().map(text))
            .with_protocol_type(text(PROTOCOL_TYPE))
            .with_protocols(vec![
                JoinGroupRequestProtocol::default().with_name(text(PROTOCOL_NAME)).with_metadata(encode_versioned(&subscription, 1)?),
            ]);
        let wait = self.rebalance_timeout + JOIN_GRACE;
        let joined = self.call_waiting(&request, wait)?;
        if !joined.member_id.is_empty() {
            self.member_id = joined.member_id.to_string();
        }
        ClientError::check(joined.error_code, self.subject(), None)?;
        self.generation = joined.generation_id;

        let assignments = if *joined.leader == *joined.member_id { self.assign(cluster, &joined)? } else { Vec::new() };
        let request = SyncGroupRequest::default()
            .with_group_id(GroupId(text(&self.group)))
            .with_generation_id(self.generation)
            .with_member_id(text(&self.member_id))
            .with_group_instance_id(self.instance.as_deref().map(text))
            .with_protocol_type(Some(text(PROTOCOL_TYPE)))
            .with_protocol_name(Some(text(PROTOCOL_NAME)))
            .with_assignments(assignments);
        let synced = self.call_waiting(&request, wait)?;
        ClientError::check(synced.error_code, self.subject(), None)?;
        decode_assignment(&synced.assignment)
    }

    /// The leader's part: topic metadata and the range assignor.
    fn assign(&self, cluster: &mut Cluster, joined: &JoinGroupResponse) -> Result<Vec<SyncGroupRequestAssignment>, ClientError> {
        let mut members = Vec::with_capacity(joined.members.len());
        for member in &joined.members {
            members.push(Member {
                id: member.member_id.to_string(),
                instance: member.group_instance_id.as_ref().map(|i| i.to_string()),
                topics: decode_subscription(&member.metadata)?,
            });
        }
        let mut names: Vec<String> = members.iter().flat_map(|m| m.topics.iter().cloned()).collect();
        names.sort();
        names.dedup();
        cluster.refresh(Topics::Named(&names), false)?;
        let partitions = names.iter().filter_map(|n| cluster.topic(n).map(|t| (n.clone(), t.partitions.len()))).collect();
        range(&members, &partitions)
            .into_iter()
            .map(|(member, assignment)| {
                let assigned =
                    assignment.into_iter().map(|(t, p)| AssignedTopic::default().with_topic(topic_name(&t)).with_partitions(p)).collect();
                let body = ConsumerProtocolAssignment::default().with_assigned_partitions(assigned);
                Ok(SyncGroupRequestAssignment::default().with_member_id(text(&member)).with_assignment(encode_versioned(&body, 1)?))
            })
            .collect()
    }

    fn connect(&mut self, cluster: &mut Cluster) -> Result<(), ClientError> {
        if self.coordinator.is_none() {
            let id = cluster.group_coordinator(&self.group)?;
            self.coordinator = Some(cluster.open_separate(id)?);
        }
        Ok(())
    }

    fn call<R: Request>(&mut self, cluster: &mut Cluster, request: &R) -> Result<R::Response, ClientError> {
        self.call_capped(cluster, request, i16::MAX)
    }

    fn call_capped<R: Request>(&mut self, cluster: &mut Cluster, request: &R, cap: i16) -> Result<R::Response, ClientError> {
        self.connect(cluster)?;
        let connection = self.coordinator.as_mut().expect("connected above");
        let version = connection.version::<R>(cap)?;
        let result = connection.call_at(request, version);
        if result.is_err() {
            self.coordinator = None;
        }
        result
    }

    fn call_waiting<R: Request>(&mut self, request: &R, wait: Duration) -> Result<R::Response, ClientError> {
        let connection = self.coordinator.as_mut().expect("join connects first");
        let version = connection.version::<R>(i16::MAX)?;
        let result = connection.call_within(request, version, wait);
        if result.is_err() {
            self.coordinator = None;
        }
        result
    }

    fn forget(&mut self) {
        self.member_id.clear();
        self.generation = -1;
    }

    fn subject(&self) -> String {
        format!("group '{}'", self.group)
    }
}

/// The OffsetCommit for a set of offsets; generation -1 and no member for a group without members.
pub fn offset_commit_request(
    group: &str,
    generation: i32,
    member: &str,
    instance: Option<&str>,
    offsets: &BTreeMap<(String, i32), CommittedOffset>,
) -> OffsetCommitRequest {
    let mut topics: BTreeMap<&str, OffsetCommitRequestTopic> = BTreeMap::new();
    for ((topic, partition), committed) in offsets {
        let entry = topics.entry(topic).or_insert_with(|| OffsetCommitRequestTopic::default().with_name(topic_name(topic)));
        entry.partitions.push(
            OffsetCommitRequestPartition::default()
                .with_partition_index(*partition)
                .with_committed_offset(committed.offset)
                .with_committed_leader_epoch(committed.leader_epoch)
                .with_committed_metadata(Some(text(&committed.metadata))),
        );
    }
    OffsetCommitRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_generation_id_or_member_epoch(generation)
        .with_member_id(text(member))
        .with_group_instance_id(instance.map(text))
        .with_retention_time_ms(-1)
        .with_topics(topics.into_values().collect())
}

/// Kafka's "versioned" framing of consumer protocol blobs: the version, then the message.
fn encode_versioned<T: Encodable>(message: &T, version: i16) -> Result<Bytes, ClientError> {
    let mut buffer = BytesMut::new();
    buffer.put_i16(version);
    message.encode(&mut buffer, version).map_err(|e| ClientError::Invalid(format!("consumer protocol: {e}")))?;
    Ok(buffer.freeze())
}

/// Topics of a member's subscription blob; what comes behind them is of no use to the range assignor.
fn decode_subscription(blob: &Bytes) -> Result<Vec<String>, ClientError> {
    let read = || -> Read<Vec<String>> {
        let mut reader = Reader::new(blob);
        take_version(&mut reader)?;
        (0..reader.count(false)?).map(|_| reader.string(false).map(str::to_owned)).collect()
    };
    read().map_err(|e| not_consumer_protocol(&e.to_string()))
}

/// Partitions of a member's assignment blob; an empty blob is an empty assignment.
///
/// Any member of a group may have put anything there, so no length is believed before the bytes are there.
pub fn decode_assignment(blob: &Bytes) -> Result<Assignment, ClientError> {
    if blob.is_empty() {
        return Ok(Assignment::new());
    }
    let read = || -> Read<Assignment> {
        let mut reader = Reader::new(blob);
        take_version(&mut reader)?;
        let mut assignment = Assignment::new();
        for _ in 0..reader.count(false)? {
            let topic = reader.string(false)?.to_owned();
            let partitions = (0..reader.count(false)?).map(|_| reader.i32()).collect::<Read<Vec<i32>>>()?;
            assignment.insert(topic, partitions);
        }
        Ok(assignment)
    };
    read().map_err(|e| not_consumer_protocol(&e.to_string()))
}

/// Newer versions only append fields (`ConsumerProtocol.java`), so any that is not negative will do.
fn take_version(reader: &mut Reader<'_>) -> Read<()> {
    match reader.i16()? {
        version if version < 0 => Err(FieldError::BadLength(i64::from(version))),
        _ => Ok(()),
    }
}

fn not_consumer_protocol(detail: &str) -> ClientError {
    ClientError::Protocol { address: "the group".to_owned(), detail: format!("member data is not of the consumer protocol: {detail}") }
}

fn ms(duration: Duration) -> i32 {
    duration.as_millis().min(i32::MAX as u128) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn member_blobs_round_trip_and_garbage_is_refused() {
        let body = ConsumerProtocolAssignment::default()
            .with_assigned_partitions(vec![AssignedTopic::default().with_topic(topic_name("t")).with_partitions(vec![0, 2])]);
        let blob = encode_versioned(&body, 1).unwrap();
        assert_eq!(decode_assignment(&blob).unwrap(), BTreeMap::from([("t".to_owned(), vec![0, 2])]));
        assert!(decode_assignment(&Bytes::new()).unwrap().is_empty());
        for bad in [&[0u8][..], &[0xff, 0xff, 0, 0], &[0, 0, 0, 0, 0, 9, 1], b"\0\0\x7f\xff\xff\xff", b"not of this protocol"] {
            assert!(decode_assignment(&Bytes::copy_from_slice(bad)).is_err(), "{bad:?}");
            assert!(decode_subscription(&Bytes::copy_from_slice(bad)).is_err(), "{bad:?}");
        }
    }
}
