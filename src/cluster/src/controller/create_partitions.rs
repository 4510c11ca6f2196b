//! CreatePartitions (KIP-195).

use super::create_topics::cannot_replicate;
use super::{Controller, Outcome, PARTITIONS_PER_REQUEST_MAX};
use crate::placement::{PlacementError, Placer};
use crate::protocol::messages::create_partitions_request::CreatePartitionsTopic;
use crate::protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use crate::protocol::messages::{CreatePartitionsRequest, CreatePartitionsResponse};
use crate::protocol::{ErrorCode, Refusal, topic_name};
use crate::records::MetadataRecord;
use odradek_base::PartitionIndex;
use std::collections::{BTreeMap, BTreeSet};

impl Controller<'_> {
    /// Each topic succeeds or fails on its own.
    pub fn create_partitions(&self, request: &CreatePartitionsRequest) -> Outcome<CreatePartitionsResponse> {
        let mut times: BTreeMap<&str, usize> = BTreeMap::new();
        request.topics.iter().for_each(|topic| *times.entry(&topic.name).or_default() += 1);
        let mut placer = self.placer();
        let mut records = Vec::new();
        let mut answered: BTreeSet<&str> = BTreeSet::new();
        let mut results = Vec::with_capacity(request.topics.len());
        for topic in &request.topics {
            if !answered.insert(&topic.name) {
                continue;
            }
            let result = if times[&**topic.name] > 1 {
                Err(Refusal::new(ErrorCode::InvalidRequest, "Duplicate topic name."))
            } else {
                self.add_partitions(topic, &mut placer, records.len())
            };
            let mut answer = CreatePartitionsTopicResult::default().with_name(topic_name(&topic.name));
            match result {
                Ok(made) => records.extend(made),
                Err(refusal) => answer = answer.with_error_code(refusal.code.code()).with_error_message(refusal.message()),
            }
            results.push(answer);
        }
        if request.validate_only {
            records.clear();
        }
        Outcome { records, response: CreatePartitionsResponse::default().with_results(results) }
    }

    fn add_partitions(&self, wanted: &CreatePartitionsTopic, placer: &mut Placer, already: usize) -> Result<Vec<MetadataRecord>, Refusal> {
        let name: &str = &wanted.name;
        let topic = self
            .image
            .topic(name)
            .ok_or_else(|| Refusal::new(ErrorCode::UnknownTopicOrPartition, "This server does not host this topic-partition."))?;
        let existing = topic.partition_count();
        let count = usize::try_from(wanted.count).unwrap_or(0);
        if count == existing {
            return Err(Refusal::new(ErrorCode::InvalidPartitions, format!("Topic already has {existing} partition(s).")));
        }
        if count < existing {
            let message = format!("The topic {name} currently has {existing} partition(s); {} would not be an increase.", wanted.count);
            return Err(Refusal::new(ErrorCode::InvalidPartitions, message));
        }
        let additional = count - existing;
        if let Some(assignments) = &wanted.assignments
            && assignments.len() != additional
        {
            let message = format!(
                "Attempted to add {additional} additional partition(s), but only {} assignment(s) were specified.",
                assignments.len()
            );
            return Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, message));
        }
        if additional + already > PARTITIONS_PER_REQUEST_MAX {
            // Kafka's list of records overflows here, which clients see as this code; CreateTopics says POLICY_VIOLATION.
            let message = format!("Excessively large number of partitions per request: at most {PARTITIONS_PER_REQUEST_MAX} can be added.");
            return Err(Refusal::new(ErrorCode::UnknownServerError, message));
        }
        let factor = topic.replication_factor();
        let assignments = match &wanted.assignments {
            Some(assignments) => {
                let replicas = |assignment: &crate::protocol::messages::create_partitions_request::CreatePartitionsAssignment| {
                    self.assigned_replicas(&assignment.broker_ids, Some(factor), placer)
                };
                assignments.iter().map(replicas).collect::<Result<Vec<_>, _>>()?
            }
            None => placer.place(Some(topic), additional, factor).map_err(|error| cannot_replicate(factor, error))?,
        };
        let made = (existing as i32..).zip(assignments).map(|(index, replicas)| {
            let made = self.new_partition(topic.id, PartitionIndex(index), replicas);
            made.ok_or_else(|| cannot_replicate(factor, PlacementError::NoActiveBroker))
        });
        made.collect()
    }
}
