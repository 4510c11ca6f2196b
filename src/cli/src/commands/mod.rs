//! odradek's own commands, one file each.

mod consume;
mod group;
mod install_tools;
mod output;
mod produce;
mod topic;

use crate::{EXIT_USAGE, ServerTool};
use clap::{ArgMatches, Args, Command, FromArgMatches};
use odradek_client::{ClientConfig, ClientError, Cluster};
use std::process::ExitCode;

/// How a command fails.
#[derive(Debug)]
pub enum Failure {
    Client(ClientError),
    Message(String),
    /// The arguments do not fit together.
    Usage(String),
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Failure::Client(error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Failure::Message(error.to_string())
    }
}

type Outcome = Result<ExitCode, Failure>;

/// Where the cluster is.
#[derive(Debug, Clone, Args)]
pub struct ConnectArgs {
    /// Brokers to start from, host:port, separated by commas.
    #[arg(long, short = 'b', env = "ODRADEK_BOOTSTRAP", default_value = "localhost:9092", value_name = "HOST:PORT", global = true)]
    bootstrap_server: String,
}

impl ConnectArgs {
    fn config(&self) -> Result<ClientConfig, Failure> {
        ClientConfig::new(&self.bootstrap_server).map_err(|e| Failure::Usage(e.to_string()))
    }

    fn connect(&self) -> Result<Cluster, Failure> {
        Ok(Cluster::connect(self.config()?)?)
    }
}

/// The commands for clap.
pub fn commands() -> Vec<Command> {
    vec![
        topic::TopicArgs::augment_args(Command::new("topic")),
        produce::ProduceArgs::augment_args(Command::new("produce")),
        consume::ConsumeArgs::augment_args(Command::new("consume")),
        group::GroupArgs::augment_args(Command::new("group")),
        install_tools::InstallToolsArgs::augment_args(Command::new("install-tools")),
    ]
}

/// Runs the command of this name. `server_tools` are the tools of Kafka that the binary brings.
pub fn run(name: &str, matches: &ArgMatches, server_tools: &[ServerTool]) -> ExitCode {
    let outcome = match name {
        "topic" => parsed(matches, topic::run),
        "produce" => parsed(matches, produce::run),
        "consume" => parsed(matches, consume::run),
        "group" => parsed(matches, group::run),
        "install-tools" => parsed(matches, |args| install_tools::run(args, server_tools)),
        other => Err(Failure::Usage(format!("no such command: {other}"))),
    };
    match outcome {
        Ok(code) => code,
        Err(Failure::Usage(message)) => {
            eprintln!("error: {message}");
            ExitCode::from(EXIT_USAGE)
        }
        Err(Failure::Message(message)) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
        Err(Failure::Client(error)) => {
            eprintln!("error: {error}");
            if let Some(advice) = error.advice() {
                eprintln!("hint: {advice}");
            }
            ExitCode::FAILURE
        }
    }
}

fn parsed<T: FromArgMatches>(matches: &ArgMatches, run: impl FnOnce(T) -> Outcome) -> Outcome {
    let args = T::from_arg_matches(matches).map_err(|e| Failure::Usage(e.to_string()))?;
    run(args)
}
