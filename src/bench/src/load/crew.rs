//! The threads of a run as one: they are driven together, what they record is merged, and the audit is over all of them.

use super::group::Group;
use super::{Engine, Pace, Until};
use crate::BenchError;
use crate::measure::{GeneratorUse, GroupResult, Interval, Recorder, Second, StepResult, Summary, ThreadUse};
use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

/// Busier than this, a thread cannot be trusted to have kept up.
const BUSY_MAX: f64 = 0.9;

/// How many threads, and where they run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Threads {
    /// One for each thread; `None` where the kernel may choose.
    pub cores: Vec<Option<usize>>,
}

impl Threads {
    pub fn one() -> Self {
        Self { cores: vec![None] }
    }

    pub fn count(&self) -> usize {
        self.cores.len()
    }
}

/// All threads of a run.
pub struct Crew {
    pub engines: Vec<Engine>,
    pub groups: Vec<Group>,
    pub group_results: Vec<GroupResult>,
    threads: Threads,
    abort: Arc<AtomicBool>,
    /// Reading connections so far: they are given to the threads in turns, the last thread first, because writers begin with the first.
    readers: usize,
    seconds: Collector,
}

impl Crew {
    pub fn new(engines: Vec<Engine>, threads: Threads, abort: Arc<AtomicBool>) -> Self {
        let seconds = Collector::new(engines.len());
        Self { engines, groups: Vec::new(), group_results: Vec::new(), threads, abort, readers: 0, seconds }
    }

    /// The thread that gets the next reading connection.
    pub fn next_reading_thread(&mut self) -> usize {
        let thread = self.engines.len() - 1 - self.readers % self.engines.len();
        self.readers += 1;
        thread
    }

    /// Nanoseconds since the run began.
    pub fn now(&self) -> u64 {
        self.engines[0].now()
    }

    /// What tells this run's records from those of others.
    pub fn run(&self) -> u64 {
        self.engines[0].encoder.run
    }

    /// Begins the run's clock; `offered` is the rate of the warm-up.
    pub fn begin(&mut self, warm_up: Duration, offered: Option<f64>) {
        let origin = Instant::now();
        self.engines.iter_mut().for_each(|e| e.begin(origin, warm_up, offered));
        self.seconds = Collector::new(self.engines.len());
        self.groups.iter().for_each(Group::begin);
    }

    /// From here on the generator's own use counts.
    pub fn begin_measuring(&mut self) {
        self.engines.iter_mut().for_each(Engine::begin_measuring);
    }

    /// Begins a window of measurement at the end of the last one and returns its end.
    pub fn window(&mut self, length: Duration, offered: Option<f64>) -> u64 {
        self.engines.iter_mut().map(|e| e.recorder.window(length, offered)).max().expect("a run has a thread")
    }

    /// Result of the last window.
    pub fn last_step(&self) -> StepResult {
        Recorder::step_of(self.engines.iter().map(|e| &e.recorder), self.engines[0].recorder.windows() - 1)
    }

    /// The seconds up to now; what the end of the run brings is not among them.
    pub fn seconds(&mut self) -> Vec<Second> {
        let now = self.now();
        self.engines.iter_mut().for_each(|e| e.recorder.flush(now));
        Recorder::seconds_of(self.engines.iter().map(|e| &e.recorder))
    }

    /// Everything that was recorded, up to now.
    pub fn recorded(&mut self) -> Recorder {
        let now = self.now();
        let mut recorders = self.engines.iter_mut().map(|e| {
            e.recorder.flush(now);
            std::mem::replace(&mut e.recorder, Recorder::new(Duration::ZERO, None))
        });
        let mut all = recorders.next().expect("a run has a thread");
        recorders.for_each(|r| all.merge(r));
        all
    }

    /// Drives all threads until then. `on_second` hears of every second that is over on all of them.
    pub fn drive(&mut self, pace: Pace, until: Until, on_second: &mut dyn FnMut(&Second)) -> Result<(), BenchError> {
        let seconds = &mut self.seconds;
        if let [engine] = &mut self.engines[..] {
            return engine.drive(pace, until, &mut |interval| seconds.take(0, interval, on_second));
        }
        let (sender, receiver) = channel();
        let abort = &self.abort;
        std::thread::scope(|scope| {
            let mut threads = Vec::new();
            for ((index, engine), &core) in self.engines.iter_mut().enumerate().zip(&self.threads.cores) {
                let sender = sender.clone();
                let until = engine.part_of(until);
                let run = move || {
                    crate::pin(core)?;
                    let outcome = engine.drive(pace, until, &mut |interval| {
                        // Nobody listens any more when another thread failed.
                        let _ = sender.send((index, interval.clone()));
                    });
                    if outcome.is_err() {
                        abort.store(true, Ordering::Relaxed);
                    }
                    outcome
                };
                threads.push(std::thread::Builder::new().name(format!("load-{index}")).spawn_scoped(scope, run)?);
            }
            drop(sender);
            for (index, interval) in receiver {
                seconds.take(index, &interval, on_second);
            }
            let outcomes = threads.into_iter().map(|t| t.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            outcomes.collect::<Result<Vec<()>, _>>().map(|_| ())
        })
    }

    /// Writes so many bytes in closed loop and waits for the answers.
    pub fn preload(&mut self, bytes: u64) -> Result<(), BenchError> {
        self.drive(Pace::Closed, Until::Sent(bytes), &mut |_| ())?;
        self.finish_writing()?;
        let errors = self.last_step().errors;
        if let Some((error, count)) = errors.first_key_value() {
            return Err(BenchError::Broker(format!("preloading: {count} x {error}")));
        }
        for engine in &mut self.engines {
            engine.encoder.run += 1;
            engine.lanes.iter_mut().for_each(super::lane::Lane::restart);
        }
        Ok(())
    }

    /// Commits of transactions since [`Crew::begin_measuring`].
    pub fn commits(&self) -> Option<Summary> {
        Summary::of(&self.merged(|e| &e.commits))
    }

    /// What the generator needed since [`Crew::begin_measuring`]. `produce_p99_ms` tells whether its lateness matters.
    pub fn generator_use(&self, produce_p99_ms: Option<f64>) -> GeneratorUse {
        let p99_ms = |histogram: &Histogram<u64>| histogram.value_at_quantile(0.99) as f64 / 1e3;
        let of = |(engine, &core): (&Engine, &Option<usize>)| {
            let own = &engine.own;
            let driven = own.driven.max(1) as f64;
            let cpu_s = own.cpu.as_secs_f64();
            ThreadUse {
                core,
                busy: (own.busy as f64 / driven).min(1.0),
                cpu_s,
                cpu_share: cpu_s * 1e9 / driven,
                late_p99_ms: p99_ms(&own.late),
                lag_p99_ms: p99_ms(&own.lag),
            }
        };
        let threads: Vec<ThreadUse> = self.engines.iter().zip(&self.threads.cores).map(of).collect();
        let busy = threads.iter().map(|t| t.busy).fold(0.0, f64::max);
        let late_p99_ms = p99_ms(&self.merged(|e| &e.own.late));
        let late = produce_p99_ms.is_some_and(|p99| late_p99_ms > p99 / 2.0);
        GeneratorUse {
            busy,
            cpu_s: threads.iter().map(|t| t.cpu_s).sum(),
            late_p99_ms,
            lag_p99_ms: p99_ms(&self.merged(|e| &e.own.lag)),
            bottleneck: busy > BUSY_MAX || late,
            limit: None,
            threads,
        }
    }

    fn merged(&self, of: fn(&Engine) -> &Histogram<u64>) -> Histogram<u64> {
        let mut all = of(&self.engines[0]).clone();
        self.engines[1..].iter().for_each(|e| all.add(of(e)).expect("the histogram grows"));
        all
    }
}

impl Engine {
    /// A thread's part of an end that is counted, not timed.
    fn part_of(&self, until: Until) -> Until {
        match until {
            Until::Sent(bytes) => Until::Sent(bytes * self.writers.len() as u64 / self.share.writers.max(1) as u64),
            other => other,
        }
    }
}

/// Puts seconds of several threads together.
struct Collector {
    /// Up to where each thread has reported.
    reported: Vec<u64>,
    open: BTreeMap<u64, Interval>,
}

impl Collector {
    fn new(threads: usize) -> Self {
        Self { reported: vec![0; threads], open: BTreeMap::new() }
    }

    fn take(&mut self, thread: usize, interval: &Interval, on_second: &mut dyn FnMut(&Second)) {
        self.reported[thread] = interval.planned_end;
        match self.open.get_mut(&interval.planned_end) {
            Some(open) => open.merge(interval),
            None => {
                self.open.insert(interval.planned_end, interval.clone());
            }
        }
        let through = self.reported.iter().copied().min().unwrap_or(0);
        while let Some(first) = self.open.first_entry().filter(|e| *e.key() <= through) {
            on_second(&first.remove().second());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Kind;

    const S: u64 = 1_000_000_000;

    #[test]
    fn a_second_is_shown_when_it_is_over_on_all_threads() {
        let mut recorder = Recorder::new(Duration::ZERO, None);
        let mut interval = |end: u64, records| {
            recorder.produced(end - 1, records, 0);
            recorder.latency(Kind::Produce, end - 1, end + 1_000_000 * records, 1);
            recorder.tick(end).expect("over").clone()
        };
        let (first, second) = (interval(S, 3), interval(2 * S, 5));
        let mut collector = Collector::new(2);
        let mut shown = Vec::new();
        let mut take = |collector: &mut Collector, thread, interval: &Interval| {
            collector.take(thread, interval, &mut |second| shown.push((second.at_s.round() as u64, second.records_per_s.round() as u64)));
        };
        take(&mut collector, 0, &first);
        take(&mut collector, 0, &second);
        // The other thread was kept from its clock for a second.
        take(&mut collector, 1, &second);
        assert_eq!(shown, [(0, 3), (1, 10)]);
    }
}
