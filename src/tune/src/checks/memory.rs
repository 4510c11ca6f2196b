//! Huge pages, NUMA balancing, reclaim.

use super::exactly;
use crate::check::{Change, Context, Item, Standing};
use crate::root::selected;

const HUGE_PAGES: &str = "/sys/kernel/mm/transparent_hugepage";

pub(crate) fn items(context: &Context<'_>) -> Vec<Item> {
    let balancing_why = "The kernel unmaps pages to see who uses them and moves them; shards are pinned beside their memory already.";
    vec![
        huge_pages(
            context,
            "enabled",
            &["madvise", "never"],
            "With `always` the kernel makes and splits huge pages behind the broker's back.",
        ),
        huge_pages(
            context,
            "defrag",
            &["madvise", "defer", "defer+madvise", "never"],
            "With `always` a page fault waits until memory has been compacted.",
        ),
        exactly(context, "kernel.numa_balancing", "0", balancing_why),
        exactly(context, "vm.zone_reclaim_mode", "0", "Reclaiming on the own node before looking at the next makes an allocation wait."),
        swappiness(context),
        swap(context),
    ]
}

fn huge_pages(context: &Context<'_>, file: &str, accepted: &[&str], why: &'static str) -> Item {
    let path = format!("{HUGE_PAGES}/{file}");
    let item = Item::new(format!("thp.{file}"), why).wanted(accepted.join(" or "));
    let Some(text) = context.root.read(&path) else { return item.found("not in this kernel").standing(Standing::Note) };
    let found = selected(&text);
    item.found(found)
        .judged(accepted.contains(&found), Standing::Poor, format!("echo madvise > {path}"))
        .changes([Change::new(path.clone(), "madvise")])
}

fn swappiness(context: &Context<'_>) -> Item {
    const PATH: &str = "/proc/sys/vm/swappiness";
    /// Up to here the kernel swaps only when it has no page cache left to drop.
    const MOST: i64 = 10;
    let item = Item::new("vm.swappiness", "A shard that waits for its own memory to come back from swap answers nobody.").wanted("1");
    let Some(found) = context.root.number(PATH) else { return item };
    item.found(found.to_string()).judged(found <= MOST, Standing::Poor, "sysctl vm.swappiness=1").changes([Change::new(PATH, "1")])
}

fn swap(context: &Context<'_>) -> Item {
    let item = Item::new("swap", "The broker bounds its memory itself; swap only hides that the machine is too small.").wanted("none");
    let Some(text) = context.root.read("/proc/swaps") else { return item };
    let areas: Vec<&str> = text.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
    let found = if areas.is_empty() { "none".into() } else { areas.join(" ") };
    item.found(found).standing(if areas.is_empty() { Standing::Good } else { Standing::Note })
}
