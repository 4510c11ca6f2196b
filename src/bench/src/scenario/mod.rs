//! What a benchmark does, as a TOML file says it.
//!
//! Parsing is strict: an unknown key, a wrong type or a number out of range is an error that names the file, the key and what is allowed.

mod keys;
mod short;
mod validate;

pub use keys::{KeyDraw, SizeDraw};
pub use short::ShortArgs;

use crate::BenchError;
use odradek_client::producer::Acks;
use odradek_wire::compress::Codec;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// A benchmark: what is written, what is read, how fast, how long.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Shown in reports; also the name of its topics, with what is no letter or digit turned into `-`.
    pub name: String,
    #[serde(default)]
    pub description: String,
    #[serde(default = "one")]
    pub topics: u32,
    /// Partitions of each topic.
    #[serde(default = "one_i32")]
    pub partitions: i32,
    pub replication_factor: Option<i16>,
    /// Seconds of load before the measurement; reported apart.
    #[serde(default = "two")]
    pub warm_up_s: f64,
    /// Seconds of measurement, of each step where there are steps.
    #[serde(default = "ten")]
    pub duration_s: f64,
    #[serde(default)]
    pub record: Record,
    pub producers: Option<Producers>,
    pub rate: Option<Rate>,
    pub consumers: Option<Consumers>,
    pub catch_up: Option<CatchUp>,
    /// Connections that are opened and say nothing.
    #[serde(default)]
    pub idle_connections: u32,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Record {
    pub size: Size,
    /// How much of a value is random, 0 to 1; what is not random compresses away.
    pub random_ratio: f64,
    /// Values are cut from this file, over and over; relative to the scenario's file.
    pub payload_file: Option<PathBuf>,
    pub keys: Keys,
}

impl Default for Record {
    fn default() -> Self {
        Self { size: Size::Fixed(1024), random_ratio: 1.0, payload_file: None, keys: Keys::None }
    }
}

/// Bytes of a record's value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Size {
    Fixed(usize),
    Range(SizeRange),
    /// `[[bytes, weight], ...]`
    Weighted(Vec<(usize, f64)>),
}

/// Every size from `min` to `max` is as likely.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SizeRange {
    pub min: usize,
    pub max: usize,
}

/// Keys of records; a record with a key goes to the partition that every Kafka client gives it (murmur2).
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Keys {
    #[default]
    None,
    /// So many keys, each as likely.
    Uniform(u32),
    /// So many keys, the i-th with a weight of 1/i^exponent.
    Zipf { keys: u32, exponent: f64 },
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Producers {
    /// Each is one connection to one leader; every leader gets at least one.
    pub count: usize,
    /// Unanswered requests of each.
    pub in_flight: usize,
    /// `0`, `1` or `all`.
    pub acks: String,
    pub idempotent: bool,
    /// Each is a transactional producer that commits every `transaction_ms`.
    pub transactional: bool,
    pub transaction_ms: f64,
    pub codec: String,
    /// Bytes of values in a batch; one batch in a request.
    pub batch_bytes: usize,
    /// How long a batch that is not full waits for more records. With 0 it waits only for a free place in flight.
    pub linger_ms: f64,
}

impl Default for Producers {
    fn default() -> Self {
        Self {
            count: 8,
            in_flight: 5,
            acks: "all".into(),
            idempotent: false,
            transactional: false,
            transaction_ms: 100.0,
            codec: "none".into(),
            batch_bytes: 16_384,
            linger_ms: 0.0,
        }
    }
}

impl Producers {
    pub fn acks(&self) -> Acks {
        Acks::parse(&self.acks).expect("validated")
    }

    pub fn codec(&self) -> Codec {
        Codec::from_name(&self.codec).expect("validated")
    }
}

/// How fast producers send. One of the four.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Rate {
    /// Full batches per second.
    RequestsPerS(f64),
    /// Records per second; batches fill as `batch_bytes` and `linger_ms` let them.
    RecordsPerS(f64),
    /// From `records_per_s` up, each step `factor` more, until one is not achieved or its p99 is too long.
    Steps(Steps),
    /// As much as is answered.
    ClosedLoop(bool),
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Steps {
    pub records_per_s: f64,
    #[serde(default = "two")]
    pub factor: f64,
    #[serde(default = "twenty")]
    pub count_max: u32,
    /// A longer p99 of produce ends the steps.
    #[serde(default = "thousand")]
    pub p99_ms_max: f64,
}

/// Consumers at the tail: they read what is produced meanwhile and measure end to end.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Consumers {
    /// Groups; each reads everything.
    pub groups: usize,
    /// Connections of each group, which divide the partitions; every leader gets at least one.
    pub count: usize,
    /// Connections are members of real groups: they join, share the partitions as the group says, heartbeat and commit.
    pub group: bool,
    /// `heartbeat.interval.ms` and `auto.commit.interval.ms` of members.
    pub heartbeat_ms: u64,
    pub commit_interval_ms: u64,
    /// Every so many seconds a member leaves and joins again, in turns.
    pub rebalance_every_s: Option<f64>,
    /// Only what is committed (`isolation.level=read_committed`).
    pub read_committed: bool,
    pub max_wait_ms: i32,
    pub min_bytes: i32,
    pub max_bytes: i32,
    pub partition_max_bytes: i32,
}

impl Default for Consumers {
    fn default() -> Self {
        Self {
            groups: 1,
            count: 1,
            group: false,
            heartbeat_ms: 3000,
            commit_interval_ms: 5000,
            rebalance_every_s: None,
            read_committed: false,
            max_wait_ms: 500,
            min_bytes: 1,
            max_bytes: 50 << 20,
            partition_max_bytes: 1 << 20,
        }
    }
}

/// Readers that read from the beginning, again and again, beside the producers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CatchUp {
    /// Connections; every leader gets at least one.
    pub count: usize,
    /// Divide the partitions among the connections; otherwise each reads all of its leader.
    pub share: bool,
    /// Megabytes of values written before the warm-up.
    pub preload_mb: u64,
    pub max_bytes: i32,
    pub partition_max_bytes: i32,
    pub min_bytes: i32,
    pub max_wait_ms: i32,
}

impl Default for CatchUp {
    fn default() -> Self {
        Self { count: 1, share: false, preload_mb: 0, max_bytes: 50 << 20, partition_max_bytes: 1 << 20, min_bytes: 1, max_wait_ms: 500 }
    }
}

impl Scenario {
    /// Reads a scenario file.
    pub fn load(path: &Path) -> Result<Self, BenchError> {
        let fail = |reason: String| BenchError::Arguments(format!("{}: {reason}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|e| fail(e.to_string()))?;
        let mut scenario = Self::parse(&text).map_err(|e| fail(e.to_string()))?;
        if let Some(file) = &mut scenario.record.payload_file
            && let Some(folder) = path.parent()
        {
            *file = folder.join(&*file);
        }
        Ok(scenario)
    }

    /// Parses and checks a scenario.
    pub fn parse(text: &str) -> Result<Self, BenchError> {
        let scenario: Self = toml::from_str(text).map_err(|e| BenchError::Arguments(e.to_string()))?;
        scenario.validate().map_err(BenchError::Arguments)?;
        Ok(scenario)
    }

    /// Base name of the scenario's topics.
    pub fn topic(&self) -> String {
        let name: String = self.name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
        let parts: Vec<&str> = name.split('-').filter(|p| !p.is_empty()).collect();
        format!("bench-{}", parts.join("-"))
    }

    /// Whether the file gives a rate that is a promise, not a wish: open loop.
    pub fn is_open_loop(&self) -> bool {
        !matches!(self.rate, Some(Rate::ClosedLoop(_)) | None)
    }
}

fn one() -> u32 {
    1
}

fn one_i32() -> i32 {
    1
}

fn two() -> f64 {
    2.0
}

fn ten() -> f64 {
    10.0
}

fn twenty() -> u32 {
    20
}

fn thousand() -> f64 {
    1000.0
}
