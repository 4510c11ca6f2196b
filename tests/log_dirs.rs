//! Several log directories over the wire: partitions are spread over them, described, moved while they are used, and one directory that cannot be
//! opened takes its own partitions only; in both advertise modes.

mod support;

use odradek_client::admin::{LogDir, LogDirReplica, NewTopic};
use odradek_client::{Cluster, topic_name};
use odradek_wire::ErrorCode;
use odradek_wire::messages::AlterReplicaLogDirsRequest;
use odradek_wire::messages::alter_replica_log_dirs_request::{AlterReplicaLogDir, AlterReplicaLogDirTopic};
use std::path::Path;
use support::records::{batch, fetch, leader, produce, produce_ok, read_all, values};
use support::{Mode, TestBroker, code, eventually};

both_modes!(partitions_are_spread_and_moved_between_log_directories, a_directory_that_cannot_be_opened_takes_its_own_partitions_only);

const PARTITIONS: i32 = 8;

struct Dirs {
    home: tempfile::TempDir,
}

impl Dirs {
    fn new() -> Self {
        Self { home: tempfile::tempdir().expect("a temporary directory") }
    }

    fn path(&self, name: &str) -> String {
        self.home.path().join(name).display().to_string()
    }

    fn start(&self, mode: Mode) -> TestBroker {
        TestBroker::start_with(mode, &[&format!("log.dirs={},{}", self.path("a"), self.path("b"))])
    }
}

fn create(cluster: &mut Cluster, name: &str) {
    let topic = NewTopic { name: name.to_owned(), partitions: Some(PARTITIONS), replication_factor: Some(1), ..NewTopic::default() };
    cluster.admin().create_topic(&topic, false).expect("created");
}

/// The log directories of the broker that leads a partition.
fn described(cluster: &mut Cluster, topic: &str, partition: i32) -> Vec<LogDir> {
    let broker = cluster.leader(topic, partition).expect("a leader");
    cluster.admin().describe_log_dirs(broker, Some(&[topic.to_owned()])).expect("described")
}

/// Where a partition is, with its row; unfinished copies apart.
fn places(cluster: &mut Cluster, topic: &str, partition: i32) -> Vec<(String, LogDirReplica)> {
    described(cluster, topic, partition)
        .into_iter()
        .flat_map(|dir| dir.replicas.into_iter().map(move |replica| (dir.path.clone(), replica)))
        .filter(|(_, replica)| replica.partition == partition)
        .collect()
}

fn alter(cluster: &mut Cluster, topic: &str, partition: i32, path: &str, asked: &str) -> i16 {
    let topics = vec![AlterReplicaLogDirTopic::default().with_name(topic_name(asked)).with_partitions(vec![partition])];
    let dirs = vec![AlterReplicaLogDir::default().with_path(path.to_owned().into()).with_topics(topics)];
    let response = leader(cluster, topic, partition).call(&AlterReplicaLogDirsRequest::default().with_dirs(dirs)).expect("an answer");
    assert_eq!(response.results.len(), 1);
    response.results[0].partitions[0].error_code
}

fn partitions_are_spread_and_moved_between_log_directories(mode: Mode) {
    let dirs = Dirs::new();
    let mut broker = dirs.start(mode);
    let mut cluster = broker.cluster();
    create(&mut cluster, "moved");
    let mut in_a = 0;
    for partition in 0..PARTITIONS {
        produce_ok(&mut cluster, "moved", partition, batch(&["one"]));
        let places = places(&mut cluster, "moved", partition);
        let [(path, replica)] = &places[..] else { panic!("one place: {places:?}") };
        assert!(*path == dirs.path("a") || *path == dirs.path("b"));
        assert!(replica.size_bytes > 0 && replica.offset_lag == 0 && !replica.is_future, "{replica:?}");
        in_a += i32::from(*path == dirs.path("a"));
    }
    assert_eq!(in_a, PARTITIONS / 2, "spread evenly");
    for dir in described(&mut cluster, "moved", 0) {
        assert!(dir.error.is_none() && dir.total_bytes > 0 && dir.usable_bytes >= 0, "{dir:?}");
    }

    assert_eq!(alter(&mut cluster, "moved", 0, "/no/such/directory", "moved"), code(ErrorCode::LogDirNotFound));
    assert_eq!(alter(&mut cluster, "moved", 0, &dirs.path("a"), "unknown"), code(ErrorCode::UnknownTopicOrPartition));
    let (from, _) = places(&mut cluster, "moved", 0).remove(0);
    let to = if from == dirs.path("a") { dirs.path("b") } else { dirs.path("a") };
    assert_eq!(alter(&mut cluster, "moved", 0, &from, "moved"), 0, "it is there already");
    assert_eq!(alter(&mut cluster, "moved", 0, &to, "moved"), 0);
    let mut expected = vec!["one".to_owned()];
    eventually("the partition to be in its new directory", || {
        let value = format!("value-{}", expected.len());
        produce_ok(&mut cluster, "moved", 0, batch(&[&value]));
        expected.push(value);
        let places = places(&mut cluster, "moved", 0);
        (places.len() == 1 && places[0].0 == to).then_some(())
    });
    assert!(Path::new(&to).join("moved-0").is_dir());
    eventually("the old directory to be gone", || (!Path::new(&from).join("moved-0").exists()).then_some(()));
    assert_eq!(values(&read_all(&mut cluster, "moved", 0, 0)), expected);
    broker.restart();
    let mut cluster = broker.cluster();
    assert_eq!(values(&read_all(&mut cluster, "moved", 0, 0)), expected);
    assert_eq!(places(&mut cluster, "moved", 0)[0].0, to);
}

fn a_directory_that_cannot_be_opened_takes_its_own_partitions_only(mode: Mode) {
    let dirs = Dirs::new();
    let mut broker = dirs.start(mode);
    let mut cluster = broker.cluster();
    create(&mut cluster, "split");
    let mut in_b = Vec::new();
    for partition in 0..PARTITIONS {
        produce_ok(&mut cluster, "split", partition, batch(&["one"]));
        if places(&mut cluster, "split", partition)[0].0 == dirs.path("b") {
            in_b.push(partition);
        }
    }
    broker.stop();
    // A file where the directory was: it cannot be opened, like a disk that is not mounted or does not answer.
    std::fs::rename(dirs.path("b"), dirs.path("kept")).expect("moved away");
    std::fs::write(dirs.path("b"), "").expect("a file");
    broker.start_again();
    let mut cluster = broker.cluster();
    for partition in 0..PARTITIONS {
        let offline = in_b.contains(&partition);
        let wanted = if offline { code(ErrorCode::KafkaStorageError) } else { 0 };
        assert_eq!(produce(&mut cluster, "split", partition, -1, batch(&["two"])).error_code, wanted, "partition {partition}");
        assert_eq!(fetch(&mut cluster, "split", partition, 0).error_code, wanted, "partition {partition}");
    }
    for partition in cluster.admin().describe_topics(&["split".to_owned()], 2_000).expect("described").remove(0).partitions {
        let offline = in_b.contains(&partition.index);
        assert_eq!((partition.leader == -1, partition.offline == partition.replicas), (offline, offline), "{partition:?}");
        assert_eq!(partition.isr, partition.replicas);
    }
    for dir in described(&mut cluster, "split", 0) {
        assert_eq!(dir.error.is_some(), dir.path == dirs.path("b"), "{dir:?}");
        assert!(dir.error.is_none() || dir.replicas.is_empty());
    }
    assert_eq!(alter(&mut cluster, "split", 0, &dirs.path("b"), "split"), code(ErrorCode::KafkaStorageError));
    // New partitions go where they can live.
    create(&mut cluster, "later");
    for partition in 0..PARTITIONS {
        produce_ok(&mut cluster, "later", partition, batch(&["one"]));
        assert_eq!(places(&mut cluster, "later", partition)[0].0, dirs.path("a"));
    }
    broker.stop();
    std::fs::remove_file(dirs.path("b")).expect("removed");
    std::fs::rename(dirs.path("kept"), dirs.path("b")).expect("back");
    broker.start_again();
    let mut cluster = broker.cluster();
    for partition in 0..PARTITIONS {
        let expected: &[&str] = if in_b.contains(&partition) { &["one"] } else { &["one", "two"] };
        assert_eq!(values(&read_all(&mut cluster, "split", partition, 0)), expected);
        produce_ok(&mut cluster, "split", partition, batch(&["three"]));
    }
}
