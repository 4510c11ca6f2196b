//! Direct writes and reads, by threads that each do one after another: as many at a time as there are threads.

use super::Writes;
use crate::BenchError;
use odradek_base::buffer::AlignedBuf;
use rustix::fs::OFlags;
use std::fs::File;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tempfile::NamedTempFile;

const SEQUENTIAL_BYTES: usize = 1 << 20;
const SEQUENTIAL_DEPTH: usize = 8;

/// A file that is written through once, so that measuring does not allocate.
pub struct Disk {
    file: NamedTempFile,
    bytes: u64,
}

impl Disk {
    pub fn create(folder: &Path, bytes: u64) -> Result<Self, BenchError> {
        let file = tempfile::Builder::new().prefix("limits-").tempfile_in(folder)?;
        let disk = Self { file, bytes };
        let direct = disk.open(OFlags::DIRECT)?;
        let buffer = buffer(SEQUENTIAL_BYTES);
        for at in (0..bytes).step_by(SEQUENTIAL_BYTES) {
            direct.write_all_at(&buffer[..], at)?;
        }
        direct.sync_all()?;
        Ok(disk)
    }

    fn open(&self, flags: OFlags) -> Result<File, BenchError> {
        let path = self.file.path();
        std::fs::OpenOptions::new().read(true).write(true).custom_flags(flags.bits() as i32).open(path).map_err(|e| {
            BenchError::Broker(format!("{}: cannot be opened for direct I/O ({e}); give --work-dir on a disk that has it", path.display()))
        })
    }

    /// `depth` threads, each over its own part, until the time is over; latencies of all in milliseconds.
    fn drive(
        &self,
        file: &File,
        bytes: usize,
        depth: usize,
        time: Duration,
        write: bool,
        shared: bool,
    ) -> Result<(Vec<f64>, Duration), BenchError> {
        let blocks = (self.bytes / bytes as u64).max(1);
        let next = AtomicU64::new(0);
        let begun = Instant::now();
        let worker = |index: u64| -> std::io::Result<Vec<f64>> {
            let mut buffer = buffer(bytes);
            let mut times = Vec::new();
            let mut turn = 0;
            while begun.elapsed() < time || times.is_empty() {
                // Sequential over all threads, or each in its own part, as journals of several shards are.
                let block = if shared { next.fetch_add(1, Ordering::Relaxed) } else { index * (blocks / depth as u64) + turn } % blocks;
                turn += 1;
                let sent = Instant::now();
                match write {
                    true => file.write_all_at(&buffer[..], block * bytes as u64)?,
                    false => file.read_exact_at(&mut buffer[..], block * bytes as u64)?,
                }
                times.push(sent.elapsed().as_secs_f64() * 1e3);
            }
            Ok(times)
        };
        let results: Vec<std::io::Result<Vec<f64>>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..depth as u64).map(|i| scope.spawn(move || worker(i))).collect();
            threads.into_iter().map(|t| t.join().unwrap_or_else(|_| Err(std::io::Error::other("a thread failed")))).collect()
        });
        let mut all = Vec::new();
        for times in results {
            all.extend(times?);
        }
        Ok((all, begun.elapsed()))
    }

    pub fn dsync(&self, bytes: usize, depth: usize, time: Duration) -> Result<Writes, BenchError> {
        let file = self.open(OFlags::DIRECT | OFlags::DSYNC)?;
        let (mut times, elapsed) = self.drive(&file, bytes, depth, time, true, false)?;
        times.sort_by(f64::total_cmp);
        let at = |quantile: f64| times[((times.len() - 1) as f64 * quantile) as usize];
        let mb_per_s = (times.len() * bytes) as f64 / 1e6 / elapsed.as_secs_f64();
        Ok(Writes { bytes, depth, p50_ms: at(0.5), p99_ms: at(0.99), mb_per_s })
    }

    /// Large writes or reads in order, in megabytes a second.
    pub fn sequential(&self, write: bool, time: Duration) -> Result<f64, BenchError> {
        let file = self.open(OFlags::DIRECT)?;
        let (times, elapsed) = self.drive(&file, SEQUENTIAL_BYTES, SEQUENTIAL_DEPTH, time, write, true)?;
        Ok((times.len() * SEQUENTIAL_BYTES) as f64 / 1e6 / elapsed.as_secs_f64())
    }
}

fn buffer(bytes: usize) -> AlignedBuf {
    let mut buffer = AlignedBuf::zeroed(bytes);
    // Zeros may be stored differently.
    for (at, byte) in buffer.iter_mut().enumerate() {
        *byte = (at * 31) as u8;
    }
    buffer
}
