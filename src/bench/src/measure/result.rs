//! Results as they are shown, saved and compared.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Nearer to the generator's own limit than this, a run says little about the broker.
const LIMIT_SHARE_MAX: f64 = 0.8;

/// Latencies in milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    pub count: u64,
    pub mean_ms: f64,
    pub p50_ms: f64,
    pub p90_ms: f64,
    pub p99_ms: f64,
    pub p999_ms: f64,
    pub p9999_ms: f64,
    pub max_ms: f64,
}

impl Summary {
    /// Of a histogram in microseconds; `None` where it is empty.
    pub fn of(histogram: &Histogram<u64>) -> Option<Self> {
        let at = |quantile: f64| histogram.value_at_quantile(quantile) as f64 / 1e3;
        (!histogram.is_empty()).then(|| Self {
            count: histogram.len(),
            mean_ms: histogram.mean() / 1e3,
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            p9999_ms: at(0.9999),
            max_ms: histogram.max() as f64 / 1e3,
        })
    }
}

/// One window of measurement.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StepResult {
    pub seconds: f64,
    /// `None` in closed loop.
    pub offered_records_per_s: Option<f64>,
    pub requests_per_s: f64,
    pub records_per_s: f64,
    /// Megabytes of batches acknowledged.
    pub mb_per_s: f64,
    pub consumed_records_per_s: f64,
    pub consumed_mb_per_s: f64,
    pub produce: Option<Summary>,
    pub end_to_end: Option<Summary>,
    pub fetch: Option<Summary>,
    /// Open loop: records that were due and could not be sent, not even some seconds after the end.
    pub unsent_records: u64,
    /// Errors by Kafka's name.
    pub errors: BTreeMap<String, u64>,
}

/// One second of a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Second {
    pub at_s: f64,
    pub warm_up: bool,
    pub records_per_s: f64,
    pub mb_per_s: f64,
    pub consumed_mb_per_s: f64,
    pub produce_p99_ms: Option<f64>,
    pub end_to_end_p99_ms: Option<f64>,
    pub fetch_p99_ms: Option<f64>,
    /// Since the start.
    pub errors: u64,
}

/// What the audit found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditResult {
    pub records: u64,
    /// A checksum fails, of a value or of a batch, or the value is not one of the harness.
    pub damaged: u64,
    /// In another partition than it was sent to.
    pub misplaced: u64,
    /// A sequence seen before.
    pub duplicated: u64,
    /// A sequence that was skipped by a later one and came after it.
    pub reordered: u64,
    /// Sequences that never came: below the highest seen, or acknowledged.
    pub lost: u64,
}

impl AuditResult {
    pub fn is_clean(&self) -> bool {
        self.damaged + self.misplaced + self.duplicated + self.reordered + self.lost == 0
    }
}

/// What became of a consumer group.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct GroupResult {
    pub group: String,
    pub members: usize,
    /// Assignments that members got, over all generations.
    pub joins: u64,
    pub generations: u64,
    pub commits: u64,
    /// Commits that failed, by Kafka's name.
    pub commit_errors: BTreeMap<String, u64>,
    /// Longest time from the moment a member gave up its partitions to its next assignment.
    pub rebalance_ms_max: f64,
    /// Records that a member got although another one had them before, because that one could not commit them any more.
    pub redelivered: u64,
    /// Partitions whose committed offset at the end was not where their last member stopped.
    pub uncommitted_partitions: u64,
}

impl GroupResult {
    /// Commits may come too late for their generation, but the last one must stand.
    pub fn is_clean(&self) -> bool {
        const TOO_LATE: [&str; 3] = ["REBALANCE_IN_PROGRESS", "ILLEGAL_GENERATION", "UNKNOWN_MEMBER_ID"];
        self.uncommitted_partitions == 0 && self.commit_errors.keys().all(|e| TOO_LATE.contains(&e.as_str()))
    }
}

/// What a thread of the generator needed for itself, in the measured windows.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ThreadUse {
    /// Where it was pinned.
    pub core: Option<usize>,
    /// Share of the time in which it had something to do.
    pub busy: f64,
    pub cpu_s: f64,
    /// CPU time over time: less than `busy` where it had something to do and no core to do it on.
    pub cpu_share: f64,
    pub late_p99_ms: f64,
    pub lag_p99_ms: f64,
}

/// Full batches in closed loop against a peer that throws them away.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct GeneratorLimit {
    pub requests_per_s: f64,
    pub mb_per_s: f64,
}

/// What the generator needed for itself, in the measured windows.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct GeneratorUse {
    /// Share of the time in which its busiest thread had something to do.
    pub busy: f64,
    pub cpu_s: f64,
    /// How late it noticed that something was due, 99th percentile.
    pub late_p99_ms: f64,
    /// From one look at the sockets to the next where there was something to do, 99th percentile: an answer may have waited so long.
    #[serde(default)]
    pub lag_p99_ms: f64,
    /// It was the bottleneck: the broker may do better than the figures say.
    pub bottleneck: bool,
    /// What its producers could do over loopback, had there been nothing behind it.
    #[serde(default)]
    pub limit: Option<GeneratorLimit>,
    #[serde(default)]
    pub threads: Vec<ThreadUse>,
}

/// What a broker that the harness started used, in the measured windows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BrokerUse {
    /// From its start to the first answer.
    pub start_up_s: f64,
    pub cpu_s: f64,
    pub resident_mb: f64,
    pub resident_peak_mb: f64,
    pub written_mb: f64,
    pub context_switches: u64,
}

/// What two runs must share to be compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Checksum of the machine's id; tells machines apart without naming them.
    pub id: String,
    pub cpu: String,
    pub cores: usize,
    pub memory_mb: u64,
    pub kernel: String,
}

impl Machine {
    pub fn this() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            text.lines().find(|l| l.starts_with(name)).and_then(|l| l.split_once(':')).map_or(String::new(), |(_, v)| v.trim().to_owned())
        };
        // A container without a machine id still has a boot id; it changes with each boot, which only makes comparing stricter.
        let id = [read("/etc/machine-id"), read("/proc/sys/kernel/random/boot_id")].into_iter().find(|id| !id.trim().is_empty());
        let memory_kib = field(&read("/proc/meminfo"), "MemTotal").split(' ').next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
        Self {
            id: format!("{:08x}", crc32c::crc32c(id.unwrap_or_default().trim().as_bytes())),
            cpu: field(&read("/proc/cpuinfo"), "model name"),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_mb: memory_kib / 1024,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        }
    }
}

/// A run, as `--json` saves it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunResult {
    pub scenario: String,
    pub description: String,
    /// The scenario as it ran, with client properties and what shortened it.
    #[serde(default)]
    pub parameters: serde_json::Value,
    /// What was measured: an address, or what was started.
    pub target: String,
    pub command: String,
    pub harness_version: String,
    /// Milliseconds since the Unix epoch.
    pub started_ms: i64,
    pub machine: Machine,
    pub warm_up: StepResult,
    pub steps: Vec<StepResult>,
    pub seconds: Vec<Second>,
    /// Busy share of each core of the machine in the measured windows, whoever used it.
    #[serde(default)]
    pub core_busy: Vec<f64>,
    pub generator: GeneratorUse,
    pub broker: Option<BrokerUse>,
    pub audit: AuditResult,
    /// From EndTxn to its answer, of transactions that were committed in the measured windows.
    #[serde(default)]
    pub commit: Option<Summary>,
    /// Consumer groups, where consumers were members of real ones.
    #[serde(default)]
    pub groups: Vec<GroupResult>,
    /// Figures beside what `bench limits` found on this machine.
    #[serde(default)]
    pub limits: Vec<String>,
}

impl RunResult {
    /// No error anywhere and a clean audit.
    pub fn is_clean(&self) -> bool {
        self.audit.is_clean()
            && self.groups.iter().all(GroupResult::is_clean)
            && self.warm_up.errors.is_empty()
            && self.steps.iter().all(|s| s.errors.is_empty())
    }

    /// Puts the generator's own limit beside the figures; a run that comes near it was bounded by it.
    pub fn set_generator_limit(&mut self, limit: Option<GeneratorLimit>) {
        let near = limit.is_some_and(|l| self.last().mb_per_s > LIMIT_SHARE_MAX * l.mb_per_s);
        self.generator.bottleneck |= near;
        self.generator.limit = limit;
    }

    /// The step that counts where one has to stand for the run: the last.
    pub fn last(&self) -> &StepResult {
        self.steps.last().unwrap_or(&self.warm_up)
    }

    pub fn load(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
        serde_json::from_str(&text).map_err(|e| format!("{}: not a saved run: {e}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_in_milliseconds() {
        let mut histogram = Histogram::<u64>::new(3).unwrap();
        assert!(Summary::of(&histogram).is_none());
        for ms in 1..=1000 {
            histogram.record(ms * 1000).unwrap();
        }
        let summary = Summary::of(&histogram).unwrap();
        assert!((summary.p50_ms - 500.0).abs() < 2.0 && (summary.p99_ms - 990.0).abs() < 3.0, "{summary:?}");
        assert_eq!(summary.count, 1000);
    }

    #[test]
    fn a_machine_is_itself() {
        let machine = Machine::this();
        assert_eq!(machine, Machine::this());
        assert!(machine.cores > 0 && machine.memory_mb > 0 && !machine.kernel.is_empty());
    }
}
