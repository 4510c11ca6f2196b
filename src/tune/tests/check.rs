//! The table on made-up machines: what is as wanted is good, and each fault is found, named, and mended where it may be.

mod support;

use odradek_tune::apply::{self, Outcome, SAVED};
use odradek_tune::check::{Item, Question, Standing, check, is_fit};
use odradek_tune::machine::Machine;
use support::MadeUp;

fn items(machine: &MadeUp, dir: &str) -> Vec<Item> {
    let root = machine.root();
    check(&root, &Machine::read(&root), &Question { directories: vec![dir.into()], process: "self".into() })
}

fn item(items: &[Item], name: &str) -> Item {
    items.iter().find(|item| item.name == name).unwrap_or_else(|| panic!("no item {name}")).clone()
}

/// Two sockets, each with a card and a drive.
fn two_sockets() -> MadeUp {
    let mut machine = MadeUp::new(2, 8, 2);
    machine.card("ens1", 0, 7);
    machine.card("ens2", 1, 7);
    machine.nvme("nvme0n1", 0, "/data/0");
    machine.nvme("nvme1n1", 1, "/data/1");
    machine
}

#[test]
fn tuned_machines_of_one_two_and_four_nodes_are_fit() {
    for numa in [1, 2, 4] {
        let mut machine = MadeUp::new(numa, 6, 1);
        for node in 0..numa {
            machine.card(&format!("ens{node}"), node as i32, 5);
            machine.nvme(&format!("nvme{node}n1"), node as i32, &format!("/data/{node}"));
        }
        let items = items(&machine, "/data/0/odradek");
        let faults: Vec<&Item> = items.iter().filter(|item| matches!(item.standing, Standing::Poor | Standing::Bad)).collect();
        assert!(is_fit(&items), "{numa} nodes: {faults:#?}");
        let unknown: Vec<&Item> = items.iter().filter(|item| item.standing == Standing::Unknown).collect();
        assert!(unknown.is_empty(), "{numa} nodes: {unknown:#?}");
    }
}

#[test]
fn each_fault_is_found_and_says_how_to_mend_it() {
    let faults = [
        ("cpu.governor", "/sys/devices/system/cpu/cpu3/cpufreq/scaling_governor", "powersave", Standing::Poor),
        ("cpu.idle", "/sys/devices/system/cpu/cpu2/cpuidle/state2/disable", "0", Standing::Poor),
        ("clock.source", "/sys/devices/system/clocksource/clocksource0/current_clocksource", "hpet", Standing::Poor),
        ("thp.enabled", "/sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never", Standing::Poor),
        ("thp.defrag", "/sys/kernel/mm/transparent_hugepage/defrag", "[always] defer madvise never", Standing::Poor),
        ("kernel.numa_balancing", "/proc/sys/kernel/numa_balancing", "1", Standing::Poor),
        ("vm.zone_reclaim_mode", "/proc/sys/vm/zone_reclaim_mode", "1", Standing::Poor),
        ("vm.swappiness", "/proc/sys/vm/swappiness", "60", Standing::Poor),
        ("kernel.io_uring_disabled", "/proc/sys/kernel/io_uring_disabled", "2", Standing::Bad),
        ("net.core.somaxconn", "/proc/sys/net/core/somaxconn", "128", Standing::Poor),
        ("net.ipv4.tcp_rmem", "/proc/sys/net/ipv4/tcp_rmem", "4096 131072 6291456", Standing::Poor),
        ("nic.ens1.rps", "/sys/class/net/ens1/queues/rx-1/rps_cpus", "ff", Standing::Poor),
        ("nic.ens1.xps", "/sys/class/net/ens1/queues/tx-1/xps_cpus", "0", Standing::Poor),
        ("irq.ens1", "/proc/irq/101/effective_affinity_list", "12", Standing::Poor),
        ("irqbalance", "/proc/4711/comm", "irqbalance", Standing::Poor),
        ("disk.nvme0n1.scheduler", "/sys/block/nvme0n1/queue/scheduler", "none [mq-deadline]", Standing::Poor),
        ("disk.nvme0n1.rq-affinity", "/sys/block/nvme0n1/queue/rq_affinity", "1", Standing::Poor),
        ("fs./data/0/x.type", "/proc/self/mountinfo", "27 1 0:2 / /data/0 rw,noatime - tmpfs tmpfs rw", Standing::Bad),
        ("fs./data/0/x.options", "/proc/self/mountinfo", "27 1 0:2 / /data/0 rw,noatime - ext4 /dev/nvme0n1p1 rw,nobarrier", Standing::Bad),
        ("limit.nofile", "/proc/self/limits", "Max open files            1024                 4096                 files", Standing::Poor),
    ];
    let machine = two_sockets();
    for (name, path, text, standing) in faults {
        let before = machine.root().read(path);
        assert_eq!(item(&items(&machine, "/data/0/x"), name).standing, Standing::Good, "{name} before");
        machine.file(path, text);
        let items = items(&machine, "/data/0/x");
        let found = item(&items, name);
        assert_eq!(found.standing, standing, "{found:?}");
        assert!(!found.fix.is_empty() && !found.wanted.is_empty() && found.why.ends_with('.'), "{found:?}");
        assert!(!is_fit(&items), "{name}");
        machine.file(path, before.unwrap_or_default());
    }
}

#[test]
fn data_is_never_put_at_risk() {
    let machine = two_sockets();
    machine.file("/sys/block/nvme0n1/queue/write_cache", "write back");
    let cache = item(&items(&machine, "/data/0"), "disk.nvme0n1.write-cache");
    assert_eq!((cache.standing, cache.changes.len()), (Standing::Note, 0));
}

#[test]
fn a_bare_tree_makes_items_unknown_and_no_errors() {
    let dir = tempfile::tempdir().unwrap();
    let root = odradek_tune::Root::new(dir.path());
    let question = Question { directories: vec!["/data".into()], process: "self".into() };
    let items = check(&root, &Machine::read(&root), &question);
    assert!(is_fit(&items) && items.iter().any(|item| item.standing == Standing::Unknown));
}

#[test]
fn one_queue_for_many_shards_is_spread_by_software() {
    let mut machine = MadeUp::new(1, 8, 1);
    machine.card("eth0", -1, 1);
    let items = items(&machine, "/");
    let steering = item(&items, "nic.eth0.rps");
    assert_eq!(steering.standing, Standing::Poor);
    assert_eq!(steering.changes[0].value, "7f", "the seven shards; the last core keeps house");
    assert_eq!(item(&items, "irq.eth0").standing, Standing::Good);
}

#[test]
fn apply_mends_what_it_may_and_undo_restores_it() {
    let machine = two_sockets();
    let spoilt = [
        ("/sys/devices/system/cpu/cpu3/cpufreq/scaling_governor", "powersave", "performance", "powersave"),
        ("/proc/sys/vm/swappiness", "60", "1", "60"),
        ("/proc/sys/net/ipv4/tcp_rmem", "4096 131072 6291456", "4096 131072 16777216", "4096 131072 6291456"),
        ("/sys/block/nvme0n1/queue/scheduler", "none [mq-deadline]", "none", "mq-deadline"),
        ("/proc/irq/101/smp_affinity_list", "0-15", "1", "0-15"),
    ];
    for (path, before, _, _) in spoilt {
        machine.file(path, before);
    }
    machine.file("/proc/irq/101/effective_affinity_list", "9");
    let root = machine.root();

    let dry = apply::apply(&root, &items(&machine, "/data/0"), true).unwrap();
    assert_eq!(dry.len(), spoilt.len(), "{dry:#?}");
    assert!(dry.iter().all(|step| step.outcome == Outcome::WouldChange));
    assert_eq!(machine.read("/proc/sys/vm/swappiness"), "60", "a dry run changes nothing");
    assert!(!root.exists(SAVED));

    let steps = apply::apply(&root, &items(&machine, "/data/0"), false).unwrap();
    assert!(steps.iter().all(|step| step.outcome == Outcome::Changed), "{steps:#?}");
    for (path, _, after, _) in spoilt {
        assert_eq!(machine.read(path), after, "{path}");
    }
    // Somebody spoils it again and applies again: the first former value is the one that counts.
    machine.file("/proc/sys/vm/swappiness", "30");
    assert_eq!(apply::apply(&root, &items(&machine, "/data/0"), false).unwrap().len(), 1);

    let undone = apply::undo(&root, false).unwrap();
    assert!(undone.iter().all(|step| step.outcome == Outcome::Changed), "{undone:#?}");
    for (path, _, _, former) in spoilt {
        assert_eq!(machine.read(path), former, "{path}");
    }
    assert!(!root.exists(SAVED), "nothing is left to undo");
    assert!(apply::undo(&root, false).unwrap().is_empty());
}

#[test]
fn undo_writes_nowhere_but_into_the_kernel() {
    let machine = two_sockets();
    machine.file("/etc/shadow", "secret");
    for path in ["/etc/shadow", "/proc/../etc/shadow"] {
        machine.file(SAVED, format!(r#"{{"version":1,"former":[{{"path":"{path}","value":"open"}}]}}"#));
        assert!(apply::undo(&machine.root(), false).is_err());
        assert_eq!(machine.read("/etc/shadow"), "secret");
    }
    machine.file(SAVED, "{");
    assert!(apply::undo(&machine.root(), false).unwrap_err().to_string().contains("damaged"));
}

#[test]
fn what_cannot_be_undone_stays_recorded() {
    let machine = two_sockets();
    machine.file("/proc/sys/vm/swappiness", "60");
    let root = machine.root();
    apply::apply(&root, &items(&machine, "/data/0"), false).unwrap();
    std::fs::remove_file(root.path("/proc/sys/vm/swappiness")).unwrap();
    let steps = apply::undo(&root, false).unwrap();
    assert!(matches!(steps[0].outcome, Outcome::Failed(_)));
    machine.file("/proc/sys/vm/swappiness", "1");
    apply::undo(&root, false).unwrap();
    assert_eq!(machine.read("/proc/sys/vm/swappiness"), "60");
}
