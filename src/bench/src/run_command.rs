//! `bench run`: a scenario file against a running cluster.

use crate::load::generator_limit;
use crate::properties::{ClientProperties, PropertyArgs};
use crate::report::{hdr, html, text};
use crate::run::{Measured, Subject, measure};
use crate::scenario::{Scenario, ShortArgs};
use crate::targets::{Spec, StartArgs};
use crate::threads::ThreadArgs;
use crate::{BenchError, limits, say};
use clap::Args;
use std::path::PathBuf;

/// How brokers are reached.
#[derive(Debug, Clone, Args)]
pub struct ClientArgs {
    /// Brokers to start from, host:port, separated by commas. Without it bootstrap.servers of the properties, or localhost:9092.
    #[arg(long, short = 'b', alias = "bootstrap-server", env = "ODRADEK_BOOTSTRAP", value_name = "HOST:PORT")]
    pub bootstrap: Option<String>,
    #[command(flatten)]
    pub properties: PropertyArgs,
}

/// Who is measured.
#[derive(Debug, Clone, Args)]
pub struct TargetArgs {
    #[command(flatten)]
    pub client: ClientArgs,
    /// Start this broker, measure it and stop it: odradek, odradek@REVISION, kafka[@VERSION].
    #[arg(long, value_name = "TARGET")]
    pub start: Option<String>,
    /// With --start kafka: an fsync for each batch (flush.messages=1).
    #[arg(long, requires = "start")]
    pub durable: bool,
    #[command(flatten)]
    pub how: StartArgs,
    #[command(flatten)]
    pub threads: ThreadArgs,
}

impl TargetArgs {
    fn spec(&self, properties: &ClientProperties) -> Result<Spec, BenchError> {
        match &self.start {
            None => Ok(Spec::Address(properties.bootstrap(self.client.bootstrap.as_deref()))),
            Some(text) => match Spec::parse(&format!("{text}{}", if self.durable { "+durable" } else { "" }))? {
                Spec::Address(address) => Err(BenchError::Arguments(format!("--start {address}: to measure what runs, use --bootstrap"))),
                spec => Ok(spec),
            },
        }
    }
}

/// Where results go.
#[derive(Debug, Clone, Args)]
pub struct OutputArgs {
    /// The result as JSON: into FILE, or on standard output instead of the table.
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    pub json: Option<PathBuf>,
    /// Percentiles and intervals for HdrHistogram's tools: PREFIX-produce.hgrm, PREFIX-produce.hlog and so on.
    #[arg(long, value_name = "PREFIX")]
    pub hdr: Option<PathBuf>,
    /// One page with table and plots.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// No line for each second.
    #[arg(long, short = 'q')]
    pub quiet: bool,
}

#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// The scenario; benches/scenarios has some.
    file: PathBuf,
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    short: ShortArgs,
    /// Name of the topics instead of the scenario's.
    #[arg(long)]
    topic: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
}

pub fn run(args: &RunArgs) -> Result<bool, BenchError> {
    let mut scenario = Scenario::load(&args.file)?;
    args.short.apply(&mut scenario).map_err(BenchError::Arguments)?;
    run_scenario(&scenario, &args.target, args.topic.as_deref(), &args.output)
}

/// Runs, shows and saves.
pub fn run_scenario(scenario: &Scenario, target: &TargetArgs, topic: Option<&str>, output: &OutputArgs) -> Result<bool, BenchError> {
    let properties = target.client.properties.read()?;
    let mut scenario = scenario.clone();
    properties.apply(&mut scenario)?;
    let spec = target.spec(&properties)?;
    let placement = target.threads.place(&target.how, target.start.is_some())?;
    // While nothing else runs.
    let limit = generator_limit(&scenario, &placement.threads)?;
    let started = target.how.start(&spec, placement.broker.as_deref())?;
    placement.settle()?;
    let bootstrap = started.as_ref().map_or_else(|| spec.name(), |s| s.bootstrap.clone());
    let process = started.as_ref().map(|s| &s.process);
    let subject = Subject { name: spec.name(), config: properties.connect(&bootstrap)?, process, threads: placement.threads };
    let mut measured = measure(&scenario, &subject, topic, &mut |second, offered| {
        if !output.quiet {
            eprintln!("{}", text::progress(second, offered));
        }
    })?;
    measured.result.set_generator_limit(limit);
    if let Some(limits) = limits::known(&target.how.cache()) {
        measured.result.limits = limits::shares(&measured.result, &limits);
    }
    show(&measured, output)?;
    Ok(measured.result.is_clean())
}

fn show(measured: &Measured, output: &OutputArgs) -> Result<(), BenchError> {
    let json = || serde_json::to_string_pretty(&measured.result).expect("plain numbers and text");
    match output.json.as_deref() {
        Some(path) if path.as_os_str() == "-" => say(&format!("{}\n", json()))?,
        Some(path) => {
            save(path, json().as_bytes())?;
            say(&text::table(&measured.result))?;
        }
        None => say(&text::table(&measured.result))?,
    }
    if let Some(prefix) = &output.hdr {
        hdr::write(&measured.recorder, prefix)?;
    }
    if let Some(path) = &output.html {
        save(path, html::page(&measured.result, &measured.recorder).as_bytes())?;
    }
    Ok(())
}

/// Writes a file of results.
pub fn save(path: &std::path::Path, content: &[u8]) -> Result<(), BenchError> {
    std::fs::write(path, content).map_err(|e| BenchError::Broker(format!("{}: cannot be written: {e}", path.display())))
}
