//! The table of what matters: found, wanted, why, how to fix.

use crate::checks;
use crate::cpu_list::Cpus;
use crate::machine::Machine;
use crate::plan;
use crate::root::Root;
use serde::Serialize;
use std::path::PathBuf;

/// How an item stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// As wanted.
    Good,
    /// Costs latency or throughput.
    Poor,
    /// The broker does not start or does not keep its promise.
    Bad,
    /// To be known; nothing to be done, or a matter of taste.
    Note,
    /// The kernel does not tell, for instance inside a container.
    Unknown,
}

/// One write that mends an item while the machine runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// A file below `/proc` or `/sys`.
    pub path: String,
    pub value: String,
}

/// One row of the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Item {
    /// What it is about; stable, for scripts.
    pub name: String,
    pub standing: Standing,
    pub found: String,
    pub wanted: String,
    pub why: &'static str,
    /// What a person does; empty where nothing is to be done.
    pub fix: String,
    /// What `apply` writes; empty where it may not or cannot.
    pub changes: Vec<Change>,
}

impl Item {
    pub(crate) fn new(name: impl Into<String>, why: &'static str) -> Self {
        Self {
            name: name.into(),
            standing: Standing::Unknown,
            found: "?".into(),
            wanted: String::new(),
            why,
            fix: String::new(),
            changes: Vec::new(),
        }
    }

    pub(crate) fn found(mut self, found: impl Into<String>) -> Self {
        self.found = found.into();
        self
    }

    pub(crate) fn wanted(mut self, wanted: impl Into<String>) -> Self {
        self.wanted = wanted.into();
        self
    }

    pub(crate) fn standing(mut self, standing: Standing) -> Self {
        self.standing = standing;
        self
    }

    /// Good, or `otherwise` with the way to mend it.
    pub(crate) fn judged(mut self, good: bool, otherwise: Standing, fix: impl Into<String>) -> Self {
        self.standing = if good { Standing::Good } else { otherwise };
        if !good {
            self.fix = fix.into();
        }
        self
    }

    /// What `apply` writes, unless the item is good already.
    pub(crate) fn changes(mut self, changes: impl IntoIterator<Item = Change>) -> Self {
        if self.standing != Standing::Good {
            self.changes = changes.into_iter().collect();
        }
        self
    }
}

impl Change {
    pub(crate) fn new(path: impl Into<String>, value: impl Into<String>) -> Self {
        Self { path: path.into(), value: value.into() }
    }
}

/// What is to be looked at.
#[derive(Debug, Clone)]
pub struct Question {
    /// Directories of the broker's data.
    pub directories: Vec<PathBuf>,
    /// The process whose limits count: a running broker's id, or `self` for what a broker started from this shell would get.
    pub process: String,
}

/// What every check sees.
pub(crate) struct Context<'a> {
    pub root: &'a Root,
    pub machine: &'a Machine,
    pub question: &'a Question,
    /// CPUs that shards run on by `odradek tune plan`.
    pub shard_cpus: Cpus,
}

/// Looks at everything, in the order of the table.
pub fn check(root: &Root, machine: &Machine, question: &Question) -> Vec<Item> {
    let shard_cpus = machine.nodes.iter().flat_map(|node| plan::divide(machine, node).shards).collect();
    let context = Context { root, machine, question, shard_cpus };
    let groups = [
        checks::cpu::items,
        checks::memory::items,
        checks::interrupts::items,
        checks::network::items,
        checks::limits::items,
        checks::disk::items,
    ];
    groups.iter().flat_map(|items| items(&context)).collect()
}

/// Whether scripts should see success: nothing poor, nothing bad.
pub fn is_fit(items: &[Item]) -> bool {
    items.iter().all(|item| !matches!(item.standing, Standing::Poor | Standing::Bad))
}
