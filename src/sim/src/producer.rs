//! Producers: pipelined, with retries as their acks allow, and a note of everything that was acknowledged.
//!
//! A producer has one lane per leader: a connection with up to [`IN_FLIGHT_MAX`] requests under way, each with a batch for some of the
//! partitions that the leader has. After any trouble the lane connects anew and sends everything unanswered again, in order:
//! what Kafka's own idempotent producer does.

use crate::client::{Client, Connection, Lost, topic_name};
use crate::faults::Kinds;
use crate::history::Tp;
use crate::record::{RecordId, TOMBSTONE_HEADER};
use crate::violation::Checker;
use bytes::Bytes;
use odradek_base::{ProducerEpoch, ProducerId, Rng};
use odradek_wire::ErrorCode;
use odradek_wire::compress::Codec;
use odradek_wire::messages::produce_request::{PartitionProduceData, TopicProduceData};
use odradek_wire::messages::{InitProducerIdRequest, ProduceRequest, ProduceResponse};
use odradek_wire::records::BatchBuilder;
use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

const PRODUCE_VERSION: i16 = 9;
const INIT_PRODUCER_ID_VERSION: i16 = 4;
/// Requests under way on one connection: Kafka's bound for idempotent producers.
const IN_FLIGHT_MAX: usize = 5;
/// Records of one batch.
const BATCH_RECORDS_MAX: u64 = 4;

/// What a producer is to do.
#[derive(Debug, Clone)]
pub struct Plan {
    pub number: u32,
    pub acks: i16,
    pub idempotent: bool,
    /// Whether what was not answered is sent again. Always with an idempotent producer, never with acks=0.
    pub retries: bool,
    pub partitions: Vec<Tp>,
    /// Batches for each partition.
    pub batches: u64,
    pub value_bytes_max: u64,
    pub pause_max: Duration,
    /// Says which refusals are to be expected.
    pub kinds: Kinds,
    pub codec: Codec,
    /// Topics that are compacted.
    pub compacted: Vec<String>,
    /// One in so many records for them is a tombstone; 0 is none.
    pub tombstone_one_in: u64,
}

/// One batch on its way.
struct Batch {
    tp: Tp,
    first: u64,
    count: u64,
    bytes: Bytes,
    done: bool,
}

/// The batches of one request, one per partition at most.
type Request = Vec<Batch>;

struct Lane {
    client: Client,
    plan: Rc<Plan>,
    leader: SocketAddr,
    rng: Rng,
    producer: (ProducerId, ProducerEpoch),
    /// For each partition: batches still to be made, the next record and its sequence.
    todo: BTreeMap<Tp, (u64, u64)>,
    unanswered: VecDeque<Request>,
}

/// Runs a producer until all of its records are sent and, where it retries, acknowledged; then counts `finished` up.
pub async fn run(client: Client, plan: Plan, finished: Rc<Cell<usize>>) {
    let plan = Rc::new(plan);
    let mut topics: Vec<String> = plan.partitions.iter().map(|tp| tp.topic.to_string()).collect();
    topics.dedup();
    let metadata = client.metadata_of_all(&topics).await;
    let producer = if plan.idempotent { producer_id(&client).await } else { (ProducerId::NONE, ProducerEpoch::NONE) };
    let mut lanes: BTreeMap<SocketAddr, Vec<Tp>> = BTreeMap::new();
    for tp in &plan.partitions {
        match metadata.leaders.get(tp) {
            Some(leader) => lanes.entry(*leader).or_default().push(tp.clone()),
            None => client.history.violation(Checker::Metadata, format!("{tp} has no leader")),
        }
    }
    let open = Rc::new(Cell::new(lanes.len()));
    for (leader, partitions) in lanes {
        let todo = partitions.into_iter().map(|tp| (tp, (plan.batches, 0))).collect();
        let rng = client.ring.rng();
        let mut lane = Lane { client: client.clone(), plan: plan.clone(), leader, rng, producer, todo, unanswered: VecDeque::new() };
        let (open, finished) = (open.clone(), finished.clone());
        client.ring.spawn(async move {
            lane.run().await;
            open.set(open.get() - 1);
            if open.get() == 0 {
                finished.set(finished.get() + 1);
            }
        });
    }
}

async fn producer_id(client: &Client) -> (ProducerId, ProducerEpoch) {
    let request = InitProducerIdRequest::default()
        .with_transactional_id(None)
        .with_transaction_timeout_ms(60_000)
        .with_producer_id((-1).into())
        .with_producer_epoch(-1);
    loop {
        match client.bootstrap().await.call(&request, INIT_PRODUCER_ID_VERSION).await {
            Ok(answer) if answer.error_code == 0 => return (ProducerId(answer.producer_id.0), ProducerEpoch(answer.producer_epoch)),
            Ok(answer) => client.history.event(|| format!("no producer id: error {}", answer.error_code)),
            Err(error) => client.history.event(|| format!("no producer id: {error}")),
        }
        client.back_off().await;
    }
}

impl Lane {
    async fn run(&mut self) {
        while !(self.todo.is_empty() && self.unanswered.is_empty()) {
            if let Err(error) = self.session().await {
                self.client.history.event(|| format!("producer {}: {error}", self.plan.number));
                if !self.plan.retries {
                    self.unanswered.clear();
                }
                self.client.back_off().await;
            }
        }
    }

    /// One connection's worth of producing.
    async fn session(&mut self) -> Result<(), Lost> {
        let mut connection = Connection::open(&self.client, self.leader).await?;
        for at in 0..self.unanswered.len() {
            self.send(&mut connection, at).await?;
        }
        loop {
            let may_send = !self.todo.is_empty() && self.unanswered.len() < IN_FLIGHT_MAX;
            if may_send && (self.unanswered.is_empty() || self.rng.chance(2)) {
                let request = self.next_request();
                self.unanswered.push_back(request);
                self.send(&mut connection, self.unanswered.len() - 1).await?;
                if self.plan.acks == 0 {
                    self.unanswered.clear();
                }
                let pause = self.rng.below(self.plan.pause_max.as_micros() as u64 + 1);
                self.client.ring.sleep(Duration::from_micros(pause)).await;
            } else if connection.in_flight() > 0 {
                let answer = connection.receive::<ProduceRequest>().await?;
                self.judge(answer)?;
            } else if self.todo.is_empty() {
                return Ok(());
            }
        }
    }

    /// Makes a batch for each of some of the partitions, at least one.
    fn next_request(&mut self) -> Request {
        let all: Vec<Tp> = self.todo.keys().cloned().collect();
        let sure = self.rng.below(all.len() as u64) as usize;
        let mut request = Request::new();
        for (at, tp) in all.into_iter().enumerate() {
            if at != sure && self.rng.chance(2) {
                continue;
            }
            let count = 1 + self.rng.below(BATCH_RECORDS_MAX);
            let Some((batches, next)) = self.todo.get_mut(&tp) else { continue };
            let first = *next;
            *next += count;
            *batches -= 1;
            if *batches == 0 {
                self.todo.remove(&tp);
            }
            let compacted = self.plan.compacted.iter().any(|topic| **topic == *tp.topic);
            let bytes = self.batch(&tp, first, count, compacted);
            request.push(Batch { tp, first, count, bytes, done: false });
        }
        request
    }

    fn batch(&mut self, tp: &Tp, first: u64, count: u64, compacted: bool) -> Bytes {
        let (id, epoch) = self.producer;
        // The sequence is the record's number: both count the producer's records in this partition from 0.
        let sequence = if self.plan.idempotent { first as i32 } else { -1 };
        let mut builder = BatchBuilder::new(self.plan.codec).producer(id, epoch, sequence);
        for number in first..first + count {
            let id = RecordId { producer: self.plan.number, number };
            let tombstone = self.plan.tombstone_one_in;
            if compacted && tombstone > 0 && self.rng.chance(tombstone) {
                self.client.history.tombstone(tp, id);
                let header = (TOMBSTONE_HEADER, Some(&id.value(0)[..]));
                builder.append(self.client.ring.wall_clock(), Some(&id.key(compacted).to_be_bytes()), None, &[header]);
                continue;
            }
            let padding = self.rng.below(self.plan.value_bytes_max + 1) as usize;
            builder.append(self.client.ring.wall_clock(), Some(&id.key(compacted).to_be_bytes()), Some(&id.value(padding)), &[]);
        }
        builder.build()
    }

    async fn send(&mut self, connection: &mut Connection, at: usize) -> Result<(), Lost> {
        let Some(request) = self.unanswered.get(at) else { return Ok(()) };
        let mut topics: BTreeMap<&str, Vec<PartitionProduceData>> = BTreeMap::new();
        for batch in request.iter().filter(|batch| !batch.done) {
            let data = PartitionProduceData::default().with_index(batch.tp.partition).with_records(Some(batch.bytes.clone()));
            topics.entry(&batch.tp.topic).or_default().push(data);
            self.client.history.event(|| {
                format!("producer {}: sends {} to {} of {}", self.plan.number, batch.first, batch.first + batch.count - 1, batch.tp)
            });
            self.client.history.facts().bytes_sent += batch.bytes.len() as u64;
            self.client.history.sent(&batch.tp, ids(self.plan.number, batch), self.plan.acks, self.plan.idempotent);
        }
        let topics = topics
            .into_iter()
            .map(|(name, data)| TopicProduceData::default().with_name(topic_name(name)).with_partition_data(data))
            .collect();
        let message = ProduceRequest::default().with_acks(self.plan.acks).with_timeout_ms(30_000).with_topic_data(topics);
        match self.plan.acks {
            0 => connection.send_only(&message, PRODUCE_VERSION).await,
            _ => connection.send(&message, PRODUCE_VERSION).await,
        }
    }

    /// Takes the answer to the oldest request. An error means that everything unanswered is to be sent again.
    fn judge(&mut self, answer: ProduceResponse) -> Result<(), Lost> {
        let Some(mut request) = self.unanswered.pop_front() else { return Ok(()) };
        let mut answered: BTreeMap<(String, i32), (i16, i64)> = BTreeMap::new();
        for topic in &answer.responses {
            for partition in &topic.partition_responses {
                answered.insert((topic.name.0.to_string(), partition.index), (partition.error_code, partition.base_offset));
            }
        }
        let mut trouble = None;
        let mut given_up = Vec::new();
        for batch in request.iter_mut().filter(|batch| !batch.done) {
            match answered.get(&(batch.tp.topic.to_string(), batch.tp.partition)) {
                Some((0, base_offset)) => {
                    batch.done = true;
                    self.client.history.acknowledged(&batch.tp, ids(self.plan.number, batch), *base_offset);
                }
                Some((code, _))
                    if ErrorCode::try_from_code(*code) == Some(ErrorCode::KafkaStorageError)
                        && self.client.history.is_damaged(&batch.tp) =>
                {
                    // It may stay closed for ever.
                    trouble = Some(*code);
                    given_up.push(batch.tp.clone());
                }
                Some((code, _)) => {
                    let code = *code;
                    self.client.history.event(|| format!("producer {}: {} from {}: error {code}", self.plan.number, batch.tp, batch.first));
                    if !may_happen(code, self.plan.kinds) {
                        let (tp, first, number) = (&batch.tp, batch.first, self.plan.number);
                        let name = ErrorCode::try_from_code(code).map_or_else(|| code.to_string(), |code| format!("{code:?}"));
                        self.client.history.violation(
                            Checker::Refusal,
                            format!("{tp}: records from {first} on of producer {number} were refused with {name}"),
                        );
                    }
                    trouble = Some(code);
                }
                None => {
                    self.client.history.violation(Checker::Answer, format!("the answer to a produce leaves {} out", batch.tp));
                    trouble = Some(-1);
                }
            }
        }
        let Some(code) = trouble else { return Ok(()) };
        if self.plan.retries {
            self.unanswered.push_front(request);
        }
        for tp in given_up {
            self.give_up(&tp);
        }
        Err(Lost::refused(code))
    }
}

impl Lane {
    /// Sends no more to a damaged partition.
    fn give_up(&mut self, tp: &Tp) {
        self.client.history.event(|| format!("producer {}: gives {tp} up", self.plan.number));
        self.todo.remove(tp);
        let batches = self.unanswered.iter_mut().flatten();
        batches.filter(|batch| batch.tp == *tp).for_each(|batch| batch.done = true);
    }
}

/// Whether the oldest unanswered request of a correct producer may be refused with this code.
fn may_happen(code: i16, kinds: Kinds) -> bool {
    match ErrorCode::try_from_code(code) {
        Some(
            ErrorCode::NotLeaderOrFollower
            | ErrorCode::LeaderNotAvailable
            | ErrorCode::UnknownTopicOrPartition
            | ErrorCode::RequestTimedOut,
        ) => true,
        Some(ErrorCode::KafkaStorageError) => kinds.disk_errors || kinds.full_disk || kinds.bit_rot,
        _ => false,
    }
}

fn ids(producer: u32, batch: &Batch) -> impl Iterator<Item = RecordId> + use<> {
    (batch.first..batch.first + batch.count).map(move |number| RecordId { producer, number })
}
