//! What the machine consists of: NUMA nodes, cores, network cards, disks, and which is near which.

use crate::cpu_list::{self, Cpus};
use crate::root::Root;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Directories that are climbed from a device to the one that knows its NUMA node: namespace, controller, PCI function, bridges.
const ANCESTORS_MAX: usize = 16;

/// One NUMA node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NumaNode {
    pub id: u32,
    pub cpus: Cpus,
    pub memory_bytes: u64,
}

/// One physical core: the CPUs (hardware threads) that share it, in order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PhysicalCore {
    pub threads: Vec<u32>,
}

/// A network card or a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    pub name: String,
    /// The NUMA node it hangs on; nothing where the firmware does not say.
    pub numa_node: Option<u32>,
    /// Its message-signalled interrupts, in order.
    pub interrupts: Vec<u32>,
}

/// What the kernel reports of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    pub nodes: Vec<NumaNode>,
    pub cores: Vec<PhysicalCore>,
    pub network: Vec<Device>,
    pub disks: Vec<Device>,
}

impl Machine {
    pub fn read(root: &Root) -> Self {
        let online = root.read("/sys/devices/system/cpu/online").and_then(|text| cpu_list::parse(&text)).unwrap_or_default();
        let network = devices(root, "/sys/class/net", |name| root.exists(format!("/sys/class/net/{name}/device")));
        let disks = devices(root, "/sys/block", |name| is_disk(root, name));
        Self { nodes: numa_nodes(root, &online), cores: physical_cores(root, &online), network, disks }
    }

    pub fn cpus(&self) -> Cpus {
        self.nodes.iter().flat_map(|node| node.cpus.iter().copied()).collect()
    }

    /// The NUMA node of a CPU.
    pub fn node_of(&self, cpu: u32) -> Option<u32> {
        self.nodes.iter().find(|node| node.cpus.contains(&cpu)).map(|node| node.id)
    }

    /// The CPUs near a device: its NUMA node's, or all where that is not known.
    pub fn near(&self, device: &Device) -> Cpus {
        let node = self.nodes.iter().find(|node| Some(node.id) == device.numa_node);
        node.map_or_else(|| self.cpus(), |node| node.cpus.clone())
    }

    /// The physical cores of a NUMA node, by their first thread.
    pub fn cores_of(&self, node: &NumaNode) -> Vec<PhysicalCore> {
        self.cores.iter().filter(|core| core.threads.iter().all(|thread| node.cpus.contains(thread))).cloned().collect()
    }
}

fn numa_nodes(root: &Root, online: &Cpus) -> Vec<NumaNode> {
    const NODES: &str = "/sys/devices/system/node";
    let mut nodes = Vec::new();
    for name in root.names(NODES) {
        let Some(id) = name.strip_prefix("node").and_then(|id| id.parse().ok()) else { continue };
        let cpus = root.read(format!("{NODES}/{name}/cpulist")).and_then(|text| cpu_list::parse(&text)).unwrap_or_default();
        // Nodes of memory alone (CXL, high-bandwidth memory) run nothing.
        if cpus.is_empty() {
            continue;
        }
        let memory = root.read(format!("{NODES}/{name}/meminfo")).and_then(|text| kilobytes(&text, "MemTotal:"));
        nodes.push(NumaNode { id, cpus, memory_bytes: memory.unwrap_or(0) });
    }
    // A kernel without NUMA has no such directory: the machine is one node.
    if nodes.is_empty() && !online.is_empty() {
        let memory = root.read("/proc/meminfo").and_then(|text| kilobytes(&text, "MemTotal:"));
        nodes.push(NumaNode { id: 0, cpus: online.clone(), memory_bytes: memory.unwrap_or(0) });
    }
    nodes
}

/// The value of a line such as `Node 0 MemTotal: 1234 kB`, in bytes.
fn kilobytes(text: &str, label: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.contains(label))?;
    let number: u64 = line.split(label).nth(1)?.split_whitespace().next()?.parse().ok()?;
    number.checked_mul(1024)
}

fn physical_cores(root: &Root, online: &Cpus) -> Vec<PhysicalCore> {
    let mut cores = BTreeSet::new();
    for &cpu in online {
        let siblings = root.read(format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"));
        let mut threads: Cpus = siblings.and_then(|text| cpu_list::parse(&text)).unwrap_or_default();
        threads.retain(|thread| online.contains(thread));
        threads.insert(cpu);
        cores.insert(PhysicalCore { threads: threads.into_iter().collect() });
    }
    cores.into_iter().collect()
}

fn devices(root: &Root, class: &str, wanted: impl Fn(&str) -> bool) -> Vec<Device> {
    let names = root.names(class).into_iter().filter(|name| wanted(name));
    names
        .map(|name| {
            let device = format!("{class}/{name}/device");
            let at = root.resolve(&device).or_else(|| root.resolve(format!("{class}/{name}")));
            let ancestors: Vec<PathBuf> = at.iter().flat_map(|at| at.ancestors().take(ANCESTORS_MAX)).map(Path::to_path_buf).collect();
            let numa_node = ancestors.iter().find_map(|at| root.number(at.join("numa_node"))).and_then(|node| u32::try_from(node).ok());
            let interrupts = ancestors.iter().map(|at| root.names(at.join("msi_irqs"))).find(|irqs| !irqs.is_empty()).unwrap_or_default();
            let mut interrupts: Vec<u32> = interrupts.iter().filter_map(|irq| irq.parse().ok()).collect();
            interrupts.sort_unstable();
            Device { name, numa_node, interrupts }
        })
        .collect()
}

/// Real disks: no loop devices, RAM disks, or optical drives.
fn is_disk(root: &Root, name: &str) -> bool {
    let virtual_names = ["loop", "ram", "zram", "sr", "fd", "dm-", "md"];
    !virtual_names.iter().any(|start| name.starts_with(start)) && root.exists(format!("/sys/block/{name}/queue"))
}

/// A mounted file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    pub point: PathBuf,
    pub kind: String,
    pub source: String,
    /// Options of the mount and of the file system.
    pub options: Vec<String>,
}

impl Mount {
    /// The file system that `directory` is on, which need not exist yet (`proc_pid_mountinfo(5)`).
    pub fn of(root: &Root, directory: &Path) -> Option<Self> {
        let text = root.read("/proc/self/mountinfo")?;
        let mounts = text.lines().filter_map(Self::parse).filter(|mount| directory.starts_with(&mount.point));
        // Of two mounts on one point the later hides the earlier; `max_by_key` keeps the last of equals.
        mounts.max_by_key(|mount| mount.point.components().count())
    }

    fn parse(line: &str) -> Option<Self> {
        let (left, right) = line.split_once(" - ")?;
        let left: Vec<&str> = left.split(' ').collect();
        let mut right = right.split(' ');
        let (kind, source, of_file_system) = (right.next()?, right.next()?, right.next().unwrap_or(""));
        let options = left.get(5)?.split(',').chain(of_file_system.split(','));
        Some(Self {
            point: PathBuf::from(left.get(4)?.replace("\\040", " ")),
            kind: kind.into(),
            source: source.into(),
            options: options.filter(|option| !option.is_empty()).map(str::to_owned).collect(),
        })
    }

    /// The disks below it: a partition's disk, and what a RAID or a mapped device consists of.
    pub fn disks(&self, root: &Root, machine: &Machine) -> Vec<Device> {
        let Some(name) = self.source.strip_prefix("/dev/") else { return Vec::new() };
        // `/dev/mapper/x` is a link to `/dev/dm-0`.
        let name = root.resolve(&self.source).and_then(|path| Some(path.file_name()?.to_str()?.to_owned())).unwrap_or_else(|| name.into());
        let names = disks_below(root, &name, 0);
        machine.disks.iter().filter(|disk| names.contains(&disk.name)).cloned().collect()
    }
}

/// Layers of mapped devices that are followed.
const LAYERS_MAX: usize = 8;

fn disks_below(root: &Root, name: &str, layer: usize) -> Vec<String> {
    let at = format!("/sys/class/block/{name}");
    let parts = root.names(format!("{at}/slaves"));
    if !parts.is_empty() && layer < LAYERS_MAX {
        return parts.iter().flat_map(|part| disks_below(root, part, layer + 1)).collect();
    }
    let real = root.resolve(&at);
    let disk = real.as_deref().and_then(|at| if root.exists(at.join("partition")) { at.parent() } else { Some(at) });
    disk.and_then(|disk| Some(disk.file_name()?.to_str()?.to_owned())).into_iter().collect()
}
