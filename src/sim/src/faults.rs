//! The bad days: a schedule of faults, drawn from the seed before the run, so that parts of it can be left out to find what matters.

use odradek_base::Rng;
use odradek_ring::sim::{CrashMode, DiskOperation};
use std::fmt;
use std::time::Duration;

/// Most faults of one run.
const FAULTS_MAX: u64 = 6;

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
    /// Every disk operation takes long for a while.
    SlowDisk { latency: Duration, lasts: Duration },
    /// The next operation of a kind fails with EIO; the process is ended and started again after a while.
    DiskError { operation: DiskOperation, after: Duration },
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
}

/// Draws the faults of a run of about `length`.
pub fn draw(rng: &mut Rng, length: Duration, kinds: Kinds) -> Vec<Planned> {
    let count = rng.below(FAULTS_MAX + 1);
    let mut all: Vec<Planned> = (0..count).map(|_| Planned { at: fraction(rng, length), fault: draw_one(rng, kinds) }).collect();
    all.sort_by_key(|planned| planned.at);
    all
}

fn draw_one(rng: &mut Rng, kinds: Kinds) -> Fault {
    loop {
        let fault = match rng.below(16) {
            0..4 => Fault::Crash { mode: CrashMode::Kill, down: short(rng) },
            4..9 => Fault::Crash { mode: CrashMode::PowerLoss, down: short(rng) },
            9..11 => Fault::Stop { down: short(rng) },
            11..13 => Fault::Reset,
            13 => Fault::Partition { lasts: fraction(rng, Duration::from_secs(3)) },
            14 => Fault::SlowDisk { latency: fraction(rng, Duration::from_millis(80)), lasts: fraction(rng, Duration::from_secs(1)) },
            _ => {
                let operation = [DiskOperation::Write, DiskOperation::Sync, DiskOperation::Read][rng.below(3) as usize];
                Fault::DiskError { operation, after: fraction(rng, Duration::from_millis(500)) }
            }
        };
        let allowed = match fault {
            Fault::Crash { .. } | Fault::Stop { .. } => kinds.crashes,
            Fault::DiskError { .. } => kinds.disk_errors,
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
