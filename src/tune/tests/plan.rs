//! Plans for made-up machines of 1, 2 and 4 NUMA nodes.

mod support;

use odradek_settings::Settings;
use odradek_tune::cpu_list;
use odradek_tune::machine::Machine;
use odradek_tune::plan::{PlanError, PlannedNode, Wishes, divide, files, plan, write};
use support::MadeUp;

fn wishes(directories: &[&str]) -> Wishes {
    Wishes {
        directories: directories.iter().map(Into::into).collect(),
        host: Some("kafka.example".into()),
        first_node_id: 1,
        first_port: 9092,
    }
}

fn planned(machine: &MadeUp, wishes: &Wishes) -> Vec<PlannedNode> {
    let root = machine.root();
    plan(&root, &Machine::read(&root), wishes).unwrap()
}

#[test]
fn cores_are_divided_by_their_number() {
    for (cores, threads, shards, housekeeping) in
        [(1, 1, "0", ""), (2, 1, "0-1", ""), (2, 2, "0-1", ""), (4, 1, "0-2", "3"), (8, 2, "0-6", "7,15"), (32, 1, "0-29", "30-31")]
    {
        let machine = Machine::read(&MadeUp::new(1, cores, threads).root());
        let division = divide(&machine, &machine.nodes[0]);
        assert_eq!(
            (cpu_list::format(&division.shards).as_str(), cpu_list::format(&division.housekeeping).as_str()),
            (shards, housekeeping)
        );
    }
}

#[test]
fn one_node_gets_everything() {
    let mut machine = MadeUp::new(1, 4, 1);
    machine.card("eth0", -1, 4);
    machine.nvme("nvme0n1", -1, "/data/0");
    let plan = planned(&machine, &wishes(&["/data/0"]));
    assert_eq!(plan.len(), 1);
    assert_eq!((plan[0].port, plan[0].node_id, plan[0].remote.len()), (9092, 1, 0));
    assert_eq!(plan[0].network, ["eth0"]);
    assert_eq!(plan[0].tail_cache_bytes, 4 << 30, "a quarter of 64 GiB by three shards, and no more than 4 GiB");
}

#[test]
fn two_nodes_get_the_card_and_the_disk_near_them() {
    let mut machine = MadeUp::new(2, 8, 2);
    machine.card("ens1", 0, 7);
    machine.card("ens2", 1, 7);
    // The drives are mounted the other way round than they are named.
    machine.nvme("nvme0n1", 1, "/data/a");
    machine.nvme("nvme1n1", 0, "/data/b");
    let wishes = wishes(&["/data/a", "/data/b"]);
    let plan = planned(&machine, &wishes);
    assert_eq!(plan[0].directories, [std::path::PathBuf::from("/data/b")]);
    assert_eq!(plan[1].directories, [std::path::PathBuf::from("/data/a")]);
    assert_eq!((plan[0].network.clone(), plan[1].network.clone()), (vec!["ens1".to_owned()], vec!["ens2".to_owned()]));
    assert_eq!(cpu_list::format(&plan[1].division.shards), "8-14");
    assert_eq!(cpu_list::format(&plan[1].division.housekeeping), "15,31");
    assert!(plan.iter().all(|node| node.remote.is_empty()));

    let files = files(&plan, &wishes);
    let text =
        |path: &str| files.iter().find(|file| file.path == std::path::Path::new(path)).unwrap_or_else(|| panic!("no {path}")).text.clone();
    let drop_in = text("etc/systemd/system/odradek@1.service.d/10-numa.conf");
    for line in ["CPUAffinity=8-15 31", "NUMAPolicy=bind", "NUMAMask=1", "ReadWritePaths=/data/a", "RequiresMountsFor=/data/a"] {
        assert!(drop_in.lines().any(|have| have == line), "{line} in {drop_in}");
    }
    let kernel = text("kernel-command-line");
    assert!(kernel.contains("nohz_full=0-6,8-14 rcu_nocbs=0-6,8-14 irqaffinity=7,15,23,31"), "{kernel}");
}

#[test]
fn four_nodes_with_one_card_and_one_disk_are_told_what_is_remote() {
    let mut machine = MadeUp::new(4, 4, 1);
    machine.card("ens1", 2, 3);
    machine.nvme("nvme0n1", 2, "/data/0");
    let plan = planned(&machine, &wishes(&["/data/0"]));
    assert_eq!(plan.iter().map(|node| node.port).collect::<Vec<_>>(), [9092, 10092, 11092, 12092]);
    assert_eq!(plan.iter().map(|node| node.remote.len()).collect::<Vec<_>>(), [2, 2, 0, 2]);
    assert_eq!(plan[0].remote, ["data in /data/0: nvme0n1 on NUMA node 2", "network card ens1 on NUMA node 2"]);
    assert!(plan.iter().all(|node| node.directories.len() == 1));
}

#[test]
fn the_broker_reads_what_is_written_and_ports_do_not_meet() {
    for numa in [1, 2, 4] {
        let machine = MadeUp::new(numa, 8, 2);
        let wishes = wishes(&["/data/0", "/data/1"]);
        let plan = planned(&machine, &wishes);
        let out = tempfile::tempdir().unwrap();
        write(&files(&plan, &wishes), out.path()).unwrap();
        let mut dirs = Vec::new();
        for node in &plan {
            let path = out.path().join(format!("etc/odradek/node-{}.properties", node.numa_node));
            let (settings, warnings) = Settings::load(Some(&path), &[]).unwrap_or_else(|error| panic!("{error}"));
            assert!(warnings.is_empty(), "{warnings:?}");
            assert_eq!(settings.shards(), Some(7));
            dirs.extend(settings.log_dirs());
        }
        let count = dirs.len();
        dirs.sort();
        dirs.dedup();
        assert_eq!(dirs.len(), count, "no two nodes share a directory");
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let machine = MadeUp::new(4, 2, 1);
    let root = machine.root();
    let wishes = Wishes { first_port: 54_000, ..wishes(&["/data"]) };
    assert!(matches!(plan(&root, &Machine::read(&root), &wishes), Err(PlanError::Ports { most: 51_535, .. })));
    let empty = tempfile::tempdir().unwrap();
    let root = odradek_tune::Root::new(empty.path());
    assert_eq!(plan(&root, &Machine::read(&root), &wishes), Err(PlanError::NoCpus));
}
