//! `odradek consume`: records to lines.

use super::{ConnectArgs, Failure, Outcome, output};
use crate::datetime;
use crate::signals::Signals;
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use odradek_client::admin::OffsetSpec;
use odradek_client::consumer::{IsolationLevel, OffsetReset, StartAt};
use odradek_client::{ClientError, Cluster, Consumer, ConsumerConfig, ConsumerRecord, TimestampType};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufWriter, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

const POLL: Duration = Duration::from_millis(500);

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Show {
    Keys,
    Headers,
    Partitions,
    Offsets,
    Timestamps,
}

/// Consume records of a topic
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  odradek consume greetings\n  odradek consume orders --from beginning --until-end --show keys,timestamps\n  \
    odradek consume orders --from 2024-02-29T12:00:00 --count 10 --json\n  odradek consume orders --group billing\n\n\
    --json prints one line per record: {\"topic\", \"partition\", \"offset\", \"timestamp\", \"timestampType\", \"key\", \"value\", \
    \"headers\": [{\"key\", \"value\"}]}; bytes that are not UTF-8 are {\"hex\": ...}, missing ones null.\n\
    Ctrl-C ends with exit code 130."
)]
pub struct ConsumeArgs {
    #[command(flatten)]
    connect: ConnectArgs,
    topic: String,
    /// Only this partition; may repeat. All if left out.
    #[arg(long = "partition", short = 'p')]
    partitions: Vec<i32>,
    /// beginning, end, an offset, or a time (2024-02-29T12:00:00); for a group, where it has no committed offset.
    #[arg(long, short = 'f', default_value = "end")]
    from: String,
    /// Consume as a member of this group and commit.
    #[arg(long, short = 'g', conflicts_with = "partitions")]
    group: Option<String>,
    /// Stop after this many records.
    #[arg(long, short = 'n')]
    count: Option<u64>,
    /// Stop at what was the end when the command started.
    #[arg(long, short = 'e', conflicts_with = "group")]
    until_end: bool,
    /// Show only committed records of transactions.
    #[arg(long)]
    committed: bool,
    /// What to show besides values.
    #[arg(long, short = 's', value_delimiter = ',', value_enum)]
    show: Vec<Show>,
    /// One JSON object per record.
    #[arg(long)]
    json: bool,
}

pub fn run(args: ConsumeArgs) -> Outcome {
    let start = start_at(&args.from).map_err(Failure::Usage)?;
    let client = args.connect.config()?;
    let interrupt = client.interrupt.clone();
    let signals = Signals::install(&interrupt)?;
    let config = ConsumerConfig {
        group: args.group.clone(),
        offset_reset: if start == StartAt::Spec(OffsetSpec::Earliest) { OffsetReset::Earliest } else { OffsetReset::Latest },
        isolation: if args.committed { IsolationLevel::ReadCommitted } else { IsolationLevel::ReadUncommitted },
        ..ConsumerConfig::default()
    };
    let mut cluster = Cluster::connect(client)?;
    let mut ends = BTreeMap::new();
    let mut consumer = if args.group.is_some() {
        if !matches!(start, StartAt::Spec(OffsetSpec::Earliest | OffsetSpec::Latest)) {
            return Err(Failure::Usage("--from with --group takes beginning or end; odradek group reset-offsets moves a group".to_owned()));
        }
        let mut consumer = Consumer::new(cluster, config);
        consumer.subscribe(vec![args.topic.clone()])?;
        consumer
    } else {
        let partitions = partitions(&args, &mut cluster)?;
        if args.until_end {
            ends = current_ends(&args.topic, &partitions, &mut cluster, config.isolation)?;
        }
        let mut consumer = Consumer::new(cluster, config);
        let assigned: Vec<(String, i32, StartAt)> = partitions.iter().map(|&p| (args.topic.clone(), p, start)).collect();
        consumer.assign(&assigned)?;
        consumer
    };
    let total: i64 = ends.values().sum();
    let progress = progress_bar(args.until_end.then_some(total.max(0) as u64));
    let pumped = pump(&args, &mut consumer, &ends, &progress);
    progress.finish_and_clear();
    interrupt.lower();
    let closed = consumer.close();
    pumped?;
    closed?;
    Ok(signals.exit_code().map_or(ExitCode::SUCCESS, ExitCode::from))
}

fn partitions(args: &ConsumeArgs, cluster: &mut Cluster) -> Result<Vec<i32>, Failure> {
    let known: Vec<i32> = cluster.await_topic(&args.topic, false)?.partitions.iter().map(|p| p.index).collect();
    if let Some(missing) = args.partitions.iter().find(|p| !known.contains(p)) {
        return Err(Failure::Message(format!("topic '{}' has no partition {missing}: it has {}", args.topic, known.len())));
    }
    Ok(if args.partitions.is_empty() { known } else { args.partitions.clone() })
}

fn current_ends(topic: &str, partitions: &[i32], cluster: &mut Cluster, isolation: IsolationLevel) -> Result<BTreeMap<i32, i64>, Failure> {
    let wanted: Vec<(String, i32, OffsetSpec)> = partitions.iter().map(|&p| (topic.to_owned(), p, OffsetSpec::Latest)).collect();
    let mut ends = BTreeMap::new();
    for ((_, partition), result) in cluster.admin().list_offsets(&wanted, isolation)? {
        ends.insert(partition, result?.offset);
    }
    Ok(ends)
}

fn pump(args: &ConsumeArgs, consumer: &mut Consumer, ends: &BTreeMap<i32, i64>, progress: &ProgressBar) -> Result<(), Failure> {
    let mut out = BufWriter::new(std::io::stdout());
    let mut shown = 0u64;
    loop {
        if args.count.is_some_and(|n| shown >= n) {
            return Ok(());
        }
        if args.until_end && ends.iter().all(|(&p, &end)| consumer.position(&args.topic, p).is_some_and(|at| at >= end)) {
            return Ok(());
        }
        let records = match consumer.poll(POLL) {
            Ok(records) => records,
            Err(ClientError::Interrupted) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        for (i, record) in records.iter().enumerate() {
            if args.count.is_some_and(|n| shown >= n) {
                consumer.rewind(&records[i..]);
                break;
            }
            if args.until_end && ends.get(&record.partition).is_some_and(|&end| record.offset >= end) {
                continue;
            }
            let written = if args.json { writeln!(out, "{}", to_json(record)) } else { out.write_all(&to_line(record, &args.show)) };
            if written.is_err() {
                consumer.rewind(&records[i..]);
                return Ok(());
            }
            shown += 1;
        }
        progress.set_position(shown);
        if out.flush().is_err() {
            return Ok(());
        }
    }
}

fn start_at(text: &str) -> Result<StartAt, String> {
    match text {
        "beginning" | "earliest" => Ok(StartAt::Spec(OffsetSpec::Earliest)),
        "end" | "latest" => Ok(StartAt::Spec(OffsetSpec::Latest)),
        other if other.contains('T') => datetime::parse_datetime(other).map(|ms| StartAt::Spec(OffsetSpec::Timestamp(ms))),
        other => match other.parse() {
            Ok(offset) if offset >= 0 => Ok(StartAt::Offset(offset)),
            _ => Err(format!("--from {other}: expected beginning, end, an offset, or a time like 2024-02-29T12:00:00")),
        },
    }
}

fn to_line(record: &ConsumerRecord, show: &[Show]) -> Vec<u8> {
    let mut columns: Vec<Vec<u8>> = Vec::new();
    if show.contains(&Show::Timestamps) {
        columns.push(datetime::format_utc(record.timestamp).into_bytes());
    }
    match (show.contains(&Show::Partitions), show.contains(&Show::Offsets)) {
        (true, true) => columns.push(format!("{}@{}", record.partition, record.offset).into_bytes()),
        (true, false) => columns.push(record.partition.to_string().into_bytes()),
        (false, true) => columns.push(record.offset.to_string().into_bytes()),
        (false, false) => {}
    }
    let or_null = |field: Option<&[u8]>| field.unwrap_or(b"(null)").to_vec();
    if show.contains(&Show::Headers) {
        let headers: Vec<Vec<u8>> = record.headers.iter().map(|(k, v)| [&k[..], b"=", &or_null(v.as_deref())].concat()).collect();
        columns.push(headers.join(&b","[..]));
    }
    if show.contains(&Show::Keys) {
        columns.push(or_null(record.key.as_deref()));
    }
    columns.push(or_null(record.value.as_deref()));
    let mut line = columns.join(&b"\t"[..]);
    line.push(b'\n');
    line
}

fn to_json(record: &ConsumerRecord) -> Value {
    let headers: Vec<Value> = record
        .headers
        .iter()
        .map(|(key, value)| json!({ "key": output::bytes_json(Some(key)), "value": output::bytes_json(value.as_deref()) }))
        .collect();
    let kind = match record.timestamp_type {
        TimestampType::CreateTime => "CreateTime",
        TimestampType::LogAppendTime => "LogAppendTime",
    };
    json!({
        "topic": record.topic, "partition": record.partition, "offset": record.offset, "timestamp": record.timestamp,
        "timestampType": kind, "key": output::bytes_json(record.key.as_deref()), "value": output::bytes_json(record.value.as_deref()),
        "headers": headers,
    })
}

/// Shown when records go to a file or a pipe and a person watches.
fn progress_bar(total: Option<u64>) -> ProgressBar {
    if std::io::stdout().is_terminal() || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let (bar, template) = match total {
        Some(total) => (ProgressBar::new(total), "{bar:30} {human_pos} of about {human_len} records, {per_sec}, {eta} left"),
        None => (ProgressBar::new_spinner(), "{spinner} {human_pos} records, {per_sec}, {elapsed}"),
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn record() -> ConsumerRecord {
        ConsumerRecord {
            topic: "t".into(),
            partition: 2,
            offset: 7,
            leader_epoch: 0,
            timestamp: 1_709_208_000_123,
            timestamp_type: TimestampType::CreateTime,
            key: None,
            value: Some(Bytes::from_static(b"v")),
            headers: vec![(Bytes::from_static(b"h"), Some(Bytes::from_static(b"1")))],
        }
    }

    #[test]
    fn lines_and_json() {
        assert_eq!(to_line(&record(), &[]), b"v\n");
        let all = [Show::Keys, Show::Headers, Show::Partitions, Show::Offsets, Show::Timestamps];
        assert_eq!(to_line(&record(), &all), b"2024-02-29T12:00:00.123Z\t2@7\th=1\t(null)\tv\n");
        assert_eq!(
            to_json(&record()),
            json!({"topic": "t", "partition": 2, "offset": 7, "timestamp": 1_709_208_000_123i64, "timestampType": "CreateTime",
                   "key": null, "value": "v", "headers": [{"key": "h", "value": "1"}]})
        );
    }

    #[test]
    fn starts() {
        assert_eq!(start_at("12"), Ok(StartAt::Offset(12)));
        assert_eq!(start_at("2024-02-29T12:00:00.123"), Ok(StartAt::Spec(OffsetSpec::Timestamp(1_709_208_000_123))));
        assert!(start_at("-1").is_err() && start_at("soon").is_err());
    }
}
