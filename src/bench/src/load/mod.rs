//! The load: threads that each drive a part of the producing and fetching connections ([`Engine`]), and what holds them together ([`Crew`]).
//!
//! In open loop every record has a moment at which it is meant to be sent, whether or not the broker keeps up, and latency counts from
//! that moment (no coordinated omission). A lost connection ends the run: a benchmark that reconnects measures something else.

mod crew;
mod finish;
mod group;
mod lane;
mod limit;
mod pace;
mod prepare;
mod reader;
mod seats;
mod transaction;
mod writer;

pub use crew::{Crew, Threads};
pub use limit::generator_limit;
pub use pace::Pace;

use crate::BenchError;
use crate::connections::{Link, Reactor};
use crate::measure::{Interval, Recorder};
use group::Seat;
use hdrhistogram::Histogram;
use lane::{Encoder, Lane, Planned};
use odradek_base::Rng;
use pace::Draw;
use reader::{Mode, Reader};
use rustix::time::{ClockId, clock_gettime};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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

/// Which of a run's writers are this thread's: every so many, from its own number on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    pub thread: usize,
    pub threads: usize,
    /// Writers of all threads.
    pub writers: usize,
}

impl Share {
    /// The thread's own number of a writer, where it is its own.
    pub fn own(self, writer: usize) -> Option<usize> {
        (writer % self.threads == self.thread).then_some(writer / self.threads)
    }
}

/// What a thread needs for itself, since the measurement began.
#[derive(Debug)]
pub struct OwnUse {
    /// Nanoseconds of driving, and of those with something to do.
    driven: u64,
    busy: u64,
    cpu: Duration,
    /// Microseconds that it noticed something late that was due.
    late: Histogram<u64>,
    /// Microseconds from one look at the sockets to the next, where there was something to do.
    lag: Histogram<u64>,
}

impl OwnUse {
    fn new() -> Self {
        let empty = || Histogram::new(3).expect("three digits are allowed");
        Self { driven: 0, busy: 0, cpu: Duration::ZERO, late: empty(), lag: empty() }
    }
}

/// Connections, batches and measurements of one thread of a run.
pub struct Engine {
    share: Share,
    /// Raised when another thread of the run failed.
    abort: Arc<AtomicBool>,
    origin: Instant,
    reactor: Reactor,
    ready: Vec<u64>,
    encoder: Encoder,
    lanes: Vec<Lane>,
    writers: Vec<Writer>,
    readers: Vec<Reader>,
    seats: Vec<Seat>,
    idle: Vec<Link>,
    /// Writer and lane of each partition, topic after topic; `None` where another thread has it.
    by_partition: Vec<Vec<Option<(usize, usize)>>>,
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
    own: OwnUse,
    /// Microseconds from EndTxn to its answer.
    commits: Histogram<u64>,
}

impl Engine {
    /// Nanoseconds since the run began.
    pub fn now(&self) -> u64 {
        self.origin.elapsed().as_nanos() as u64
    }

    /// Begins the run's clock, with a recorder of its own; `offered` is the rate of the warm-up.
    fn begin(&mut self, origin: Instant, warm_up: Duration, offered: Option<f64>) {
        self.origin = origin;
        self.paced_until = 0;
        self.turn = 0;
        self.recorder = Recorder::new(warm_up, offered);
        // Where keys decide who sends a record, all threads draw the same records.
        self.draw.rng = Rng::with_seed(self.encoder.run);
        for reader in &mut self.readers {
            reader.free_since = 0;
        }
    }

    /// From here on the generator's own use counts.
    fn begin_measuring(&mut self) {
        self.own = OwnUse::new();
        self.commits.reset();
    }

    /// Drives everything until then. `on_interval` is called once a second with what it was.
    fn drive(&mut self, pace: Pace, until: Until, on_interval: &mut dyn FnMut(&Interval)) -> Result<(), BenchError> {
        let (begun, cpu) = (Instant::now(), thread_cpu());
        let outcome = self.drive_on(pace, until, on_interval);
        self.own.driven += begun.elapsed().as_nanos() as u64;
        self.own.cpu += thread_cpu().saturating_sub(cpu);
        outcome
    }

    fn drive_on(&mut self, pace: Pace, until: Until, on_interval: &mut dyn FnMut(&Interval)) -> Result<(), BenchError> {
        let mut now = self.now();
        self.next_due = self.paced_until as f64;
        while !self.is_over(until, now) {
            if self.abort.load(Ordering::Relaxed) {
                return Ok(());
            }
            let mut did = self.generate(pace, until, now);
            for index in 0..self.writers.len() {
                did |= self.pump(index, pace)?;
            }
            self.attend()?;
            did |= self.fetch(until)?;
            let before = self.now();
            let sleep = self.sleep(pace, until, before);
            let mut busy = if did { before - now } else { 0 };
            let mut ready = std::mem::take(&mut self.ready);
            self.reactor.wait(Duration::from_nanos(sleep), &mut ready);
            let after = self.now();
            for &token in &ready {
                self.receive(token)?;
            }
            now = self.now();
            if !ready.is_empty() {
                busy += now - after;
            }
            self.ready = ready;
            if busy > 0 {
                self.own.busy += busy;
                self.own.lag.record((busy / 1000).max(1)).expect("the histogram grows");
            }
            if let Some(interval) = self.recorder.tick(now) {
                on_interval(interval);
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
            Until::Left(end) => now >= end || self.seats.iter().all(|s| s.group.is_over()),
        }
    }

    /// Makes the records that are due and this thread's to send. All threads go through the same moments, and each takes its own.
    fn generate(&mut self, pace: Pace, until: Until, now: u64) -> bool {
        let Some(interval) = pace.interval() else { return false };
        let through = match until {
            Until::Time(end) => now.min(end.saturating_sub(1)),
            _ => now,
        };
        let mut first = None;
        while self.next_due as u64 <= through {
            let due = self.next_due as u64;
            self.next_due += interval;
            let writer = self.share.own(self.turn % self.share.writers);
            self.turn += 1;
            let own = match pace {
                Pace::Requests(_) => writer.inspect(|&writer| self.plan_batch(writer, due)).is_some(),
                _ if self.draw.has_keys() => self.plan_keyed(due),
                _ => writer.inspect(|&writer| self.plan_record(writer, due)).is_some(),
            };
            if own {
                first.get_or_insert(due);
            }
        }
        if let Some(first) = first {
            self.own.late.record(((now - first) / 1000).max(1)).expect("the histogram grows");
        }
        first.is_some()
    }

    fn plan_batch(&mut self, writer: usize, due: u64) {
        let records = self.draw.batch(due, self.batch_bytes);
        let writer = &mut self.writers[writer];
        let lane = writer.lanes[writer.turn % writer.lanes.len()];
        writer.turn += 1;
        if self.waiting >= BACKLOG_MAX {
            return self.recorder.unsent(due, records.len() as u64);
        }
        self.waiting += records.len() as u64;
        writer.push_full(lane, records);
    }

    fn plan_record(&mut self, writer: usize, due: u64) {
        let record = self.draw.record(due);
        let lanes = &self.writers[writer].lanes;
        let lane = lanes[self.writers[writer].turn % lanes.len()];
        self.plan(writer, lane, record);
        if self.lanes[lane].open.is_empty() {
            // A batch is full: the next one goes to another partition (KIP-480).
            self.writers[writer].turn += 1;
        }
    }

    /// False where the key's partition is another thread's.
    fn plan_keyed(&mut self, due: u64) -> bool {
        let record = self.draw.record(due);
        let own = record.key.and_then(|key| self.of_key(key));
        if let Some((writer, lane)) = own {
            self.plan(writer, lane, record);
        }
        own.is_some()
    }

    fn plan(&mut self, writer: usize, lane: usize, record: Planned) {
        if self.waiting >= BACKLOG_MAX {
            return self.recorder.unsent(record.due, 1);
        }
        self.waiting += 1;
        self.writers[writer].add(lane, &mut self.lanes[lane], record, self.batch_bytes, self.linger);
    }

    /// Writer and lane of a key: topics take turns, within a topic the key decides.
    fn of_key(&self, key: u32) -> Option<(usize, usize)> {
        let topics = self.by_partition.len() / self.partitions_per_topic;
        let partition = odradek_client::producer::partition_for_key(&lane::key_bytes(key), self.partitions_per_topic);
        let lanes = &self.by_partition[self.turn % topics * self.partitions_per_topic + partition];
        lanes[self.turn / topics % lanes.len()]
    }

    /// When this thread has to make a record next.
    fn next_own_due(&self, interval: f64) -> u64 {
        let others = match self.draw.has_keys() {
            // Only drawing it tells.
            true => 0,
            false => (0..self.share.writers).position(|i| self.share.own((self.turn + i) % self.share.writers).is_some()).unwrap_or(0),
        };
        (self.next_due + others as f64 * interval) as u64
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
        if let Some(interval) = pace.interval() {
            next = next.min(self.next_own_due(interval));
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
