//! What lies on another NUMA node is named.

mod support;

use odradek_tune::machine::Machine;
use odradek_tune::remote::remote;
use support::MadeUp;

fn told(machine: &MadeUp, shards: &[u32]) -> Vec<String> {
    let root = machine.root();
    remote(&root, &Machine::read(&root), &shards.iter().copied().collect(), &["/data/0/odradek".into()])
}

#[test]
fn a_machine_of_one_node_has_nothing_remote() {
    let mut machine = MadeUp::new(1, 4, 1);
    machine.card("ens1", 0, 4);
    machine.nvme("nvme0n1", -1, "/data/0");
    assert!(told(&machine, &[0]).is_empty());
}

#[test]
fn disk_card_and_other_shards_are_named() {
    let mut machine = MadeUp::new(2, 4, 1);
    machine.card("ens1", 0, 4);
    machine.nvme("nvme0n1", 0, "/data/0");
    assert!(told(&machine, &[0]).is_empty(), "everything is near");
    assert_eq!(
        told(&machine, &[1]),
        ["shards on NUMA node 1 are remote to /data/0/odradek (nvme0n1 on NUMA node 0), network card ens1 (NUMA node 0)"]
    );
    assert_eq!(told(&machine, &[0, 1])[0], "shards on NUMA node 0 are remote to shards on NUMA node 1");
    machine.card("ens2", 1, 4);
    assert_eq!(told(&machine, &[1]), ["shards on NUMA node 1 are remote to /data/0/odradek (nvme0n1 on NUMA node 0)"]);
}
