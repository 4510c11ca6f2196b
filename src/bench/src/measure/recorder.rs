//! Where each latency is counted.
//!
//! A latency belongs to the window in which its request was *meant* to be sent, however late the answer came; what is answered counts as
//! achieved in the window in which the answer came. Values are microseconds in a histogram that grows: none is dropped or cut.

use super::result::{Second, StepResult, Summary};
use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

const SIGNIFICANT_DIGITS: u8 = 3;
const SECOND_NS: u64 = 1_000_000_000;

/// Which latency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// From the intended moment to the acknowledgement.
    Produce,
    /// From the intended moment to the record in the consumer's hands.
    EndToEnd,
    /// From the moment a fetch could be sent to its answer; only answers with records.
    Fetch,
}

impl Kind {
    pub const ALL: [Kind; 3] = [Kind::Produce, Kind::EndToEnd, Kind::Fetch];

    pub fn name(self) -> &'static str {
        match self {
            Kind::Produce => "produce",
            Kind::EndToEnd => "end-to-end",
            Kind::Fetch => "fetch",
        }
    }
}

fn empty() -> Histogram<u64> {
    // It resizes itself, so recording never fails.
    Histogram::new(SIGNIFICANT_DIGITS).expect("three digits are allowed")
}

/// Produced and consumed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counts {
    pub requests: u64,
    pub records: u64,
    pub bytes: u64,
    pub consumed_records: u64,
    pub consumed_bytes: u64,
}

impl Counts {
    fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.records += other.records;
        self.bytes += other.bytes;
        self.consumed_records += other.consumed_records;
        self.consumed_bytes += other.consumed_bytes;
    }
}

#[derive(Debug, Clone)]
struct Window {
    from: u64,
    to: u64,
    offered: Option<f64>,
    histograms: [Histogram<u64>; 3],
    counts: Counts,
    unsent: u64,
    errors: BTreeMap<String, u64>,
}

impl Window {
    fn new(from: u64, to: u64, offered: Option<f64>) -> Self {
        let histograms = [empty(), empty(), empty()];
        Self { from, to, offered, histograms, counts: Counts::default(), unsent: 0, errors: BTreeMap::new() }
    }

    fn merge(&mut self, other: &Self) {
        for (own, histogram) in self.histograms.iter_mut().zip(&other.histograms) {
            own.add(histogram).expect("the histogram grows");
        }
        self.counts.add(&other.counts);
        self.unsent += other.unsent;
        for (error, count) in &other.errors {
            *self.errors.entry(error.clone()).or_default() += count;
        }
    }

    fn result(&self) -> StepResult {
        let seconds = ((self.to - self.from) as f64 / 1e9).max(1e-9);
        let summary = |kind: Kind| Summary::of(&self.histograms[kind as usize]);
        let counts = &self.counts;
        StepResult {
            seconds,
            offered_records_per_s: self.offered,
            requests_per_s: counts.requests as f64 / seconds,
            records_per_s: counts.records as f64 / seconds,
            mb_per_s: counts.bytes as f64 / 1e6 / seconds,
            consumed_records_per_s: counts.consumed_records as f64 / seconds,
            consumed_mb_per_s: counts.consumed_bytes as f64 / 1e6 / seconds,
            produce: summary(Kind::Produce),
            end_to_end: summary(Kind::EndToEnd),
            fetch: summary(Kind::Fetch),
            unsent_records: self.unsent,
            errors: self.errors.clone(),
        }
    }
}

/// A second of a run, or less where the warm-up ends within it.
#[derive(Debug, Clone)]
pub struct Interval {
    /// Where it was to end: tells which intervals of several recorders belong together.
    pub planned_end: u64,
    from: u64,
    length: u64,
    warm_up: bool,
    counts: Counts,
    /// Since the start.
    errors: u64,
    /// Of everything that was answered in it.
    histograms: Vec<(Kind, Histogram<u64>)>,
    /// Of that, what was due in a measured window.
    measured: Vec<(Kind, Histogram<u64>)>,
}

/// Moves what was recorded out of the histograms.
fn taken(from: &mut [Histogram<u64>; 3]) -> Vec<(Kind, Histogram<u64>)> {
    let mut taken = Vec::new();
    for kind in Kind::ALL {
        let histogram = &mut from[kind as usize];
        if !histogram.is_empty() {
            taken.push((kind, histogram.clone()));
            histogram.reset();
        }
    }
    taken
}

fn merge_histograms(own: &mut Vec<(Kind, Histogram<u64>)>, other: &[(Kind, Histogram<u64>)]) {
    for (kind, histogram) in other {
        match own.iter_mut().find(|h| h.0 == *kind) {
            Some((_, own)) => own.add(histogram).expect("the histogram grows"),
            None => own.push((*kind, histogram.clone())),
        }
    }
}

impl Interval {
    /// Adds what another recorder has of the same time.
    pub fn merge(&mut self, other: &Self) {
        let end = (self.from + self.length).max(other.from + other.length);
        self.from = self.from.min(other.from);
        self.length = end - self.from;
        self.counts.add(&other.counts);
        self.errors += other.errors;
        merge_histograms(&mut self.histograms, &other.histograms);
        merge_histograms(&mut self.measured, &other.measured);
    }

    /// Adds what the same recorder has of the rest of it.
    fn extend(&mut self, rest: &Self) {
        let errors = rest.errors;
        self.merge(rest);
        self.errors = errors;
    }

    /// As it is shown.
    pub fn second(&self) -> Second {
        let rate = |n: u64| n as f64 * 1e9 / self.length as f64;
        let p99 = |kind: Kind| self.histograms.iter().find(|h| h.0 == kind).and_then(|h| Summary::of(&h.1)).map(|s| s.p99_ms);
        Second {
            at_s: self.from as f64 / 1e9,
            warm_up: self.warm_up,
            records_per_s: rate(self.counts.records),
            mb_per_s: rate(self.counts.bytes) / 1e6,
            consumed_mb_per_s: rate(self.counts.consumed_bytes) / 1e6,
            produce_p99_ms: p99(Kind::Produce),
            end_to_end_p99_ms: p99(Kind::EndToEnd),
            fetch_p99_ms: p99(Kind::Fetch),
            errors: self.errors,
        }
    }
}

/// Collects what happens in a run, on one thread of it. The first window is the warm-up; times are nanoseconds of the run's clock.
pub struct Recorder {
    windows: Vec<Window>,
    /// Where the present interval began.
    interval_from: u64,
    second: [Histogram<u64>; 3],
    measured: [Histogram<u64>; 3],
    second_counts: Counts,
    errors: u64,
    intervals: Vec<Interval>,
    started: SystemTime,
}

impl Recorder {
    pub fn new(warm_up: Duration, offered: Option<f64>) -> Self {
        Self {
            windows: vec![Window::new(0, warm_up.as_nanos() as u64, offered)],
            interval_from: 0,
            second: [empty(), empty(), empty()],
            measured: [empty(), empty(), empty()],
            second_counts: Counts::default(),
            errors: 0,
            intervals: Vec::new(),
            started: SystemTime::now(),
        }
    }

    /// Adds what another thread of the same run recorded. Both have the same windows.
    pub fn merge(&mut self, other: Self) {
        for (own, window) in self.windows.iter_mut().zip(&other.windows) {
            own.merge(window);
        }
        self.errors += other.errors;
        for interval in other.intervals {
            match self.intervals.iter_mut().find(|i| i.planned_end == interval.planned_end) {
                Some(own) => own.merge(&interval),
                None => self.intervals.push(interval),
            }
        }
        self.intervals.sort_by_key(|i| i.planned_end);
    }

    /// Result of window `index` over all threads of a run; 0 is the warm-up.
    pub fn step_of<'a>(mut recorders: impl Iterator<Item = &'a Self>, index: usize) -> StepResult {
        let mut all = recorders.next().expect("a run has a thread").windows[index].clone();
        recorders.for_each(|r| all.merge(&r.windows[index]));
        all.result()
    }

    /// Begins a window of measurement at the end of the last one and returns its end.
    pub fn window(&mut self, length: Duration, offered: Option<f64>) -> u64 {
        let from = self.windows.last().expect("the warm-up is there").to;
        let to = from + length.as_nanos() as u64;
        self.windows.push(Window::new(from, to, offered));
        to
    }

    fn at(&mut self, moment: u64) -> Option<&mut Window> {
        self.windows.iter_mut().rev().find(|w| w.from <= moment && moment < w.to)
    }

    /// `count` latencies of requests that were meant to go out at `due`.
    pub fn latency(&mut self, kind: Kind, due: u64, done: u64, count: u64) {
        let micros = (done.saturating_sub(due) / 1000).max(1);
        self.second[kind as usize].record_n(micros, count).expect("the histogram grows");
        if let Some(window) = self.at(due) {
            window.histograms[kind as usize].record_n(micros, count).expect("the histogram grows");
            if due >= self.windows[0].to {
                self.measured[kind as usize].record_n(micros, count).expect("the histogram grows");
            }
        }
    }

    pub fn produced(&mut self, done: u64, records: u64, bytes: u64) {
        let add = |counts: &mut Counts| {
            counts.requests += 1;
            counts.records += records;
            counts.bytes += bytes;
        };
        add(&mut self.second_counts);
        self.at(done).map(|w| &mut w.counts).map(add);
    }

    pub fn consumed(&mut self, done: u64, records: u64, bytes: u64) {
        let add = |counts: &mut Counts| {
            counts.consumed_records += records;
            counts.consumed_bytes += bytes;
        };
        add(&mut self.second_counts);
        self.at(done).map(|w| &mut w.counts).map(add);
    }

    /// An error, wherever it falls: what comes in the warm-up or after the end counts too, with the nearest window.
    pub fn error(&mut self, now: u64, name: String) {
        self.errors += 1;
        let at = self.windows.iter().rposition(|w| w.from <= now).unwrap_or(0);
        *self.windows[at].errors.entry(name).or_default() += 1;
    }

    /// A record that was due and never sent.
    pub fn unsent(&mut self, due: u64, count: u64) {
        if let Some(window) = self.at(due) {
            window.unsent += count;
        }
    }

    /// Ends the present second when it is over; what it was then.
    pub fn tick(&mut self, now: u64) -> Option<&Interval> {
        if now < self.planned_end() {
            return None;
        }
        self.flush(now);
        self.intervals.last()
    }

    /// Seconds begin and end at the same moments on all threads, and one more ends with the warm-up.
    fn planned_end(&self) -> u64 {
        let second = (self.interval_from / SECOND_NS + 1) * SECOND_NS;
        let warm_up = self.windows[0].to;
        if self.interval_from < warm_up { second.min(warm_up) } else { second }
    }

    /// Ends the present second now.
    pub fn flush(&mut self, now: u64) {
        let length = now.saturating_sub(self.interval_from);
        if length == 0 {
            return;
        }
        let interval = Interval {
            planned_end: self.planned_end(),
            from: self.interval_from,
            length,
            warm_up: self.interval_from < self.windows[0].to,
            counts: std::mem::take(&mut self.second_counts),
            errors: self.errors,
            histograms: taken(&mut self.second),
            measured: taken(&mut self.measured),
        };
        match self.intervals.last_mut().filter(|last| last.planned_end == interval.planned_end) {
            // It was ended before its time.
            Some(last) => last.extend(&interval),
            None => self.intervals.push(interval),
        }
        self.interval_from = now;
    }

    /// The seconds of all threads of a run, without those that are so short that a rate says nothing.
    pub fn seconds_of<'a>(recorders: impl Iterator<Item = &'a Self>) -> Vec<Second> {
        let mut all: BTreeMap<u64, Interval> = BTreeMap::new();
        for interval in recorders.flat_map(|r| &r.intervals) {
            match all.get_mut(&interval.planned_end) {
                Some(own) => own.merge(interval),
                None => {
                    all.insert(interval.planned_end, interval.clone());
                }
            }
        }
        all.values().filter(|i| i.length >= SECOND_NS / 10).map(Interval::second).collect()
    }

    /// Result of window `index`; 0 is the warm-up.
    pub fn step(&self, index: usize) -> StepResult {
        self.windows[index].result()
    }

    pub fn windows(&self) -> usize {
        self.windows.len()
    }

    /// All measured windows of a kind together, in microseconds.
    pub fn histogram(&self, kind: Kind) -> Histogram<u64> {
        let mut all = empty();
        for window in &self.windows[1..] {
            all.add(&window.histograms[kind as usize]).expect("the histogram grows");
        }
        all
    }

    /// The seconds of a kind in the format of HdrHistogram's log readers (`.hlog`); values are microseconds.
    pub fn interval_log(&self, kind: Kind) -> Vec<u8> {
        let mut out = Vec::new();
        let mut serializer = V2DeflateSerializer::new();
        let mut builder = IntervalLogWriterBuilder::new();
        builder.with_start_time(self.started).with_base_time(self.started).with_max_value_divisor(1000.0);
        // Writing into memory cannot fail.
        if let Ok(mut log) = builder.begin_log_with(&mut out, &mut serializer) {
            for interval in &self.intervals {
                let Some((_, histogram)) = interval.measured.iter().find(|h| h.0 == kind) else { continue };
                let (from, length) = (Duration::from_nanos(interval.from), Duration::from_nanos(interval.length));
                log.write_histogram(histogram, from, length, Tag::new(kind.name())).expect("written into memory");
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn latency_counts_where_it_was_due_and_throughput_where_it_was_done() {
        let mut recorder = Recorder::new(Duration::from_millis(10), None);
        assert_eq!(recorder.window(Duration::from_millis(10), Some(7.0)), 20 * MS);
        recorder.window(Duration::from_millis(10), None);
        recorder.latency(Kind::Produce, 5 * MS, 6 * MS, 1);
        recorder.latency(Kind::Produce, 19 * MS, 25 * MS, 3);
        recorder.produced(25 * MS, 3, 300);
        recorder.latency(Kind::Produce, 29 * MS, 3_000_000 * MS, 1);
        recorder.produced(31 * MS, 1, 1);
        recorder.error(35 * MS, "E".into());
        recorder.unsent(15 * MS, 2);
        let (warm, first, second) = (recorder.step(0), recorder.step(1), recorder.step(2));
        assert_eq!(warm.produce.unwrap().count, 1);
        let produce = first.produce.clone().unwrap();
        assert_eq!((produce.count, produce.p50_ms.round()), (3, 6.0));
        assert_eq!((first.records_per_s, first.unsent_records, first.offered_records_per_s), (0.0, 2, Some(7.0)));
        assert_eq!(second.records_per_s.round(), 300.0);
        assert!(second.produce.unwrap().max_ms > 2.9e6, "a latency of 50 minutes is kept as it is");
        assert_eq!(second.errors["E"], 1);
        assert_eq!(recorder.histogram(Kind::Produce).len(), 4);
    }

    #[test]
    fn threads_of_a_run_are_one_run() {
        let thread = |scale: u64| {
            let mut recorder = Recorder::new(Duration::from_millis(500), None);
            recorder.window(Duration::from_millis(2000), Some(9.0));
            recorder.latency(Kind::Produce, 100 * MS, 101 * MS, 7);
            assert!(recorder.tick(499 * MS).is_none());
            // The end of the warm-up ends an interval.
            assert!(recorder.tick(500 * MS + scale).unwrap().second().warm_up);
            recorder.latency(Kind::Produce, 600 * MS, (600 + scale) * MS, 2);
            recorder.produced(700 * MS, 2, 1000 * scale);
            recorder.error(800 * MS, "E".into());
            assert!(recorder.tick(1000 * MS + scale).is_some());
            recorder
        };
        let (mut one, mut two) = (thread(1), thread(3));
        // The second thread was kept from its clock for a while.
        two.unsent(1500 * MS, 5);
        assert!(one.tick(2000 * MS).is_some() && one.tick(2500 * MS).is_none() && two.tick(2400 * MS).is_some());
        assert_eq!(Recorder::step_of([&one, &two].into_iter(), 1).produce.unwrap().count, 4);
        one.merge(two);
        one.flush(2010 * MS);
        let seconds = Recorder::seconds_of([&one].into_iter());
        assert_eq!(seconds.iter().map(|s| s.warm_up).collect::<Vec<_>>(), [true, false, false]);
        assert_eq!((seconds[1].mb_per_s * 1e6 / 8000.0).round(), 1.0);
        assert_eq!((seconds[1].produce_p99_ms.unwrap().round(), seconds[1].errors), (3.0, 2));
        let step = one.step(1);
        assert_eq!((step.errors["E"], step.unsent_records, step.produce.unwrap().count), (2, 5, 4));
        assert_eq!(one.histogram(Kind::Produce).len(), 4, "without the warm-up");
        // A latency of the warm-up that ends in a measured second is shown in it and logged nowhere.
        one.latency(Kind::Produce, 100 * MS, 2600 * MS, 1);
        one.latency(Kind::Produce, 2400 * MS, 2600 * MS, 1);
        one.flush(2700 * MS);
        let last = one.intervals.last().unwrap();
        assert_eq!((last.planned_end, last.histograms[0].1.len(), last.measured[0].1.len()), (3000 * MS, 2, 1));
    }

    #[test]
    fn interval_logs_read_back() {
        use base64::Engine as _;
        use hdrhistogram::serialization::Deserializer;
        use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
        let mut recorder = Recorder::new(Duration::ZERO, None);
        recorder.window(Duration::from_secs(2), None);
        recorder.latency(Kind::Fetch, 0, 5 * MS, 4);
        assert!(recorder.tick(SECOND_NS).is_some() && recorder.tick(SECOND_NS + 5).is_none());
        recorder.latency(Kind::Fetch, SECOND_NS, SECOND_NS + 7 * MS, 1);
        recorder.flush(2 * SECOND_NS);
        let log = recorder.interval_log(Kind::Fetch);
        let found: Vec<(u64, u64)> = IntervalLogIterator::new(&log)
            .filter_map(|entry| match entry.expect("a valid log") {
                LogEntry::Interval(i) => {
                    let bytes = base64::engine::general_purpose::STANDARD.decode(i.encoded_histogram()).unwrap();
                    let h: Histogram<u64> = Deserializer::new().deserialize(&mut &bytes[..]).unwrap();
                    assert_eq!(i.tag().map(|t| t.as_str()), Some("fetch"));
                    Some((h.len(), h.max() / 1000))
                }
                _ => None,
            })
            .collect();
        assert_eq!(found, [(4, 5), (1, 7)]);
        assert!(String::from_utf8(log).unwrap().contains("#[StartTime:"));
        assert!(recorder.interval_log(Kind::Produce).len() < 200);
    }
}
