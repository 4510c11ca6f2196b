//! The CPU cores that this process may run on, and their NUMA nodes.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// One logical CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Core {
    pub id: core_affinity::CoreId,
    pub numa_node: Option<u32>,
}

/// The CPUs of this process's affinity mask, in order.
pub fn cores() -> Vec<Core> {
    let ids = core_affinity::get_core_ids().unwrap_or_default();
    ids.into_iter().map(|id| Core { id, numa_node: numa_node(Path::new("/sys/devices/system/cpu"), id.id) }).collect()
}

/// The kernel links each CPU to its node as `cpuN/nodeM` (Documentation/ABI/stable/sysfs-devices-node).
fn numa_node(cpus: &Path, cpu: usize) -> Option<u32> {
    let entries = std::fs::read_dir(cpus.join(format!("cpu{cpu}"))).ok()?;
    entries.flatten().find_map(|entry| entry.file_name().to_str()?.strip_prefix("node")?.parse().ok())
}

/// Whether the machine has more than one NUMA node; on a machine with one there is nothing to prefer.
pub fn several_numa_nodes(cores: &[Core]) -> bool {
    let online = std::fs::read_to_string("/sys/devices/system/node/online").unwrap_or_default();
    online.trim().contains(['-', ',']) || cores.windows(2).any(|pair| pair[0].numa_node != pair[1].numa_node)
}

/// Says what the shards on `cores` have on another NUMA node, and what to do about it.
pub fn warn_of_remote(cores: &[Core], directories: &[PathBuf]) {
    let nodes: BTreeSet<u32> = cores.iter().filter_map(|core| core.numa_node).collect();
    let root = odradek_tune::Root::new("/");
    let directories: Vec<PathBuf> = directories.iter().map(|path| std::path::absolute(path).unwrap_or_else(|_| path.clone())).collect();
    for line in odradek_tune::remote::remote(&root, &odradek_tune::machine::Machine::read(&root), &nodes, &directories) {
        tracing::warn!("{line}; `odradek tune plan` makes one node per NUMA node");
    }
}

/// Runs `work` on the CPUs that no shard is pinned to, where there are any: threads that it makes stay there.
pub fn beside_shards<T>(cores: &[Core], shards: usize, work: impl FnOnce() -> T) -> T {
    let rest = cores.get(shards..).unwrap_or_default();
    let before = sched_getaffinity(None);
    let (false, Ok(before)) = (rest.is_empty(), before) else { return work() };
    let mut cpus = CpuSet::new();
    for core in rest.iter().filter(|core| core.id.id < CpuSet::MAX_CPU) {
        cpus.set(core.id.id);
    }
    // Not being allowed to is no fault: the work then runs between the shards, as it does where no core is left.
    let _ = sched_setaffinity(None, &cpus);
    let result = work();
    let _ = sched_setaffinity(None, &before);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_node_of_a_cpu_is_read_from_its_directory() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("cpu3/node1")).unwrap();
        std::fs::create_dir_all(dir.path().join("cpu4/cache")).unwrap();
        assert_eq!(numa_node(dir.path(), 3), Some(1));
        assert_eq!(numa_node(dir.path(), 4), None);
        assert_eq!(numa_node(dir.path(), 5), None);
    }

    #[test]
    fn threads_made_beside_the_shards_stay_there() {
        let cores = cores();
        let count = |set: CpuSet| set.count() as usize;
        let before = count(sched_getaffinity(None).unwrap());
        let inside = beside_shards(&cores, cores.len() - 1, || std::thread::spawn(|| sched_getaffinity(None).unwrap()).join().unwrap());
        assert_eq!(count(inside), 1);
        assert_eq!(count(sched_getaffinity(None).unwrap()), before, "the caller's own CPUs are restored");
        assert_eq!(count(beside_shards(&cores, cores.len(), || sched_getaffinity(None).unwrap())), before, "no core is left: no change");
    }

    #[test]
    fn this_machine_has_cores() {
        assert!(!cores().is_empty());
    }
}
