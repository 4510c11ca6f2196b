//! Seeded simulation of the whole broker: the real shard code on the simulated ring, clients that note what they were told, faults,
//! and checkers that hold the notes against the log.
//!
//! Purpose: bad days before a user has them. One run ([`run::run`]) draws everything from its seed ([`scenario`], [`faults`]): topics,
//! producers, consumers, group members, crashes and network trouble. What disks and networks do wrong is the fault model of
//! [`odradek_ring::sim`].
//!
//! Invariants that are checked ([`history`] at once, [`checkers`] at the end): what was acknowledged with acks=all survives everything, with
//! acks=1 a killed process; idempotent producers leave no duplicates, gaps or disorder; offsets are dense; an offset shows the same bytes to
//! everybody for ever; the high watermark never goes back; committed offsets and topics are what was acknowledged; compaction keeps the last record
//! of a key, and every record for its time; retention leaves on the disk what its settings say.
//!
//! Owner: the calling thread, one world per run. The same seed is the same run, event for event.
//!
//! Failure behaviour: the first broken rule ends the run and is its outcome; so is a panic of the broker.

pub mod changes;
pub mod checkers;
pub mod client;
pub mod consumer;
pub mod faults;
pub mod history;
pub mod member;
pub mod node;
pub mod producer;
pub mod record;
pub mod replay;
pub mod run;
pub mod scenario;
pub mod shrink;
pub mod topics;
pub mod violation;
