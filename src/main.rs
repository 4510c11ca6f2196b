//! The `odradek` binary: the broker, its command line, and Kafka's tools under their own names.

use clap::{Args as _, FromArgMatches as _};
use odradek::serve::{self, ServeArgs, kafka_tools};
use odradek_cli::{Program, Subcommand};
use std::process::ExitCode;

/// Many small, short-lived buffers on pinned threads: mimalloc's per-thread heaps need no lock for them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let serve = Subcommand {
        command: ServeArgs::augment_args(clap::Command::new("serve")),
        run: Box::new(|matches| match ServeArgs::from_arg_matches(matches) {
            Ok(args) => serve::run(&args),
            Err(error) => error.exit(),
        }),
    };
    let settings = Subcommand {
        command: clap::Command::new("settings")
            .about("Print every setting: type, default, allowed values, whether it can change at run time, and what it does")
            .arg(clap::Arg::new("json").long("json").action(clap::ArgAction::SetTrue).help("As JSON, for scripts"))
            .after_help("Examples:\n  odradek settings\n  odradek settings --json | jq '.[] | select(.name | startswith(\"odradek.\"))'"),
        run: Box::new(|matches| serve::print_settings(matches.get_flag("json"))),
    };
    let bench = Subcommand { command: odradek_bench::command(), run: Box::new(odradek_bench::run) };
    let tune = Subcommand { command: odradek_tune::command(), run: Box::new(odradek_tune::run) };
    odradek_cli::run(
        std::env::args_os(),
        Program { subcommands: vec![serve, settings, bench, tune], default: Some("serve"), server_tools: kafka_tools::tools() },
    )
}
