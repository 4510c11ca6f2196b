//! Group members: join, keep their place, commit growing offsets, and ask what is committed.

use crate::client::{Client, Connection, Lost, text, topic_name};
use crate::history::Tp;
use crate::violation::Checker;
use bytes::Bytes;
use odradek_wire::messages::join_group_request::JoinGroupRequestProtocol;
use odradek_wire::messages::leave_group_request::MemberIdentity;
use odradek_wire::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use odradek_wire::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use odradek_wire::messages::sync_group_request::SyncGroupRequestAssignment;
use odradek_wire::messages::{
    GroupId, HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, OffsetCommitRequest, OffsetFetchRequest, SyncGroupRequest,
};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

const JOIN_GROUP_VERSION: i16 = 9;
const SYNC_GROUP_VERSION: i16 = 5;
const HEARTBEAT_VERSION: i16 = 4;
const LEAVE_GROUP_VERSION: i16 = 4;
const OFFSET_COMMIT_VERSION: i16 = 8;
const OFFSET_FETCH_VERSION: i16 = 8;
const SESSION_TIMEOUT_MS: i32 = 6_000;
const MEMBER_ID_REQUIRED: i16 = 79;

/// What a member is to do.
#[derive(Debug, Clone)]
pub struct Plan {
    pub group: String,
    /// The partition that this member, and nobody else in the group, commits for.
    pub tp: Tp,
    pub pause_max: Duration,
    /// One in so many steps it leaves the group and joins again as somebody else.
    pub leave_one_in: u64,
}

struct Member {
    client: Client,
    plan: Plan,
    id: String,
    generation: i32,
    next_offset: i64,
}

/// Takes part in the group until readers are told to stop, then counts `finished` up.
pub async fn run(client: Client, plan: Plan, finished: Rc<Cell<usize>>) {
    let history = client.history.clone();
    let mut member = Member { client, plan, id: String::new(), generation: -1, next_offset: 1 };
    while !history.readers_stop() {
        if let Err(error) = member.session().await {
            history.event(|| format!("member of {}: {error}", member.plan.group));
            member.client.back_off().await;
        }
    }
    finished.set(finished.get() + 1);
}

/// A refusal that the member joins again after; anything that no correct broker says to a correct member is a violation.
fn refused(code: i16) -> Result<(), Lost> {
    if code == 0 { Ok(()) } else { Err(Lost::refused(code)) }
}

impl Member {
    async fn session(&mut self) -> Result<(), Lost> {
        let Some(coordinator) = self.client.coordinator(&self.plan.group).await? else { return Err(Lost::refused(15)) };
        let mut connection = Connection::open(&self.client, coordinator).await?;
        self.join(&mut connection).await?;
        let mut rng = self.client.ring.rng();
        while !self.client.history.readers_stop() {
            match rng.below(4) {
                _ if rng.chance(self.plan.leave_one_in) => {
                    self.leave(&mut connection).await?;
                    self.join(&mut connection).await?;
                }
                0 => self.heartbeat(&mut connection).await?,
                1 => read_committed(&self.client, &mut connection, &self.plan.group, &self.plan.tp).await?,
                _ => self.commit(&mut connection).await?,
            }
            let pause = rng.below(self.plan.pause_max.as_micros() as u64 + 1);
            self.client.ring.sleep(Duration::from_micros(pause)).await;
        }
        Ok(())
    }

    async fn join(&mut self, connection: &mut Connection) -> Result<(), Lost> {
        let joined = loop {
            let protocol = JoinGroupRequestProtocol::default().with_name(text("range")).with_metadata(Bytes::from_static(b"topics"));
            let request = JoinGroupRequest::default()
                .with_group_id(self.group())
                .with_session_timeout_ms(SESSION_TIMEOUT_MS)
                .with_rebalance_timeout_ms(SESSION_TIMEOUT_MS)
                .with_member_id(text(self.id.clone()))
                .with_protocol_type(text("consumer"))
                .with_protocols(vec![protocol]);
            let joined = connection.call(&request, JOIN_GROUP_VERSION).await?;
            match joined.error_code {
                0 => break joined,
                MEMBER_ID_REQUIRED => self.id = joined.member_id.to_string(),
                code => {
                    self.id.clear();
                    return Err(Lost::refused(code));
                }
            }
        };
        (self.id, self.generation) = (joined.member_id.to_string(), joined.generation_id);
        let assignment = |id: &str| Bytes::from(format!("assignment of {id} in {}", joined.generation_id));
        let assignments = joined
            .members
            .iter()
            .map(|member| {
                SyncGroupRequestAssignment::default()
                    .with_member_id(member.member_id.clone())
                    .with_assignment(assignment(&member.member_id))
            })
            .collect();
        let request = SyncGroupRequest::default()
            .with_group_id(self.group())
            .with_generation_id(self.generation)
            .with_member_id(text(self.id.clone()))
            .with_protocol_type(Some(text("consumer")))
            .with_protocol_name(Some(text("range")))
            .with_assignments(assignments);
        let synced = connection.call(&request, SYNC_GROUP_VERSION).await?;
        refused(synced.error_code)?;
        if synced.assignment != assignment(&self.id) {
            let (group, id) = (&self.plan.group, &self.id);
            self.client.history.violation(
                Checker::Group,
                format!("{group}: member {id} got the assignment {:?} in generation {}", synced.assignment, self.generation),
            );
        }
        self.client.history.event(|| format!("{}: {} joined generation {}", self.plan.group, self.id, self.generation));
        Ok(())
    }

    async fn leave(&mut self, connection: &mut Connection) -> Result<(), Lost> {
        let identity = MemberIdentity::default().with_member_id(text(self.id.clone()));
        let request = LeaveGroupRequest::default().with_group_id(self.group()).with_members(vec![identity]);
        self.id.clear();
        let answer = connection.call(&request, LEAVE_GROUP_VERSION).await?;
        self.client.history.event(|| format!("{}: left, error {}", self.plan.group, answer.error_code));
        refused(answer.error_code)
    }

    async fn heartbeat(&mut self, connection: &mut Connection) -> Result<(), Lost> {
        let request = HeartbeatRequest::default()
            .with_group_id(self.group())
            .with_generation_id(self.generation)
            .with_member_id(text(self.id.clone()));
        refused(connection.call(&request, HEARTBEAT_VERSION).await?.error_code)
    }

    async fn commit(&mut self, connection: &mut Connection) -> Result<(), Lost> {
        let offset = self.next_offset;
        self.next_offset += 1;
        let partition = OffsetCommitRequestPartition::default()
            .with_partition_index(self.plan.tp.partition)
            .with_committed_offset(offset)
            .with_committed_leader_epoch(-1);
        let topic = OffsetCommitRequestTopic::default().with_name(topic_name(&self.plan.tp.topic)).with_partitions(vec![partition]);
        let request = OffsetCommitRequest::default()
            .with_group_id(self.group())
            .with_generation_id_or_member_epoch(self.generation)
            .with_member_id(text(self.id.clone()))
            .with_topics(vec![topic]);
        self.client.history.commit_attempted(&self.plan.group, &self.plan.tp, offset);
        let answer = connection.call(&request, OFFSET_COMMIT_VERSION).await?;
        for partition in answer.topics.iter().flat_map(|topic| &topic.partitions) {
            refused(partition.error_code)?;
            self.client.history.commit_acknowledged(&self.plan.group, &self.plan.tp, offset);
        }
        Ok(())
    }

    fn group(&self) -> GroupId {
        GroupId(text(self.plan.group.clone()))
    }
}

/// Asks for a committed offset and holds it against what was acknowledged.
pub async fn read_committed(client: &Client, connection: &mut Connection, group: &str, tp: &Tp) -> Result<(), Lost> {
    let topics = OffsetFetchRequestTopics::default().with_name(topic_name(&tp.topic)).with_partition_indexes(vec![tp.partition]);
    let wanted =
        OffsetFetchRequestGroup::default().with_group_id(GroupId(text(group))).with_member_epoch(-1).with_topics(Some(vec![topics]));
    let request = OffsetFetchRequest::default().with_groups(vec![wanted]);
    let before = client.history.commit_known(group, tp);
    let answer = connection.call(&request, OFFSET_FETCH_VERSION).await?;
    for group_answer in &answer.groups {
        refused(group_answer.error_code)?;
        for partition in group_answer.topics.iter().flat_map(|topic| &topic.partitions) {
            refused(partition.error_code)?;
            client.history.commit_read(group, tp, partition.committed_offset, before);
        }
    }
    Ok(())
}
