//! Results for a terminal.

use crate::measure::{GeneratorUse, GroupResult, RunResult, Second, StepResult, Summary};
use std::fmt::Write as _;

/// One line about a second that has passed.
pub fn progress(second: &Second, offered: Option<f64>) -> String {
    let mut line = format!("{:>6.0} s{} ", second.at_s + 1.0, if second.warm_up { " warm-up" } else { "" });
    if let Some(offered) = offered {
        let _ = write!(line, " {offered:.0} records/s offered,");
    }
    let _ = write!(line, " {:.0} records/s, {:.1} MB/s", second.records_per_s, second.mb_per_s);
    if second.consumed_mb_per_s > 0.0 {
        let _ = write!(line, ", read {:.1} MB/s", second.consumed_mb_per_s);
    }
    let p99s = [("produce", second.produce_p99_ms), ("end to end", second.end_to_end_p99_ms), ("fetch", second.fetch_p99_ms)];
    for (name, p99) in p99s.into_iter().filter_map(|(n, p)| p.map(|p| (n, p))) {
        let _ = write!(line, ", {name} p99 {p99:.2} ms");
    }
    if second.errors > 0 {
        let _ = write!(line, ", {} errors", second.errors);
    }
    line
}

/// The table at the end.
pub fn table(result: &RunResult) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "{:<12}{}, {}", "scenario", result.scenario, result.target);
    for (index, step) in result.steps.iter().enumerate() {
        if result.steps.len() > 1 {
            let _ = writeln!(out, "step {}", index + 1);
        }
        step_lines(&mut out, step);
    }
    if !result.warm_up.errors.is_empty() {
        for (error, count) in &result.warm_up.errors {
            let _ = writeln!(out, "{:<12}{count} x {error} in the warm-up", "errors");
        }
    }
    let g = &result.generator;
    let _ = writeln!(out, "{:<12}{}", "generator", generator_line(g));
    if let Some(line) = generator_limit_line(result) {
        let _ = writeln!(out, "{:<12}{line}", "");
    }
    if g.bottleneck {
        let _ = writeln!(out, "{:<12}the generator was the bottleneck: the broker may do better than these figures", "");
    }
    if let Some(b) = &result.broker {
        let _ = writeln!(
            out,
            "{:<12}{:.2} s CPU, {:.0} MB resident ({:.0} at most), {:.1} MB written, {} context switches, started in {:.3} s",
            "broker", b.cpu_s, b.resident_mb, b.resident_peak_mb, b.written_mb, b.context_switches, b.start_up_s
        );
    }
    if let Some(commit) = &result.commit {
        let _ = writeln!(out, "{:<12}{}", "commit", commit_line(commit));
    }
    for group in &result.groups {
        let _ = writeln!(out, "{:<12}{}", "group", group_line(group));
    }
    for line in &result.limits {
        let _ = writeln!(out, "{:<12}{line}", "limit");
    }
    let _ = writeln!(out, "{}", audit_line(&result.audit));
    out
}

/// What the generator needed for itself.
pub fn generator_line(g: &GeneratorUse) -> String {
    let mut line = format!(
        "{:.0} % busy, {:.2} s CPU, late by {:.2} ms, {:.2} ms between two looks at the sockets (p99)",
        g.busy * 100.0,
        g.cpu_s,
        g.late_p99_ms,
        g.lag_p99_ms
    );
    for thread in g.threads.iter().filter(|t| g.threads.len() > 1 || t.core.is_some()) {
        let place = thread.core.map_or_else(|| "any core".to_owned(), |core| format!("core {core}"));
        let _ = write!(line, "; on {place} {:.0} % busy, {:.0} % CPU", thread.busy * 100.0, thread.cpu_share * 100.0);
    }
    line
}

/// The generator's own limit beside what was produced.
pub fn generator_limit_line(result: &RunResult) -> Option<String> {
    let limit = result.generator.limit?;
    let share = 100.0 * result.last().mb_per_s / limit.mb_per_s.max(1e-9);
    Some(format!(
        "its own limit over loopback, full batches with no broker behind: {:.0} requests/s, {:.0} MB/s; produced {share:.1} % of that",
        limit.requests_per_s, limit.mb_per_s
    ))
}

/// How long commits of transactions took.
pub fn commit_line(commit: &Summary) -> String {
    format!("{} transactions, {}", commit.count, latency_line(commit))
}

/// What became of a group.
pub fn group_line(g: &GroupResult) -> String {
    let mut line = format!(
        "{}: members {}, generations {}, commits {}, records delivered again {}, longest rebalance {:.1} ms",
        g.group, g.members, g.generations, g.commits, g.redelivered, g.rebalance_ms_max
    );
    for (error, count) in &g.commit_errors {
        let _ = write!(line, ", {count} commits {error}");
    }
    if g.uncommitted_partitions > 0 {
        let _ = write!(line, ", {} partitions NOT committed to where they were read", g.uncommitted_partitions);
    }
    line
}

/// What the audit says.
pub fn audit_line(a: &crate::measure::AuditResult) -> String {
    format!(
        "{:<12}{} records: {} lost, {} duplicated, {} reordered, {} damaged, {} in the wrong partition",
        "audit", a.records, a.lost, a.duplicated, a.reordered, a.damaged, a.misplaced
    )
}

fn step_lines(out: &mut String, step: &StepResult) {
    if let Some(offered) = step.offered_records_per_s {
        let _ = writeln!(out, "{:<12}{offered:.0} records/s, not sent in time: {}", "offered", step.unsent_records);
    }
    if step.requests_per_s > 0.0 {
        let _ = writeln!(
            out,
            "{:<12}{:.0} requests/s, {:.0} records/s, {:.1} MB/s",
            "achieved", step.requests_per_s, step.records_per_s, step.mb_per_s
        );
    }
    if step.consumed_records_per_s > 0.0 {
        let _ = writeln!(out, "{:<12}{:.0} records/s, {:.1} MB/s", "read", step.consumed_records_per_s, step.consumed_mb_per_s);
    }
    for (name, summary) in [("produce", &step.produce), ("end to end", &step.end_to_end), ("fetch", &step.fetch)] {
        if let Some(summary) = summary {
            let _ = writeln!(out, "{name:<12}{}", latency_line(summary));
        }
    }
    for (error, count) in &step.errors {
        let _ = writeln!(out, "{:<12}{count} x {error}", "errors");
    }
    if step.errors.is_empty() {
        let _ = writeln!(out, "{:<12}none", "errors");
    }
}

fn latency_line(l: &Summary) -> String {
    format!(
        "mean {:.3}  p50 {:.3}  p90 {:.3}  p99 {:.3}  p99.9 {:.3}  p99.99 {:.3}  max {:.3} ms",
        l.mean_ms, l.p50_ms, l.p90_ms, l.p99_ms, l.p999_ms, l.p9999_ms, l.max_ms
    )
}
