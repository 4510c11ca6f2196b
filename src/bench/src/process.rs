//! What a process used, by /proc.

use crate::measure::BrokerUse;
use std::path::PathBuf;
use std::time::Duration;

/// Clock ticks in a second as /proc counts them (USER_HZ), the same on every Linux that runs here.
const TICKS_PER_SECOND: f64 = 100.0;

/// A running process.
#[derive(Debug)]
pub struct Process {
    proc: PathBuf,
    start_up: Duration,
}

/// Counters at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Used {
    pub cpu_s: f64,
    pub written_bytes: u64,
    pub context_switches: u64,
}

impl Process {
    pub fn new(pid: u32, start_up: Duration) -> Self {
        Self { proc: PathBuf::from(format!("/proc/{pid}")), start_up }
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.proc.join(name)).unwrap_or_default()
    }

    /// Counters now; zero where the process is gone.
    pub fn used(&self) -> Used {
        // A thread that has ended takes its switches with it: brokers keep their threads.
        let threads = std::fs::read_dir(self.proc.join("task")).into_iter().flatten().flatten();
        let context_switches = threads
            .map(|t| std::fs::read_to_string(t.path().join("status")).unwrap_or_default())
            .map(|status| number(&status, "voluntary_ctxt_switches:") + number(&status, "nonvoluntary_ctxt_switches:"))
            .sum();
        Used { cpu_s: cpu_seconds(&self.read("stat")), written_bytes: number(&self.read("io"), "write_bytes:"), context_switches }
    }

    /// Used since `before`.
    pub fn since(&self, before: &Used) -> BrokerUse {
        let now = self.used();
        let status = self.read("status");
        let mb = |kib: u64| kib as f64 * 1024.0 / 1e6;
        BrokerUse {
            start_up_s: self.start_up.as_secs_f64(),
            cpu_s: now.cpu_s - before.cpu_s,
            resident_mb: mb(number(&status, "VmRSS:")),
            resident_peak_mb: mb(number(&status, "VmHWM:")),
            written_mb: now.written_bytes.saturating_sub(before.written_bytes) as f64 / 1e6,
            context_switches: now.context_switches.saturating_sub(before.context_switches),
        }
    }
}

/// Busy and all ticks of each core since the machine started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoreTimes(Vec<(u64, u64)>);

impl CoreTimes {
    pub fn now() -> Self {
        Self::parse(&std::fs::read_to_string("/proc/stat").unwrap_or_default())
    }

    fn parse(stat: &str) -> Self {
        let cores = stat.lines().filter(|l| l.starts_with("cpu") && !l.starts_with("cpu "));
        Self(
            cores
                .map(|line| {
                    // user nice system idle iowait irq softirq steal; guest times are in user already.
                    let ticks: Vec<u64> = line.split_whitespace().skip(1).take(8).filter_map(|n| n.parse().ok()).collect();
                    let idle: u64 = ticks.iter().skip(3).take(2).sum();
                    let all: u64 = ticks.iter().sum();
                    (all - idle, all)
                })
                .collect(),
        )
    }

    /// Busy share of each core since then.
    pub fn busy_since(&self, before: &Self) -> Vec<f64> {
        let share = |(now, before): (&(u64, u64), &(u64, u64))| {
            now.0.saturating_sub(before.0) as f64 / now.1.saturating_sub(before.1).max(1) as f64
        };
        self.0.iter().zip(&before.0).map(share).collect()
    }
}

/// The number behind a name at the start of a line.
fn number(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|l| l.strip_prefix(name));
    line.and_then(|l| l.split_whitespace().next()).and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// User and system time of `/proc/PID/stat`; the name in it may contain blanks and brackets.
fn cpu_seconds(stat: &str) -> f64 {
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    // Fields 14 and 15, counted from 1; the first after the name is the third.
    fields.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<f64>().ok()).sum::<f64>() / TICKS_PER_SECOND
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_files_are_understood() {
        let stat = "12 (a (b) c) S 1 1 1 0 -1 4194560 9 8 7 6 250 50 0 0 20 0 1 0 5 6 7";
        assert_eq!(cpu_seconds(stat), 3.0);
        assert_eq!(cpu_seconds(""), 0.0);
        assert_eq!(number("VmPeak:\t 7 kB\nVmRSS:\t  123 kB\n", "VmRSS:"), 123);
        assert_eq!(number("nonvoluntary_ctxt_switches:\t5\n", "voluntary_ctxt_switches:"), 0);
    }

    #[test]
    fn cores_are_busy_when_not_idle() {
        let before = CoreTimes::parse("cpu  9 9 9 9\ncpu0 10 0 10 70 10 0 0 0 5 5\ncpu1 0 0 0 100 0 0 0 0 0 0\nintr 5\n");
        let now = CoreTimes::parse("cpu0 20 0 20 80 10 5 5 0 5 5\ncpu1 0 0 0 200 0 0 0 0 0 0\n");
        assert_eq!(now.busy_since(&before), [0.75, 0.0]);
    }

    #[test]
    fn this_process_uses_something() {
        let own = Process::new(std::process::id(), Duration::from_millis(5));
        let before = own.used();
        assert!(before.context_switches > 0);
        let used = own.since(&before);
        assert!(used.resident_mb > 1.0 && used.resident_peak_mb >= used.resident_mb && used.start_up_s == 0.005);
    }
}
