//! Transactions of a producer, without blocking the load thread: a partition is added before its first batch (AddPartitionsToTxn), and when
//! the transaction is old enough and everything in it is answered, it is committed (EndTxn).
//!
//! The protocol is that of Kafka's producers before KIP-890's second part (AddPartitionsToTxn 3, EndTxn 4, Produce 11): sequences go on over
//! transactions, and what has to be sent is the same for every broker that has transactions.

use super::lane::{Lane, Planned};
use crate::BenchError;
use crate::connections::Link;
use bytes::Bytes;
use odradek_client::{ClientError, Cluster, code_name, text, topic_name};
use odradek_wire::messages::add_partitions_to_txn_request::{AddPartitionsToTxnRequest, AddPartitionsToTxnTopic};
use odradek_wire::messages::{
    AddPartitionsToTxnResponse, EndTxnRequest, EndTxnResponse, InitProducerIdRequest, ProducerId, TransactionalId,
};
use odradek_wire::{ErrorCode, RequestMessage, decode_response, encode_request, response_header};
use std::collections::BTreeSet;
use std::time::Instant;

/// The last versions before KIP-890's second part.
pub const PRODUCE_VERSION: i16 = 11;
const ADD_VERSION: i16 = 3;
const END_VERSION: i16 = 4;
const INIT_VERSION: i16 = 4;
/// `transaction.timeout.ms` of Kafka's producer.
const TIMEOUT_MS: i32 = 60_000;
/// Wait before a request that found the transaction before still being completed is sent again (`TransactionManager.java`).
const RETRY_NS: u64 = 20_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Batches may go out.
    Open,
    /// The answer to a request is waited for; sent at this moment.
    Adding(u64),
    Ending(u64),
    /// The same request again at this moment.
    AddAgain(u64),
    EndAgain(u64),
}

/// What an answer means for the producer.
pub enum Outcome {
    /// The batch that waited for its partition may go out.
    Send(usize, Vec<Planned>),
    /// Committed; EndTxn was sent at this moment.
    Committed(u64),
    Nothing,
}

/// A transactional producer and its connection to its coordinator.
pub struct Transaction {
    pub id: String,
    pub producer: (i64, i16),
    pub link: Link,
    client_id: String,
    add_version: i16,
    end_version: i16,
    /// Nanoseconds that a transaction is open.
    length: u64,
    state: State,
    began: u64,
    partitions: BTreeSet<usize>,
    held: Option<(usize, Vec<Planned>)>,
}

/// Why a cluster cannot be measured with transactions, if it cannot.
pub fn check(cluster: &mut Cluster, leader: i32) -> Result<(), BenchError> {
    let connection = cluster.connection(leader)?;
    let needed = connection.version::<AddPartitionsToTxnRequest>(ADD_VERSION).and(connection.version::<EndTxnRequest>(END_VERSION));
    needed.map(|_| ()).map_err(|error| {
        BenchError::Arguments(format!(
            "producers.transactional: this cluster has no transactions yet ({error}); leave the key out to measure it"
        ))
    })
}

impl Transaction {
    /// Registers the producer with its coordinator.
    pub fn open(id: String, cluster: &mut Cluster, length: u64) -> Result<Self, BenchError> {
        let coordinator = cluster.transaction_coordinator(&id)?;
        let request = InitProducerIdRequest::default()
            .with_transactional_id(Some(TransactionalId(text(&id))))
            .with_transaction_timeout_ms(TIMEOUT_MS)
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1);
        let deadline = Instant::now() + cluster.config().operation_timeout;
        let producer = loop {
            let connection = cluster.connection(coordinator)?;
            let version = connection.version::<InitProducerIdRequest>(INIT_VERSION)?;
            let response = connection.call_at(&request, version)?;
            match ClientError::check(response.error_code, format!("transactional id '{id}'"), None) {
                Ok(()) => break (response.producer_id.0, response.producer_epoch),
                Err(error) if error.is_retriable() && Instant::now() < deadline => cluster.pause()?,
                Err(error) => return Err(error.into()),
            }
        };
        let connection = cluster.connection(coordinator)?;
        let (add_version, end_version) =
            (connection.version::<AddPartitionsToTxnRequest>(ADD_VERSION)?, connection.version::<EndTxnRequest>(END_VERSION)?);
        let link = super::prepare::open(cluster, coordinator)?;
        let client_id = cluster.config().client_id.clone();
        let (state, partitions) = (State::Open, BTreeSet::new());
        Ok(Self { id, producer, link, client_id, add_version, end_version, length, state, began: 0, partitions, held: None })
    }

    /// Whether the producer may begin another batch.
    pub fn takes_batches(&self, now: u64) -> bool {
        self.state == State::Open && self.held.is_none() && !self.is_due(now)
    }

    fn is_due(&self, now: u64) -> bool {
        !self.partitions.is_empty() && now >= self.began + self.length
    }

    /// Nothing of it is open.
    pub fn is_over(&self) -> bool {
        self.state == State::Open && self.held.is_none() && self.partitions.is_empty()
    }

    /// When it has something to do without an answer.
    pub fn deadline(&self) -> Option<u64> {
        match self.state {
            State::Open => (!self.partitions.is_empty()).then_some(self.began + self.length),
            State::AddAgain(at) | State::EndAgain(at) => Some(at),
            State::Adding(_) | State::Ending(_) => None,
        }
    }

    /// The batch, if its partition belongs to the transaction; else it waits until it does.
    pub fn admit(&mut self, index: usize, lane: &Lane, records: Vec<Planned>, now: u64) -> Result<Option<Vec<Planned>>, BenchError> {
        if self.partitions.contains(&index) {
            return Ok(Some(records));
        }
        if self.partitions.is_empty() {
            self.began = now;
        }
        self.held = Some((index, records));
        self.add(lane, now)?;
        Ok(None)
    }

    /// Ends a transaction that is old enough, or that `flush` ends early, and repeats what has to be repeated. `answered`: no batch of
    /// the producer is on the wire. True where something was sent.
    pub fn advance(&mut self, now: u64, answered: bool, flush: bool, lanes: &[Lane]) -> Result<bool, BenchError> {
        match (self.state, &self.held) {
            (State::AddAgain(at), Some((index, _))) if now >= at => self.add(&lanes[*index], now)?,
            (State::EndAgain(at), _) if now >= at => self.end(now)?,
            (State::Open, None) if answered && (self.is_due(now) || flush && !self.partitions.is_empty()) => self.end(now)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn add(&mut self, lane: &Lane, now: u64) -> Result<(), BenchError> {
        let topic = AddPartitionsToTxnTopic::default().with_name(topic_name(&lane.topic)).with_partitions(vec![lane.partition]);
        let request = AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(TransactionalId(text(&self.id)))
            .with_v3_and_below_producer_id(ProducerId(self.producer.0))
            .with_v3_and_below_producer_epoch(self.producer.1)
            .with_v3_and_below_topics(vec![topic]);
        self.state = State::Adding(now);
        let frame = encode_request(AddPartitionsToTxnRequest::KEY, self.add_version, 0, Some(&self.client_id), &request);
        self.link.send(&frame.map_err(|e| BenchError::Arguments(format!("an AddPartitionsToTxn request of the scenario: {e}")))?)
    }

    fn end(&mut self, now: u64) -> Result<(), BenchError> {
        let request = EndTxnRequest::default()
            .with_transactional_id(TransactionalId(text(&self.id)))
            .with_producer_id(ProducerId(self.producer.0))
            .with_producer_epoch(self.producer.1)
            .with_committed(true);
        // A repetition belongs to the commit that it repeats.
        self.state = State::Ending(now);
        let frame = encode_request(EndTxnRequest::KEY, self.end_version, 0, Some(&self.client_id), &request);
        self.link.send(&frame.map_err(|e| BenchError::Arguments(format!("an EndTxn request of the scenario: {e}")))?)
    }

    /// Takes an answer of the coordinator. An error that is no invitation to try again ends the run: nothing after it would be
    /// what the scenario asks for.
    pub fn receive(&mut self, frame: Bytes, now: u64) -> Result<Outcome, BenchError> {
        let (code, what) = match self.state {
            State::Adding(_) => (added(self.add_version, frame), "AddPartitionsToTxn"),
            State::Ending(_) => (ended(self.end_version, frame), "EndTxn"),
            _ => return Err(self.link.failed("an answer nobody asked for".to_owned())),
        };
        let code = code.map_err(|detail| self.link.failed(detail))?;
        let again = |code| {
            matches!(code, ErrorCode::ConcurrentTransactions | ErrorCode::CoordinatorLoadInProgress | ErrorCode::UnknownTopicOrPartition)
        };
        match (self.state, code) {
            (State::Adding(_), None) => {
                self.state = State::Open;
                let Some((index, records)) = self.held.take() else { return Ok(Outcome::Nothing) };
                self.partitions.insert(index);
                Ok(Outcome::Send(index, records))
            }
            (State::Ending(sent), None) => {
                self.state = State::Open;
                self.partitions.clear();
                Ok(Outcome::Committed(sent))
            }
            (state, Some(code)) if again(code) => {
                self.state =
                    if matches!(state, State::Adding(_)) { State::AddAgain(now + RETRY_NS) } else { State::EndAgain(now + RETRY_NS) };
                Ok(Outcome::Nothing)
            }
            (_, Some(code)) => Err(BenchError::Broker(format!("transactional id '{}': {what} failed: {}", self.id, code_name(code)))),
            (_, None) => Ok(Outcome::Nothing),
        }
    }
}

fn added(version: i16, frame: Bytes) -> Result<Option<ErrorCode>, String> {
    let key = AddPartitionsToTxnRequest::KEY;
    let (_, mut body) = response_header(key, version, frame).map_err(|e| e.to_string())?;
    let response: AddPartitionsToTxnResponse = decode_response(key, &mut body, version).map_err(|e| e.to_string())?;
    let results = response.results_by_topic_v3_and_below.iter().flat_map(|t| &t.results_by_partition);
    Ok(results.map(|p| p.partition_error_code).find_map(ErrorCode::try_from_code))
}

fn ended(version: i16, frame: Bytes) -> Result<Option<ErrorCode>, String> {
    let (_, mut body) = response_header(EndTxnRequest::KEY, version, frame).map_err(|e| e.to_string())?;
    let response: EndTxnResponse = decode_response(EndTxnRequest::KEY, &mut body, version).map_err(|e| e.to_string())?;
    Ok(ErrorCode::try_from_code(response.error_code))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use uuid::Uuid;

    const MS: u64 = 1_000_000;

    fn transaction() -> (Transaction, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let transaction = Transaction {
            id: "t".into(),
            producer: (7, 0),
            link: Link::open("127.0.0.1", listener.local_addr().unwrap().port().into()).unwrap(),
            client_id: "me".into(),
            add_version: ADD_VERSION,
            end_version: END_VERSION,
            length: 50 * MS,
            state: State::Open,
            began: 0,
            partitions: BTreeSet::new(),
            held: None,
        };
        (transaction, listener)
    }

    /// A flexible header, no throttling, and the rest.
    fn answer(rest: &[u8]) -> Bytes {
        Bytes::from([&[0, 0, 0, 0, 0, 0, 0, 0, 0][..], rest].concat())
    }

    fn added(code: i16) -> Bytes {
        // One topic "x" with one partition 3.
        answer(&[&[2, 2, b'x', 2, 0, 0, 0, 3][..], &code.to_be_bytes(), &[0, 0, 0]].concat())
    }

    fn ended(code: i16) -> Bytes {
        answer(&[&code.to_be_bytes()[..], &[0]].concat())
    }

    #[test]
    fn a_partition_is_added_once_and_everything_is_answered_before_the_commit() {
        let (mut t, _peer) = transaction();
        let lanes = [Lane::new("x", Uuid::nil(), 3, 0, Some((7, 0)))];
        let records = || vec![Planned { due: 1, size: 100, key: None }];
        assert!(t.is_over() && t.takes_batches(0) && t.deadline().is_none());
        assert!(t.admit(0, &lanes[0], records(), 10 * MS).unwrap().is_none());
        assert!(!t.takes_batches(11 * MS) && !t.is_over());
        // The transaction before is still being completed (CONCURRENT_TRANSACTIONS).
        assert!(matches!(t.receive(added(51), 12 * MS).unwrap(), Outcome::Nothing));
        assert_eq!(t.deadline(), Some(32 * MS));
        assert!(!t.advance(31 * MS, true, true, &lanes).unwrap());
        assert!(t.advance(32 * MS, true, true, &lanes).unwrap());
        assert!(matches!(t.receive(added(0), 33 * MS).unwrap(), Outcome::Send(0, batch) if batch.len() == 1));
        assert!(t.admit(0, &lanes[0], records(), 34 * MS).unwrap().is_some());

        assert_eq!((t.takes_batches(59 * MS), t.takes_batches(60 * MS)), (true, false));
        assert!(!t.advance(59 * MS, true, false, &lanes).unwrap(), "it is not old enough");
        assert!(!t.advance(70 * MS, false, true, &lanes).unwrap(), "a batch is on the wire");
        assert!(t.advance(70 * MS, true, false, &lanes).unwrap());
        assert!(!t.takes_batches(71 * MS) && !t.is_over());
        assert!(matches!(t.receive(ended(0), 75 * MS).unwrap(), Outcome::Committed(sent) if sent == 70 * MS));
        assert!(t.is_over() && t.takes_batches(76 * MS));
        // The next transaction adds the partition again.
        assert!(t.admit(0, &lanes[0], records(), 77 * MS).unwrap().is_none());
    }

    #[test]
    fn errors_of_the_coordinator_are_named() {
        let (mut t, _peer) = transaction();
        let lane = Lane::new("x", Uuid::nil(), 3, 0, Some((7, 0)));
        t.admit(0, &lane, Vec::new(), 0).unwrap();
        let error = t.receive(added(90), 1).err().expect("fenced").to_string();
        assert!(error.contains("AddPartitionsToTxn failed: PRODUCER_FENCED"), "{error}");
        let (mut t, _peer) = transaction();
        assert!(t.receive(ended(0), 1).is_err(), "nothing was asked");
    }
}
