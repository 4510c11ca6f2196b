//! `kafka-console-producer`: lines of standard input to records (`org.apache.kafka.tools.ConsoleProducer`).

use super::line_reader::LineReader;
use super::options::{Argument, OptionSpec, Parsed, flag, maybe, refused, with};
use super::{ToolError, finish, parse_or_answer, properties, required_value, usage_error};
use crate::console::Console;
use crate::signals::Signals;
use crate::stdin_lines;
use odradek_client::producer::Delivery;
use odradek_client::{ClientConfig, ClientError, Cluster, Producer, ProducerConfig};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

const PURPOSE: &str = "This tool helps to read data from standard input and publish it to Kafka.";
const LINE_READER: &str = "org.apache.kafka.tools.LineMessageReader";
/// Longest wait for a line before interrupts and batches are looked at.
const TICK: Duration = Duration::from_millis(100);

pub const OPTIONS: [OptionSpec; 25] = [
    with("topic", "topic", "REQUIRED: the topic to produce to."),
    with("bootstrap-server", "server to connect to", "REQUIRED: the brokers to start from, HOST1:PORT1,HOST2:PORT2."),
    flag("sync", "Send one record at a time and wait for its acknowledgement."),
    maybe("compression-codec", "compression-codec", "none, gzip, snappy, lz4 or zstd; without a value gzip."),
    with("batch-size", "size", "Bytes gathered per partition before a batch is sent (batch.size, default 16384)."),
    with("message-send-max-retries", "count", "Retries before a record is given up (retries, default 3)."),
    with("retry-backoff-ms", "ms", "Wait before a retry (retry.backoff.ms, default 100)."),
    with("timeout", "timeout_ms", "Longest time a record waits for its batch to fill (linger.ms, default 1000)."),
    with("request-required-acks", "request required acks", "0, 1 or all (acks, default -1, which is all)."),
    with("request-timeout-ms", "request timeout ms", "Longest wait for an acknowledgement (request.timeout.ms, default 1500)."),
    refused("metadata-expiry-ms", Argument::Required("ms"), "metadata is refreshed when it is needed; there is no age to set"),
    with("max-block-ms", "max block on send", "Longest time a record waits for metadata or memory (max.block.ms, default 60000)."),
    with("max-memory-bytes", "total memory in bytes", "Memory for records not yet acknowledged (buffer.memory, default 33554432)."),
    with("max-partition-memory-bytes", "memory in bytes per partition", "(Deprecated) As --batch-size, which it overrides."),
    with("line-reader", "reader_class", "Only org.apache.kafka.tools.LineMessageReader, the default: each line is a record."),
    refused("socket-buffer-size", Argument::Required("size"), "the kernel sizes socket buffers itself"),
    with("property", "prop", "(Deprecated) As --reader-property."),
    with(
        "reader-property",
        "prop",
        "How lines are read, key=value: parse.key=false, key.separator=\\t, parse.headers=false, headers.delimiter=\\t, \
         headers.separator=, headers.key.separator=: null.marker= ignore.error=false. With all of it a line is \
         h1:v1,h2:v2\\tkey\\tvalue.",
    ),
    with("reader-config", "config file", "Properties file with reader properties; --reader-property overrides it."),
    with("producer-property", "producer_prop", "(Deprecated) As --command-property."),
    with("command-property", "producer_prop", "Producer configuration, key=value."),
    with("producer.config", "config file", "(Deprecated) As --command-config."),
    with("command-config", "config file", "Properties file with producer configuration; --command-property overrides it."),
    refused("max-memory", Argument::Required("bytes"), "use --max-memory-bytes"),
    refused("broker-list", Argument::Required("brokers"), "removed from Kafka's tools; use --bootstrap-server"),
];

pub fn run(args: &[String], console: &mut Console<'_>) -> u8 {
    let result = parse_or_answer(&OPTIONS, PURPOSE, args, console).and_then(|parsed| produce(&parsed, console));
    finish(result, &OPTIONS, console, |error, console| {
        console.error_line(&error.text());
        1
    })
}

fn produce(parsed: &Parsed, console: &mut Console<'_>) -> Result<u8, ToolError> {
    let topic = required_value(parsed, "topic")?;
    let reader = line_reader(parsed, topic)?;
    let (client, config) = configuration(parsed, console)?;
    let interrupt = client.interrupt.clone();
    let signals = Signals::install(&interrupt).map_err(|e| ToolError::Failed(format!("signal handlers: {e}")))?;
    let failures: Rc<RefCell<Vec<String>>> = Rc::default();
    let cluster = Cluster::connect(client)?;
    let mut producer = Producer::new(cluster, config, {
        let failures = failures.clone();
        move |delivery| failures.borrow_mut().extend(failure(&delivery))
    });
    let sync = parsed.has("sync");
    let sent = send_lines(&mut producer, reader, sync, &failures, console, stdin_lines::start(true));
    // Whatever ended the input, what was accepted is sent: Kafka's tool closes its producer on exit too.
    interrupt.lower();
    producer.flush()?;
    report(&failures, console);
    sent?;
    Ok(signals.exit_code().unwrap_or(0))
}

fn send_lines(
    producer: &mut Producer,
    mut reader: LineReader,
    sync: bool,
    failures: &RefCell<Vec<String>>,
    console: &mut Console<'_>,
    lines: Receiver<Result<Vec<u8>, String>>,
) -> Result<(), ToolError> {
    loop {
        let wait = producer.next_due().map_or(TICK, |due| due.saturating_duration_since(Instant::now()).min(TICK));
        let line = match lines.recv_timeout(wait) {
            Ok(line) => line.map_err(ToolError::Failed)?,
            Err(RecvTimeoutError::Timeout) => match producer.poll(Duration::ZERO) {
                Err(ClientError::Interrupted) => return Ok(()),
                other => {
                    other?;
                    report(failures, console);
                    continue;
                }
            },
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        };
        let record = reader.read(&String::from_utf8_lossy(&line)).map_err(ToolError::Failed)?;
        match producer.send(record) {
            Ok(_) => {}
            Err(ClientError::Interrupted) => return Ok(()),
            Err(error) => {
                if sync {
                    return Err(error.into());
                }
                failures.borrow_mut().push(format!("ERROR Error when sending message: {error}"));
            }
        }
        if sync {
            producer.flush()?;
            if let Some(failure) = failures.borrow_mut().pop() {
                return Err(ToolError::Failed(failure));
            }
        }
        report(failures, console);
    }
}

fn report(failures: &RefCell<Vec<String>>, console: &mut Console<'_>) {
    for failure in failures.borrow_mut().drain(..) {
        console.error_line(&failure);
    }
}

/// What Kafka's `ErrorLoggingCallback` logs for a record that could not be delivered.
fn failure(delivery: &Delivery) -> Option<String> {
    let error = delivery.result.as_ref().err()?;
    let size = |field: &Option<bytes::Bytes>| field.as_ref().map_or("null".to_owned(), |f| format!("{} bytes", f.len()));
    let record = &delivery.record;
    let text = match error {
        ClientError::Broker(broker) => broker.text(),
        other => other.to_string(),
    };
    Some(format!(
        "ERROR Error when sending message to topic {} with key: {}, value: {} with error: {text}",
        record.topic,
        size(&record.key),
        size(&record.value)
    ))
}

fn line_reader(parsed: &Parsed, topic: &str) -> Result<LineReader, ToolError> {
    if let Some(class) = parsed.value("line-reader").map_err(usage_error)?
        && class != LINE_READER
    {
        return Err(ToolError::Usage(format!("--line-reader {class}: Java classes cannot be loaded here; only {LINE_READER}")));
    }
    let mut properties = match parsed.value("reader-config").map_err(usage_error)? {
        Some(path) => properties::load(path)?,
        None => BTreeMap::new(),
    };
    properties::add_arguments(&mut properties, &parsed.values("property"));
    properties::add_arguments(&mut properties, &parsed.values("reader-property"));
    LineReader::new(topic, properties).map_err(ToolError::Failed)
}

fn configuration(parsed: &Parsed, console: &mut Console<'_>) -> Result<(ClientConfig, ProducerConfig), ToolError> {
    let mut properties = BTreeMap::new();
    for option in ["producer.config", "command-config"] {
        if let Some(path) = parsed.value(option).map_err(usage_error)? {
            properties.extend(properties::load(path)?);
        }
    }
    for option in ["producer-property", "command-property"] {
        properties::add_arguments(&mut properties, &parsed.values(option));
    }
    // The command line, then the properties, then the tool's own default: `CommandLineUtils.maybeMergeOptions`.
    for (option, key, default) in [
        ("timeout", "linger.ms", "1000"),
        ("request-required-acks", "acks", "-1"),
        ("request-timeout-ms", "request.timeout.ms", "1500"),
        ("message-send-max-retries", "retries", "3"),
        ("retry-backoff-ms", "retry.backoff.ms", "100"),
        ("max-memory-bytes", "buffer.memory", "33554432"),
        ("batch-size", "batch.size", "16384"),
        ("max-partition-memory-bytes", "batch.size", "16384"),
        ("max-block-ms", "max.block.ms", "60000"),
    ] {
        match parsed.value(option).map_err(usage_error)? {
            Some(value) => drop(properties.insert(key.to_owned(), value.to_owned())),
            None => drop(properties.entry(key.to_owned()).or_insert_with(|| default.to_owned())),
        }
    }
    if parsed.has("compression-codec") {
        let codec = parsed.value("compression-codec").map_err(usage_error)?.unwrap_or("gzip");
        properties.insert("compression.type".to_owned(), codec.to_owned());
    }
    properties.entry("client.id".to_owned()).or_insert_with(|| "console-producer".to_owned());
    properties.remove("key.serializer");
    properties.remove("value.serializer");
    properties.remove("bootstrap.servers");

    let mut client = ClientConfig::new(required_value(parsed, "bootstrap-server")?).map_err(|e| ToolError::Usage(e.to_string()))?;
    client.take_properties(&mut properties)?;
    let mut config = ProducerConfig { ack_timeout: client.request_timeout, ..ProducerConfig::default() };
    config.take_properties(&mut properties)?;
    // A request waits in the broker for its acks; only then does silence count as lost.
    client.request_timeout = client.request_timeout.max(config.ack_timeout) + Duration::from_millis(500);
    properties::warn_unused(&properties, console);
    Ok((client, config))
}

#[cfg(test)]
mod tests {
    use super::*;
    use odradek_client::producer::Acks;

    fn configured(args: &[&str]) -> Result<(ClientConfig, ProducerConfig, String), ToolError> {
        let mut args: Vec<String> = args.iter().map(|a| a.to_string()).collect();
        args.extend(["--bootstrap-server", "b:1", "--topic", "t"].map(str::to_owned));
        let parsed = super::super::options::parse(&OPTIONS, &args).map_err(usage_error)?;
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let (client, config) = configuration(&parsed, &mut Console::new(&mut out, &mut err))?;
        Ok((client, config, String::from_utf8(err).unwrap()))
    }

    #[test]
    fn defaults_are_the_tools_and_options_override_properties() {
        let (client, config, _) = configured(&[]).unwrap();
        assert_eq!(
            (client.client_id.as_str(), config.linger.as_millis(), config.retries_max, config.batch_bytes),
            ("console-producer", 1000, 3, 16384)
        );
        assert!(config.idempotent && config.acks == Acks::All);

        let (_, config, _) = configured(&["--command-property", "linger.ms=7", "--producer-property", "acks=1", "--timeout", "9"]).unwrap();
        assert_eq!((config.linger.as_millis(), config.acks), (9, Acks::Leader));
        let (_, config, _) = configured(&["--compression-codec"]).unwrap();
        assert_eq!(config.compression.name(), "gzip");
    }

    #[test]
    fn nothing_is_ignored_silently() {
        assert!(configured(&["--command-property", "no.such=1"]).unwrap().2.contains("no.such=1 has no effect"));
        assert!(configured(&["--command-property", "transactional.id=x"]).unwrap_err().text().contains("transactional.id"));
        assert!(configured(&["--socket-buffer-size", "1"]).unwrap_err().text().contains("--socket-buffer-size"));
    }
}
