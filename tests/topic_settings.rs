//! Settings of topics over the wire: what is stored changes with them, without a restart; in both advertise modes.

mod support;

use bytes::Bytes;
use odradek_base::{ProducerEpoch, ProducerId, Timestamp};
use odradek_client::admin::{AlterConfig, AlterOperation, ConfigResource, NewTopic, ResourceType};
use odradek_client::{ClientError, Cluster};
use odradek_wire::ErrorCode;
use odradek_wire::batch::{BatchView, batches};
use odradek_wire::compress::Codec;
use odradek_wire::records::BatchBuilder;
use support::records::{CODECS, batch_with, bytes_of, fetch, now, produce, produce_ok, read_all, values};
use support::{Mode, TestBroker, code};

both_modes!(
    compression_of_a_topic_is_what_is_stored,
    recompressing_keeps_records_and_the_producers_sequence,
    the_bound_counts_after_recompression,
    defaults_of_all_brokers_reach_topics,
    segments_are_preallocated_and_cut,
);

fn create(cluster: &mut Cluster, name: &str, configs: &[(&str, &str)]) {
    let configs = configs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let topic = NewTopic { name: name.to_owned(), partitions: Some(2), replication_factor: Some(1), configs, ..NewTopic::default() };
    cluster.admin().create_topic(&topic, false).expect("created");
}

fn set(cluster: &mut Cluster, resource: &ConfigResource, key: &str, value: &str) -> Result<(), ClientError> {
    let change = AlterConfig { name: key.to_owned(), operation: AlterOperation::Set, value: Some(value.to_owned()) };
    cluster.admin().alter_configs(resource, &[change], false)
}

fn of_topic(name: &str) -> ConfigResource {
    ConfigResource { kind: ResourceType::Topic, name: name.to_owned() }
}

/// The codec of the batch at `offset`, and its size.
fn stored(cluster: &mut Cluster, topic: &str, partition: i32, offset: i64) -> (Option<Codec>, usize) {
    let bytes = bytes_of(&fetch(cluster, topic, partition, offset));
    let view = BatchView::parse(&bytes).expect("a batch");
    assert!(view.crc_valid());
    (view.compression(), view.total_bytes())
}

fn compression_of_a_topic_is_what_is_stored(mode: Mode) {
    let broker = TestBroker::start(mode);
    let mut cluster = broker.cluster();
    create(&mut cluster, "t", &[]);
    // Short and long: the second is compressed on the background plane.
    for (texts, partition) in [(vec!["x".to_owned(); 3], 0), ((0..3000).map(|i| format!("value {i} {}", i * 7919)).collect(), 1)] {
        let count = texts.len() as i64;
        let mut expected = Vec::new();
        let levels = [("gzip", "9"), ("gzip", "1"), ("lz4", "17"), ("lz4", "9"), ("zstd", "22"), ("zstd", "-5")];
        let mut targets: Vec<(&str, Option<(&str, &str)>)> = vec![("uncompressed", None), ("snappy", None), ("producer", None)];
        targets.extend(levels.iter().map(|level| (level.0, Some(*level))));
        for (target, level) in targets {
            set(&mut cluster, &of_topic("t"), "compression.type", target).expect("changed");
            if let Some((codec, level)) = level {
                set(&mut cluster, &of_topic("t"), &format!("compression.{codec}.level"), level).expect("changed");
            }
            for sent in CODECS {
                let offset = produce_ok(&mut cluster, "t", partition, batch_with(sent, &texts, |b| b));
                assert_eq!(offset, expected.len() as i64 * count);
                let codec = Codec::from_name(target).unwrap_or(sent);
                assert_eq!(stored(&mut cluster, "t", partition, offset).0, Some(codec), "{target} {level:?} from {sent}");
                expected.push(codec);
            }
        }
        let all = values(&read_all(&mut cluster, "t", partition, 0));
        assert!(all.len() as i64 == expected.len() as i64 * count && all.chunks(texts.len()).all(|chunk| chunk == texts));
    }
}

fn recompressing_keeps_records_and_the_producers_sequence(mode: Mode) {
    let broker = TestBroker::start(mode);
    let mut cluster = broker.cluster();
    create(&mut cluster, "t", &[("compression.type", "zstd"), ("compression.zstd.level", "19")]);
    let base = now();
    let sent = |sequence: i32| {
        let mut builder = BatchBuilder::new(Codec::Gzip).producer(ProducerId(77_000), ProducerEpoch(0), sequence);
        for at in 0..500 {
            let value = format!("value {at}");
            let headers: [(&[u8], Option<&[u8]>); 4] = [(b"h", Some(b"1")), (b"h", Some(b"2")), (b"none", None), (b"", Some(b""))];
            builder.append(Timestamp(base + at % 7), (at % 3 > 0).then_some(b"key"), (at % 5 > 0).then_some(value.as_bytes()), &headers);
        }
        builder.build()
    };
    for partition in 0..2 {
        for sequence in [0, 500, 1000] {
            assert_eq!(produce_ok(&mut cluster, "t", partition, sent(sequence)), i64::from(sequence));
        }
        assert_eq!(produce_ok(&mut cluster, "t", partition, sent(500)), 500, "a duplicate is known");
        let gap = produce(&mut cluster, "t", partition, -1, sent(9000));
        assert_eq!(gap.error_code, code(ErrorCode::OutOfOrderSequenceNumber));
        let bytes = bytes_of(&fetch(&mut cluster, "t", partition, 0));
        let sequences: Vec<_> = batches(&bytes).map(|view| view.expect("whole").base_sequence()).collect();
        assert_eq!(sequences, [0, 500, 1000]);
        let records = read_all(&mut cluster, "t", partition, 0);
        assert_eq!(records.len(), 1500);
        for (at, record) in records.iter().enumerate() {
            let at = at as i64 % 500;
            assert_eq!(record.timestamp, base + at % 7);
            assert_eq!((record.key.is_some(), record.value.is_some()), (at % 3 > 0, at % 5 > 0));
            let headers: Vec<(&[u8], Option<&[u8]>)> = record.headers.iter().map(|(k, v)| (&k[..], v.as_deref())).collect();
            assert_eq!(headers, [(&b"h"[..], Some(&b"1"[..])), (b"h", Some(b"2")), (b"none", None), (b"", Some(b""))]);
        }
    }
}

fn the_bound_counts_after_recompression(mode: Mode) {
    let broker = TestBroker::start(mode);
    let mut cluster = broker.cluster();
    create(&mut cluster, "t", &[("max.message.bytes", "10000"), ("compression.type", "uncompressed")]);
    for partition in 0..2 {
        let squeezed: Bytes = batch_with(Codec::Gzip, &[vec![0; 20_000]], |b| b);
        assert!(squeezed.len() < 1000);
        let refused = produce(&mut cluster, "t", partition, -1, squeezed.clone());
        assert_eq!(refused.error_code, code(ErrorCode::MessageTooLarge), "it fits as it arrives, and not as it would be stored");
        let fits = batch_with(Codec::Gzip, &[vec![0; 9_000]], |b| b);
        assert_eq!(produce_ok(&mut cluster, "t", partition, fits), 0, "the refused batch took no offset");
        let (codec, bytes) = stored(&mut cluster, "t", partition, 0);
        assert!(codec == Some(Codec::None) && bytes > 9_000);
    }
    set(&mut cluster, &of_topic("t"), "compression.type", "producer").expect("changed");
    for partition in 0..2 {
        assert_eq!(produce_ok(&mut cluster, "t", partition, batch_with(Codec::Gzip, &[vec![0; 20_000]], |b| b)), 1);
    }
}

fn defaults_of_all_brokers_reach_topics(mode: Mode) {
    let broker = TestBroker::start(mode);
    let mut cluster = broker.cluster();
    create(&mut cluster, "follows", &[]);
    create(&mut cluster, "own", &[("compression.type", "gzip")]);
    let all_brokers = ConfigResource { kind: ResourceType::Broker, name: String::new() };
    for (at, target) in ["lz4", "snappy"].into_iter().enumerate() {
        set(&mut cluster, &all_brokers, "compression.type", target).expect("changed");
        for partition in 0..2 {
            let sent = batch_with(Codec::None, &["value"], |b| b);
            assert_eq!(produce_ok(&mut cluster, "follows", partition, sent.clone()), at as i64);
            assert_eq!(stored(&mut cluster, "follows", partition, at as i64).0, Codec::from_name(target));
            produce_ok(&mut cluster, "own", partition, sent);
            assert_eq!(stored(&mut cluster, "own", partition, at as i64).0, Some(Codec::Gzip));
        }
    }
    set(&mut cluster, &all_brokers, "log.message.timestamp.type", "LogAppendTime").expect("changed");
    for partition in 0..2 {
        let answer = produce(&mut cluster, "follows", partition, -1, batch_with(Codec::None, &["value"], |b| b));
        assert!(answer.log_append_time_ms > 0, "the broker's time");
    }
}

fn segments_are_preallocated_and_cut(mode: Mode) {
    let mut broker = TestBroker::start(mode);
    let mut cluster = broker.cluster();
    create(&mut cluster, "t", &[("preallocate", "true"), ("segment.bytes", "4194304"), ("flush.messages", "1")]);
    let value = vec![b'x'; 900_000];
    let mut largest = 0;
    for at in 0..8 {
        for partition in 0..2 {
            assert_eq!(produce(&mut cluster, "t", partition, 1, batch_with(Codec::None, &[&value], |b| b)).base_offset, at);
        }
        let sizes = logs(&broker).into_iter().map(|log| std::fs::metadata(log).map_or(0, |metadata| metadata.len()));
        largest = largest.max(sizes.max().unwrap_or(0));
    }
    let grown = support::eventually("a preallocated segment", || {
        let sizes = logs(&broker).into_iter().map(|log| std::fs::metadata(log).map_or(0, |metadata| metadata.len()));
        sizes.max().filter(|&size| size.max(largest) >= 4_194_304)
    });
    assert!(grown.max(largest) >= 4_194_304);
    broker.restart();
    let mut cluster = broker.cluster();
    for partition in 0..2 {
        assert_eq!(read_all(&mut cluster, "t", partition, 0).len(), 8);
    }
    // The clean stop cut every segment to its content: four records fill one.
    for log in logs(&broker) {
        let bytes = std::fs::read(&log).expect("a segment");
        let content: usize = batches(&bytes).map_while(Result::ok).map(|view| view.total_bytes()).sum();
        assert_eq!(content, bytes.len(), "{}", log.display());
    }
}

/// The segment files of topic `t`.
fn logs(broker: &TestBroker) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for partition in 0..2 {
        let Ok(entries) = std::fs::read_dir(broker.dir().join(format!("t-{partition}"))) else { continue };
        found.extend(entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.extension().is_some_and(|e| e == "log")));
    }
    found
}
