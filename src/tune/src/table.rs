//! Tables and steps for people.

use crate::apply::{Outcome, Step};
use crate::check::{Item, Standing};
use crate::cpu_list;
use crate::plan::PlannedNode;
use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table};
use std::io::Write;

/// Prints text; a reader that went away is not an error.
pub(crate) fn print(text: &str) {
    let mut out = std::io::stdout();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Columns of the table where standard output is no terminal.
const WIDTH: u16 = 160;

pub(crate) fn checked(items: &[Item]) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    if table.width().is_none() {
        table.set_width(WIDTH);
    }
    table.set_header(["", "item", "found", "wanted", "why", "how to fix"]);
    for item in items {
        table.add_row([mark(item.standing), &item.name, &item.found, &item.wanted, item.why, &item.fix]);
    }
    let count = |standing| items.iter().filter(|item| item.standing == standing).count();
    let table: String = table.to_string().lines().map(|line| format!("{}\n", line.trim_end())).collect();
    format!(
        "{table}\n{} good, {} poor, {} bad, {} to note, {} unknown\n",
        count(Standing::Good),
        count(Standing::Poor),
        count(Standing::Bad),
        count(Standing::Note),
        count(Standing::Unknown)
    )
}

fn mark(standing: Standing) -> &'static str {
    match standing {
        Standing::Good => "good",
        Standing::Poor => "POOR",
        Standing::Bad => "BAD",
        Standing::Note => "note",
        Standing::Unknown => "?",
    }
}

pub(crate) fn steps(steps: &[Step]) -> String {
    let line = |step: &Step| {
        let (word, error) = match &step.outcome {
            Outcome::Changed => ("changed", String::new()),
            Outcome::WouldChange => ("would change", String::new()),
            Outcome::Failed(error) => ("NOT changed", format!(": {error}")),
        };
        format!("{word} {} from `{}` to `{}`{error}\n", step.path, step.from, step.to)
    };
    steps.iter().map(line).collect()
}

pub(crate) fn planned(plan: &[PlannedNode]) -> String {
    let mut text = String::new();
    for node in plan {
        let list = |names: &[String]| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        let directories: Vec<String> = node.directories.iter().map(|path| path.display().to_string()).collect();
        let house = &node.division.housekeeping;
        text += &format!("NUMA node {}: node.id {}, port {}\n", node.numa_node, node.node_id, node.port);
        text += &format!("  shards        {} on CPUs {}\n", node.division.shards.len(), cpu_list::format(&node.division.shards));
        text += &format!("  housekeeping  {}\n", if house.is_empty() { "between the shards".into() } else { cpu_list::format(house) });
        text +=
            &format!("  memory        {} MiB, of it {} MiB tail cache per shard\n", node.memory_bytes >> 20, node.tail_cache_bytes >> 20);
        text += &format!("  network       {}\n", list(&node.network));
        text += &format!("  data          {}\n", list(&directories));
        for remote in &node.remote {
            text += &format!("  remote        {remote}\n");
        }
    }
    text
}
