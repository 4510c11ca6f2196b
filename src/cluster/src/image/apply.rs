//! Applying records: the only thing that changes an image.

use super::{Broker, Image, Partition, Topic};
use crate::names;
use crate::records::{BrokerRegistrationChangeRecord, ConfigRecord, MetadataRecord, PartitionChangeRecord, PartitionRecord, TopicRecord};
use crate::resource::ResourceType;
use imbl::OrdMap;
use odradek_base::{BrokerId, PartitionIndex, TopicId, TopicPartition};
use std::sync::Arc;

/// A record does not fit the image it should be applied to: the log is damaged or has a gap.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ApplyError {
    #[error("there is no topic {0}")]
    NoTopic(TopicId),
    #[error("there is no partition {0}")]
    NoPartition(TopicPartition),
    #[error("a topic called {0} exists")]
    NameTaken(String),
    #[error("a topic with id {0} exists")]
    IdTaken(TopicId),
    #[error("topic {0} already has partition {1}")]
    PartitionTaken(TopicId, PartitionIndex),
    #[error("partition index {0} is negative")]
    BadPartition(PartitionIndex),
    #[error("broker {broker} is not registered with epoch {epoch}")]
    NoBroker { broker: BrokerId, epoch: i64 },
    #[error("configs of resource type {0} are unknown")]
    BadResourceType(i8),
    #[error("producer ids go back from {from} to {to}")]
    ProducerIdsGoBack { from: i64, to: i64 },
}

impl Image {
    /// Applies one record. Records that frame a transaction change nothing: whoever reads the log decides about those.
    ///
    /// # Errors
    /// The record does not fit; the image is then as it was.
    pub fn apply(&mut self, record: &MetadataRecord) -> Result<(), ApplyError> {
        match record {
            MetadataRecord::RegisterBroker(record) => {
                self.brokers.insert(record.broker, Arc::new(Broker::of(record)));
            }
            MetadataRecord::UnregisterBroker(record) => {
                self.registered(record.broker, record.broker_epoch)?;
                self.brokers.remove(&record.broker);
            }
            MetadataRecord::BrokerRegistrationChange(record) => self.change_broker(record)?,
            MetadataRecord::Topic(record) => self.add_topic(record)?,
            MetadataRecord::RemoveTopic(record) => self.remove_topic(record.topic_id)?,
            MetadataRecord::Partition(record) => self.add_partition(record)?,
            MetadataRecord::PartitionChange(record) => self.change_partition(record)?,
            MetadataRecord::Config(record) => self.set_config(record)?,
            MetadataRecord::FeatureLevel(record) if record.level == 0 => {
                self.features.remove(&record.name);
            }
            MetadataRecord::FeatureLevel(record) => {
                self.features.insert(record.name.clone(), record.level);
            }
            MetadataRecord::ProducerIds(record) => {
                if record.next_producer_id < self.next_producer_id {
                    return Err(ApplyError::ProducerIdsGoBack { from: self.next_producer_id, to: record.next_producer_id });
                }
                self.next_producer_id = record.next_producer_id;
            }
            MetadataRecord::NoOp
            | MetadataRecord::BeginTransaction(_)
            | MetadataRecord::EndTransaction
            | MetadataRecord::AbortTransaction(_) => {}
        }
        Ok(())
    }

    fn registered(&mut self, broker: BrokerId, epoch: i64) -> Result<&mut Broker, ApplyError> {
        let registered = self.brokers.get_mut(&broker).filter(|registered| registered.epoch == epoch);
        registered.map(Arc::make_mut).ok_or(ApplyError::NoBroker { broker, epoch })
    }

    fn change_broker(&mut self, record: &BrokerRegistrationChangeRecord) -> Result<(), ApplyError> {
        let broker = self.registered(record.broker, record.broker_epoch)?;
        if let Some(fenced) = record.fenced {
            broker.fenced = fenced;
        }
        broker.in_controlled_shutdown |= record.in_controlled_shutdown;
        if !record.log_dirs.is_empty() {
            broker.log_dirs.clone_from(&record.log_dirs);
        }
        Ok(())
    }

    fn add_topic(&mut self, record: &TopicRecord) -> Result<(), ApplyError> {
        let name: Arc<str> = record.name.as_str().into();
        if self.names.contains_key(&name) {
            return Err(ApplyError::NameTaken(record.name.clone()));
        }
        if self.topics.contains_key(&record.topic_id) {
            return Err(ApplyError::IdTaken(record.topic_id));
        }
        if names::may_collide(&name) {
            self.collisions.entry(names::collision_key(&name)).or_default().insert(Arc::clone(&name));
        }
        self.names.insert(Arc::clone(&name), record.topic_id);
        self.topics.insert(record.topic_id, Arc::new(Topic { id: record.topic_id, name, partitions: OrdMap::new() }));
        Ok(())
    }

    fn remove_topic(&mut self, id: TopicId) -> Result<(), ApplyError> {
        let topic = self.topics.remove(&id).ok_or(ApplyError::NoTopic(id))?;
        self.names.remove(&topic.name);
        let key = names::collision_key(&topic.name);
        if let Some(same) = self.collisions.get_mut(&key) {
            same.remove(&topic.name);
            if same.is_empty() {
                self.collisions.remove(&key);
            }
        }
        self.configs.remove(&(ResourceType::Topic, topic.name.to_string()));
        for partition in topic.partitions.values() {
            self.count_replicas(&partition.replicas, &[]);
        }
        self.partition_count -= topic.partitions.len();
        Ok(())
    }

    fn add_partition(&mut self, record: &PartitionRecord) -> Result<(), ApplyError> {
        if record.partition.get() < 0 {
            return Err(ApplyError::BadPartition(record.partition));
        }
        let topic = self.topics.get_mut(&record.topic_id).ok_or(ApplyError::NoTopic(record.topic_id))?;
        if topic.partitions.contains_key(&record.partition) {
            return Err(ApplyError::PartitionTaken(record.topic_id, record.partition));
        }
        Arc::make_mut(topic).partitions.insert(record.partition, Partition::of(record));
        self.count_replicas(&[], &record.replicas);
        self.partition_count += 1;
        Ok(())
    }

    fn change_partition(&mut self, record: &PartitionChangeRecord) -> Result<(), ApplyError> {
        let at = TopicPartition::new(record.topic_id, record.partition);
        let topic = self.topics.get_mut(&record.topic_id).ok_or(ApplyError::NoTopic(record.topic_id))?;
        if !topic.partitions.contains_key(&record.partition) {
            return Err(ApplyError::NoPartition(at));
        }
        let partition = Arc::make_mut(topic).partitions.get_mut(&record.partition).ok_or(ApplyError::NoPartition(at))?;
        let before = record.replicas.as_ref().map(|_| partition.replicas.clone());
        partition.change(record);
        if let (Some(before), Some(after)) = (before, &record.replicas) {
            self.count_replicas(&before, after);
        }
        Ok(())
    }

    fn set_config(&mut self, record: &ConfigRecord) -> Result<(), ApplyError> {
        let resource_type = ResourceType::from_code(record.resource_type).ok_or(ApplyError::BadResourceType(record.resource_type))?;
        let key = (resource_type, record.resource_name.clone());
        match &record.value {
            Some(value) => {
                self.configs.entry(key).or_default().insert(record.name.clone(), value.clone());
            }
            None => {
                if let Some(configs) = self.configs.get_mut(&key) {
                    configs.remove(&record.name);
                    if configs.is_empty() {
                        self.configs.remove(&key);
                    }
                }
            }
        }
        Ok(())
    }

    fn count_replicas(&mut self, gone: &[BrokerId], new: &[BrokerId]) {
        for broker in gone {
            let count = self.replica_count(*broker);
            assert!(count > 0, "broker {broker} loses a replica that was never counted");
            if count == 1 {
                self.replicas.remove(broker);
            } else {
                self.replicas.insert(*broker, count - 1);
            }
        }
        for broker in new {
            self.replicas.insert(*broker, self.replica_count(*broker) + 1);
        }
    }
}
