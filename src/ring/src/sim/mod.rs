//! The simulated backend: many hosts, their disks and one network in a single thread, on virtual time, from one seed.
//!
//! The same seed and the same program give the same run, event for event ([`World::trace_hash`] proves it). Nothing here reads a
//! clock, an address or a hash order. The rest of this page is the fault model; what it does not list does not happen.
//!
//! # Scheduling
//! One task of one ring runs at a time. Which ring runs next is drawn; within a ring mostly the oldest runnable
//! task runs, sometimes another. Each poll takes a drawn 0.2-2 us of virtual time. Operations complete after a drawn
//! latency, so in any order. Virtual time jumps when nothing is runnable.
//!
//! # Processes
//! [`World::crash`] ends all rings of a host at one instant, between two polls. Operations in flight each either happened or
//! did not (drawn); a write may have happened in part. [`CrashMode::Kill`] keeps everything that the operating system
//! had: a process died. [`CrashMode::PowerLoss`] also loses what was not on stable storage. A new ring for the host is the restart.
//!
//! # Disk
//! One file system per host, with files and directories, that outlives its rings.
//! - Sectors of 512 bytes are atomic; nothing larger is.
//! - A completed write without `Sync::Data` is visible to reads at once and survives a kill. At a power loss each of its
//!   sectors is independently kept or lost: so writes are lost, torn and reordered. A lost sector holds what was last synced.
//! - A `Sync::Data` write makes its own bytes durable, `sync_data` and `sync_all` all of the file's; each also the
//!   file's length and (as ext4 does) the name the file was created under, with the directories above it that are new.
//! - A length that was not synced is, after a power loss, the synced one, the new one, or anything between; bytes that
//!   never reached the disk read as zeroes.
//! - Names made, renamed and removed are durable after `sync_dir`. Until then a power loss keeps, per directory, a
//!   drawn prefix of the changes, in order. A rename is atomic: the file has at least one of its names.
//! - A read, write or sync fails with `EIO` at a rate or on demand. A failed write may have written any of its sectors. After a
//!   failed sync the unsynced data is still read back, but no later sync makes it durable, as Linux does it.
//! - Writes beyond the capacity fail with `ENOSPC`; what was written before stays. The capacity may change while the host runs.
//! - Bit rot: on demand a stored bit flips, or at a rate a read returns one flipped bit (the stored data stays).
//! - Reads and writes are sometimes short; some operations take far longer than others.
//! - Direct and buffered I/O behave alike.
//!
//! # Network
//! Connections are reliable byte streams, as TCP gives them, cut into pieces at drawn places.
//! - Each piece takes a drawn latency, in order; some are delayed far longer.
//! - A connection is reset at a rate or on demand: both ends see `ECONNRESET`, what was under way is lost.
//! - Two hosts can be partitioned, also in one direction only: nothing gets through until they are healed, then what was sent arrives. A
//!   connection that is cut off for longer than [`NetworkFaults::connection_timeout`] ends with `ETIMEDOUT`; so does a connect.
//! - A killed process ends its connections with a reset or an orderly end. A host that lost power is silent; its
//!   peers see a reset when it is back, or `ETIMEDOUT`.
//! - A receiver that does not read stops its sender after [`WINDOW_BYTES`].

mod disk;
mod handles;
mod net;
pub mod planted;
mod trace;
mod world;

pub(crate) use handles::{SimFile, SimListener, SimStream};
pub use net::WINDOW_BYTES;
pub(crate) use world::SimPort;
pub use world::{Step, World};

use odradek_base::Timestamp;
use std::fmt;
use std::time::Duration;

/// The wall clock of every host at virtual time zero: 2025-01-01T00:00:00Z.
pub const WALL_CLOCK_START: Timestamp = Timestamp(1_735_689_600_000);

/// A machine with a disk, an address and any number of rings.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct HostId(pub u16);

impl fmt::Display for HostId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "host {}", self.0)
    }
}

/// How a host goes down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CrashMode {
    /// The process dies; the operating system keeps what it was given.
    Kill,
    /// The machine dies; only stable storage is kept.
    PowerLoss,
}

/// Settings of a world. The default has latencies but no faults.
#[derive(Clone, Debug, Default)]
pub struct WorldOptions {
    /// Of every host, until [`World::set_disk_faults`] changes it for one.
    pub disk: DiskFaults,
    pub network: NetworkFaults,
}

/// Speed and faults of one disk. Rates are "one in so many operations", 0 is never.
#[derive(Clone, Debug)]
pub struct DiskFaults {
    pub latency_min: Duration,
    pub latency_max: Duration,
    /// These operations take `slow_latency`.
    pub slow_one_in: u64,
    pub slow_latency: Duration,
    pub read_error_one_in: u64,
    pub write_error_one_in: u64,
    pub sync_error_one_in: u64,
    /// These syncs, `Sync::Data` writes included, report success and make nothing durable. No correct program survives that: it is there
    /// to show that a test notices.
    pub sync_lie_one_in: u64,
    /// These reads return one flipped bit.
    pub bit_rot_one_in: u64,
    /// These reads and writes are short.
    pub short_one_in: u64,
    pub capacity_bytes: u64,
    /// Writing again what is there needs room too, as where a file system copies on write.
    pub copy_on_write: bool,
}

impl Default for DiskFaults {
    fn default() -> Self {
        Self {
            latency_min: Duration::from_micros(50),
            latency_max: Duration::from_micros(500),
            slow_one_in: 100,
            slow_latency: Duration::from_millis(5),
            read_error_one_in: 0,
            write_error_one_in: 0,
            sync_error_one_in: 0,
            sync_lie_one_in: 0,
            bit_rot_one_in: 0,
            short_one_in: 16,
            capacity_bytes: 1 << 40,
            copy_on_write: false,
        }
    }
}

/// Speed and faults of the network. Rates are "one in so many pieces", 0 is never.
#[derive(Clone, Debug)]
pub struct NetworkFaults {
    pub latency_min: Duration,
    pub latency_max: Duration,
    /// These pieces take `delay` in addition.
    pub delay_one_in: u64,
    pub delay: Duration,
    /// These pieces reset their connection instead of arriving.
    pub reset_one_in: u64,
    /// How long a connection that is cut off lives, and how long a connect waits for an answer.
    pub connection_timeout: Duration,
}

impl Default for NetworkFaults {
    fn default() -> Self {
        Self {
            latency_min: Duration::from_micros(20),
            latency_max: Duration::from_micros(300),
            delay_one_in: 200,
            delay: Duration::from_millis(3),
            reset_one_in: 0,
            connection_timeout: Duration::from_secs(20),
        }
    }
}

/// Operations that can be made to fail on demand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DiskOperation {
    Read,
    Write,
    Sync,
}

/// A failure on demand: the next `times` operations of a kind on files whose path contains a text fail with `EIO`.
#[derive(Clone, Debug)]
pub struct DiskFailure {
    pub operation: DiskOperation,
    /// Empty: every file.
    pub path_contains: String,
    pub times: u32,
}
