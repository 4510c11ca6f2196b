//! Topics as the hot path needs them: name or id to partition, shard, epoch and checking rules in one lookup.
//!
//! Built from the image when first asked for and dropped when a publication changes the topic, so that a produce never
//! walks the metadata.

use crate::shard::Shard;
use crate::topic_config;
use hashbrown::HashMap;
use odradek_base::{LeaderEpoch, PartitionIndex, ShardId, TopicId, TopicPartition};
use odradek_cluster::Image;
use odradek_cluster::image::Layers;
use odradek_log::config::LogConfig;
use odradek_store::{PartitionSpec, StoreConfig};
use odradek_wire::ErrorCode;
use odradek_wire::batch::validate::ValidationRules;
use odradek_wire::produce::TopicReference;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

/// Topics that are kept at the same time; beyond it the cache starts anew.
const TOPICS_CACHED_MAX: usize = 100_000;

/// Which shard has a partition, and since which epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    pub shard: ShardId,
    pub leader_epoch: LeaderEpoch,
}

pub struct Topic {
    pub id: TopicId,
    pub name: String,
    pub internal: bool,
    pub partitions: Vec<Route>,
    pub config: LogConfig,
    rules: ValidationRules,
}

impl Topic {
    pub fn partition(&self, index: PartitionIndex) -> Option<&Route> {
        usize::try_from(index.get()).ok().and_then(|index| self.partitions.get(index))
    }

    /// The rules that records for this topic are checked by, for a request of this version.
    pub fn validation_rules(&self, version: i16, transactional: bool) -> ValidationRules {
        ValidationRules { zstd_allowed: version >= 7, transactional_id: transactional, ..self.rules }
    }
}

#[derive(Default)]
pub struct Topics {
    by_name: RefCell<HashMap<String, Rc<Topic>>>,
    by_id: RefCell<HashMap<TopicId, Rc<Topic>>>,
}

impl Topics {
    /// Finds the topic that a request names.
    pub fn resolve(&self, shard: &Shard, reference: &TopicReference) -> Result<Rc<Topic>, ErrorCode> {
        match reference {
            TopicReference::Name(name) => self.by_name(shard, name).ok_or(ErrorCode::UnknownTopicOrPartition),
            TopicReference::Id(id) => self.by_id(shard, *id).ok_or(ErrorCode::UnknownTopicId),
        }
    }

    pub fn by_name(&self, shard: &Shard, name: &str) -> Option<Rc<Topic>> {
        if let Some(topic) = self.by_name.borrow().get(name) {
            return Some(topic.clone());
        }
        let image = shard.image();
        let topic = build(shard, &image, image.topic(name)?);
        self.remember(topic.clone());
        Some(topic)
    }

    pub fn by_id(&self, shard: &Shard, id: TopicId) -> Option<Rc<Topic>> {
        if let Some(topic) = self.by_id.borrow().get(&id) {
            return Some(topic.clone());
        }
        let image = shard.image();
        let topic = build(shard, &image, image.topic_by_id(id)?);
        self.remember(topic.clone());
        Some(topic)
    }

    /// The epoch of a partition's current leadership.
    pub fn leader_epoch(&self, shard: &Shard, tp: TopicPartition) -> LeaderEpoch {
        self.by_id(shard, tp.topic)
            .and_then(|topic| topic.partition(tp.partition).map(|route| route.leader_epoch))
            .unwrap_or(LeaderEpoch::UNKNOWN)
    }

    fn remember(&self, topic: Rc<Topic>) {
        if self.by_id.borrow().len() >= TOPICS_CACHED_MAX {
            self.forget_all();
        }
        self.by_id.borrow_mut().insert(topic.id, topic.clone());
        self.by_name.borrow_mut().insert(topic.name.clone(), topic);
    }

    pub fn forget(&self, id: TopicId) {
        if let Some(topic) = self.by_id.borrow_mut().remove(&id) {
            self.by_name.borrow_mut().remove(&topic.name);
        }
    }

    pub fn forget_all(&self) {
        self.by_id.borrow_mut().clear();
        self.by_name.borrow_mut().clear();
    }
}

fn build(shard: &Shard, image: &Image, topic: &odradek_cluster::Topic) -> Rc<Topic> {
    let (config, rules) = configs_of(shard, image, &topic.name);
    let partitions = topic
        .partitions
        .values()
        .map(|partition| Route { shard: shard.shard_of(partition), leader_epoch: partition.leader_epoch })
        .collect();
    Rc::new(Topic { id: topic.id, name: topic.name.to_string(), internal: topic.is_internal(), partitions, config, rules })
}

fn configs_of(shard: &Shard, image: &Image, name: &str) -> (LogConfig, ValidationRules) {
    let settings = image.topic_settings(&shard.config.settings, shard.view().id(shard.config.broker_of(shard.id)), name);
    let values = |name: &str| Some(settings.get(name).to_string());
    let config = topic_config::log_config(&values, shard.config.settings.producer_id_expiration_ms());
    let rules = topic_config::validation_rules(&values, &config);
    (config, rules)
}

/// How long the directories of deleted topics wait: the broker's `log.segment.delete.delay.ms`, as in Kafka's `LogManager.deleteLogs`.
pub fn delete_delay(shard: &Shard, image: &Image) -> Duration {
    let layers = Layers::new(image, &shard.config.settings, shard.view().id(shard.config.broker_of(shard.id)));
    let text = layers.broker_value("log.segment.delete.delay.ms");
    text.and_then(|text| text.parse().ok()).map_or(StoreConfig::default().delete_delay, Duration::from_millis)
}

/// What the store needs to know of the partitions of one topic. The configs are worked out once for all of them.
pub struct TopicSpec<'a> {
    topic: &'a odradek_cluster::Topic,
    pub config: LogConfig,
}

impl<'a> TopicSpec<'a> {
    pub fn of(shard: &Shard, image: &Image, topic: &'a odradek_cluster::Topic) -> Self {
        Self { topic, config: configs_of(shard, image, &topic.name).0 }
    }

    pub fn partition(&self, index: PartitionIndex) -> PartitionSpec {
        PartitionSpec { tp: TopicPartition::new(self.topic.id, index), topic_name: self.topic.name.to_string(), config: self.config }
    }
}
