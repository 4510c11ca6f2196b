//! `kafka-console-consumer`: records to standard output (`org.apache.kafka.tools.consumer.ConsoleConsumer`).

use super::formatter::Formatter;
use super::options::{Argument, OptionSpec, Parsed, flag, refused, with};
use super::topic_filter::TopicFilter;
use super::{ToolError, finish, parse_or_answer, properties, required_value, usage_error};
use crate::console::Console;
use crate::signals::Signals;
use odradek_client::admin::OffsetSpec;
use odradek_client::consumer::{OffsetReset, StartAt};
use odradek_client::{ClientConfig, ClientError, Cluster, Consumer, ConsumerConfig, ConsumerRecord};
use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const PURPOSE: &str = "This tool helps to read data from Kafka topics and outputs it to standard output.";
/// Longest single poll.
const POLL: Duration = Duration::from_secs(1);

const PRINT_HELP: &str = "How records are shown, key=value: print.timestamp, print.key, print.offset, print.epoch, print.partition, \
    print.headers, print.value=true|false; key.separator, line.separator, headers.separator, null.literal; key.deserializer, \
    value.deserializer, headers.deserializer (String, Long, Integer, Short, Double, Float).";

pub const OPTIONS: [OptionSpec; 24] = [
    with("topic", "topic", "The topic to consume from."),
    with("include", "regex", "Regular expression of topics to consume from."),
    with("partition", "partition", "The partition to consume from; starts at its end unless --offset is given."),
    with("offset", "consume offset", "An offset, earliest or latest (default: latest); needs --partition."),
    with("consumer-property", "consumer_prop", "(Deprecated) As --command-property."),
    with("command-property", "consumer_prop", "Consumer configuration, key=value."),
    with("consumer.config", "config file", "(Deprecated) As --command-config."),
    with("command-config", "config file", "Properties file with consumer configuration; --command-property overrides it."),
    with("formatter", "class", "DefaultMessageFormatter, LoggingMessageFormatter or NoOpMessageFormatter of Kafka."),
    with("property", "prop", "(Deprecated) As --formatter-property."),
    with("formatter-property", "prop", PRINT_HELP),
    with("formatter-config", "config file", "Properties file for the formatter; --formatter-property overrides it."),
    flag("from-beginning", "Start with the earliest record where the group has no committed offset, rather than the latest."),
    with("max-messages", "num_messages", "Stop after this many records."),
    with("timeout-ms", "timeout_ms", "Stop when no record arrived for this long."),
    flag("skip-message-on-error", "Skip a record that cannot be shown instead of stopping."),
    with("bootstrap-server", "server to connect to", "REQUIRED: the brokers to start from, HOST1:PORT1,HOST2:PORT2."),
    with("key-deserializer", "deserializer for keys", "As the formatter property key.deserializer."),
    with("value-deserializer", "deserializer for values", "As the formatter property value.deserializer."),
    flag("enable-systest-events", "Print shutdown_complete at the end."),
    with("isolation-level", "level", "read_uncommitted (default) or read_committed."),
    with("group", "consumer group id", "The consumer group to join."),
    refused("whitelist", Argument::Required("regex"), "removed from Kafka's tools; use --include"),
    refused("zookeeper", Argument::Required("hosts"), "removed from Kafka's tools; use --bootstrap-server"),
];

pub fn run(args: &[String], console: &mut Console<'_>) -> u8 {
    let result = parse_or_answer(&OPTIONS, PURPOSE, args, console).and_then(|parsed| consume(&parsed, console));
    finish(result, &OPTIONS, console, |error, console| {
        console.error_line(&format!("ERROR Unknown error when running consumer: {}", error.text()));
        1
    })
}

fn consume(parsed: &Parsed, console: &mut Console<'_>) -> Result<u8, ToolError> {
    check(parsed).map_err(usage_error)?;
    let bootstrap = required_value(parsed, "bootstrap-server")?;
    let formatter = formatter(parsed)?;
    let max_messages: i64 = parsed.number("max-messages").map_err(usage_error)?.unwrap_or(-1);
    let timeout: Option<Duration> =
        parsed.number::<i64>("timeout-ms").map_err(usage_error)?.filter(|ms| *ms >= 0).map(|ms| Duration::from_millis(ms as u64));
    let start = start_at(parsed)?;
    let (client, config) = configuration(parsed, bootstrap, console)?;
    let interrupt = client.interrupt.clone();
    let signals = Signals::install(&interrupt).map_err(|e| ToolError::Failed(format!("signal handlers: {e}")))?;

    let mut consumer = Consumer::new(Cluster::connect(client)?, config);
    let topic = parsed.value("topic").map_err(usage_error)?;
    match (topic, parsed.number::<i32>("partition").map_err(usage_error)?) {
        (Some(topic), Some(partition)) => consumer.assign(&[(topic.to_owned(), partition, start)])?,
        (Some(topic), None) => consumer.subscribe(vec![topic.to_owned()])?,
        (None, _) => {
            let filter = TopicFilter::new(parsed.value("include").map_err(usage_error)?.unwrap_or_default())?;
            consumer.subscribe_matching(move |name| filter.matches(name))?;
        }
    }
    let mut shown = Shown { count: 0, max: max_messages, skip_errors: parsed.has("skip-message-on-error") };
    let result = shown.pump(&mut consumer, &formatter, timeout, console);
    interrupt.lower();
    let closed = consumer.close();
    console.flush();
    console.error_line(&format!("Processed a total of {} messages", shown.count));
    if parsed.has("enable-systest-events") {
        console.line("shutdown_complete");
    }
    result?;
    if let Err(error) = closed {
        console.error_line(&format!("WARN closing the consumer: {error}"));
    }
    Ok(signals.exit_code().unwrap_or(0))
}

/// Records shown so far and when to stop.
struct Shown {
    count: i64,
    max: i64,
    skip_errors: bool,
}

impl Shown {
    fn pump(
        &mut self,
        consumer: &mut Consumer,
        formatter: &Formatter,
        timeout: Option<Duration>,
        console: &mut Console<'_>,
    ) -> Result<(), ToolError> {
        let mut last = Instant::now();
        while self.max < 0 || self.count < self.max {
            let left = timeout.map_or(POLL, |t| t.saturating_sub(last.elapsed()).min(POLL));
            let records = match consumer.poll(left) {
                Ok(records) => records,
                Err(ClientError::Interrupted) => return Ok(()),
                Err(error) => {
                    // As Kafka's tool: logged, then a normal end.
                    console.error_line(&format!("ERROR Error processing message, terminating consumer process: {error}"));
                    if let Some(advice) = error.advice() {
                        console.error_line(advice);
                    }
                    return Ok(());
                }
            };
            if records.is_empty() && timeout.is_some_and(|t| last.elapsed() >= t) {
                console.error_line(
                    "ERROR Error processing message, terminating consumer process: org.apache.kafka.common.errors.TimeoutException",
                );
                return Ok(());
            }
            if !records.is_empty() {
                last = Instant::now();
            }
            let used = self.show(&records, formatter, console);
            // What was fetched and not shown must not be committed.
            let used = match used {
                Ok(used) => used,
                Err((used, error)) => {
                    consumer.rewind(&records[used..]);
                    return Err(error);
                }
            };
            consumer.rewind(&records[used..]);
            console.flush();
            if console.is_broken() {
                console.error_line("Unable to write to standard out, closing consumer.");
                return Ok(());
            }
        }
        Ok(())
    }

    /// Shows records up to the maximum and returns how many were used.
    fn show(&mut self, records: &[ConsumerRecord], formatter: &Formatter, console: &mut Console<'_>) -> Result<usize, (usize, ToolError)> {
        for (used, record) in records.iter().enumerate() {
            if self.max >= 0 && self.count >= self.max {
                return Ok(used);
            }
            self.count += 1;
            match formatter.format(record) {
                Ok(text) => console.bytes(&text),
                Err(error) if self.skip_errors => {
                    console.error_line(&format!("ERROR Error processing message, skipping this message: {error}"))
                }
                Err(error) => return Err((used + 1, ToolError::Failed(error))),
            }
            if console.is_broken() {
                return Ok(used + 1);
            }
        }
        Ok(records.len())
    }
}

fn check(parsed: &Parsed) -> Result<(), String> {
    if parsed.has("topic") == parsed.has("include") {
        return Err("Exactly one of --include/--topic is required. ".to_owned());
    }
    if parsed.has("partition") {
        if !parsed.has("topic") {
            return Err("The topic is required when partition is specified.".to_owned());
        }
        if parsed.has("from-beginning") && parsed.has("offset") {
            return Err("Options from-beginning and offset cannot be specified together.".to_owned());
        }
    } else if parsed.has("offset") {
        return Err("The partition is required when offset is specified.".to_owned());
    }
    Ok(())
}

fn start_at(parsed: &Parsed) -> Result<StartAt, ToolError> {
    let default = if parsed.has("from-beginning") { "earliest" } else { "latest" };
    let text = parsed.value("offset").map_err(usage_error)?.unwrap_or(default);
    match text.to_ascii_lowercase().as_str() {
        "earliest" => Ok(StartAt::Spec(OffsetSpec::Earliest)),
        "latest" => Ok(StartAt::Spec(OffsetSpec::Latest)),
        number => match number.parse() {
            Ok(offset) if offset >= 0 => Ok(StartAt::Offset(offset)),
            _ => Err(ToolError::Usage(format!(
                "The provided offset value '{text}' is incorrect. Valid values are 'earliest', 'latest', or a non-negative long."
            ))),
        },
    }
}

fn formatter(parsed: &Parsed) -> Result<Formatter, ToolError> {
    let mut properties = match parsed.value("formatter-config").map_err(usage_error)? {
        Some(path) => properties::load(path)?,
        None => BTreeMap::new(),
    };
    for (option, key) in [("key-deserializer", "key.deserializer"), ("value-deserializer", "value.deserializer")] {
        if let Some(class) = parsed.value(option).map_err(usage_error)? {
            properties.insert(key.to_owned(), class.to_owned());
        }
    }
    properties::add_arguments(&mut properties, &parsed.values("property"));
    properties::add_arguments(&mut properties, &parsed.values("formatter-property"));
    Formatter::new(parsed.value("formatter").map_err(usage_error)?, properties).map_err(ToolError::Usage)
}

fn configuration(parsed: &Parsed, bootstrap: &str, console: &mut Console<'_>) -> Result<(ClientConfig, ConsumerConfig), ToolError> {
    let mut properties = BTreeMap::new();
    for option in ["consumer.config", "command-config"] {
        if let Some(path) = parsed.value(option).map_err(usage_error)? {
            properties.extend(properties::load(path)?);
        }
    }
    let in_files = properties.get("group.id").cloned();
    let mut arguments = BTreeMap::new();
    for option in ["consumer-property", "command-property"] {
        properties::add_arguments(&mut arguments, &parsed.values(option));
    }
    let mut groups: Vec<String> = Vec::new();
    for id in
        [parsed.value("group").map_err(usage_error)?.map(str::to_owned), in_files, arguments.get("group.id").cloned()].into_iter().flatten()
    {
        if !groups.contains(&id) {
            groups.push(id);
        }
    }
    properties.extend(arguments);
    if groups.len() > 1 {
        let list: Vec<String> = groups.iter().map(|g| format!("'{g}'")).collect();
        return Err(ToolError::Usage(format!(
            "The group ids provided in different places (directly using '--group', via '--command-property', or via '--command-config') \
             do not match. Detected group ids: {}",
            list.join(", ")
        )));
    }
    if !groups.is_empty() && parsed.has("partition") {
        return Err(ToolError::Usage("Options group and partition cannot be specified together.".to_owned()));
    }
    if let Some(reset) = properties.get("auto.offset.reset")
        && parsed.has("from-beginning")
        && reset != "earliest"
    {
        return Err(ToolError::Failed(format!(
            "Can't simultaneously specify --from-beginning and 'auto.offset.reset={reset}', please remove one option"
        )));
    }
    if let Some(level) = parsed.value("isolation-level").map_err(usage_error)? {
        properties.insert("isolation.level".to_owned(), level.to_owned());
    }
    properties.entry("client.id".to_owned()).or_insert_with(|| "console-consumer".to_owned());
    properties.remove("bootstrap.servers");
    properties.remove("key.deserializer");
    properties.remove("value.deserializer");

    let mut client = ClientConfig::new(bootstrap).map_err(|e| ToolError::Usage(e.to_string()))?;
    client.take_properties(&mut properties)?;
    let mut config = ConsumerConfig {
        offset_reset: if parsed.has("from-beginning") { OffsetReset::Earliest } else { OffsetReset::Latest },
        // A group that nobody named will not be used again: its offsets are not kept.
        auto_commit: !groups.is_empty(),
        ..ConsumerConfig::default()
    };
    config.take_properties(&mut properties)?;
    config.group = match groups.pop() {
        Some(group) => Some(group),
        None if parsed.has("partition") => None,
        None => Some(format!("console-consumer-{}", random_number())),
    };
    properties::warn_unused(&properties, console);
    Ok((client, config))
}

/// A number below 100,000 that differs between runs.
fn random_number() -> u64 {
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64);
    odradek_base::Rng::with_seed(nanos ^ u64::from(std::process::id())).below(100_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_with(args: &[&str]) -> (u8, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let args: Vec<String> = args.iter().map(|a| a.to_string()).collect();
        let code = run(&args, &mut Console::new(&mut out, &mut err));
        (code, String::from_utf8(err).unwrap())
    }

    #[test]
    fn combinations_that_kafka_refuses() {
        let b = "--bootstrap-server=b:1";
        for (args, message) in [
            (&[b][..], "Exactly one of --include/--topic is required. "),
            (&[b, "--topic", "t", "--include", "u"], "Exactly one of --include/--topic is required. "),
            (&[b, "--include", "u", "--partition", "0"], "The topic is required when partition is specified."),
            (&[b, "--topic", "t", "--offset", "1"], "The partition is required when offset is specified."),
            (&[b, "--topic", "t", "--partition", "0", "--offset", "1", "--from-beginning"], "Options from-beginning and offset"),
            (&[b, "--topic", "t", "--partition", "0", "--offset", "-1"], "The provided offset value '-1' is incorrect."),
            (&[b, "--topic", "t", "--partition", "0", "--group", "g"], "Options group and partition cannot be specified together."),
            (&[b, "--topic", "t", "--group", "g", "--command-property", "group.id=h"], "The group ids provided in different places"),
            (&["--topic", "t"], "Missing required argument \"[bootstrap-server]\""),
        ] {
            let (code, err) = run_with(args);
            assert_eq!(code, 1, "{args:?}");
            assert!(err.starts_with(message), "{args:?}: {err}");
        }
    }
}
