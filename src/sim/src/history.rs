//! What clients sent, were told and saw: the evidence that the checkers judge, kept outside every simulated host.
//!
//! Rules that a single answer can break are checked here, when it arrives; what only the end can show is in [`crate::checkers`].

use crate::record::RecordId;
use crate::violation::{Checker, Violation};
use odradek_base::Instant;
use odradek_wire::ErrorCode;
use std::cell::{Cell, RefCell, RefMut};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

/// A partition by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tp {
    pub topic: Rc<str>,
    pub partition: i32,
}

impl Tp {
    pub fn new(topic: &str, partition: i32) -> Self {
        Self { topic: topic.into(), partition }
    }
}

impl fmt::Display for Tp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// How records of a topic may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Cleaning {
    #[default]
    Never,
    /// DeleteRecords.
    Requests,
    /// By age or size.
    Retention,
    /// Earlier records of a key, whenever the broker sees fit.
    Compaction,
}

/// What a compacted topic is set to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Compaction {
    /// `min.compaction.lag.ms`.
    pub lag: Duration,
    /// `delete.retention.ms` is so short that tombstones go within the run.
    pub tombstones_go: bool,
}

/// What a producer knows of one of its records.
#[derive(Debug, Clone)]
pub struct Sent {
    pub acks: i16,
    pub idempotent: bool,
    pub attempts: u32,
    pub first_sent: Instant,
    /// The offset that the broker gave it, when it was acknowledged.
    pub acknowledged: Option<i64>,
}

/// A batch as a consumer saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub last_offset: i64,
    /// Over all its bytes, base offset and leader epoch included.
    pub hash: u64,
    pub records: Vec<(i64, RecordId)>,
}

/// What is known of one partition.
#[derive(Debug, Default)]
pub struct PartitionHistory {
    pub sent: BTreeMap<RecordId, Sent>,
    /// By base offset.
    pub seen: BTreeMap<i64, Seen>,
    /// The highest high watermark that any answer named.
    pub high_watermark: i64,
    /// One beyond the highest offset acknowledged with acks=all.
    pub acknowledged_end: i64,
    pub cleaning: Cleaning,
    /// The highest log start offset that any answer named: below this, records were deleted on purpose.
    pub start: i64,
    /// The highest offset that DeleteRecords was asked to delete up to, and the highest that it acknowledged.
    pub delete_attempted: i64,
    pub delete_acknowledged: i64,
    /// Records by offset, of a partition that is compacted: its batches may be written anew.
    pub records: BTreeMap<i64, RecordId>,
    /// How compaction is set, and the records that delete their keys.
    pub compaction: Compaction,
    pub tombstones: BTreeSet<RecordId>,
    /// What the last reading found, of a partition that is compacted.
    pub last_read: BTreeMap<i64, RecordId>,
}

/// A value that only ever grows, or a config whose newest value wins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change<T> {
    /// Values asked for and not acknowledged: any of them may be there.
    pub attempted: Vec<T>,
    pub acknowledged: T,
}

/// What is known of one committed offset. Values only grow, so the newest wins.
#[derive(Debug, Default, Clone, Copy)]
pub struct Commit {
    pub attempted: Option<i64>,
    pub acknowledged: Option<i64>,
}

/// What is known of a topic's existence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TopicState {
    /// A creation or deletion is under way: it may or may not be there.
    Unknown,
    Created,
    Deleted,
}

#[derive(Debug, Default)]
pub struct Facts {
    pub partitions: BTreeMap<Tp, PartitionHistory>,
    pub commits: BTreeMap<(String, Tp), Commit>,
    pub topics: BTreeMap<String, TopicState>,
    /// Partition counts of topics that grow.
    pub counts: BTreeMap<String, Change<i32>>,
    /// Topic configs that were changed, by topic and name.
    pub configs: BTreeMap<(String, String), Change<String>>,
    pub bytes_sent: u64,
    /// Everything is being read for the last time.
    pub last_reading: bool,
    pub power_losses: Vec<Instant>,
    /// Offsets whose stored bytes were damaged, and what may be unreadable with them.
    pub damaged: BTreeMap<Tp, Vec<Range<i64>>>,
    /// Damaged partitions that were closed when everything was read for the last time.
    pub closed: BTreeSet<Tp>,
    pub acknowledged: u64,
    pub fetched: u64,
    pub committed: u64,
}

/// The shared notebook of all clients of a run.
#[derive(Clone)]
pub struct History {
    inner: Rc<Inner>,
}

struct Inner {
    facts: RefCell<Facts>,
    violation: RefCell<Option<Violation>>,
    now: Box<dyn Fn() -> Instant>,
    print: bool,
    stopping: Cell<bool>,
}

/// What was known when a request left: its answer must not say less.
#[derive(Debug, Clone, Copy)]
pub struct Horizon {
    high_watermark: i64,
    acknowledged_end: i64,
    delete_acknowledged: i64,
}

impl History {
    /// `print` shows every event with its virtual time.
    pub fn new(now: impl Fn() -> Instant + 'static, print: bool) -> Self {
        let inner =
            Inner { facts: RefCell::default(), violation: RefCell::default(), now: Box::new(now), print, stopping: Cell::new(false) };
        Self { inner: Rc::new(inner) }
    }

    /// A rule was broken. The first one ends the run.
    pub fn violation(&self, checker: Checker, what: String) {
        let violation = Violation { checker, what };
        self.event(|| format!("VIOLATION {violation}"));
        self.inner.violation.borrow_mut().get_or_insert(violation);
    }

    pub fn first_violation(&self) -> Option<Violation> {
        self.inner.violation.borrow().clone()
    }

    pub fn is_violated(&self) -> bool {
        self.inner.violation.borrow().is_some()
    }

    pub fn event(&self, what: impl FnOnce() -> String) {
        if self.inner.print {
            let now = (self.inner.now)().0;
            println!("{:>6}.{:06} ms  {}", now / 1_000_000, now % 1_000_000, what());
        }
    }

    pub fn facts(&self) -> RefMut<'_, Facts> {
        self.inner.facts.borrow_mut()
    }

    /// Tells consumers and members to come to an end.
    pub fn stop_readers(&self) {
        self.inner.stopping.set(true);
    }

    pub fn readers_stop(&self) -> bool {
        self.inner.stopping.get()
    }

    fn partition<R>(&self, tp: &Tp, body: impl FnOnce(&mut PartitionHistory) -> R) -> R {
        body(self.facts().partitions.entry(tp.clone()).or_default())
    }

    // Producers.

    pub fn sent(&self, tp: &Tp, ids: impl Iterator<Item = RecordId>, acks: i16, idempotent: bool) {
        let now = (self.inner.now)();
        self.partition(tp, |partition| {
            for id in ids {
                let sent = Sent { acks, idempotent, attempts: 0, first_sent: now, acknowledged: None };
                partition.sent.entry(id).or_insert(sent).attempts += 1;
            }
        });
    }

    /// The records of one batch were acknowledged from `base_offset` on.
    pub fn acknowledged(&self, tp: &Tp, ids: impl Iterator<Item = RecordId>, base_offset: i64) {
        let mut problem = None;
        let mut count = 0;
        let mut last = None;
        self.partition(tp, |partition| {
            for (offset, id) in (base_offset..).zip(ids) {
                count += 1;
                last = Some(id);
                let Some(sent) = partition.sent.get_mut(&id) else { continue };
                if sent.acks == -1 {
                    partition.acknowledged_end = partition.acknowledged_end.max(offset + 1);
                }
                match sent.acknowledged.replace(offset) {
                    Some(before) if before != offset && sent.idempotent => {
                        problem = Some(format!("{tp}: {id} was acknowledged at offset {before} and again at {offset}"));
                    }
                    _ => {}
                }
            }
        });
        self.facts().acknowledged += count;
        self.event(|| {
            format!(
                "{tp}: {count} records acknowledged from offset {base_offset}{}",
                last.map_or(String::new(), |id| format!(", up to {id}"))
            )
        });
        if let Some(problem) = problem {
            self.violation(Checker::Duplicate, problem);
        }
    }

    // Consumers.

    pub fn horizon(&self, tp: &Tp) -> Horizon {
        self.partition(tp, |partition| Horizon {
            high_watermark: partition.high_watermark,
            acknowledged_end: partition.acknowledged_end,
            delete_acknowledged: partition.delete_acknowledged,
        })
    }

    pub fn cleaning(&self, tp: &Tp) -> Cleaning {
        self.facts().partitions.get(tp).map_or(Cleaning::Never, |partition| partition.cleaning)
    }

    /// A topic is to be made: how its records may go.
    pub fn topic_planned(&self, topic: &str, partitions: i32, cleaning: Cleaning, compaction: Compaction) {
        for partition in 0..partitions {
            self.partition(&Tp::new(topic, partition), |partition| (partition.cleaning, partition.compaction) = (cleaning, compaction));
        }
    }

    /// An answer named a log start offset.
    pub fn log_start(&self, tp: &Tp, log_start: i64, horizon: Horizon) {
        let mut problem = None;
        self.partition(tp, |partition| {
            if log_start < horizon.delete_acknowledged {
                let deleted = horizon.delete_acknowledged;
                problem = Some(format!("{tp}: the log starts at {log_start} although everything below {deleted} was deleted"));
            }
            let most = match partition.cleaning {
                Cleaning::Never | Cleaning::Compaction => 0,
                Cleaning::Requests => partition.delete_attempted,
                Cleaning::Retention => i64::MAX,
            };
            if log_start > most {
                problem = Some(format!("{tp}: the log starts at {log_start}, but nobody asked for more than {most} to be deleted"));
            }
            partition.start = partition.start.max(log_start);
        });
        if let Some(problem) = problem {
            self.violation(Checker::LogStart, problem);
        }
    }

    pub fn delete_attempted(&self, tp: &Tp, before: i64) {
        self.partition(tp, |partition| partition.delete_attempted = partition.delete_attempted.max(before));
    }

    /// DeleteRecords was answered with a low watermark.
    pub fn delete_acknowledged(&self, tp: &Tp, low_watermark: i64) {
        self.partition(tp, |partition| partition.delete_acknowledged = partition.delete_acknowledged.max(low_watermark));
    }
    /// An answer named a high watermark.
    pub fn high_watermark(&self, tp: &Tp, high_watermark: i64, horizon: Horizon) {
        if high_watermark < horizon.high_watermark {
            let before = horizon.high_watermark;
            self.violation(Checker::HighWatermark, format!("{tp}: the high watermark went back from {before} to {high_watermark}"));
        }
        if high_watermark < horizon.acknowledged_end {
            let end = horizon.acknowledged_end;
            self.violation(
                Checker::HighWatermark,
                format!("{tp}: the high watermark is {high_watermark} although offsets below {end} were acknowledged with acks=all"),
            );
        }
        self.partition(tp, |partition| partition.high_watermark = partition.high_watermark.max(high_watermark));
    }

    /// A consumer saw a batch.
    pub fn seen(&self, tp: &Tp, base_offset: i64, batch: Seen) {
        if self.cleaning(tp) == Cleaning::Compaction {
            return self.seen_compacted(tp, &batch);
        }
        let mut problem = None;
        self.partition(tp, |partition| {
            match partition.seen.get(&base_offset) {
                Some(known) if *known != batch => {
                    problem = Some(format!("{tp}: offset {base_offset} holds something else than before: {known:?}, now {batch:?}"));
                }
                Some(_) => return,
                None => {}
            }
            if let Some((before, last)) = partition.seen.range(..base_offset).next_back().map(|(base, seen)| (*base, seen.last_offset))
                && last >= base_offset
            {
                problem = Some(format!("{tp}: the batch at {base_offset} overlaps the one at {before}, seen earlier"));
            }
            if let Some((next, _)) = partition.seen.range(base_offset + 1..).next()
                && *next <= batch.last_offset
            {
                problem = Some(format!("{tp}: the batch at {base_offset} overlaps the one at {next}, seen earlier"));
            }
            for (offset, id) in &batch.records {
                if !partition.sent.contains_key(id) {
                    problem = Some(format!("{tp}: offset {offset} holds {id}, which nobody sent here"));
                }
            }
            partition.seen.insert(base_offset, batch);
        });
        self.facts().fetched += 1;
        if let Some(problem) = problem {
            self.violation(Checker::Content, problem);
        }
    }

    /// Of a compacted partition records may vanish and batches may be cut, but an offset never shows another record.
    fn seen_compacted(&self, tp: &Tp, batch: &Seen) {
        let mut problem = None;
        let mut facts = self.facts();
        facts.fetched += 1;
        let last_reading = facts.last_reading;
        let partition = facts.partitions.entry(tp.clone()).or_default();
        for (offset, id) in &batch.records {
            if !partition.sent.contains_key(id) {
                problem = Some(format!("{tp}: offset {offset} holds {id}, which nobody sent here"));
            }
            let known = partition.records.entry(*offset).or_insert(*id);
            if known != id {
                problem = Some(format!("{tp}: offset {offset} held {known} before and holds {id} now"));
            }
            if last_reading {
                partition.last_read.insert(*offset, *id);
            }
        }
        drop(facts);
        if let Some(problem) = problem {
            self.violation(Checker::Content, problem);
        }
    }

    /// A reader saw of `offsets` only those that are `there`: compaction must have taken the others, and not before their time.
    pub fn removed(&self, tp: &Tp, offsets: Range<i64>, there: impl Iterator<Item = i64>) {
        let now = (self.inner.now)();
        let mut problem = None;
        self.partition(tp, |partition| {
            let lag = partition.compaction.lag;
            if lag.is_zero() {
                return;
            }
            let there: BTreeSet<i64> = there.collect();
            let young = partition.sent.iter().find(|(_, sent)| {
                let gone = sent.acknowledged.filter(|offset| offsets.contains(offset) && !there.contains(offset));
                gone.is_some() && sent.first_sent + lag > now
            });
            problem = young.map(|(id, sent)| {
                format!(
                    "{tp}: {id} was removed within min.compaction.lag.ms={}: it was sent {:?} ago",
                    lag.as_millis(),
                    now - sent.first_sent
                )
            });
        });
        if let Some(problem) = problem {
            self.violation(Checker::Compaction, problem);
        }
    }

    /// A record that is going to be sent deletes its key.
    pub fn tombstone(&self, tp: &Tp, id: RecordId) {
        self.partition(tp, |partition| partition.tombstones.insert(id));
    }

    // Topics.

    pub fn count_attempted(&self, topic: &str, before: i32, count: i32) {
        let mut facts = self.facts();
        facts.counts.entry(topic.to_string()).or_insert(Change { attempted: Vec::new(), acknowledged: before }).attempted.push(count);
    }

    pub fn count_acknowledged(&self, topic: &str, count: i32) {
        if let Some(change) = self.facts().counts.get_mut(topic) {
            change.acknowledged = change.acknowledged.max(count);
        }
    }

    pub fn config_attempted(&self, topic: &str, name: &str, before: &str, value: &str) {
        let key = (topic.to_string(), name.to_string());
        let change = Change { attempted: Vec::new(), acknowledged: before.to_string() };
        self.facts().configs.entry(key).or_insert(change).attempted.push(value.to_string());
    }

    pub fn config_acknowledged(&self, topic: &str, name: &str, value: &str) {
        let key = (topic.to_string(), name.to_string());
        if let Some(change) = self.facts().configs.get_mut(&key) {
            // Earlier ones that were not answered may still be carried out.
            change.attempted.retain(|attempted| attempted != value);
            change.acknowledged = value.to_string();
        }
    }

    // Groups.

    pub fn commit_attempted(&self, group: &str, tp: &Tp, offset: i64) {
        self.facts().commits.entry((group.to_string(), tp.clone())).or_default().attempted = Some(offset);
    }

    pub fn commit_acknowledged(&self, group: &str, tp: &Tp, offset: i64) {
        self.event(|| format!("{group}: commit of {offset} for {tp} acknowledged"));
        let mut facts = self.facts();
        facts.committed += 1;
        facts.commits.entry((group.to_string(), tp.clone())).or_default().acknowledged = Some(offset);
    }

    pub fn commit_known(&self, group: &str, tp: &Tp) -> Commit {
        self.facts().commits.get(&(group.to_string(), tp.clone())).copied().unwrap_or_default()
    }

    /// An answer named a committed offset (-1: none); `before` is what was known when the question left.
    pub fn commit_read(&self, group: &str, tp: &Tp, offset: i64, before: Commit) {
        let now = self.commit_known(group, tp);
        let (least, most) = (before.acknowledged.unwrap_or(-1), now.attempted.unwrap_or(-1));
        self.event(|| format!("{group}: committed offset of {tp} is {offset}"));
        if offset < least || offset > most {
            self.violation(
                Checker::Commit,
                format!("{group}: the committed offset of {tp} is {offset}; {least} was acknowledged and {most} the last one sent"),
            );
        }
    }

    // Faults.

    /// A stored bit flipped. `offsets` may be unreadable from now on, and the partition may be closed; without them nothing may be.
    pub fn damaged(&self, tp: &Tp, offsets: Option<Range<i64>>) {
        if let Some(offsets) = offsets {
            self.facts().damaged.entry(tp.clone()).or_default().push(offsets);
        }
    }

    /// A stored bit flipped without which nothing can be said of the end of a partition's log: it may be closed, and if not it has everything.
    pub fn may_close(&self, tp: &Tp) {
        self.facts().damaged.entry(tp.clone()).or_default();
    }

    pub fn is_damaged(&self, tp: &Tp) -> bool {
        self.facts().damaged.contains_key(tp)
    }

    /// Whether the last reading was told with `code` that a damaged partition is closed; it notes that.
    pub fn is_closed(&self, tp: &Tp, code: i16) -> bool {
        let mut facts = self.facts();
        let closed = ErrorCode::try_from_code(code) == Some(ErrorCode::KafkaStorageError);
        let closed = closed && facts.last_reading && facts.damaged.contains_key(tp);
        if closed {
            facts.closed.insert(tp.clone());
        }
        closed
    }

    /// Where a reader may go on that was told that `offset` is damaged; `None` when it is not.
    pub fn behind_damage(&self, tp: &Tp, offset: i64) -> Option<i64> {
        let facts = self.facts();
        let around = facts.damaged.get(tp)?.iter().filter(|damaged| damaged.contains(&offset));
        around.map(|damaged| damaged.end).max()
    }

    pub fn power_lost(&self, at: Instant) {
        self.facts().power_losses.push(at);
    }
}
