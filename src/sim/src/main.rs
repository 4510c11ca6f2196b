//! `odradek-sim`: as many seeds as wanted.

use clap::Parser;
use odradek_sim::faults::Kinds;
use odradek_sim::run::{Options, Outcome, run};
use odradek_sim::scenario::{Mode, Scenario};
use std::process::ExitCode;
use std::time::Instant;

/// Runs the broker in a simulated world, one run per seed, and checks what its clients were told.
///
/// The first failing seed ends it, with the command that replays it; the faults that the failure does not need are left out first.
#[derive(Debug, Parser)]
#[command(name = "odradek-sim", version)]
struct Arguments {
    /// Number of seeds to run.
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    start: u64,
    /// What clients see as a broker, `cores` or `node`; both by default.
    #[arg(long)]
    mode: Option<Mode>,
    /// Shows every event of the clients and the broker's log.
    #[arg(long)]
    events: bool,
    /// Only these faults of the seed's schedule, by number: `1,3`, or `none`.
    #[arg(long)]
    faults: Option<String>,
    /// Also lets disk operations fail.
    #[arg(long)]
    disk_errors: bool,
    /// Goes on after a failing seed.
    #[arg(long)]
    keep_going: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.events {
        tracing_subscriber::fmt().without_time().with_max_level(tracing_subscriber::filter::LevelFilter::DEBUG).init();
    }
    let modes = arguments.mode.map_or(vec![Mode::Cores, Mode::Node], |mode| vec![mode]);
    let began = Instant::now();
    let (mut runs, mut failed, mut virtual_time) = (0u64, 0u64, std::time::Duration::ZERO);
    for seed in arguments.start..arguments.start + arguments.seeds {
        for mode in &modes {
            let options = options(&arguments, *mode);
            if arguments.events {
                print_schedule(seed, &options);
            }
            let outcome = run(seed, &options);
            runs += 1;
            virtual_time += outcome.virtual_time;
            if arguments.events || arguments.seeds == 1 {
                println!("seed {seed}, {mode}: {outcome:?}");
            }
            if let Some(violation) = &outcome.violation {
                failed += 1;
                println!("seed {seed}, {mode}: {violation}");
                report(seed, &options, &arguments);
                if !arguments.keep_going {
                    return ExitCode::FAILURE;
                }
            }
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "{runs} runs, {failed} failed, {:.1} runs/s, {:.0} simulated seconds per second",
        runs as f64 / seconds,
        virtual_time.as_secs_f64() / seconds
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn options(arguments: &Arguments, mode: Mode) -> Options {
    let only_faults = arguments.faults.as_ref().map(|text| text.split(',').filter_map(|number| number.trim().parse().ok()).collect());
    Options {
        events: arguments.events,
        only_faults,
        kinds: Kinds { crashes: true, disk_errors: arguments.disk_errors },
        ..Options::new(mode)
    }
}

fn print_schedule(seed: u64, options: &Options) {
    for (number, planned) in Scenario::draw(seed, options.mode, options.kinds).faults.iter().enumerate() {
        println!("fault {number}: {planned}");
    }
}

/// Says how to replay a failure, after leaving out the faults that it does not need.
fn report(seed: u64, options: &Options, arguments: &Arguments) {
    let disk_errors = if arguments.disk_errors { " --disk-errors" } else { "" };
    let command = format!("cargo run -p odradek-sim -- --seeds 1 --start {seed} --mode {}{disk_errors} --events", options.mode);
    println!("replay: {command}");
    if arguments.events {
        return;
    }
    let all: Vec<usize> = (0..Scenario::draw(seed, options.mode, options.kinds).faults.len()).collect();
    let mut needed = options.only_faults.clone().unwrap_or(all);
    let fails = |faults: &[usize]| -> Option<Outcome> {
        let outcome = run(seed, &Options { only_faults: Some(faults.to_vec()), ..options.clone() });
        outcome.violation.is_some().then_some(outcome)
    };
    let before = needed.len();
    for at in (0..needed.len()).rev() {
        let mut fewer = needed.clone();
        fewer.remove(at);
        if fails(&fewer).is_some() {
            needed = fewer;
        }
    }
    if needed.len() == before {
        return;
    }
    let faults = if needed.is_empty() { "none".to_string() } else { needed.iter().map(usize::to_string).collect::<Vec<_>>().join(",") };
    let violation = fails(&needed).and_then(|outcome| outcome.violation).unwrap_or_default();
    println!("with fewer faults: {violation}");
    println!("replay: {command} --faults {faults}");
}
