//! How much memory there is, and what the allocator keeps of it.

use std::path::Path;

/// Gives memory that this thread has freed back to the system (`mi_collect`). A start reads and sorts much more than it keeps, and mimalloc
/// gives pages back only when its thread goes on allocating, which an idle shard does not.
pub fn give_back() {
    // SAFETY: it takes no pointer, and looks at the calling thread's own heaps.
    unsafe { libmimalloc_sys::mi_collect(true) };
}

/// Bytes of memory that this process may have: the machine's, or less where a control group (a container, a unit with `MemoryMax=`) says so.
/// `None` where neither can be read.
pub fn available_bytes() -> Option<u64> {
    available_below(Path::new("/"))
}

fn available_below(root: &Path) -> Option<u64> {
    let read = |path: &Path| std::fs::read_to_string(path).ok();
    let machine = read(&root.join("proc/meminfo")).and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
    });
    // Version 2 of control groups; each group on the way to the root may have a bound. `max` is none.
    let group = read(&root.join("proc/self/cgroup")).and_then(|text| {
        let own = text.lines().find_map(|line| line.strip_prefix("0::/"))?.to_owned();
        let bounds = Path::new(&own).ancestors().filter_map(|group| {
            let text = read(&root.join("sys/fs/cgroup").join(group).join("memory.max"))?;
            text.trim().parse::<u64>().ok()
        });
        bounds.min()
    });
    machine.into_iter().chain(group).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_bound_on_the_way_to_the_root_counts() {
        let root = tempfile::tempdir().unwrap();
        let file = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        assert_eq!(available_below(root.path()), None);
        file("proc/meminfo", "MemTotal:       2048 kB\nMemFree:  7 kB\n");
        assert_eq!(available_below(root.path()), Some(2048 * 1024));
        file("proc/self/cgroup", "0::/system.slice/odradek.service\n");
        file("sys/fs/cgroup/system.slice/odradek.service/memory.max", "max\n");
        assert_eq!(available_below(root.path()), Some(2048 * 1024));
        file("sys/fs/cgroup/system.slice/memory.max", "1000000\n");
        assert_eq!(available_below(root.path()), Some(1_000_000));
    }
}
