//! `odradek topic`: create, list, describe, delete, alter.

use super::{ConnectArgs, Failure, Outcome, output};
use clap::{Args, Subcommand};
use odradek_base::TopicId;
use odradek_client::admin::{
    AlterConfig, AlterOperation, ConfigEntry, ConfigResource, ConfigSource, NewTopic, OffsetSpec, ResourceType, TopicDescription,
};
use odradek_client::consumer::IsolationLevel;
use odradek_client::{Cluster, Topic};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::process::ExitCode;

const PAGE: i32 = 2000;

/// Create, list, describe, alter and delete topics
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  odradek topic create orders --partitions 12\n  odradek topic list\n  odradek topic describe orders --json\n  \
    odradek topic alter orders --config retention.ms=3600000\n  odradek topic delete orders"
)]
pub struct TopicArgs {
    #[command(flatten)]
    connect: ConnectArgs,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Create a topic
    ///
    /// --json: {"topic", "result": "created", "could be created" or "exists already"}
    Create(CreateArgs),
    /// List topics
    ///
    /// --json: [{"name", "id", "partitions", "replicationFactor", "internal"}]
    List(ListArgs),
    /// Describe topics with their partitions and own configurations
    ///
    /// --json: [{"name", "id", "internal", "configs": {name: value}, "partitions": [{"partition", "leader", "leaderEpoch",
    /// "replicas", "isr", "earliestOffset", "latestOffset"}]}]; offsets are null where the leader did not answer
    Describe(DescribeArgs),
    /// Change configurations or add partitions
    ///
    /// --json: {"topic", "result": "altered"}
    Alter(AlterArgs),
    /// Delete topics with all their records
    ///
    /// --json, one line per topic: {"topic", "result": "deleted" or "does not exist"}
    Delete(DeleteArgs),
}

#[derive(Debug, Args)]
struct CreateArgs {
    name: String,
    /// Number of partitions; the cluster's default if left out.
    #[arg(long, short = 'p')]
    partitions: Option<i32>,
    /// Replicas of each partition; the cluster's default if left out.
    #[arg(long, short = 'r')]
    replication_factor: Option<i16>,
    /// A configuration, key=value; may repeat.
    #[arg(long = "config", short = 'c', value_name = "KEY=VALUE", value_parser = key_value)]
    configs: Vec<(String, String)>,
    /// Succeed when the topic exists.
    #[arg(long)]
    if_not_exists: bool,
    /// Check everything, create nothing.
    #[arg(long)]
    dry_run: bool,
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct ListArgs {
    /// Also topics of the broker itself (__consumer_offsets).
    #[arg(long)]
    internal: bool,
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct DescribeArgs {
    /// Topics; all if left out.
    names: Vec<String>,
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct AlterArgs {
    name: String,
    /// New number of partitions; it can only grow.
    #[arg(long, short = 'p')]
    partitions: Option<i32>,
    /// A configuration to set, key=value; may repeat.
    #[arg(long = "config", short = 'c', value_name = "KEY=VALUE", value_parser = key_value)]
    configs: Vec<(String, String)>,
    /// A configuration to return to its default; may repeat.
    #[arg(long = "unset", short = 'u', value_name = "KEY")]
    unset: Vec<String>,
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct DeleteArgs {
    #[arg(required = true)]
    names: Vec<String>,
    /// Succeed when a topic does not exist.
    #[arg(long)]
    if_exists: bool,
    #[arg(long)]
    json: bool,
}

/// Parses `key=value`.
pub fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.trim().to_owned())),
        _ => Err("expected KEY=VALUE".to_owned()),
    }
}

pub fn run(args: TopicArgs) -> Outcome {
    let mut cluster = args.connect.connect()?;
    match args.action {
        Action::Create(args) => create(args, &mut cluster),
        Action::List(args) => list(args, &mut cluster),
        Action::Describe(args) => describe(args, &mut cluster),
        Action::Alter(args) => alter(args, &mut cluster),
        Action::Delete(args) => delete(args, &mut cluster),
    }
}

fn create(args: CreateArgs, cluster: &mut Cluster) -> Outcome {
    let topic = NewTopic {
        name: args.name,
        partitions: args.partitions,
        replication_factor: args.replication_factor,
        assignment: Vec::new(),
        configs: args.configs,
    };
    let result = match cluster.admin().create_topic(&topic, args.dry_run) {
        Ok(_) if args.dry_run => "could be created",
        Ok(_) => "created",
        Err(error) if args.if_not_exists && error.code() == Some(odradek_wire::ErrorCode::TopicAlreadyExists) => "exists already",
        Err(error) => return Err(error.into()),
    };
    output::done(args.json, "topic", &topic.name, result);
    Ok(ExitCode::SUCCESS)
}

fn list(args: ListArgs, cluster: &mut Cluster) -> Outcome {
    let topics = cluster.admin().list_topics(args.internal)?;
    let replication = |t: &Topic| t.partitions.iter().map(|p| p.replicas.len()).max().unwrap_or(0);
    if args.json {
        let list: Vec<Value> = topics
            .iter()
            .map(|t| {
                json!({
                    "name": t.name, "id": TopicId(t.id).to_string(), "partitions": t.partitions.len(),
                    "replicationFactor": replication(t), "internal": t.internal,
                })
            })
            .collect();
        output::json(&Value::from(list));
    } else if topics.is_empty() {
        output::print("no topics yet: odradek topic create NAME\n");
    } else {
        let rows = topics
            .iter()
            .map(|t| vec![t.name.clone(), t.partitions.len().to_string(), replication(t).to_string(), TopicId(t.id).to_string()]);
        output::table(&["TOPIC", "PARTITIONS", "REPLICAS", "ID"], rows.collect());
    }
    Ok(ExitCode::SUCCESS)
}

/// Start and end of each partition that answered.
type Ends = BTreeMap<(String, i32), (Option<i64>, Option<i64>)>;

fn describe(args: DescribeArgs, cluster: &mut Cluster) -> Outcome {
    let names = match args.names.is_empty() {
        true => cluster.admin().list_topics(false)?.into_iter().map(|t| t.name).collect(),
        false => args.names,
    };
    let topics = cluster.admin().describe_topics(&names, PAGE)?;
    let ends = ends(&topics, cluster)?;
    let mut documents = Vec::new();
    for topic in &topics {
        let resource = ConfigResource { kind: ResourceType::Topic, name: topic.name.clone() };
        let mut configs = cluster.admin().describe_configs(&resource, false)?;
        configs.retain(|c| c.source == ConfigSource::DynamicTopic);
        if args.json {
            documents.push(document(topic, &configs, &ends));
        } else {
            show(topic, &configs, &ends);
        }
    }
    if args.json {
        output::json(&Value::from(documents));
    }
    Ok(ExitCode::SUCCESS)
}

fn ends(topics: &[TopicDescription], cluster: &mut Cluster) -> Result<Ends, Failure> {
    let mut ends = Ends::new();
    for spec in [OffsetSpec::Earliest, OffsetSpec::Latest] {
        let wanted: Vec<(String, i32, OffsetSpec)> =
            topics.iter().flat_map(|t| t.partitions.iter().filter(|p| p.leader >= 0).map(|p| (t.name.clone(), p.index, spec))).collect();
        for (partition, result) in cluster.admin().list_offsets(&wanted, IsolationLevel::ReadUncommitted)? {
            let entry = ends.entry(partition).or_default();
            let offset = result.ok().map(|l| l.offset);
            if spec == OffsetSpec::Earliest { entry.0 = offset } else { entry.1 = offset }
        }
    }
    Ok(ends)
}

fn document(topic: &TopicDescription, configs: &[ConfigEntry], ends: &Ends) -> Value {
    let configs: BTreeMap<&str, Option<&str>> = configs.iter().map(|c| (c.name.as_str(), c.value.as_deref())).collect();
    let partitions: Vec<Value> = topic
        .partitions
        .iter()
        .map(|p| {
            let (earliest, latest) = ends.get(&(topic.name.clone(), p.index)).copied().unwrap_or_default();
            json!({
                "partition": p.index, "leader": (p.leader >= 0).then_some(p.leader), "leaderEpoch": p.leader_epoch,
                "replicas": p.replicas, "isr": p.isr, "earliestOffset": earliest, "latestOffset": latest,
            })
        })
        .collect();
    json!({ "name": topic.name, "id": TopicId(topic.id).to_string(), "internal": topic.internal, "configs": configs, "partitions": partitions })
}

fn show(topic: &TopicDescription, configs: &[ConfigEntry], ends: &Ends) {
    let configs: Vec<String> = configs.iter().map(|c| format!("{}={}", c.name, c.value.as_deref().unwrap_or(""))).collect();
    let configs = if configs.is_empty() { "none of its own".to_owned() } else { configs.join(", ") };
    output::print(&format!("topic    {}\nid       {}\nconfigs  {configs}\n\n", topic.name, TopicId(topic.id)));
    let ids = |list: &[i32]| list.iter().map(i32::to_string).collect::<Vec<_>>().join(" ");
    let number = |n: Option<i64>| n.map_or("?".to_owned(), output::grouped);
    let rows = topic.partitions.iter().map(|p| {
        let (earliest, latest) = ends.get(&(topic.name.clone(), p.index)).copied().unwrap_or_default();
        let leader = if p.leader >= 0 { p.leader.to_string() } else { "none".to_owned() };
        let records = earliest.zip(latest).map(|(from, to)| to - from);
        vec![p.index.to_string(), leader, ids(&p.replicas), ids(&p.isr), number(earliest), number(latest), number(records)]
    });
    output::table(&["PARTITION", "LEADER", "REPLICAS", "IN SYNC", "EARLIEST", "LATEST", "OFFSETS"], rows.collect());
    output::print("\n");
}

fn alter(args: AlterArgs, cluster: &mut Cluster) -> Outcome {
    if args.partitions.is_none() && args.configs.is_empty() && args.unset.is_empty() {
        return Err(Failure::Usage("nothing to alter: give --partitions, --config or --unset".to_owned()));
    }
    let set = args.configs.into_iter().map(|(name, value)| AlterConfig { name, operation: AlterOperation::Set, value: Some(value) });
    let unset = args.unset.into_iter().map(|name| AlterConfig { name, operation: AlterOperation::Delete, value: None });
    let changes: Vec<AlterConfig> = set.chain(unset).collect();
    if !changes.is_empty() {
        let resource = ConfigResource { kind: ResourceType::Topic, name: args.name.clone() };
        cluster.admin().alter_configs(&resource, &changes, false)?;
    }
    if let Some(count) = args.partitions {
        cluster.admin().create_partitions(&args.name, count, None)?;
    }
    output::done(args.json, "topic", &args.name, "altered");
    Ok(ExitCode::SUCCESS)
}

fn delete(args: DeleteArgs, cluster: &mut Cluster) -> Outcome {
    for name in &args.names {
        match cluster.admin().delete_topic(name) {
            Ok(()) => output::done(args.json, "topic", name, "deleted"),
            Err(error) if args.if_exists && error.code() == Some(odradek_wire::ErrorCode::UnknownTopicOrPartition) => {
                output::done(args.json, "topic", name, "does not exist");
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use odradek_client::admin::TopicPartitionDescription;

    #[test]
    fn the_json_shape_is_stable() {
        let partition = TopicPartitionDescription {
            index: 0,
            leader: -1,
            leader_epoch: 4,
            replicas: vec![1],
            isr: vec![],
            offline: vec![1],
            elr: None,
            last_known_elr: None,
        };
        let topic = TopicDescription { name: "t".into(), id: Default::default(), internal: false, partitions: vec![partition] };
        let ends = Ends::from([(("t".to_owned(), 0), (Some(1), Some(3)))]);
        assert_eq!(
            document(&topic, &[], &ends),
            json!({
                "name": "t", "id": "AAAAAAAAAAAAAAAAAAAAAA", "internal": false, "configs": {},
                "partitions": [{"partition": 0, "leader": null, "leaderEpoch": 4, "replicas": [1], "isr": [], "earliestOffset": 1, "latestOffset": 3}],
            })
        );
    }
}
