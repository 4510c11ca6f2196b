//! Produce: check, append, answer when the records are as safe as the client asked.
//!
//! The reader of the connection calls [`start`], which checks every batch and appends it in the order of the requests;
//! the answer waits for the journal in the connection's queue ([`PendingProduce`]), so that many produces of one
//! connection share a journal block. Partitions of other shards (`odradek.advertise=node`) are checked here and
//! appended there.

use crate::answer::Answer;
use crate::background_jobs;
use crate::dispatch::{Close, Context};
use crate::messages::{AppendCall, AppendItem, AppendOutcome, Call, Reply};
use crate::shard::Shard;
use crate::topics::Topic;
use bytes::Bytes;
use odradek_base::{LeaderEpoch, PartitionIndex, ShardId, Timestamp, TopicPartition};
use odradek_ring::sync::oneshot;
use odradek_store::{AppendError, CommitTicket, Partition};
use odradek_wire::batch::validate::{self, BatchError, ValidBatch, ValidationRules, Validator};
use odradek_wire::produce::{PartitionProduceResponse, ProducePartition, ProduceRequest, ProduceResponse, TopicProduceResponse};
use odradek_wire::{ErrorCode, StrBytes};
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::task::Poll;

/// Bytes of decompressed records that are checked before other work gets its turn.
const VALIDATION_SLICE_BYTES: usize = 256 * 1024;

/// Bytes that batches of a shard may hold together while their check waits for its next turn: decompressors and what is written anew. The largest
/// window of zstd fits in, and what does not fit takes all of it; who waits longest is next.
pub const CHECKED_BYTES_MAX: u64 = 160 << 20;

/// Largest batch, as it arrives, that is written anew in a fast codec on the shard itself; others go to the background plane.
const RECOMPRESSED_HERE_BYTES_MAX: usize = 4096;

/// Room that the answer of one partition takes, in bytes.
const PARTITION_ANSWER_BYTES: usize = size_of::<PartitionProduceResponse>() + size_of::<LocalWait>();

/// A produce whose answer waits for the disk or for another shard.
pub struct PendingProduce {
    version: i16,
    correlation_id: i32,
    acks: i16,
    response: ProduceResponse,
    local: Vec<LocalWait>,
    remote: Vec<RemoteWait>,
    /// Bytes of batches that other shards have not answered for.
    remote_bytes: usize,
}

/// Where in the response a partition stands.
#[derive(Clone, Copy)]
struct Place {
    topic: usize,
    partition: usize,
}

struct LocalWait {
    place: Place,
    partition: Partition,
    ticket: CommitTicket,
}

struct RemoteWait {
    places: Vec<Place>,
    outcome: oneshot::Receiver<Vec<AppendOutcome>>,
}

/// What a shard that owns partitions is to append, by shard.
type RemoteAppends = BTreeMap<ShardId, (Vec<Place>, Vec<AppendItem>)>;

/// Handles one Produce request up to the point where its records are on their way.
pub async fn start(shard: &Rc<Shard>, context: &Context<'_>, request: ProduceRequest) -> Result<Answer, Close> {
    let mut response = ProduceResponse::default();
    let mut local = Vec::new();
    let mut remote = RemoteAppends::new();
    let acks_valid = matches!(request.acks, -1..=1);

    if acks_valid {
        shard.store().wait_admission().await;
    }
    // Transactional records in a request that names no transaction: Kafka refuses the whole request.
    let unnamed = request.transactional_id.is_none() && request.topics.iter().any(has_transactional_records);
    let refused =
        if !acks_valid { Some(ErrorCode::InvalidRequiredAcks) } else { unnamed.then_some(ErrorCode::TransactionalIdAuthorizationFailed) };
    for (topic_at, asked) in request.topics.into_iter().enumerate() {
        let topic = shard.topics.resolve(shard, &asked.topic);
        let mut answered = TopicProduceResponse { topic: asked.topic, partitions: Vec::with_capacity(asked.partitions.len()) };
        for (partition_at, wanted) in asked.partitions.into_iter().enumerate() {
            let place = Place { topic: topic_at, partition: partition_at };
            let index = wanted.index;
            let outcome = match (refused, &topic) {
                (Some(error), _) => Err(Refusal::code(error)),
                (None, Err(error)) => Err(Refusal::code(*error)),
                (None, Ok(topic)) => {
                    append_one(shard, context, topic, wanted, request.acks, &request.transactional_id, place, &mut remote).await
                }
            };
            answered.partitions.push(match outcome {
                Ok(Some((appended, wait))) => {
                    local.extend(wait);
                    appended
                }
                Ok(None) => PartitionProduceResponse::failed(index, ErrorCode::UnknownServerError),
                Err(refusal) => refusal.into_response(index),
            });
        }
        response.topics.push(answered);
    }

    let remote_bytes = remote.values().flat_map(|(_, items)| items).map(|item| item.batch.bytes.len()).sum();
    let remote = send_remote(shard, remote, request.acks);
    let pending = PendingProduce {
        version: context.request.api_version,
        correlation_id: context.request.correlation_id,
        acks: request.acks,
        response,
        local,
        remote,
        remote_bytes,
    };
    if request.acks != 0 {
        return Ok(Answer::Produce(Box::new(pending)));
    }
    // Nobody waits, but an error ends the connection, which is all that Kafka can tell a client with acks=0.
    let failed = pending.response.topics.iter().flat_map(|topic| &topic.partitions).any(|partition| partition.error.is_some());
    if failed && pending.remote.is_empty() {
        return Ok(Answer::close());
    }
    Ok(Answer::None)
}

fn has_transactional_records(topic: &odradek_wire::produce::ProduceTopic) -> bool {
    topic.partitions.iter().filter_map(|partition| partition.records.as_ref()).any(validate::first_batch_is_transactional)
}

/// Why a partition's records were refused.
struct Refusal {
    error: ErrorCode,
    message: Option<String>,
    record_errors: Vec<validate::RecordError>,
}

impl Refusal {
    fn code(error: ErrorCode) -> Self {
        Self { error, message: None, record_errors: Vec::new() }
    }

    fn into_response(self, index: PartitionIndex) -> PartitionProduceResponse {
        PartitionProduceResponse {
            record_errors: self.record_errors,
            error_message: self.message.map(StrBytes::from_string),
            ..PartitionProduceResponse::failed(index, self.error)
        }
    }
}

impl From<BatchError> for Refusal {
    fn from(error: BatchError) -> Self {
        Self { error: error.code, message: Some(error.message.to_string()), record_errors: error.record_errors }
    }
}

type Appended = (PartitionProduceResponse, Option<LocalWait>);

/// Checks and appends the records of one partition. `None` when another shard does it and its answer is awaited later.
#[allow(clippy::too_many_arguments)]
async fn append_one(
    shard: &Rc<Shard>,
    context: &Context<'_>,
    topic: &Rc<Topic>,
    wanted: ProducePartition,
    acks: i16,
    transactional_id: &Option<StrBytes>,
    place: Place,
    remote: &mut RemoteAppends,
) -> Result<Option<Appended>, Refusal> {
    let route = topic.partition(wanted.index).ok_or(Refusal::code(ErrorCode::UnknownTopicOrPartition))?;
    let records = wanted.records.ok_or_else(validate::missing)?;
    let now = shard.ring.wall_clock();
    let rules = topic.validation_rules(context.request.api_version, transactional_id.is_some());
    let batch = check(shard, records, rules, now).await?;
    if batch.is_transactional {
        // Without a transaction coordinator no partition was ever added to a transaction.
        return Err(Refusal::code(ErrorCode::InvalidTxnState));
    }
    if !shard.serves(route) {
        return Err(Refusal::code(ErrorCode::NotLeaderOrFollower));
    }
    let tp = TopicPartition::new(topic.id, wanted.index);
    if route.shard != shard.id {
        let (places, items) = remote.entry(route.shard).or_default();
        places.push(place);
        items.push(AppendItem { tp, leader_epoch: route.leader_epoch, batch, now });
        return Ok(None);
    }
    shard.wait_made(tp).await;
    if !shard.store().is_admitted() {
        // Many may have been admitted together and were checked meanwhile.
        shard.store().wait_admission().await;
    }
    let (outcome, partition, ticket) = append_local(shard, tp, route.leader_epoch, &batch, now, acks).map_err(Refusal::code)?;
    let wait = ticket.map(|ticket| LocalWait { place, partition, ticket });
    Ok(Some((response_of(wanted.index, &outcome), wait)))
}

/// Checks records, giving others a turn between slices: a small frame may expand to very many records. What has to be compressed anew is checked on the
/// background plane, unless it is little: a codec may take long for a single slice. The connection's next request waits, so its order stays.
async fn check(shard: &Shard, records: Bytes, rules: ValidationRules, now: Timestamp) -> Result<ValidBatch, BatchError> {
    let mut validator = Validator::new(records.clone(), rules, now);
    // What is checked in one go is gone before anybody else has a turn; what waits in between holds a codec's window.
    let place_for = |validator: &Validator| shard.checking.acquire((validator.held_bytes() as u64).clamp(1, CHECKED_BYTES_MAX));
    let long = records.len() > RECOMPRESSED_HERE_BYTES_MAX || rules.compression.is_some_and(|target| target.is_slow());
    if let Some(background) = shard.background.as_ref().filter(|_| long && validator.recompresses()) {
        let _place = place_for(&validator).await;
        let checked = background_jobs::compute(background, move || validate::validate(&records, &rules, now)).await;
        if let Some(result) = checked {
            return result;
        }
    }
    let mut place = None;
    loop {
        match validator.step(VALIDATION_SLICE_BYTES) {
            Poll::Ready(result) => return result,
            Poll::Pending if place.is_none() => place = Some(place_for(&validator).await),
            Poll::Pending => {}
        }
        shard.ring.yield_now().await;
    }
}

/// Appends checked batches to a partition of this shard.
pub fn append_local(
    shard: &Shard,
    tp: TopicPartition,
    leader_epoch: LeaderEpoch,
    batch: &ValidBatch,
    now: Timestamp,
    acks: i16,
) -> Result<(AppendOutcome, Partition, Option<CommitTicket>), ErrorCode> {
    let partition = shard.partition(tp).ok_or_else(|| shard.missing(tp))?;
    let durability = match acks {
        0 => odradek_store::Durability::None,
        1 if !flush_due(&partition, batch) => odradek_store::Durability::Written,
        _ => odradek_store::Durability::Durable,
    };
    let appended = partition
        .append(std::slice::from_ref(batch), leader_epoch, now, odradek_store::AppendOrigin::Client, durability)
        .map_err(|error| append_error_code(tp, &error))?;
    shard.counters.produce(batch.bytes.len());
    let outcome = AppendOutcome::Appended {
        base_offset: appended.base_offset,
        log_append_time: appended.log_append_time.unwrap_or(Timestamp::NONE),
        log_start_offset: appended.log_start_offset,
    };
    let ticket = (acks != 0).then_some(appended.ticket);
    Ok((outcome, partition, ticket))
}

/// Whether `flush.messages` asks for a flush before an append of `batch` is answered. `flush.ms` needs no such care: a journal block that nobody waits for
/// is flushed as soon as it is written.
fn flush_due(partition: &Partition, batch: &ValidBatch) -> bool {
    let marks = partition.marks();
    let unflushed = marks.appended.get() - marks.durable.get() + i64::from(batch.record_count);
    unflushed >= partition.config().flush_messages
}

/// Kafka's code for a refused append.
pub fn append_error_code(tp: TopicPartition, error: &AppendError) -> ErrorCode {
    let code = error.code();
    if code == ErrorCode::KafkaStorageError {
        // Said once, as an error, where it came about.
        tracing::debug!(partition = %tp, %error, "append refused");
    }
    code
}

fn response_of(index: PartitionIndex, outcome: &AppendOutcome) -> PartitionProduceResponse {
    match outcome {
        AppendOutcome::Appended { base_offset, log_append_time, log_start_offset } => {
            PartitionProduceResponse::appended(index, *base_offset, *log_append_time, *log_start_offset)
        }
        AppendOutcome::Failed(error) => PartitionProduceResponse::failed(index, *error),
    }
}

/// Sends the parts of a produce that belong to other shards. The calls leave in the order of the requests.
fn send_remote(shard: &Rc<Shard>, appends: RemoteAppends, acks: i16) -> Vec<RemoteWait> {
    appends
        .into_iter()
        .map(|(owner, (places, items))| {
            let (sender, outcome) = oneshot::channel();
            let count = items.len();
            let call = shard.mailbox.call_later(owner, Call::Append(AppendCall { items, acks }));
            shard.ring.spawn(async move {
                let outcomes = match call.await {
                    Ok(Reply::Appended(outcomes)) if outcomes.len() == count => outcomes,
                    _ => vec![AppendOutcome::Failed(ErrorCode::NotLeaderOrFollower); count],
                };
                let _ = sender.send(outcomes);
            });
            RemoteWait { places, outcome }
        })
        .collect()
}

/// What other shards sent to be appended and this one has no room, or not the partitions, for yet; in the order of the messages.
#[derive(Default)]
pub struct WaitingAppends {
    calls: RefCell<VecDeque<(ShardId, u64, AppendCall)>>,
}

/// Appends what another shard sent, when there is room and its partitions are made: the batches wait where their senders count them.
pub fn serve_append(shard: &Rc<Shard>, from: ShardId, id: u64, call: AppendCall) {
    let mut waiting = shard.waiting_appends.calls.borrow_mut();
    let comes = call.items.iter().any(|item| shard.may_come(item.tp));
    let Some(store) = shard.store_if_open().filter(|store| comes || !waiting.is_empty() || !store.is_admitted()) else {
        drop(waiting);
        return append_all(shard, from, id, call);
    };
    waiting.push_back((from, id, call));
    if waiting.len() > 1 {
        return;
    }
    let (shard, store) = (shard.clone(), store.clone());
    shard.ring.clone().spawn(async move {
        loop {
            store.wait_admission().await;
            let next: Vec<_> = shard
                .waiting_appends
                .calls
                .borrow()
                .front()
                .map_or_else(Vec::new, |(_, _, call)| call.items.iter().map(|item| item.tp).collect());
            for tp in next {
                shard.wait_made(tp).await;
            }
            let Some((from, id, call)) = shard.waiting_appends.calls.borrow_mut().pop_front() else { return };
            append_all(&shard, from, id, call);
            if shard.waiting_appends.calls.borrow().is_empty() {
                return;
            }
        }
    });
}

/// Appends; the reply leaves when the records are as safe as asked.
fn append_all(shard: &Rc<Shard>, from: ShardId, id: u64, call: AppendCall) {
    let mut outcomes = Vec::with_capacity(call.items.len());
    let mut waits = Vec::new();
    for (at, item) in call.items.into_iter().enumerate() {
        match append_local(shard, item.tp, item.leader_epoch, &item.batch, item.now, call.acks) {
            Ok((outcome, partition, ticket)) => {
                outcomes.push(outcome);
                waits.extend(ticket.map(|ticket| (at, partition, ticket)));
            }
            Err(error) => outcomes.push(AppendOutcome::Failed(error)),
        }
    }
    let shard = shard.clone();
    shard.ring.clone().spawn(async move {
        for (at, partition, ticket) in waits {
            if partition.wait(ticket).await.is_err() {
                outcomes[at] = AppendOutcome::Failed(ErrorCode::KafkaStorageError);
            }
        }
        shard.mailbox.reply(from, id, Reply::Appended(outcomes));
    });
}

impl PendingProduce {
    pub fn bytes(&self) -> usize {
        let answers: usize = self.response.topics.iter().map(|topic| topic.partitions.len() * PARTITION_ANSWER_BYTES).sum();
        answers + self.remote_bytes
    }

    /// True when the answer would not have to wait.
    pub fn is_ready(&self) -> bool {
        self.remote.is_empty() && self.local.iter().all(|wait| wait.partition.is_committed(wait.ticket))
    }

    /// Waits for the disk and for other shards, then builds the response.
    pub async fn finish(mut self) -> Vec<Bytes> {
        for wait in std::mem::take(&mut self.local) {
            if wait.partition.wait(wait.ticket).await.is_err() {
                self.fail(wait.place, ErrorCode::KafkaStorageError);
            }
        }
        for wait in std::mem::take(&mut self.remote) {
            let outcomes = wait.outcome.await.unwrap_or_default();
            for (at, place) in wait.places.iter().enumerate() {
                let index = self.partition(*place).index;
                *self.partition(*place) = match outcomes.get(at) {
                    Some(outcome) => response_of(index, outcome),
                    None => PartitionProduceResponse::failed(index, ErrorCode::NotLeaderOrFollower),
                };
            }
        }
        debug_assert!(self.acks != 0);
        vec![odradek_wire::produce::encode_response(self.version, self.correlation_id, &self.response)]
    }

    fn partition(&mut self, place: Place) -> &mut PartitionProduceResponse {
        &mut self.response.topics[place.topic].partitions[place.partition]
    }

    fn fail(&mut self, place: Place, error: ErrorCode) {
        let index = self.partition(place).index;
        *self.partition(place) = PartitionProduceResponse::failed(index, error);
    }
}
