//! From measurements to settings.

use super::{Sample, Work};
use odradek_settings::{Rule, Setting, table};

/// The share of the best throughput that counts as reaching it.
const ENOUGH: f64 = 0.9;

/// A write is large when the fixed price of one write (that of 4 KiB) is at most a fifth of it.
const FIXED_PRICE_SHARE: u64 = 5;

/// Bytes of one read of a sequential reader (`READ_BYTES_MAX` of the store).
const SEQUENTIAL_READ_BYTES: usize = 1 << 20;

/// A setting, its value, and the reason in one sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conclusion {
    pub key: &'static str,
    pub value: i64,
    pub because: String,
}

/// What the measurements say. A setting about which they say nothing keeps its default and is not named.
pub fn conclude(samples: &[Sample]) -> Vec<Conclusion> {
    [journal_block(samples), bypass(samples), read_ahead(samples)].into_iter().flatten().collect()
}

/// What the median operation amounts to, in MB/s: unlike the mean it does not move when something else used the disk for a moment.
fn typical(sample: &Sample) -> f64 {
    (sample.depth * sample.bytes) as f64 / sample.p50_us.max(1) as f64
}

fn best<'a>(samples: impl Iterator<Item = &'a Sample>) -> Option<f64> {
    samples.map(typical).reduce(f64::max)
}

/// Within what the settings table allows.
fn bounded(key: &'static str, value: i64, because: String) -> Option<Conclusion> {
    let setting: &Setting = table::find(key)?;
    let value = match setting.rule {
        Rule::Between { min, max } => value.clamp(min, max),
        _ => value,
    };
    Some(Conclusion { key, value, because })
}

/// A shard has one journal write in flight: the smallest block that nearly saturates the disk keeps rounds short.
fn journal_block(samples: &[Sample]) -> Option<Conclusion> {
    let writes = || samples.iter().filter(|sample| sample.work == Work::DurableWrite && sample.depth == 1);
    let best = best(writes())?;
    let enough = writes().filter(|sample| typical(sample) >= best * ENOUGH).min_by_key(|sample| sample.bytes)?;
    let because = format!(
        "The smallest durable write that reaches {:.0} % of the best: {:.0} of {best:.0} MB/s at the median, p99 {} us.",
        ENOUGH * 100.0,
        typical(enough),
        enough.p99_us
    );
    bounded("odradek.journal.block.bytes", enough.bytes as i64, because)
}

/// Past the journal a partition pays a write of its own: worth it where the fixed price of a write no longer counts.
fn bypass(samples: &[Sample]) -> Option<Conclusion> {
    let mut writes: Vec<&Sample> = samples.iter().filter(|sample| sample.work == Work::DurableWrite && sample.depth == 1).collect();
    writes.sort_by_key(|sample| sample.bytes);
    let fixed = writes.first()?.p50_us.max(1);
    let large = writes.iter().find(|sample| sample.p50_us >= fixed * FIXED_PRICE_SHARE).or(writes.last())?;
    let because = format!(
        "A durable write of this size takes {} us, one of {} bytes {fixed} us: from here on writing a partition's bytes once, past the journal, is cheaper.",
        large.p50_us, writes[0].bytes
    );
    bounded("odradek.bypass.bytes", large.bytes as i64, because)
}

/// What read-ahead has where neither it nor `odradek.memory.bytes` is set.
const READ_AHEAD_DEFAULT_BYTES: i64 = 16 << 20;

/// Room for as many sequential readers as saturate the disk: what each is given now and what it gets next.
fn read_ahead(samples: &[Sample]) -> Option<Conclusion> {
    let reads = || samples.iter().filter(|sample| sample.work == Work::Read && sample.bytes == SEQUENTIAL_READ_BYTES);
    let best = best(reads())?;
    let enough = reads().filter(|sample| typical(sample) >= best * ENOUGH).min_by_key(|sample| sample.depth)?;
    let needed = (2 * enough.depth * SEQUENTIAL_READ_BYTES) as i64;
    let key = "odradek.read.ahead.bytes";
    let because = format!(
        "{} reads of 1 MiB at once reach {:.0} of {best:.0} MB/s at the median: two such stretches for each reader, and no less than the default.",
        enough.depth,
        typical(enough)
    );
    bounded(key, needed.max(READ_AHEAD_DEFAULT_BYTES), because)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(work: Work, bytes: usize, depth: usize, p50_us: u64) -> Sample {
        // The mean of a run that something disturbed: it must not count.
        Sample { work, bytes, depth, p50_us, p99_us: p50_us * 2, megabytes_per_second: 1.0 + (bytes % 7) as f64 }
    }

    fn value(samples: &[Sample], key: &str) -> Option<i64> {
        conclude(samples).into_iter().find(|conclusion| conclusion.key == key).map(|conclusion| conclusion.value)
    }

    #[test]
    fn a_fast_disk_with_a_dear_doorbell() {
        let samples = [
            sample(Work::DurableWrite, 4 << 10, 1, 80),
            sample(Work::DurableWrite, 256 << 10, 1, 138),
            sample(Work::DurableWrite, 1 << 20, 1, 520),
            sample(Work::DurableWrite, 4 << 20, 1, 2120),
            sample(Work::DurableWrite, 256 << 10, 4, 500),
        ];
        assert_eq!(
            value(&samples, "odradek.journal.block.bytes"),
            Some(256 << 10),
            "1900 is over 90 % of 2016; depth 4 is not the journal's"
        );
        assert_eq!(value(&samples, "odradek.bypass.bytes"), Some(1 << 20), "520 us is five times 80 us");
        assert_eq!(value(&samples, "odradek.read.ahead.bytes"), None, "nothing was read");
    }

    #[test]
    fn a_disk_that_is_as_fast_small_as_large_stays_within_the_settings() {
        let samples = [sample(Work::DurableWrite, 4 << 10, 1, 10), sample(Work::DurableWrite, 64 << 10, 1, 160)];
        assert_eq!(value(&samples, "odradek.journal.block.bytes"), Some(64 << 10), "not less than the setting allows");
        assert_eq!(value(&samples, "odradek.bypass.bytes"), Some(64 << 10));
    }

    #[test]
    fn read_ahead_grows_with_the_readers_a_disk_can_feed() {
        let reads = |enough: usize| -> Vec<Sample> {
            [1, 4, 16, 32].map(|depth| sample(Work::Read, 1 << 20, depth, depth as u64 * if depth >= enough { 150 } else { 1000 })).to_vec()
        };
        assert_eq!(value(&reads(1), "odradek.read.ahead.bytes"), Some(16 << 20), "the default");
        assert_eq!(value(&reads(32), "odradek.read.ahead.bytes"), Some(64 << 20));
        assert_eq!(value(&[], "odradek.journal.block.bytes"), None);
    }
}
