//! Changes to topics that live: more partitions, other configs, deleted records; and what must be there of them at the end.

use crate::client::{Client, Connection, Lost, METADATA_VERSION, text, topic_name};
use crate::faults::Kinds;
use crate::history::{Cleaning, Tp};
use crate::topics;
use crate::violation::Checker;
use odradek_base::Rng;
use odradek_wire::ErrorCode;
use odradek_wire::messages::create_partitions_request::CreatePartitionsTopic;
use odradek_wire::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use odradek_wire::messages::describe_configs_request::DescribeConfigsResource;
use odradek_wire::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use odradek_wire::messages::metadata_request::MetadataRequestTopic;
use odradek_wire::messages::{
    CreatePartitionsRequest, DeleteRecordsRequest, DescribeConfigsRequest, IncrementalAlterConfigsRequest, MetadataRequest,
};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

const CREATE_PARTITIONS_VERSION: i16 = 3;
const DELETE_RECORDS_VERSION: i16 = 2;
const DESCRIBE_CONFIGS_VERSION: i16 = 4;
const INCREMENTAL_ALTER_CONFIGS_VERSION: i16 = 1;
/// Most partitions that a topic grows to.
const PARTITIONS_MAX: i32 = 6;
/// The resource type of a topic (`ConfigResource.Type.TOPIC`).
const TOPIC: i8 = 2;
const SET: i8 = 0;
/// Configs that change, with their defaults and a largest value: none that lets records go.
const CONFIGS: [(&str, &str, u64); 3] =
    [("index.interval.bytes", "4096", 9000), ("segment.jitter.ms", "0", 50), ("flush.ms", "9223372036854775807", 1000)];

/// What is changed.
#[derive(Debug, Clone)]
pub struct Plan {
    pub topics: Vec<topics::Plan>,
    pub pause_max: Duration,
    pub kinds: Kinds,
}

/// Changes topics until readers are told to stop, then counts `finished` up.
pub async fn run(client: Client, plan: Plan, finished: Rc<Cell<usize>>) {
    let mut rng = client.ring.rng();
    let names: Vec<String> = plan.topics.iter().map(|topic| topic.name.clone()).collect();
    client.metadata_of_all(&names).await;
    while !client.history.readers_stop() {
        let topic = &plan.topics[rng.below(plan.topics.len() as u64) as usize];
        let done = match rng.below(4) {
            0 => add_partition(&client, topic).await,
            1 => change_config(&client, topic, &mut rng).await,
            _ if topic.cleaning == Cleaning::Requests => delete_records(&client, topic, plan.kinds, &mut rng).await,
            _ => Ok(()),
        };
        if done.is_err() {
            client.back_off().await;
        }
        client.ring.sleep(Duration::from_micros(rng.below(plan.pause_max.as_micros() as u64 + 1))).await;
    }
    finished.set(finished.get() + 1);
}

async fn add_partition(client: &Client, topic: &topics::Plan) -> Result<(), Lost> {
    let count = partition_count(client, &topic.name).await?;
    if !(1..PARTITIONS_MAX).contains(&count) {
        return Ok(());
    }
    client.history.count_attempted(&topic.name, topic.partitions, count + 1);
    let wanted = CreatePartitionsTopic::default().with_name(topic_name(&topic.name)).with_count(count + 1).with_assignments(None);
    let request = CreatePartitionsRequest::default().with_topics(vec![wanted]).with_timeout_ms(30_000);
    let answer = Connection::open(client, client.bootstrap).await?.call(&request, CREATE_PARTITIONS_VERSION).await?;
    let code = answer.results.first().map_or(-1, |result| result.error_code);
    client.history.event(|| format!("{} partitions for {}: {code}", count + 1, topic.name));
    if code == 0 {
        client.history.count_acknowledged(&topic.name, count + 1);
    }
    Ok(())
}

async fn partition_count(client: &Client, topic: &str) -> Result<i32, Lost> {
    let wanted = MetadataRequestTopic::default().with_name(Some(topic_name(topic)));
    let request = MetadataRequest::default().with_topics(Some(vec![wanted])).with_allow_auto_topic_creation(false);
    let answer = Connection::open(client, client.bootstrap).await?.call(&request, METADATA_VERSION).await?;
    Ok(answer.topics.first().map_or(0, |topic| topic.partitions.len() as i32))
}

async fn change_config(client: &Client, topic: &topics::Plan, rng: &mut Rng) -> Result<(), Lost> {
    let (name, default, most) = CONFIGS[rng.below(CONFIGS.len() as u64) as usize];
    let value = (1 + rng.below(most)).to_string();
    let before = topic.configs.iter().find(|(known, _)| *known == name).map_or(default, |(_, value)| value);
    client.history.config_attempted(&topic.name, name, before, &value);
    let config = AlterableConfig::default().with_name(text(name)).with_config_operation(SET).with_value(Some(text(value.clone())));
    let resource =
        AlterConfigsResource::default().with_resource_type(TOPIC).with_resource_name(text(topic.name.clone())).with_configs(vec![config]);
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    let answer = Connection::open(client, client.bootstrap).await?.call(&request, INCREMENTAL_ALTER_CONFIGS_VERSION).await?;
    let code = answer.responses.first().map_or(-1, |response| response.error_code);
    client.history.event(|| format!("{name}={value} for {}: {code}", topic.name));
    if code == 0 {
        client.history.config_acknowledged(&topic.name, name, &value);
    }
    Ok(())
}

async fn delete_records(client: &Client, topic: &topics::Plan, kinds: Kinds, rng: &mut Rng) -> Result<(), Lost> {
    let tp = Tp::new(&topic.name, rng.below(topic.partitions as u64) as i32);
    let metadata = client.metadata(std::slice::from_ref(&topic.name)).await?;
    let Some(leader) = metadata.leaders.get(&tp) else { return Ok(()) };
    let high_watermark = client.history.facts().partitions.get(&tp).map_or(0, |partition| partition.high_watermark);
    // Sometimes everything: the offset -1 means the high watermark.
    let before = if rng.chance(8) { -1 } else { rng.below(high_watermark as u64 + 1) as i64 };
    client.history.delete_attempted(&tp, if before < 0 { i64::MAX } else { before });
    let partition = DeleteRecordsPartition::default().with_partition_index(tp.partition).with_offset(before);
    let wanted = DeleteRecordsTopic::default().with_name(topic_name(&topic.name)).with_partitions(vec![partition]);
    let request = DeleteRecordsRequest::default().with_topics(vec![wanted]).with_timeout_ms(30_000);
    let answer = Connection::open(client, *leader).await?.call(&request, DELETE_RECORDS_VERSION).await?;
    for result in answer.topics.iter().flat_map(|topic| &topic.partitions) {
        let (code, low) = (result.error_code, result.low_watermark);
        client.history.event(|| format!("{tp}: records before {before} deleted: {code}, low watermark {low}"));
        match ErrorCode::try_from_code(code) {
            None if code == 0 && low < before => {
                client
                    .history
                    .violation(Checker::LogStart, format!("{tp}: records before {before} were to be deleted, the answer says {low}"));
            }
            None if code == 0 => client.history.delete_acknowledged(&tp, low),
            // An offset below the high watermark is in range, unless there was nothing yet.
            Some(ErrorCode::KafkaStorageError) if kinds.disks_work() => {
                client.history.violation(Checker::Refusal, format!("{tp}: deleting records was refused with KAFKA_STORAGE_ERROR"));
            }
            Some(ErrorCode::OffsetOutOfRange) => {
                client.history.violation(
                    Checker::LogStart,
                    format!("{tp}: deleting records before {before} is out of range, below {high_watermark}"),
                );
            }
            _ => {}
        }
    }
    Ok(())
}

/// Holds partition counts and configs against what was acknowledged. Ends only when everything has been asked.
pub async fn check(client: &Client) {
    let counts = client.history.facts().counts.clone();
    for (topic, change) in counts {
        let count = loop {
            match partition_count(client, &topic).await {
                Ok(count) => break count,
                Err(_) => client.back_off().await,
            }
        };
        let most = change.attempted.iter().copied().max().unwrap_or(0).max(change.acknowledged);
        if count < change.acknowledged || count > most {
            let least = change.acknowledged;
            client
                .history
                .violation(Checker::Metadata, format!("{topic} has {count} partitions; {least} were acknowledged, {most} asked for"));
        }
    }
    let configs = client.history.facts().configs.clone();
    for ((topic, name), change) in configs {
        let value = loop {
            match config(client, &topic, &name).await {
                Ok(value) => break value,
                Err(_) => client.back_off().await,
            }
        };
        let fits = value == change.acknowledged || change.attempted.contains(&value);
        if !fits {
            client.history.violation(Checker::Metadata, format!("{topic}: {name} is {value}; {} was acknowledged", change.acknowledged));
        }
    }
}

async fn config(client: &Client, topic: &str, name: &str) -> Result<String, Lost> {
    let resource = DescribeConfigsResource::default()
        .with_resource_type(TOPIC)
        .with_resource_name(text(topic))
        .with_configuration_keys(Some(vec![text(name)]));
    let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
    let answer = Connection::open(client, client.bootstrap).await?.call(&request, DESCRIBE_CONFIGS_VERSION).await?;
    let values = answer.results.iter().flat_map(|result| &result.configs);
    Ok(values.filter(|config| *config.name == *name).filter_map(|config| config.value.as_ref()).map(|value| value.to_string()).collect())
}
