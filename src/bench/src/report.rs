//! What a run found, for people and for scripts.

use hdrhistogram::Histogram;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// Longest latency told apart, in nanoseconds; longer ones count as this.
const LATENCY_MAX_NS: u64 = 120_000_000_000;
const SIGNIFICANT_DIGITS: u8 = 3;

/// Latencies of a run, in nanoseconds.
#[derive(Debug)]
pub struct Latencies(Histogram<u64>);

impl Latencies {
    pub fn new() -> Self {
        Self(Histogram::new_with_bounds(1, LATENCY_MAX_NS, SIGNIFICANT_DIGITS).expect("the bounds are valid"))
    }

    pub fn record(&mut self, latency: Duration) {
        self.0.saturating_record((latency.as_nanos().min(u128::from(LATENCY_MAX_NS)) as u64).max(1));
    }

    fn summary(&self) -> Option<Summary> {
        let ms = |ns: u64| ns as f64 / 1e6;
        let at = |quantile: f64| ms(self.0.value_at_quantile(quantile));
        (!self.0.is_empty()).then(|| Summary {
            mean: self.0.mean() / 1e6,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            p9999: at(0.9999),
            max: ms(self.0.max()),
        })
    }
}

/// Latencies in milliseconds.
#[derive(Debug, Serialize)]
struct Summary {
    mean: f64,
    p50: f64,
    p90: f64,
    p99: f64,
    p999: f64,
    p9999: f64,
    max: f64,
}

/// Counts of the measured part of a run.
#[derive(Debug, Default)]
pub struct Counts {
    pub requests: u64,
    pub records: u64,
    pub bytes: u64,
    /// Requests whose response carried an error, by Kafka's name of it.
    pub errors: BTreeMap<String, u64>,
    /// Open loop: requests that were due and could not be sent before the end.
    pub unsent: u64,
}

#[derive(Debug, Serialize)]
struct Document<'a> {
    kind: &'a str,
    command: String,
    seconds: f64,
    #[serde(rename = "offeredPerSecond")]
    offered: Option<f64>,
    #[serde(rename = "requestsPerSecond")]
    requests: f64,
    #[serde(rename = "recordsPerSecond")]
    records: f64,
    #[serde(rename = "megabytesPerSecond")]
    megabytes: f64,
    #[serde(rename = "latencyMs")]
    latency: Option<Summary>,
    errors: &'a BTreeMap<String, u64>,
    unsent: u64,
}

/// Prints the result; true when there was no error.
pub fn print(kind: &str, json: bool, offered: Option<f64>, elapsed: Duration, counts: &Counts, latencies: &Latencies) -> bool {
    let seconds = elapsed.as_secs_f64().max(1e-9);
    let document = Document {
        kind,
        command: std::env::args().collect::<Vec<_>>().join(" "),
        seconds,
        offered,
        requests: counts.requests as f64 / seconds,
        records: counts.records as f64 / seconds,
        megabytes: counts.bytes as f64 / 1e6 / seconds,
        latency: latencies.summary(),
        errors: &counts.errors,
        unsent: counts.unsent,
    };
    if json {
        println!("{}", serde_json::to_string(&document).expect("plain numbers and text"));
    } else {
        show(&document);
    }
    counts.errors.is_empty()
}

fn show(d: &Document<'_>) {
    println!("{:<12}{:.1} s", d.kind, d.seconds);
    if let Some(offered) = d.offered {
        println!("{:<12}{offered:.0} requests/s, not sent in time: {}", "offered", d.unsent);
    }
    println!("{:<12}{:.0} requests/s, {:.0} records/s, {:.1} MB/s", "achieved", d.requests, d.records, d.megabytes);
    if let Some(l) = &d.latency {
        println!(
            "{:<12}mean {:.3}  p50 {:.3}  p90 {:.3}  p99 {:.3}  p99.9 {:.3}  p99.99 {:.3}  max {:.3} ms",
            "latency", l.mean, l.p50, l.p90, l.p99, l.p999, l.p9999, l.max
        );
    }
    for (error, count) in d.errors {
        println!("{:<12}{count} x {error}", "errors");
    }
    if d.errors.is_empty() {
        println!("{:<12}none", "errors");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_in_milliseconds_and_long_ones_count() {
        let mut latencies = Latencies::new();
        assert!(latencies.summary().is_none());
        for ms in 1..=1000 {
            latencies.record(Duration::from_millis(ms));
        }
        latencies.record(Duration::from_secs(1000));
        let summary = latencies.summary().expect("recorded");
        assert!((summary.p50 - 500.0).abs() < 2.0 && (summary.p99 - 990.0).abs() < 3.0, "{summary:?}");
        assert!(summary.max >= 119_000.0);
    }
}
