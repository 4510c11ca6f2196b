//! CreateTopics.

use super::{Controller, Outcome, PARTITIONS_PER_REQUEST_MAX};
use crate::names;
use crate::placement::{PlacementError, Placer};
use crate::protocol::messages::create_topics_request::CreatableTopic;
use crate::protocol::messages::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use crate::protocol::messages::{CreateTopicsRequest, CreateTopicsResponse};
use crate::protocol::{ErrorCode, Refusal, text, topic_name};
use crate::records::{ConfigRecord, MetadataRecord, TopicRecord};
use crate::resource::{ConfigSource, ResourceType};
use odradek_base::{BrokerId, PartitionIndex, Rng, TopicId};
use odradek_settings::topic;
use std::collections::{BTreeMap, BTreeSet};

/// Replicas of a topic's partitions, from 0 on, and how many each has.
pub(super) struct Layout {
    pub assignments: Vec<Vec<BrokerId>>,
    pub replication_factor: usize,
}

impl Controller<'_> {
    /// Each topic succeeds or fails on its own, except that a request for too many partitions fails as a whole.
    pub fn create_topics(&self, request: &CreateTopicsRequest, rng: &mut Rng) -> Outcome<CreateTopicsResponse> {
        let mut times: BTreeMap<&str, usize> = BTreeMap::new();
        request.topics.iter().for_each(|topic| *times.entry(&topic.name).or_default() += 1);
        let excessive = self.partitions_wanted(request) > PARTITIONS_PER_REQUEST_MAX as u64;
        let mut placer = self.placer();
        let mut made = Made::default();
        let mut answered: BTreeSet<&str> = BTreeSet::new();
        let mut results = Vec::with_capacity(request.topics.len());
        for topic in &request.topics {
            let name: &str = &topic.name;
            if !answered.insert(name) {
                continue;
            }
            let result = if times[name] > 1 {
                Err(Refusal::new(ErrorCode::InvalidRequest, "Duplicate topic name."))
            } else if name == names::CLUSTER_METADATA {
                Err(Refusal::new(ErrorCode::InvalidRequest, format!("Creation of internal topic {name} is prohibited.")))
            } else if excessive {
                Err(Refusal::new(ErrorCode::PolicyViolation, "Excessively large number of partitions per request."))
            } else {
                self.create_topic(topic, &mut placer, &mut made, rng)
            };
            results.push(result.unwrap_or_else(|refusal| {
                CreatableTopicResult::default()
                    .with_name(topic_name(name))
                    .with_error_code(refusal.code.code())
                    .with_error_message(refusal.message())
                    .with_num_partitions(-1)
                    .with_replication_factor(-1)
                    .with_configs(Some(Vec::new()))
            }));
        }
        let records = if request.validate_only { Vec::new() } else { made.records };
        Outcome { records, response: CreateTopicsResponse::default().with_topics(results) }
    }

    fn partitions_wanted(&self, request: &CreateTopicsRequest) -> u64 {
        let of_topic = |topic: &CreatableTopic| match topic.num_partitions {
            _ if !topic.assignments.is_empty() => topic.assignments.len() as u64,
            -1 => u64::from(self.settings.num_partitions().unsigned_abs()),
            count => u64::try_from(count).unwrap_or(0),
        };
        request.topics.iter().map(of_topic).sum()
    }

    fn create_topic(
        &self,
        topic: &CreatableTopic,
        placer: &mut Placer,
        made: &mut Made,
        rng: &mut Rng,
    ) -> Result<CreatableTopicResult, Refusal> {
        let name: &str = &topic.name;
        names::check(name).map_err(|message| Refusal::new(ErrorCode::InvalidTopicException, message))?;
        if self.image.topic(name).is_some() {
            return Err(Refusal::new(ErrorCode::TopicAlreadyExists, format!("Topic '{name}' already exists.")));
        }
        if names::may_collide(name)
            && let Some(other) = self.image.colliding_topic(name).or_else(|| made.colliding_topic(name))
        {
            let message = format!("Topic '{name}' collides with existing topic: {other}");
            return Err(Refusal::new(ErrorCode::InvalidTopicException, message));
        }
        let configs = own_configs(topic)?;
        self.check_topic_configs(&configs)?;
        let layout = self.layout(topic, placer)?;
        let topic_id = self.new_topic_id(rng);
        made.add(self, name, topic_id, &configs, &layout)?;
        Ok(CreatableTopicResult::default()
            .with_name(topic_name(name))
            .with_topic_id(topic_id.0)
            .with_error_message(None)
            .with_num_partitions(layout.assignments.len() as i32)
            .with_replication_factor(layout.replication_factor as i16)
            .with_configs(Some(self.effective_configs(&configs))))
    }

    /// An id that no topic has.
    pub(super) fn new_topic_id(&self, rng: &mut Rng) -> TopicId {
        loop {
            let id = TopicId(rng.uuid());
            if self.image.topic_by_id(id).is_none() {
                return id;
            }
        }
    }

    fn layout(&self, topic: &CreatableTopic, placer: &mut Placer) -> Result<Layout, Refusal> {
        if !topic.assignments.is_empty() {
            return self.manual_layout(topic, placer);
        }
        if topic.replication_factor < -1 || topic.replication_factor == 0 {
            let message = "Replication factor must be larger than 0, or -1 to use the default value.";
            return Err(Refusal::new(ErrorCode::InvalidReplicationFactor, message));
        }
        if topic.num_partitions < -1 || topic.num_partitions == 0 {
            let message = "Number of partitions was set to an invalid non-positive value.";
            return Err(Refusal::new(ErrorCode::InvalidPartitions, message));
        }
        let or_default = |given: i32, default: i32| if given == -1 { default } else { given };
        let count = or_default(topic.num_partitions, self.settings.num_partitions()) as usize;
        let factor = or_default(i32::from(topic.replication_factor), self.settings.default_replication_factor()) as usize;
        let assignments = placer.place(None, count, factor).map_err(|error| cannot_replicate(factor, error))?;
        Ok(Layout { assignments, replication_factor: factor })
    }

    fn manual_layout(&self, topic: &CreatableTopic, placer: &mut Placer) -> Result<Layout, Refusal> {
        let invalid_request = |what| {
            let message = format!("A manual partition assignment was specified, but {what} was not set to -1.");
            Refusal::new(ErrorCode::InvalidRequest, message)
        };
        if topic.replication_factor != -1 {
            return Err(invalid_request("replication factor"));
        }
        if topic.num_partitions != -1 {
            return Err(invalid_request("numPartitions"));
        }
        let mut by_partition: BTreeMap<i32, Vec<BrokerId>> = BTreeMap::new();
        let mut factor = None;
        for assignment in &topic.assignments {
            let index = assignment.partition_index;
            if by_partition.contains_key(&index) {
                let message = format!("Found multiple manual partition assignments for partition {index}");
                return Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, message));
            }
            let replicas = self.assigned_replicas(&assignment.broker_ids, factor, placer)?;
            if !replicas.iter().any(|&replica| self.is_active(replica)) {
                let message = format!(
                    "All brokers specified in the manual partition assignment for partition {index} are fenced or in controlled shutdown."
                );
                return Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, message));
            }
            factor = Some(replicas.len());
            by_partition.insert(index, replicas);
        }
        if !by_partition.keys().copied().eq(0..by_partition.len() as i32) {
            let message = "partitions should be a consecutive 0-based integer sequence";
            return Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, message));
        }
        Ok(Layout { assignments: by_partition.into_values().collect(), replication_factor: factor.unwrap_or(0) })
    }

    /// What the response tells about configs: all that are in force, by name.
    fn effective_configs(&self, own: &BTreeMap<String, String>) -> Vec<CreatableTopicConfigs> {
        let layers = self.layers();
        let own = own.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        let values = layers.topic_settings(Some(&own));
        let source = |row: &topic::TopicConfig| match row.broker_synonym {
            _ if own.contains_key(row.name) => ConfigSource::Topic,
            Some(synonym) => layers.sources(synonym).next().map_or(ConfigSource::Default, |(source, _)| source),
            None => ConfigSource::Default,
        };
        let configs = values.values().iter().filter_map(|(name, value)| {
            let row = topic::find(name)?;
            Some(
                CreatableTopicConfigs::default()
                    .with_name(text(*name))
                    .with_value(Some(text(value.as_str())))
                    .with_config_source(source(row).code()),
            )
        });
        configs.collect()
    }
}

/// The configs in the request; a config that is named twice has its last value, as in Kafka.
fn own_configs(topic: &CreatableTopic) -> Result<BTreeMap<String, String>, Refusal> {
    let nulls: Vec<&str> = topic.configs.iter().filter(|config| config.value.is_none()).map(|config| &*config.name).collect();
    if !nulls.is_empty() {
        let message = format!("Null value not supported for topic configs: {}", nulls.join(","));
        return Err(Refusal::new(ErrorCode::InvalidConfig, message));
    }
    Ok(topic.configs.iter().filter_map(|config| Some((config.name.to_string(), config.value.as_ref()?.to_string()))).collect())
}

pub(super) fn cannot_replicate(factor: usize, error: PlacementError) -> Refusal {
    Refusal::new(ErrorCode::InvalidReplicationFactor, format!("Unable to replicate the partition {factor} time(s): {error}"))
}

/// What a request has made so far.
#[derive(Default)]
pub(super) struct Made {
    pub records: Vec<MetadataRecord>,
    collisions: BTreeMap<String, String>,
}

impl Made {
    fn colliding_topic(&self, name: &str) -> Option<&str> {
        self.collisions.get(&names::collision_key(name)).map(String::as_str)
    }

    /// Topic, then its configs, then its partitions.
    pub(super) fn add(
        &mut self,
        controller: &Controller<'_>,
        name: &str,
        topic_id: TopicId,
        configs: &BTreeMap<String, String>,
        layout: &Layout,
    ) -> Result<(), Refusal> {
        let partitions: Option<Vec<MetadataRecord>> = (0..)
            .zip(&layout.assignments)
            .map(|(index, replicas)| controller.new_partition(topic_id, PartitionIndex(index), replicas.clone()))
            .collect();
        let partitions = partitions.ok_or_else(|| cannot_replicate(layout.replication_factor, PlacementError::NoActiveBroker))?;
        self.records.push(MetadataRecord::Topic(TopicRecord { name: name.to_owned(), topic_id }));
        self.records.extend(configs.iter().map(|(key, value)| {
            MetadataRecord::Config(ConfigRecord {
                resource_type: ResourceType::Topic.code(),
                resource_name: name.to_owned(),
                name: key.clone(),
                value: Some(value.clone()),
            })
        }));
        self.records.extend(partitions);
        if names::may_collide(name) {
            self.collisions.insert(names::collision_key(name), name.to_owned());
        }
        Ok(())
    }
}
