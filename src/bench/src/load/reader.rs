//! A connection that fetches: at the tail, from the beginning again and again, or once for the audit.

use super::lane::TOPIC_ID_VERSION;
use crate::BenchError;
use crate::audit::PartitionAudit;
use crate::connections::Link;
use crate::measure::{Kind, Recorder};
use crate::target::TargetPartition;
use bytes::Bytes;
use odradek_client::{code_name, topic_name};
use odradek_wire::ErrorCode;
use odradek_wire::batch::batches;
use odradek_wire::messages::BrokerId;
use odradek_wire::messages::fetch_request::{FetchPartition, FetchRequest, FetchTopic};
use odradek_wire::messages::fetch_response::FetchResponse;
use odradek_wire::{api, decode_response, encode_request, response_header};
use std::collections::HashMap;
use uuid::Uuid;

/// Sizes and waits of a Fetch request.
#[derive(Debug, Clone, Copy)]
pub struct FetchOptions {
    pub max_wait_ms: i32,
    pub min_bytes: i32,
    pub max_bytes: i32,
    pub partition_max_bytes: i32,
    /// `isolation.level=read_committed`.
    pub read_committed: bool,
}

/// What a reader reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// What is written from the start of the run on; measures end to end.
    Tail,
    /// From the beginning, again and again; records are audited the first time, later only that offsets follow one another.
    Loop,
    /// Up to the ends given, then no more: the audit of what was written.
    Once,
}

/// A partition as one reader reads it.
#[derive(Debug)]
pub struct Position {
    pub topic: String,
    pub topic_id: Uuid,
    pub partition: i32,
    pub leader: i32,
    pub from: i64,
    pub offset: i64,
    /// Up to here the audit knows what is there: a new member of a group may begin before it.
    seen: i64,
    /// Records that a member of a group got although another one had them before.
    pub redelivered: u64,
    /// [`Mode::Once`]: where to stop.
    pub end: i64,
    /// [`Mode::Loop`]: read through once.
    read_once: bool,
    pub audit: PartitionAudit,
}

impl Position {
    pub fn new(target: &TargetPartition, from: i64, end: i64) -> Self {
        Self {
            topic: target.topic.clone(),
            topic_id: target.topic_id,
            partition: target.partition,
            leader: target.leader,
            from,
            offset: from,
            seen: from,
            redelivered: 0,
            end,
            read_once: false,
            audit: PartitionAudit::default(),
        }
    }

    /// Goes on from a group's committed offset.
    pub fn resume(&mut self, committed: Option<i64>) {
        self.offset = committed.unwrap_or(self.from);
    }
}

pub struct Reader {
    pub link: Link,
    /// The broker at the other end.
    pub leader: i32,
    /// Group of tail consumers; each group has to see everything.
    pub group: usize,
    pub mode: Mode,
    pub positions: Vec<Position>,
    version: i16,
    options: FetchOptions,
    /// By topic id or name, whichever the version uses, and partition.
    index: HashMap<(Uuid, String, i32), usize>,
    /// Fetch session (KIP-227): a request names only partitions that have moved.
    session_id: i32,
    session_epoch: i32,
    moved: Vec<usize>,
    /// The outstanding fetch is for positions that this reader no longer has.
    stale: bool,
    /// When the outstanding fetch could first be sent.
    pub outstanding: Option<u64>,
    /// When the connection was last free to fetch.
    pub free_since: u64,
}

impl Reader {
    pub fn new(link: Link, leader: i32, group: usize, mode: Mode, positions: Vec<Position>, version: i16, options: FetchOptions) -> Self {
        let mut reader = Self {
            link,
            leader,
            group,
            mode,
            positions,
            version,
            options,
            index: HashMap::new(),
            session_id: 0,
            session_epoch: 0,
            moved: Vec::new(),
            stale: false,
            outstanding: None,
            free_since: 0,
        };
        reader.positions_changed();
        reader
    }

    /// Takes a position over.
    pub fn give(&mut self, position: Position) {
        self.positions.push(position);
        self.positions_changed();
    }

    /// Lets all positions go; what is on the wire for them is thrown away when it comes.
    pub fn take_all(&mut self) -> Vec<Position> {
        let positions = std::mem::take(&mut self.positions);
        self.positions_changed();
        positions
    }

    /// The next request opens a session with all positions in it, in place of the one before (KIP-227: its id with epoch 0).
    fn positions_changed(&mut self) {
        let by_id = self.version >= TOPIC_ID_VERSION;
        let key = |p: &Position| match by_id {
            true => (p.topic_id, String::new(), p.partition),
            false => (Uuid::nil(), p.topic.clone(), p.partition),
        };
        self.index = self.positions.iter().enumerate().map(|(i, p)| (key(p), i)).collect();
        self.moved = (0..self.positions.len()).collect();
        self.session_epoch = 0;
        self.stale = self.outstanding.is_some();
    }

    /// Nothing more to read.
    pub fn is_done(&self) -> bool {
        self.mode == Mode::Once && self.positions.iter().all(|p| p.offset >= p.end)
    }

    /// Sends the next fetch.
    pub fn send(&mut self, client_id: &str) -> Result<(), BenchError> {
        let mut topics: Vec<FetchTopic> = Vec::new();
        let mut at: HashMap<(Uuid, &str), usize> = HashMap::new();
        let by_id = self.version >= TOPIC_ID_VERSION;
        self.moved.sort_unstable();
        self.moved.dedup();
        for p in self.moved.iter().map(|&i| &self.positions[i]) {
            let partition = FetchPartition::default()
                .with_partition(p.partition)
                .with_current_leader_epoch(-1)
                .with_fetch_offset(p.offset)
                .with_last_fetched_epoch(-1)
                .with_log_start_offset(-1)
                .with_partition_max_bytes(self.options.partition_max_bytes);
            let topic = *at.entry((p.topic_id, p.topic.as_str())).or_insert_with(|| {
                topics.push(match by_id {
                    true => FetchTopic::default().with_topic_id(p.topic_id),
                    false => FetchTopic::default().with_topic(topic_name(&p.topic)),
                });
                topics.len() - 1
            });
            topics[topic].partitions.push(partition);
        }
        self.moved.clear();
        let request = FetchRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_max_wait_ms(self.options.max_wait_ms)
            .with_min_bytes(self.options.min_bytes)
            .with_max_bytes(self.options.max_bytes)
            .with_isolation_level(self.options.read_committed.into())
            .with_session_id(self.session_id)
            .with_session_epoch(self.session_epoch)
            .with_topics(topics);
        let frame = encode_request(api::FETCH, self.version, 0, Some(client_id), &request)
            .map_err(|e| BenchError::Arguments(format!("a Fetch request of the scenario: {e}")))?;
        self.outstanding = Some(self.free_since);
        self.link.send(&frame)
    }

    /// Takes an answer: counts, audits, moves the positions. `now` is when it arrived, `run` whose records count end to end.
    pub fn receive(&mut self, frame: Bytes, now: u64, run: u64, recorder: &mut Recorder) -> Result<(), BenchError> {
        let Some(due) = self.outstanding.take() else { return Err(self.link.failed("an answer nobody asked for".to_owned())) };
        let broken = |e: String| self.link.failed(e);
        let (_, mut body) = response_header(api::FETCH, self.version, frame).map_err(|e| broken(e.to_string()))?;
        let response: FetchResponse = decode_response(api::FETCH, &mut body, self.version).map_err(|e| broken(e.to_string()))?;
        if std::mem::take(&mut self.stale) {
            self.session_id = response.session_id;
            return Ok(());
        }
        if let Some(error) = ErrorCode::try_from_code(response.error_code) {
            // The next request opens a new session with everything in it.
            recorder.error(now, code_name(error));
            (self.session_id, self.session_epoch) = (0, 0);
            self.moved = (0..self.positions.len()).collect();
            return Ok(());
        }
        self.session_id = response.session_id;
        self.session_epoch = if self.session_id == 0 { 0 } else { self.session_epoch % i32::MAX + 1 };
        if self.session_id == 0 {
            // No session was given: every request is a full one.
            self.moved = (0..self.positions.len()).collect();
        }
        let (mut records, mut bytes) = (0, 0);
        for topic in response.responses {
            let name = if self.version >= TOPIC_ID_VERSION { String::new() } else { topic.topic.0.to_string() };
            for data in topic.partitions {
                if let Some(error) = ErrorCode::try_from_code(data.error_code) {
                    recorder.error(now, code_name(error));
                }
                let Some(&index) = self.index.get(&(topic.topic_id, name.clone(), data.partition_index)) else { continue };
                let before = self.positions[index].offset;
                let taken =
                    self.positions[index].take(self.mode, &data.records.unwrap_or_default(), data.high_watermark, now, run, recorder);
                records += taken.0;
                bytes += taken.1;
                if self.positions[index].offset != before || data.error_code != 0 {
                    self.moved.push(index);
                }
            }
        }
        if bytes > 0 {
            recorder.consumed(now, records, bytes);
            if self.mode == Mode::Loop {
                recorder.latency(Kind::Fetch, due, now, 1);
            }
        }
        Ok(())
    }
}

impl Position {
    /// Records and bytes of whole batches.
    fn take(&mut self, mode: Mode, bytes: &Bytes, high_watermark: i64, now: u64, run: u64, recorder: &mut Recorder) -> (u64, u64) {
        let (mut records, mut taken, mut at) = (0, 0, 0);
        // Records of a batch often were due at the same moment.
        let (mut due, mut count) = (0, 0);
        for batch in batches(bytes) {
            // The last one may be cut by the size limits.
            let Ok(view) = batch else { break };
            let whole = bytes.slice(at..at + view.total_bytes());
            at += view.total_bytes();
            let next = view.last_offset().get() + 1;
            if next <= self.offset || mode == Mode::Once && view.base_offset().get() >= self.end {
                continue;
            }
            if self.read_once {
                // Offsets of the harness's own topics have no gaps.
                if self.audit.foreign == 0 && view.base_offset().get() > self.offset {
                    self.audit.found.lost += (view.base_offset().get() - self.offset) as u64;
                }
            } else {
                let unseen = self.offset.max(self.seen);
                self.redelivered += (unseen.min(next) - self.offset.max(view.base_offset().get())).max(0) as u64;
                self.audit.batch(&whole, self.partition, unseen, run, |moment| {
                    if moment != due && count > 0 && mode == Mode::Tail {
                        recorder.latency(Kind::EndToEnd, due, now, count);
                        count = 0;
                    }
                    due = moment;
                    count += 1;
                });
            }
            if !view.is_control() {
                records += view.record_count().max(0) as u64;
            }
            taken += view.total_bytes() as u64;
            self.offset = next;
            self.seen = self.seen.max(next);
        }
        if count > 0 && mode == Mode::Tail {
            recorder.latency(Kind::EndToEnd, due, now, count);
        }
        if mode == Mode::Loop && self.offset >= high_watermark && self.offset > self.from {
            self.offset = self.from;
            self.read_once = true;
        }
        (records, taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::{self, Stamp};
    use odradek_base::{Offset, Timestamp};
    use odradek_wire::compress::Codec;
    use odradek_wire::records::BatchBuilder;
    use std::time::Duration;

    fn batch(base: i64) -> Bytes {
        let mut builder = BatchBuilder::new(Codec::None).base_offset(Offset(base));
        for sequence in base..base + 2 {
            let mut value = [0; 50];
            payload::write(&mut value, Stamp { run: 1, partition: 0, lane: 0, sequence: sequence as u64, due: 5_000_000 }, &[0; 10]);
            builder.append(Timestamp(1), None, Some(&value), &[]);
        }
        builder.build()
    }

    fn target() -> TargetPartition {
        TargetPartition { topic: "t".to_owned(), topic_id: Uuid::nil(), partition: 0, leader: 1 }
    }

    #[test]
    fn what_a_member_before_had_is_delivered_again_and_no_double() {
        let mut recorder = Recorder::new(Duration::ZERO, None);
        let whole = Bytes::from([&batch(0)[..], &batch(2), &batch(4)].concat());
        let mut p = Position::new(&target(), 0, 6);
        p.take(Mode::Tail, &whole.slice(..2 * batch(0).len()), 4, 0, 1, &mut recorder);
        // Committed in the middle of the second batch.
        p.resume(Some(3));
        p.take(Mode::Tail, &whole, 6, 0, 1, &mut recorder);
        assert_eq!((p.offset, p.redelivered, p.audit.found.records, p.audit.found.duplicated), (6, 1, 6, 0));
        assert_eq!(p.audit.lost(1, 0, 6, false), 0);
        // Without anything committed a group begins where its run began, not at the end.
        p.resume(None);
        assert_eq!(p.offset, 0);
        // A committed offset beyond what was read skips records.
        let mut p = Position::new(&target(), 0, 6);
        p.resume(Some(2));
        p.take(Mode::Tail, &whole, 6, 0, 1, &mut recorder);
        assert_eq!(p.audit.lost(1, 0, 6, false), 2);
    }

    #[test]
    fn whole_batches_count_and_the_end_wraps_around() {
        let mut recorder = Recorder::new(Duration::ZERO, None);
        recorder.window(Duration::from_secs(1), None);
        let whole = Bytes::from([&batch(0)[..], &batch(2)].concat());
        let size = batch(0).len() as u64;
        let mut p = Position::new(&target(), 0, 4);
        assert_eq!(p.take(Mode::Tail, &whole.slice(..whole.len() - 1), 4, 7_000_000, 1, &mut recorder), (2, size));
        assert_eq!(p.offset, 2);
        // What was read before does not count again.
        assert_eq!(p.take(Mode::Tail, &whole, 4, 8_000_000, 1, &mut recorder), (2, size));
        assert_eq!(p.take(Mode::Tail, &whole, 4, 8_000_000, 1, &mut recorder), (0, 0));
        let seen = recorder.step(1).end_to_end.unwrap();
        assert_eq!((seen.count, seen.p50_ms.round(), seen.max_ms.round()), (4, 2.0, 3.0));
        assert_eq!((p.audit.lost(1, 0, 4, false), p.audit.found.records), (0, 4));

        let mut p = Position::new(&target(), 0, 4);
        p.take(Mode::Loop, &whole, 4, 0, 1, &mut recorder);
        assert_eq!((p.offset, p.read_once), (0, true));
        // In the second pass a gap is a loss.
        p.take(Mode::Loop, &batch(2), 4, 0, 1, &mut recorder);
        assert_eq!(p.audit.found.lost, 2);

        let mut p = Position::new(&target(), 0, 2);
        assert_eq!(p.take(Mode::Once, &whole, 4, 0, 1, &mut recorder), (2, size));
    }
}
