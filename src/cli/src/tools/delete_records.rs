//! `kafka-delete-records`: moves the start of partitions forward (`org.apache.kafka.tools.DeleteRecordsCommand`).

use super::options::{OptionSpec, Parsed, with};
use super::{ToolError, connect, finish, parse_or_answer, required_value};
use crate::console::Console;
use serde::Deserialize;
use std::collections::BTreeMap;

const PURPOSE: &str = "This tool helps to delete records of the given partitions down to the specified offset.";
/// Largest offsets file, in bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

pub const OPTIONS: [OptionSpec; 3] = [
    with("bootstrap-server", "server(s) to use for bootstrapping", "REQUIRED: the brokers to start from."),
    with(
        "offset-json-file",
        "Offset json file path",
        "REQUIRED: {\"partitions\": [{\"topic\": \"foo\", \"partition\": 1, \"offset\": 1}], \"version\": 1}; offset -1 is the end.",
    ),
    with("command-config", "command config property file path", "Properties file for the connection."),
];

#[derive(Deserialize)]
struct OffsetsFile {
    #[serde(default = "version_1")]
    version: i32,
    partitions: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    topic: String,
    partition: i32,
    offset: i64,
}

fn version_1() -> i32 {
    1
}

pub fn run(args: &[String], console: &mut Console<'_>) -> u8 {
    let result = parse_or_answer(&OPTIONS, PURPOSE, args, console).and_then(|parsed| execute(&parsed, console));
    finish(result, &OPTIONS, console, |error, console| {
        console.error_line(&error.text());
        1
    })
}

fn execute(parsed: &Parsed, console: &mut Console<'_>) -> Result<u8, ToolError> {
    required_value(parsed, "bootstrap-server")?;
    let path = required_value(parsed, "offset-json-file")?;
    let failed = |reason: String| ToolError::Failed(format!("{path}: {reason}"));
    if std::fs::metadata(path).map_err(|e| failed(e.to_string()))?.len() > FILE_BYTES_MAX {
        return Err(failed(format!("larger than {FILE_BYTES_MAX} bytes")));
    }
    let offsets = offsets(&std::fs::read_to_string(path).map_err(|e| failed(e.to_string()))?)?;
    let mut cluster = connect(parsed, "kafka-delete-records", console)?;
    console.line("Executing records delete operation");
    let results = cluster.admin().delete_records(&offsets)?;
    console.line("Records delete operation completed:");
    for ((topic, partition), result) in results {
        console.line(&match result {
            Ok(low_watermark) => format!("partition: {topic}-{partition}\tlow_watermark: {low_watermark}"),
            Err(error) => format!("partition: {topic}-{partition}\terror: {}", ToolError::Client(error).text()),
        });
    }
    Ok(0)
}

fn offsets(text: &str) -> Result<BTreeMap<(String, i32), i64>, ToolError> {
    let file: OffsetsFile =
        serde_json::from_str(text).map_err(|e| ToolError::Failed(format!("The input string is not a valid offset JSON: {e}")))?;
    if file.version != 1 {
        return Err(ToolError::Failed(format!("Not supported version field value {}", file.version)));
    }
    let mut offsets = BTreeMap::new();
    for entry in file.partitions {
        let key = (entry.topic, entry.partition);
        if let Some(first) = offsets.insert(key.clone(), entry.offset) {
            return Err(ToolError::Failed(format!(
                "Offset json file contains duplicate topic partitions: {}-{} (offsets {first} and {})",
                key.0, key.1, entry.offset
            )));
        }
    }
    Ok(offsets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offset_files() {
        let good = r#"{"partitions": [{"topic": "foo", "partition": 1, "offset": 3}], "version": 1}"#;
        assert_eq!(offsets(good).unwrap(), BTreeMap::from([(("foo".to_owned(), 1), 3)]));
        for bad in [
            r#"{"partitions": [], "version": 2}"#,
            r#"{"version": 1}"#,
            r#"{"partitions": [{"topic": "a", "partition": 1, "offset": 3}, {"topic": "a", "partition": 1, "offset": 4}]}"#,
        ] {
            assert!(offsets(bad).is_err(), "{bad}");
        }
    }
}
