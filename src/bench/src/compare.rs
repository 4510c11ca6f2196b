//! `bench compare` and `bench regress`: several targets in interleaved rounds of one run, or saved runs of one machine.

use crate::load::Threads;
use crate::measure::RunResult;
use crate::properties::{ClientProperties, PropertyArgs};
use crate::report::text;
use crate::run::{Subject, measure};
use crate::run_command::save;
use crate::scenario::{Scenario, ShortArgs};
use crate::stats::{self, Comparison, Verdict};
use crate::targets::{Spec, StartArgs, Started};
use crate::threads::ThreadArgs;
use crate::{BenchError, say};
use clap::Args;
use serde::Serialize;
use serde_json::Value;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  odradek bench compare kafka odradek --scenario benches/scenarios/produce-saturated-16.toml --broker-cores 0 --pin-core 1\n  \
    odradek bench compare kafka kafka+durable odradek --scenario FILE --rounds 8\n  odradek bench compare before.json after.json"
)]
pub struct CompareArgs {
    /// Targets (odradek, odradek@REVISION, kafka[@VERSION][+durable], HOST:PORT) or files that --json saved. The first is compared with.
    #[arg(required = true, num_args = 2..)]
    sides: Vec<String>,
    #[command(flatten)]
    rounds: RoundArgs,
}

#[derive(Debug, Clone, Args)]
pub struct RegressArgs {
    /// Git revision that is compared with.
    before: String,
    /// Git revision that may be worse.
    after: String,
    #[command(flatten)]
    rounds: RoundArgs,
}

#[derive(Debug, Clone, Args)]
pub struct RoundArgs {
    /// What to run.
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,
    #[command(flatten)]
    short: ShortArgs,
    /// Rounds; each measures every target once, and the order rotates. Fewer than 6 allow no verdict.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Rounds before the first that counts, for brokers that have to get warm.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=100))]
    warm_up_rounds: u32,
    #[command(flatten)]
    how: StartArgs,
    #[command(flatten)]
    properties: PropertyArgs,
    #[command(flatten)]
    threads: ThreadArgs,
    /// Save all rounds and the comparison as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// A number of a run that can be compared.
struct Measure {
    name: &'static str,
    more_is_better: bool,
    of: fn(&RunResult) -> Option<f64>,
}

const MEASURES: [Measure; 14] = [
    Measure { name: "produced MB/s", more_is_better: true, of: |r| above_0(r.last().mb_per_s) },
    Measure { name: "produce p50 ms", more_is_better: false, of: |r| r.last().produce.as_ref().map(|s| s.p50_ms) },
    Measure { name: "produce p99 ms", more_is_better: false, of: |r| r.last().produce.as_ref().map(|s| s.p99_ms) },
    Measure { name: "produce p99.9 ms", more_is_better: false, of: |r| r.last().produce.as_ref().map(|s| s.p999_ms) },
    Measure { name: "end to end p50 ms", more_is_better: false, of: |r| r.last().end_to_end.as_ref().map(|s| s.p50_ms) },
    Measure { name: "end to end p99 ms", more_is_better: false, of: |r| r.last().end_to_end.as_ref().map(|s| s.p99_ms) },
    Measure { name: "read MB/s", more_is_better: true, of: |r| above_0(r.last().consumed_mb_per_s) },
    Measure { name: "fetch p50 ms", more_is_better: false, of: |r| r.last().fetch.as_ref().map(|s| s.p50_ms) },
    Measure { name: "fetch p99 ms", more_is_better: false, of: |r| r.last().fetch.as_ref().map(|s| s.p99_ms) },
    Measure { name: "broker CPU s", more_is_better: false, of: |r| r.broker.as_ref().map(|b| b.cpu_s) },
    Measure { name: "broker CPU s per GiB", more_is_better: false, of: cpu_per_gib },
    Measure { name: "resident MB", more_is_better: false, of: |r| r.broker.as_ref().map(|b| b.resident_mb) },
    Measure { name: "context switches", more_is_better: false, of: |r| r.broker.as_ref().map(|b| b.context_switches as f64) },
    Measure { name: "start-up s", more_is_better: false, of: |r| r.broker.as_ref().map(|b| b.start_up_s) },
];

fn above_0(value: f64) -> Option<f64> {
    (value > 0.0).then_some(value)
}

/// CPU seconds for each GiB produced and read, over all measured steps.
fn cpu_per_gib(result: &RunResult) -> Option<f64> {
    let mb: f64 = result.steps.iter().map(|s| (s.mb_per_s + s.consumed_mb_per_s) * s.seconds).sum();
    let gib = mb * 1e6 / f64::from(1 << 30);
    result.broker.as_ref().filter(|_| gib > 0.0).map(|b| b.cpu_s / gib)
}

/// A measure of one side against the first.
#[derive(Debug, Serialize)]
struct Row {
    side: String,
    measure: &'static str,
    #[serde(flatten)]
    comparison: Comparison,
}

/// What `--json` saves.
#[derive(Debug, Serialize)]
struct Document<'a> {
    compared_with: &'a str,
    rows: &'a [Row],
    rounds: &'a [Vec<RunResult>],
}

pub fn compare(args: &CompareArgs) -> Result<bool, BenchError> {
    let saved = args.sides.iter().filter(|s| s.ends_with(".json")).count();
    if saved == args.sides.len() {
        return compare_saved(&args.sides);
    }
    if saved > 0 {
        return Err(BenchError::Arguments("saved runs are compared with saved runs, targets with targets".to_owned()));
    }
    let specs = args.sides.iter().map(|s| Spec::parse(s)).collect::<Result<Vec<_>, _>>()?;
    run(&specs, &args.rounds).map(|(clean, _)| clean)
}

/// Compares two revisions; false when the second is worse in anything.
pub fn regress(args: &RegressArgs) -> Result<bool, BenchError> {
    let specs = [&args.before, &args.after].map(|r| Spec::parse(&format!("odradek@{r}")));
    let specs = specs.into_iter().collect::<Result<Vec<_>, _>>()?;
    let (clean, rows) = run(&specs, &args.rounds)?;
    Ok(clean && rows.iter().all(|r| r.comparison.verdict != Verdict::Worse))
}

fn run(specs: &[Spec], args: &RoundArgs) -> Result<(bool, Vec<Row>), BenchError> {
    let Some(file) = &args.scenario else {
        return Err(BenchError::Arguments("--scenario FILE says what to run; benches/scenarios has some".to_owned()));
    };
    let mut scenario = Scenario::load(file)?;
    args.short.apply(&mut scenario).map_err(BenchError::Arguments)?;
    let properties = args.properties.read()?;
    properties.apply(&mut scenario)?;
    specs.iter().try_for_each(|spec| args.how.check(spec))?;
    let placement = args.threads.place(&args.how, specs.iter().any(|s| !matches!(s, Spec::Address(_))))?;
    // All of them run all the time, so that each round finds them as warm as the last; those that are not measured have nothing to do.
    let started = specs.iter().map(|spec| args.how.start(spec, placement.broker.as_deref())).collect::<Result<Vec<_>, _>>()?;
    placement.settle()?;
    let mut rounds: Vec<Vec<RunResult>> = vec![Vec::new(); specs.len()];
    let mut clean = true;
    for round in 0..args.warm_up_rounds + args.rounds {
        let counts = round >= args.warm_up_rounds;
        for turn in 0..specs.len() {
            let side = (turn + round as usize) % specs.len();
            let result = one(&scenario, &specs[side], started[side].as_ref(), &properties, &placement.threads)?;
            clean &= result.is_clean();
            let label = if counts { format!("round {}", round - args.warm_up_rounds + 1) } else { "warm-up round".to_owned() };
            eprintln!("{label}, {}: {}", result.target, headline(&result));
            if !result.is_clean() {
                eprint!("{}", text::table(&result));
            }
            if counts {
                rounds[side].push(result);
            }
        }
    }
    let rows = rows(&rounds);
    say(&table(&rounds[0][0].target, &rows, args.rounds as usize))?;
    if let Some(path) = &args.json {
        let document = Document { compared_with: &rounds[0][0].target, rows: &rows, rounds: &rounds };
        save(path, serde_json::to_string_pretty(&document).expect("plain numbers and text").as_bytes())?;
    }
    Ok((clean, rows))
}

fn one(
    scenario: &Scenario,
    spec: &Spec,
    started: Option<&Started>,
    properties: &ClientProperties,
    threads: &Threads,
) -> Result<RunResult, BenchError> {
    let address = match spec {
        Spec::Address(address) => address.as_str(),
        _ => "",
    };
    let bootstrap = started.map_or(address, |s| s.bootstrap.as_str());
    let subject = Subject {
        name: spec.name(),
        config: properties.connect(bootstrap)?,
        process: started.map(|s| &s.process),
        threads: threads.clone(),
    };
    Ok(measure(scenario, &subject, None, &mut |_, _| ())?.result)
}

fn headline(result: &RunResult) -> String {
    let mut out = String::new();
    for measure in &MEASURES[..9] {
        if let Some(value) = (measure.of)(result) {
            let _ = write!(out, "{}{} {}", if out.is_empty() { "" } else { ", " }, measure.name, number(value));
        }
    }
    out
}

fn rows(rounds: &[Vec<RunResult>]) -> Vec<Row> {
    let mut rows = Vec::new();
    for side in &rounds[1..] {
        for measure in &MEASURES {
            let values = |side: &[RunResult]| side.iter().map(measure.of).collect::<Option<Vec<f64>>>();
            let Some((a, b)) = values(&rounds[0]).zip(values(side)) else { continue };
            if let Some(comparison) = stats::compare(&a, &b, measure.more_is_better) {
                rows.push(Row { side: side[0].target.clone(), measure: measure.name, comparison });
            }
        }
    }
    rows
}

/// Three digits that mean something.
fn number(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

fn table(first: &str, rows: &[Row], rounds: usize) -> String {
    let mut out = String::new();
    let mut side = "";
    for row in rows {
        if row.side != side {
            side = &row.side;
            let _ = writeln!(out, "\n{side} against {first}, {rounds} rounds");
            let _ = writeln!(out, "{:<22}{:>10}{:>10}  {:<24}verdict", "median of", "first", "this", "ratio (least to most)");
        }
        let c = &row.comparison;
        let ratio = format!("{} ({} to {})", number(c.ratio), number(c.ratio_min), number(c.ratio_max));
        let verdict = match c.verdict {
            Verdict::Better => "better",
            Verdict::Worse => "worse",
            Verdict::None => "none: the rounds do not show a difference",
        };
        let _ = writeln!(out, "{:<22}{:>10}{:>10}  {ratio:<24}{verdict}", row.measure, number(c.a), number(c.b));
    }
    if rounds < stats::rounds_min() {
        let _ = writeln!(out, "\nfewer than {} rounds allow no verdict", stats::rounds_min());
    }
    out
}

fn compare_saved(files: &[String]) -> Result<bool, BenchError> {
    let runs = files.iter().map(|f| RunResult::load(Path::new(f))).collect::<Result<Vec<_>, _>>().map_err(BenchError::Arguments)?;
    check_comparable(&runs).map_err(BenchError::Arguments)?;
    let mut out = String::new();
    for (file, run) in files.iter().zip(&runs).skip(1) {
        let _ = writeln!(out, "{file} ({}) against {} ({})", run.target, files[0], runs[0].target);
        for measure in &MEASURES {
            if let Some((a, b)) = (measure.of)(&runs[0]).zip((measure.of)(run)).filter(|(a, _)| *a > 0.0) {
                let _ = writeln!(out, "{:<22}{:>10}{:>10}  ratio {}", measure.name, number(a), number(b), number(b / a));
            }
        }
    }
    out.push_str("\nno verdict: these ran at different times. odradek bench compare with targets runs them in turns.\n");
    say(&out)?;
    Ok(runs.iter().all(RunResult::is_clean))
}

/// Why runs cannot be compared, where they cannot.
fn check_comparable(runs: &[RunResult]) -> Result<(), String> {
    let first = &runs[0];
    for run in &runs[1..] {
        if run.machine != first.machine {
            return Err(format!(
                "runs of different machines are not compared: {} cores, {}, Linux {} (machine {}), and {} cores, {}, Linux {} (machine {})",
                first.machine.cores,
                first.machine.cpu,
                first.machine.kernel,
                first.machine.id,
                run.machine.cores,
                run.machine.cpu,
                run.machine.kernel,
                run.machine.id
            ));
        }
        if run.scenario != first.scenario {
            return Err(format!("runs of different scenarios are not compared: '{}' and '{}'", first.scenario, run.scenario));
        }
        // Runs that older versions saved do not say.
        let known = !run.parameters.is_null() && !first.parameters.is_null();
        if known && run.parameters != first.parameters {
            return Err(format!(
                "runs of '{}' with different parameters are not compared; they differ in {}",
                run.scenario,
                differences("", &first.parameters, &run.parameters).join(", ")
            ));
        }
    }
    Ok(())
}

/// Names of what is not the same.
fn differences(name: &str, a: &Value, b: &Value) -> Vec<String> {
    let (Value::Object(of_a), Value::Object(of_b)) = (a, b) else {
        return if a == b { Vec::new() } else { vec![format!("{name} ({a} and {b})")] };
    };
    let mut keys: Vec<&String> = of_a.keys().chain(of_b.keys()).collect();
    keys.sort();
    keys.dedup();
    let inner = |key: &String| {
        let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
        differences(&name, of_a.get(key).unwrap_or(&Value::Null), of_b.get(key).unwrap_or(&Value::Null))
    };
    keys.into_iter().flat_map(inner).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::{AuditResult, BrokerUse, GeneratorUse, Machine, Recorder};
    use std::time::Duration;

    fn result(target: &str, mb_per_s: f64, cpu_s: f64) -> RunResult {
        let recorder = Recorder::new(Duration::ZERO, None);
        let mut step = recorder.step(0);
        (step.mb_per_s, step.seconds) = (mb_per_s, 10.0);
        let broker = BrokerUse { start_up_s: 1.0, cpu_s, resident_mb: 5.0, resident_peak_mb: 6.0, written_mb: 7.0, context_switches: 0 };
        RunResult {
            scenario: "s".into(),
            parameters: Value::Null,
            description: String::new(),
            target: target.into(),
            command: String::new(),
            harness_version: String::new(),
            started_ms: 0,
            machine: Machine::this(),
            warm_up: recorder.step(0),
            steps: vec![step],
            seconds: Vec::new(),
            core_busy: Vec::new(),
            generator: GeneratorUse::default(),
            broker: Some(broker),
            audit: AuditResult::default(),
            groups: Vec::new(),
            commit: None,
            limits: Vec::new(),
        }
    }

    #[test]
    fn rounds_become_rows_with_verdicts() {
        let side = |name: &str, scale: f64| (0..6).map(|i| result(name, scale * (100.0 + f64::from(i)), 2.0)).collect::<Vec<_>>();
        let rows = rows(&[side("kafka", 1.0), side("odradek", 2.0)]);
        let of = |name: &str| rows.iter().find(|r| r.measure == name).map(|r| (r.comparison.ratio, r.comparison.verdict));
        assert_eq!(of("produced MB/s"), Some((2.0, Verdict::Better)));
        assert_eq!(of("broker CPU s"), Some((1.0, Verdict::None)));
        assert_eq!(of("broker CPU s per GiB"), Some((0.5, Verdict::Better)));
        // Without a value, or with 0 of it, there is nothing to compare.
        assert_eq!((of("produce p99 ms"), of("context switches")), (None, None));
        let table = table("kafka", &rows, 6);
        assert!(table.contains("odradek against kafka, 6 rounds") && table.contains("2.00 (2.00 to 2.00)"), "{table}");
    }

    #[test]
    fn a_run_near_the_generators_limit_was_bounded_by_it() {
        for (mb_per_s, bounded) in [(90.0, true), (70.0, false)] {
            let mut run = result("x", mb_per_s, 1.0);
            run.set_generator_limit(Some(crate::measure::GeneratorLimit { requests_per_s: 1.0, mb_per_s: 100.0 }));
            assert_eq!(run.generator.bottleneck, bounded);
            assert!(text::table(&run).contains(&format!("{mb_per_s:.1} % of that")), "{}", text::table(&run));
        }
    }

    #[test]
    fn runs_of_other_machines_or_scenarios_are_refused() {
        let (a, mut b) = (result("x", 1.0, 1.0), result("y", 1.0, 1.0));
        assert!(check_comparable(&[a.clone(), b.clone()]).is_ok());
        b.machine.id = "other".into();
        assert!(check_comparable(&[a.clone(), b.clone()]).unwrap_err().contains("different machines"));
        b.machine = a.machine.clone();
        b.scenario = "t".into();
        assert!(check_comparable(&[a.clone(), b.clone()]).unwrap_err().contains("different scenarios"));
        b.scenario = a.scenario.clone();
        b.parameters = serde_json::json!({ "producers": { "acks": "1", "count": 8 }, "topics": 1 });
        let a = RunResult { parameters: serde_json::json!({ "producers": { "acks": "all", "count": 8 }, "topics": 1 }), ..a };
        let error = check_comparable(&[a.clone(), b.clone()]).unwrap_err();
        assert!(error.ends_with("they differ in producers.acks (\"all\" and \"1\")"), "{error}");
        b.parameters = a.parameters.clone();
        assert!(check_comparable(&[a, b]).is_ok());
    }

    #[test]
    fn saved_runs_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        std::fs::write(&path, serde_json::to_string(&result("x", 3.0, 1.0)).unwrap()).unwrap();
        assert_eq!(RunResult::load(&path).unwrap().last().mb_per_s, 3.0);
        std::fs::write(&path, "{}").unwrap();
        assert!(RunResult::load(&path).unwrap_err().contains("not a saved run"));
    }
}
