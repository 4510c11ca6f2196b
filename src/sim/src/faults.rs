//! The bad days: a schedule of faults, drawn from the seed before the run, so that parts of it can be left out to find what matters.
//!
//! What a correct broker may do under each fault, and no more:
//!
//! | fault | tolerated |
//! |---|---|
//! | kill | requests without an answer; records that were not acknowledged; those of acks=0 |
//! | power loss | also records of acks=1 that were sent before it |
//! | stop | requests without an answer; nothing else is lost |
//! | reset, partition (both ways or one), slow disk | time |
//! | EIO on read, write or flush | KAFKA_STORAGE_ERROR for the partition or (journal) the shard, until the restart that follows; a node that does not start or stop; a failed flush is not acknowledged later |
//! | full disk | KAFKA_STORAGE_ERROR and refused changes while it is full; everything works again when there is room, without a restart |
//! | bit rot on read | CORRUPT_MESSAGE or a fetch without records while it lasts; never a damaged record; KAFKA_STORAGE_ERROR until the restart that follows, where what is to be written back cannot be read right |
//! | a stored bit flips in a segment, flushed | for the batch that has it, or the rest of its segment where its header has it: CORRUPT_MESSAGE; or KAFKA_STORAGE_ERROR for its partition, for good; nothing else is lost |
//! | a stored bit flips in an index; in a journal after a clean stop | nothing |
//! | a stored bit flips in a block of a journal that is still needed | KAFKA_STORAGE_ERROR for partitions with batches in the block, for good; nothing else is lost |
//!
//! A stored bit does not flip in a batch's base offset or leader epoch, which no CRC covers, nor in metadata, committed offsets or state files. It does
//! not flip at the end of a journal that is still needed: that looks like a write that was torn, and what was acknowledged last is lost unnoticed.

use odradek_base::Rng;
use odradek_ring::sim::{CrashMode, DiskOperation};
use std::fmt;
use std::time::Duration;

/// Most faults of one run.
const FAULTS_MAX: u64 = 6;
/// Stored bits that flip in a run that has such faults.
const STORED_BITS: u64 = 2;
/// Room that a full disk may have left, in bytes.
const FULL_ROOM_BYTES_MAX: u64 = 64 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The process or the machine dies and is back after a while. A node that is down may lose power too.
    Crash { mode: CrashMode, down: Duration },
    /// An orderly stop, and a start after a while.
    Stop { down: Duration },
    /// All connections between clients and node break.
    Reset,
    /// Nothing gets through between clients and node for a while.
    Partition { lasts: Duration },
    /// Nothing gets through in one direction for a while.
    OneWay { to_node: bool, lasts: Duration },
    /// Every disk operation takes long for a while.
    SlowDisk { latency: Duration, lasts: Duration },
    /// The disk has only so many bytes left for a while.
    FullDisk { room: u64, lasts: Duration },
    /// One in so many reads of a node that serves returns one flipped bit, for a while or until the node starts again.
    BitRot { one_in: u64, lasts: Duration },
    /// One bit flips for good where it is stored, in data that was flushed.
    StoredRot { stored: Stored },
    /// The next operation of a kind fails with EIO; the process is ended and started again after a while.
    DiskError { operation: DiskOperation, after: Duration },
}

/// Files whose stored bits flip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    Log,
    Index,
}

/// A fault and when it happens, from the start of the workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Planned {
    pub at: Duration,
    pub fault: Fault,
}

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} after {:?}", self.fault, self.at)
    }
}

/// Which faults a run may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kinds {
    pub crashes: bool,
    pub disk_errors: bool,
    pub full_disk: bool,
    pub bit_rot: bool,
    pub stored_rot: bool,
}

impl Kinds {
    pub const ALL: Self = Self { crashes: true, disk_errors: true, full_disk: true, bit_rot: true, stored_rot: true };

    /// Whether no fault of this run makes a disk refuse or damage anything.
    pub fn disks_work(self) -> bool {
        !(self.disk_errors || self.full_disk || self.bit_rot || self.stored_rot)
    }
}

/// Draws the faults of a run of about `length`.
pub fn draw(rng: &mut Rng, length: Duration, kinds: Kinds) -> Vec<Planned> {
    let count = rng.below(FAULTS_MAX + 1);
    let mut all: Vec<Planned> = (0..count).map(|_| Planned { at: fraction(rng, length), fault: draw_one(rng, kinds) }).collect();
    all.sort_by_key(|planned| planned.at);
    all
}

/// Draws stored bits that flip in a run of about `length`.
pub fn draw_stored_rot(rng: &mut Rng, length: Duration) -> Vec<Planned> {
    let mut one = |_| {
        let stored = if rng.chance(3) { Stored::Index } else { Stored::Log };
        Planned { at: fraction(rng, length), fault: Fault::StoredRot { stored } }
    };
    (0..STORED_BITS).map(&mut one).collect()
}

fn draw_one(rng: &mut Rng, kinds: Kinds) -> Fault {
    loop {
        let fault = match rng.below(22) {
            0..4 => Fault::Crash { mode: CrashMode::Kill, down: short(rng) },
            4..9 => Fault::Crash { mode: CrashMode::PowerLoss, down: short(rng) },
            9..11 => Fault::Stop { down: short(rng) },
            11..13 => Fault::Reset,
            13 => Fault::Partition { lasts: fraction(rng, Duration::from_secs(3)) },
            14 => Fault::OneWay { to_node: rng.chance(2), lasts: fraction(rng, Duration::from_secs(3)) },
            15 => Fault::SlowDisk { latency: fraction(rng, Duration::from_millis(80)), lasts: fraction(rng, Duration::from_secs(1)) },
            16..18 => Fault::FullDisk { room: rng.below(FULL_ROOM_BYTES_MAX), lasts: fraction(rng, Duration::from_secs(2)) },
            18..20 => Fault::BitRot { one_in: 1 + rng.below(8), lasts: fraction(rng, Duration::from_secs(1)) },
            _ => {
                let operation = [DiskOperation::Write, DiskOperation::Sync, DiskOperation::Read][rng.below(3) as usize];
                Fault::DiskError { operation, after: fraction(rng, Duration::from_millis(500)) }
            }
        };
        let allowed = match fault {
            Fault::Crash { .. } | Fault::Stop { .. } => kinds.crashes,
            Fault::DiskError { .. } => kinds.disk_errors,
            Fault::FullDisk { .. } => kinds.full_disk,
            Fault::BitRot { .. } => kinds.bit_rot,
            _ => true,
        };
        if allowed {
            return fault;
        }
    }
}

/// Mostly a moment, so that faults meet a node that is just starting.
fn short(rng: &mut Rng) -> Duration {
    let longest = if rng.chance(3) { Duration::from_millis(500) } else { Duration::from_millis(20) };
    fraction(rng, longest)
}

fn fraction(rng: &mut Rng, longest: Duration) -> Duration {
    Duration::from_micros(rng.below(longest.as_micros() as u64 + 1))
}
