//! `kafka-log-dirs`: what lies in the brokers' log directories (`org.apache.kafka.tools.LogDirsCommand`).

use super::options::{OptionSpec, Parsed, flag, with};
use super::{ToolError, connect, finish, parse_or_answer, required_value, usage_error};
use crate::console::Console;
use odradek_client::admin::LogDir;
use odradek_client::code_name;
use serde_json::{Value, json};

const PURPOSE: &str = "This tool helps to query log directory usage on the specified brokers.";

pub const OPTIONS: [OptionSpec; 5] = [
    with("bootstrap-server", "The server(s) to use for bootstrapping", "REQUIRED: the brokers to start from."),
    flag("describe", "Describe the log directories."),
    with("topic-list", "Topic list", "Topics to show, topic1,topic2; all if left out."),
    with("broker-list", "Broker list", "Brokers to ask, 0,1,2; all if left out."),
    with("command-config", "Admin client property file", "Properties file for the connection."),
];

pub fn run(args: &[String], console: &mut Console<'_>) -> u8 {
    let result = parse_or_answer(&OPTIONS, PURPOSE, args, console).and_then(|parsed| execute(&parsed, console));
    finish(result, &OPTIONS, console, |error, console| {
        console.error_line(&error.text());
        1
    })
}

fn list(text: Option<&str>) -> Vec<String> {
    text.unwrap_or_default().split(',').map(str::trim).filter(|t| !t.is_empty()).map(str::to_owned).collect()
}

fn execute(parsed: &Parsed, console: &mut Console<'_>) -> Result<u8, ToolError> {
    required_value(parsed, "bootstrap-server")?;
    parsed.require(&["describe"]).map_err(usage_error)?;
    let topics = list(parsed.value("topic-list").map_err(usage_error)?);
    let wanted = list(parsed.value("broker-list").map_err(usage_error)?);
    let mut cluster = connect(parsed, "kafka-log-dirs", console)?;
    let known: Vec<i32> = cluster.brokers().map(|b| b.id).collect();
    let mut brokers = Vec::new();
    for text in &wanted {
        brokers.push(text.parse::<i32>().map_err(|_| ToolError::Failed(format!("For input string: \"{text}\"")))?);
    }
    let unknown: Vec<String> = brokers.iter().filter(|b| !known.contains(b)).map(i32::to_string).collect();
    if !unknown.is_empty() {
        console.line(&format!(
            "ERROR: The given brokers do not exist from --broker-list: {}. Current existent brokers: {}",
            unknown.join(","),
            join(&known)
        ));
        return Ok(0);
    }
    if brokers.is_empty() {
        brokers = known;
    }
    console.line("Querying brokers for log directories information");
    let mut described = Vec::new();
    for &broker in &brokers {
        let dirs = cluster.admin().describe_log_dirs(broker, (!topics.is_empty()).then_some(&topics[..]))?;
        described.push((broker, dirs));
    }
    console.line(&format!("Received log directory information from brokers {}", join(&brokers)));
    console.line(&to_json(&described));
    Ok(0)
}

fn join(ids: &[i32]) -> String {
    ids.iter().map(i32::to_string).collect::<Vec<_>>().join(",")
}

/// Kafka's JSON, in its order of fields, on one line.
fn to_json(brokers: &[(i32, Vec<LogDir>)]) -> String {
    let text = |value: Value| value.to_string();
    let brokers: Vec<String> = brokers
        .iter()
        .map(|(broker, dirs)| {
            let dirs: Vec<String> = dirs
                .iter()
                .map(|dir| {
                    let replicas: Vec<String> = dir
                        .replicas
                        .iter()
                        .map(|r| {
                            format!(
                                r#"{{"partition":{},"size":{},"offsetLag":{},"isFuture":{}}}"#,
                                text(json!(format!("{}-{}", r.topic, r.partition))),
                                r.size_bytes,
                                r.offset_lag,
                                r.is_future
                            )
                        })
                        .collect();
                    let error = dir.error.as_ref().map_or("null".to_owned(), |e| text(json!(code_name(e.code))));
                    format!(r#"{{"partitions":[{}],"error":{error},"logDir":{}}}"#, replicas.join(","), text(json!(dir.path)))
                })
                .collect();
            format!(r#"{{"broker":{broker},"logDirs":[{}]}}"#, dirs.join(","))
        })
        .collect();
    format!(r#"{{"brokers":[{}],"version":1}}"#, brokers.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use odradek_client::admin::LogDirReplica;

    #[test]
    fn json_as_kafka_prints_it() {
        let replica = LogDirReplica { topic: "cliref-a".into(), partition: 1, size_bytes: 83, offset_lag: 0, is_future: false };
        let dir = LogDir { path: "/data".into(), error: None, total_bytes: -1, usable_bytes: -1, replicas: vec![replica] };
        // Taken from kafka-log-dirs of Apache Kafka 4.3.1.
        assert_eq!(
            to_json(&[(1, vec![dir])]),
            r#"{"brokers":[{"broker":1,"logDirs":[{"partitions":[{"partition":"cliref-a-1","size":83,"offsetLag":0,"isFuture":false}],"error":null,"logDir":"/data"}]}],"version":1}"#
        );
    }
}
