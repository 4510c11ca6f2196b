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

#[derive(Debug)]
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
}

/// Collects what happens in a run. The first window is the warm-up; times are nanoseconds of the run's clock.
pub struct Recorder {
    windows: Vec<Window>,
    /// Where the present second began.
    second_from: u64,
    second: [Histogram<u64>; 3],
    second_counts: Counts,
    seconds: Vec<Second>,
    errors: u64,
    /// Interval logs by kind, as (start, length, histogram).
    intervals: Vec<(Kind, u64, u64, Histogram<u64>)>,
    started: SystemTime,
}

impl Recorder {
    pub fn new(warm_up: Duration, offered: Option<f64>) -> Self {
        Self {
            windows: vec![Window::new(0, warm_up.as_nanos() as u64, offered)],
            second_from: 0,
            second: [empty(), empty(), empty()],
            second_counts: Counts::default(),
            seconds: Vec::new(),
            errors: 0,
            intervals: Vec::new(),
            started: SystemTime::now(),
        }
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

    /// Ends the present second when it is over; true then.
    pub fn tick(&mut self, now: u64) -> bool {
        if now < self.second_from + SECOND_NS {
            return false;
        }
        self.flush(now);
        true
    }

    /// Ends the present second now.
    pub fn flush(&mut self, now: u64) {
        let length = now.saturating_sub(self.second_from);
        if length == 0 {
            return;
        }
        let warm_up = self.second_from < self.windows[0].to;
        let rate = |n: u64| n as f64 * 1e9 / length as f64;
        let p99 = |kind: Kind| Summary::of(&self.second[kind as usize]).map(|s| s.p99_ms);
        let counts = self.second_counts;
        self.seconds.push(Second {
            at_s: self.second_from as f64 / 1e9,
            warm_up,
            records_per_s: rate(counts.records),
            mb_per_s: rate(counts.bytes) / 1e6,
            consumed_mb_per_s: rate(counts.consumed_bytes) / 1e6,
            produce_p99_ms: p99(Kind::Produce),
            end_to_end_p99_ms: p99(Kind::EndToEnd),
            fetch_p99_ms: p99(Kind::Fetch),
            errors: self.errors,
        });
        for kind in Kind::ALL {
            let histogram = &mut self.second[kind as usize];
            if !histogram.is_empty() {
                if !warm_up {
                    self.intervals.push((kind, self.second_from, length, histogram.clone()));
                }
                histogram.reset();
            }
        }
        self.second_counts = Counts::default();
        self.second_from = now;
    }

    pub fn last_second(&self) -> Option<&Second> {
        self.seconds.last()
    }

    pub fn seconds(&self) -> &[Second] {
        &self.seconds
    }

    /// Result of window `index`; 0 is the warm-up.
    pub fn step(&self, index: usize) -> StepResult {
        let w = &self.windows[index];
        let seconds = ((w.to - w.from) as f64 / 1e9).max(1e-9);
        let summary = |kind: Kind| Summary::of(&w.histograms[kind as usize]);
        StepResult {
            seconds,
            offered_records_per_s: w.offered,
            requests_per_s: w.counts.requests as f64 / seconds,
            records_per_s: w.counts.records as f64 / seconds,
            mb_per_s: w.counts.bytes as f64 / 1e6 / seconds,
            consumed_records_per_s: w.counts.consumed_records as f64 / seconds,
            consumed_mb_per_s: w.counts.consumed_bytes as f64 / 1e6 / seconds,
            produce: summary(Kind::Produce),
            end_to_end: summary(Kind::EndToEnd),
            fetch: summary(Kind::Fetch),
            unsent_records: w.unsent,
            errors: w.errors.clone(),
        }
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
            for (_, from, length, histogram) in self.intervals.iter().filter(|i| i.0 == kind) {
                let (from, length) = (Duration::from_nanos(*from), Duration::from_nanos(*length));
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
        let produce = first.produce.unwrap();
        assert_eq!((produce.count, produce.p50_ms.round()), (3, 6.0));
        assert_eq!((first.records_per_s, first.unsent_records, first.offered_records_per_s), (0.0, 2, Some(7.0)));
        assert_eq!(second.records_per_s.round(), 300.0);
        assert!(second.produce.unwrap().max_ms > 2.9e6, "a latency of 50 minutes is kept as it is");
        assert_eq!(second.errors["E"], 1);
        assert_eq!(recorder.histogram(Kind::Produce).len(), 4);
    }

    #[test]
    fn interval_logs_read_back() {
        use base64::Engine as _;
        use hdrhistogram::serialization::Deserializer;
        use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
        let mut recorder = Recorder::new(Duration::ZERO, None);
        recorder.window(Duration::from_secs(2), None);
        recorder.latency(Kind::Fetch, 0, 5 * MS, 4);
        assert!(recorder.tick(SECOND_NS) && !recorder.tick(SECOND_NS + 5));
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
