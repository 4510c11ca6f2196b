//! The benchmark harness: `odradek bench produce` and `odradek bench fetch`.
//!
//! Purpose: load that is bounded by the broker, not by a client library. Batches are built once, requests are patched bytes on plain
//! sockets, one thread drives all connections with poll(2), optionally pinned to a core of its own.
//!
//! Invariants: in open loop a request has a moment at which it was meant to be sent, whether or not the broker kept up, and latency
//! counts from that moment (no coordinated omission). Each record carries run, partition, sequence and a checksum, so that an audit
//! finds what was lost, doubled, reordered or damaged. Owner: the main thread. Failure behaviour: errors in responses are counted and
//! shown by Kafka's name; a lost connection ends the run with an error, because a benchmark that reconnects measures something else.

mod audit;
mod connections;
mod fetch;
mod payload;
mod produce;
mod report;
mod target;

use clap::{ArgMatches, Args, Command, FromArgMatches, Subcommand};
use odradek_client::ClientError;
use std::process::ExitCode;

/// Measure a broker
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  odradek bench produce --rate 2000 --acks all --partitions 16 --duration 30\n  \
    odradek bench produce --saturate --connections 32 --in-flight 4 --batch-bytes 15872 --pin-core 1\n  \
    odradek bench fetch --connections 2 --duration 30\n  odradek bench audit --topic odradek-bench")]
struct BenchArgs {
    #[command(subcommand)]
    kind: Kind,
}

#[derive(Debug, Subcommand)]
enum Kind {
    /// Send Produce requests, at a rate or as fast as they are answered
    Produce(produce::ProduceArgs),
    /// Fetch as fast as the broker answers, from the beginning again and again or only at the tail
    Fetch(fetch::FetchArgs),
    /// Read what `produce` wrote and look for lost, doubled, reordered and damaged records
    Audit(audit::AuditArgs),
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
    #[error("standard output: {0}")]
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
        Kind::Produce(args) => produce::run(&args),
        Kind::Fetch(args) => fetch::run(&args),
        Kind::Audit(args) => audit::run(&args),
    };
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

/// Pins the calling thread to a core.
fn pin(core: Option<usize>) -> Result<(), BenchError> {
    match core {
        Some(id) if !core_affinity::set_for_current(core_affinity::CoreId { id }) => {
            Err(BenchError::Arguments(format!("--pin-core {id}: there is no such core, or it is not allowed")))
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
