//! One Odradek node per NUMA node: which cores, how much memory, which disks and network card, as files to be copied.

use crate::cpu_list::{self, Cpus};
use crate::machine::{Device, Machine, Mount, NumaNode};
use crate::root::Root;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

/// Physical cores of a NUMA node from which on one, and two, are kept free for the kernel, interrupts and the background plane.
const ONE_HOUSEKEEPER_FROM: usize = 3;
const TWO_HOUSEKEEPERS_FROM: usize = 24;

/// A quarter of the memory near a node holds recent batches; the rest is for journals, buffers and the page cache of everybody else.
const TAIL_CACHE_SHARE: u64 = 4;
const TAIL_CACHE_BYTES: std::ops::RangeInclusive<u64> = 64 << 20..=4 << 30;

/// Distance between the listener ports of two nodes: their shards' ports lie at the same distance, and a node has at most 1000 shards.
const PORT_STEP: u16 = 1000;

/// The most nodes whose ports fit: the last one's shards still end below 65536.
const NODES_MAX: usize = 32;

/// How the CPUs of a NUMA node are used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Division {
    /// One CPU per shard, each on a physical core of its own.
    pub shards: Cpus,
    /// For everything else; empty on small machines, where everything else runs between the shards.
    pub housekeeping: Cpus,
}

/// Divides the CPUs of a NUMA node: the last physical cores keep house, the first thread of each other one is a shard's.
pub fn divide(machine: &Machine, node: &NumaNode) -> Division {
    let cores = machine.cores_of(node);
    let housekeepers = match cores.len() {
        TWO_HOUSEKEEPERS_FROM.. => 2,
        ONE_HOUSEKEEPER_FROM.. => 1,
        _ => 0,
    };
    let (shards, rest) = cores.split_at(cores.len() - housekeepers);
    let shards: Cpus = shards.iter().map(|core| core.threads[0]).collect();
    // Shards take the CPUs of their process in order: a housekeeping CPU must not come before them.
    let last = shards.last().copied();
    let housekeeping = rest.iter().flat_map(|core| core.threads.iter().copied()).filter(|cpu| Some(*cpu) > last).collect();
    Division { shards, housekeeping }
}

/// What the operator decides.
#[derive(Debug, Clone)]
pub struct Wishes {
    /// Directories for data, one per disk or more; each goes to the NUMA node its disk is near.
    pub directories: Vec<PathBuf>,
    /// What clients are told to connect to.
    pub host: Option<String>,
    pub first_node_id: u32,
    pub first_port: u16,
}

/// One Odradek node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedNode {
    pub numa_node: u32,
    pub node_id: u32,
    pub port: u16,
    pub division: Division,
    pub memory_bytes: u64,
    pub tail_cache_bytes: u64,
    pub directories: Vec<PathBuf>,
    /// Network cards near it.
    pub network: Vec<String>,
    /// What lies on another NUMA node, in words.
    pub remote: Vec<String>,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PlanError {
    #[error("no CPUs are to be seen in /sys/devices/system/cpu; is /sys mounted?")]
    NoCpus,
    #[error("{0} NUMA nodes: their ports do not fit; the most is {NODES_MAX}")]
    TooManyNodes(usize),
    #[error("the ports of {nodes} nodes do not fit above {first}: give a --port of at most {most}")]
    Ports { nodes: usize, first: u16, most: u16 },
}

/// Divides the machine.
pub fn plan(root: &Root, machine: &Machine, wishes: &Wishes) -> Result<Vec<PlannedNode>, PlanError> {
    let nodes = machine.nodes.len();
    if nodes == 0 {
        return Err(PlanError::NoCpus);
    }
    if nodes > NODES_MAX {
        return Err(PlanError::TooManyNodes(nodes));
    }
    // Shard ports are the listener's plus 10000 plus the shard; the last one must be a port.
    let most = u16::MAX - 10_000 - (nodes as u16) * PORT_STEP;
    if wishes.first_port > most {
        return Err(PlanError::Ports { nodes, first: wishes.first_port, most });
    }
    let owners: Vec<(PathBuf, Vec<Device>)> = wishes
        .directories
        .iter()
        .map(|directory| (directory.clone(), Mount::of(root, directory).map(|mount| mount.disks(root, machine)).unwrap_or_default()))
        .collect();
    let planned = machine.nodes.iter().enumerate().map(|(at, node)| planned_node(machine, node, at, wishes, &owners));
    Ok(planned.collect())
}

fn planned_node(machine: &Machine, node: &NumaNode, at: usize, wishes: &Wishes, owners: &[(PathBuf, Vec<Device>)]) -> PlannedNode {
    let division = divide(machine, node);
    let mut remote = Vec::new();
    let is_near = |device: &Device| device.numa_node.is_none_or(|home| home == node.id);
    let mut directories: Vec<PathBuf> =
        owners.iter().filter(|(_, disks)| !disks.is_empty() && disks.iter().all(is_near)).map(|(path, _)| path.clone()).collect();
    // Directories whose disk nobody knows (network storage, no sysfs) belong to the nodes in turn.
    let unknown = owners.iter().filter(|(_, disks)| disks.is_empty()).enumerate();
    directories.extend(unknown.filter(|(turn, _)| turn % machine.nodes.len() == at).map(|(_, (path, _))| path.clone()));
    if directories.is_empty()
        && let Some((path, disks)) = owners.get(at % owners.len().max(1))
    {
        directories.push(path.clone());
        let homes: Vec<String> = disks.iter().filter_map(|disk| Some(format!("{} on NUMA node {}", disk.name, disk.numa_node?))).collect();
        if !homes.is_empty() {
            remote.push(format!("data in {}: {}", path.display(), homes.join(", ")));
        }
    }
    let network: Vec<String> = machine.network.iter().filter(|card| is_near(card)).map(|card| card.name.clone()).collect();
    if network.is_empty() {
        let cards = machine.network.iter().filter_map(|card| Some(format!("{} on NUMA node {}", card.name, card.numa_node?)));
        remote.extend(cards.map(|card| format!("network card {card}")));
    }
    let shards = division.shards.len().max(1) as u64;
    let tail_cache = node.memory_bytes / TAIL_CACHE_SHARE / shards;
    let tail_cache = tail_cache.clamp(*TAIL_CACHE_BYTES.start(), *TAIL_CACHE_BYTES.end()) >> 20 << 20;
    PlannedNode {
        numa_node: node.id,
        node_id: wishes.first_node_id + at as u32,
        port: wishes.first_port + PORT_STEP * at as u16,
        division,
        memory_bytes: node.memory_bytes,
        tail_cache_bytes: tail_cache,
        directories,
        network,
        remote,
    }
}

/// One file of a plan, with its path below the output directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedFile {
    pub path: PathBuf,
    pub text: String,
}

/// The files of a plan, laid out as below `/`.
pub fn files(plan: &[PlannedNode], wishes: &Wishes) -> Vec<PlannedFile> {
    let mut files: Vec<PlannedFile> = plan
        .iter()
        .flat_map(|node| {
            [
                PlannedFile { path: format!("etc/odradek/node-{}.properties", node.numa_node).into(), text: properties(node, wishes) },
                PlannedFile {
                    path: format!("etc/systemd/system/odradek@{}.service.d/10-numa.conf", node.numa_node).into(),
                    text: drop_in(node),
                },
            ]
        })
        .collect();
    files.push(PlannedFile { path: "kernel-command-line".into(), text: kernel_command_line(plan) });
    files
}

/// Writes them below `out`. Files of an older plan are overwritten, others left alone.
pub fn write(files: &[PlannedFile], out: &Path) -> io::Result<()> {
    for file in files {
        let path = out.join(&file.path);
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        std::fs::write(path, &file.text)?;
    }
    Ok(())
}

fn properties(node: &PlannedNode, wishes: &Wishes) -> String {
    let mut text = format!("# Odradek on NUMA node {}: written by `odradek tune plan`.\n", node.numa_node);
    let name = |path: &PathBuf| path.join(format!("odradek-{}", node.numa_node)).display().to_string();
    let directories: Vec<String> = node.directories.iter().map(name).collect();
    let mut line = |key: &str, value: String| {
        let _ = writeln!(text, "{key}={value}");
    };
    line("node.id", node.node_id.to_string());
    line("listeners", format!("PLAINTEXT://:{}", node.port));
    if let Some(host) = &wishes.host {
        line("advertised.listeners", format!("PLAINTEXT://{host}:{}", node.port));
    }
    line("log.dirs", directories.join(","));
    line("odradek.shards", node.division.shards.len().to_string());
    line("odradek.pin", "true".into());
    line("odradek.direct.io", "required".into());
    line("odradek.tail.cache.bytes", node.tail_cache_bytes.to_string());
    let near = if node.network.is_empty() { "none".to_owned() } else { node.network.join(", ") };
    let _ = writeln!(text, "# Network cards near this node: {near}.");
    for remote in &node.remote {
        let _ = writeln!(text, "# Remote, costs latency: {remote}.");
    }
    text
}

fn drop_in(node: &PlannedNode) -> String {
    let all: Cpus = node.division.shards.union(&node.division.housekeeping).copied().collect();
    let mut text = format!("# NUMA node {}: written by `odradek tune plan`.\n", node.numa_node);
    let mounts: Vec<String> = node.directories.iter().map(|path| path.display().to_string()).collect();
    if !mounts.is_empty() {
        let _ = writeln!(text, "[Unit]\nRequiresMountsFor={}\n", mounts.join(" "));
    }
    let _ = writeln!(text, "[Service]");
    let _ = writeln!(text, "# Shards on {}.", cpu_list::format(&node.division.shards));
    if !node.division.housekeeping.is_empty() {
        let _ = writeln!(text, "# Everything else on {}.", cpu_list::format(&node.division.housekeeping));
    }
    let _ = writeln!(text, "CPUAffinity={}", cpu_list::format(&all).replace(',', " "));
    let _ = writeln!(text, "NUMAPolicy=bind\nNUMAMask={}", node.numa_node);
    if !mounts.is_empty() {
        let _ = writeln!(text, "ReadWritePaths={}", mounts.join(" "));
    }
    text
}

/// Parameters that only the boot loader can set, for machines that are the broker's alone.
fn kernel_command_line(plan: &[PlannedNode]) -> String {
    let shards: Cpus = plan.iter().flat_map(|node| node.division.shards.clone()).collect();
    let house: Cpus = plan.iter().flat_map(|node| node.division.housekeeping.clone()).collect();
    let shards = cpu_list::format(&shards);
    let mut text = String::from("# For a machine that is the broker's alone: append to GRUB_CMDLINE_LINUX, update-grub, reboot.\n");
    if house.is_empty() {
        text.push_str("# No core is left for housekeeping here: isolating all of them would leave none for the rest.\n");
    } else {
        let _ = writeln!(text, "nohz_full={shards} rcu_nocbs={shards} irqaffinity={}", cpu_list::format(&house));
    }
    text
}
