//! Topics: those of the workload, made at the beginning, and some that come and go.

use crate::client::{Client, Connection, Lost, text, topic_name};
use crate::history::{Cleaning, Compaction, TopicState, Tp};
use crate::violation::Checker;
use odradek_wire::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use odradek_wire::messages::delete_topics_request::DeleteTopicState;
use odradek_wire::messages::{CreateTopicsRequest, DeleteTopicsRequest};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

const CREATE_TOPICS_VERSION: i16 = 7;
const DELETE_TOPICS_VERSION: i16 = 6;
const TOPIC_ALREADY_EXISTS: i16 = 36;
const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;

/// A topic to be made.
#[derive(Debug, Clone)]
pub struct Plan {
    pub name: String,
    pub partitions: i32,
    pub configs: Vec<(&'static str, String)>,
    /// How records of it may go.
    pub cleaning: Cleaning,
    pub compaction: Compaction,
}

impl Plan {
    /// Partitions whose records retention takes by size or age, each with its `retention.bytes` where it has one.
    pub fn retained(&self) -> Vec<(Tp, Option<u64>)> {
        if self.cleaning != Cleaning::Retention {
            return Vec::new();
        }
        let bytes_max = self.configs.iter().find(|(name, _)| *name == "retention.bytes").and_then(|(_, value)| value.parse().ok());
        (0..self.partitions).map(|partition| (Tp::new(&self.name, partition), bytes_max)).collect()
    }
}

/// Makes a topic; tries until it is there.
pub async fn create(client: &Client, plan: &Plan) {
    loop {
        match try_create(client, plan).await {
            Ok(true) => return,
            Ok(false) | Err(_) => client.back_off().await,
        }
    }
}

async fn try_create(client: &Client, plan: &Plan) -> Result<bool, Lost> {
    let configs = plan
        .configs
        .iter()
        .map(|(name, value)| CreatableTopicConfig::default().with_name(text(*name)).with_value(Some(text(value.clone()))));
    let topic = CreatableTopic::default()
        .with_name(topic_name(&plan.name))
        .with_num_partitions(plan.partitions)
        .with_replication_factor(1)
        .with_configs(configs.collect());
    let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(30_000);
    let before = state(client, &plan.name);
    note(client, &plan.name, TopicState::Unknown);
    let answer = Connection::open(client, client.bootstrap).await?.call(&request, CREATE_TOPICS_VERSION).await?;
    let code = answer.topics.first().map_or(-1, |topic| topic.error_code);
    client.history.event(|| format!("creating {}: {code}", plan.name));
    match (code, before) {
        (0, Some(TopicState::Created)) => client.history.violation(Checker::Metadata, format!("{} was made twice", plan.name)),
        (0, _) | (TOPIC_ALREADY_EXISTS, Some(TopicState::Unknown | TopicState::Created)) => note(client, &plan.name, TopicState::Created),
        (TOPIC_ALREADY_EXISTS, _) => {
            client.history.violation(Checker::Metadata, format!("{} is there before it was made, or after it was deleted", plan.name))
        }
        _ => return Ok(false),
    }
    Ok(true)
}

async fn try_delete(client: &Client, name: &str) -> Result<bool, Lost> {
    let request = DeleteTopicsRequest::default()
        .with_topics(vec![DeleteTopicState::default().with_name(Some(topic_name(name)))])
        .with_timeout_ms(30_000);
    let before = state(client, name);
    note(client, name, TopicState::Unknown);
    let answer = Connection::open(client, client.bootstrap).await?.call(&request, DELETE_TOPICS_VERSION).await?;
    let code = answer.responses.first().map_or(-1, |topic| topic.error_code);
    client.history.event(|| format!("deleting {name}: {code}"));
    match (code, before) {
        (0, _) | (UNKNOWN_TOPIC_OR_PARTITION, Some(TopicState::Unknown | TopicState::Deleted)) => note(client, name, TopicState::Deleted),
        (UNKNOWN_TOPIC_OR_PARTITION, _) => client.history.violation(Checker::Metadata, format!("{name} was made and is not there")),
        _ => return Ok(false),
    }
    Ok(true)
}

fn state(client: &Client, name: &str) -> Option<TopicState> {
    client.history.facts().topics.get(name).copied()
}

fn note(client: &Client, name: &str, state: TopicState) {
    client.history.facts().topics.insert(name.to_string(), state);
}

/// Makes and deletes topics again and again until readers are told to stop; then counts `finished` up. The name stays the
/// same as long as every request is answered: one that was not may still be carried out later.
pub async fn come_and_go(client: Client, mut plan: Plan, pause_max: Duration, finished: Rc<Cell<usize>>) {
    let mut rng = client.ring.rng();
    let stem = plan.name.clone();
    let mut renamed = 0;
    let mut present = false;
    while !client.history.readers_stop() {
        let done = if present { try_delete(&client, &plan.name).await } else { try_create(&client, &plan).await };
        match done {
            Ok(true) => present = !present,
            Ok(false) => {}
            Err(_) => {
                renamed += 1;
                present = false;
                plan.name = format!("{stem}-{renamed}");
                client.back_off().await;
            }
        }
        client.ring.sleep(Duration::from_micros(rng.below(pause_max.as_micros() as u64 + 1))).await;
    }
    finished.set(finished.get() + 1);
}
