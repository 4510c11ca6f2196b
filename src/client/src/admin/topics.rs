//! Topics: create, list, describe, delete, add partitions, reassignments.

use super::Admin;
use crate::cluster::{Topic, Topics, text, topic_name};
use crate::error::{BrokerError, ClientError};
use odradek_wire::ErrorCode;
use odradek_wire::messages::BrokerId;
use odradek_wire::messages::create_partitions_request::{CreatePartitionsAssignment, CreatePartitionsRequest, CreatePartitionsTopic};
use odradek_wire::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
};
use odradek_wire::messages::delete_topics_request::{DeleteTopicState, DeleteTopicsRequest};
use odradek_wire::messages::describe_topic_partitions_request::{Cursor, DescribeTopicPartitionsRequest, TopicRequest};
use odradek_wire::messages::list_partition_reassignments_request::ListPartitionReassignmentsRequest;
use std::collections::BTreeMap;
use uuid::Uuid;

/// A topic to create. Without `assignment`, counts of `None` mean the cluster's defaults (KIP-464).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewTopic {
    pub name: String,
    pub partitions: Option<i32>,
    pub replication_factor: Option<i16>,
    /// Replicas per partition, in order of partitions; excludes the counts.
    pub assignment: Vec<Vec<i32>>,
    pub configs: Vec<(String, String)>,
}

/// A partition as DescribeTopicPartitions knows it (KIP-966).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicPartitionDescription {
    pub index: i32,
    /// -1 for none.
    pub leader: i32,
    pub leader_epoch: i32,
    pub replicas: Vec<i32>,
    pub isr: Vec<i32>,
    pub offline: Vec<i32>,
    /// Eligible leader replicas; `None` where the broker cannot say.
    pub elr: Option<Vec<i32>>,
    pub last_known_elr: Option<Vec<i32>>,
}

/// A topic with its partitions in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicDescription {
    pub name: String,
    pub id: Uuid,
    pub internal: bool,
    pub partitions: Vec<TopicPartitionDescription>,
}

/// A partition that is being moved (KIP-455).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reassignment {
    pub replicas: Vec<i32>,
    pub adding: Vec<i32>,
    pub removing: Vec<i32>,
}

impl Admin<'_> {
    /// Creates one topic; returns its id (nil where the broker does not say).
    pub fn create_topic(&mut self, topic: &NewTopic, validate_only: bool) -> Result<Uuid, ClientError> {
        let by_hand = !topic.assignment.is_empty();
        let creatable = CreatableTopic::default()
            .with_name(topic_name(&topic.name))
            .with_num_partitions(if by_hand { -1 } else { topic.partitions.unwrap_or(-1) })
            .with_replication_factor(if by_hand { -1 } else { topic.replication_factor.unwrap_or(-1) })
            .with_assignments(
                topic
                    .assignment
                    .iter()
                    .zip(0..)
                    .map(|(replicas, index)| {
                        CreatableReplicaAssignment::default().with_partition_index(index).with_broker_ids(broker_ids(replicas))
                    })
                    .collect(),
            )
            .with_configs(
                topic.configs.iter().map(|(k, v)| CreatableTopicConfig::default().with_name(text(k)).with_value(Some(text(v)))).collect(),
            );
        let request = CreateTopicsRequest::default()
            .with_topics(vec![creatable])
            .with_timeout_ms(self.timeout_ms())
            .with_validate_only(validate_only);
        self.retried(|cluster| {
            let response = cluster.call_controller(&request)?;
            let Some(result) = response.topics.into_iter().next() else { return Err(missing("CreateTopics")) };
            ClientError::check(result.error_code, format!("topic '{}'", topic.name), result.error_message.as_deref())?;
            Ok(result.topic_id)
        })
    }

    /// All topics by name, with what the metadata says of them.
    pub fn list_topics(&mut self, internal: bool) -> Result<Vec<Topic>, ClientError> {
        self.cluster.refresh(Topics::All, false)?;
        Ok(self.cluster.topics().filter(|t| internal || !t.internal).cloned().collect())
    }

    /// Describes topics by name, in order of names. `page` bounds the partitions of one response.
    pub fn describe_topics(&mut self, names: &[String], page: i32) -> Result<Vec<TopicDescription>, ClientError> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        match self.describe_paged(names, page) {
            Err(ClientError::UnsupportedVersion { .. }) => self.describe_by_metadata(names),
            other => other,
        }
    }

    /// Deletes one topic.
    pub fn delete_topic(&mut self, name: &str) -> Result<(), ClientError> {
        let mut request = DeleteTopicsRequest::default().with_timeout_ms(self.timeout_ms());
        request.topics = vec![DeleteTopicState::default().with_name(Some(topic_name(name)))];
        self.retried(|cluster| {
            let response = match cluster.call_controller(&request) {
                // Versions before 6 carry the plain list of names.
                Err(ClientError::Invalid(_)) => {
                    let old = DeleteTopicsRequest::default().with_topic_names(vec![topic_name(name)]).with_timeout_ms(request.timeout_ms);
                    cluster.call_controller(&old)?
                }
                other => other?,
            };
            let Some(result) = response.responses.first() else { return Err(missing("DeleteTopics")) };
            ClientError::check(result.error_code, format!("topic '{name}'"), result.error_message.as_deref())
        })
    }

    /// Raises the number of partitions to `count`; `assignment` gives the replicas of each new one.
    pub fn create_partitions(&mut self, name: &str, count: i32, assignment: Option<&[Vec<i32>]>) -> Result<(), ClientError> {
        let assignments = assignment
            .map(|list| list.iter().map(|replicas| CreatePartitionsAssignment::default().with_broker_ids(broker_ids(replicas))).collect());
        let topic = CreatePartitionsTopic::default().with_name(topic_name(name)).with_count(count).with_assignments(assignments);
        let request = CreatePartitionsRequest::default().with_topics(vec![topic]).with_timeout_ms(self.timeout_ms());
        self.retried(|cluster| {
            let response = cluster.call_controller(&request)?;
            let Some(result) = response.results.first() else { return Err(missing("CreatePartitions")) };
            ClientError::check(result.error_code, format!("topic '{name}'"), result.error_message.as_deref())
        })
    }

    /// Partitions that are being moved. Brokers without the API have none.
    pub fn list_reassignments(&mut self) -> Result<BTreeMap<(String, i32), Reassignment>, ClientError> {
        let request = ListPartitionReassignmentsRequest::default().with_topics(None).with_timeout_ms(self.timeout_ms());
        let response = match self.cluster.call_controller(&request) {
            Err(ClientError::UnsupportedVersion { .. }) => return Ok(BTreeMap::new()),
            other => other?,
        };
        if matches!(ErrorCode::try_from_code(response.error_code), Some(ErrorCode::ClusterAuthorizationFailed)) {
            return Ok(BTreeMap::new());
        }
        ClientError::check(response.error_code, "reassignments", response.error_message.as_deref())?;
        let mut found = BTreeMap::new();
        for topic in response.topics {
            for p in topic.partitions {
                let ids = |list: &[BrokerId]| list.iter().map(|b| b.0).collect();
                let moving =
                    Reassignment { replicas: ids(&p.replicas), adding: ids(&p.adding_replicas), removing: ids(&p.removing_replicas) };
                found.insert((topic.name.0.to_string(), p.partition_index), moving);
            }
        }
        Ok(found)
    }

    fn describe_paged(&mut self, names: &[String], page: i32) -> Result<Vec<TopicDescription>, ClientError> {
        let mut found: BTreeMap<String, TopicDescription> = BTreeMap::new();
        let mut cursor: Option<Cursor> = None;
        let mut wanted: Vec<String> = names.to_vec();
        wanted.sort();
        loop {
            let topics = wanted.iter().map(|n| TopicRequest::default().with_name(topic_name(n))).collect();
            let request = DescribeTopicPartitionsRequest::default()
                .with_topics(topics)
                .with_response_partition_limit(page)
                .with_cursor(cursor.take());
            let response = self.cluster.call_any(&request)?;
            for topic in response.topics {
                let name = topic.name.map(|n| n.0.to_string()).unwrap_or_default();
                ClientError::check(topic.error_code, format!("topic '{name}'"), None)?;
                let entry = found.entry(name.clone()).or_insert_with(|| TopicDescription {
                    name,
                    id: topic.topic_id,
                    internal: topic.is_internal,
                    partitions: Vec::new(),
                });
                let ids = |list: &[BrokerId]| -> Vec<i32> { list.iter().map(|b| b.0).collect() };
                entry.partitions.extend(topic.partitions.into_iter().map(|p| TopicPartitionDescription {
                    index: p.partition_index,
                    leader: p.leader_id.0,
                    leader_epoch: p.leader_epoch,
                    replicas: ids(&p.replica_nodes),
                    isr: ids(&p.isr_nodes),
                    offline: ids(&p.offline_replicas),
                    elr: p.eligible_leader_replicas.as_deref().map(ids),
                    last_known_elr: p.last_known_elr.as_deref().map(ids),
                }));
            }
            let Some(next) = response.next_cursor else { break };
            let at = next.topic_name.0.to_string();
            // A cursor that does not move would ask for ever.
            if found.get(&at).is_some_and(|t| t.partitions.iter().any(|p| p.index >= next.partition_index)) {
                return Err(missing("DescribeTopicPartitions"));
            }
            wanted.retain(|n| *n >= at);
            cursor = Some(Cursor::default().with_topic_name(next.topic_name).with_partition_index(next.partition_index));
        }
        let mut topics: Vec<TopicDescription> = found.into_values().collect();
        for topic in &mut topics {
            topic.partitions.sort_by_key(|p| p.index);
        }
        Ok(topics)
    }

    fn describe_by_metadata(&mut self, names: &[String]) -> Result<Vec<TopicDescription>, ClientError> {
        self.cluster.refresh(Topics::Named(names), false)?;
        let mut topics = Vec::new();
        for name in names {
            let Some(topic) = self.cluster.topic(name) else {
                return Err(self.cluster.topic_problem(name).unwrap_or_else(|| {
                    BrokerError { code: ErrorCode::UnknownTopicOrPartition, subject: format!("topic '{name}'"), message: None }.into()
                }));
            };
            let partitions = topic.partitions.iter().map(|p| TopicPartitionDescription {
                index: p.index,
                leader: p.leader,
                leader_epoch: p.leader_epoch,
                replicas: p.replicas.clone(),
                isr: p.isr.clone(),
                offline: p.offline.clone(),
                elr: None,
                last_known_elr: None,
            });
            topics.push(TopicDescription { name: name.clone(), id: topic.id, internal: topic.internal, partitions: partitions.collect() });
        }
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(topics)
    }
}

fn broker_ids(ids: &[i32]) -> Vec<BrokerId> {
    ids.iter().map(|&id| BrokerId(id)).collect()
}

fn missing(api: &str) -> ClientError {
    ClientError::Protocol { address: "the broker".to_owned(), detail: format!("the {api} response does not answer what was asked") }
}
