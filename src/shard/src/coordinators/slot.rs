//! One coordinator on the partition of its internal topic: loading, requests, writes, deadlines.
//!
//! The pattern is Kafka's `CoordinatorRuntime`: a request gives records and replies; the records are appended to the
//! partition as one batch; what they change, and the replies that depend on them, happen when they are committed.
//! The coordinator itself has no I/O; this file gives it some.

use crate::shard::Shard;
use bytes::Bytes;
use odradek_base::{Instant, Offset, ProducerEpoch, ProducerId, Timestamp, TopicPartition};
use odradek_ring::sync::{Event, oneshot};
use odradek_store::{AppendOrigin, CommitTicket, Durability, Partition};
use odradek_wire::ErrorCode;
use odradek_wire::batch::batches;
use odradek_wire::batch::validate::ValidBatch;
use odradek_wire::compress::Codec;
use odradek_wire::records::{BatchBuilder, RecordReader};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

/// Requests of one coordinator partition that may wait at the same time.
const PARKED_MAX: usize = 100_000;
/// Bytes of log that are read at once while loading.
const LOAD_BYTES: usize = 1024 * 1024;

/// Bytes that one batch of a coordinator's log may decompress to.
const BATCH_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Records of one write, keys and values.
pub type Records = Vec<(Bytes, Option<Bytes>)>;

/// What a coordinator wants done after a call: in Kafka's words, its result.
pub struct Out<R> {
    /// Writes in order, each one batch.
    pub writes: Vec<(u64, Records)>,
    pub replies: Vec<(u64, R)>,
}

impl<R> Default for Out<R> {
    fn default() -> Self {
        Self { writes: Vec::new(), replies: Vec::new() }
    }
}

/// What the slot asks of a coordinator, whichever it is.
pub trait Logic: 'static {
    type Reply: 'static;
    /// For log lines: "group coordinator".
    const NAME: &'static str;

    fn replay(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), String>;
    fn loaded(&mut self, shard: &Shard, out: &mut Out<Self::Reply>);
    fn committed(&mut self, shard: &Shard, write: u64, out: &mut Out<Self::Reply>);
    fn failed(&mut self, shard: &Shard, write: u64, error: ErrorCode, out: &mut Out<Self::Reply>);
    fn deadline(&self) -> Option<Instant>;
    fn on_deadline(&mut self, shard: &Shard, out: &mut Out<Self::Reply>);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Loading,
    Active,
    /// Its log cannot be read, or it belongs to another shard now.
    Gone,
}

pub struct Slot<L: Logic> {
    tp: TopicPartition,
    state: Cell<State>,
    logic: RefCell<L>,
    partition: Partition,
    parked: RefCell<BTreeMap<u64, oneshot::Sender<L::Reply>>>,
    next_token: Cell<u64>,
    commits: RefCell<VecDeque<(u64, Result<CommitTicket, ErrorCode>)>>,
    work: Event,
    timer: Event,
}

impl<L: Logic> Slot<L> {
    /// Takes a coordinator partition over and starts loading it.
    pub fn start(shard: &Rc<Shard>, tp: TopicPartition, partition: Partition, logic: L) -> Rc<Self> {
        let slot = Rc::new(Self {
            tp,
            state: Cell::new(State::Loading),
            logic: RefCell::new(logic),
            partition,
            parked: RefCell::default(),
            next_token: Cell::new(0),
            commits: RefCell::default(),
            work: Event::new(),
            timer: Event::new(),
        });
        shard.ring.spawn(slot.clone().run(shard.clone()));
        slot
    }

    /// The partition is no longer this shard's: parked requests end, nothing more is written.
    pub fn stop(&self) {
        self.state.set(State::Gone);
        self.parked.borrow_mut().clear();
        self.work.notify_all();
        self.timer.notify_all();
    }

    fn check(&self) -> Result<(), ErrorCode> {
        match self.state.get() {
            State::Active => Ok(()),
            State::Loading => Err(ErrorCode::CoordinatorLoadInProgress),
            State::Gone => Err(ErrorCode::NotCoordinator),
        }
    }

    /// Puts a request to the coordinator and waits for its reply.
    pub async fn ask(&self, shard: &Rc<Shard>, request: impl FnOnce(&mut L, u64, &mut Out<L::Reply>)) -> Result<L::Reply, ErrorCode> {
        self.check()?;
        if self.parked.borrow().len() >= PARKED_MAX {
            return Err(ErrorCode::CoordinatorNotAvailable);
        }
        let token = self.next_token.get();
        self.next_token.set(token + 1);
        let (sender, receiver) = oneshot::channel();
        self.parked.borrow_mut().insert(token, sender);
        self.with(shard, |logic, out| request(logic, token, out));
        receiver.await.map_err(|_| ErrorCode::NotCoordinator)
    }

    /// Looks at committed state.
    pub fn read<T>(&self, look: impl FnOnce(&L) -> T) -> Result<T, ErrorCode> {
        self.check()?;
        Ok(look(&self.logic.borrow()))
    }

    /// Lets the coordinator act without a request, for example because topics changed.
    pub fn act(&self, shard: &Rc<Shard>, action: impl FnOnce(&mut L, &mut Out<L::Reply>)) {
        if self.check().is_ok() {
            self.with(shard, action);
        }
    }

    fn with(&self, shard: &Rc<Shard>, action: impl FnOnce(&mut L, &mut Out<L::Reply>)) {
        let mut out = Out::default();
        action(&mut self.logic.borrow_mut(), &mut out);
        self.carry_out(shard, out);
    }

    /// Appends the writes and sends the replies.
    fn carry_out(&self, shard: &Rc<Shard>, out: Out<L::Reply>) {
        for (id, records) in out.writes {
            let result = self.append(shard, &records);
            self.commits.borrow_mut().push_back((id, result));
            self.work.notify_all();
        }
        for (token, reply) in out.replies {
            let parked = self.parked.borrow_mut().remove(&token);
            if let Some(sender) = parked {
                let _ = sender.send(reply);
            }
        }
        self.timer.notify_all();
    }

    fn append(&self, shard: &Shard, records: &Records) -> Result<CommitTicket, ErrorCode> {
        let now = shard.ring.wall_clock();
        let batch = batch_of(records, now);
        let epoch = shard.topics.leader_epoch(shard, self.tp);
        let appended = self
            .partition
            .append(&[batch], epoch, now, AppendOrigin::Coordinator, Durability::Durable)
            .map_err(|error| crate::produce::append_error_code(self.tp, &error))?;
        Ok(appended.ticket)
    }

    async fn run(self: Rc<Self>, shard: Rc<Shard>) {
        let started = shard.ring.now();
        match self.load().await {
            Ok(records) => {
                if self.state.get() == State::Gone {
                    return;
                }
                self.state.set(State::Active);
                self.with(&shard, |logic, out| logic.loaded(&shard, out));
                if records > 0 {
                    tracing::debug!(partition = %self.tp, records, took = ?(shard.ring.now() - started), "{} loaded", L::NAME);
                }
            }
            Err(error) => {
                tracing::error!(partition = %self.tp, %error, "the {} cannot read its log; its requests are refused", L::NAME);
                self.stop();
                return;
            }
        }
        shard.ring.spawn(self.clone().keep_time(shard.clone()));
        self.commit_all(shard).await;
    }

    /// Replays the partition from its start. Gives the number of records.
    async fn load(&self) -> Result<u64, odradek_store::ReadError> {
        let mut records = 0;
        let marks = self.partition.marks();
        let mut at = marks.log_start.0;
        let end = marks.high_watermark.0;
        while at < end {
            let data = self.partition.read(at, end, LOAD_BYTES, true).await?;
            let before = at;
            for bytes in &data.batches {
                at = self.replay(bytes, at, &mut records);
            }
            if at == before {
                break;
            }
        }
        Ok(records)
    }

    /// Replays the batches in `bytes`; gives the offset after them.
    fn replay(&self, bytes: &Bytes, mut at: Offset, records: &mut u64) -> Offset {
        for batch in batches(bytes) {
            let Ok(batch) = batch else { break };
            at = batch.next_offset();
            if batch.is_control() {
                continue;
            }
            let reader = match RecordReader::new(&bytes.slice_ref(batch.bytes()), BATCH_BYTES_MAX) {
                Ok(reader) => reader,
                Err(error) => {
                    tracing::warn!(partition = %self.tp, offset = %at, %error, "{}: a batch was passed over", L::NAME);
                    continue;
                }
            };
            for record in reader {
                let result = record.map_err(|error| error.to_string()).and_then(|record| {
                    let key = record.key.as_deref().unwrap_or_default();
                    self.logic.borrow_mut().replay(key, record.value.as_deref())
                });
                *records += 1;
                if let Err(error) = result {
                    tracing::warn!(partition = %self.tp, offset = %at, %error, "{}: a record was passed over", L::NAME);
                }
            }
        }
        at
    }

    /// Tells the coordinator, in order, which of its writes are committed.
    async fn commit_all(self: Rc<Self>, shard: Rc<Shard>) {
        loop {
            let next = self.commits.borrow_mut().pop_front();
            let Some((id, result)) = next else {
                if self.state.get() == State::Gone || shard.stopping.get() {
                    return;
                }
                self.work.listen().await;
                continue;
            };
            let result = match result {
                Ok(ticket) => self.partition.wait(ticket).await.map_err(|_| ErrorCode::CoordinatorNotAvailable),
                Err(error) => Err(coordinator_error(error)),
            };
            self.with(&shard, |logic, out| match result {
                Ok(()) => logic.committed(&shard, id, out),
                Err(error) => logic.failed(&shard, id, error, out),
            });
        }
    }

    async fn keep_time(self: Rc<Self>, shard: Rc<Shard>) {
        while self.state.get() == State::Active && !shard.stopping.get() {
            let changed = self.timer.listen();
            let deadline = self.logic.borrow().deadline();
            match deadline {
                None => changed.await,
                Some(at) => {
                    if shard.ring.timeout(at, changed).await.is_none() || shard.ring.now() >= at {
                        self.with(&shard, |logic, out| logic.on_deadline(&shard, out));
                    }
                }
            }
        }
    }
}

/// One batch of a coordinator's records.
fn batch_of(records: &Records, now: Timestamp) -> ValidBatch {
    let mut builder = BatchBuilder::new(Codec::None);
    for (key, value) in records {
        builder.append(now, Some(key), value.as_deref(), &[]);
    }
    let record_count = builder.record_count();
    ValidBatch {
        bytes: builder.build(),
        record_count,
        last_offset_delta: record_count - 1,
        base_timestamp: now,
        max_timestamp: now,
        offset_of_max_timestamp_delta: 0,
        producer_id: ProducerId::NONE,
        producer_epoch: ProducerEpoch::NONE,
        base_sequence: -1,
        is_transactional: false,
        is_control: false,
        codec: Codec::None,
    }
}

/// What a failed append means to a client of a coordinator (`CoordinatorOperationExceptionHelper`).
fn coordinator_error(error: ErrorCode) -> ErrorCode {
    match error {
        ErrorCode::UnknownTopicOrPartition | ErrorCode::NotEnoughReplicas | ErrorCode::RequestTimedOut => {
            ErrorCode::CoordinatorNotAvailable
        }
        ErrorCode::NotLeaderOrFollower | ErrorCode::KafkaStorageError => ErrorCode::NotCoordinator,
        ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge | ErrorCode::InvalidRecord => ErrorCode::UnknownServerError,
        other => other,
    }
}
