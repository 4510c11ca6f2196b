//! Taking over a stopped Apache Kafka node: from its metadata log, and from the partition directories that lie on its disks, to
//! records of our own.
//!
//! Taken over are topics with their ids and configs, partitions (a new leadership begins, one epoch above everything that Kafka and
//! the directory know), configs of groups and of all brokers, and the next producer id. Everything else of Kafka's metadata (its
//! brokers, its voters, ACLs, quotas, SCRAM users) is counted and named, not taken over.

use crate::image::{ApplyError, Image};
use crate::records::{ConfigRecord, MetadataRecord, PartitionRecord, ProducerIdsRecord, RecordError, TopicRecord};
use crate::resource::ResourceType;
use odradek_base::{BrokerId, LeaderEpoch, PartitionIndex, TopicId};
use std::collections::BTreeMap;
use uuid::Uuid;

/// Partitions that an error names.
const NAMED_MAX: usize = 5;

/// What Kafka's metadata log says, replayed record by record.
pub struct KafkaMetadata {
    image: Image,
    /// Records of a metadata transaction (KIP-868) that has not ended.
    staged: Option<Vec<MetadataRecord>>,
    /// Records that are not taken over, by Kafka's record type.
    skipped: BTreeMap<u32, usize>,
}

/// A partition's directory on one of the node's disks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FoundPartition {
    pub topic: String,
    pub partition: PartitionIndex,
    /// From `partition.metadata`.
    pub topic_id: TopicId,
    /// The last epoch in its `leader-epoch-checkpoint`.
    pub leader_epoch: Option<LeaderEpoch>,
}

/// What adopting comes to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Adoption {
    /// To be made durable together, behind the first records of a new cluster.
    pub records: Vec<MetadataRecord>,
    pub topics: usize,
    pub partitions: usize,
    /// What the operator should know.
    pub notes: Vec<String>,
}

/// Why a Kafka node's directories are not taken over.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AdoptError {
    #[error("a record of Kafka's metadata log: {0}")]
    Record(#[from] RecordError),
    #[error("Kafka's metadata log: {0}")]
    Apply(#[from] ApplyError),
    #[error(
        "{count} partitions of the Kafka cluster have no directory here ({named}): move them to this node with \
         kafka-reassign-partitions, or name all of its disks in log.dirs"
    )]
    Missing { count: usize, named: String },
    #[error("the directories of topic {topic} carry different topic ids: they belong to different topics of that name")]
    MixedIds { topic: String },
    #[error("topic {topic} has tiered segments (remote.storage.enable), which cannot be read here")]
    Tiered { topic: String },
}

impl Default for KafkaMetadata {
    fn default() -> Self {
        Self { image: Image::new(""), staged: None, skipped: BTreeMap::new() }
    }
}

impl KafkaMetadata {
    /// Takes the value of one record of the log or of a snapshot, in order.
    ///
    /// # Errors
    /// A record of topics, partitions or configs is damaged or does not fit.
    pub fn replay(&mut self, value: &[u8]) -> Result<(), AdoptError> {
        let record_type = MetadataRecord::type_of(value)?;
        if !matches!(record_type, 2..=5 | 9 | 15 | 23..=25) {
            *self.skipped.entry(record_type).or_default() += 1;
            return Ok(());
        }
        match (MetadataRecord::decode(value)?, &mut self.staged) {
            (MetadataRecord::BeginTransaction(_), staged) => *staged = Some(Vec::new()),
            (MetadataRecord::AbortTransaction(_), staged) => *staged = None,
            (MetadataRecord::EndTransaction, staged) => {
                for record in staged.take().unwrap_or_default() {
                    self.apply(&record)?;
                }
            }
            (record, Some(staged)) => staged.push(record),
            (record, None) => self.apply(&record)?,
        }
        Ok(())
    }

    fn apply(&mut self, record: &MetadataRecord) -> Result<(), AdoptError> {
        match record {
            // Resources that are newer than this code have nothing that it would obey.
            MetadataRecord::Config(config) if ResourceType::from_code(config.resource_type).is_none() => Ok(()),
            record => Ok(self.image.apply(record)?),
        }
    }

    fn notes(&self) -> Vec<String> {
        let kinds = [(11, "SCRAM users"), (14, "client quotas"), (18, "ACLs"), (26, "delegation tokens")];
        let note = |(kind, name): &(u32, &str)| Some(format!("{} records of {name} are not taken over", self.skipped.get(kind)?));
        kinds.iter().filter_map(note).collect()
    }
}

/// Records for what a Kafka node has: `kafka` where its metadata log is there, otherwise what the directories themselves say. Partitions go to
/// `shards` in turn.
///
/// # Errors
/// Something would be missing afterwards.
pub fn adopt(kafka: Option<&KafkaMetadata>, found: &[FoundPartition], shards: &[BrokerId]) -> Result<Adoption, AdoptError> {
    let mut by_topic: BTreeMap<&str, BTreeMap<PartitionIndex, &FoundPartition>> = BTreeMap::new();
    for partition in found {
        by_topic.entry(&partition.topic).or_default().insert(partition.partition, partition);
    }
    let mut adoption = Adoption { records: Vec::new(), topics: 0, partitions: 0, notes: Vec::new() };
    let mut missing = Vec::new();
    let mut place = shards.iter().copied().cycle();
    let topics = match kafka {
        Some(kafka) => topics_of(kafka, &mut by_topic, &mut missing)?,
        None => topics_found(&by_topic, &mut missing)?,
    };
    if !missing.is_empty() {
        let count = missing.len();
        missing.truncate(NAMED_MAX);
        return Err(AdoptError::Missing { count, named: missing.join(", ") });
    }
    for (name, topic_id, epochs) in topics {
        adoption.records.push(MetadataRecord::Topic(TopicRecord { name, topic_id }));
        adoption.topics += 1;
        for (partition, epoch) in epochs {
            let Some(shard) = place.next() else { break };
            adoption.records.push(partition_record(topic_id, partition, shard, epoch));
            adoption.partitions += 1;
        }
    }
    if let Some(kafka) = kafka {
        adoption.records.extend(configs_of(kafka));
        if kafka.image.next_producer_id() > 0 {
            let next_producer_id = kafka.image.next_producer_id();
            let record = ProducerIdsRecord { broker: BrokerId(-1), broker_epoch: -1, next_producer_id };
            adoption.records.push(MetadataRecord::ProducerIds(record));
        }
        adoption.notes = kafka.notes();
        let strays = by_topic.iter().flat_map(|(topic, partitions)| partitions.keys().map(move |partition| format!("{topic}-{partition}")));
        adoption.notes.extend(strays.map(|stray| format!("{stray} is of no topic of Kafka's metadata and stays as it is")));
    }
    Ok(adoption)
}

/// A topic to be: name, id, and the newest epoch that is known of each partition.
type TopicToBe = (String, TopicId, Vec<(PartitionIndex, LeaderEpoch)>);

/// The topics of Kafka's metadata; takes their directories out of `found`.
fn topics_of(
    kafka: &KafkaMetadata,
    found: &mut BTreeMap<&str, BTreeMap<PartitionIndex, &FoundPartition>>,
    missing: &mut Vec<String>,
) -> Result<Vec<TopicToBe>, AdoptError> {
    let mut topics = Vec::new();
    for topic in kafka.image.topics() {
        let tiered = |configs: &crate::image::Configs| configs.get("remote.storage.enable").is_some_and(|value| value == "true");
        if kafka.image.config(ResourceType::Topic, &topic.name).is_some_and(tiered) {
            return Err(AdoptError::Tiered { topic: topic.name.to_string() });
        }
        let mut epochs = Vec::new();
        for (&index, partition) in &topic.partitions {
            let directory = found
                .get_mut(&*topic.name)
                .and_then(|directories| directories.remove(&index))
                .filter(|directory| directory.topic_id == topic.id);
            match directory {
                Some(directory) => epochs.push((index, partition.leader_epoch.max(directory.leader_epoch.unwrap_or(LeaderEpoch(0))))),
                None => missing.push(format!("{}-{index}", topic.name)),
            }
        }
        topics.push((topic.name.to_string(), topic.id, epochs));
    }
    Ok(topics)
}

/// The topics that directories alone tell of.
fn topics_found(
    found: &BTreeMap<&str, BTreeMap<PartitionIndex, &FoundPartition>>,
    missing: &mut Vec<String>,
) -> Result<Vec<TopicToBe>, AdoptError> {
    let mut topics = Vec::new();
    for (topic, directories) in found {
        let Some((&last, first)) = directories.last_key_value() else { continue };
        if directories.values().any(|directory| directory.topic_id != first.topic_id) {
            return Err(AdoptError::MixedIds { topic: (*topic).to_owned() });
        }
        let absent = (0..last.get()).filter(|index| !directories.contains_key(&PartitionIndex(*index)));
        missing.extend(absent.take(NAMED_MAX + 1).map(|index| format!("{topic}-{index}")));
        let epochs = directories.iter().map(|(&index, directory)| (index, directory.leader_epoch.unwrap_or(LeaderEpoch(0))));
        topics.push(((*topic).to_owned(), first.topic_id, epochs.collect()));
    }
    Ok(topics)
}

fn partition_record(topic_id: TopicId, partition: PartitionIndex, shard: BrokerId, epoch: LeaderEpoch) -> MetadataRecord {
    MetadataRecord::Partition(PartitionRecord {
        partition,
        topic_id,
        replicas: vec![shard],
        isr: vec![shard],
        removing_replicas: Vec::new(),
        adding_replicas: Vec::new(),
        leader: shard,
        leader_recovery_state: 0,
        leader_epoch: LeaderEpoch(epoch.get().saturating_add(1)),
        partition_epoch: 0,
        directories: vec![Uuid::nil()],
    })
}

/// Configs of topics, groups and all brokers together; those of single brokers name ids that do not exist here.
fn configs_of(kafka: &KafkaMetadata) -> impl Iterator<Item = MetadataRecord> + '_ {
    let taken = |(resource_type, name): &(ResourceType, &str)| match resource_type {
        ResourceType::Topic | ResourceType::Group => true,
        ResourceType::Broker => name.is_empty(),
        ResourceType::BrokerLogger | ResourceType::ClientMetrics => false,
    };
    kafka.image.configured_resources().filter(taken).flat_map(|(resource_type, resource)| {
        let configs = kafka.image.config(resource_type, resource).into_iter().flatten();
        configs.map(move |(name, value)| {
            MetadataRecord::Config(ConfigRecord {
                resource_type: resource_type.code(),
                resource_name: resource.to_owned(),
                name: name.clone(),
                value: Some(value.clone()),
            })
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::PartitionChangeRecord;

    const SHARDS: [BrokerId; 2] = [BrokerId(1000), BrokerId(1001)];

    fn id(number: u128) -> TopicId {
        TopicId(Uuid::from_u128(number))
    }

    fn found(topic: &str, partition: i32, topic_id: u128, epoch: i32) -> FoundPartition {
        let leader_epoch = Some(LeaderEpoch(epoch));
        FoundPartition { topic: topic.into(), partition: PartitionIndex(partition), topic_id: id(topic_id), leader_epoch }
    }

    fn kafka() -> KafkaMetadata {
        let mut kafka = KafkaMetadata::default();
        let topic = |name: &str, number| MetadataRecord::Topic(TopicRecord { name: name.into(), topic_id: id(number) });
        let config = |name: &str, value: &str| {
            MetadataRecord::Config(ConfigRecord {
                resource_type: ResourceType::Topic.code(),
                resource_name: "a".into(),
                name: name.into(),
                value: Some(value.into()),
            })
        };
        let lead = PartitionChangeRecord { topic_id: id(1), leader: Some(BrokerId(1)), ..PartitionChangeRecord::default() };
        let records = [
            MetadataRecord::BeginTransaction(None),
            topic("dropped", 9),
            MetadataRecord::AbortTransaction(None),
            MetadataRecord::BeginTransaction(None),
            topic("a", 1),
            partition_record(id(1), PartitionIndex(0), BrokerId(1), LeaderEpoch(-1)),
            partition_record(id(1), PartitionIndex(1), BrokerId(1), LeaderEpoch(-1)),
            MetadataRecord::EndTransaction,
            MetadataRecord::PartitionChange(lead),
            config("segment.bytes", "1048576"),
            MetadataRecord::ProducerIds(ProducerIdsRecord { broker: BrokerId(1), broker_epoch: 4, next_producer_id: 3000 }),
        ];
        for record in &records {
            kafka.replay(&record.encode()).unwrap();
        }
        kafka
    }

    #[test]
    fn topics_keep_ids_configs_and_epochs() {
        let directories = [found("a", 0, 1, 5), found("a", 1, 1, 0), found("old", 0, 7, 0)];
        let adoption = adopt(Some(&kafka()), &directories, &SHARDS).unwrap();
        assert_eq!((adoption.topics, adoption.partitions), (1, 2));
        assert_eq!(adoption.notes, ["old-0 is of no topic of Kafka's metadata and stays as it is"]);
        let mut image = Image::new("c");
        for record in &adoption.records {
            image.apply(record).unwrap();
        }
        let topic = image.topic("a").unwrap();
        assert_eq!(topic.id, id(1));
        let partitions: Vec<_> = topic.partitions.values().map(|p| (p.leader, p.leader_epoch.get())).collect();
        assert_eq!(partitions, [(Some(SHARDS[0]), 6), (Some(SHARDS[1]), 1)]);
        let bytes = image.config(ResourceType::Topic, "a").and_then(|configs| configs.get("segment.bytes")).cloned();
        assert_eq!((bytes.as_deref(), image.next_producer_id()), (Some("1048576"), 3000));
        assert!(image.topic("dropped").is_none());
    }

    #[test]
    fn nothing_may_be_missing() {
        let kafka = kafka();
        let missing = |named: &str| Err(AdoptError::Missing { count: 1, named: named.into() });
        assert_eq!(adopt(Some(&kafka), &[found("a", 0, 1, 0)], &SHARDS), missing("a-1"));
        assert_eq!(adopt(Some(&kafka), &[found("a", 0, 1, 0), found("a", 1, 2, 0)], &SHARDS), missing("a-1"), "another topic's");
        assert_eq!(adopt(None, &[found("a", 1, 1, 0)], &SHARDS), missing("a-0"));
        assert_eq!(adopt(None, &[found("a", 0, 1, 0), found("a", 1, 2, 0)], &SHARDS), Err(AdoptError::MixedIds { topic: "a".into() }));
        let adoption = adopt(None, &[found("b-c", 0, 3, 2)], &SHARDS).unwrap();
        assert_eq!((adoption.topics, adoption.partitions, adoption.records.len()), (1, 1, 2));
        assert_eq!(adopt(None, &[], &SHARDS).unwrap().records, []);
    }
}
