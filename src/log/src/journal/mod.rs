//! The journal: one write-ahead log that all partitions of a shard share.
//!
//! [`format`] says how blocks look on disk, [`writer`] builds them in memory, [`space`] places them in files, [`replay`] reads them back.

pub mod format;
mod look_back;
pub mod replay;
pub mod space;
pub mod writer;
