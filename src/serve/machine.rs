//! The CPU cores that this process may run on, and their NUMA nodes.

use std::path::Path;

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
    fn this_machine_has_cores() {
        assert!(!cores().is_empty());
    }
}
