//! The text of one scrape: what the shards tell, the budget, the file systems, the process.

use odradek_shard::config::NodeConfig;
use odradek_shard::memory::Part;
use odradek_shard::metrics::{Kind, Metrics, OF_DIRECTORY, SCALARS};
use odradek_wire::api;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a scrape waits for shards that are busy; what they said last is told then.
const SHARDS_WAIT_MAX: Duration = Duration::from_secs(2);
const SHARDS_LOOK: Duration = Duration::from_millis(1);
/// Clock ticks per second in `/proc` (`USER_HZ`), the same on every architecture that Linux runs on here.
const TICKS_PER_SECOND: f64 = 100.0;

/// Asks the shards and puts everything into text.
pub fn text(config: &Arc<NodeConfig>) -> String {
    let Some(metrics) = config.metrics.clone() else { return String::new() };
    let answered = ask(&metrics);
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape { config: config.clone(), metrics, answered }));
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = prometheus_client::encoding::text::encode(&mut text, &registry);
    text
}

/// Which shards have told fresh values.
fn ask(metrics: &Metrics) -> Vec<bool> {
    let before: Vec<u64> = metrics.shards().iter().map(|told| told.times()).collect();
    metrics.shards().iter().for_each(|told| told.ask());
    let deadline = Instant::now() + SHARDS_WAIT_MAX;
    loop {
        let answered: Vec<bool> = metrics.shards().iter().zip(&before).map(|(told, before)| told.times() > *before).collect();
        if answered.iter().all(|answered| *answered) || Instant::now() >= deadline {
            return answered;
        }
        std::thread::sleep(SHARDS_LOOK);
    }
}

struct Scrape {
    config: Arc<NodeConfig>,
    metrics: Metrics,
    answered: Vec<bool>,
}

impl fmt::Debug for Scrape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scrape")
    }
}

/// Writes the values of one metric.
struct Family<'a>(MetricEncoder<'a>);

impl Family<'_> {
    fn counter(&mut self, labels: &[(&str, &str)], value: u64) -> fmt::Result {
        self.0.encode_family(&labels)?.encode_counter::<NoLabelSet, u64, f64>(&value, None)
    }

    fn gauge(&mut self, labels: &[(&str, &str)], value: u64) -> fmt::Result {
        self.0.encode_family(&labels)?.encode_gauge(&(value as f64))
    }
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let shards: Vec<String> = (0..self.metrics.shards().len()).map(|shard| shard.to_string()).collect();
        self.shards(&mut encoder, &shards)?;
        self.memory(&mut encoder, &shards)?;
        self.directories(&mut encoder, &shards)?;
        process(&mut encoder)
    }
}

fn gauge<'a>(encoder: &'a mut DescriptorEncoder<'_>, name: &'a str, help: &'a str) -> Result<Family<'a>, fmt::Error> {
    encoder.encode_descriptor(name, help.trim_end_matches('.'), None, MetricType::Gauge).map(Family)
}

fn counter<'a>(encoder: &'a mut DescriptorEncoder<'_>, name: &'a str, help: &'a str) -> Result<Family<'a>, fmt::Error> {
    encoder.encode_descriptor(name, help.trim_end_matches('.'), None, MetricType::Counter).map(Family)
}

impl Scrape {
    fn shards(&self, encoder: &mut DescriptorEncoder<'_>, shards: &[String]) -> fmt::Result {
        let mut family = gauge(encoder, "odradek_shard_answered", "1 when the shard told fresh values for this scrape.")?;
        for (shard, answered) in shards.iter().zip(&self.answered) {
            family.gauge(&[("shard", shard)], u64::from(*answered))?;
        }
        for (at, row) in SCALARS.iter().enumerate() {
            let mut family = match row.kind {
                Kind::Counter => counter(encoder, row.name, row.help)?,
                Kind::Gauge => gauge(encoder, row.name, row.help)?,
            };
            for (shard, told) in shards.iter().zip(self.metrics.shards()) {
                match row.kind {
                    Kind::Counter => family.counter(&[("shard", shard)], told.scalar(at))?,
                    Kind::Gauge => family.gauge(&[("shard", shard)], told.scalar(at))?,
                }
            }
        }
        let mut family = counter(encoder, "odradek_requests", "Requests by API.")?;
        for (shard, told) in shards.iter().zip(self.metrics.shards()) {
            for (at, range) in api::SUPPORTED.iter().enumerate() {
                family.counter(&[("shard", shard), ("api", api::name(range.key))], told.requests(at))?;
            }
        }
        Ok(())
    }

    fn memory(&self, encoder: &mut DescriptorEncoder<'_>, shards: &[String]) -> fmt::Result {
        let mut family = gauge(encoder, "odradek_memory_used_bytes", "Memory in use, by part of the budget (docs/MEMORY.md).")?;
        for (shard, told) in shards.iter().zip(self.metrics.shards()) {
            for part in Part::ALL {
                family.gauge(&[("shard", shard), ("part", part.name())], told.memory(part))?;
            }
        }
        let mut family = gauge(encoder, "odradek_memory_limit_bytes", "Bound of a part of the budget.")?;
        for shard in shards {
            for part in Part::ALL {
                family.gauge(&[("shard", shard), ("part", part.name())], self.config.memory.bytes(part))?;
            }
        }
        gauge(encoder, "odradek_memory_budget_bytes", "Bound of all parts of all shards.")?.gauge(&[], self.config.memory.total_bytes())
    }

    fn directories(&self, encoder: &mut DescriptorEncoder<'_>, shards: &[String]) -> fmt::Result {
        let names: Vec<String> = self.config.log_dirs.iter().map(|directory| directory.display().to_string()).collect();
        for (at, row) in OF_DIRECTORY.iter().enumerate() {
            let mut family = gauge(encoder, row.name, row.help)?;
            for (shard, told) in shards.iter().zip(self.metrics.shards()) {
                for (directory, name) in names.iter().enumerate() {
                    family.gauge(&[("shard", shard), ("dir", name)], told.of_directory(directory, at))?;
                }
            }
        }
        let mut family = gauge(encoder, "odradek_log_dir_free_bytes", "Free bytes of the file system of a log directory.")?;
        for (directory, name) in self.config.log_dirs.iter().zip(&names) {
            if let Ok(stat) = rustix::fs::statvfs(directory) {
                family.gauge(&[("dir", name)], stat.f_bavail * stat.f_frsize)?;
            }
        }
        Ok(())
    }
}

/// Names as every Prometheus client library has them.
fn process(encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    if let Some(kib) = resident_kib(&read("/proc/self/status")) {
        gauge(encoder, "process_resident_memory_bytes", "Resident memory of the process.")?.gauge(&[], kib * 1024)?;
    }
    if let Some(ticks) = cpu_ticks(&read("/proc/self/stat")) {
        let mut family = counter(encoder, "process_cpu_seconds", "CPU time of the process, user and system.")?;
        family.0.encode_counter::<NoLabelSet, f64, f64>(&(ticks as f64 / TICKS_PER_SECOND), None)?;
    }
    if let Ok(descriptors) = std::fs::read_dir(Path::new("/proc/self/fd")) {
        gauge(encoder, "process_open_fds", "Open file descriptors.")?.gauge(&[], descriptors.count() as u64)?;
    }
    Ok(())
}

fn resident_kib(status: &str) -> Option<u64> {
    status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.split_whitespace().next()?.parse().ok()
}

/// Fields 14 and 15 of `proc_pid_stat(5)`; the second field, a name, may hold anything but ends with the last parenthesis.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(next()? + next()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_proc_says_is_understood() {
        assert_eq!(resident_kib("Name:\tx\nVmRSS:\t   41232 kB\n"), Some(41_232));
        let stat = "7 (a) b) S 1 7 7 0 -1 4194304 100 0 0 0 250 125 0 0 20 0 3 0 1 1 1";
        assert_eq!(cpu_ticks(stat), Some(375));
        assert_eq!((resident_kib(""), cpu_ticks("")), (None, None));
    }
}
