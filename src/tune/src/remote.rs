//! What a running broker has on another NUMA node than its shards.

use crate::machine::{Device, Machine, Mount};
use crate::root::Root;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// One sentence for each NUMA node that shards run on and that something is far from. `shards` are the NUMA nodes of the shards,
/// `directories` those of the data. Nothing on a machine with one node.
pub fn remote(root: &Root, machine: &Machine, shards: &BTreeSet<u32>, directories: &[PathBuf]) -> Vec<String> {
    let mut told = Vec::new();
    for &node in shards {
        let far = |device: &Device| device.numa_node.filter(|&home| home != node);
        let mut things = Vec::new();
        for directory in directories {
            let disks = Mount::of(root, directory).map(|mount| mount.disks(root, machine)).unwrap_or_default();
            things.extend(disks.iter().filter_map(|disk| {
                let home = far(disk)?;
                Some(format!("{} ({} on NUMA node {home})", directory.display(), disk.name))
            }));
        }
        // A card on the own node is enough.
        let cards: Vec<String> =
            machine.network.iter().map_while(|card| Some(format!("network card {} (NUMA node {})", card.name, far(card)?))).collect();
        if cards.len() == machine.network.len() {
            things.extend(cards);
        }
        let others: Vec<String> =
            shards.iter().filter(|&&other| other != node).map(|other| format!("shards on NUMA node {other}")).collect();
        things.extend(others);
        if !things.is_empty() {
            told.push(format!("shards on NUMA node {node} are remote to {}", things.join(", ")));
        }
    }
    told
}
