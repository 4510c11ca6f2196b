//! One run of one scenario against one cluster.

use crate::BenchError;
use crate::load::{Crew, Pace, Threads, Until};
use crate::measure::{Machine, Recorder, RunResult, Second};
use crate::process::{CoreTimes, Process, Used};
use crate::scenario::{Rate, Scenario, Steps};
use crate::target::{Topics, ends};
use odradek_client::ClientConfig;
use odradek_client::producer::wall_clock_ms;
use std::time::Duration;

/// Offered and not even this share achieved: saturated.
const ACHIEVED_MIN: f64 = 0.95;

/// A run and the histograms behind it.
pub struct Measured {
    pub result: RunResult,
    pub recorder: Recorder,
}

/// Who is measured.
pub struct Subject<'a> {
    /// As reports name it.
    pub name: String,
    pub config: ClientConfig,
    /// The broker's process, where the harness started it.
    pub process: Option<&'a Process>,
    /// The threads that measure it.
    pub threads: Threads,
}

/// Runs a scenario. `topic` overrides the name of its topics; `progress` hears of every second.
pub fn measure(
    scenario: &Scenario,
    subject: &Subject<'_>,
    topic: Option<&str>,
    progress: &mut dyn FnMut(&Second, Option<f64>),
) -> Result<Measured, BenchError> {
    let topics = Topics {
        name: topic.map_or_else(|| scenario.topic(), str::to_owned),
        count: scenario.topics,
        partitions: scenario.partitions,
        replication_factor: scenario.replication_factor,
    };
    let (mut cluster, partitions) = topics.open(subject.config.clone())?;
    let mut crew = Crew::prepare(scenario, &subject.threads, &mut cluster, &partitions)?;
    let mut preloaded = None;
    if let Some(preload) = scenario.catch_up.as_ref().map(|c| c.preload_mb).filter(|&mb| mb > 0) {
        preloaded = Some(ends(&mut cluster, &partitions)?);
        crew.preload(preload * 1_000_000)?;
    }
    let starts = ends(&mut cluster, &partitions)?;
    crew.connect_readers(scenario, &mut cluster, &partitions, &starts, preloaded)?;

    let started_ms = wall_clock_ms();
    let warm_up = Duration::from_secs_f64(scenario.warm_up_s);
    let length = Duration::from_secs_f64(scenario.duration_s);
    // The first latencies of a step are those of the pace before it: warm up at the pace that is measured.
    let paces = paces(scenario);
    let first = paces.first().copied().unwrap_or(Pace::Silent);
    crew.begin(warm_up, offered(scenario, first));
    crew.drive(first, Until::Time(warm_up.as_nanos() as u64), &mut |second| progress(second, offered(scenario, first)))?;
    crew.begin_measuring();
    let cores = CoreTimes::now();
    let before = subject.process.map(Process::used);
    for pace in paces {
        let offered = offered(scenario, pace);
        let end = crew.window(length, offered);
        crew.drive(pace, Until::Time(end), &mut |second| progress(second, offered))?;
        let step = crew.last_step();
        let too_long = |s: &Steps| step.produce.as_ref().is_none_or(|p| p.p99_ms > s.p99_ms_max);
        let behind = offered.is_some_and(|o| step.records_per_s < o * ACHIEVED_MIN);
        if matches!(&scenario.rate, Some(Rate::Steps(s)) if behind || too_long(s)) {
            break;
        }
    }
    let broker = subject.process.zip(before).map(|(process, before): (&Process, Used)| process.since(&before));
    let core_busy = CoreTimes::now().busy_since(&cores);
    let p99 = crew.last_step().produce.map(|p| p.p99_ms);
    let generator = crew.generator_use(p99);
    let commit = crew.commits();
    let seconds = crew.seconds();
    crew.finish_writing()?;
    let audit = crew.audit(&mut cluster, &partitions, &starts)?;

    let recorder = crew.recorded();
    let result = RunResult {
        scenario: scenario.name.clone(),
        description: scenario.description.clone(),
        parameters: serde_json::to_value(scenario).expect("plain numbers and text"),
        target: subject.name.clone(),
        command: command_line(),
        harness_version: env!("CARGO_PKG_VERSION").to_owned(),
        started_ms,
        machine: Machine::this(),
        warm_up: recorder.step(0),
        steps: (1..recorder.windows()).map(|i| recorder.step(i)).collect(),
        seconds,
        core_busy,
        generator,
        broker,
        audit,
        commit,
        groups: std::mem::take(&mut crew.group_results),
        limits: Vec::new(),
    };
    Ok(Measured { result, recorder })
}

/// The command, with the program's name instead of its place on this machine.
fn command_line() -> String {
    std::iter::once("odradek".to_owned()).chain(std::env::args().skip(1)).collect::<Vec<_>>().join(" ")
}

fn paces(scenario: &Scenario) -> Vec<Pace> {
    match &scenario.rate {
        None => vec![Pace::Silent],
        Some(Rate::RequestsPerS(rate)) => vec![Pace::Requests(*rate)],
        Some(Rate::RecordsPerS(rate)) => vec![Pace::Records(*rate)],
        Some(Rate::ClosedLoop(_)) => vec![Pace::Closed],
        Some(Rate::Steps(s)) => (0..s.count_max).map(|i| Pace::Records(s.records_per_s * s.factor.powi(i as i32))).collect(),
    }
}

/// Records offered per second.
fn offered(scenario: &Scenario, pace: Pace) -> Option<f64> {
    match pace {
        Pace::Silent | Pace::Closed => None,
        Pace::Records(rate) => Some(rate),
        Pace::Requests(rate) => scenario.producers.as_ref().map(|p| rate * records_per_batch(scenario, p.batch_bytes)),
    }
}

fn records_per_batch(scenario: &Scenario, batch_bytes: usize) -> f64 {
    use crate::scenario::Size;
    let mean = match &scenario.record.size {
        Size::Fixed(bytes) => return (batch_bytes / bytes).max(1) as f64,
        Size::Range(range) => (range.min + range.max) as f64 / 2.0,
        Size::Weighted(sizes) => {
            sizes.iter().map(|&(bytes, weight)| bytes as f64 * weight).sum::<f64>() / sizes.iter().map(|s| s.1).sum::<f64>()
        }
    };
    (batch_bytes as f64 / mean).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scenario(rate: &str) -> Scenario {
        Scenario::parse(&format!("name = 'x'\n{rate}\nrecord.size = 100\n[producers]\nbatch_bytes = 1000\n")).unwrap()
    }

    #[test]
    fn what_is_offered() {
        let s = scenario("rate.requests_per_s = 50");
        assert_eq!((paces(&s), offered(&s, Pace::Requests(50.0))), (vec![Pace::Requests(50.0)], Some(500.0)));
        let s = scenario("rate.steps = { records_per_s = 100, factor = 3, count_max = 3 }");
        assert_eq!(paces(&s), [Pace::Records(100.0), Pace::Records(300.0), Pace::Records(900.0)]);
        let s = scenario("rate.closed_loop = true");
        assert_eq!((paces(&s), offered(&s, Pace::Closed)), (vec![Pace::Closed], None));
    }
}
