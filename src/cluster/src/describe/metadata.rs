//! Metadata.

use super::{CLUSTER_OPERATIONS, OPERATIONS_OMITTED, TOPIC_OPERATIONS, see};
use crate::image::{Image, Topic};
use crate::names;
use crate::protocol::messages::metadata_response::{MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic};
use crate::protocol::messages::{MetadataRequest, MetadataResponse};
use crate::protocol::{ErrorCode, messages, text, topic_name};
use crate::view::View;
use odradek_base::{TopicId, TopicPartition};
use std::collections::BTreeSet;

/// In this version an empty list of topics means all of them.
const EMPTY_MEANS_ALL: i16 = 0;

/// From this version on topics can be asked for by id (KIP-516).
const FIRST_VERSION_WITH_IDS: i16 = 12;

/// Versions whose response tells what may be done with the cluster (KIP-430, KIP-700).
const VERSIONS_WITH_CLUSTER_OPERATIONS: std::ops::RangeInclusive<i16> = 8..=10;

/// An answer, and topics that it says are unknown and that may be made: after making them (with
/// [`crate::Controller::auto_create`]) the caller may ask again or send the answer as it is.
#[derive(Clone, PartialEq, Debug)]
pub struct MetadataAnswer {
    pub response: MetadataResponse,
    pub creatable: Vec<String>,
}

/// `auto_create`: whether `auto.create.topics.enable` is on.
pub fn metadata(image: &Image, view: &View<'_>, request: &MetadataRequest, version: i16, auto_create: bool) -> MetadataAnswer {
    let mut asked = Asked { image, view, request, creatable: Vec::new(), may_create: auto_create && request.allow_auto_topic_creation };
    if let Some(response) = asked.refuse(version) {
        return MetadataAnswer { response, creatable: Vec::new() };
    }
    let topics = asked.topics(version);
    let brokers = view.brokers(image).into_iter().filter(|broker| !broker.fenced).map(|broker| {
        MetadataResponseBroker::default()
            .with_node_id(messages::BrokerId(broker.id.get()))
            .with_host(text(broker.host))
            .with_port(i32::from(broker.port))
            .with_rack(broker.rack.map(text))
    });
    let tells_cluster = VERSIONS_WITH_CLUSTER_OPERATIONS.contains(&version) && request.include_cluster_authorized_operations;
    let response = MetadataResponse::default()
        .with_brokers(brokers.collect())
        .with_cluster_id(Some(text(image.cluster_id())))
        .with_controller_id(messages::BrokerId(view.id(view.controller).get()))
        .with_topics(topics)
        .with_cluster_authorized_operations(if tells_cluster { CLUSTER_OPERATIONS } else { OPERATIONS_OMITTED });
    MetadataAnswer { response, creatable: asked.creatable }
}

struct Asked<'a> {
    image: &'a Image,
    view: &'a View<'a>,
    request: &'a MetadataRequest,
    creatable: Vec<String>,
    may_create: bool,
}

impl Asked<'_> {
    /// Topics without a name in versions that have no ids.
    fn refuse(&self, version: i16) -> Option<MetadataResponse> {
        let topics = self.request.topics.as_ref()?;
        let strange = |topic: &messages::metadata_request::MetadataRequestTopic| match version {
            ..FIRST_VERSION_WITH_IDS => topic.name.is_none() || !topic.topic_id.is_nil(),
            _ => topic.name.is_none() && topic.topic_id.is_nil(),
        };
        if !topics.iter().any(strange) {
            return None;
        }
        let refused = topics.iter().map(|topic| {
            let name = topic.name.clone().unwrap_or_else(|| topic_name(""));
            unknown(ErrorCode::InvalidRequest, Some(name), topic.topic_id)
        });
        Some(MetadataResponse::default().with_topics(refused.collect()).with_cluster_authorized_operations(OPERATIONS_OMITTED))
    }

    fn topics(&mut self, version: i16) -> Vec<MetadataResponseTopic> {
        let request = self.request;
        match &request.topics {
            None => self.image.topics().map(|topic| self.tell(topic)).collect(),
            Some(topics) if topics.is_empty() && version == EMPTY_MEANS_ALL => self.image.topics().map(|topic| self.tell(topic)).collect(),
            // As in Kafka, one id makes it a question for ids only.
            Some(topics) if topics.iter().any(|topic| !topic.topic_id.is_nil()) => {
                let ids: BTreeSet<TopicId> = topics.iter().map(|topic| TopicId(topic.topic_id)).filter(|id| !id.is_none()).collect();
                ids.into_iter().map(|id| self.by_id(id)).collect()
            }
            Some(topics) => {
                let mut seen = BTreeSet::new();
                let names = topics.iter().filter_map(|topic| topic.name.as_ref());
                names.filter(|name| seen.insert(&***name)).map(|name| self.by_name(name)).collect()
            }
        }
    }

    fn by_id(&self, id: TopicId) -> MetadataResponseTopic {
        match self.image.topic_by_id(id) {
            Some(topic) => self.tell(topic),
            None => unknown(ErrorCode::UnknownTopicId, None, id.0),
        }
    }

    fn by_name(&mut self, name: &str) -> MetadataResponseTopic {
        if let Some(topic) = self.image.topic(name) {
            return self.tell(topic);
        }
        let nil = TopicId::NONE.0;
        if names::check(name).is_err() {
            return unknown(ErrorCode::InvalidTopicException, Some(topic_name(name)), nil);
        }
        if self.may_create {
            self.creatable.push(name.to_owned());
        }
        unknown(ErrorCode::UnknownTopicOrPartition, Some(topic_name(name)), nil).with_is_internal(names::is_internal(name))
    }

    fn tell(&self, topic: &Topic) -> MetadataResponseTopic {
        let partitions = topic.partitions.iter().map(|(index, partition)| {
            let seen = see(self.image, self.view, TopicPartition::new(topic.id, *index), partition);
            MetadataResponsePartition::default()
                .with_error_code(seen.error_code)
                .with_partition_index(index.get())
                .with_leader_id(seen.leader)
                .with_leader_epoch(partition.leader_epoch.get())
                .with_replica_nodes(seen.replicas)
                .with_isr_nodes(seen.isr)
                .with_offline_replicas(seen.offline)
        });
        let operations = if self.request.include_topic_authorized_operations { TOPIC_OPERATIONS } else { OPERATIONS_OMITTED };
        MetadataResponseTopic::default()
            .with_name(Some(topic_name(&topic.name)))
            .with_topic_id(topic.id.0)
            .with_is_internal(topic.is_internal())
            .with_partitions(partitions.collect())
            .with_topic_authorized_operations(operations)
    }
}

fn unknown(code: ErrorCode, name: Option<messages::TopicName>, id: uuid::Uuid) -> MetadataResponseTopic {
    MetadataResponseTopic::default()
        .with_error_code(code.code())
        .with_name(name)
        .with_topic_id(id)
        .with_topic_authorized_operations(OPERATIONS_OMITTED)
}
