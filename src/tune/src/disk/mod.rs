//! `odradek tune disk`: what the data disk can do, and the settings that follow.
//!
//! [`measure`] writes one file of its own with direct I/O, reads it, and removes it; [`conclude`] is arithmetic on the numbers;
//! [`properties`] writes both down.

mod conclude;
mod measure;

pub use conclude::{Conclusion, conclude};
pub use measure::{Effort, measure};

use std::fmt::Write as _;
use std::path::Path;

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// `O_DIRECT|O_DSYNC` writes over written extents, as the journal does them.
    DurableWrite,
    /// Direct reads at random positions of written extents, as cold fetches do them.
    Read,
}

/// One measurement.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    pub work: Work,
    /// Bytes of one operation.
    pub bytes: usize,
    /// Operations at once.
    pub depth: usize,
    pub p50_us: u64,
    pub p99_us: u64,
    /// Of all operations together, in units of 1,000,000 bytes.
    pub megabytes_per_second: f64,
}

/// A properties file: the settings, and the measurements beside them as comments.
pub fn properties(directory: &Path, samples: &[Sample]) -> String {
    let mut text = format!("# Measured by `odradek tune disk {}`, direct I/O. Sizes in bytes.\n#\n", directory.display());
    let _ = writeln!(text, "# {:<14} {:>9} {:>6} {:>9} {:>9} {:>9}", "work", "size", "depth", "p50 us", "p99 us", "MB/s");
    for sample in samples {
        let work = match sample.work {
            Work::DurableWrite => "durable write",
            Work::Read => "read",
        };
        let Sample { bytes, depth, p50_us, p99_us, megabytes_per_second, .. } = sample;
        let _ = writeln!(text, "# {work:<14} {bytes:>9} {depth:>6} {p50_us:>9} {p99_us:>9} {megabytes_per_second:>9.0}");
    }
    for Conclusion { key, value, because } in conclude(samples) {
        let _ = write!(text, "\n# {because}\n{key}={value}\n");
    }
    text
}
