//! `bench produce`, `bench fetch`, `bench audit`: scenarios on the command line.

use crate::load::{Crew, Threads};
use crate::report::text;
use crate::run_command::{self, ClientArgs, OutputArgs, TargetArgs};
use crate::scenario::{CatchUp, Consumers, Producers, Rate, Record, Scenario, Size};
use crate::target::Topics;
use crate::{BenchError, say};
use clap::Args;

/// Topics of a shortcut.
#[derive(Debug, Clone, Args)]
pub struct TopicArgs {
    /// Topics, created when missing: NAME, or with --topics N, NAME-0 to NAME-(N-1).
    #[arg(long, default_value = "odradek-bench")]
    topic: String,
    /// Number of topics.
    #[arg(long, default_value_t = 1)]
    topics: u32,
    /// Partitions of each topic.
    #[arg(long, short = 'p', default_value_t = 1)]
    partitions: i32,
    /// Replicas of each partition.
    #[arg(long)]
    replication_factor: Option<i16>,
}

#[derive(Debug, Clone, Args)]
pub struct ProduceArgs {
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    topics: TopicArgs,
    #[command(flatten)]
    output: OutputArgs,
    /// Bytes of a record's value, at least 40.
    #[arg(long, default_value_t = 1024)]
    record_size: usize,
    /// Bytes of values in a batch; one batch per request. One record if left out.
    #[arg(long)]
    batch_bytes: Option<usize>,
    #[arg(long, short = 'c', default_value_t = 8)]
    connections: usize,
    /// Unanswered requests per connection.
    #[arg(long, default_value_t = 5)]
    in_flight: usize,
    /// 0, 1 or all.
    #[arg(long, default_value = "all")]
    acks: String,
    /// Requests per second over all connections: open loop, latency from the intended moment.
    #[arg(long, default_value_t = 1000.0, conflicts_with = "saturate")]
    rate: f64,
    /// Closed loop: as many requests as are answered.
    #[arg(long)]
    saturate: bool,
    /// Consumers at the tail, which measure end to end.
    #[arg(long)]
    consumers: Option<usize>,
    /// Seconds before the measurement.
    #[arg(long, default_value_t = 2.0)]
    warm_up: f64,
    /// Seconds of measurement.
    #[arg(long, short = 'd', default_value_t = 10.0)]
    duration: f64,
    /// Kept for older scripts: every run is audited.
    #[arg(long, hide = true)]
    audit: bool,
}

pub fn produce(args: &ProduceArgs) -> Result<bool, BenchError> {
    let scenario = Scenario {
        record: Record { size: Size::Fixed(args.record_size), ..Record::default() },
        producers: Some(Producers {
            count: args.connections,
            in_flight: args.in_flight,
            acks: args.acks.clone(),
            batch_bytes: args.batch_bytes.unwrap_or(args.record_size),
            ..Producers::default()
        }),
        rate: Some(if args.saturate { Rate::ClosedLoop(true) } else { Rate::RequestsPerS(args.rate) }),
        consumers: args.consumers.map(|count| Consumers { count, ..Consumers::default() }),
        ..base("produce", &args.topics, args.warm_up, args.duration)
    };
    run(&scenario, &args.target, &args.topics, &args.output)
}

#[derive(Debug, Clone, Args)]
pub struct FetchArgs {
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    topics: TopicArgs,
    #[command(flatten)]
    output: OutputArgs,
    /// Connections; each reads all partitions of its broker (with --share, its part of them).
    #[arg(long, short = 'c', default_value_t = 1)]
    connections: usize,
    /// Divide the partitions among the connections instead of reading all on each.
    #[arg(long)]
    share: bool,
    /// Megabytes to write first.
    #[arg(long, default_value_t = 0)]
    preload_mb: u64,
    /// Bytes of one response.
    #[arg(long, default_value_t = 50 << 20)]
    max_bytes: i32,
    /// Bytes of one partition in a response.
    #[arg(long, default_value_t = 1 << 20)]
    partition_max_bytes: i32,
    #[arg(long, default_value_t = 1)]
    min_bytes: i32,
    /// Longest wait of the broker for min-bytes, in milliseconds.
    #[arg(long, default_value_t = 500)]
    max_wait: i32,
    /// Seconds before the measurement.
    #[arg(long, default_value_t = 2.0)]
    warm_up: f64,
    /// Seconds of measurement.
    #[arg(long, short = 'd', default_value_t = 10.0)]
    duration: f64,
}

pub fn fetch(args: &FetchArgs) -> Result<bool, BenchError> {
    let scenario = Scenario {
        catch_up: Some(CatchUp {
            count: args.connections,
            share: args.share,
            preload_mb: args.preload_mb,
            max_bytes: args.max_bytes,
            partition_max_bytes: args.partition_max_bytes,
            min_bytes: args.min_bytes,
            max_wait_ms: args.max_wait,
        }),
        producers: (args.preload_mb > 0).then(|| Producers { batch_bytes: 65_536, ..Producers::default() }),
        ..base("fetch", &args.topics, args.warm_up, args.duration)
    };
    run(&scenario, &args.target, &args.topics, &args.output)
}

#[derive(Debug, Clone, Args)]
pub struct AuditArgs {
    #[command(flatten)]
    client: ClientArgs,
    #[command(flatten)]
    topics: TopicArgs,
    #[arg(long)]
    json: bool,
}

pub fn audit(args: &AuditArgs) -> Result<bool, BenchError> {
    let mut scenario = Scenario { catch_up: Some(CatchUp::default()), ..base("audit", &args.topics, 0.0, 1.0) };
    let properties = args.client.properties.read()?;
    properties.apply(&mut scenario)?;
    let bootstrap = properties.bootstrap(args.client.bootstrap.as_deref());
    let topics = Topics {
        name: args.topics.topic.clone(),
        count: args.topics.topics,
        partitions: args.topics.partitions,
        replication_factor: args.topics.replication_factor,
    };
    let (mut cluster, partitions) = topics.open(properties.connect(&bootstrap)?)?;
    let mut crew = Crew::prepare(&scenario, &Threads::one(), &mut cluster, &partitions)?;
    let found = crew.audit_all(&mut cluster, &partitions)?;
    if args.json {
        say(&format!("{}\n", serde_json::json!({ "kind": "audit", "clean": found.is_clean(), "findings": found })))?;
    } else {
        say(&format!("{}\n", text::audit_line(&found)))?;
    }
    Ok(found.is_clean())
}

fn base(name: &str, topics: &TopicArgs, warm_up_s: f64, duration_s: f64) -> Scenario {
    Scenario {
        name: name.to_owned(),
        description: String::new(),
        topics: topics.topics,
        partitions: topics.partitions,
        replication_factor: topics.replication_factor,
        warm_up_s,
        duration_s,
        record: Record::default(),
        producers: None,
        rate: None,
        consumers: None,
        catch_up: None,
        idle_connections: 0,
    }
}

fn run(scenario: &Scenario, target: &TargetArgs, topics: &TopicArgs, output: &OutputArgs) -> Result<bool, BenchError> {
    scenario.validate().map_err(BenchError::Arguments)?;
    run_command::run_scenario(scenario, target, Some(&topics.topic), output)
}
