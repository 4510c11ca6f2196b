//! Deleted topics over the wire: the name is free at once, the files wait for `log.segment.delete.delay.ms` and are gone later, across restarts and in
//! several log directories; in both advertise modes.

mod support;

use odradek_client::Cluster;
use odradek_client::admin::{AlterConfig, AlterOperation, ConfigResource, NewTopic, ResourceType};
use std::path::{Path, PathBuf};
use support::records::{batch, produce_ok, read_all, values};
use support::{Mode, TestBroker, eventually};

both_modes!(a_deleted_topic_waits_and_its_name_is_free, a_short_delay_ends, copies_of_a_topic_that_is_gone_are_removed);

const PARTITIONS: i32 = 4;
const HOUR: &str = "3600000";

fn create(cluster: &mut Cluster, name: &str) {
    let topic = NewTopic { name: name.to_owned(), partitions: Some(PARTITIONS), replication_factor: Some(1), ..NewTopic::default() };
    cluster.admin().create_topic(&topic, false).expect("created");
}

fn fill(cluster: &mut Cluster, name: &str, value: &str) {
    for partition in 0..PARTITIONS {
        produce_ok(cluster, name, partition, batch(&[value]));
    }
}

struct Dirs {
    home: tempfile::TempDir,
}

impl Dirs {
    fn new() -> Self {
        Self { home: tempfile::tempdir().expect("a temporary directory") }
    }

    fn log_dirs(&self) -> [PathBuf; 2] {
        ["a", "b"].map(|name| self.home.path().join(name))
    }

    fn start(&self, mode: Mode, delay_ms: &str) -> TestBroker {
        let [a, b] = self.log_dirs();
        let log_dirs = format!("log.dirs={},{}", a.display(), b.display());
        TestBroker::start_with(mode, &[&log_dirs, &format!("log.segment.delete.delay.ms={delay_ms}")])
    }

    /// Directories of a topic's partitions that have this ending, by log directory.
    fn found(&self, topic: &str, ending: &str) -> [usize; 2] {
        self.log_dirs().map(|log_dir| {
            let names = std::fs::read_dir(log_dir).expect("a log directory").map(|entry| entry.expect("an entry").file_name());
            names.filter(|name| name.to_str().is_some_and(|name| name.starts_with(&format!("{topic}-")) && name.ends_with(ending))).count()
        })
    }

    fn deleted(&self, topic: &str) -> [usize; 2] {
        self.found(topic, "-delete")
    }
}

/// Bytes that a topic has in the log directories of all brokers.
fn described_bytes(cluster: &mut Cluster, topic: &str) -> i64 {
    let brokers: std::collections::BTreeSet<_> =
        (0..PARTITIONS).map(|partition| cluster.leader(topic, partition).expect("a leader")).collect();
    let mut bytes = 0;
    for broker in brokers {
        let dirs = cluster.admin().describe_log_dirs(broker, Some(&[topic.to_owned()])).expect("described");
        bytes += dirs.iter().flat_map(|dir| &dir.replicas).map(|replica| replica.size_bytes).sum::<i64>();
    }
    bytes
}

fn a_deleted_topic_waits_and_its_name_is_free(mode: Mode) {
    let dirs = Dirs::new();
    let mut broker = dirs.start(mode, HOUR);
    let mut cluster = broker.cluster();
    create(&mut cluster, "again");
    fill(&mut cluster, "again", "old");
    let one = described_bytes(&mut cluster, "again");
    fill(&mut cluster, "again", "old");
    assert_eq!(described_bytes(&mut cluster, "again"), 2 * one);
    cluster.admin().delete_topic("again").expect("deleted");
    create(&mut cluster, "again");
    fill(&mut cluster, "again", "new");
    assert_eq!(described_bytes(&mut cluster, "again"), one, "what waits is nobody's");
    let spread = dirs.deleted("again");
    assert_eq!(spread.iter().sum::<usize>(), PARTITIONS as usize);
    assert!(spread.iter().all(|count| *count > 0), "{spread:?}");

    // Stopped while they wait: they wait on.
    broker.restart();
    let mut cluster = broker.cluster();
    for partition in 0..PARTITIONS {
        assert_eq!(values(&read_all(&mut cluster, "again", partition, 0)), ["new"]);
    }
    assert_eq!(dirs.deleted("again"), spread);

    // The delay of all brokers counts from now on, also for what waits.
    let change =
        AlterConfig { name: "log.segment.delete.delay.ms".to_owned(), operation: AlterOperation::Set, value: Some("0".to_owned()) };
    let all_brokers = ConfigResource { kind: ResourceType::Broker, name: String::new() };
    cluster.admin().alter_configs(&all_brokers, &[change], false).expect("altered");
    eventually("the deleted directories to be gone", || (dirs.deleted("again") == [0, 0]).then_some(()));
    for partition in 0..PARTITIONS {
        assert_eq!(values(&read_all(&mut cluster, "again", partition, 0)), ["new"]);
    }
}

fn a_short_delay_ends(mode: Mode) {
    let dirs = Dirs::new();
    let mut broker = dirs.start(mode, "500");
    let mut cluster = broker.cluster();
    for name in ["one", "two"] {
        create(&mut cluster, name);
        fill(&mut cluster, name, "value");
        cluster.admin().delete_topic(name).expect("deleted");
        if name == "one" {
            eventually("the deleted directories to be gone", || (dirs.deleted("one") == [0, 0]).then_some(()));
        }
    }
    // Most likely in the middle of it.
    broker.restart();
    eventually("what the stop left to be gone", || (dirs.deleted("two") == [0, 0]).then_some(()));
}

fn copies_of_a_topic_that_is_gone_are_removed(mode: Mode) {
    let dirs = Dirs::new();
    let mut broker = dirs.start(mode, "0");
    let mut cluster = broker.cluster();
    create(&mut cluster, "here");
    fill(&mut cluster, "here", "value");
    broker.stop();
    let copy = |log_dir: &Path, topic: &str| {
        let path = log_dir.join(format!("{topic}-0.0123456789abcdef0123456789abcdef-future"));
        std::fs::create_dir(&path).expect("made");
        std::fs::write(path.join("00000000000000000000.log"), "part").expect("written");
    };
    for log_dir in dirs.log_dirs() {
        copy(&log_dir, "gone");
    }
    broker.start_again();
    eventually("copies to be gone", || (dirs.found("gone", "") == [0, 0]).then_some(()));
    let mut cluster = broker.cluster();
    assert_eq!(values(&read_all(&mut cluster, "here", 0, 0)), ["value"]);
}
