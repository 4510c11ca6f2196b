//! The measurements: durable writes and direct reads of one file, by as many threads as the depth says.

use super::{Sample, Work};
use odradek_base::{AlignedBuf, Rng};
use rustix::fs::OFlags;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The file that is written; an existing one is refused.
const FILE_NAME: &str = "odradek-tune-disk.tmp";

/// Bytes of one write while the file is filled.
const FILL_BYTES: usize = 4 << 20;

/// Sizes in bytes and depths. One is the journal of one shard, the others several shards at once.
const WRITES: &[(usize, usize)] = &[
    (4 << 10, 1),
    (16 << 10, 1),
    (64 << 10, 1),
    (128 << 10, 1),
    (256 << 10, 1),
    (512 << 10, 1),
    (1 << 20, 1),
    (2 << 20, 1),
    (4 << 20, 1),
    (4 << 10, 8),
    (64 << 10, 8),
    (256 << 10, 4),
];
const READS: &[(usize, usize)] =
    &[(64 << 10, 1), (64 << 10, 8), (256 << 10, 4), (1 << 20, 1), (1 << 20, 2), (1 << 20, 4), (1 << 20, 8), (1 << 20, 16)];

/// How long, and over how many bytes.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Time of all measurements together; filling the file comes on top.
    pub total: Duration,
    pub file_bytes: u64,
}

/// Removes the file however the measurement ends.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Measures in `directory`, which must exist; says what it does line by line.
///
/// # Errors
/// What the file system says, for instance no direct I/O (`EINVAL`), no room, or a file left behind by a killed measurement.
pub fn measure(directory: &Path, effort: &Effort, mut say: impl FnMut(&str)) -> io::Result<Vec<Sample>> {
    let path = directory.join(FILE_NAME);
    let direct = |extra: OFlags, make: bool| {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(make).custom_flags((OFlags::DIRECT | extra).bits() as i32);
        options.open(&path)
    };
    let file_bytes = effort.file_bytes / FILL_BYTES as u64 * FILL_BYTES as u64;
    let file = direct(OFlags::empty(), true)?;
    let scratch = Scratch(path.clone());
    say(&format!("filling {} with {} MiB", path.display(), file_bytes >> 20));
    fill(&file, file_bytes)?;
    file.sync_all()?;
    let durable = direct(OFlags::DSYNC, false)?;
    let each = effort.total / (WRITES.len() + READS.len()) as u32;
    let mut samples = Vec::new();
    let works = WRITES.iter().map(|row| (Work::DurableWrite, row)).chain(READS.iter().map(|row| (Work::Read, row)));
    for (work, &(bytes, depth)) in works {
        let file = if work == Work::Read { &file } else { &durable };
        let sample = run(file, file_bytes, work, bytes, depth, each)?;
        say(&format!("{work:?} {bytes} bytes, depth {depth}: p50 {} us, {:.0} MB/s", sample.p50_us, sample.megabytes_per_second));
        samples.push(sample);
    }
    drop(scratch);
    Ok(samples)
}

/// Bytes that a drive cannot compress to nothing: a pattern per write.
fn pattern(buffer: &mut AlignedBuf, rng: &mut Rng) {
    for word in buffer.chunks_exact_mut(8) {
        word.copy_from_slice(&rng.next_u64().to_le_bytes());
    }
}

fn fill(file: &File, bytes: u64) -> io::Result<()> {
    let (mut buffer, mut rng) = (AlignedBuf::zeroed(FILL_BYTES), Rng::with_seed(1));
    pattern(&mut buffer, &mut rng);
    for position in (0..bytes).step_by(FILL_BYTES) {
        file.write_all_at(&buffer, position)?;
    }
    Ok(())
}

fn run(file: &File, file_bytes: u64, work: Work, bytes: usize, depth: usize, time: Duration) -> io::Result<Sample> {
    let begin = Instant::now();
    let results: Vec<io::Result<Vec<u64>>> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..depth).map(|at| scope.spawn(move || one(file, file_bytes, work, bytes, (at, depth), begin, time))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err(io::Error::other("a measuring thread ended badly"))))
            .collect()
    });
    let took = begin.elapsed();
    let mut times = Vec::new();
    for result in results {
        times.extend(result?);
    }
    times.sort_unstable();
    let percentile = |share: usize| times.get((times.len() * share / 100).min(times.len().saturating_sub(1))).copied().unwrap_or(0);
    let total = (times.len() * bytes) as f64;
    let megabytes_per_second = total / took.as_secs_f64() / 1e6;
    Ok(Sample { work, bytes, depth, p50_us: percentile(50), p99_us: percentile(99), megabytes_per_second })
}

/// One thread: writes go round its own part of the file in order, as a journal does; reads are anywhere in it. At least one operation.
fn one(
    file: &File,
    file_bytes: u64,
    work: Work,
    bytes: usize,
    (at, of): (usize, usize),
    begin: Instant,
    time: Duration,
) -> io::Result<Vec<u64>> {
    let (mut buffer, mut rng) = (AlignedBuf::zeroed(bytes), Rng::with_seed(at as u64 + 2));
    pattern(&mut buffer, &mut rng);
    // `max(1)`: a part holds at least one operation, since the file has at least 64 MiB.
    let places = (file_bytes / of as u64 / bytes as u64).max(1);
    let first = places * at as u64;
    let mut times = Vec::new();
    loop {
        let place = if work == Work::Read { rng.below(places) } else { times.len() as u64 % places };
        let position = (first + place) * bytes as u64;
        let started = Instant::now();
        match work {
            Work::DurableWrite => file.write_all_at(&buffer, position)?,
            Work::Read => file.read_exact_at(&mut buffer, position)?,
        }
        times.push(started.elapsed().as_micros() as u64);
        if begin.elapsed() >= time {
            return Ok(times);
        }
    }
}
