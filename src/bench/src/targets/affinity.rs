//! On which CPUs a child runs: it inherits them from the thread that starts it.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// A list like `0,2-5`.
pub fn parse(text: &str) -> Result<Vec<usize>, String> {
    let bad = || format!("'{text}' is no list of CPUs like 0,2-5");
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |n: &str| n.trim().parse::<usize>().ok().filter(|&n| n < CpuSet::MAX_CPU);
        let (first, last) = number(first).zip(number(last)).ok_or_else(bad)?;
        if first > last {
            return Err(bad());
        }
        cpus.extend(first..=last);
    }
    cpus.sort_unstable();
    cpus.dedup();
    Ok(cpus)
}

/// CPUs on which this process may run.
pub fn allowed() -> std::io::Result<Vec<usize>> {
    let set = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).collect())
}

/// As [`parse`] reads it.
pub fn list(cpus: &[usize]) -> String {
    cpus.iter().map(usize::to_string).collect::<Vec<_>>().join(",")
}

/// Runs `start` on these CPUs and goes back to the former ones.
pub fn on<T>(cpus: Option<&[usize]>, start: impl FnOnce() -> std::io::Result<T>) -> std::io::Result<T> {
    let Some(cpus) = cpus else { return start() };
    let before = sched_getaffinity(None)?;
    let mut set = CpuSet::new();
    cpus.iter().for_each(|&cpu| set.set(cpu));
    sched_setaffinity(None, &set)?;
    let started = start();
    sched_setaffinity(None, &before)?;
    started
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        assert_eq!(parse("3").unwrap(), [3]);
        assert_eq!(parse("5,0, 2-3,3").unwrap(), [0, 2, 3, 5]);
        for text in ["", "a", "3-1", "1,", "99999", "-1"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_child_runs_where_it_is_told() {
        let before = sched_getaffinity(None).unwrap();
        let first = (0..CpuSet::MAX_CPU).find(|&cpu| before.is_set(cpu)).unwrap();
        let output = on(Some(&[first]), || std::process::Command::new("cat").arg("/proc/self/status").output()).unwrap();
        let status = String::from_utf8(output.stdout).unwrap();
        let allowed = status.lines().find_map(|l| l.strip_prefix("Cpus_allowed_list:")).unwrap();
        assert_eq!(allowed.trim(), first.to_string());
        assert_eq!(sched_getaffinity(None).unwrap(), before);
    }
}
