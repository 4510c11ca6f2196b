//! Batches onto the wire, answers back: pipelining, retries, identity of the idempotent producer.

use super::batch::Batch;
use super::config::Acks;
use super::{Producer, TICK};
use crate::cluster::{Topics, topic_name};
use crate::connection::wait_any;
use crate::error::{BrokerError, ClientError};
use crate::record_batch::{BatchIdentity, encode_batch};
use odradek_wire::ErrorCode;
use odradek_wire::messages::ProducerId;
use odradek_wire::messages::init_producer_id_request::InitProducerIdRequest;
use odradek_wire::messages::produce_request::{PartitionProduceData, ProduceRequest, TopicProduceData};
use odradek_wire::messages::produce_response::{PartitionProduceResponse, ProduceResponse};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// Produce version from which topics are named by id (KIP-516).
const TOPIC_ID_VERSION: i16 = 13;

/// One Produce request on the wire.
#[derive(Debug)]
pub struct InFlight {
    batches: Vec<Batch>,
    sent: Instant,
}

impl InFlight {
    pub fn records(&self) -> usize {
        self.batches.iter().map(|b| b.records.len()).sum()
    }
}

impl Producer {
    /// Reports batches that are over the delivery timeout and not on the wire.
    pub(super) fn expire_batches(&mut self) {
        let now = Instant::now();
        let timeout = self.config.delivery_timeout;
        let expired: Vec<Batch> = self.queues.values_mut().flat_map(|q| q.take_expired(now, timeout)).collect();
        for batch in expired {
            self.identity_lost |= batch.sequence.is_some();
            let doing = format!("delivering {} records to {}-{}", batch.records.len(), batch.topic, batch.partition);
            self.report(batch, Err(ClientError::Timeout { doing, after: timeout }));
        }
        self.queues.retain(|_, queue| !queue.is_idle() || queue.next_sequence > 0);
    }

    /// Sends every batch that may go out.
    pub(super) fn send_ready(&mut self) -> Result<(), ClientError> {
        if self.backoff_until.is_some_and(|until| Instant::now() < until) {
            return Ok(());
        }
        self.backoff_until = None;
        if self.config.idempotent && !self.ensure_identity()? {
            return Ok(());
        }
        while let Some((broker, batches)) = self.next_request() {
            self.send_request(broker, batches)?;
        }
        Ok(())
    }

    /// Takes in the responses that are there, waiting up to `timeout` when there are none.
    pub(super) fn receive_ready(&mut self, timeout: Duration) -> Result<(), ClientError> {
        if self.cluster.config().interrupt.is_raised() && !self.flushing {
            return Err(ClientError::Interrupted);
        }
        if !timeout.is_zero() {
            let brokers = &self.in_flight;
            let waiting = self.cluster.open_pipelines().filter(|(id, _)| brokers.contains_key(id)).map(|(_, c)| c);
            let next_due = self.next_due().map_or(TICK, |due| due.saturating_duration_since(Instant::now()).max(Duration::from_millis(1)));
            let timeout = if self.flushing { timeout.min(TICK) } else { timeout.min(next_due) };
            wait_any(waiting, timeout);
        }
        let brokers: Vec<i32> = self.in_flight.keys().copied().collect();
        for broker in brokers {
            while self.receive_one(broker)? {}
        }
        Ok(())
    }

    /// One request's worth of ready batches for a broker with room in flight: at most one batch per partition.
    fn next_request(&mut self) -> Option<(i32, Vec<Batch>)> {
        let now = Instant::now();
        let per_partition = if self.config.idempotent { self.config.in_flight_max } else { 1 };
        let mut chosen: Option<i32> = None;
        let mut bytes = 0;
        let mut batches = Vec::new();
        let mut leaderless = false;
        for ((topic, partition), queue) in &mut self.queues {
            if !queue.is_ready(now, self.config.linger, self.flushing, per_partition, self.config.batch_bytes) {
                continue;
            }
            let Some(leader) = self.cluster.leader(topic, *partition) else {
                leaderless = true;
                continue;
            };
            if chosen.is_some_and(|c| c != leader) || self.in_flight.get(&leader).is_some_and(|f| f.len() >= self.config.in_flight_max) {
                continue;
            }
            if !batches.is_empty() && bytes + queue.next_bytes() > self.config.request_bytes_max {
                continue;
            }
            bytes += queue.next_bytes();
            chosen = Some(leader);
            batches.extend(queue.take());
        }
        if leaderless && batches.is_empty() {
            self.back_off();
            self.refresh_topics();
        }
        chosen.map(|broker| (broker, batches))
    }

    fn send_request(&mut self, broker: i32, mut batches: Vec<Batch>) -> Result<(), ClientError> {
        for batch in &mut batches {
            if let Err(error) = self.prepare(batch) {
                // Encoding fails only for what no retry can cure.
                for batch in batches {
                    self.settle(batch, Err(error.clone()), false);
                }
                return Ok(());
            }
        }
        let sent = self.write(broker, &batches);
        match sent {
            Ok(()) if self.config.acks == Acks::None => {
                for batch in batches {
                    self.settle(batch, Ok((-1, None)), false);
                }
            }
            Ok(()) => self.in_flight.entry(broker).or_default().push_back(InFlight { batches, sent: Instant::now() }),
            Err(ClientError::Interrupted) => return Err(ClientError::Interrupted),
            Err(error) => {
                let unsure = matches!(error, ClientError::Disconnected { .. });
                self.fail_broker(broker, error.clone());
                for batch in batches {
                    self.settle(batch, Err(error.clone()), unsure);
                }
            }
        }
        Ok(())
    }

    fn write(&mut self, broker: i32, batches: &[Batch]) -> Result<(), ClientError> {
        let ids: BTreeMap<&str, Uuid> =
            batches.iter().map(|b| (b.topic.as_str(), self.cluster.topic(&b.topic).map_or(Uuid::nil(), |t| t.id))).collect();
        let cap = if ids.values().any(Uuid::is_nil) { TOPIC_ID_VERSION - 1 } else { i16::MAX };
        let mut topics: BTreeMap<&str, TopicProduceData> = BTreeMap::new();
        for batch in batches {
            let topic = topics.entry(batch.topic.as_str()).or_insert_with(|| {
                TopicProduceData::default()
                    .with_name(topic_name(&batch.topic))
                    .with_topic_id(ids.get(batch.topic.as_str()).copied().unwrap_or_default())
            });
            topic.partition_data.push(PartitionProduceData::default().with_index(batch.partition).with_records(batch.encoded.clone()));
        }
        let mut topics: Vec<TopicProduceData> = topics.into_values().collect();
        let connection = self.cluster.pipeline(broker)?;
        let version = connection.version::<ProduceRequest>(cap)?;
        for topic in &mut topics {
            // Each version carries either the name or the id.
            if version >= TOPIC_ID_VERSION {
                topic.name = topic_name("");
            } else {
                topic.topic_id = Uuid::nil();
            }
        }
        let request = ProduceRequest::default()
            .with_acks(self.config.acks.code())
            .with_timeout_ms(self.config.ack_timeout.as_millis().min(i32::MAX as u128) as i32)
            .with_topic_data(topics);
        match self.config.acks {
            Acks::None => connection.send_unanswered(&request, version),
            _ => connection.send(&request, version),
        }
    }

    /// Gives the batch its sequence and encodes it, once.
    fn prepare(&mut self, batch: &mut Batch) -> Result<(), ClientError> {
        if batch.encoded.is_some() {
            return Ok(());
        }
        let identity = match self.identity {
            Some((producer_id, epoch)) => {
                let queue = self.queues.entry((batch.topic.clone(), batch.partition)).or_default();
                let sequence = queue.next_sequence;
                queue.next_sequence = advance_sequence(sequence, batch.records.len());
                batch.sequence = Some(sequence);
                Some(BatchIdentity { producer_id, epoch, sequence })
            }
            None => None,
        };
        batch.encoded = Some(encode_batch(&batch.records, self.config.compression, identity)?);
        Ok(())
    }

    fn receive_one(&mut self, broker: i32) -> Result<bool, ClientError> {
        let Some(sent) = self.in_flight.get(&broker).and_then(|f| f.front()).map(|f| f.sent) else { return Ok(false) };
        let overdue = sent.elapsed() >= self.cluster.config().request_timeout;
        let request_timeout = self.cluster.config().request_timeout;
        let Some(connection) = self.cluster.open_pipeline(broker) else { return Ok(false) };
        let response = match connection.response_ready() {
            Ok(true) => connection.receive::<ProduceRequest>(),
            Ok(false) if overdue => Err(ClientError::Timeout {
                doing: format!("waiting for {} to answer Produce", connection.address()),
                after: request_timeout,
            }),
            Ok(false) => return Ok(false),
            Err(error) => Err(error),
        };
        match response {
            Ok(response) => {
                let flight = self.in_flight.get_mut(&broker).and_then(|f| f.pop_front()).expect("looked at above");
                self.take_response(flight, &response);
            }
            Err(ClientError::Interrupted) => return Err(ClientError::Interrupted),
            Err(error) => self.fail_broker(broker, error),
        }
        self.in_flight.retain(|_, flights| !flights.is_empty());
        Ok(true)
    }

    fn take_response(&mut self, flight: InFlight, response: &ProduceResponse) {
        for batch in flight.batches {
            let id = self.cluster.topic(&batch.topic).map(|t| t.id);
            let answer = response
                .responses
                .iter()
                .filter(|t| *t.name.0 == *batch.topic || (t.name.0.is_empty() && id == Some(t.topic_id)))
                .flat_map(|t| &t.partition_responses)
                .find(|p| p.index == batch.partition);
            let result = match answer {
                Some(answer) => outcome(answer, &batch),
                None => Err(ClientError::Protocol {
                    address: "broker".to_owned(),
                    detail: "the Produce response leaves out a partition".to_owned(),
                }),
            };
            self.settle(batch, result, false);
        }
    }

    /// Everything on the wire to this broker has an unknown outcome.
    fn fail_broker(&mut self, broker: i32, error: ClientError) {
        self.cluster.drop_pipeline(broker);
        for flight in self.in_flight.remove(&broker).unwrap_or_default() {
            for batch in flight.batches {
                self.settle(batch, Err(error.clone()), true);
            }
        }
    }

    /// A batch came back from the wire: done, to be sent again, or failed. `unsure`: the broker may have appended it.
    fn settle(&mut self, mut batch: Batch, result: Result<(i64, Option<i64>), ClientError>, unsure: bool) {
        let queue = self.queues.entry((batch.topic.clone(), batch.partition)).or_default();
        queue.in_flight = queue.in_flight.saturating_sub(1);
        batch.maybe_written |= unsure;
        let error = match result {
            Ok(_) => return self.report(batch, result),
            Err(error) if error.code() == Some(ErrorCode::DuplicateSequenceNumber) => return self.report(batch, Ok((-1, None))),
            Err(error) => error,
        };
        let sequence_trouble = batch.sequence.is_some() && is_sequence_trouble(&error);
        let in_time = batch.created.elapsed() < self.config.delivery_timeout;
        if (error.is_retriable() || sequence_trouble) && batch.attempts < self.config.retries_max && in_time {
            self.identity_lost |= sequence_trouble && !queue.has_retry_before(batch.order);
            batch.attempts += 1;
            queue.retry(batch);
            self.back_off();
            self.refresh_topics();
        } else {
            // A sequence that will never arrive leaves a gap: the rest goes on under a new identity.
            self.identity_lost |= batch.sequence.is_some();
            self.report(batch, Err(error));
        }
    }

    fn back_off(&mut self) {
        self.backoff_until = Some(Instant::now() + self.cluster.config().retry_backoff);
    }

    fn refresh_topics(&mut self) {
        let mut names: Vec<String> = self.queues.iter().filter(|(_, q)| !q.is_idle()).map(|((topic, _), _)| topic.clone()).collect();
        names.dedup();
        // A failed refresh shows again when the next batch is sent.
        let _ = self.cluster.refresh(Topics::Named(&names), false);
    }

    /// True when there is an identity to send with.
    fn ensure_identity(&mut self) -> Result<bool, ClientError> {
        if self.identity.is_some() && !self.identity_lost {
            return Ok(true);
        }
        if self.identity_lost && !self.in_flight.is_empty() {
            return Ok(false);
        }
        if self.queues.values().all(|q| q.is_idle()) {
            return Ok(false);
        }
        let request = InitProducerIdRequest::default()
            .with_transactional_id(None)
            .with_transaction_timeout_ms(i32::MAX)
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1);
        let answer = self.cluster.call_any(&request).and_then(|r| {
            ClientError::check(r.error_code, "InitProducerId", None)?;
            Ok((r.producer_id.0, r.producer_epoch))
        });
        match answer {
            Ok(identity) => {
                self.identity = Some(identity);
                self.identity_lost = false;
                let lost: Vec<Batch> = self.queues.values_mut().flat_map(|q| q.restart_sequences()).collect();
                for batch in lost {
                    let subject = format!("partition {}-{}", batch.topic, batch.partition);
                    let message = Some("the connection ended before the answer and the producer's sequence is broken: the records may or may not have been written".to_owned());
                    self.report(batch, Err(BrokerError { code: ErrorCode::OutOfOrderSequenceNumber, subject, message }.into()));
                }
                Ok(true)
            }
            Err(error) if error.is_retriable() => {
                self.back_off();
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}

fn is_sequence_trouble(error: &ClientError) -> bool {
    matches!(
        error.code(),
        Some(
            ErrorCode::OutOfOrderSequenceNumber
                | ErrorCode::UnknownProducerId
                | ErrorCode::InvalidProducerEpoch
                | ErrorCode::InvalidProducerIdMapping
        )
    )
}

/// The sequence after `records` records; wraps as Kafka's does (`DefaultRecordBatch.incrementSequence`).
fn advance_sequence(sequence: i32, records: usize) -> i32 {
    ((i64::from(sequence) + records as i64) % (i64::from(i32::MAX) + 1)) as i32
}

fn outcome(answer: &PartitionProduceResponse, batch: &Batch) -> Result<(i64, Option<i64>), ClientError> {
    let subject = format!("partition {}-{}", batch.topic, batch.partition);
    let detail = answer.error_message.as_deref().or(answer.record_errors.first().and_then(|e| e.batch_index_error_message.as_deref()));
    ClientError::check(answer.error_code, subject, detail)?;
    Ok((answer.base_offset, (answer.log_append_time_ms >= 0).then_some(answer.log_append_time_ms)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_wrap_to_zero() {
        assert_eq!(advance_sequence(0, 3), 3);
        assert_eq!(advance_sequence(i32::MAX, 1), 0);
        assert_eq!(advance_sequence(i32::MAX - 1, 3), 1);
    }
}
