//! All transactional ids of one `__transaction_state` partition: requests in, writes and replies out.

use crate::effects::{CoordinatorRecord, Effects, Token, Turn, Write, WriteId};
use crate::init::{Decision, Expected, decide};
use crate::records::{self, ReplayError};
use crate::transaction::{Status, Transaction};
use odradek_base::{Instant, ProducerEpoch, ProducerId, Rng, Timestamp};
use odradek_wire::ErrorCode;
use odradek_wire::messages::{InitProducerIdRequest, InitProducerIdResponse};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// Longest string a record can hold, in bytes.
const STRING_BYTES_MAX: usize = i16::MAX as usize;

/// Settings of the coordinator; every field names the Kafka setting it holds. Defaults are Kafka's.
#[derive(Debug, Clone)]
pub struct TxnConfig {
    /// `transaction.max.timeout.ms`
    pub transaction_timeout_max_ms: i32,
    /// `transactional.id.expiration.ms`
    pub id_expiration: Duration,
    /// `transaction.remove.expired.transaction.cleanup.interval.ms`
    pub expiration_check_interval: Duration,
    /// Transactional ids of one coordinator. Ours: Kafka has no bound.
    pub ids_max: usize,
    /// Requests that may wait for producer ids, and how long. Ours.
    pub waiting_requests_max: usize,
    pub waiting_time_max: Duration,
    /// Ids forgotten in one write. Ours.
    pub expired_ids_per_write_max: usize,
}

impl Default for TxnConfig {
    fn default() -> Self {
        Self {
            transaction_timeout_max_ms: 900_000,
            id_expiration: Duration::from_secs(7 * 24 * 3_600),
            expiration_check_interval: Duration::from_secs(3_600),
            ids_max: 1_000_000,
            waiting_requests_max: 1_000,
            waiting_time_max: Duration::from_secs(5),
            expired_ids_per_write_max: 500,
        }
    }
}

/// The coordinator of one partition. Every public call is one turn of its owner's thread.
#[derive(Debug)]
pub struct Coordinator {
    config: TxnConfig,
    /// Hard state: only `replay` changes it.
    pub(crate) transactions: BTreeMap<Arc<str>, Transaction>,
    /// The epoch before the last bump, where the producer named it: it may ask again (KIP-360). Not persisted, as in Kafka.
    last_epochs: BTreeMap<Arc<str>, ProducerEpoch>,
    /// Ids with a write under way.
    busy: BTreeSet<Arc<str>>,
    in_flight: BTreeMap<WriteId, InFlight>,
    next_write: u64,
    ids: Range<i64>,
    waiting: VecDeque<Waiting>,
    next_expiration: Option<Instant>,
}

#[derive(Debug)]
struct InFlight {
    records: Vec<CoordinatorRecord>,
    ids: Vec<Arc<str>>,
    answer: Option<Answer>,
}

#[derive(Debug)]
struct Answer {
    token: Token,
    response: InitProducerIdResponse,
    last_epoch: ProducerEpoch,
}

/// A request that needs a producer id while there is none.
#[derive(Debug)]
struct Waiting {
    request: InitProducerIdRequest,
    token: Token,
    until: Instant,
}

impl Coordinator {
    /// An empty coordinator: replay the partition into it, then call [`Self::loaded`].
    pub fn new(config: TxnConfig, _rng: Rng) -> Self {
        Self {
            config,
            transactions: BTreeMap::new(),
            last_epochs: BTreeMap::new(),
            busy: BTreeSet::new(),
            in_flight: BTreeMap::new(),
            next_write: 0,
            ids: 0..0,
            waiting: VecDeque::new(),
            next_expiration: None,
        }
    }

    /// Applies one record. On an error the record changed nothing: log it and go on.
    pub fn replay(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), ReplayError> {
        let id = records::decode_key(key)?;
        match value {
            Some(value) => {
                self.transactions.insert(Arc::from(id), records::decode(value)?);
            }
            None => {
                self.transactions.remove(id);
            }
        }
        Ok(())
    }

    /// The partition is replayed up to its end.
    pub fn loaded(&mut self, turn: &Turn, _fx: &mut Effects) {
        self.next_expiration = Some(turn.now + self.config.expiration_check_interval);
    }

    /// Gives a producer with a transactional id its producer id and epoch. The reply waits for the write, and for
    /// producer ids where a new one is needed.
    pub fn init_producer_id(&mut self, turn: &Turn, request: InitProducerIdRequest, _version: i16, token: Token, fx: &mut Effects) {
        if let Err(error) = self.try_init(turn, request, token, fx) {
            fx.replies.push((token, refused(error)));
        }
    }

    fn try_init(&mut self, turn: &Turn, request: InitProducerIdRequest, token: Token, fx: &mut Effects) -> Result<(), ErrorCode> {
        let expected = Expected::from_request(request.producer_id.0, request.producer_epoch)?;
        let id = request.transactional_id.as_deref().map(|id| &**id).unwrap_or_default();
        if id.is_empty() || id.len() > STRING_BYTES_MAX {
            return Err(ErrorCode::InvalidRequest);
        }
        if !(1..=self.config.transaction_timeout_max_ms).contains(&request.transaction_timeout_ms) {
            return Err(ErrorCode::InvalidTransactionTimeout);
        }
        if self.busy.contains(id) {
            return Err(ErrorCode::ConcurrentTransactions);
        }
        let last_epoch = self.last_epochs.get(id).copied().unwrap_or(ProducerEpoch::NONE);
        let known = self.transactions.get(id);
        if known.is_none() && self.transactions.len() >= self.config.ids_max {
            return Err(ErrorCode::CoordinatorNotAvailable);
        }
        let (producer_id, producer_epoch, last) = match decide(known.map(|transaction| (transaction, last_epoch)), expected) {
            Decision::Refuse(error) => return Err(error),
            Decision::Epoch { epoch, last } => (known.map_or(ProducerId::NONE, |t| t.producer_id), epoch, last),
            Decision::NewId { last } => match self.ids.next() {
                Some(new) => (ProducerId(new), ProducerEpoch(0), last),
                None => return self.wait_for_ids(turn, request, token, fx),
            },
        };
        let previous = known.filter(|known| known.producer_id != producer_id).map(|known| known.producer_id);
        let next = Transaction {
            producer_id,
            previous_producer_id: previous.or(known.map(|known| known.previous_producer_id)).unwrap_or(ProducerId::NONE),
            next_producer_id: ProducerId::NONE,
            producer_epoch,
            timeout_ms: request.transaction_timeout_ms,
            status: Status::Empty,
            partitions: BTreeMap::new(),
            last_update: turn.wall,
            start: Timestamp::NONE,
            client_version: known.map_or(0, |known| known.client_version),
        };
        let response =
            InitProducerIdResponse::default().with_producer_id(producer_id.get().into()).with_producer_epoch(producer_epoch.get());
        let id: Arc<str> = Arc::from(id);
        let records = vec![records::record(&id, Some(&next))];
        self.write(fx, vec![id], records, Some(Answer { token, response, last_epoch: last }));
        Ok(())
    }

    fn wait_for_ids(&mut self, turn: &Turn, request: InitProducerIdRequest, token: Token, fx: &mut Effects) -> Result<(), ErrorCode> {
        if self.waiting.len() >= self.config.waiting_requests_max {
            return Err(ErrorCode::CoordinatorLoadInProgress);
        }
        let until = turn.now + self.config.waiting_time_max;
        // Kept beyond the call: the strings must not pin a receive buffer.
        let id = request.transactional_id.as_deref().map(|id| odradek_wire::StrBytes::from_string(id.to_string()).into());
        let request = request.with_transactional_id(id);
        self.waiting.push_back(Waiting { request, token, until });
        fx.producer_ids_wanted = u32::try_from(self.waiting.len()).unwrap_or(u32::MAX);
        Ok(())
    }

    /// A block of producer ids that nobody else has. What is left of an earlier block is dropped.
    pub fn provide_producer_ids(&mut self, turn: &Turn, ids: Range<i64>, fx: &mut Effects) {
        assert!(ids.start >= 0, "producer ids are not negative");
        self.ids = ids;
        for waiting in std::mem::take(&mut self.waiting) {
            self.init_producer_id(turn, waiting.request, 0, waiting.token, fx);
        }
    }

    fn write(&mut self, fx: &mut Effects, ids: Vec<Arc<str>>, records: Vec<CoordinatorRecord>, answer: Option<Answer>) {
        let id = WriteId(self.next_write);
        self.next_write += 1;
        self.busy.extend(ids.iter().cloned());
        fx.writes.push(Write { id, records: records.clone() });
        self.in_flight.insert(id, InFlight { records, ids, answer });
    }

    fn finish(&mut self, id: WriteId) -> InFlight {
        let (oldest, write) = self.in_flight.pop_first().expect("only an emitted write can finish");
        assert_eq!(oldest, id, "writes finish in the order they were emitted");
        for id in &write.ids {
            self.busy.remove(id);
        }
        write
    }

    /// A write is in the log for good: applies its records and sends what waited for it.
    pub fn committed(&mut self, _turn: &Turn, write: WriteId, fx: &mut Effects) {
        let InFlight { records, ids, answer } = self.finish(write);
        for record in &records {
            self.replay(&record.key, record.value.as_deref()).expect("own records are readable");
        }
        let last_epoch = answer.as_ref().map_or(ProducerEpoch::NONE, |answer| answer.last_epoch);
        for id in ids {
            if last_epoch == ProducerEpoch::NONE {
                self.last_epochs.remove(&id)
            } else {
                self.last_epochs.insert(id, last_epoch)
            };
        }
        if let Some(Answer { token, response, .. }) = answer {
            fx.replies.push((token, response));
        }
    }

    /// A write did not reach the log: nothing changes, and its request gets an error.
    pub fn failed(&mut self, _turn: &Turn, write: WriteId, error: ErrorCode, fx: &mut Effects) {
        if let Some(Answer { token, .. }) = self.finish(write).answer {
            fx.replies.push((token, refused(of_append(error))));
        }
    }

    /// When [`Self::on_deadline`] wants to be called.
    pub fn deadline(&self) -> Option<Instant> {
        self.waiting.front().map(|waiting| waiting.until).into_iter().chain(self.next_expiration).min()
    }

    /// Does what is due. Early or repeated calls do no harm.
    pub fn on_deadline(&mut self, turn: &Turn, fx: &mut Effects) {
        while let Some(waiting) = self.waiting.pop_front_if(|waiting| waiting.until <= turn.now) {
            // Retriable, as in Kafka when a block of ids does not come in time.
            fx.replies.push((waiting.token, refused(ErrorCode::CoordinatorLoadInProgress)));
        }
        if self.next_expiration.is_some_and(|at| at <= turn.now) {
            self.next_expiration = Some(turn.now + self.config.expiration_check_interval.max(Duration::from_millis(1)));
            self.expire(turn, fx);
        }
    }

    /// Forgets ids that nobody has used for long.
    fn expire(&mut self, turn: &Turn, fx: &mut Effects) {
        let age_max = self.config.id_expiration.as_millis() as i64;
        let expired = |transaction: &Transaction| {
            transaction.status.is_idle() && turn.wall.get().saturating_sub(transaction.last_update.get()) >= age_max
        };
        let ids: Vec<Arc<str>> = self
            .transactions
            .iter()
            .filter(|(id, transaction)| expired(transaction) && !self.busy.contains(*id))
            .map(|(id, _)| id.clone())
            .collect();
        for chunk in ids.chunks(self.config.expired_ids_per_write_max.max(1)) {
            let records = chunk.iter().map(|id| records::record(id, None)).collect();
            self.write(fx, chunk.to_vec(), records, None);
        }
    }
}

fn refused(error: ErrorCode) -> InitProducerIdResponse {
    InitProducerIdResponse::default()
        .with_error_code(error.code())
        .with_producer_id(ProducerId::NONE.get().into())
        .with_producer_epoch(ProducerEpoch::NONE.get())
}

/// Kafka's translation of an append error (`TransactionStateManager.appendTransactionToLog`).
fn of_append(error: ErrorCode) -> ErrorCode {
    match error {
        ErrorCode::UnknownTopicOrPartition
        | ErrorCode::NotEnoughReplicas
        | ErrorCode::NotEnoughReplicasAfterAppend
        | ErrorCode::RequestTimedOut => ErrorCode::CoordinatorNotAvailable,
        ErrorCode::NotLeaderOrFollower | ErrorCode::KafkaStorageError => ErrorCode::NotCoordinator,
        ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge => ErrorCode::UnknownServerError,
        other => other,
    }
}
