//! The state of the cluster: what the metadata records say, applied in order.

mod apply;
mod settings;
mod topic;

pub use apply::ApplyError;
pub use settings::{Layers, TopicSettings};
pub use topic::{Partition, Topic};

use crate::names;
use crate::records::{
    ConfigRecord, EndpointRecord, FeatureLevelRecord, FeatureRecord, MetadataRecord, ProducerIdsRecord, RegisterBrokerRecord, TopicRecord,
};
use crate::resource::ResourceType;
use imbl::{OrdMap, OrdSet};
use odradek_base::{BrokerId, PartitionIndex, TopicId, TopicPartition};
use std::sync::Arc;
use uuid::Uuid;

/// Where a broker is reached: one listener of one shard.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Endpoint {
    pub listener: String,
    pub host: String,
    pub port: u16,
    pub security_protocol: i16,
}

/// A registered broker: one shard.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Broker {
    pub id: BrokerId,
    pub epoch: i64,
    pub incarnation: Uuid,
    pub endpoints: Vec<Endpoint>,
    pub features: Vec<FeatureRecord>,
    pub rack: Option<String>,
    pub fenced: bool,
    pub in_controlled_shutdown: bool,
    pub log_dirs: Vec<Uuid>,
}

impl Broker {
    pub fn endpoint(&self, listener: &str) -> Option<&Endpoint> {
        self.endpoints.iter().find(|endpoint| endpoint.listener == listener)
    }

    /// Whether it may get replicas and lead.
    pub fn is_active(&self) -> bool {
        !self.fenced && !self.in_controlled_shutdown
    }

    fn of(record: &RegisterBrokerRecord) -> Self {
        let endpoint = |endpoint: &EndpointRecord| Endpoint {
            listener: endpoint.name.clone(),
            host: endpoint.host.clone(),
            port: endpoint.port,
            security_protocol: endpoint.security_protocol,
        };
        Self {
            id: record.broker,
            epoch: record.broker_epoch,
            incarnation: record.incarnation_id,
            endpoints: record.endpoints.iter().map(endpoint).collect(),
            features: record.features.clone(),
            rack: record.rack.clone(),
            fenced: record.fenced,
            in_controlled_shutdown: record.in_controlled_shutdown,
            log_dirs: record.log_dirs.clone(),
        }
    }

    pub(crate) fn to_record(&self) -> RegisterBrokerRecord {
        let endpoint = |endpoint: &Endpoint| EndpointRecord {
            name: endpoint.listener.clone(),
            host: endpoint.host.clone(),
            port: endpoint.port,
            security_protocol: endpoint.security_protocol,
        };
        RegisterBrokerRecord {
            broker: self.id,
            is_migrating_zk_broker: false,
            incarnation_id: self.incarnation,
            broker_epoch: self.epoch,
            endpoints: self.endpoints.iter().map(endpoint).collect(),
            features: self.features.clone(),
            rack: self.rack.clone(),
            fenced: self.fenced,
            in_controlled_shutdown: self.in_controlled_shutdown,
            log_dirs: self.log_dirs.clone(),
        }
    }
}

/// Configs of one resource, by name.
pub type Configs = OrdMap<String, String>;

/// What happened to one topic between two images.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TopicChange {
    Added(Arc<Topic>),
    Removed(Arc<Topic>),
    Changed { before: Arc<Topic>, after: Arc<Topic> },
}

/// An immutable picture of the cluster. Clones share structure.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Image {
    cluster_id: Arc<str>,
    topics: OrdMap<TopicId, Arc<Topic>>,
    names: OrdMap<Arc<str>, TopicId>,
    /// Names with `.` or `_` by what metrics make of them.
    collisions: OrdMap<String, OrdSet<Arc<str>>>,
    brokers: OrdMap<BrokerId, Arc<Broker>>,
    configs: OrdMap<(ResourceType, String), Configs>,
    features: OrdMap<String, i16>,
    next_producer_id: i64,
    /// Replicas on each broker, for placement.
    replicas: OrdMap<BrokerId, u32>,
    partition_count: usize,
    /// Replicas that their broker cannot serve. In no record: each broker tells while it runs.
    offline: OrdMap<TopicPartition, BrokerId>,
}

impl Image {
    /// The state before the first record. The cluster id stands in no record: it is in `meta.properties`.
    pub fn new(cluster_id: &str) -> Self {
        Self {
            cluster_id: cluster_id.into(),
            topics: OrdMap::new(),
            names: OrdMap::new(),
            collisions: OrdMap::new(),
            brokers: OrdMap::new(),
            configs: OrdMap::new(),
            features: OrdMap::new(),
            next_producer_id: 0,
            replicas: OrdMap::new(),
            partition_count: 0,
            offline: OrdMap::new(),
        }
    }

    pub fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    pub fn topic(&self, name: &str) -> Option<&Arc<Topic>> {
        self.names.get(name).and_then(|&id| self.topic_by_id(id))
    }

    pub fn topic_by_id(&self, id: TopicId) -> Option<&Arc<Topic>> {
        self.topics.get(&id)
    }

    /// All topics, by name.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.names.values().filter_map(|&id| self.topic_by_id(id))
    }

    /// All topics from a name on, by name.
    pub fn topics_from<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a Arc<Topic>> + use<'a> {
        let start: Arc<str> = name.into();
        self.names.range(start..).filter_map(|(_, &id)| self.topic_by_id(id))
    }

    pub fn topic_count(&self) -> usize {
        self.topics.len()
    }

    pub fn partition_count(&self) -> usize {
        self.partition_count
    }

    pub fn partition(&self, at: TopicPartition) -> Option<&Partition> {
        self.topic_by_id(at.topic)?.partitions.get(&at.partition)
    }

    /// The partitions that a broker has a replica of, by topic id and index. Looks at every partition.
    pub fn partitions_of(&self, broker: BrokerId) -> impl Iterator<Item = (&Arc<Topic>, PartitionIndex, &Partition)> {
        self.topics.values().flat_map(move |topic| {
            let on_broker = move |(_, partition): &(_, &Partition)| partition.replicas.contains(&broker);
            topic.partitions.iter().filter(on_broker).map(move |(&index, partition)| (topic, index, partition))
        })
    }

    /// The broker whose replica of a partition is offline: its log directory failed, or it could not be opened.
    pub fn offline_replica(&self, at: TopicPartition) -> Option<BrokerId> {
        self.offline.get(&at).copied()
    }

    /// Replaces what is known of a broker's offline replicas.
    pub fn set_offline(&mut self, broker: BrokerId, partitions: impl IntoIterator<Item = TopicPartition>) {
        let others = self.offline.iter().filter(|(_, of)| **of != broker).map(|(at, of)| (*at, *of));
        self.offline = others.chain(partitions.into_iter().map(|at| (at, broker))).collect();
    }

    /// An existing topic whose name only differs in `.` and `_`.
    pub fn colliding_topic(&self, name: &str) -> Option<&str> {
        let same = self.collisions.get(&names::collision_key(name))?;
        same.iter().map(|other| &**other).find(|other| *other != name)
    }

    /// Registered brokers, by id.
    pub fn brokers(&self) -> impl Iterator<Item = &Broker> {
        self.brokers.values().map(|broker| &**broker)
    }

    pub fn broker(&self, id: BrokerId) -> Option<&Broker> {
        self.brokers.get(&id).map(|broker| &**broker)
    }

    /// Replicas that a broker has of all topics together.
    pub fn replica_count(&self, broker: BrokerId) -> u32 {
        self.replicas.get(&broker).copied().unwrap_or(0)
    }

    /// The configs that a resource has of its own; `None` where it has none.
    pub fn config(&self, resource_type: ResourceType, name: &str) -> Option<&Configs> {
        self.configs.get(&(resource_type, name.to_owned()))
    }

    /// Resources with configs of their own, by type and name.
    pub fn configured_resources(&self) -> impl Iterator<Item = (ResourceType, &str)> {
        self.configs.keys().map(|(resource_type, name)| (*resource_type, name.as_str()))
    }

    /// Finalized feature levels, by name.
    pub fn features(&self) -> impl Iterator<Item = (&str, i16)> {
        self.features.iter().map(|(name, &level)| (name.as_str(), level))
    }

    /// The first producer id that nobody has been given.
    pub fn next_producer_id(&self) -> i64 {
        self.next_producer_id
    }

    /// Topics that differ from an older image, by topic id. Costs as much as has changed.
    pub fn changes_since(&self, older: &Image) -> Vec<TopicChange> {
        use imbl::ordmap::DiffItem;
        older
            .topics
            .diff(&self.topics)
            .map(|item| match item {
                DiffItem::Add(_, topic) => TopicChange::Added(Arc::clone(topic)),
                DiffItem::Remove(_, topic) => TopicChange::Removed(Arc::clone(topic)),
                DiffItem::Update { old, new } => TopicChange::Changed { before: Arc::clone(old.1), after: Arc::clone(new.1) },
            })
            .collect()
    }

    /// Whether any config differs from an older image. Costs as much as has changed.
    pub fn configs_differ(&self, older: &Image) -> bool {
        older.configs.diff(&self.configs).next().is_some()
    }

    /// Records that make this image from an empty one, as a snapshot holds them.
    pub fn snapshot(&self) -> Vec<MetadataRecord> {
        let mut records = Vec::new();
        records
            .extend(self.features().map(|(name, level)| MetadataRecord::FeatureLevel(FeatureLevelRecord { name: name.to_owned(), level })));
        records.extend(self.brokers().map(|broker| MetadataRecord::RegisterBroker(broker.to_record())));
        for topic in self.topics() {
            records.push(MetadataRecord::Topic(TopicRecord { name: topic.name.to_string(), topic_id: topic.id }));
            records
                .extend(topic.partitions.iter().map(|(&index, partition)| MetadataRecord::Partition(partition.to_record(topic.id, index))));
        }
        for ((resource_type, resource_name), configs) in &self.configs {
            records.extend(configs.iter().map(|(name, value)| {
                MetadataRecord::Config(ConfigRecord {
                    resource_type: resource_type.code(),
                    resource_name: resource_name.clone(),
                    name: name.clone(),
                    value: Some(value.clone()),
                })
            }));
        }
        if self.next_producer_id > 0 {
            records.push(MetadataRecord::ProducerIds(ProducerIdsRecord {
                broker: BrokerId(-1),
                broker_epoch: -1,
                next_producer_id: self.next_producer_id,
            }));
        }
        records
    }
}

#[cfg(test)]
mod tests;
