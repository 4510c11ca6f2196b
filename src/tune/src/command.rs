//! `odradek tune`: arguments, exit codes.

use crate::apply::{self, Outcome, Step};
use crate::check::{self, Question};
use crate::disk;
use crate::machine::Machine;
use crate::plan::{self, Wishes};
use crate::root::Root;
use crate::table;
use clap::{ArgMatches, Args, Command, FromArgMatches, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// Fit this machine for low latency: check, plan, apply, undo, and measure the data disk
#[derive(Debug, Args)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Examples:\n  odradek tune check --dir /data/odradek\n  sudo odradek tune apply --dry-run\n  \
    odradek tune plan --dir /data/0 --dir /data/1 --out plan && sudo cp -r plan/etc /\n  odradek tune disk /data/odradek --out disk.properties"
)]
struct TuneArgs {
    /// Read and write /proc and /sys below this directory, for trees copied from another machine.
    #[arg(long, default_value = "/", value_name = "DIR", global = true)]
    root: PathBuf,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print what matters: found, wanted, why, how to fix. Exits with 1 where something is poor or bad
    Check {
        #[command(flatten)]
        about: AboutArgs,
        /// As JSON, for scripts.
        #[arg(long)]
        json: bool,
    },
    /// Change what can be changed while the machine runs, until the next boot; former values are kept for undo
    Apply {
        #[command(flatten)]
        about: AboutArgs,
        /// Print what would be changed.
        #[arg(long)]
        dry_run: bool,
    },
    /// Put back what apply has changed
    Undo {
        /// Print what would be changed.
        #[arg(long)]
        dry_run: bool,
    },
    /// Divide the machine: one Odradek node per NUMA node, as server.properties and unit drop-ins
    Plan(PlanArgs),
    /// Measure a data directory's disk for about a minute and conclude settings
    Disk(DiskArgs),
}

#[derive(Debug, Args)]
struct AboutArgs {
    /// A directory of the broker's data; may be given several times.
    #[arg(long = "dir", value_name = "DIR", default_value = "/var/lib/odradek")]
    dirs: Vec<PathBuf>,
    /// A running broker, whose limits count instead of this shell's.
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,
}

#[derive(Debug, Args)]
struct PlanArgs {
    /// A directory for data, best one per disk; each goes to the node that its disk is near.
    #[arg(long = "dir", value_name = "DIR", default_value = "/var/lib/odradek")]
    dirs: Vec<PathBuf>,
    /// Write the files below this directory, laid out as below /. Without it the plan is only printed.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// What clients are told to connect to.
    #[arg(long, value_name = "NAME")]
    host: Option<String>,
    /// node.id of the first node.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=1_000_000), value_name = "ID")]
    first_node_id: u32,
    /// Listener port of the first node; the others follow in steps of 1000.
    #[arg(long, default_value_t = 9092, value_name = "PORT")]
    port: u16,
}

#[derive(Debug, Args)]
struct DiskArgs {
    /// The data directory, or the journal's. A file of 1 GiB is written there and removed.
    dir: PathBuf,
    /// Write the settings to this file, with the measurements as comments. Without it they are printed.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Seconds that all measurements take together.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Bytes of the file that is written.
    #[arg(long, default_value_t = 1 << 30, value_parser = clap::value_parser!(u64).range(64 << 20..=1 << 40))]
    bytes: u64,
}

/// The command for clap.
pub fn command() -> Command {
    TuneArgs::augment_args(Command::new("tune"))
}

/// Runs it: 0 fit or done, 1 not fit or failed, 2 wrong usage.
pub fn run(matches: &ArgMatches) -> ExitCode {
    let args = match TuneArgs::from_arg_matches(matches) {
        Ok(args) => args,
        Err(error) => error.exit(),
    };
    let root = Root::new(args.root);
    let result = match args.action {
        Action::Check { about, json } => checked(&root, about, json),
        Action::Apply { about, dry_run } => applied(&root, about, dry_run),
        Action::Undo { dry_run } => apply::undo(&root, dry_run).map(|steps| told(&steps)).map_err(|error| error.to_string()),
        Action::Plan(args) => planned(&root, args),
        Action::Disk(args) => measured(&args),
    };
    result.unwrap_or_else(|error| {
        eprintln!("odradek tune: {error}");
        ExitCode::FAILURE
    })
}

type Result<T> = std::result::Result<T, String>;

fn items(root: &Root, about: AboutArgs) -> Vec<check::Item> {
    let process = about.pid.map_or_else(|| "self".into(), |pid| pid.to_string());
    check::check(root, &Machine::read(root), &Question { directories: about.dirs, process })
}

fn checked(root: &Root, about: AboutArgs, json: bool) -> Result<ExitCode> {
    let items = items(root, about);
    let text = if json { serde_json::to_string_pretty(&items).map_err(|error| error.to_string())? + "\n" } else { table::checked(&items) };
    table::print(&text);
    Ok(if check::is_fit(&items) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn applied(root: &Root, about: AboutArgs, dry_run: bool) -> Result<ExitCode> {
    let items = items(root, about);
    let steps = apply::apply(root, &items, dry_run).map_err(|error| error.to_string())?;
    let code = told(&steps);
    let by_hand = items.iter().filter(|item| !item.fix.is_empty() && item.changes.is_empty());
    let by_hand: String = by_hand.map(|item| format!("by hand: {}: {}\n", item.name, item.fix)).collect();
    table::print(&by_hand);
    Ok(code)
}

fn told(steps: &[Step]) -> ExitCode {
    table::print(&if steps.is_empty() { "nothing to change\n".into() } else { table::steps(steps) });
    let failed = steps.iter().any(|step| matches!(step.outcome, Outcome::Failed(_)));
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn planned(root: &Root, args: PlanArgs) -> Result<ExitCode> {
    let wishes = Wishes { directories: args.dirs, host: args.host, first_node_id: args.first_node_id, first_port: args.port };
    let plan = plan::plan(root, &Machine::read(root), &wishes).map_err(|error| error.to_string())?;
    table::print(&table::planned(&plan));
    if let Some(out) = args.out {
        let files = plan::files(&plan, &wishes);
        plan::write(&files, &out).map_err(|error| format!("{}: {error}", out.display()))?;
        let lines: String = files.iter().map(|file| format!("wrote {}\n", out.join(&file.path).display())).collect();
        table::print(&lines);
    }
    Ok(ExitCode::SUCCESS)
}

fn measured(args: &DiskArgs) -> Result<ExitCode> {
    let effort = disk::Effort { total: std::time::Duration::from_secs(args.seconds), file_bytes: args.bytes };
    let measured = disk::measure(&args.dir, &effort, |line| eprintln!("{line}"))
        .map_err(|error| format!("{}: {error}; the file system must take direct I/O and have room", args.dir.display()))?;
    let text = disk::properties(&args.dir, &measured);
    match &args.out {
        None => table::print(&text),
        Some(file) => std::fs::write(file, text).map_err(|error| format!("{}: {error}", file.display()))?,
    }
    Ok(ExitCode::SUCCESS)
}
