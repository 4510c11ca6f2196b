//! Machines made up as trees of `/proc` and `/sys`.

// Each test binary uses its own part of this file.
#![allow(dead_code)]

use odradek_tune::Root;
use odradek_tune::cpu_list::{self, Cpus};
use std::path::Path;
use tempfile::TempDir;

/// A machine that is being described. NUMA nodes have equally many CPUs.
pub struct MadeUp {
    dir: TempDir,
    pub numa: u32,
    cores: u32,
    threads: u32,
    next_irq: u32,
}

impl MadeUp {
    /// `numa` nodes of `cores` physical cores with `threads` threads each, numbered as Linux numbers them on most servers:
    /// first threads of all cores first. Everything else is as wanted.
    pub fn new(numa: u32, cores: u32, threads: u32) -> Self {
        let made = Self { dir: tempfile::tempdir().unwrap(), numa, cores, threads, next_irq: 100 };
        made.cpus();
        made.defaults();
        made
    }

    pub fn root(&self) -> Root {
        Root::new(self.dir.path())
    }

    /// A file of the machine; directories are made.
    pub fn file(&self, path: &str, text: impl AsRef<str>) -> &Self {
        let path = self.dir.path().join(path.trim_start_matches('/'));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, format!("{}\n", text.as_ref())).unwrap();
        self
    }

    pub fn read(&self, path: &str) -> String {
        self.root().read(path).unwrap_or_else(|| panic!("{path} is missing"))
    }

    fn link(&self, from: &str, to: &str) {
        let from = self.dir.path().join(from.trim_start_matches('/'));
        std::fs::create_dir_all(from.parent().unwrap()).unwrap();
        let up = "../".repeat(from.strip_prefix(self.dir.path()).unwrap().components().count() - 1);
        std::os::unix::fs::symlink(Path::new(&up).join(to.trim_start_matches('/')), from).unwrap();
    }

    /// The CPUs of a NUMA node.
    pub fn cpus_of(&self, node: u32) -> Cpus {
        let all = self.numa * self.cores;
        (0..self.threads).flat_map(|thread| (0..self.cores).map(move |core| thread * all + node * self.cores + core)).collect()
    }

    fn cpus(&self) {
        let all = self.numa * self.cores;
        self.file("/sys/devices/system/cpu/online", format!("0-{}", all * self.threads - 1));
        for node in 0..self.numa {
            self.file(&format!("/sys/devices/system/node/node{node}/cpulist"), cpu_list::format(&self.cpus_of(node)));
            let memory = format!("Node {node} MemTotal:       67108864 kB\nNode {node} MemFree:        60000000 kB");
            self.file(&format!("/sys/devices/system/node/node{node}/meminfo"), memory);
        }
        for cpu in 0..all * self.threads {
            let siblings: Cpus = (0..self.threads).map(|thread| thread * all + cpu % all).collect();
            let at = format!("/sys/devices/system/cpu/cpu{cpu}");
            self.file(&format!("{at}/topology/thread_siblings_list"), cpu_list::format(&siblings));
            self.file(&format!("{at}/cpufreq/scaling_governor"), "performance");
            for (state, name, latency) in [(0, "POLL", "0"), (1, "C1", "2"), (2, "C6", "170")] {
                self.file(&format!("{at}/cpuidle/state{state}/name"), name);
                self.file(&format!("{at}/cpuidle/state{state}/latency"), latency);
                self.file(&format!("{at}/cpuidle/state{state}/disable"), if state == 2 { "1" } else { "0" });
            }
        }
    }

    fn defaults(&self) {
        for (path, text) in [
            ("/sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc"),
            ("/sys/devices/system/clocksource/clocksource0/available_clocksource", "tsc hpet acpi_pm"),
            ("/sys/devices/system/cpu/vulnerabilities/meltdown", "Not affected"),
            ("/sys/devices/system/cpu/vulnerabilities/retbleed", "Mitigation: IBRS"),
            ("/sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never"),
            ("/sys/kernel/mm/transparent_hugepage/defrag", "always defer defer+madvise [madvise] never"),
            ("/proc/sys/kernel/numa_balancing", "0"),
            ("/proc/sys/kernel/io_uring_disabled", "0"),
            ("/proc/sys/vm/zone_reclaim_mode", "0"),
            ("/proc/sys/vm/swappiness", "1"),
            ("/proc/sys/vm/max_map_count", "1048576"),
            ("/proc/sys/fs/nr_open", "1048576"),
            ("/proc/sys/net/core/busy_poll", "0"),
            ("/proc/sys/net/core/somaxconn", "4096"),
            ("/proc/sys/net/core/netdev_max_backlog", "5000"),
            ("/proc/sys/net/core/rmem_max", "16777216"),
            ("/proc/sys/net/core/wmem_max", "16777216"),
            ("/proc/sys/net/ipv4/tcp_max_syn_backlog", "4096"),
            ("/proc/sys/net/ipv4/tcp_rmem", "4096\t131072\t16777216"),
            ("/proc/sys/net/ipv4/tcp_wmem", "4096\t16384\t16777216"),
            ("/proc/sys/net/ipv4/tcp_slow_start_after_idle", "0"),
            ("/proc/swaps", "Filename\tType\tSize\tUsed\tPriority"),
            ("/proc/1/comm", "systemd"),
            ("/proc/self/mountinfo", "27 1 259:2 / / rw,noatime shared:1 - ext4 /dev/root rw"),
            (
                "/proc/self/limits",
                "Limit                     Soft Limit           Hard Limit           Units\n\
                 Max open files            1048576              1048576              files\n\
                 Max locked memory         unlimited            unlimited            bytes",
            ),
        ] {
            self.file(path, text);
        }
    }

    /// A network card on a NUMA node with as many queues; its interrupts lie one by one on the first CPUs of the node.
    pub fn card(&mut self, name: &str, node: i32, queues: u32) -> &Self {
        let function = format!("/sys/devices/pci0000:{:02x}/0000:{:02x}:00.0", self.next_irq, self.next_irq);
        self.file(&format!("{function}/numa_node"), node.to_string());
        self.link(&format!("/sys/class/net/{name}"), &format!("{function}/net/{name}"));
        self.file(&format!("{function}/net/{name}/mtu"), "1500");
        self.link(&format!("{function}/net/{name}/device"), &function);
        let cpus: Vec<u32> = self.cpus_of(node.max(0) as u32).into_iter().collect();
        for queue in 0..queues {
            let at = format!("{function}/net/{name}/queues");
            self.file(&format!("{at}/rx-{queue}/rps_cpus"), "0");
            self.file(&format!("{at}/tx-{queue}/xps_cpus"), cpu_list::format_mask(&Cpus::from([cpus[queue as usize % cpus.len()]])));
            self.interrupt(&function, cpus[queue as usize % cpus.len()]);
        }
        self
    }

    /// An NVMe drive with a queue per CPU of the machine, mounted as xfs.
    pub fn nvme(&mut self, name: &str, node: i32, mounted: &str) -> &Self {
        let function = format!("/sys/devices/pci0000:{:02x}/0000:{:02x}:00.0", self.next_irq, self.next_irq);
        let disk = format!("{function}/nvme/{name}c/{name}");
        self.file(&format!("{function}/numa_node"), node.to_string());
        for (file, text) in [("scheduler", "[none] mq-deadline"), ("rq_affinity", "2"), ("write_cache", "write through")] {
            self.file(&format!("{disk}/queue/{file}"), text);
        }
        self.file(&format!("{disk}/{name}p1/partition"), "1");
        self.link(&format!("{disk}/device"), &format!("{function}/nvme/{name}c"));
        self.link(&format!("/sys/block/{name}"), &disk);
        self.link(&format!("/sys/class/block/{name}"), &disk);
        self.link(&format!("/sys/class/block/{name}p1"), &format!("{disk}/{name}p1"));
        for cpu in 0..self.numa * self.cores * self.threads {
            self.interrupt(&function, cpu);
        }
        let mounts = format!("{}\n40 27 259:1 / {mounted} rw,noatime - xfs /dev/{name}p1 rw", self.read("/proc/self/mountinfo"));
        self.file("/proc/self/mountinfo", mounts)
    }

    fn interrupt(&mut self, function: &str, cpu: u32) {
        let irq = self.next_irq;
        self.next_irq += 1;
        self.file(&format!("{function}/msi_irqs/{irq}"), "msix");
        self.file(&format!("/proc/irq/{irq}/smp_affinity_list"), cpu.to_string());
        self.file(&format!("/proc/irq/{irq}/effective_affinity_list"), cpu.to_string());
    }
}
