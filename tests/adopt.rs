//! The first start on directories that another broker left: topics and records are there as before.

mod support;

use bytes::Bytes;
use odradek_client::Cluster;
use odradek_client::admin::{ConfigResource, NewTopic, ResourceType};
use odradek_wire::compress::Codec;
use std::fs;
use std::path::Path;
use support::records::{batch_with, produce_ok, read_all, values};
use support::{Mode, TestBroker};

both_modes!(partition_directories_alone_are_adopted, a_kafka_nodes_metadata_is_read_and_put_aside, missing_partitions_stop_the_start);

const METADATA: &str = "__cluster_metadata-0";

fn fill(cluster: &mut Cluster) -> uuid::Uuid {
    let configs = vec![("retention.ms".to_owned(), "123456789".to_owned())];
    let topic = NewTopic { name: "t-1".into(), partitions: Some(3), replication_factor: Some(1), configs, ..NewTopic::default() };
    let id = cluster.admin().create_topic(&topic, false).expect("created");
    for partition in 0..3 {
        for at in 0..20 {
            let sent: Bytes = batch_with(Codec::Zstd, &[format!("{partition} {at} a"), format!("{partition} {at} b")], |b| b);
            assert_eq!(produce_ok(cluster, "t-1", partition, sent), at * 2);
        }
    }
    id
}

fn check(cluster: &mut Cluster, id: uuid::Uuid, next: i64) {
    let topics = cluster.admin().list_topics(false).expect("listed");
    assert_eq!(topics.iter().map(|topic| topic.name.as_str()).collect::<Vec<_>>(), ["t-1"]);
    assert_eq!(topics[0].id, id);
    for partition in 0..3 {
        let all = values(&read_all(cluster, "t-1", partition, 0));
        assert_eq!((all.len() as i64, all[39].as_str()), (next, &*format!("{partition} 19 b")));
        assert_eq!(produce_ok(cluster, "t-1", partition, batch_with(Codec::None, &["more"], |b| b)), next, "offsets go on");
    }
}

/// What only Odradek has in a data directory.
fn remove_ours(dir: &Path) {
    for entry in fs::read_dir(dir).expect("the directory") {
        let path = entry.expect("an entry").path();
        if path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("odradek")) {
            if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) }.expect("removed");
        }
    }
}

fn retention(cluster: &mut Cluster) -> Option<String> {
    let resource = ConfigResource { kind: ResourceType::Topic, name: "t-1".to_owned() };
    let entries = cluster.admin().describe_configs(&resource, false).expect("described");
    entries.into_iter().find(|entry| entry.name == "retention.ms").and_then(|entry| entry.value)
}

fn partition_directories_alone_are_adopted(mode: Mode) {
    let mut broker = TestBroker::start(mode);
    let id = fill(&mut broker.cluster());
    broker.stop();
    remove_ours(broker.dir());
    fs::remove_dir_all(broker.dir().join(METADATA)).expect("removed");
    broker.start_again();
    check(&mut broker.cluster(), id, 40);
    assert_eq!(retention(&mut broker.cluster()).as_deref(), Some("604800000"), "directories do not tell configs");
    broker.restart();
    check(&mut broker.cluster(), id, 41);
}

/// Our metadata log has Kafka's format; with Kafka's `quorum-state` beside it it is one of Kafka's.
fn a_kafka_nodes_metadata_is_read_and_put_aside(mode: Mode) {
    let mut broker = TestBroker::start(mode);
    let id = fill(&mut broker.cluster());
    broker.stop();
    remove_ours(broker.dir());
    fs::write(broker.dir().join(METADATA).join("quorum-state"), "{}").expect("written");
    let before = fs::read(broker.dir().join(METADATA).join("00000000000000000000.log")).expect("a log");
    broker.start_again();
    check(&mut broker.cluster(), id, 40);
    assert_eq!(retention(&mut broker.cluster()).as_deref(), Some("123456789"));
    let aside = fs::read(broker.dir().join("__cluster_metadata-0.kafka").join("00000000000000000000.log")).expect("put aside");
    assert!(aside == before);
    broker.restart();
    check(&mut broker.cluster(), id, 41);
}

fn missing_partitions_stop_the_start(mode: Mode) {
    let mut broker = TestBroker::start(mode);
    let id = fill(&mut broker.cluster());
    broker.stop();
    remove_ours(broker.dir());
    fs::write(broker.dir().join(METADATA).join("quorum-state"), "{}").expect("written");
    let (here, elsewhere) = (broker.dir().join("t-1-1"), broker.dir().join("elsewhere"));
    fs::rename(&here, &elsewhere).expect("moved");
    let error = broker.start_second().expect_err("a partition is missing");
    assert!(error.contains("t-1-1"), "{error}");
    fs::rename(&elsewhere, &here).expect("moved back");
    broker.start_again();
    check(&mut broker.cluster(), id, 40);
}
