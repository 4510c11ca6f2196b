//! `kafka-consumer-groups`: list, describe, delete groups and their offsets (`ConsumerGroupCommand`). One file per action that
//! has more than a few lines.

mod describe;
mod reset;
mod table;

use super::options::{OptionSpec, Parsed, flag, maybe, with};
use super::{ToolError, connect, finish, parse_or_answer, required_value, usage_error};
use crate::console::Console;
use odradek_client::admin::GroupListing;
use odradek_client::{ClientError, Cluster};
use odradek_wire::ErrorCode;
use std::time::Duration;
use table::Table;

const PURPOSE: &str =
    "This tool helps to list all consumer groups, describe a consumer group, delete consumer group info, or reset consumer group offsets.";
const ACTIONS: [&str; 5] = ["list", "describe", "delete", "reset-offsets", "delete-offsets"];

pub const OPTIONS: [OptionSpec; 29] = [
    with("bootstrap-server", "server to connect to", "REQUIRED: the brokers to start from."),
    with("command-config", "command config property file", "Properties file for the connection."),
    with("group", "consumer group", "The group to act on; may repeat."),
    flag("all-groups", "Act on all consumer groups."),
    with("topic", "topic", "Topic whose offsets are deleted or reset, also topic:0,1 for some partitions; may repeat."),
    flag("all-topics", "With --reset-offsets: all topics the group has offsets for."),
    flag("list", "List consumer groups."),
    flag("describe", "Describe groups and list the lag of their partitions."),
    flag("delete", "Delete groups with their offsets."),
    flag("reset-offsets", "Reset offsets of groups without active members: --dry-run (default) shows, --execute does it."),
    flag("delete-offsets", "Delete offsets of a group for some topics."),
    with("timeout", "timeout (ms)", "Longest wait for an answer (default 30000)."),
    flag("dry-run", "Only show what --reset-offsets would do."),
    flag("execute", "Do what --reset-offsets says."),
    flag("export", "Print the plan of --reset-offsets as CSV."),
    with("to-offset", "offset", "Reset to this offset."),
    with("from-file", "path to CSV file", "Reset to the offsets of a CSV file: topic,partition,offset or group,topic,partition,offset."),
    with("to-datetime", "datetime", "Reset to the offset of a time: YYYY-MM-DDTHH:mm:SS.sss, optionally with a zone."),
    with("by-duration", "duration", "Reset to the offset a duration ago: PnDTnHnMnS."),
    flag("to-earliest", "Reset to the earliest offset."),
    flag("to-latest", "Reset to the latest offset."),
    flag("to-current", "Reset to the current offset."),
    with("shift-by", "number-of-offsets", "Reset by n offsets forward or, negative, backward."),
    flag("members", "With --describe: the members."),
    flag("offsets", "With --describe: partitions with offsets and lag, the default."),
    maybe("state", "states", "With --describe: the state. With --list: show states, or only groups in these states."),
    maybe("type", "types", "With --list: show types, or only groups of these types."),
    flag("verbose", "With --describe: more columns."),
    with("validate-regex", "regex", "Check a regular expression."),
];

pub fn run(args: &[String], console: &mut Console<'_>) -> u8 {
    let result = parse_or_answer(&OPTIONS, PURPOSE, args, console).and_then(|parsed| execute(&parsed, console));
    finish(result, &OPTIONS, console, |error, console| {
        // Kafka's group tool exits with 0 here, and scripts know it.
        print_error(&format!("Executing consumer group command failed due to {}", java_text(error)), console);
        0
    })
}

/// Kafka's tool prints its errors on standard output.
fn print_error(message: &str, console: &mut Console<'_>) {
    console.line(&format!("\nError: {message}"));
}

/// An error as Java shows the cause of a failed call: class name and message.
fn java_text(error: &ToolError) -> String {
    match error {
        ToolError::Client(ClientError::Broker(broker)) => {
            let class = match broker.code {
                ErrorCode::NonEmptyGroup => "GroupNotEmpty".to_owned(),
                ErrorCode::TopicAlreadyExists => "TopicExists".to_owned(),
                code => format!("{code:?}"),
            };
            format!("org.apache.kafka.common.errors.{class}Exception: {}", broker.text())
        }
        other => other.text(),
    }
}

fn execute(parsed: &Parsed, console: &mut Console<'_>) -> Result<u8, ToolError> {
    if let Some(pattern) = parsed.value("validate-regex").map_err(usage_error)? {
        return Err(ToolError::Failed(format!("--validate-regex {pattern}: not implemented by this tool")));
    }
    if ACTIONS.iter().filter(|a| parsed.has(a)).count() != 1 {
        return Err(ToolError::Usage(
            "Command must include exactly one action: --list, --describe, --delete, --reset-offsets, --delete-offsets".to_owned(),
        ));
    }
    required_value(parsed, "bootstrap-server")?;
    check(parsed, console).map_err(usage_error)?;
    let timeout: Option<u64> = parsed.number("timeout").map_err(usage_error)?;
    let mut cluster = connect(parsed, "kafka-consumer-groups", console)?;
    if let Some(ms) = timeout {
        cluster.set_operation_timeout(Duration::from_millis(ms));
    }
    if parsed.has("list") {
        list(parsed, &mut cluster, console)?;
    } else if parsed.has("describe") {
        describe::describe(parsed, &mut cluster, console)?;
    } else if parsed.has("delete") {
        return delete(parsed, &mut cluster, console);
    } else if parsed.has("reset-offsets") {
        reset::reset(parsed, &mut cluster, console)?;
    } else {
        return delete_offsets(parsed, &mut cluster, console);
    }
    Ok(0)
}

fn check(parsed: &Parsed, console: &mut Console<'_>) -> Result<(), String> {
    let scope = "[all-groups], [group]";
    let scoped = parsed.has("group") || parsed.has("all-groups");
    for action in ["describe", "delete", "reset-offsets"] {
        if parsed.has(action) && !scoped {
            return Err(format!("Option [{action}] takes one of these options: {scope}"));
        }
    }
    if parsed.has("describe") {
        if ["members", "offsets", "state"].iter().filter(|o| parsed.has(o)).count() > 1 {
            return Err("Option [describe] takes at most one of these options: [members], [offsets], [state]".to_owned());
        }
        if parsed.value("state")?.is_some() {
            return Err("Option [describe] does not take a value for [state]".to_owned());
        }
    } else if let Some(option) = ["members", "offsets", "verbose"].iter().find(|o| parsed.has(o)) {
        return Err(format!("Option(s) [{option}] are unavailable given other options on the command line"));
    }
    if parsed.has("type") && !parsed.has("list") || parsed.has("state") && !parsed.has("list") && !parsed.has("describe") {
        return Err("Option(s) [state, type] are unavailable given other options on the command line".to_owned());
    }
    if parsed.has("delete") && parsed.has("topic") {
        return Err("The consumer does not support topic-specific offset deletion from a consumer group.".to_owned());
    }
    if parsed.has("delete-offsets") && !(parsed.has("group") && parsed.has("topic")) {
        return Err("Option [delete-offsets] takes the following options: [group], [topic]".to_owned());
    }
    if parsed.has("reset-offsets") {
        if parsed.has("dry-run") && parsed.has("execute") {
            return Err("Option [reset-offsets] only accepts one of [execute] and [dry-run]".to_owned());
        }
        if !parsed.has("dry-run") && !parsed.has("execute") {
            console.error_line(
                "WARN: No action will be performed as the --execute option is missing. In version 5.0, this command will require either \
                 --dry-run or --execute to be specified. You should add the --dry-run option explicitly if you are scripting this command \
                 and want to keep the current default behavior without prompting.",
            );
        }
        reset::check(parsed)?;
    }
    parsed.exclude("group", &["all-groups"])?;
    parsed.exclude("group", &["list"])?;
    parsed.exclude("topic", &["list", "describe"])
}

fn groups(parsed: &Parsed, cluster: &mut Cluster) -> Result<Vec<String>, ToolError> {
    if !parsed.has("all-groups") {
        let mut groups = parsed.values("group");
        groups.sort();
        groups.dedup();
        return Ok(groups);
    }
    Ok(consumer_groups(cluster, &[], &[])?.into_iter().map(|g| g.id).collect())
}

/// Groups of consumers: those of Connect and of share or streams clients are no business of this tool.
fn consumer_groups(cluster: &mut Cluster, states: &[String], kinds: &[String]) -> Result<Vec<GroupListing>, ToolError> {
    let mut groups = cluster.admin().list_groups(states, kinds)?;
    groups.retain(|g| g.protocol_type.is_empty() || g.protocol_type == "consumer");
    Ok(groups)
}

const STATES: [(&str, &str); 7] = [
    ("preparingrebalance", "PreparingRebalance"),
    ("completingrebalance", "CompletingRebalance"),
    ("stable", "Stable"),
    ("dead", "Dead"),
    ("empty", "Empty"),
    ("assigning", "Assigning"),
    ("reconciling", "Reconciling"),
];

fn list(parsed: &Parsed, cluster: &mut Cluster, console: &mut Console<'_>) -> Result<(), ToolError> {
    let mut states = Vec::new();
    for text in parsed.value("state").map_err(usage_error)?.unwrap_or_default().split(',').map(str::trim).filter(|t| !t.is_empty()) {
        let known = STATES.iter().find(|(lower, _)| *lower == text.to_ascii_lowercase().replace('_', ""));
        let names: Vec<&str> = STATES.iter().map(|(_, name)| *name).collect();
        let (_, name) =
            known.ok_or_else(|| ToolError::Usage(format!("Invalid state list '{text}'. Valid states are: {}", names.join(", "))))?;
        states.push((*name).to_owned());
    }
    let mut kinds = Vec::new();
    for text in parsed.value("type").map_err(usage_error)?.unwrap_or_default().split(',').map(str::trim).filter(|t| !t.is_empty()) {
        let lower = text.to_ascii_lowercase();
        if !["classic", "consumer"].contains(&lower.as_str()) {
            return Err(ToolError::Usage(format!("Invalid types list '{text}'. Valid types are: Classic, Consumer")));
        }
        kinds.push(lower);
    }
    let groups = consumer_groups(cluster, &states, &kinds)?;
    let (show_state, show_type) = (parsed.has("state"), parsed.has("type"));
    if !show_state && !show_type {
        for group in groups {
            console.line(&group.id);
        }
        return Ok(());
    }
    let width = groups.iter().map(|g| g.id.len().max(15)).max().unwrap_or(15) + 10;
    let line = |id: &str, kind: &str, state: &str| {
        let mut text = format!("{id:<width$}");
        for (shown, value) in [(show_type, kind), (show_state, state)] {
            if shown {
                text.push_str(&format!(" {value:<20}"));
            }
        }
        text
    };
    console.line(&line("GROUP", "TYPE", "STATE"));
    for group in groups {
        console.line(&line(&group.id, &capitalized(&group.kind), &group.state));
    }
    Ok(())
}

fn capitalized(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or(String::new(), |first| first.to_uppercase().chain(chars).collect())
}

fn delete(parsed: &Parsed, cluster: &mut Cluster, console: &mut Console<'_>) -> Result<u8, ToolError> {
    let (mut deleted, mut failed) = (Vec::new(), Vec::new());
    for group in groups(parsed, cluster)? {
        match cluster.admin().delete_group(&group) {
            Ok(()) => deleted.push(group),
            Err(error) => failed.push((group, error)),
        }
    }
    if failed.is_empty() {
        console.line(&format!("Deletion of requested consumer groups ('{}') was successful.", deleted.join("', '")));
        return Ok(0);
    }
    print_error("Deletion of some consumer groups failed:", console);
    for (group, error) in failed {
        console.line(&format!("* Group '{group}' could not be deleted due to: {}", java_text(&ToolError::Client(error))));
    }
    if !deleted.is_empty() {
        console.line(&format!("\nThese consumer groups were deleted successfully: '{}'", deleted.join("', '")));
    }
    Ok(0)
}

fn delete_offsets(parsed: &Parsed, cluster: &mut Cluster, console: &mut Console<'_>) -> Result<u8, ToolError> {
    let group = required_value(parsed, "group")?.to_owned();
    let partitions = topic_partitions(&parsed.values("topic"), cluster)?;
    let results = match cluster.admin().delete_group_offsets(&group, &partitions) {
        Ok(results) => results,
        Err(error) => {
            let message = match error.code() {
                Some(ErrorCode::InvalidGroupId) => format!("'{group}' is not valid."),
                Some(ErrorCode::GroupIdNotFound) => format!("'{group}' does not exist."),
                Some(ErrorCode::GroupAuthorizationFailed) => format!("Access to '{group}' is not authorized."),
                Some(ErrorCode::NonEmptyGroup) => {
                    format!("Deleting offsets of a consumer group '{group}' is forbidden if the group is not empty.")
                }
                _ => return Err(error.into()),
            };
            print_error(&message, console);
            return Ok(0);
        }
    };
    if results.values().any(Result::is_err) {
        print_error("Encountered some partition-level error, see the follow-up details.", console);
    } else {
        console.line(&format!("Request succeeded for deleting offsets from group {group}."));
    }
    let mut table = Table::new(&[("TOPIC", 15), ("PARTITION", 10), ("STATUS", 15)]);
    for ((topic, partition), result) in results {
        let status = match result {
            Ok(()) => "Successful".to_owned(),
            Err(error) => format!("Error: {}", java_text(&ToolError::Client(error))),
        };
        table.row([topic, partition.to_string(), status]);
    }
    console.line(&table.text());
    Ok(0)
}

/// Partitions named as `topic` (all of them) or `topic:0,1`.
fn topic_partitions(arguments: &[String], cluster: &mut Cluster) -> Result<Vec<(String, i32)>, ToolError> {
    let mut partitions = Vec::new();
    for argument in arguments {
        match argument.split_once(':') {
            Some((topic, list)) => {
                for text in list.split(',') {
                    let partition = text
                        .parse()
                        .map_err(|_| ToolError::Usage(format!("Invalid partition '{text}' specified in topic arg '{argument}''")))?;
                    partitions.push((topic.to_owned(), partition));
                }
            }
            None => {
                let topic = cluster.await_topic(argument, false)?;
                partitions.extend(topic.partitions.iter().map(|p| (topic.name.clone(), p.index)));
            }
        }
    }
    Ok(partitions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn combinations_that_kafka_refuses() {
        let b = "--bootstrap-server=b:1";
        for (args, message) in [
            (&[b][..], "Command must include exactly one action"),
            (&[b, "--describe"], "Option [describe] takes one of these options: [all-groups], [group]"),
            (&[b, "--describe", "--group", "g", "--members", "--state"], "Option [describe] takes at most one of"),
            (&[b, "--delete", "--group", "g", "--topic", "t"], "The consumer does not support topic-specific offset deletion"),
            (&[b, "--list", "--group", "g"], "Option \"[group]\" can't be used with option \"[list]\""),
            (&[b, "--reset-offsets", "--group", "g", "--dry-run", "--execute"], "Option [reset-offsets] only accepts one of"),
            (&["--list"], "Missing required argument \"[bootstrap-server]\""),
        ] {
            let (mut out, mut err) = (Vec::new(), Vec::new());
            let args: Vec<String> = args.iter().map(|a| a.to_string()).collect();
            assert_eq!(run(&args, &mut Console::new(&mut out, &mut err)), 1);
            let err = String::from_utf8(err).unwrap();
            assert!(err.starts_with(message), "{args:?}: {err}");
        }
    }

    #[test]
    fn errors_carry_javas_class_names() {
        let error = ClientError::check(69, "group 'g'", None).unwrap_err();
        assert_eq!(java_text(&error.into()), "org.apache.kafka.common.errors.GroupIdNotFoundException: The group id does not exist.");
    }
}
