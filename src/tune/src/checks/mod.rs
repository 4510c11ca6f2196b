//! One file per part of the machine.

pub(crate) mod cpu;
pub(crate) mod disk;
pub(crate) mod interrupts;
pub(crate) mod limits;
pub(crate) mod memory;
pub(crate) mod network;

use crate::check::{Change, Context, Item, Standing};

/// A switch below `/proc/sys` that has one wanted value.
fn exactly(context: &Context<'_>, name: &str, wanted: &str, why: &'static str) -> Item {
    let path = sysctl_path(name);
    let item = Item::new(name, why).wanted(wanted);
    let Some(found) = context.root.read(&path) else { return item };
    item.found(&found).judged(found == wanted, Standing::Poor, format!("sysctl {name}={wanted}")).changes([Change::new(path, wanted)])
}

/// A bound below `/proc/sys`; of several numbers the last one counts (`tcp_rmem`: least, default, most).
fn at_least(context: &Context<'_>, name: &str, wanted: i64, why: &'static str) -> Item {
    let path = sysctl_path(name);
    let item = Item::new(name, why).wanted(format!("at least {wanted}"));
    let Some(found) = context.root.read(&path) else { return item };
    let mut numbers: Vec<String> = found.split_whitespace().map(str::to_owned).collect();
    let Some(last) = numbers.last().and_then(|last| last.parse::<i64>().ok()) else { return item.found(found) };
    numbers.pop();
    numbers.push(wanted.to_string());
    let value = numbers.join(" ");
    let fix = format!("sysctl '{name}={value}'");
    item.found(found.split_whitespace().collect::<Vec<_>>().join(" "))
        .judged(last >= wanted, Standing::Poor, fix)
        .changes([Change::new(path, value)])
}

fn sysctl_path(name: &str) -> String {
    format!("/proc/sys/{}", name.replace('.', "/"))
}
