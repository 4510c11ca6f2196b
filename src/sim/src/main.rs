//! `odradek-sim`: as many seeds as wanted.

use clap::Parser;
use odradek_sim::faults::Kinds;
use odradek_sim::replay;
use odradek_sim::run::{Options, Planted, run};
use odradek_sim::scenario::{Less, Mode, Scenario};
use odradek_sim::shrink::shrink;
use odradek_sim::violation::Violation;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Runs the broker in a simulated world, one run per seed and mode, and checks what its clients were told.
///
/// The first failing seed ends it, with the command that replays it to the same event and one for the smallest run of that seed that still
/// fails.
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
    /// Threads to run seeds on.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Shows every event of the clients and the broker's log. One thread.
    #[arg(long)]
    events: bool,
    /// Only these faults of the seed's schedule, by number: `1,3`, or `none`.
    #[arg(long)]
    faults: Option<String>,
    /// Only these clients, by number, as above: producers first, then consumers, group members, and those that change topics.
    #[arg(long)]
    clients: Option<String>,
    /// Percent of every producer's work.
    #[arg(long, default_value_t = 100)]
    work: u64,
    /// Percent of the time in which faults happen.
    #[arg(long, default_value_t = 100)]
    time: u64,
    /// No EIO, no full disk, no bit rot.
    #[arg(long)]
    disks_work: bool,
    /// Breaks something on purpose, to see that it is found; mistakes of the broker need the feature `planted`.
    #[arg(long)]
    planted: Option<Planted>,
    /// Goes on after a failing seed.
    #[arg(long)]
    keep_going: bool,
    /// Does not look for a smaller run that fails.
    #[arg(long)]
    no_shrink: bool,
}

/// What all threads share.
struct Progress {
    next: AtomicU64,
    stop: AtomicBool,
    runs: AtomicU64,
    failed: AtomicU64,
    virtual_nanos: AtomicU64,
    /// Reports do not mix.
    report: Mutex<()>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.events {
        tracing_subscriber::fmt().without_time().with_max_level(tracing_subscriber::filter::LevelFilter::DEBUG).init();
    }
    let began = Instant::now();
    let progress = Progress {
        next: AtomicU64::new(arguments.start),
        stop: AtomicBool::new(false),
        runs: AtomicU64::new(0),
        failed: AtomicU64::new(0),
        virtual_nanos: AtomicU64::new(0),
        report: Mutex::new(()),
    };
    let threads = if arguments.events { 1 } else { arguments.threads.max(1) };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| work(&arguments, &progress));
        }
    });
    let (runs, failed) = (progress.runs.into_inner(), progress.failed.into_inner());
    let seconds = began.elapsed().as_secs_f64();
    let simulated = Duration::from_nanos(progress.virtual_nanos.into_inner()).as_secs_f64();
    println!("{runs} runs, {failed} failed, {:.1} runs/s, {:.2} simulated hours per wall hour", runs as f64 / seconds, simulated / seconds);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn work(arguments: &Arguments, progress: &Progress) {
    let modes = arguments.mode.map_or(vec![Mode::Cores, Mode::Node], |mode| vec![mode]);
    while !progress.stop.load(Ordering::Relaxed) {
        let seed = progress.next.fetch_add(1, Ordering::Relaxed);
        if seed >= arguments.start.saturating_add(arguments.seeds) {
            return;
        }
        for mode in &modes {
            let options = options(arguments, *mode);
            if arguments.events {
                print_schedule(seed, &options);
            }
            let outcome = run(seed, &options);
            progress.runs.fetch_add(1, Ordering::Relaxed);
            progress.virtual_nanos.fetch_add(outcome.virtual_time.as_nanos() as u64, Ordering::Relaxed);
            if arguments.events || arguments.seeds == 1 {
                println!("seed {seed}, {mode}: {outcome:?}");
            }
            if let Some(violation) = &outcome.violation {
                progress.failed.fetch_add(1, Ordering::Relaxed);
                report(seed, &options, arguments, violation, progress);
                if !arguments.keep_going {
                    progress.stop.store(true, Ordering::Relaxed);
                    return;
                }
            }
        }
    }
}

fn options(arguments: &Arguments, mode: Mode) -> Options {
    let numbers = |text: &Option<String>| -> Option<Vec<usize>> {
        text.as_ref().map(|text| text.split(',').filter_map(|number| number.trim().parse().ok()).collect())
    };
    let less =
        Less { faults: numbers(&arguments.faults), clients: numbers(&arguments.clients), work: arguments.work, time: arguments.time };
    let kinds = match arguments.disks_work {
        true => Kinds { disk_errors: false, full_disk: false, bit_rot: false, stored_rot: false, ..Kinds::ALL },
        false => Kinds::ALL,
    };
    Options { events: arguments.events, less, kinds, planted: arguments.planted, ..Options::new(mode) }
}

fn print_schedule(seed: u64, options: &Options) {
    let scenario = Scenario::draw(seed, options.mode, options.kinds);
    for (number, planned) in scenario.faults.iter().enumerate() {
        println!("fault {number}: {planned}");
    }
    println!("{scenario:?}");
}

/// Says what failed, how to replay it, and how to replay the smallest run that fails.
fn report(seed: u64, options: &Options, arguments: &Arguments, violation: &Violation, progress: &Progress) {
    let shrunk = if arguments.events || arguments.no_shrink { None } else { shrink(seed, options, violation.checker) };
    let _turn = progress.report.lock();
    println!("seed {seed}, {}: {violation}", options.mode);
    println!("replay: {}", replay::command(seed, options));
    if let Some(shrunk) = shrunk {
        println!("smaller: {}", shrunk.violation);
        println!("replay: {}", replay::command(seed, &Options { less: shrunk.less, ..options.clone() }));
    }
}
