//! `odradek serve`: from settings to pinned shards, and back to a clean directory.

mod banner;
pub mod broker;
pub mod data_dir;
pub mod kafka_tools;
mod limits;
pub mod machine;
mod memory;
mod metrics;
mod notify;
pub mod shards;
mod signals;

use broker::{Broker, BrokerError};
use clap::Args;
use odradek_settings::{LogFormat, Settings, SettingsError};
use signals::StopSignals;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

/// Starts the broker.
#[derive(Args, Debug, Default)]
#[command(after_help = "Examples:\n  odradek serve\n  odradek serve --config server.properties\n  \
    odradek serve --override listeners=PLAINTEXT://0.0.0.0:9092 --override log.dirs=/data/odradek")]
pub struct ServeArgs {
    /// A Kafka server.properties file.
    #[arg(long, short, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// A setting that wins over the file; may be given several times.
    #[arg(long = "override", value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
enum ServeError {
    #[error("{0}")]
    Settings(#[from] SettingsError),
    #[error("{0}")]
    Broker(#[from] BrokerError),
    #[error("signals cannot be handled: {0}")]
    Signals(std::io::Error),
    #[error("the watchdog's thread could not be started: {0}")]
    Watchdog(std::io::Error),
}

pub fn run(args: &ServeArgs) -> ExitCode {
    match serve(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("odradek: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(args: &ServeArgs) -> Result<(), ServeError> {
    let started = Instant::now();
    let (settings, warnings) = Settings::load(args.config.as_deref(), &args.overrides)?;
    start_logging(&settings);
    for warning in &warnings {
        tracing::warn!("{warning}");
    }
    let signals = StopSignals::listen().map_err(ServeError::Signals)?;
    let broker = Broker::start(Arc::new(settings))?;
    let watchdog = notify::Watchdog::start(broker.pulses()).map_err(ServeError::Watchdog)?;
    banner::print(&broker, started.elapsed());
    notify::ready(&format!("serving with {} shards after {} ms", broker.config.shards, started.elapsed().as_millis()));
    signals.serving(broker.stopper(), watchdog.on_stopping());
    broker.wait_stopped()?;
    tracing::info!("stopped; the data directory is clean");
    Ok(())
}

fn start_logging(settings: &Settings) {
    let filter = tracing_subscriber::EnvFilter::try_from_env("ODRADEK_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(format!("{},glommio=warn", settings.log_level())));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A process that starts a second broker keeps its first logger.
    let _ = match settings.log_format() {
        // Colours are for people at a terminal; in a file or a journal they are noise.
        LogFormat::Text => builder.with_target(false).with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
}

/// `odradek settings`: every setting with its default.
pub fn print_settings(json: bool) -> ExitCode {
    let settings = match Settings::load(None, &[]) {
        Ok((settings, _)) => settings,
        Err(error) => {
            eprintln!("odradek: {error}");
            return ExitCode::FAILURE;
        }
    };
    let text = if json { settings.describe_json() } else { settings.describe_text() };
    // A reader that goes away early (`| head`) is no error.
    let _ = std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes());
    ExitCode::SUCCESS
}
