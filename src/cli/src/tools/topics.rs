//! `kafka-topics`: create, list, describe, delete topics and add partitions (`org.apache.kafka.tools.TopicCommand`).

use super::options::{OptionSpec, Parsed, flag, with};
use super::topic_filter::TopicFilter;
use super::{ToolError, connect, finish, parse_or_answer, usage_error};
use crate::console::Console;
use odradek_base::TopicId;
use odradek_base::ids::uuid_from_kafka_string;
use odradek_client::admin::{
    ConfigEntry, ConfigResource, ConfigSource, NewTopic, Reassignment, ResourceType, TopicDescription, TopicPartitionDescription,
};
use odradek_client::{ClientError, Cluster};
use odradek_wire::ErrorCode;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

const PURPOSE: &str = "This tool helps to create, delete, describe, or change a topic.";
const PAGE_DEFAULT: i32 = 2000;
const ACTIONS: [&str; 5] = ["create", "list", "alter", "describe", "delete"];
const REPORTS: [&str; 4] = ["under-replicated-partitions", "unavailable-partitions", "under-min-isr-partitions", "at-min-isr-partitions"];

pub const OPTIONS: [OptionSpec; 23] = [
    with("bootstrap-server", "server to connect to", "REQUIRED: the brokers to start from, HOST1:PORT1,HOST2:PORT2."),
    with("command-config", "command config property file", "Properties file for the connection."),
    flag("list", "List all topics."),
    flag("create", "Create a topic."),
    flag("delete", "Delete topics."),
    flag("alter", "Add partitions to topics. (Topic configurations are altered with kafka-configs.)"),
    flag("describe", "Describe topics with their partitions."),
    with("topic", "topic", "The topic; except with --create also a regular expression."),
    with("topic-id", "topic-id", "The id of the topic to describe."),
    with("config", "name=value", "A topic configuration for --create; may repeat."),
    with("delete-config", "name", "No longer supported by Kafka since 4.0."),
    with("partitions", "# of partitions", "Number of partitions to create, or to raise the number to; the cluster's default if left out."),
    with("replication-factor", "replication factor", "Replicas of each partition; the cluster's default if left out."),
    with("replica-assignment", "broker:broker,broker:broker,...", "Brokers of each partition's replicas, partitions separated by commas."),
    flag("under-replicated-partitions", "With --describe: only partitions with fewer in-sync replicas than replicas."),
    flag("unavailable-partitions", "With --describe: only partitions whose leader is not available."),
    flag("under-min-isr-partitions", "With --describe: only partitions with fewer in-sync replicas than min.insync.replicas."),
    flag("at-min-isr-partitions", "With --describe: only partitions with exactly min.insync.replicas in-sync replicas."),
    flag("topics-with-overrides", "With --describe: only topics with configurations of their own."),
    flag("if-exists", "With --alter, --delete or --describe: no error when the topic does not exist."),
    flag("if-not-exists", "With --create: no error when the topic exists."),
    flag("exclude-internal", "Leave out internal topics when listing or describing."),
    with(
        "partition-size-limit-per-response",
        "maximum number of partitions per response",
        "Partitions asked for in one request of --describe.",
    ),
];

pub fn run(args: &[String], console: &mut Console<'_>) -> u8 {
    let result = parse_or_answer(&OPTIONS, PURPOSE, args, console).and_then(|parsed| execute(&parsed, console));
    finish(result, &OPTIONS, console, |error, console| {
        console.line(&format!("Error while executing topic command : {}", error.text()));
        1
    })
}

fn execute(parsed: &Parsed, console: &mut Console<'_>) -> Result<u8, ToolError> {
    check(parsed, console).map_err(usage_error)?;
    if !parsed.has("bootstrap-server") {
        return Err(ToolError::Usage("--bootstrap-server must be specified".to_owned()));
    }
    let mut cluster = connect(parsed, "kafka-topics", console)?;
    if parsed.has("create") {
        create(parsed, &mut cluster, console)?;
    } else if parsed.has("alter") {
        alter(parsed, &mut cluster)?;
    } else if parsed.has("list") {
        let names = matching(parsed, &mut cluster)?;
        console.line(&names.join("\n"));
    } else if parsed.has("describe") {
        describe(parsed, &mut cluster, console)?;
    } else {
        delete(parsed, &mut cluster)?;
    }
    Ok(0)
}

fn check(parsed: &Parsed, console: &mut Console<'_>) -> Result<(), String> {
    if ACTIONS.iter().filter(|a| parsed.has(a)).count() != 1 {
        return Err("Command must include exactly one action: --list, --describe, --create, --alter or --delete".to_owned());
    }
    if parsed.has("delete-config") {
        console.error_line("delete-config option is no longer supported and deprecated since version 4.0. The config will be fully removed in future releases.");
    }
    if parsed.has("describe") && parsed.has("if-exists") && !parsed.has("topic") && !parsed.has("topic-id") {
        return Err("--topic or --topic-id is required to describe a topic".to_owned());
    }
    if !parsed.has("list") && !parsed.has("describe") {
        parsed.require(&["topic"])?;
    }
    if parsed.has("alter") {
        if parsed.has("config") {
            let hint = "(To alter topic configurations, the kafka-configs tool can be used.)";
            return Err(format!("Option combination \"[bootstrap-server],[config]\" can't be used with option \"[alter]\" {hint}"));
        }
        parsed.require(&["partitions"])?;
    }
    let only_with = |used: &str, allowed: &[&str]| {
        let excluded: Vec<&str> = ACTIONS.into_iter().filter(|a| !allowed.contains(a)).collect();
        parsed.exclude(used, &excluded)
    };
    only_with("config", &["alter", "create"])?;
    only_with("partitions", &["alter", "create"])?;
    only_with("replication-factor", &["create"])?;
    only_with("replica-assignment", &["alter", "create"])?;
    if parsed.has("create") {
        parsed.exclude("replica-assignment", &["partitions", "replication-factor"])?;
    }
    for report in REPORTS {
        only_with(report, &["describe"])?;
        parsed.exclude(report, &["topics-with-overrides"])?;
    }
    only_with("topics-with-overrides", &["describe"])?;
    only_with("if-exists", &["alter", "delete", "describe"])?;
    only_with("if-not-exists", &["create"])?;
    only_with("exclude-internal", &["list", "describe"])
}

fn create(parsed: &Parsed, cluster: &mut Cluster, console: &mut Console<'_>) -> Result<(), ToolError> {
    let topic = new_topic(parsed)?;
    if topic.name.contains(['.', '_']) {
        console.line(
            "WARNING: Due to limitations in metric names, topics with a period ('.') or underscore ('_') could collide. \
             To avoid issues it is best to use either, but not both.",
        );
    }
    match cluster.admin().create_topic(&topic, false) {
        Ok(_) => console.line(&format!("Created topic {}.", topic.name)),
        Err(error) if error.code() == Some(ErrorCode::TopicAlreadyExists) && parsed.has("if-not-exists") => {}
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

fn new_topic(parsed: &Parsed) -> Result<NewTopic, ToolError> {
    let failed = |message: String| ToolError::Failed(message);
    let replication: Option<i32> = parsed.number("replication-factor").map_err(failed)?;
    if replication.is_some_and(|r| !(1..=i32::from(i16::MAX)).contains(&r)) {
        return Err(ToolError::Failed(format!("The replication factor must be between 1 and {} inclusive", i16::MAX)));
    }
    let partitions: Option<i32> = parsed.number("partitions").map_err(failed)?;
    if partitions.is_some_and(|p| p < 1) {
        return Err(ToolError::Failed("The partitions must be greater than 0".to_owned()));
    }
    Ok(NewTopic {
        name: parsed.value("topic").map_err(failed)?.unwrap_or_default().to_owned(),
        partitions,
        replication_factor: replication.map(|r| r as i16),
        assignment: assignment(parsed)?,
        configs: configs(&parsed.values("config"))?,
    })
}

fn configs(given: &[String]) -> Result<Vec<(String, String)>, ToolError> {
    let pair = |config: &String| match config.split_once('=') {
        Some((key, value)) if !value.trim().is_empty() && !value.contains('=') => Ok((key.trim().to_owned(), value.trim().to_owned())),
        _ => Err(ToolError::Failed(
            "requirement failed: Invalid topic config: all configs to be added must be in the format \"key=val\".".to_owned(),
        )),
    };
    // As in a java.util.Properties, the last of a name counts.
    let mut unique: Vec<(String, String)> = Vec::new();
    for (key, value) in given.iter().map(pair).collect::<Result<Vec<_>, _>>()? {
        unique.retain(|(k, _)| *k != key);
        unique.push((key, value));
    }
    Ok(unique)
}

fn assignment(parsed: &Parsed) -> Result<Vec<Vec<i32>>, ToolError> {
    let Some(text) = parsed.value("replica-assignment").map_err(ToolError::Failed)?.filter(|t| !t.is_empty()) else {
        return Ok(Vec::new());
    };
    let mut partitions: Vec<Vec<i32>> = Vec::new();
    for (index, list) in text.split(',').enumerate() {
        let brokers: Vec<i32> = list
            .split(':')
            .map(|id| id.trim().parse().map_err(|_| ToolError::Failed(format!("For input string: \"{}\"", id.trim()))))
            .collect::<Result<_, _>>()?;
        let mut seen = BTreeSet::new();
        let duplicates: Vec<String> = brokers.iter().filter(|b| !seen.insert(**b)).map(i32::to_string).collect();
        if !duplicates.is_empty() {
            return Err(ToolError::Failed(format!("Partition replica lists may not contain duplicate entries: {}", duplicates.join(","))));
        }
        if partitions.first().is_some_and(|first| first.len() != brokers.len()) {
            return Err(ToolError::Failed(format!("Partition {index} has different replication factor: {brokers:?}")));
        }
        partitions.push(brokers);
    }
    Ok(partitions)
}

/// Names that `--topic` selects, sorted; all of them without it.
fn matching(parsed: &Parsed, cluster: &mut Cluster) -> Result<Vec<String>, ToolError> {
    let topics = cluster.admin().list_topics(!parsed.has("exclude-internal"))?;
    let pattern = parsed.value("topic").map_err(ToolError::Failed)?.map(TopicFilter::new).transpose()?;
    Ok(topics.into_iter().map(|t| t.name).filter(|n| pattern.as_ref().is_none_or(|p| p.matches(n))).collect())
}

fn matching_or_error(parsed: &Parsed, cluster: &mut Cluster) -> Result<Vec<String>, ToolError> {
    let names = matching(parsed, cluster)?;
    match parsed.value("topic").map_err(ToolError::Failed)? {
        Some(topic) if names.is_empty() && !topic.is_empty() && !parsed.has("if-exists") => {
            Err(ToolError::Failed(format!("Topic '{topic}' does not exist as expected")))
        }
        _ => Ok(names),
    }
}

fn alter(parsed: &Parsed, cluster: &mut Cluster) -> Result<(), ToolError> {
    let count: i32 = parsed.number("partitions").map_err(ToolError::Failed)?.unwrap_or(-1);
    if count < 1 {
        return Err(ToolError::Failed("The partitions must be greater than 0".to_owned()));
    }
    let assignment = assignment(parsed)?;
    for name in matching_or_error(parsed, cluster)? {
        let existing = cluster.topic(&name).map_or(0, |t| t.partitions.len());
        let new: Option<&[Vec<i32>]> = (!assignment.is_empty()).then(|| assignment.get(existing..).unwrap_or_default());
        cluster.admin().create_partitions(&name, count, new)?;
    }
    Ok(())
}

fn delete(parsed: &Parsed, cluster: &mut Cluster) -> Result<(), ToolError> {
    for name in matching_or_error(parsed, cluster)? {
        cluster.admin().delete_topic(&name)?;
    }
    Ok(())
}

fn describe(parsed: &Parsed, cluster: &mut Cluster, console: &mut Console<'_>) -> Result<(), ToolError> {
    let names = match parsed.value("topic-id").map_err(ToolError::Failed)? {
        Some(text) if text != TopicId::NONE.to_string() => {
            let id = uuid_from_kafka_string(text)
                .ok_or_else(|| ToolError::Failed(format!("Input string `{text}` decoded is not a topic id")))?;
            let topics = cluster.admin().list_topics(!parsed.has("exclude-internal"))?;
            let found: Vec<String> = topics.into_iter().filter(|t| t.id == id).map(|t| t.name).collect();
            if found.is_empty() && !parsed.has("if-exists") {
                return Err(ToolError::Failed(format!("TopicId '{text}' does not exist as expected")));
            }
            found
        }
        _ => matching_or_error(parsed, cluster)?,
    };
    let page = parsed.number("partition-size-limit-per-response").map_err(ToolError::Failed)?.unwrap_or(PAGE_DEFAULT);
    let topics = cluster.admin().describe_topics(&names, page)?;
    let live: BTreeSet<i32> = cluster.admin().describe_cluster()?.iter().map(|b| b.id).collect();
    let moving = if topics.is_empty() { BTreeMap::new() } else { reassignments(cluster)? };
    let reporting = REPORTS.iter().any(|r| parsed.has(r));
    for topic in &topics {
        let resource = ConfigResource { kind: ResourceType::Topic, name: topic.name.clone() };
        let configs = cluster.admin().describe_configs(&resource, false)?;
        let overridden = configs.iter().any(|c| c.source != ConfigSource::Default);
        if !reporting && (!parsed.has("topics-with-overrides") || overridden) {
            console.line(&topic_line(topic, &configs, &moving));
        }
        if parsed.has("topics-with-overrides") {
            continue;
        }
        let min_isr: usize =
            configs.iter().find(|c| c.name == "min.insync.replicas").and_then(|c| c.value.as_deref()?.parse().ok()).unwrap_or(1);
        for partition in &topic.partitions {
            let reassignment = moving.get(&(topic.name.clone(), partition.index));
            let shown = !reporting
                || parsed.has("under-replicated-partitions") && replication_factor(partition, reassignment) > partition.isr.len()
                || parsed.has("unavailable-partitions") && !live.contains(&partition.leader)
                || parsed.has("under-min-isr-partitions") && (partition.leader < 0 || partition.isr.len() < min_isr)
                || parsed.has("at-min-isr-partitions") && partition.isr.len() == min_isr;
            if shown {
                console.line(&partition_line(&topic.name, partition, reassignment));
            }
        }
    }
    Ok(())
}

fn reassignments(cluster: &mut Cluster) -> Result<BTreeMap<(String, i32), Reassignment>, ClientError> {
    cluster.admin().list_reassignments()
}

fn replication_factor(partition: &TopicPartitionDescription, reassignment: Option<&Reassignment>) -> usize {
    match reassignment {
        Some(r) if partition.replicas.iter().any(|id| r.adding.contains(id) || r.removing.contains(id)) => {
            r.replicas.len().saturating_sub(r.adding.len())
        }
        _ => partition.replicas.len(),
    }
}

fn topic_line(topic: &TopicDescription, configs: &[ConfigEntry], moving: &BTreeMap<(String, i32), Reassignment>) -> String {
    let own: Vec<String> = configs
        .iter()
        .filter(|c| c.source != ConfigSource::Default)
        .map(|c| format!("{}={}", c.name, c.value.as_deref().unwrap_or("null")))
        .collect();
    let replication = topic.partitions.first().map_or(0, |p| replication_factor(p, moving.get(&(topic.name.clone(), p.index))));
    let mut line = format!("Topic: {}", topic.name);
    if !topic.id.is_nil() {
        let _ = write!(line, "\tTopicId: {}", TopicId(topic.id));
    }
    let _ = write!(line, "\tPartitionCount: {}\tReplicationFactor: {replication}\tConfigs: {}", topic.partitions.len(), own.join(","));
    line
}

fn partition_line(topic: &str, partition: &TopicPartitionDescription, reassignment: Option<&Reassignment>) -> String {
    let leader = if partition.leader >= 0 { partition.leader.to_string() } else { "none".to_owned() };
    let mut line = format!(
        "\tTopic: {topic}\tPartition: {}\tLeader: {leader}\tReplicas: {}\tIsr: {}",
        partition.index,
        ids(&partition.replicas),
        ids(&partition.isr)
    );
    if let Some(r) = reassignment {
        let _ = write!(line, "\tAdding Replicas: {}\tRemoving Replicas: {}", ids(&r.adding), ids(&r.removing));
    }
    let unknown = || "N/A".to_owned();
    let elr = partition.elr.as_deref().map_or_else(unknown, ids);
    let last_known = partition.last_known_elr.as_deref().map_or_else(unknown, ids);
    let _ = write!(line, "\tElr: {elr}\tLastKnownElr: {last_known}");
    line
}

fn ids(list: &[i32]) -> String {
    list.iter().map(i32::to_string).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_with(args: &[&str]) -> (u8, String, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let args: Vec<String> = args.iter().map(|a| a.to_string()).collect();
        let code = run(&args, &mut Console::new(&mut out, &mut err));
        (code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    #[test]
    fn combinations_that_kafka_refuses() {
        for (args, message) in [
            (
                &["--bootstrap-server", "b"][..],
                "Command must include exactly one action: --list, --describe, --create, --alter or --delete",
            ),
            (&["--list", "--create"], "Command must include exactly one action"),
            (&["--create"], "Missing required argument \"[topic]\""),
            (&["--alter", "--topic", "t"], "Missing required argument \"[partitions]\""),
            (&["--list", "--partitions", "1"], "Option \"[partitions]\" can't be used with option \"[list]\""),
            (&["--create", "--topic", "t", "--if-exists"], "Option \"[if-exists]\" can't be used with option \"[create]\""),
            (&["--list"], "--bootstrap-server must be specified"),
        ] {
            let (code, out, err) = run_with(args);
            assert_eq!(code, 1);
            assert!(out.is_empty());
            assert!(err.starts_with(message), "{args:?}: {err}");
        }
    }

    #[test]
    fn describe_lines_as_kafka_prints_them() {
        // Taken from kafka-topics of Apache Kafka 4.3.1.
        let partition = TopicPartitionDescription {
            index: 0,
            leader: 1,
            leader_epoch: 0,
            replicas: vec![1, 2],
            isr: vec![1],
            offline: vec![],
            elr: Some(vec![]),
            last_known_elr: Some(vec![]),
        };
        assert_eq!(
            partition_line("cliref-a", &partition, None),
            "\tTopic: cliref-a\tPartition: 0\tLeader: 1\tReplicas: 1,2\tIsr: 1\tElr: \tLastKnownElr: "
        );
        let offline = TopicPartitionDescription { leader: -1, elr: None, last_known_elr: None, ..partition.clone() };
        assert_eq!(
            partition_line("t", &offline, None),
            "\tTopic: t\tPartition: 0\tLeader: none\tReplicas: 1,2\tIsr: 1\tElr: N/A\tLastKnownElr: N/A"
        );
        let topic = TopicDescription {
            name: "t".into(),
            id: uuid_from_kafka_string("ohefueKDSFyOgA3rc9F5-A").unwrap(),
            internal: false,
            partitions: vec![partition],
        };
        let entry = |name: &str, value: &str, source| ConfigEntry {
            name: name.into(),
            value: Some(value.into()),
            source,
            read_only: false,
            sensitive: false,
            synonyms: vec![],
        };
        let configs = [entry("cleanup.policy", "compact", ConfigSource::DynamicTopic), entry("flush.ms", "1", ConfigSource::Default)];
        assert_eq!(
            topic_line(&topic, &configs, &BTreeMap::new()),
            "Topic: t\tTopicId: ohefueKDSFyOgA3rc9F5-A\tPartitionCount: 1\tReplicationFactor: 2\tConfigs: cleanup.policy=compact"
        );
    }

    #[test]
    fn replica_assignments() {
        let parsed = |text: &str| super::super::options::parse(&OPTIONS, &["--replica-assignment".to_owned(), text.to_owned()]).unwrap();
        assert_eq!(assignment(&parsed("1:2,2:3")).unwrap(), [[1, 2], [2, 3]]);
        assert!(assignment(&parsed("1:1")).unwrap_err().text().contains("duplicate entries: 1"));
        assert!(assignment(&parsed("1:2,3")).unwrap_err().text().contains("Partition 1 has different replication factor"));
        assert!(assignment(&parsed("a")).is_err());
    }

    #[test]
    fn topic_configs() {
        assert_eq!(
            configs(&["a = 1".into(), "b=2".into(), "a=3".into()]).unwrap(),
            [("b", "2"), ("a", "3")].map(|(k, v)| (k.to_owned(), v.to_owned()))
        );
        assert!(configs(&["a".into()]).is_err());
    }
}
