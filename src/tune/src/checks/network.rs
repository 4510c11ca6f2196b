//! Queues of network cards, steering, socket buffers and backlogs.

use super::{at_least, exactly};
use crate::check::{Change, Context, Item, Standing};
use crate::cpu_list::{self, Cpus};
use crate::machine::Device;

const MIB: i64 = 1 << 20;

pub(crate) fn items(context: &Context<'_>) -> Vec<Item> {
    let mut items = Vec::new();
    for device in &context.machine.network {
        let shards: Cpus = context.machine.near(device).intersection(&context.shard_cpus).copied().collect();
        items.extend([
            queues(context, device, &shards),
            receive_steering(context, device, &shards),
            send_steering(context, device, &shards),
        ]);
    }
    items.extend([
        busy_poll(context),
        at_least(
            context,
            "net.core.somaxconn",
            4096,
            "Connections that wait to be accepted; past it a client's connect is lost and repeated a second later.",
        ),
        at_least(
            context,
            "net.ipv4.tcp_max_syn_backlog",
            4096,
            "Half-open connections: thousands of clients come back at once after a restart.",
        ),
        at_least(
            context,
            "net.core.netdev_max_backlog",
            5000,
            "Packets that wait for a core when steering or loopback is used; past it they are dropped.",
        ),
        at_least(context, "net.core.rmem_max", 16 * MIB, "The most that socket.receive.buffer.bytes can get."),
        at_least(context, "net.core.wmem_max", 16 * MIB, "The most that socket.send.buffer.bytes can get."),
        at_least(
            context,
            "net.ipv4.tcp_rmem",
            16 * MIB,
            "How far a receive window grows: bandwidth times round trip of the farthest producer.",
        ),
        at_least(
            context,
            "net.ipv4.tcp_wmem",
            16 * MIB,
            "How far a send buffer grows: a fetch response of several MiB should leave in one write.",
        ),
        exactly(
            context,
            "net.ipv4.tcp_slow_start_after_idle",
            "0",
            "A connection that paused would start slowly again, as if it were new.",
        ),
    ]);
    items
}

fn queue_names(context: &Context<'_>, device: &Device, direction: &str) -> Vec<String> {
    let names = context.root.names(format!("/sys/class/net/{}/queues", device.name));
    names.into_iter().filter(|name| name.starts_with(direction)).collect()
}

fn queues(context: &Context<'_>, device: &Device, shards: &Cpus) -> Item {
    let item =
        Item::new(format!("nic.{}.queues", device.name), "With one receive queue per shard each core takes its own packets off the card.");
    let receive = queue_names(context, device, "rx-").len();
    let send = queue_names(context, device, "tx-").len();
    if receive == 0 {
        return item;
    }
    let wanted = shards.len().max(1);
    let fix = format!(
        "ethtool -L {} combined {wanted} (as many as `ethtool -l` allows; where it allows no more, RPS below stands in)",
        device.name
    );
    let item = item.found(format!("{receive} receive, {send} send")).wanted(format!("{wanted} of each"));
    // How many the card could have only its driver knows (ethtool's netlink); one queue is common in virtual machines and mended by RPS.
    if receive >= wanted { item.standing(Standing::Good) } else { Item { fix, ..item.standing(Standing::Note) } }
}

/// RPS: the kernel spreads packets over cores in software. Wanted only where the card has too few queues.
fn receive_steering(context: &Context<'_>, device: &Device, shards: &Cpus) -> Item {
    let item = Item::new(
        format!("nic.{}.rps", device.name),
        "Where the card has fewer queues than shards, software steering (RPS) spreads packets; where it has enough, RPS only costs.",
    );
    let names = queue_names(context, device, "rx-");
    let path = |queue: &String| format!("/sys/class/net/{}/queues/{queue}/rps_cpus", device.name);
    let masks: Vec<(String, Cpus)> =
        names.iter().filter_map(|queue| Some((path(queue), cpu_list::parse_mask(&context.root.read(path(queue))?)?))).collect();
    if masks.is_empty() {
        return item;
    }
    let wanted = if names.len() >= shards.len() { Cpus::new() } else { shards.clone() };
    let shown = |cpus: &Cpus| if cpus.is_empty() { "off".to_owned() } else { format!("on CPUs {}", cpu_list::format(cpus)) };
    let found: Cpus = masks.iter().flat_map(|(_, cpus)| cpus.clone()).collect();
    let value = cpu_list::format_mask(&wanted);
    let wrong: Vec<Change> = masks.iter().filter(|(_, cpus)| *cpus != wanted).map(|(path, _)| Change::new(path, &value)).collect();
    item.found(shown(&found))
        .wanted(shown(&wanted))
        .judged(wrong.is_empty(), Standing::Poor, format!("echo {value} > /sys/class/net/{}/queues/rx-*/rps_cpus", device.name))
        .changes(wrong)
}

/// XPS: which send queue a core uses.
fn send_steering(context: &Context<'_>, device: &Device, shards: &Cpus) -> Item {
    let item =
        Item::new(format!("nic.{}.xps", device.name), "A core that sends on a queue of its own takes no lock that another core holds.");
    let names = queue_names(context, device, "tx-");
    let path = |queue: &String| format!("/sys/class/net/{}/queues/{queue}/xps_cpus", device.name);
    let masks: Vec<(String, Cpus)> =
        names.iter().filter_map(|queue| Some((path(queue), cpu_list::parse_mask(&context.root.read(path(queue))?)?))).collect();
    if masks.len() < 2 || shards.is_empty() {
        return item.found("one send queue").standing(Standing::Note);
    }
    // Queue i belongs to every n-th CPU of the machine starting with its own, so that no core is without one.
    let all: Vec<u32> = shards.iter().copied().chain(context.machine.cpus().difference(shards).copied()).collect();
    let wanted = |at: usize| -> Cpus { all.iter().copied().skip(at).step_by(masks.len()).collect() };
    let alone = |cpus: &Cpus| cpus.intersection(shards).count() <= shards.len().div_ceil(masks.len());
    let good = masks.iter().all(|(_, cpus)| !cpus.is_empty() && alone(cpus));
    let changes: Vec<Change> =
        masks.iter().enumerate().map(|(at, (path, _))| Change::new(path, cpu_list::format_mask(&wanted(at)))).collect();
    let set = masks.iter().filter(|(_, cpus)| !cpus.is_empty()).count();
    item.found(format!("{set} of {} queues have CPUs{}", masks.len(), if good { "" } else { ", some share shards" }))
        .wanted("a queue for each shard")
        .judged(good, Standing::Poor, "odradek tune apply (writes queues/tx-*/xps_cpus)")
        .changes(changes)
}

fn busy_poll(context: &Context<'_>) -> Item {
    let item = Item::new("net.core.busy_poll", "Polling the card instead of waiting for its interrupt shortens a round trip and costs a core; shards spin by odradek.spin.us already.")
        .wanted("0, or 50 where every microsecond counts and the card has a queue per shard");
    match context.root.read("/proc/sys/net/core/busy_poll") {
        Some(found) => item.found(found).standing(Standing::Note),
        None => item,
    }
}
