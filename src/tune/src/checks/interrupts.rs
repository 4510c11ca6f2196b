//! Which core a device interrupts.

use crate::check::{Change, Context, Item, Standing};
use crate::cpu_list::{self, Cpus};
use crate::machine::Device;

pub(crate) fn items(context: &Context<'_>) -> Vec<Item> {
    let mut items: Vec<Item> = context.machine.network.iter().map(|device| network(context, device)).collect();
    items.extend(context.machine.disks.iter().filter(|disk| disk.name.starts_with("nvme")).map(|disk| nvme(context, disk)));
    items.push(balancer(context));
    items
}

/// Where an interrupt may go.
fn affinity(context: &Context<'_>, irq: u32) -> Option<Cpus> {
    cpu_list::parse(&context.root.read(format!("/proc/irq/{irq}/smp_affinity_list"))?)
}

/// Where it goes now.
fn effective(context: &Context<'_>, irq: u32) -> Option<Cpus> {
    let text = context.root.read(format!("/proc/irq/{irq}/effective_affinity_list")).filter(|text| !text.is_empty());
    text.and_then(|text| cpu_list::parse(&text)).or_else(|| affinity(context, irq))
}

/// A card's queue interrupts belong one by one to the shards near it.
fn network(context: &Context<'_>, device: &Device) -> Item {
    let item = Item::new(
        format!("irq.{}", device.name),
        "A packet that arrives on another core, or another NUMA node, than its shard crosses the machine before it is read.",
    );
    let near = context.machine.near(device);
    let mut cores: Vec<u32> = near.intersection(&context.shard_cpus).copied().collect();
    if cores.is_empty() {
        cores = near.iter().copied().collect();
    }
    let known: Vec<(u32, Cpus)> = device.interrupts.iter().filter_map(|&irq| Some((irq, affinity(context, irq)?))).collect();
    if known.is_empty() || cores.is_empty() {
        return item.found("no interrupts of its own to be seen").standing(Standing::Note);
    }
    let changes: Vec<Change> = known
        .iter()
        .enumerate()
        .filter(|(at, (_, cpus))| *cpus != Cpus::from([cores[at % cores.len()]]))
        .map(|(at, (irq, _))| Change::new(format!("/proc/irq/{irq}/smp_affinity_list"), cores[at % cores.len()].to_string()))
        .collect();
    let used: Cpus = known.iter().flat_map(|(irq, cpus)| effective(context, *irq).unwrap_or_else(|| cpus.clone())).collect();
    // One interrupt on one near core is as good as another; what counts is that all are near and no core gets two while another has none.
    let spread = used.len() >= known.len().min(cores.len());
    let good = used.is_subset(&near) && spread;
    let wanted: Cpus = cores.iter().copied().collect();
    item.found(format!("{} interrupts on CPUs {}", known.len(), cpu_list::format(&used)))
        .wanted(format!("one by one on CPUs {}", cpu_list::format(&wanted)))
        .judged(good, Standing::Poor, "odradek tune apply (writes /proc/irq/*/smp_affinity_list); stop irqbalance first")
        .changes(changes)
}

/// NVMe interrupts are placed by the kernel itself and cannot be moved: what counts is that there is a queue per core.
fn nvme(context: &Context<'_>, disk: &Device) -> Item {
    let item =
        Item::new(format!("irq.{}", disk.name), "A disk write that completes on its shard's own core needs no message between cores.");
    let queues = disk.interrupts.iter().filter(|&&irq| effective(context, irq).is_some()).count();
    if queues == 0 {
        return item.found("no interrupts of its own to be seen").standing(Standing::Note);
    }
    let used: Cpus = disk.interrupts.iter().filter_map(|&irq| effective(context, irq)).flatten().collect();
    let shards: Cpus = context.machine.near(disk).intersection(&context.shard_cpus).copied().collect();
    let item = item
        .found(format!("{queues} interrupts on CPUs {}", cpu_list::format(&used)))
        .wanted(format!("a queue for each of CPUs {}", cpu_list::format(&shards)));
    if queues >= shards.len() {
        return item.standing(Standing::Good);
    }
    // Few queues are the drive's own limit: to be known, not to be mended.
    item.standing(Standing::Note)
}

fn balancer(context: &Context<'_>) -> Item {
    let processes = context.root.names("/proc");
    let mut numbers = processes.iter().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
    let running = numbers.any(|id| context.root.read(format!("/proc/{id}/comm")).as_deref() == Some("irqbalance"));
    Item::new("irqbalance", "It moves interrupts every ten seconds and undoes the placement above.")
        .found(if running { "runs" } else { "does not run" })
        .wanted("does not run")
        .judged(!running, Standing::Poor, "systemctl disable --now irqbalance")
}
