//! Consumer groups: list, describe, delete, and their offsets.

use super::{Admin, PerPartition};
use crate::cluster::{Cluster, text, topic_name};
use crate::connection::Request;
use crate::consumer::assignor::Assignment;
use crate::consumer::{CommittedOffset, decode_assignment, group::offset_commit_request};
use crate::error::{BrokerError, ClientError};
use odradek_wire::ErrorCode;
use odradek_wire::messages::offset_delete_request::{OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use odradek_wire::messages::offset_fetch_request::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use odradek_wire::messages::{ConsumerGroupDescribeRequest, DeleteGroupsRequest, DescribeGroupsRequest, GroupId, ListGroupsRequest};
use std::collections::BTreeMap;

/// Versions that name topics; the next ones use ids.
const OFFSETS_NAMED_MAX: i16 = 9;
/// OffsetFetch version from which several groups are asked at once (KIP-709).
const OFFSET_FETCH_GROUPS: i16 = 8;

/// A group as ListGroups knows it; empty strings where an old broker does not say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupListing {
    pub id: String,
    pub protocol_type: String,
    /// `Stable`, `Empty`, ...
    pub state: String,
    /// `classic`, `consumer`, ...
    pub kind: String,
}

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMember {
    pub id: String,
    pub instance: Option<String>,
    pub client_id: String,
    pub host: String,
    pub assignment: Assignment,
}

/// A group with its members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupDescription {
    pub id: String,
    pub state: String,
    pub kind: String,
    pub assignor: String,
    pub coordinator: i32,
    pub members: Vec<GroupMember>,
}

type Offsets = BTreeMap<(String, i32), CommittedOffset>;

impl Admin<'_> {
    /// Groups of all brokers, by id.
    pub fn list_groups(&mut self, states: &[String], kinds: &[String]) -> Result<Vec<GroupListing>, ClientError> {
        self.cluster.refresh(crate::cluster::Topics::None, false)?;
        let brokers: Vec<i32> = self.cluster.brokers().map(|b| b.id).collect();
        let mut groups = BTreeMap::new();
        for broker in brokers {
            let connection = self.cluster.connection(broker)?;
            let version = connection.version::<ListGroupsRequest>(i16::MAX)?;
            let mut request = ListGroupsRequest::default();
            if version >= 4 {
                request.states_filter = states.iter().map(|s| text(s)).collect();
            }
            if version >= 5 {
                request.types_filter = kinds.iter().map(|k| text(k)).collect();
            }
            let response = self.retried(|cluster| {
                let response = cluster.call(broker, &request)?;
                ClientError::check(response.error_code, format!("groups of broker {broker}"), None)?;
                Ok(response)
            })?;
            for group in response.groups {
                let listing = GroupListing {
                    id: group.group_id.0.to_string(),
                    protocol_type: group.protocol_type.to_string(),
                    state: group.group_state.to_string(),
                    kind: group.group_type.to_string(),
                };
                groups.insert(listing.id.clone(), listing);
            }
        }
        Ok(groups.into_values().collect())
    }

    /// Describes one group; a group that does not exist is an error with GROUP_ID_NOT_FOUND where the broker says so
    /// (DescribeGroups version 6), else state `Dead`.
    pub fn describe_group(&mut self, group: &str) -> Result<GroupDescription, ClientError> {
        // Groups of the new protocol (KIP-848) answer only the new call; the broker names the kind of error for the others.
        let new =
            self.at_coordinator(group, i16::MAX, |_| ConsumerGroupDescribeRequest::default().with_group_ids(vec![GroupId(text(group))]));
        if let Ok((coordinator, response)) = new
            && let Some(described) = response.groups.into_iter().next()
            && described.error_code == 0
        {
            let members = described
                .members
                .into_iter()
                .map(|m| GroupMember {
                    id: m.member_id.to_string(),
                    instance: m.instance_id.map(|i| i.to_string()),
                    client_id: m.client_id.to_string(),
                    host: m.client_host.to_string(),
                    assignment: m.assignment.topic_partitions.into_iter().map(|t| (t.topic_name.0.to_string(), t.partitions)).collect(),
                })
                .collect();
            return Ok(GroupDescription {
                id: group.to_owned(),
                state: described.group_state.to_string(),
                kind: "consumer".to_owned(),
                assignor: described.assignor_name.to_string(),
                coordinator,
                members,
            });
        }
        self.describe_classic_group(group)
    }

    /// Committed offsets of a group, all or those of some partitions; partitions without one are left out.
    pub fn group_offsets(&mut self, group: &str, partitions: Option<&[(String, i32)]>) -> Result<Offsets, ClientError> {
        let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
        for (topic, partition) in partitions.unwrap_or_default() {
            topics.entry(topic).or_default().push(*partition);
        }
        self.retried(|cluster| fetch_offsets(cluster, group, partitions.is_some().then_some(&topics)))
    }

    /// Sets offsets of a group without members.
    pub fn alter_group_offsets(&mut self, group: &str, offsets: &Offsets) -> Result<(), ClientError> {
        let (_, response) = self.at_coordinator(group, OFFSETS_NAMED_MAX, |_| offset_commit_request(group, -1, "", None, offsets))?;
        for topic in response.topics {
            for p in topic.partitions {
                ClientError::check(p.error_code, format!("offset of {}-{} in group '{group}'", topic.name.0, p.partition_index), None)?;
            }
        }
        Ok(())
    }

    /// Deletes a group without members.
    pub fn delete_group(&mut self, group: &str) -> Result<(), ClientError> {
        self.retried(|cluster| {
            let coordinator = cluster.group_coordinator(group)?;
            let request = DeleteGroupsRequest::default().with_groups_names(vec![GroupId(text(group))]);
            for result in cluster.call(coordinator, &request)?.results {
                ClientError::check(result.error_code, format!("group '{group}'"), None)?;
            }
            Ok(())
        })
    }

    /// Deletes committed offsets of a group; per partition success or an error.
    pub fn delete_group_offsets(&mut self, group: &str, partitions: &[(String, i32)]) -> Result<PerPartition<()>, ClientError> {
        let mut topics: BTreeMap<&str, Vec<OffsetDeleteRequestPartition>> = BTreeMap::new();
        for (topic, partition) in partitions {
            topics.entry(topic).or_default().push(OffsetDeleteRequestPartition::default().with_partition_index(*partition));
        }
        let topics =
            topics.into_iter().map(|(t, p)| OffsetDeleteRequestTopic::default().with_name(topic_name(t)).with_partitions(p)).collect();
        let request = OffsetDeleteRequest::default().with_group_id(GroupId(text(group))).with_topics(topics);
        let (_, response) = self.at_coordinator(group, i16::MAX, |_| request.clone())?;
        ClientError::check(response.error_code, format!("group '{group}'"), None)?;
        let mut results = BTreeMap::new();
        for topic in response.topics {
            for p in topic.partitions {
                let subject = format!("offset of {}-{}", topic.name.0, p.partition_index);
                results.insert((topic.name.0.to_string(), p.partition_index), ClientError::check(p.error_code, subject, None));
            }
        }
        Ok(results)
    }

    fn describe_classic_group(&mut self, group: &str) -> Result<GroupDescription, ClientError> {
        self.retried(|cluster| {
            let coordinator = cluster.group_coordinator(group)?;
            let request = DescribeGroupsRequest::default().with_groups(vec![GroupId(text(group))]);
            let response = cluster.call(coordinator, &request)?;
            let Some(described) = response.groups.into_iter().next() else {
                return Err(BrokerError { code: ErrorCode::GroupIdNotFound, subject: format!("group '{group}'"), message: None }.into());
            };
            ClientError::check(described.error_code, format!("group '{group}'"), described.error_message.as_deref())?;
            let of_consumers = *described.protocol_type == *"consumer";
            let members = described
                .members
                .into_iter()
                .map(|m| GroupMember {
                    id: m.member_id.to_string(),
                    instance: m.group_instance_id.map(|i| i.to_string()),
                    client_id: m.client_id.to_string(),
                    host: m.client_host.to_string(),
                    // Other protocols (Connect) have blobs of their own.
                    assignment: if of_consumers { decode_assignment(&m.member_assignment).unwrap_or_default() } else { Assignment::new() },
                })
                .collect();
            Ok(GroupDescription {
                id: group.to_owned(),
                state: described.group_state.to_string(),
                kind: "classic".to_owned(),
                assignor: described.protocol_data.to_string(),
                coordinator,
                members,
            })
        })
    }

    /// One request to a group's coordinator, found again when it moved.
    fn at_coordinator<R: Request>(&mut self, group: &str, cap: i16, request: impl Fn(i16) -> R) -> Result<(i32, R::Response), ClientError> {
        self.retried(|cluster| {
            let coordinator = cluster.group_coordinator(group)?;
            let connection = cluster.connection(coordinator)?;
            let version = connection.version::<R>(cap)?;
            let response = connection.call_at(&request(version), version);
            if response.is_err() {
                cluster.drop_connection(coordinator);
            }
            response.map(|r| (coordinator, r))
        })
    }
}

fn fetch_offsets(cluster: &mut Cluster, group: &str, topics: Option<&BTreeMap<&str, Vec<i32>>>) -> Result<Offsets, ClientError> {
    let coordinator = cluster.group_coordinator(group)?;
    let connection = cluster.connection(coordinator)?;
    let version = connection.version::<OffsetFetchRequest>(OFFSETS_NAMED_MAX)?;
    let subject = || format!("group '{group}'");
    let mut offsets = Offsets::new();
    let mut take = |topic: &str, index: i32, code: i16, offset: i64, epoch: i32, metadata: Option<&str>| {
        ClientError::check(code, format!("offset of {topic}-{index} in group '{group}'"), None)?;
        if offset >= 0 {
            let committed = CommittedOffset { offset, leader_epoch: epoch, metadata: metadata.unwrap_or_default().to_owned() };
            offsets.insert((topic.to_owned(), index), committed);
        }
        Ok::<(), ClientError>(())
    };
    if version >= OFFSET_FETCH_GROUPS {
        let topics = topics.map(|all| {
            all.iter()
                .map(|(t, p)| OffsetFetchRequestTopics::default().with_name(topic_name(t)).with_partition_indexes(p.clone()))
                .collect()
        });
        let wanted = OffsetFetchRequestGroup::default().with_group_id(GroupId(text(group))).with_member_epoch(-1).with_topics(topics);
        let response = connection.call_at(&OffsetFetchRequest::default().with_groups(vec![wanted]), version)?;
        for answer in &response.groups {
            ClientError::check(answer.error_code, subject(), None)?;
            for topic in &answer.topics {
                for p in &topic.partitions {
                    take(
                        &topic.name.0,
                        p.partition_index,
                        p.error_code,
                        p.committed_offset,
                        p.committed_leader_epoch,
                        p.metadata.as_deref(),
                    )?;
                }
            }
        }
    } else {
        let topics = topics.map(|all| {
            all.iter().map(|(t, p)| OffsetFetchRequestTopic::default().with_name(topic_name(t)).with_partition_indexes(p.clone())).collect()
        });
        let response =
            connection.call_at(&OffsetFetchRequest::default().with_group_id(GroupId(text(group))).with_topics(topics), version)?;
        ClientError::check(response.error_code, subject(), None)?;
        for topic in &response.topics {
            for p in &topic.partitions {
                take(&topic.name.0, p.partition_index, p.error_code, p.committed_offset, p.committed_leader_epoch, p.metadata.as_deref())?;
            }
        }
    }
    Ok(offsets)
}
