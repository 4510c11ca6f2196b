//! `bench limits`: what this machine can do, so that results can be shown as a share of it.

mod disk;
mod memory;

use crate::BenchError;
use crate::measure::{Machine, RunResult};
use crate::run_command::save;
use clap::Args;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(Debug, Clone, Args)]
pub struct LimitsArgs {
    /// Folder on the disk to measure; a file of --file-mb is written there and removed. Default: the cache.
    #[arg(long, value_name = "DIR")]
    work_dir: Option<PathBuf>,
    /// Folder in which the result is kept for `bench run`.
    #[arg(long, env = "ODRADEK_CACHE", value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Seconds for each measurement.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Megabytes of the file.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u64).range(16..=1_000_000))]
    file_mb: u64,
    /// The result as JSON: into FILE, or on standard output instead of the table.
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    json: Option<PathBuf>,
}

/// Writes of one size, so many at a time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Writes {
    pub bytes: usize,
    pub depth: usize,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub mb_per_s: f64,
}

/// What a machine can do. Megabytes are 10^6 bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    pub machine: Machine,
    /// One stream between two threads.
    pub loopback_mb_per_s: f64,
    pub loopback_round_trip_p50_ms: f64,
    pub memory_copy_mb_per_s: f64,
    pub crc32c_mb_per_s: f64,
    /// O_DIRECT and O_DSYNC over a file that is written already, as a journal is.
    pub dsync: Vec<Writes>,
    pub sequential_write_mb_per_s: f64,
    pub sequential_read_mb_per_s: f64,
}

/// The file in the cache.
fn saved_in(cache: &Path) -> PathBuf {
    cache.join("limits.json")
}

pub fn run(args: &LimitsArgs) -> Result<bool, BenchError> {
    if !(args.seconds > 0.0 && args.seconds <= 600.0) {
        return Err(BenchError::Arguments(format!("--seconds {}: allowed are more than 0 to 600", args.seconds)));
    }
    let cache = args.cache.clone().unwrap_or_else(|| std::env::temp_dir().join("odradek-cache"));
    let work = args.work_dir.clone().unwrap_or_else(|| cache.clone());
    for folder in [&cache, &work] {
        std::fs::create_dir_all(folder).map_err(|e| BenchError::Broker(format!("{}: {e}", folder.display())))?;
    }
    let limits = measure(&work, Duration::from_secs_f64(args.seconds), args.file_mb)?;
    let json = serde_json::to_string_pretty(&limits).expect("plain numbers and text");
    save(&saved_in(&cache), json.as_bytes())?;
    match args.json.as_deref() {
        Some(path) if path.as_os_str() == "-" => crate::say(&format!("{json}\n"))?,
        Some(path) => save(path, json.as_bytes())?,
        None => crate::say(&table(&limits))?,
    }
    Ok(true)
}

fn measure(work: &Path, time: Duration, file_mb: u64) -> Result<Limits, BenchError> {
    let at = |what: &str| eprintln!("measuring {what}");
    at("memory copy and CRC-32C");
    let (memory_copy_mb_per_s, crc32c_mb_per_s) = (memory::copy(time), memory::crc(time));
    at("loopback");
    let loopback_mb_per_s = memory::loopback_stream(time)?;
    let loopback_round_trip_p50_ms = memory::loopback_round_trip(time)?;
    let disk = disk::Disk::create(work, file_mb << 20)?;
    at("DSYNC writes");
    let mut dsync = Vec::new();
    for bytes in [4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20] {
        for depth in [1, 4, 16] {
            dsync.push(disk.dsync(bytes, depth, time)?);
        }
    }
    at("direct sequential writes and reads");
    let sequential_write_mb_per_s = disk.sequential(true, time)?;
    let sequential_read_mb_per_s = disk.sequential(false, time)?;
    Ok(Limits {
        machine: Machine::this(),
        loopback_mb_per_s,
        loopback_round_trip_p50_ms,
        memory_copy_mb_per_s,
        crc32c_mb_per_s,
        dsync,
        sequential_write_mb_per_s,
        sequential_read_mb_per_s,
    })
}

fn table(l: &Limits) -> String {
    let mut out = format!(
        "memory copy            {:>9.0} MB/s\nCRC-32C                {:>9.0} MB/s\nloopback, one stream   {:>9.0} MB/s\n\
         loopback round trip    {:>9.3} ms (p50)\ndirect writes, 1 MiB   {:>9.0} MB/s\ndirect reads, 1 MiB    {:>9.0} MB/s\n\n\
         DSYNC writes   depth      p50 ms      p99 ms        MB/s\n",
        l.memory_copy_mb_per_s,
        l.crc32c_mb_per_s,
        l.loopback_mb_per_s,
        l.loopback_round_trip_p50_ms,
        l.sequential_write_mb_per_s,
        l.sequential_read_mb_per_s
    );
    for w in &l.dsync {
        out += &format!("{:>8} KiB {:>8} {:>11.3} {:>11.3} {:>11.1}\n", w.bytes >> 10, w.depth, w.p50_ms, w.p99_ms, w.mb_per_s);
    }
    out
}

/// What was measured on this machine before, if it was.
pub fn known(cache: &Path) -> Option<Limits> {
    let limits: Limits = serde_json::from_str(&std::fs::read_to_string(saved_in(cache)).ok()?).ok()?;
    (limits.machine == Machine::this()).then_some(limits)
}

/// A run's figures beside what the machine can do.
pub fn shares(result: &RunResult, l: &Limits) -> Vec<String> {
    let step = result.last();
    let mut out = Vec::new();
    let mut share = |what: &str, value: f64, of: &str, limit: f64| {
        if value > 0.0 && limit > 0.0 {
            let share = 100.0 * value / limit;
            let digits = if share < 1.0 { 2 } else { usize::from(share < 10.0) };
            out.push(format!("{what} {share:.digits$} % of {of} ({limit:.0} MB/s)"));
        }
    };
    let best = l.dsync.iter().map(|w| w.mb_per_s).fold(0.0, f64::max);
    share("produced:", step.mb_per_s, "the best DSYNC writes", best);
    share("produced:", step.mb_per_s, "direct sequential writes", l.sequential_write_mb_per_s);
    share("produced and read:", step.mb_per_s + step.consumed_mb_per_s, "one loopback stream", l.loopback_mb_per_s);
    share("read:", step.consumed_mb_per_s, "direct sequential reads", l.sequential_read_mb_per_s);
    let one = l.dsync.iter().find(|w| w.depth == 1);
    if let Some((produce, one)) = step.produce.as_ref().zip(one).filter(|(_, one)| one.p50_ms > 0.0) {
        let least = one.p50_ms + l.loopback_round_trip_p50_ms;
        out.push(format!(
            "produce p50: {:.1} x a {} KiB DSYNC write and a round trip ({least:.3} ms)",
            produce.p50_ms / least,
            one.bytes >> 10
        ));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_measurement_finds_something_everywhere() {
        let folder = tempfile::tempdir().unwrap();
        let limits = measure(folder.path(), Duration::from_millis(20), 16).unwrap();
        assert!(limits.loopback_mb_per_s > 0.0 && limits.loopback_round_trip_p50_ms > 0.0, "{limits:?}");
        assert!(limits.memory_copy_mb_per_s > 0.0 && limits.crc32c_mb_per_s > 0.0);
        assert!(limits.sequential_read_mb_per_s > 0.0 && limits.sequential_write_mb_per_s > 0.0);
        assert_eq!(limits.dsync.len(), 15);
        assert!(limits.dsync.iter().all(|w| w.mb_per_s > 0.0 && w.p99_ms >= w.p50_ms));
        assert!(table(&limits).contains("1024 KiB       16"), "{}", table(&limits));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "the file is gone");

        assert_eq!(known(folder.path()), None);
        let save = |limits: &Limits| std::fs::write(saved_in(folder.path()), serde_json::to_string(limits).unwrap()).unwrap();
        save(&limits);
        assert!(known(folder.path()).is_some());
        save(&Limits { machine: Machine { id: "other".into(), ..Machine::this() }, ..limits });
        assert_eq!(known(folder.path()), None, "limits of another machine say nothing");
    }
}
