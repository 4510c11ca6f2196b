//! What a stopped broker has on disk is what it serves when it starts again; in both advertise modes.

mod support;

use bytes::Bytes;
use odradek_client::admin::{AlterConfig, AlterOperation, ConfigResource, NewTopic, OffsetSpec, ResourceType};
use odradek_client::consumer::IsolationLevel;
use odradek_client::{Cluster, ConsumerRecord, Producer, ProducerConfig, ProducerRecord};
use odradek_wire::ErrorCode;
use odradek_wire::messages::{FetchRequest, InitProducerIdRequest, ProducerId};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::process::Command;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;
use support::records::{
    CODECS, FETCH_NAMED, FetchOptions, batch, batch_with, bytes_of, fetch, fetch_request, idempotent_batch, produce, produce_ok, read_all,
    values,
};
use support::{Mode, PATIENCE, TestBroker, code, code_of, eventually};

both_modes!(
    records_offsets_ids_and_configs_are_kept,
    several_segments_are_kept,
    producer_state_is_kept,
    producer_ids_are_never_given_twice,
    deleted_topics_and_records_stay_deleted,
    a_second_process_on_the_directory_is_refused,
    acknowledged_records_survive_a_stop_under_load,
    a_stop_ends_waiting_fetches,
    other_numbers_of_shards_serve_the_same_partitions,
    the_other_advertise_mode_serves_the_same_partitions,
);

fn create(cluster: &mut Cluster, name: &str, partitions: i32, configs: &[(&str, &str)]) -> uuid::Uuid {
    let configs = configs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let topic =
        NewTopic { name: name.to_owned(), partitions: Some(partitions), replication_factor: Some(1), assignment: Vec::new(), configs };
    cluster.admin().create_topic(&topic, false).expect("created")
}

/// Everything a client can see of a topic's data.
#[derive(Debug, PartialEq)]
struct Seen {
    id: uuid::Uuid,
    partitions: Vec<(i64, i64, Bytes, Vec<ConsumerRecord>)>,
    newest: Vec<(i64, i64)>,
    configs: Vec<(String, Option<String>)>,
}

fn see(cluster: &mut Cluster, topic: &str) -> Seen {
    let known = cluster.await_topic(topic, false).expect("the topic is there").clone();
    let mut seen = Seen { id: known.id, partitions: Vec::new(), newest: Vec::new(), configs: Vec::new() };
    for partition in 0..known.partitions.len() as i32 {
        let end = fetch(cluster, topic, partition, -1);
        let offset = |cluster: &mut Cluster, spec| {
            let listed = cluster.admin().list_offsets(&[(topic.to_owned(), partition, spec)], IsolationLevel::ReadUncommitted);
            listed.expect("an answer").into_values().next().expect("one").expect("no error")
        };
        assert_eq!(end.error_code, code(ErrorCode::OffsetOutOfRange));
        let (first, last) = (offset(cluster, OffsetSpec::Earliest).offset, offset(cluster, OffsetSpec::Latest).offset);
        let newest = offset(cluster, OffsetSpec::MaxTimestamp);
        seen.newest.push((newest.offset, newest.timestamp));
        let bytes = bytes_of(&fetch(cluster, topic, partition, first));
        seen.partitions.push((first, last, bytes, read_all(cluster, topic, partition, first)));
    }
    let resource = ConfigResource { kind: ResourceType::Topic, name: topic.to_owned() };
    let entries = cluster.admin().describe_configs(&resource, false).expect("described");
    seen.configs = entries.into_iter().map(|e| (e.name, e.value)).collect();
    seen
}

fn records_offsets_ids_and_configs_are_kept(mode: Mode) {
    let mut broker = TestBroker::start(mode);
    let mut cluster = broker.cluster();
    create(&mut cluster, "plain", 3, &[]);
    create(&mut cluster, "strict", 2, &[("max.message.bytes", "5000"), ("retention.ms", "86400000")]);
    create(&mut cluster, "empty", 2, &[]);
    for partition in 0..3 {
        for (at, codec) in CODECS.into_iter().enumerate() {
            let texts: Vec<String> = (0..10).map(|i| format!("{partition} {at} {i}")).collect();
            produce_ok(&mut cluster, "plain", partition, batch_with(codec, &texts, |b| b));
        }
    }
    produce_ok(&mut cluster, "strict", 1, batch(&["x"]));
    let change = AlterConfig { name: "max.message.bytes".into(), operation: AlterOperation::Set, value: Some("6000".into()) };
    let strict = ConfigResource { kind: ResourceType::Topic, name: "strict".into() };
    cluster.admin().alter_configs(&strict, &[change], false).expect("changed");
    cluster.admin().create_partitions("empty", 5, None).expect("added");
    let topics = ["plain", "strict", "empty"];
    let before: Vec<Seen> = topics.map(|t| see(&mut cluster, t)).into();
    assert_eq!(before[0].partitions.iter().map(|p| (p.0, p.1, p.3.len())).collect::<Vec<_>>(), [(0, 50, 50); 3]);
    let cluster_id = cluster.cluster_id().map(str::to_owned);

    // Twice: what the first start leaves behind is what the second finds.
    for round in 0..2 {
        broker.restart();
        let mut cluster = broker.cluster();
        assert_eq!(cluster.cluster_id().map(str::to_owned), cluster_id);
        for (topic, before) in topics.iter().zip(&before) {
            let after = see(&mut cluster, topic);
            assert!(after == *before, "round {round}, {topic}: {before:?} became {after:?}");
        }
        let refused = produce(&mut cluster, "strict", 0, -1, batch(&[vec![b'x'; 7000]]));
        assert_eq!(refused.error_code, code(ErrorCode::MessageTooLarge));
        assert_eq!(
            code_of(cluster.admin().create_topic(&NewTopic { name: "plain".into(), ..NewTopic::default() }, false)),
            ErrorCode::TopicAlreadyExists
        );
    }
    let mut cluster = broker.cluster();
    for partition in 0..3 {
        assert_eq!(produce_ok(&mut cluster, "plain", partition, batch(&["next"])), 50);
    }
    for partition in 0..5 {
        assert_eq!(produce_ok(&mut cluster, "empty", partition, batch(&["first"])), 0);
    }
}

fn several_segments_are_kept(mode: Mode) {
    let mut broker = TestBroker::start(mode);
    let mut cluster = broker.cluster();
    create(&mut cluster, "rolled", 2, &[("segment.bytes", "1048576"), ("index.interval.bytes", "4096")]);
    // Five segments and more per partition, of batches that are not alike.
    let noise: Vec<u8> = (0..100_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for i in 0..60usize {
        for partition in 0..2 {
            let sizes = [100, 60_000 + i * 500, 30_000];
            let parts: Vec<&[u8]> = sizes.iter().map(|&size| &noise[..size]).collect();
            assert_eq!(produce_ok(&mut cluster, "rolled", partition, batch(&parts)), i as i64 * 3);
        }
    }
    let before = see(&mut cluster, "rolled");
    broker.restart();
    let mut cluster = broker.cluster();
    let after = see(&mut cluster, "rolled");
    assert_eq!((after.id, &after.newest, &after.configs), (before.id, &before.newest, &before.configs));
    for (partition, (before, after)) in before.partitions.iter().zip(&after.partitions).enumerate() {
        assert_eq!((before.0, before.1, before.3.len()), (after.0, after.1, after.3.len()), "partition {partition}");
        assert!(before.3 == after.3, "the records of partition {partition} are the same after a restart");
    }
    for partition in 0..2 {
        let records = &before.partitions[partition as usize].3;
        // By offset and by time, all over the segments.
        for record in records.iter().step_by(17) {
            let found = read_all(&mut cluster, "rolled", partition, record.offset);
            assert_eq!(
                found.first().map(|r| (r.offset, r.value.as_ref().map(Bytes::len))),
                Some((record.offset, record.value.as_ref().map(Bytes::len)))
            );
            let wanted = [("rolled".to_owned(), partition, OffsetSpec::Timestamp(record.timestamp))];
            let listed = cluster.admin().list_offsets(&wanted, IsolationLevel::ReadUncommitted).expect("an answer");
            let listed = listed.into_values().next().expect("one").expect("no error");
            let expected = records.iter().find(|r| r.timestamp >= record.timestamp).expect("itself at least");
            assert_eq!((listed.offset, listed.timestamp), (expected.offset, expected.timestamp));
        }
    }
}

fn init_producer(cluster: &mut Cluster) -> i64 {
    let request = InitProducerIdRequest::default()
        .with_transactional_id(None)
        .with_transaction_timeout_ms(60_000)
        .with_producer_id(ProducerId(-1))
        .with_producer_epoch(-1);
    let response = cluster.call_any(&request).expect("an answer");
    assert_eq!(response.error_code, 0);
    response.producer_id.0
}

fn producer_state_is_kept(mode: Mode) {
    let mut broker = TestBroker::start(mode);
    let mut cluster = broker.cluster();
    create(&mut cluster, "t", 2, &[]);
    let (first, second) = (init_producer(&mut cluster), init_producer(&mut cluster));
    let sent: Vec<Bytes> = (0..7).map(|i| idempotent_batch(&[format!("a{i}"), format!("b{i}")], (first, 3), i * 2)).collect();
    for partition in 0..2 {
        for records in &sent {
            produce_ok(&mut cluster, "t", partition, records.clone());
        }
        produce_ok(&mut cluster, "t", partition, idempotent_batch(&["other"], (second, 0), 0));
    }
    for round in 0..2 {
        broker.restart();
        let mut cluster = broker.cluster();
        for partition in 0..2 {
            // At least the last batch is known after a clean stop (Kafka's snapshot keeps the last one of each producer).
            let again = produce(&mut cluster, "t", partition, -1, sent[6].clone());
            assert_eq!((again.error_code, again.base_offset), (0, 12), "a duplicate gets the offset it has");
            let gap = produce(&mut cluster, "t", partition, -1, idempotent_batch(&["gap"], (first, 3), 99));
            assert_eq!(gap.error_code, code(ErrorCode::OutOfOrderSequenceNumber));
            let fenced = produce(&mut cluster, "t", partition, -1, idempotent_batch(&["late"], (first, 2), 14));
            assert_eq!(fenced.error_code, code(ErrorCode::InvalidProducerEpoch));
            let next = idempotent_batch(&["next"], (second, 0), 1 + round);
            assert_eq!(produce_ok(&mut cluster, "t", partition, next.clone()), 15 + i64::from(round));
            assert_eq!(produce_ok(&mut cluster, "t", partition, next), 15 + i64::from(round));
        }
    }
    let mut cluster = broker.cluster();
    for partition in 0..2 {
        assert_eq!(produce_ok(&mut cluster, "t", partition, idempotent_batch(&["goes on"], (first, 3), 14)), 17);
        assert_eq!(read_all(&mut cluster, "t", partition, 0).len(), 18);
    }
}

fn producer_ids_are_never_given_twice(mode: Mode) {
    let mut broker = TestBroker::start(mode);
    let mut given = Vec::new();
    for _ in 0..3 {
        let mut cluster = broker.cluster();
        given.extend((0..5).map(|_| init_producer(&mut cluster)));
        broker.restart();
    }
    let count = given.len();
    given.sort_unstable();
    given.dedup();
    assert_eq!(given.len(), count);
}

fn deleted_topics_and_records_stay_deleted(mode: Mode) {
    let mut broker = TestBroker::start(mode);
    let mut cluster = broker.cluster();
    create(&mut cluster, "gone", 4, &[]);
    create(&mut cluster, "cut", 2, &[]);
    for partition in 0..4 {
        produce_ok(&mut cluster, "gone", partition, batch(&["x"]));
    }
    for i in 0..10 {
        for partition in 0..2 {
            produce_ok(&mut cluster, "cut", partition, batch(&[format!("{i}")]));
        }
    }
    cluster.admin().delete_topic("gone").expect("deleted");
    let before = BTreeMap::from([(("cut".to_owned(), 0), 4), (("cut".to_owned(), 1), -1)]);
    assert!(cluster.admin().delete_records(&before).expect("an answer").values().all(Result::is_ok));
    for _ in 0..2 {
        broker.restart();
        let mut cluster = broker.cluster();
        let names: Vec<String> = cluster.admin().list_topics(false).expect("listed").into_iter().map(|t| t.name).collect();
        assert_eq!(names, ["cut"]);
        assert_eq!(fetch(&mut cluster, "cut", 0, 3).error_code, code(ErrorCode::OffsetOutOfRange));
        assert_eq!(values(&read_all(&mut cluster, "cut", 0, 4)), ["4", "5", "6", "7", "8", "9"]);
        assert_eq!(fetch(&mut cluster, "cut", 1, 9).error_code, code(ErrorCode::OffsetOutOfRange));
        assert_eq!(fetch(&mut cluster, "cut", 1, 10).log_start_offset, 10);
    }
    let mut cluster = broker.cluster();
    assert_eq!(produce_ok(&mut cluster, "cut", 1, batch(&["after"])), 10);
    create(&mut cluster, "gone", 1, &[]);
    assert_eq!(produce_ok(&mut cluster, "gone", 0, batch(&["anew"])), 0);
    // The files of the deleted topic go, too.
    eventually("the files are removed", || {
        let names =
            std::fs::read_dir(broker.dir()).expect("readable").map(|e| e.expect("an entry").file_name().into_string().expect("a name"));
        (names.filter(|n| n.starts_with("gone")).collect::<Vec<_>>() == ["gone-0"]).then_some(())
    });
}

fn a_second_process_on_the_directory_is_refused(mode: Mode) {
    let mut broker = TestBroker::start(mode);
    create(&mut broker.cluster(), "t", 1, &[]);
    let refused = broker.start_second().expect_err("the directory is taken");
    assert!(refused.contains("in use") && refused.contains(&broker.dir().display().to_string()), "{refused}");
    // The same with a process of its own.
    let output = Command::new(env!("CARGO_BIN_EXE_odradek"))
        .args(["serve", "--override", "listeners=PLAINTEXT://127.0.0.1:0", "--override", "odradek.shards=1", "--override"])
        .arg(format!("log.dirs={}", broker.dir().display()))
        .output()
        .expect("the binary runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("in use by another process") && said.contains(&broker.dir().display().to_string()), "{said}");
    // The first one noticed nothing.
    assert_eq!(produce_ok(&mut broker.cluster(), "t", 0, batch(&["x"])), 0);
    broker.stop();
    broker.start_second().expect("the directory is free again");
}

/// Offsets and values that were acknowledged, by partition.
type Acknowledged = BTreeMap<i32, Vec<(i64, String)>>;

/// Produces with acks=all until told to stop or until the broker is gone; which number got which offset, by partition.
fn produce_until(mut cluster: Cluster, stop: &AtomicBool, started: &mpsc::Sender<()>) -> Acknowledged {
    cluster.set_operation_timeout(Duration::from_millis(200));
    let acknowledged: Rc<RefCell<Acknowledged>> = Rc::default();
    let config = ProducerConfig {
        linger: Duration::ZERO,
        batch_bytes: 200,
        delivery_timeout: Duration::from_millis(500),
        block_max: Duration::from_millis(500),
        ..ProducerConfig::default()
    };
    let heard = acknowledged.clone();
    let mut producer = Producer::new(cluster, config, move |delivery| {
        if let (Ok(metadata), Some(value)) = (&delivery.result, &delivery.record.value) {
            let value = String::from_utf8_lossy(value).into_owned();
            heard.borrow_mut().entry(metadata.partition).or_default().push((metadata.offset, value));
        }
    });
    let mut told = false;
    for number in 0.. {
        let value = Some(Bytes::from(format!("record {number}")));
        let record = ProducerRecord { topic: "t".to_owned(), partition: Some(number % 4), value, ..ProducerRecord::default() };
        if stop.load(Ordering::Relaxed) || producer.send(record).is_err() {
            break;
        }
        if !told && number >= 200 && acknowledged.borrow().len() == 4 {
            told = true;
            started.send(()).expect("the test waits");
        }
    }
    // The broker is gone: what was not acknowledged yet fails when its time is over.
    let _ = producer.flush();
    drop(producer);
    Rc::try_unwrap(acknowledged).expect("the producer is gone").into_inner()
}

fn acknowledged_records_survive_a_stop_under_load(mode: Mode) {
    let mut broker = TestBroker::start(mode);
    create(&mut broker.cluster(), "t", 4, &[]);
    let stop = Arc::new(AtomicBool::new(false));
    let (started, wait) = mpsc::channel();
    let (cluster, flag) = (broker.cluster(), stop.clone());
    let load = std::thread::spawn(move || produce_until(cluster, &flag, &started));
    wait.recv_timeout(PATIENCE).expect("the load runs");
    broker.stop();
    stop.store(true, Ordering::Relaxed);
    let acknowledged = load.join().expect("the producer's thread");
    assert_eq!(acknowledged.len(), 4);
    broker.start_again();
    let mut cluster = broker.cluster();
    for (partition, wanted) in acknowledged {
        let found: BTreeMap<i64, String> =
            read_all(&mut cluster, "t", partition, 0).iter().map(|r| (r.offset, values(std::slice::from_ref(r)).remove(0))).collect();
        for (offset, value) in &wanted {
            assert_eq!(found.get(offset), Some(value), "partition {partition}, offset {offset}");
        }
        let mut distinct: Vec<&String> = found.values().collect();
        distinct.sort();
        distinct.dedup();
        assert_eq!(distinct.len(), found.len(), "nothing twice");
        assert_eq!(found.keys().copied().collect::<Vec<_>>(), (0..found.len() as i64).collect::<Vec<_>>(), "no gaps");
    }
}

fn a_stop_ends_waiting_fetches(mode: Mode) {
    // Longer than the test runs: only an end of the wait itself lets the broker stop.
    let mut broker = TestBroker::start_with(mode, &["odradek.shutdown.timeout.ms=3600000"]);
    create(&mut broker.cluster(), "t", 2, &[]);
    let patient = FetchOptions { max_wait_ms: i32::MAX, min_bytes: 1, ..FetchOptions::default() };
    let mut waiting: Vec<_> = (0..2).map(|partition| (partition, broker.leader_connection("t", partition))).collect();
    for (partition, connection) in &mut waiting {
        connection.send(&fetch_request("t", &[(*partition, 0)], patient), FETCH_NAMED).expect("sent");
    }
    // One that has gone away meanwhile.
    let mut gone = broker.leader_connection("t", 0);
    gone.send(&fetch_request("t", &[(0, 0)], patient), FETCH_NAMED).expect("sent");
    std::thread::sleep(Duration::from_millis(100));
    drop(gone);
    broker.stop();
    for (partition, mut connection) in waiting {
        // An empty answer or a closed connection: both tell the client to look elsewhere.
        if let Ok(response) = connection.receive::<FetchRequest>() {
            assert!(bytes_of(&support::records::fetched(response)[0]).is_empty(), "partition {partition}");
        }
    }
}

fn other_numbers_of_shards_serve_the_same_partitions(mode: Mode) {
    let mut broker = TestBroker::start(mode);
    let mut cluster = broker.cluster();
    create(&mut cluster, "t", 6, &[]);
    for partition in 0..6 {
        produce_ok(&mut cluster, "t", partition, batch(&[format!("of {partition}")]));
    }
    let before: Vec<Vec<ConsumerRecord>> = (0..6).map(|p| read_all(&mut cluster, "t", p, 0)).collect();
    for (round, shards) in ["1", "3", "2"].into_iter().enumerate() {
        broker.restart_with(&format!("odradek.shards={shards}"));
        let mut cluster = broker.cluster();
        for partition in 0..6 {
            let offset = produce_ok(&mut cluster, "t", partition, batch(&["more"]));
            assert_eq!(offset, 1 + round as i64, "partition {partition} with {shards} shards");
            assert_eq!(read_all(&mut cluster, "t", partition, 0)[0].value, before[partition as usize][0].value);
        }
    }
}

fn the_other_advertise_mode_serves_the_same_partitions(mode: Mode) {
    let mut broker = TestBroker::start(mode);
    let mut cluster = broker.cluster();
    create(&mut cluster, "t", 4, &[]);
    for partition in 0..4 {
        produce_ok(&mut cluster, "t", partition, batch(&[format!("of {partition}")]));
    }
    let other = match mode {
        Mode::Cores => "node",
        Mode::Node => "cores",
    };
    broker.restart_with(&format!("odradek.advertise={other}"));
    let mut cluster = broker.cluster();
    assert_eq!(cluster.brokers().count(), if other == "cores" { usize::from(support::SHARDS) } else { 1 });
    for partition in 0..4 {
        assert_eq!(produce_ok(&mut cluster, "t", partition, batch(&["more"])), 1);
        assert_eq!(values(&read_all(&mut cluster, "t", partition, 0)), [format!("of {partition}"), "more".to_owned()]);
    }
}
