//! Topics that nobody asked CreateTopics for: those of the coordinators, and those that clients use by name
//! (`AutoTopicCreationManager`).

use super::create_topics::{Layout, Made, cannot_replicate};
use super::{Controller, Outcome};
use crate::names;
use crate::protocol::{ErrorCode, Refusal};
use odradek_base::Rng;
use std::collections::{BTreeMap, BTreeSet};

/// A topic of a coordinator.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InternalTopic {
    ConsumerOffsets,
    TransactionState,
}

impl InternalTopic {
    /// `None` for other names.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            names::CONSUMER_OFFSETS => Some(Self::ConsumerOffsets),
            names::TRANSACTION_STATE => Some(Self::TransactionState),
            _ => None,
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::ConsumerOffsets => names::CONSUMER_OFFSETS,
            Self::TransactionState => names::TRANSACTION_STATE,
        }
    }
}

/// What became of a topic that was to be made: its name, and why it could not be made.
pub type AutoCreated = (String, Result<(), Refusal>);

impl Controller<'_> {
    /// Makes topics that clients used by name. Topics that exist by now are fine.
    pub fn auto_create(&self, topics: &[&str], rng: &mut Rng) -> Outcome<Vec<AutoCreated>> {
        let mut made = Made::default();
        let mut placer = self.placer();
        let mut results = Vec::with_capacity(topics.len());
        let distinct: BTreeSet<&str> = topics.iter().copied().collect();
        for name in distinct {
            let result = if self.image.topic(name).is_some() { Ok(()) } else { self.make(name, &mut placer, &mut made, rng) };
            results.push((name.to_owned(), result));
        }
        Outcome { records: made.records, response: results }
    }

    /// Makes the topic of a coordinator if it does not exist.
    pub fn create_internal(&self, topic: InternalTopic, rng: &mut Rng) -> Outcome<Result<(), Refusal>> {
        let mut outcome = self.auto_create(&[topic.name()], rng);
        let result = outcome.response.pop().map_or(Ok(()), |(_, result)| result);
        Outcome { records: outcome.records, response: result }
    }

    fn make(&self, name: &str, placer: &mut crate::placement::Placer, made: &mut Made, rng: &mut Rng) -> Result<(), Refusal> {
        names::check(name).map_err(|message| Refusal::new(ErrorCode::InvalidTopicException, message))?;
        if name == names::CLUSTER_METADATA {
            return Err(Refusal::new(ErrorCode::InvalidTopicException, format!("Creation of internal topic {name} is prohibited.")));
        }
        if names::may_collide(name)
            && let Some(other) = self.image.colliding_topic(name)
        {
            let message = format!("Topic '{name}' collides with existing topic: {other}");
            return Err(Refusal::new(ErrorCode::InvalidTopicException, message));
        }
        let (count, factor, configs) = self.shape_of(name);
        let assignments = placer.place(None, count, factor).map_err(|error| cannot_replicate(factor, error))?;
        let topic_id = self.new_topic_id(rng);
        made.add(self, name, topic_id, &configs, &Layout { assignments, replication_factor: factor })
    }

    /// Partitions, replicas and configs of a topic that is made by itself. The configs of the coordinators' topics are
    /// those of `GroupCoordinatorService.groupMetadataTopicConfigs` and `TransactionStateManager`.
    fn shape_of(&self, name: &str) -> (usize, usize, BTreeMap<String, String>) {
        let settings = self.settings;
        let configs = |pairs: &[(&str, String)]| pairs.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        let number = |key| settings.text(key).unwrap_or_default().to_owned();
        match InternalTopic::from_name(name) {
            Some(InternalTopic::ConsumerOffsets) => (
                settings.offsets_topic_partitions() as usize,
                settings.offsets_topic_replication_factor() as usize,
                configs(&[
                    ("cleanup.policy", "compact".to_owned()),
                    ("compression.type", "producer".to_owned()),
                    ("segment.bytes", segment_bytes(&number("offsets.topic.segment.bytes"))),
                ]),
            ),
            Some(InternalTopic::TransactionState) => (
                settings.transaction_state_partitions() as usize,
                settings.transaction_state_replication_factor() as usize,
                configs(&[
                    ("cleanup.policy", "compact".to_owned()),
                    ("compression.type", "uncompressed".to_owned()),
                    ("min.insync.replicas", number("transaction.state.log.min.isr")),
                    ("segment.bytes", segment_bytes(&number("transaction.state.log.segment.bytes"))),
                    ("unclean.leader.election.enable", "false".to_owned()),
                ]),
            ),
            None => (settings.num_partitions() as usize, settings.default_replication_factor() as usize, BTreeMap::new()),
        }
    }
}

/// The broker settings go down to one byte, the topic config does not.
fn segment_bytes(given: &str) -> String {
    match odradek_settings::topic::find("segment.bytes").map(|row| row.check(given)) {
        Some(Err(_)) => (1 << 20).to_string(),
        _ => given.to_owned(),
    }
}
