//! Batches under construction and the queue of one partition.

use super::record::ProducerRecord;
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// Bytes of a record batch before its first record.
pub const HEADER_BYTES: usize = odradek_base::limits::RECORD_BATCH_HEADER_BYTES;

/// Records of one partition that travel together.
#[derive(Debug)]
pub struct Batch {
    pub topic: String,
    pub partition: i32,
    /// Position among all batches of this producer; orders retries.
    pub order: u64,
    pub records: Vec<(u64, ProducerRecord)>,
    pub bytes: usize,
    pub created: Instant,
    /// Retries so far.
    pub attempts: u32,
    /// Sequence of the first record, given when first sent by an idempotent producer.
    pub sequence: Option<i32>,
    /// The encoded batch, kept for retries.
    pub encoded: Option<Bytes>,
    /// An attempt ended without an answer: the broker may have it.
    pub maybe_written: bool,
}

impl Batch {
    pub fn new(topic: String, partition: i32, order: u64) -> Self {
        Self {
            topic,
            partition,
            order,
            records: Vec::new(),
            bytes: HEADER_BYTES,
            created: Instant::now(),
            attempts: 0,
            sequence: None,
            encoded: None,
            maybe_written: false,
        }
    }
}

/// What waits for one partition.
#[derive(Debug, Default)]
pub struct PartitionQueue {
    waiting: VecDeque<Batch>,
    /// Batches to send again, by order; they go before everything that waits.
    retries: BTreeMap<u64, Batch>,
    pub in_flight: usize,
    pub next_sequence: i32,
}

impl PartitionQueue {
    /// Whether the last batch takes another `bytes`; a batch with one record may exceed the limit alone.
    pub fn fits(&self, bytes: usize, batch_bytes: usize) -> bool {
        self.waiting.back().is_some_and(|b| b.bytes + bytes <= batch_bytes)
    }

    pub fn open(&mut self, batch: Batch) {
        self.waiting.push_back(batch);
    }

    /// Adds to the last batch, which the caller has opened.
    pub fn push(&mut self, token: u64, record: ProducerRecord, bytes: usize) {
        let batch = self.waiting.back_mut().expect("a batch is open");
        batch.records.push((token, record));
        batch.bytes += bytes;
    }

    pub fn records(&self) -> usize {
        self.waiting.iter().map(|b| b.records.len()).sum::<usize>() + self.retries.values().map(|b| b.records.len()).sum::<usize>()
    }

    pub fn is_idle(&self) -> bool {
        self.in_flight == 0 && self.waiting.is_empty() && self.retries.is_empty()
    }

    /// When the first waiting batch is due.
    pub fn due(&self, linger: Duration) -> Option<Instant> {
        if let Some(retry) = self.retries.values().next() {
            return Some(retry.created);
        }
        let first = self.waiting.front()?;
        Some(if self.waiting.len() > 1 { first.created } else { first.created + linger })
    }

    /// Whether the first batch may go out now, given how many of this partition may be in flight.
    pub fn is_ready(&self, now: Instant, linger: Duration, everything: bool, in_flight_max: usize, batch_bytes: usize) -> bool {
        if !self.retries.is_empty() {
            // Order: first everything on the wire comes back, then the retries go one by one.
            return self.in_flight == 0;
        }
        let Some(first) = self.waiting.front() else { return false };
        let full = self.waiting.len() > 1 || first.bytes >= batch_bytes;
        self.in_flight < in_flight_max && (everything || full || now >= first.created + linger)
    }

    /// The next batch to send.
    pub fn take(&mut self) -> Option<Batch> {
        let batch = match self.retries.pop_first() {
            Some((_, batch)) => batch,
            None => self.waiting.pop_front()?,
        };
        self.in_flight += 1;
        Some(batch)
    }

    /// Size of what `take` would return, in bytes.
    pub fn next_bytes(&self) -> usize {
        self.retries.values().next().or(self.waiting.front()).map_or(0, |b| b.bytes)
    }

    pub fn retry(&mut self, batch: Batch) {
        self.retries.insert(batch.order, batch);
    }

    /// Batches older than the delivery timeout that are not on the wire.
    pub fn take_expired(&mut self, now: Instant, timeout: Duration) -> Vec<Batch> {
        let old = |b: &Batch| now.saturating_duration_since(b.created) >= timeout;
        let mut expired = Vec::new();
        while self.retries.first_key_value().is_some_and(|(_, b)| old(b)) {
            expired.extend(self.retries.pop_first().map(|(_, b)| b));
        }
        while self.waiting.front().is_some_and(old) {
            expired.extend(self.waiting.pop_front());
        }
        expired
    }

    /// Whether a batch older than `order` waits to be sent again.
    pub fn has_retry_before(&self, order: u64) -> bool {
        self.retries.range(..order).next().is_some()
    }

    /// Forgets the sequences given so far: the producer has a new identity. Batches that the broker may already have cannot
    /// be sent under another identity without the risk of a duplicate; they are returned.
    pub fn restart_sequences(&mut self) -> Vec<Batch> {
        assert_eq!(self.in_flight, 0, "sequences restart only with nothing on the wire");
        self.next_sequence = 0;
        for batch in self.retries.values_mut() {
            batch.sequence = None;
            batch.encoded = None;
        }
        self.retries.extract_if(.., |_, batch| batch.maybe_written).map(|(_, batch)| batch).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(order: u64) -> Batch {
        let mut batch = Batch::new("t".into(), 0, order);
        batch.records.push((order, ProducerRecord::default()));
        batch
    }

    #[test]
    fn retries_wait_for_the_wire_and_go_first_in_order() {
        let mut queue = PartitionQueue::default();
        for order in 0..4 {
            queue.open(batch(order));
        }
        let now = Instant::now();
        let ready = |q: &PartitionQueue| q.is_ready(now, Duration::ZERO, true, 5, 1);
        let (first, second) = (queue.take().unwrap(), queue.take().unwrap());
        queue.in_flight -= 1;
        queue.retry(second);
        assert!(!ready(&queue), "one batch is still on the wire");
        queue.in_flight -= 1;
        queue.retry(first);
        let orders: Vec<u64> = std::iter::from_fn(|| {
            ready(&queue).then(|| {
                let order = queue.take().unwrap().order;
                queue.in_flight -= 1;
                order
            })
        })
        .collect();
        assert_eq!(orders, [0, 1, 2, 3]);
    }

    #[test]
    fn linger_holds_a_batch_that_is_not_full() {
        let mut queue = PartitionQueue::default();
        queue.open(batch(0));
        let created = queue.waiting[0].created;
        let linger = Duration::from_secs(1);
        assert!(!queue.is_ready(created, linger, false, 5, 1000));
        assert!(queue.is_ready(created + linger, linger, false, 5, 1000));
        assert!(queue.is_ready(created, linger, true, 5, 1000));
        assert!(queue.is_ready(created, linger, false, 5, 1), "full");
    }
}
