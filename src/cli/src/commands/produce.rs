//! `odradek produce`: lines to records.

use super::topic::key_value;
use super::{ConnectArgs, Failure, Outcome, output};
use crate::signals::Signals;
use crate::stdin_lines;
use bytes::Bytes;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use odradek_client::producer::{Acks, parse_compression};
use odradek_client::{ClientError, Cluster, Producer, ProducerConfig, ProducerRecord};
use serde_json::json;
use std::cell::RefCell;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

const TICK: Duration = Duration::from_millis(100);

/// Produce records from lines of standard input
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  echo hello | odradek produce greetings\n  odradek produce orders --key-separator : < orders.txt\n  \
    odradek produce orders -H source=import --compression zstd --json < orders.txt\n\n\
    --json prints one line per record: {\"topic\", \"partition\", \"offset\", \"timestamp\"} or {\"topic\", \"error\"}.\n\
    Exit code 1 when a record could not be delivered.")]
pub struct ProduceArgs {
    #[command(flatten)]
    connect: ConnectArgs,
    topic: String,
    /// Send to this partition instead of the partitioner's choice.
    #[arg(long, short = 'p')]
    partition: Option<i32>,
    /// Each line is key, separator, value.
    #[arg(long, short = 'k', value_name = "TEXT")]
    key_separator: Option<String>,
    /// A header of every record; may repeat.
    #[arg(long = "header", short = 'H', value_name = "KEY=VALUE", value_parser = key_value)]
    headers: Vec<(String, String)>,
    /// An empty value is a tombstone (null).
    #[arg(long)]
    tombstones: bool,
    /// 0, 1 or all.
    #[arg(long, default_value = "all")]
    acks: String,
    /// none, gzip, snappy, lz4 or zstd.
    #[arg(long, default_value = "none")]
    compression: String,
    /// Longest wait for a batch to fill, in milliseconds.
    #[arg(long, default_value_t = 5, value_name = "MS")]
    linger: u64,
    /// Bytes of a batch.
    #[arg(long, default_value_t = 16384, value_name = "BYTES")]
    batch_bytes: usize,
    /// Print where each record went.
    #[arg(long)]
    json: bool,
}

/// What the deliveries so far amount to.
#[derive(Debug, Default)]
struct Tally {
    delivered: u64,
    bytes: u64,
    failed: u64,
    first_error: Option<ClientError>,
}

pub fn run(args: ProduceArgs) -> Outcome {
    let mut config = ProducerConfig {
        acks: Acks::parse(&args.acks).map_err(|e| Failure::Usage(e.to_string()))?,
        compression: parse_compression(&args.compression).map_err(|e| Failure::Usage(e.to_string()))?,
        linger: Duration::from_millis(args.linger),
        batch_bytes: args.batch_bytes,
        ..ProducerConfig::default()
    };
    config.settle_idempotence(None)?;
    let client = args.connect.config()?;
    let interrupt = client.interrupt.clone();
    let signals = Signals::install(&interrupt)?;
    let tally: Rc<RefCell<Tally>> = Rc::default();
    let json = args.json;
    let mut producer = Producer::new(Cluster::connect(client)?, config, {
        let tally = tally.clone();
        move |delivery| {
            let mut tally = tally.borrow_mut();
            let topic = &delivery.record.topic;
            match delivery.result {
                Ok(at) => {
                    tally.delivered += 1;
                    tally.bytes += delivery.record.value.as_ref().map_or(0, |v| v.len() as u64);
                    if json {
                        let line = json!({ "topic": topic, "partition": at.partition, "offset": at.offset, "timestamp": at.timestamp });
                        output::print(&format!("{line}\n"));
                    }
                }
                Err(error) => {
                    tally.failed += 1;
                    if json {
                        output::print(&format!("{}\n", json!({ "topic": topic, "error": error.to_string() })));
                    }
                    tally.first_error.get_or_insert(error);
                }
            }
        }
    });
    let progress = progress_bar();
    let started = Instant::now();
    let sent = send_lines(&args, &mut producer, &tally, &progress);
    interrupt.lower();
    let flushed = producer.flush();
    progress.finish_and_clear();
    sent?;
    flushed?;
    let tally = tally.borrow();
    if !json {
        let seconds = started.elapsed().as_secs_f64().max(0.001);
        eprintln!(
            "{} records to {}, {} bytes of values, {:.0} records/s",
            output::grouped(tally.delivered as i64),
            args.topic,
            output::grouped(tally.bytes as i64),
            tally.delivered as f64 / seconds
        );
    }
    if let Some(error) = &tally.first_error {
        eprintln!("error: {} records were not delivered; the first: {error}", tally.failed);
        return Ok(ExitCode::FAILURE);
    }
    Ok(signals.exit_code().map_or(ExitCode::SUCCESS, ExitCode::from))
}

fn send_lines(args: &ProduceArgs, producer: &mut Producer, tally: &RefCell<Tally>, progress: &ProgressBar) -> Result<(), Failure> {
    let lines = stdin_lines::start(false);
    let mut number = 0u64;
    loop {
        let wait = producer.next_due().map_or(TICK, |due| due.saturating_duration_since(Instant::now()).min(TICK));
        let line = match lines.recv_timeout(wait) {
            Ok(line) => line.map_err(Failure::Message)?,
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
            Err(RecvTimeoutError::Timeout) => match producer.poll(Duration::ZERO) {
                Err(ClientError::Interrupted) => return Ok(()),
                other => {
                    other?;
                    continue;
                }
            },
        };
        number += 1;
        match producer.send(record(args, Bytes::from(line), number)?) {
            Ok(_) => {}
            Err(ClientError::Interrupted) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        progress.set_position(tally.borrow().delivered);
    }
}

fn record(args: &ProduceArgs, line: Bytes, number: u64) -> Result<ProducerRecord, Failure> {
    let (key, value) = match args.key_separator.as_deref().filter(|s| !s.is_empty()) {
        None => (None, line),
        Some(separator) => match line.windows(separator.len()).position(|w| w == separator.as_bytes()) {
            Some(at) => (Some(line.slice(..at)), line.slice(at + separator.len()..)),
            None => return Err(Failure::Message(format!("line {number} has no key separator '{separator}'"))),
        },
    };
    Ok(ProducerRecord {
        topic: args.topic.clone(),
        partition: args.partition,
        key,
        value: (!(args.tombstones && value.is_empty())).then_some(value),
        headers: args.headers.iter().map(|(k, v)| (k.clone(), Some(Bytes::copy_from_slice(v.as_bytes())))).collect(),
        timestamp: None,
    })
}

/// Shown while input comes from a file or a pipe and a person watches.
fn progress_bar() -> ProgressBar {
    if std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {human_pos} records, {per_sec}, {elapsed}") {
        bar.set_style(style);
    }
    bar
}
