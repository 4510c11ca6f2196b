//! `kafka-get-offsets`: offsets of partitions (`org.apache.kafka.tools.GetOffsetShell`).

use super::options::{OptionSpec, Parsed, flag, with};
use super::topic_filter::TopicFilter;
use super::{ToolError, connect, finish, parse_or_answer, usage_error};
use crate::console::Console;
use odradek_client::admin::OffsetSpec;
use odradek_client::consumer::IsolationLevel;

const PURPOSE: &str = "An interactive shell for getting topic-partition offsets.";

pub const OPTIONS: [OptionSpec; 7] = [
    with("bootstrap-server", "HOST1:PORT1,...,HOST3:PORT3", "REQUIRED: the brokers to start from."),
    with(
        "topic-partitions",
        "topic1:1,topic2:0-3,topic3",
        "Patterns of a topic (a regular expression) and after ':' a partition, a range with exclusive end (0-3), or one open end (5-, -3).",
    ),
    with("topic", "topic", "The topic, also as a regular expression; all topics if left out."),
    with("partitions", "partition ids", "Comma-separated partitions; all if left out."),
    with(
        "time",
        "timestamp",
        "Milliseconds, or latest (-1, default), earliest (-2), max-timestamp (-3), earliest-local (-4), latest-tiered (-5).",
    ),
    with("command-config", "config file", "Properties file for the connection."),
    flag("exclude-internal-topics", "Leave out internal topics."),
];

pub fn run(args: &[String], console: &mut Console<'_>) -> u8 {
    let result = parse_or_answer(&OPTIONS, PURPOSE, args, console).and_then(|parsed| execute(&parsed, console));
    finish(result, &OPTIONS, console, |error, console| {
        console.error_line(&format!("Error occurred: {}", error.text()));
        1
    })
}

/// A topic pattern with the partitions of interest: from (inclusive) to (exclusive), or a list.
struct Rule {
    topic: TopicFilter,
    partitions: Partitions,
}

enum Partitions {
    Range(i32, i32),
    List(Vec<i32>),
}

impl Rule {
    fn accepts(&self, topic: &str, partition: i32) -> bool {
        self.topic.matches(topic)
            && match &self.partitions {
                Partitions::Range(from, to) => (*from..*to).contains(&partition),
                Partitions::List(list) => list.is_empty() || list.contains(&partition),
            }
    }
}

fn execute(parsed: &Parsed, console: &mut Console<'_>) -> Result<u8, ToolError> {
    let rules = rules(parsed)?;
    let spec = offset_spec(parsed.value("time").map_err(usage_error)?.unwrap_or("latest"))?;
    let mut cluster = connect(parsed, "GetOffsetShell", console)?;
    let topics = cluster.admin().list_topics(!parsed.has("exclude-internal-topics"))?;
    let wanted: Vec<(String, i32, OffsetSpec)> = topics
        .iter()
        .flat_map(|t| t.partitions.iter().map(|p| (t.name.clone(), p.index)))
        .filter(|(topic, partition)| rules.iter().any(|r| r.accepts(topic, *partition)))
        .map(|(topic, partition)| (topic, partition, spec))
        .collect();
    if wanted.is_empty() {
        return Err(ToolError::Failed("Could not match any topic-partitions with the specified filters".to_owned()));
    }
    let found = cluster.admin().list_offsets(&wanted, IsolationLevel::ReadUncommitted)?;
    // Kafka's order is that of the text "topic-partition".
    let mut lines: Vec<(String, String)> = Vec::new();
    for ((topic, partition), result) in found {
        match result {
            Ok(listed) if listed.offset >= 0 => {
                lines.push((format!("{topic}-{partition}"), format!("{topic}:{partition}:{}", listed.offset)))
            }
            Ok(_) => {}
            Err(error) => console.error_line(&format!(
                "Skip getting offsets for topic-partition {topic}-{partition} due to error: {}",
                ToolError::Client(error).text()
            )),
        }
    }
    lines.sort();
    for (_, line) in lines {
        console.line(&line);
    }
    Ok(0)
}

fn offset_spec(text: &str) -> Result<OffsetSpec, ToolError> {
    Ok(match text {
        "earliest" | "-2" => OffsetSpec::Earliest,
        "latest" | "-1" => OffsetSpec::Latest,
        "max-timestamp" | "-3" => OffsetSpec::MaxTimestamp,
        "earliest-local" | "-4" => OffsetSpec::EarliestLocal,
        "latest-tiered" | "-5" => OffsetSpec::LatestTiered,
        other => match other.parse() {
            Ok(ms) if ms >= 0 => OffsetSpec::Timestamp(ms),
            _ => {
                return Err(ToolError::Failed(format!(
                    "Malformed time argument {other}. Please use -1 or latest / -2 or earliest / -3 or max-timestamp / -4 or \
                     earliest-local / -5 or latest-tiered, or a specified long format timestamp"
                )));
            }
        },
    })
}

fn rules(parsed: &Parsed) -> Result<Vec<Rule>, ToolError> {
    if let Some(patterns) = parsed.value("topic-partitions").map_err(usage_error)? {
        if parsed.has("topic") || parsed.has("partitions") {
            return Err(ToolError::Failed("--topic-partitions cannot be used with --topic or --partitions".to_owned()));
        }
        return patterns.split(',').map(rule).collect();
    }
    let partitions = match parsed.value("partitions").map_err(usage_error)?.filter(|p| !p.is_empty()) {
        None => Vec::new(),
        Some(list) => list.split(',').map(str::parse).collect::<Result<_, _>>().map_err(|_| {
            ToolError::Failed(format!("--partitions expects a comma separated list of numeric partition ids, but received: {list}"))
        })?,
    };
    let topic = TopicFilter::new(parsed.value("topic").map_err(usage_error)?.unwrap_or(".*"))?;
    Ok(vec![Rule { topic, partitions: Partitions::List(partitions) }])
}

fn rule(text: &str) -> Result<Rule, ToolError> {
    let bad = || ToolError::Failed(format!("Invalid rule specification: {text}"));
    let (topic, partitions) = text.split_once(':').unwrap_or((text, ""));
    let number = |t: &str, default: i32| if t.is_empty() { Ok(default) } else { t.parse().map_err(|_| bad()) };
    let partitions = match partitions.split_once('-') {
        Some((from, to)) => Partitions::Range(number(from, 0)?, number(to, i32::MAX)?),
        None if partitions.is_empty() => Partitions::Range(0, i32::MAX),
        None => Partitions::List(vec![number(partitions, 0)?]),
    };
    Ok(Rule { topic: TopicFilter::new(if topic.is_empty() { ".*" } else { topic })?, partitions })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (text, topic, partition, expected) in [
            ("t:1", "t", 1, true),
            ("t:1", "t", 2, false),
            ("t:0-3", "t", 3, false),
            ("t:5-", "t", 7, true),
            (":-3", "any", 2, true),
            ("t.*", "two", 9, true),
            ("t", "two", 0, false),
        ] {
            assert_eq!(rule(text).unwrap().accepts(topic, partition), expected, "{text} {topic}-{partition}");
        }
        assert!(rule("t:x").is_err());
    }

    #[test]
    fn times() {
        assert_eq!(offset_spec("-3").unwrap(), OffsetSpec::MaxTimestamp);
        assert_eq!(offset_spec("12").unwrap(), OffsetSpec::Timestamp(12));
        assert!(offset_spec("-9").unwrap_err().text().starts_with("Malformed time argument -9."));
    }
}
