//! The load: one thread that drives all producing and fetching connections.
//!
//! In open loop every record has a moment at which it is meant to be sent, whether or not the broker keeps up, and latency counts from
//! that moment (no coordinated omission). A lost connection ends the run: a benchmark that reconnects measures something else.

mod group;
mod lane;
mod pace;
mod prepare;
mod reader;
mod seats;
mod transaction;
mod writer;

pub use pace::Pace;

use crate::BenchError;
use crate::connections::{Link, Reactor};
use crate::measure::{GeneratorUse, GroupResult, Recorder, Second, Summary};
use group::{Group, Seat};
use hdrhistogram::Histogram;
use lane::{Encoder, Lane};
use pace::Draw;
use reader::{Mode, Reader};
use rustix::time::{ClockId, clock_gettime};
use std::time::{Duration, Instant};
use transaction::{Outcome, Transaction};
use writer::Writer;

/// Records that may wait for a connection in open loop; beyond it they count as not sent.
const BACKLOG_MAX: u64 = 4_000_000;
/// Closer to the next moment than this, the loop does not sleep: a timer would be late.
const SPIN_NS: u64 = 100_000;
/// Longest sleep.
const TICK_NS: u64 = 10_000_000;
/// Tokens of readers in the reactor; those of writers are below.
const READER: u64 = 1 << 32;
/// Tokens of connections to coordinators of transactions, by writer.
const COORDINATOR: u64 = 1 << 33;
/// Busier than this, the generator cannot be trusted to have kept up.
const BUSY_MAX: f64 = 0.9;

/// When a stretch of load ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// At this moment of the run's clock.
    Time(u64),
    /// When so many bytes of batches were sent.
    Sent(u64),
    /// When everything that was due is sent and answered, or at this moment.
    Quiet(u64),
    /// When tail consumers and [`Mode::Once`] readers reached the ends of their positions, or at this moment.
    Read(u64),
    /// When every member of every group has its partitions, or at this moment.
    Seated(u64),
    /// When all members have left, or at this moment.
    Left(u64),
}

/// Connections, batches and measurements of a run.
pub struct Engine {
    origin: Instant,
    reactor: Reactor,
    ready: Vec<u64>,
    encoder: Encoder,
    lanes: Vec<Lane>,
    writers: Vec<Writer>,
    readers: Vec<Reader>,
    seats: Vec<Seat>,
    groups: Vec<Group>,
    pub group_results: Vec<GroupResult>,
    _idle: Vec<Link>,
    /// Writer and lane of each partition, topic after topic.
    by_partition: Vec<Vec<(usize, usize)>>,
    partitions_per_topic: usize,
    draw: Draw,
    batch_bytes: usize,
    linger: u64,
    pub recorder: Recorder,
    next_due: f64,
    /// Up to here everything that was due has been made.
    paced_until: u64,
    turn: usize,
    waiting: u64,
    sent_bytes: u64,
    /// Since the measurement began: nanoseconds with something to do, CPU time at its begin, microseconds late.
    busy: u64,
    measured_from: (Instant, Duration),
    late: Histogram<u64>,
    /// Microseconds from EndTxn to its answer.
    commits: Histogram<u64>,
}

impl Engine {
    /// Nanoseconds since the run began.
    pub fn now(&self) -> u64 {
        self.origin.elapsed().as_nanos() as u64
    }

    /// Begins the run's clock, with a recorder of its own; `offered` is the rate of the warm-up.
    pub fn begin(&mut self, warm_up: Duration, offered: Option<f64>) {
        self.origin = Instant::now();
        self.paced_until = 0;
        self.recorder = Recorder::new(warm_up, offered);
        for reader in &mut self.readers {
            reader.free_since = 0;
        }
        self.groups.iter().for_each(Group::begin);
    }

    /// From here on the generator's own use counts.
    pub fn begin_measuring(&mut self) {
        self.busy = 0;
        self.measured_from = (Instant::now(), thread_cpu());
        self.late.reset();
        self.commits.reset();
    }

    /// Commits of transactions since [`Engine::begin_measuring`].
    pub fn commits(&self) -> Option<Summary> {
        Summary::of(&self.commits)
    }

    /// What the generator needed since [`Engine::begin_measuring`]. `produce_p99_ms` tells whether its lateness matters.
    pub fn generator_use(&self, produce_p99_ms: Option<f64>) -> GeneratorUse {
        let elapsed = self.measured_from.0.elapsed().as_nanos().max(1) as f64;
        let busy = (self.busy as f64 / elapsed).min(1.0);
        let late_p99_ms = self.late.value_at_quantile(0.99) as f64 / 1e3;
        let late = produce_p99_ms.is_some_and(|p99| late_p99_ms > p99 / 2.0);
        GeneratorUse {
            busy,
            cpu_s: thread_cpu().saturating_sub(self.measured_from.1).as_secs_f64(),
            late_p99_ms,
            bottleneck: busy > BUSY_MAX || late,
        }
    }

    /// Drives everything until then. `on_second` is called once a second with its figures.
    pub fn drive(&mut self, pace: Pace, until: Until, on_second: &mut dyn FnMut(&Second)) -> Result<(), BenchError> {
        let mut now = self.now();
        self.next_due = self.paced_until as f64;
        while !self.is_over(until, now) {
            let mut did = self.generate(pace, until, now);
            for index in 0..self.writers.len() {
                did |= self.pump(index, pace)?;
            }
            self.attend()?;
            did |= self.fetch(until)?;
            let before = self.now();
            let sleep = self.sleep(pace, until, before);
            if did {
                self.busy += before - now;
            }
            let mut ready = std::mem::take(&mut self.ready);
            self.reactor.wait(Duration::from_nanos(sleep), &mut ready);
            let after = self.now();
            for &token in &ready {
                self.receive(token)?;
            }
            now = self.now();
            if !ready.is_empty() {
                self.busy += now - after;
            }
            self.ready = ready;
            if self.recorder.tick(now)
                && let Some(second) = self.recorder.last_second()
            {
                on_second(second);
            }
        }
        if let Until::Time(end) = until {
            // Whatever kept this thread: what was due before the end is due.
            self.generate(pace, until, end);
            self.paced_until = end;
        }
        Ok(())
    }

    fn is_over(&self, until: Until, now: u64) -> bool {
        let over = |w: &Writer| w.transaction.as_ref().is_none_or(Transaction::is_over);
        let answered = || self.writers.iter().all(|w| w.unanswered() == 0 && !w.link.wants_write() && over(w));
        match until {
            Until::Time(end) => now >= end,
            Until::Sent(bytes) => self.sent_bytes >= bytes,
            Until::Quiet(end) => now >= end || self.waiting == 0 && answered(),
            Until::Read(end) => {
                let read = |r: &Reader| r.mode == Mode::Loop || r.positions.iter().all(|p| p.offset >= p.end);
                now >= end || self.readers.iter().all(read) && self.all_seated()
            }
            Until::Seated(end) => now >= end || self.all_seated(),
            Until::Left(end) => now >= end || self.groups.iter().all(Group::is_over),
        }
    }

    /// Makes the records that are due.
    fn generate(&mut self, pace: Pace, until: Until, now: u64) -> bool {
        let Some(interval) = pace.interval() else { return false };
        let through = match until {
            Until::Time(end) => now.min(end.saturating_sub(1)),
            _ => now,
        };
        let first = self.next_due as u64;
        if first > through {
            return false;
        }
        self.late.record(((now - first) / 1000).max(1)).expect("the histogram grows");
        while self.next_due as u64 <= through {
            let due = self.next_due as u64;
            self.next_due += interval;
            let writer = self.turn % self.writers.len();
            self.turn += 1;
            if let Pace::Requests(_) = pace {
                let records = self.draw.batch(due, self.batch_bytes);
                let writer = &mut self.writers[writer];
                let lane = writer.lanes[writer.turn % writer.lanes.len()];
                writer.turn += 1;
                if self.waiting >= BACKLOG_MAX {
                    self.recorder.unsent(due, records.len() as u64);
                    continue;
                }
                self.waiting += records.len() as u64;
                writer.push_full(lane, records);
                continue;
            }
            let record = self.draw.record(due);
            if self.waiting >= BACKLOG_MAX {
                self.recorder.unsent(due, 1);
                continue;
            }
            self.waiting += 1;
            let (writer, lane) = match record.key {
                Some(key) => self.of_key(key),
                None => (writer, self.writers[writer].lanes[self.writers[writer].turn % self.writers[writer].lanes.len()]),
            };
            let writer = &mut self.writers[writer];
            writer.add(lane, &mut self.lanes[lane], record, self.batch_bytes, self.linger);
            if record.key.is_none() && self.lanes[lane].open.is_empty() {
                // A batch is full: the next one goes to another partition (KIP-480).
                writer.turn += 1;
            }
        }
        true
    }

    /// Writer and lane of a key: topics take turns, within a topic the key decides.
    fn of_key(&self, key: u32) -> (usize, usize) {
        let topics = self.by_partition.len() / self.partitions_per_topic;
        let partition = odradek_client::producer::partition_for_key(&lane::key_bytes(key), self.partitions_per_topic);
        let lanes = &self.by_partition[self.turn % topics * self.partitions_per_topic + partition];
        lanes[self.turn / topics % lanes.len()]
    }

    /// Sends what a writer may send.
    fn pump(&mut self, index: usize, pace: Pace) -> Result<bool, BenchError> {
        let writer = &mut self.writers[index];
        let mut did = false;
        if let Some(transaction) = &mut writer.transaction {
            let now = self.origin.elapsed().as_nanos() as u64;
            let flush = pace == Pace::Silent && self.waiting == 0;
            did = transaction.advance(now, writer.in_flight.is_empty(), flush, &self.lanes)?;
            self.reactor.update(&mut transaction.link, COORDINATOR | index as u64)?;
        }
        loop {
            let now = self.origin.elapsed().as_nanos() as u64;
            if !writer.has_room(self.encoder.acks, now) {
                break;
            }
            let (lane, records) = match writer.next_batch(&mut self.lanes, now) {
                Some((lane, records)) => {
                    self.waiting -= records.len() as u64;
                    if matches!(pace, Pace::Records(_)) && writer.lanes[writer.turn % writer.lanes.len()] == lane {
                        writer.turn += 1;
                    }
                    (lane, records)
                }
                None if pace == Pace::Closed => {
                    let lane = writer.lanes[writer.turn % writer.lanes.len()];
                    writer.turn += 1;
                    (lane, self.draw.batch(now, self.batch_bytes))
                }
                None => break,
            };
            did = true;
            let records = match &mut writer.transaction {
                None => records,
                Some(transaction) => match transaction.admit(lane, &self.lanes[lane], records, now)? {
                    Some(records) => records,
                    None => break,
                },
            };
            let sent = writer.send(lane, &mut self.lanes[lane], records, &mut self.encoder, now, &mut self.recorder)?;
            self.sent_bytes += sent as u64;
            // Without answers a closed loop would never leave this one.
            if pace == Pace::Closed && self.encoder.acks == odradek_client::producer::Acks::None {
                break;
            }
        }
        if did {
            self.reactor.update(&mut writer.link, index as u64)?;
        }
        Ok(did)
    }

    fn fetch(&mut self, until: Until) -> Result<bool, BenchError> {
        let mut did = false;
        for (index, reader) in self.readers.iter_mut().enumerate() {
            // Those that read in a loop have done their part when only the rest is read.
            let over = reader.mode == Mode::Loop && !matches!(until, Until::Time(_));
            let idle = reader.outstanding.is_none() && !reader.positions.is_empty();
            if idle && !reader.is_done() && !over {
                reader.send(&self.encoder.client_id)?;
                self.reactor.update(&mut reader.link, READER | index as u64)?;
                did = true;
            }
        }
        Ok(did)
    }

    fn receive(&mut self, token: u64) -> Result<(), BenchError> {
        if token >= COORDINATOR {
            return self.receive_of_coordinator((token - COORDINATOR) as usize);
        }
        if token >= READER {
            let reader = &mut self.readers[(token - READER) as usize];
            reader.link.write()?;
            while let Some(frame) = reader.link.receive()? {
                let now = self.origin.elapsed().as_nanos() as u64;
                reader.receive(frame, now, self.encoder.run, &mut self.recorder)?;
                reader.free_since = now;
            }
            return self.reactor.update(&mut reader.link, token);
        }
        let writer = &mut self.writers[token as usize];
        writer.link.write()?;
        while let Some(frame) = writer.link.receive()? {
            let now = self.origin.elapsed().as_nanos() as u64;
            writer.receive(frame, now, &mut self.lanes, &self.encoder, &mut self.recorder)?;
        }
        self.reactor.update(&mut writer.link, token)
    }

    fn receive_of_coordinator(&mut self, index: usize) -> Result<(), BenchError> {
        let writer = &mut self.writers[index];
        let Some(transaction) = &mut writer.transaction else { return Ok(()) };
        transaction.link.write()?;
        let mut ready = None;
        while let Some(frame) = transaction.link.receive()? {
            let now = self.origin.elapsed().as_nanos() as u64;
            match transaction.receive(frame, now)? {
                Outcome::Send(lane, records) => ready = Some((lane, records)),
                Outcome::Committed(sent) => self.commits.record(((now - sent) / 1000).max(1)).expect("the histogram grows"),
                Outcome::Nothing => {}
            }
        }
        self.reactor.update(&mut transaction.link, COORDINATOR | index as u64)?;
        if let Some((lane, records)) = ready {
            let now = self.origin.elapsed().as_nanos() as u64;
            let sent = writer.send(lane, &mut self.lanes[lane], records, &mut self.encoder, now, &mut self.recorder)?;
            self.sent_bytes += sent as u64;
            self.reactor.update(&mut writer.link, index as u64)?;
        }
        Ok(())
    }

    /// Nanoseconds to sleep.
    fn sleep(&self, pace: Pace, until: Until, now: u64) -> u64 {
        let mut next = now + TICK_NS;
        if let Until::Time(end) | Until::Quiet(end) | Until::Read(end) | Until::Seated(end) | Until::Left(end) = until {
            next = next.min(end);
        }
        if pace.interval().is_some() {
            next = next.min(self.next_due as u64);
        }
        if self.waiting > 0 {
            let lingering = self.writers.iter().filter(|w| w.has_room(self.encoder.acks, now)).filter_map(Writer::deadline).min();
            next = lingering.map_or(next, |deadline| next.min(deadline));
        }
        let transactions = self.writers.iter().filter_map(|w| w.transaction.as_ref()?.deadline()).filter(|&at| at > now);
        next = transactions.min().map_or(next, |at| next.min(at));
        if pace == Pace::Closed && self.writers.iter().any(|w| w.has_room(self.encoder.acks, now)) {
            return 0;
        }
        let sleep = next.saturating_sub(now);
        if sleep < SPIN_NS { 0 } else { sleep - SPIN_NS / 2 }
    }
}

/// CPU time of the calling thread.
fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
