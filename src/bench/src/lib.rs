//! The benchmark harness: `odradek bench`.
//!
//! Purpose: load that is bounded by the broker, not by a client library. Batches are built once where they can be, requests are patched
//! bytes on plain sockets, each thread drives its connections on a reactor of its own, pinned away from the broker where there are cores.
//!
//! Invariants: in open loop a record has a moment at which it was meant to be sent, whether or not the broker kept up, and latency
//! counts from that moment (no coordinated omission). Each record carries run, partition, sequence and a checksum, and every run ends
//! with an audit of what was lost, duplicated, reordered or damaged. Owner: the main thread, or so many threads as asked for, each with its connections. Failure behaviour: errors in responses are
//! counted and shown by Kafka's name and make the run fail; a lost connection ends the run with an error, because a benchmark that
//! reconnects measures something else.

mod audit;
mod compare;
mod connections;
mod limits;
mod load;
pub mod measure;
mod payload;
mod process;
mod properties;
mod report;
pub mod run;
mod run_command;
pub mod scenario;
mod shortcuts;
mod stats;
mod target;
mod targets;
mod threads;

pub use process::Process;

use clap::{ArgMatches, Args, Command, FromArgMatches, Subcommand};
use odradek_client::ClientError;
use std::io::Write;
use std::process::ExitCode;

/// Measure a broker
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  odradek bench produce --rate 2000 --acks all --partitions 16 --duration 30\n  \
    odradek bench run benches/scenarios/tiny.toml\n  odradek bench produce --saturate --connections 32 --in-flight 4 --batch-bytes 15872 --pin-core 1\n  \
    odradek bench fetch --connections 2 --duration 30\n  odradek bench audit --topic odradek-bench")]
struct BenchArgs {
    #[command(subcommand)]
    kind: Kind,
}

#[derive(Debug, Subcommand)]
enum Kind {
    /// Run a scenario file
    Run(run_command::RunArgs),
    /// Run a scenario against several targets in turns and say what differs
    Compare(compare::CompareArgs),
    /// Compare two git revisions of Odradek; exit code 1 when the second is worse
    Regress(compare::RegressArgs),
    /// Measure what this machine can do: loopback, memory, CRC, disk
    Limits(limits::LimitsArgs),
    /// Send Produce requests, at a rate or as fast as they are answered
    Produce(shortcuts::ProduceArgs),
    /// Fetch as fast as the broker answers, from the beginning again and again
    Fetch(shortcuts::FetchArgs),
    /// Read what `produce` wrote and look for lost, doubled, reordered and damaged records
    Audit(shortcuts::AuditArgs),
    /// Stops a broker that the harness started when the harness is gone
    #[command(hide = true)]
    Guard(targets::guard::GuardArgs),
}

/// Why a benchmark could not be run.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("{address}: {reason}")]
    Connection { address: String, reason: String },
    #[error("{0}")]
    Arguments(String),
    #[error("{0}")]
    Broker(String),
    #[error("input or output: {0}")]
    Output(#[from] std::io::Error),
}

/// The `bench` command for clap.
pub fn command() -> Command {
    BenchArgs::augment_args(Command::new("bench"))
}

/// Runs what [`command`] parsed. Exit code 0 when it ran without errors in responses, 1 otherwise.
pub fn run(matches: &ArgMatches) -> ExitCode {
    let args = match BenchArgs::from_arg_matches(matches) {
        Ok(args) => args,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(2);
        }
    };
    let outcome = match args.kind {
        Kind::Run(args) => run_command::run(&args),
        Kind::Compare(args) => compare::compare(&args),
        Kind::Regress(args) => compare::regress(&args),
        Kind::Limits(args) => limits::run(&args),
        Kind::Produce(args) => shortcuts::produce(&args),
        Kind::Fetch(args) => shortcuts::fetch(&args),
        Kind::Audit(args) => shortcuts::audit(&args),
        Kind::Guard(args) => targets::guard::run(&args),
    };
    targets::guard::await_signalled_end();
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            if let BenchError::Client(client) = &error
                && let Some(advice) = client.advice()
            {
                eprintln!("hint: {advice}");
            }
            ExitCode::from(if matches!(error, BenchError::Arguments(_)) { 2 } else { 1 })
        }
    }
}

/// Writes to standard output. A reader that has seen enough (`| head`) is no error.
fn say(text: &str) -> Result<(), BenchError> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Pins the calling thread to a core.
fn pin(core: Option<usize>) -> Result<(), BenchError> {
    match core {
        Some(id) if !core_affinity::set_for_current(core_affinity::CoreId { id }) => {
            Err(BenchError::Arguments(format!("--pin-cores {id}: there is no such core, or it is not allowed")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_tree_is_consistent() {
        super::command().debug_assert();
    }
}
