//! A producer on one thread: records are gathered into batches, batches go out pipelined, order per partition is kept.
//!
//! Invariants: at most `buffer_bytes_max` bytes are accepted and unconfirmed; batches of one partition are sent, and after a
//! failure sent again, in the order their records were given; with idempotence a batch keeps its sequence over retries, so the
//! broker drops what it already has. Without idempotence one batch per partition is in flight, which keeps the order as well.
//! Failure behaviour: an error that repeats until the delivery timeout, or that no retry can cure, ends the batch; each of its
//! records is reported to the delivery callback with the error.

mod batch;
mod config;
mod partitioner;
mod record;
mod sender;

pub use config::{Acks, IDEMPOTENT_IN_FLIGHT_MAX, ProducerConfig, parse_compression};
pub use partitioner::{StickyPartition, murmur2, partition_for_key};
pub use record::{Delivery, ProducerRecord, RecordMetadata};

use crate::cluster::Cluster;
use crate::error::{BrokerError, ClientError};
use batch::{Batch, PartitionQueue};
use odradek_base::Rng;
use odradek_wire::ErrorCode;
use sender::InFlight;
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Longest single wait for responses before deadlines are looked at again.
const TICK: Duration = Duration::from_millis(50);

type OnDelivery = Box<dyn FnMut(Delivery)>;

/// A producer; see the module's documentation.
pub struct Producer {
    cluster: Cluster,
    config: ProducerConfig,
    on_delivery: OnDelivery,
    queues: BTreeMap<(String, i32), PartitionQueue>,
    /// Requests on the wire, by broker, oldest first.
    in_flight: BTreeMap<i32, VecDeque<InFlight>>,
    /// `(producer id, epoch)` once an idempotent producer has them.
    identity: Option<(i64, i16)>,
    /// The identity's sequences are broken: nothing is sent until the wire is empty and there is a new one.
    identity_lost: bool,
    sticky: BTreeMap<String, StickyPartition>,
    buffered_bytes: usize,
    next_token: u64,
    next_order: u64,
    /// Before this moment nothing is sent again after an error.
    backoff_until: Option<Instant>,
    flushing: bool,
    rng: Rng,
}

/// Milliseconds since the Unix epoch.
pub fn wall_clock_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64)
}

impl Producer {
    /// A producer over `cluster`; `on_delivery` hears the outcome of every record, in order per partition.
    pub fn new(cluster: Cluster, config: ProducerConfig, on_delivery: impl FnMut(Delivery) + 'static) -> Self {
        let seed = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |d| d.as_nanos() as u64) ^ u64::from(std::process::id());
        Self {
            cluster,
            config,
            on_delivery: Box::new(on_delivery),
            queues: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            identity: None,
            identity_lost: false,
            sticky: BTreeMap::new(),
            buffered_bytes: 0,
            next_token: 0,
            next_order: 0,
            backoff_until: None,
            flushing: false,
            rng: Rng::with_seed(seed),
        }
    }

    /// Accepts a record and returns its token. Waits for metadata and buffer space up to `block_max`.
    ///
    /// # Errors
    /// The record was not accepted: unknown topic or partition, too large, or no room in time.
    pub fn send(&mut self, mut record: ProducerRecord) -> Result<u64, ClientError> {
        let bytes = record.estimated_bytes();
        if bytes + batch::HEADER_BYTES > self.config.request_bytes_max {
            return Err(BrokerError {
                code: ErrorCode::MessageTooLarge,
                subject: format!("topic '{}'", record.topic),
                message: Some(format!(
                    "The message is {} bytes when serialized which is larger than {}, which is the value of the max.request.size configuration.",
                    bytes + batch::HEADER_BYTES,
                    self.config.request_bytes_max
                )),
            }
            .into());
        }
        let partition = self.choose_partition(&record, bytes)?;
        self.wait_for_room(bytes)?;
        record.partition = Some(partition);
        record.timestamp.get_or_insert_with(wall_clock_ms);
        let token = self.next_token;
        self.next_token += 1;
        let key = (record.topic.clone(), partition);
        let queue = self.queues.entry(key).or_default();
        if !queue.fits(bytes, self.config.batch_bytes) {
            let order = self.next_order;
            self.next_order += 1;
            queue.open(Batch::new(record.topic.clone(), partition, order));
        }
        queue.push(token, record, bytes);
        self.buffered_bytes += bytes;
        self.poll(Duration::ZERO)?;
        Ok(token)
    }

    /// Sends what is due and takes in answers, waiting up to `timeout` for one.
    pub fn poll(&mut self, timeout: Duration) -> Result<(), ClientError> {
        self.expire_batches();
        self.send_ready()?;
        self.receive_ready(timeout)?;
        self.send_ready()
    }

    /// When the next batch becomes due by its linger time; `None` when nothing waits.
    pub fn next_due(&self) -> Option<Instant> {
        self.queues.values().filter_map(|q| q.due(self.config.linger)).min()
    }

    /// Records accepted and not yet reported.
    pub fn unreported(&self) -> usize {
        let queued: usize = self.queues.values().map(PartitionQueue::records).sum();
        let flying: usize = self.in_flight.values().flatten().map(InFlight::records).sum();
        queued + flying
    }

    /// Sends everything and waits until each record is reported, successfully or not.
    pub fn flush(&mut self) -> Result<(), ClientError> {
        self.flushing = true;
        let result = self.drain();
        self.flushing = false;
        result
    }

    /// The cluster behind the producer.
    pub fn cluster(&mut self) -> &mut Cluster {
        &mut self.cluster
    }

    fn drain(&mut self) -> Result<(), ClientError> {
        while self.unreported() > 0 {
            self.poll(TICK)?;
        }
        Ok(())
    }

    fn choose_partition(&mut self, record: &ProducerRecord, bytes: usize) -> Result<i32, ClientError> {
        if self.cluster.topic(&record.topic).is_none() {
            self.cluster.await_topic(&record.topic, true)?;
        }
        if let Some(partition) = record.partition
            && self.cluster.topic(&record.topic).is_none_or(|t| t.partitions.iter().all(|p| p.index != partition))
        {
            // It may have been added since.
            self.cluster.await_topic(&record.topic, true)?;
        }
        let topic = self.cluster.topic(&record.topic).ok_or_else(|| ClientError::Invalid(format!("topic '{}' is gone", record.topic)))?;
        if let Some(partition) = record.partition {
            return match topic.partitions.iter().any(|p| p.index == partition) {
                true => Ok(partition),
                false => Err(ClientError::Invalid(format!(
                    "topic '{}' has no partition {partition}: it has {}",
                    record.topic,
                    topic.partitions.len()
                ))),
            };
        }
        let count = topic.partitions.len();
        if count == 0 {
            return Err(ClientError::Invalid(format!("topic '{}' has no partitions", record.topic)));
        }
        if let Some(key) = &record.key {
            return Ok(topic.partitions[partition_for_key(key, count)].index);
        }
        let available: Vec<i32> = topic.partitions.iter().filter(|p| p.leader >= 0).map(|p| p.index).collect();
        let rng = &mut self.rng;
        let sticky = self.sticky.entry(record.topic.clone()).or_insert_with(|| StickyPartition::new(rng.fork()));
        if available.is_empty() {
            let position = sticky.next(count, bytes, self.config.batch_bytes);
            return Ok(topic.partitions[position].index);
        }
        Ok(available[sticky.next(available.len(), bytes, self.config.batch_bytes)])
    }

    fn wait_for_room(&mut self, bytes: usize) -> Result<(), ClientError> {
        let deadline = Instant::now() + self.config.block_max;
        while self.buffered_bytes > 0 && self.buffered_bytes + bytes > self.config.buffer_bytes_max {
            if Instant::now() >= deadline {
                return Err(ClientError::Timeout {
                    doing: "waiting for the producer's buffer (buffer.memory) to drain".to_owned(),
                    after: self.config.block_max,
                });
            }
            // A full buffer is sent whether or not batches are full or due.
            let was_flushing = std::mem::replace(&mut self.flushing, true);
            let result = self.poll(TICK);
            self.flushing = was_flushing;
            result?;
        }
        Ok(())
    }

    fn report(&mut self, batch: Batch, result: Result<(i64, Option<i64>), ClientError>) {
        for (i, (token, record)) in batch.records.into_iter().enumerate() {
            self.buffered_bytes = self.buffered_bytes.saturating_sub(record.estimated_bytes());
            let result = match &result {
                Ok((base_offset, log_append_time)) => Ok(RecordMetadata {
                    partition: batch.partition,
                    offset: if *base_offset < 0 { -1 } else { base_offset + i as i64 },
                    timestamp: log_append_time.or(record.timestamp).unwrap_or(-1),
                }),
                Err(error) => Err(error.clone()),
            };
            (self.on_delivery)(Delivery { token, record, result });
        }
    }
}

#[cfg(test)]
mod tests;
