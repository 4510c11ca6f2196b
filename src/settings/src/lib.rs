//! The one table of settings: Kafka's name, type, bounds, default, dynamic or not, doc.
//!
//! Purpose: everything a person can configure is one row of [`table`] (broker keys, Kafka's names, our own start with
//! `odradek.`), [`topic`] (Kafka's topic configs) or [`group`] (Kafka's group configs). The loader, the command
//! `odradek settings`, DescribeConfigs and AlterConfigs all read the same rows, so they cannot disagree.
//!
//! Invariants: names are unique; every default satisfies its own rule (a test walks the tables); a [`Settings`] value
//! holds only texts that passed their rule, so the typed getters cannot fail.
//!
//! Owner: immutable once loaded; the main thread loads it and shares it with every shard. The only I/O is reading the
//! properties file in [`Settings::load`].
//!
//! Failure behaviour: a bad value or a malformed line is a [`SettingsError`] that names file, line, key and what is
//! allowed. Keys that have no meaning here, and keys that nobody knows, are [`Warning`]s.

mod describe;
mod getters;
pub mod group;
pub mod listeners;
mod load;
pub mod properties;
mod rule;
mod suggest;
pub mod table;
pub mod topic;
mod value;

pub use describe::Row;
pub use getters::{Advertise, DirectIo, LogFormat, in_milliseconds};
pub use listeners::Listener;
pub use load::{Origin, Problem, Settings, SettingsError, Warning};
pub use rule::{Rule, ValueError};
pub use suggest::nearest;
pub use table::{Change, Effect, Importance, Setting};
pub use value::{ValueType, canonical, list_items};
