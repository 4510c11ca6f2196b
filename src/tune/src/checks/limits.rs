//! io_uring, memlock and file limits.

use super::at_least;
use crate::check::{Change, Context, Item, Standing};

/// Locked bytes that rings and registered buffers of a node need at most on old kernels: 1 MiB per ring and its buffers, for 256 shards.
const LOCKED_BYTES: u64 = 512 << 20;

/// Segment files, sockets and rings of a large node.
const OPEN_FILES: u64 = 1 << 20;

pub(crate) fn items(context: &Context<'_>) -> Vec<Item> {
    vec![
        io_uring(context),
        limit(
            context,
            "limit.memlock",
            "Max locked memory",
            LOCKED_BYTES,
            "Rings and their buffers are locked memory; the background plane's runtime refuses to start with too little.",
            "LimitMEMLOCK=infinity in the unit (systemd/odradek.service has it), or `ulimit -l unlimited`",
        ),
        limit(
            context,
            "limit.nofile",
            "Max open files",
            OPEN_FILES,
            "Each connection and each open segment is a file.",
            "LimitNOFILE=1048576 in the unit (systemd/odradek.service has it), or `ulimit -n 1048576`",
        ),
        at_least(context, "fs.nr_open", OPEN_FILES as i64, "No process can get a higher file limit than this."),
        at_least(context, "vm.max_map_count", 262_144, "Buffers are mappings; thousands of connections need many."),
    ]
}

fn io_uring(context: &Context<'_>) -> Item {
    const PATH: &str = "/proc/sys/kernel/io_uring_disabled";
    let item =
        Item::new("kernel.io_uring_disabled", "The broker does all its work through io_uring and does not start without it.").wanted("0");
    match context.root.read(PATH) {
        // Kernels before 6.6 have no such switch.
        None => item.found("no such switch").standing(Standing::Note),
        Some(found) => {
            item.found(&found).judged(found == "0", Standing::Bad, "sysctl kernel.io_uring_disabled=0").changes([Change::new(PATH, "0")])
        }
    }
}

/// One line of `/proc/PID/limits`: name, soft limit, hard limit, unit.
fn limit(context: &Context<'_>, name: &str, label: &str, wanted: u64, why: &'static str, fix: &str) -> Item {
    let process = &context.question.process;
    let item = Item::new(name, why).wanted(format!("at least {wanted}"));
    let text = context.root.read(format!("/proc/{process}/limits")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(label));
    let Some(soft) = line.and_then(|line| line.split_whitespace().next()) else { return item };
    let enough = soft == "unlimited" || soft.parse::<u64>().is_ok_and(|soft| soft >= wanted);
    let whose = if process == "self" { "in this shell".to_owned() } else { format!("of process {process}") };
    item.found(format!("{soft} {whose}")).judged(enough, Standing::Poor, fix)
}
