//! What a caller hands in and gets back.

use crate::error::ClientError;
use bytes::Bytes;

/// A record to produce.
#[derive(Debug, Clone, Default)]
pub struct ProducerRecord {
    pub topic: String,
    /// Chosen by the partitioner when `None`.
    pub partition: Option<i32>,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    /// In order; duplicate keys are legal.
    pub headers: Vec<(String, Option<Bytes>)>,
    /// Milliseconds since the Unix epoch; now when `None`.
    pub timestamp: Option<i64>,
}

impl ProducerRecord {
    /// Upper estimate of the record's bytes in an uncompressed batch.
    pub fn estimated_bytes(&self) -> usize {
        // Length, attributes, timestamp and offset deltas, and the two length fields, each at most a 5 or 10 byte varint.
        const OVERHEAD: usize = 5 + 1 + 10 + 5 + 5 + 5 + 5;
        let headers: usize = self.headers.iter().map(|(k, v)| 10 + k.len() + v.as_ref().map_or(0, Bytes::len)).sum();
        OVERHEAD + self.key.as_ref().map_or(0, Bytes::len) + self.value.as_ref().map_or(0, Bytes::len) + headers
    }
}

/// Where a record went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordMetadata {
    pub partition: i32,
    /// -1 with acks=0, where the broker does not say.
    pub offset: i64,
    /// Milliseconds; the broker's when the topic uses LogAppendTime.
    pub timestamp: i64,
}

/// The outcome of one record.
#[derive(Debug)]
pub struct Delivery {
    /// What `Producer::send` returned for the record.
    pub token: u64,
    pub record: ProducerRecord,
    pub result: Result<RecordMetadata, ClientError>,
}
