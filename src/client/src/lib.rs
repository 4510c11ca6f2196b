//! A thin blocking Kafka client for the command line, the harness and the tests.
//!
//! Purpose: everything odradek's own tools need from a cluster (ours or Apache Kafka's), without a runtime: metadata, admin calls,
//! a producer and a consumer, each on the thread of its caller. Not meant for applications: no TLS, no SASL, no transactions.
//!
//! Invariants: requests of one connection are answered in order; records of a partition are sent, retried and handed out in order;
//! nothing a broker sends makes the client allocate more than what arrived. Owner: one thread per [`Cluster`], [`Producer`] or
//! [`Consumer`]; only the [`Interrupt`] flag is shared. Failure behaviour: every wait has a timeout, every error is a
//! [`ClientError`] that carries Kafka's code and what to do next; a connection with an unclear state is dropped, never reused.

pub mod admin;
mod cluster;
mod config;
mod connection;
pub mod consumer;
mod error;
#[cfg(test)]
mod fake_broker;
pub mod producer;
mod record_batch;

pub use cluster::{Broker, Cluster, Partition, Topic, Topics, text, topic_name};
pub use config::{ClientConfig, Interrupt, parse_bootstrap, take_bool, take_ms, take_number};
pub use connection::{Connection, Request, wait_any};
pub use consumer::{Consumer, ConsumerConfig};
pub use error::{BrokerError, ClientError, code_name};
pub use odradek_wire::batch::TimestampType;
pub use producer::{Producer, ProducerConfig, ProducerRecord};
pub use record_batch::{BatchIdentity, ConsumerRecord, Decoded, decode_batches, encode_batch};
