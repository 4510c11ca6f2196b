//! Bounds that are part of formats and protocols and therefore no settings.

/// Kafka's longest topic name, in characters (`org.apache.kafka.common.internals.Topic`).
pub const TOPIC_NAME_LENGTH_MAX: usize = 249;

/// Batches of one idempotent producer that a partition remembers (`ProducerStateEntry.NUM_BATCHES_TO_RETAIN`).
pub const PRODUCER_BATCHES_RETAINED: usize = 5;

/// Bytes of a record batch header, version 2 (KIP-98): base offset up to and including the record count.
pub const RECORD_BATCH_HEADER_BYTES: usize = 61;
