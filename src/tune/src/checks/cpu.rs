//! Frequency, idle states, isolation, clock, mitigations.

use crate::check::{Change, Context, Item, Standing};
use crate::cpu_list::{self, Cpus};
use std::collections::BTreeMap;

const CPUS: &str = "/sys/devices/system/cpu";

/// Microseconds to wake from an idle state that a produce of about 100 us does not notice.
const WAKE_US_MAX: i64 = 10;

pub(crate) fn items(context: &Context<'_>) -> Vec<Item> {
    vec![
        governor(context),
        idle_states(context),
        isolated(context),
        tickless(context),
        threads_per_core(context),
        clock_source(context),
        mitigations(context),
    ]
}

/// Groups CPUs by a value: `performance on 0-7, powersave on 8-15`.
fn grouped(values: &BTreeMap<String, Cpus>) -> String {
    let parts: Vec<String> = values.iter().map(|(value, cpus)| format!("{value} on {}", cpu_list::format(cpus))).collect();
    if values.len() == 1 { values.keys().cloned().collect() } else { parts.join(", ") }
}

fn governor(context: &Context<'_>) -> Item {
    let item = Item::new("cpu.governor", "A core that clocks up only under load answers the first requests slowly.").wanted("performance");
    let mut values: BTreeMap<String, Cpus> = BTreeMap::new();
    for cpu in context.machine.cpus() {
        if let Some(value) = context.root.read(format!("{CPUS}/cpu{cpu}/cpufreq/scaling_governor")) {
            values.entry(value).or_default().insert(cpu);
        }
    }
    if values.is_empty() {
        return item.found("no frequency control").standing(Standing::Note);
    }
    let others: Vec<u32> = values.iter().filter(|(value, _)| *value != "performance").flat_map(|(_, cpus)| cpus.clone()).collect();
    item.found(grouped(&values))
        .judged(others.is_empty(), Standing::Poor, "cpupower frequency-set -g performance")
        .changes(others.iter().map(|cpu| Change::new(format!("{CPUS}/cpu{cpu}/cpufreq/scaling_governor"), "performance")))
}

fn idle_states(context: &Context<'_>) -> Item {
    let item = Item::new("cpu.idle", "Waking from a deep idle state takes longer than writing a record; shards sleep between requests.")
        .wanted(format!("no state that takes more than {WAKE_US_MAX} us to leave"));
    let (mut deep, mut seen, mut changes) = (BTreeMap::<String, Cpus>::new(), false, Vec::new());
    for cpu in context.machine.cpus() {
        let states = format!("{CPUS}/cpu{cpu}/cpuidle");
        for state in context.root.names(&states) {
            let at = format!("{states}/{state}");
            let Some(latency) = context.root.number(format!("{at}/latency")) else { continue };
            seen = true;
            if latency > WAKE_US_MAX && context.root.number(format!("{at}/disable")) == Some(0) {
                let name = context.root.read(format!("{at}/name")).unwrap_or(state);
                deep.entry(format!("{name} ({latency} us)")).or_default().insert(cpu);
                // Housekeeping cores may sleep as deep as they like.
                if context.shard_cpus.contains(&cpu) {
                    changes.push(Change::new(format!("{at}/disable"), "1"));
                }
            }
        }
    }
    if !seen {
        return item.found("no idle states to choose from").standing(Standing::Note);
    }
    let on_shards = !changes.is_empty();
    let fix = format!("cpupower -c {} idle-set -D {WAKE_US_MAX}", cpu_list::format(&context.shard_cpus));
    let found = if deep.is_empty() { "none".into() } else { grouped(&deep) };
    item.found(found).judged(!on_shards, Standing::Poor, fix).changes(changes)
}

fn isolated(context: &Context<'_>) -> Item {
    let found = context.root.read(format!("{CPUS}/isolated")).unwrap_or_default();
    let shards = cpu_list::format(&context.shard_cpus);
    Item::new("cpu.isolated", "Isolated cores run nothing but the shard that is pinned to them.")
        .found(if found.is_empty() { "none" } else { &found })
        .wanted(format!("{shards}, if the machine is for the broker alone"))
        .standing(Standing::Note)
}

fn tickless(context: &Context<'_>) -> Item {
    let found = context.root.read(format!("{CPUS}/nohz_full")).unwrap_or_default();
    let found = if found.is_empty() || found == "(null)" { "none".into() } else { found };
    Item::new("cpu.nohz-full", "The timer tick interrupts a busy core 100 to 1000 times a second.")
        .found(found)
        .wanted(format!("{}, if the machine is for the broker alone", cpu_list::format(&context.shard_cpus)))
        .standing(Standing::Note)
}

fn threads_per_core(context: &Context<'_>) -> Item {
    let most = context.machine.cores.iter().map(|core| core.threads.len()).max().unwrap_or(0);
    Item::new("cpu.threads-per-core", "Two shards on one physical core share its caches and its pipeline.")
        .found(most.to_string())
        .wanted("1, or one shard per physical core as `odradek tune plan` has it")
        .standing(if most == 1 { Standing::Good } else { Standing::Note })
}

fn clock_source(context: &Context<'_>) -> Item {
    const SOURCE: &str = "/sys/devices/system/clocksource/clocksource0";
    let item = Item::new("clock.source", "Every request reads the clock; hpet and acpi_pm cost a system call and a slow device each time.")
        .wanted("tsc, kvm-clock, hyperv or arch_sys_counter");
    let Some(found) = context.root.read(format!("{SOURCE}/current_clocksource")) else { return item };
    let fast = found == "tsc" || found == "kvm-clock" || found.starts_with("hyperv") || found == "arch_sys_counter";
    let has_tsc =
        context.root.read(format!("{SOURCE}/available_clocksource")).is_some_and(|all| all.split_whitespace().any(|one| one == "tsc"));
    let fix = if has_tsc {
        "echo tsc > /sys/devices/system/clocksource/clocksource0/current_clocksource".into()
    } else {
        format!("find out in `dmesg | grep -i clocksource` why the kernel distrusts tsc and uses {found}")
    };
    let change = has_tsc.then(|| Change::new(format!("{SOURCE}/current_clocksource"), "tsc"));
    item.found(&found).judged(fast, Standing::Poor, fix).changes(change)
}

fn mitigations(context: &Context<'_>) -> Item {
    const AT: &str = "/sys/devices/system/cpu/vulnerabilities";
    let names = context.root.names(AT);
    let state = |name: &String| context.root.read(format!("{AT}/{name}")).unwrap_or_default();
    let mitigated = names.iter().filter(|name| state(name).starts_with("Mitigation")).cloned().collect::<Vec<_>>();
    let vulnerable = names.iter().filter(|name| state(name).starts_with("Vulnerable")).cloned().collect::<Vec<_>>();
    let or_none = |names: &[String]| if names.is_empty() { "none".to_owned() } else { names.join(" ") };
    Item::new("cpu.mitigations", "Mitigations make each system call dearer; figures of two machines compare only where these are equal.")
        .found(format!("mitigated: {}; vulnerable: {}", or_none(&mitigated), or_none(&vulnerable)))
        .wanted("your own decision")
        .standing(Standing::Note)
}
