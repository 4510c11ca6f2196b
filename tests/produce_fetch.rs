//! Records in and out: what is acknowledged is there, in order, byte for byte; in both advertise modes.

mod support;

use bytes::Bytes;
use odradek_base::Timestamp;
use odradek_client::admin::{NewTopic, OffsetSpec};
use odradek_client::consumer::IsolationLevel;
use odradek_client::{Cluster, TimestampType, decode_batches};
use odradek_wire::ErrorCode;
use odradek_wire::batch::{BatchView, batches};
use odradek_wire::compress::Codec;
use odradek_wire::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use odradek_wire::messages::produce_request::{PartitionProduceData, ProduceRequest, TopicProduceData};
use odradek_wire::messages::{FetchRequest, InitProducerIdRequest, ProducerId};
use odradek_wire::records::BatchBuilder;
use std::collections::BTreeMap;
use support::records::{
    CODECS, FETCH_NAMED, FetchOptions, PRODUCE_NAMED, batch, batch_with, bytes_of, call, fetch, fetch_request, fetch_with, fetched,
    idempotent_batch, leader, now, produce, produce_ok, produce_request, produced, read_all, unpatched, values,
};
use support::{Mode, PATIENCE, TestBroker, code, eventually};

both_modes!(
    acknowledgements,
    every_codec_byte_for_byte,
    records_keep_keys_headers_tombstones_and_timestamps,
    log_append_time_is_the_brokers,
    large_records_and_larger_ones,
    duplicates_of_an_idempotent_producer,
    many_partitions_in_one_request,
    answers_come_in_the_order_of_pipelined_requests,
    every_version_of_produce_and_fetch,
    a_waiting_fetch_wakes_on_append,
    bounds_of_a_fetch,
    fetch_sessions,
    isolation_levels,
    offsets_by_time,
    deleted_records_stay_deleted,
    errors_of_produce_and_fetch,
);

fn create(cluster: &mut Cluster, name: &str, partitions: i32, configs: &[(&str, &str)]) -> uuid::Uuid {
    let configs = configs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let topic =
        NewTopic { name: name.to_owned(), partitions: Some(partitions), replication_factor: Some(1), assignment: Vec::new(), configs };
    cluster.admin().create_topic(&topic, false).expect("created")
}

fn start(mode: Mode, partitions: i32) -> (TestBroker, Cluster) {
    let broker = TestBroker::start(mode);
    let mut cluster = broker.cluster();
    create(&mut cluster, "t", partitions, &[]);
    (broker, cluster)
}

fn acknowledgements(mode: Mode) {
    let (_broker, mut cluster) = start(mode, 2);
    for partition in 0..2 {
        let mut expected = Vec::new();
        for (at, acks) in [-1, 1, 0, 1, -1].into_iter().enumerate() {
            let value = format!("acks {acks} number {at}");
            let records = batch(&[value.as_str()]);
            expected.push(value);
            if acks == 0 {
                let request = produce_request(0, "t", &[(partition, records)]);
                leader(&mut cluster, "t", partition).send_unanswered(&request, PRODUCE_NAMED).expect("sent");
                eventually("the record without an answer", || {
                    (fetch(&mut cluster, "t", partition, 0).high_watermark == at as i64 + 1).then_some(())
                });
            } else {
                let answer = produce(&mut cluster, "t", partition, acks, records);
                assert_eq!((answer.error_code, answer.base_offset, answer.log_start_offset), (0, at as i64, 0));
                assert_eq!(answer.log_append_time_ms, -1, "the producer's time counts");
            }
        }
        assert_eq!(values(&read_all(&mut cluster, "t", partition, 0)), expected);
    }
    let refused = produce(&mut cluster, "t", 0, 2, batch(&["x"]));
    assert_eq!(refused.error_code, code(ErrorCode::InvalidRequiredAcks));
    assert_eq!(fetch(&mut cluster, "t", 0, 0).high_watermark, 5);
}

fn every_codec_byte_for_byte(mode: Mode) {
    let (_broker, mut cluster) = start(mode, 2);
    let texts: Vec<String> = (0..50).map(|i| format!("value {i} {}", "abc".repeat(i))).collect();
    for partition in 0..2 {
        let sent: Vec<Bytes> = CODECS.iter().map(|&codec| batch_with(codec, &texts, |b| b)).collect();
        for (at, records) in sent.iter().enumerate() {
            assert_eq!(produce_ok(&mut cluster, "t", partition, records.clone()), at as i64 * 50);
        }
        let answer = fetch(&mut cluster, "t", partition, 0);
        assert_eq!(answer.high_watermark, 250);
        let bytes = bytes_of(&answer);
        let mut got = batches(&bytes);
        for (at, records) in sent.iter().enumerate() {
            let view = got.next().expect("a batch").expect("a whole batch");
            assert_eq!((view.base_offset().get(), view.compression()), (at as i64 * 50, Some(CODECS[at])));
            assert!(unpatched(view.bytes()) == unpatched(records), "{:?} comes back as it was sent", CODECS[at]);
            assert!(view.crc_valid());
        }
        assert!(got.next().is_none());
        let all = values(&read_all(&mut cluster, "t", partition, 0));
        assert!(all.chunks(50).all(|chunk| chunk == texts) && all.len() == 250);
        // From the middle of a batch: the batch that holds the offset comes whole.
        let middle = bytes_of(&fetch(&mut cluster, "t", partition, 120));
        assert_eq!(BatchView::parse(&middle).expect("a batch").base_offset().get(), 100);
    }
}

fn records_keep_keys_headers_tombstones_and_timestamps(mode: Mode) {
    let (_broker, mut cluster) = start(mode, 1);
    let base = now();
    let mut builder = BatchBuilder::new(Codec::Lz4);
    builder.append(
        Timestamp(base),
        Some(b"key"),
        Some(b"value"),
        &[(b"h", Some(b"1")), (b"h", Some(b"2")), (b"none", None), (b"", Some(b""))],
    );
    builder.append(Timestamp(base - 5000), Some(b"gone"), None, &[]);
    builder.append(Timestamp(base + 7), None, Some(b""), &[]);
    builder.append(Timestamp(base + 1), Some(b""), Some(b"\0\xff"), &[]);
    produce_ok(&mut cluster, "t", 0, builder.build());
    let records = read_all(&mut cluster, "t", 0, 0);
    let bytes = |b: &'static [u8]| Some(Bytes::from_static(b));
    assert_eq!(records.iter().map(|r| (r.offset, r.timestamp - base)).collect::<Vec<_>>(), [(0, 0), (1, -5000), (2, 7), (3, 1)]);
    assert!(records.iter().all(|r| r.timestamp_type == TimestampType::CreateTime && r.leader_epoch >= 0));
    let pairs: Vec<_> = records.iter().map(|r| (r.key.clone(), r.value.clone())).collect();
    let expected = [(bytes(b"key"), bytes(b"value")), (bytes(b"gone"), None), (None, bytes(b"")), (bytes(b""), bytes(b"\0\xff"))];
    assert_eq!(pairs, expected);
    let headers: Vec<(&[u8], Option<&[u8]>)> = records[0].headers.iter().map(|(k, v)| (&k[..], v.as_deref())).collect();
    assert_eq!(headers, [(&b"h"[..], Some(&b"1"[..])), (b"h", Some(b"2")), (b"none", None), (b"", Some(b""))]);
}

fn log_append_time_is_the_brokers(mode: Mode) {
    let (_broker, mut cluster) = start(mode, 1);
    create(&mut cluster, "stamped", 2, &[("message.timestamp.type", "LogAppendTime")]);
    for partition in 0..2 {
        let mut builder = BatchBuilder::new(Codec::Gzip);
        for offset in 0..3 {
            builder.append(Timestamp(1000 + offset), None, Some(b"old"), &[]);
        }
        let before = now();
        let answer = produce(&mut cluster, "stamped", partition, -1, builder.build());
        assert_eq!(answer.error_code, 0);
        let given = answer.log_append_time_ms;
        assert!((before..=now()).contains(&given), "{given} lies between sending and answering");
        let bytes = bytes_of(&fetch(&mut cluster, "stamped", partition, 0));
        assert!(BatchView::parse(&bytes).expect("a batch").crc_valid(), "the checksum covers the new time");
        for record in read_all(&mut cluster, "stamped", partition, 0) {
            assert_eq!((record.timestamp, record.timestamp_type), (given, TimestampType::LogAppendTime));
        }
    }
}

fn large_records_and_larger_ones(mode: Mode) {
    let (_broker, mut cluster) = start(mode, 2);
    // Kafka's default for max.message.bytes is 1 MiB and the overhead of a batch.
    let megabyte: Vec<u8> = (0..1_048_576u32 - 64).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for partition in 0..2 {
        let sent = batch(&[&megabyte]);
        for at in 0..4 {
            assert_eq!(produce_ok(&mut cluster, "t", partition, sent.clone()), at);
        }
        let too_large = batch(&[vec![0; 1_048_588]]);
        let refused = produce(&mut cluster, "t", partition, -1, too_large);
        assert_eq!(refused.error_code, code(ErrorCode::MessageTooLarge));
        // What is small on the wire counts by its size on the wire.
        let squeezed = batch_with(Codec::Zstd, &[vec![0; 4 << 20]], |b| b);
        assert_eq!(produce_ok(&mut cluster, "t", partition, squeezed), 4);
        let records = read_all(&mut cluster, "t", partition, 0);
        assert_eq!(records.len(), 5);
        assert!(records[..4].iter().all(|r| r.value.as_deref() == Some(&megabyte[..])));
        assert_eq!(records[4].value.as_ref().map(Bytes::len), Some(4 << 20));
    }
}

fn producer_identity(cluster: &mut Cluster) -> (i64, i16) {
    let request = InitProducerIdRequest::default()
        .with_transactional_id(None)
        .with_transaction_timeout_ms(60_000)
        .with_producer_id(ProducerId(-1))
        .with_producer_epoch(-1);
    let response = cluster.call_any(&request).expect("an answer");
    assert_eq!((response.error_code, response.producer_epoch), (0, 0));
    (response.producer_id.0, response.producer_epoch)
}

fn duplicates_of_an_idempotent_producer(mode: Mode) {
    let (_broker, mut cluster) = start(mode, 2);
    let (first, second) = (producer_identity(&mut cluster), producer_identity(&mut cluster));
    assert_ne!(first.0, second.0);
    for partition in 0..2 {
        let sent: Vec<Bytes> = (0..7).map(|i| idempotent_batch(&[format!("a{i}"), format!("b{i}")], first, i * 2)).collect();
        for (at, records) in sent.iter().enumerate() {
            assert_eq!(produce_ok(&mut cluster, "t", partition, records.clone()), at as i64 * 2);
        }
        // The last five are remembered: sent again they get the offsets they have.
        for (at, records) in sent.iter().enumerate().skip(2) {
            let again = produce(&mut cluster, "t", partition, -1, records.clone());
            assert_eq!((again.error_code, again.base_offset), (0, at as i64 * 2), "batch {at}");
        }
        let gap = produce(&mut cluster, "t", partition, -1, idempotent_batch(&["gap"], first, 20));
        assert_eq!(gap.error_code, code(ErrorCode::OutOfOrderSequenceNumber));
        // Older than the five it is not known for a duplicate any more (`ProducerAppendInfo.checkSequence`).
        let old = produce(&mut cluster, "t", partition, -1, sent[0].clone());
        assert_eq!(old.error_code, code(ErrorCode::OutOfOrderSequenceNumber));
        // Another producer has its own sequence.
        assert_eq!(produce_ok(&mut cluster, "t", partition, idempotent_batch(&["other"], second, 0)), 14);
        // A newer epoch starts again and ends the old one.
        assert_eq!(produce_ok(&mut cluster, "t", partition, idempotent_batch(&["next epoch"], (first.0, 1), 0)), 15);
        let fenced = produce(&mut cluster, "t", partition, -1, idempotent_batch(&["late"], first, 14));
        assert_eq!(fenced.error_code, code(ErrorCode::InvalidProducerEpoch));
        let all = values(&read_all(&mut cluster, "t", partition, 0));
        assert_eq!(all.len(), 16, "nothing twice: {all:?}");
    }
}

fn many_partitions_in_one_request(mode: Mode) {
    let (_broker, mut cluster) = start(mode, 16);
    let topic = cluster.await_topic("t", false).expect("known").clone();
    let mut by_leader: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for partition in &topic.partitions {
        by_leader.entry(partition.leader).or_default().push(partition.index);
    }
    assert_eq!(by_leader.len(), mode.brokers());
    for round in 0..3 {
        for (&broker, partitions) in &by_leader {
            let sent: Vec<(i32, Bytes)> = partitions.iter().map(|&p| (p, batch(&[format!("{p} in round {round}")]))).collect();
            // One of them is damaged: it alone is refused.
            let mut sent = sent;
            let mut damaged = sent[1].1.to_vec();
            *damaged.last_mut().expect("bytes") ^= 1;
            let whole = std::mem::replace(&mut sent[1].1, damaged.into());
            let connection = cluster.connection(broker).expect("open");
            let answers = produced(connection.call_at(&produce_request(-1, "t", &sent), PRODUCE_NAMED).expect("an answer"));
            assert_eq!(answers.iter().map(|a| a.index).collect::<Vec<_>>(), *partitions, "answers in the order of the request");
            for (at, answer) in answers.iter().enumerate() {
                let expected = if at == 1 { (code(ErrorCode::CorruptMessage), -1) } else { (0, round) };
                assert_eq!((answer.error_code, answer.base_offset), expected, "partition {}", answer.index);
            }
            assert_eq!(produce_ok(&mut cluster, "t", partitions[1], whole), round);
        }
    }
    // And out again in one fetch.
    for (&broker, partitions) in &by_leader {
        let wanted: Vec<(i32, i64)> = partitions.iter().map(|&p| (p, 0)).collect();
        let connection = cluster.connection(broker).expect("open");
        let answers = fetched(connection.call_at(&fetch_request("t", &wanted, FetchOptions::default()), FETCH_NAMED).expect("an answer"));
        assert_eq!(answers.iter().map(|a| a.partition_index).collect::<Vec<_>>(), *partitions);
        for answer in answers {
            let p = answer.partition_index;
            let decoded = decode_batches(bytes_of(&answer), "t", p, 0, Vec::new()).expect("valid");
            assert_eq!(values(&decoded.records), (0..3).map(|round| format!("{p} in round {round}")).collect::<Vec<_>>());
        }
    }
}

fn answers_come_in_the_order_of_pipelined_requests(mode: Mode) {
    let (_broker, mut cluster) = start(mode, 4);
    let topic = cluster.await_topic("t", false).expect("known").clone();
    let broker = topic.partitions[0].leader;
    let own: Vec<i32> = topic.partitions.iter().filter(|p| p.leader == broker).map(|p| p.index).collect();
    let connection = cluster.connection(broker).expect("open");
    // Produces of several kinds and partitions, in node mode of both shards, with fetches between them: the client checks that
    // every answer carries the correlation id of the oldest request.
    let mut next: BTreeMap<i32, i64> = BTreeMap::new();
    let mut expected = Vec::new();
    for i in 0..200 {
        let partition = own[i % own.len()];
        if i % 10 == 9 {
            connection.send(&fetch_request("t", &[(partition, 0)], FetchOptions::default()), FETCH_NAMED).expect("sent");
            expected.push((partition, None));
            continue;
        }
        let acks = if i % 3 == 0 { 1 } else { -1 };
        connection.send(&produce_request(acks, "t", &[(partition, batch(&[format!("{i}")]))]), PRODUCE_NAMED).expect("sent");
        let offset = next.entry(partition).or_default();
        expected.push((partition, Some(*offset)));
        *offset += 1;
    }
    for (partition, offset) in expected {
        match offset {
            Some(offset) => {
                let answers = produced(connection.receive::<ProduceRequest>().expect("an answer in order"));
                assert_eq!((answers[0].index, answers[0].error_code, answers[0].base_offset), (partition, 0, offset));
            }
            None => {
                let answers = fetched(connection.receive::<FetchRequest>().expect("an answer in order"));
                assert_eq!((answers[0].partition_index, answers[0].error_code), (partition, 0));
            }
        }
    }
    for &partition in &own {
        // With acks=1 a record is answered before it is durable, and consumers see durable ones only.
        eventually("everything answered is visible", || {
            (fetch(&mut cluster, "t", partition, 0).high_watermark == next[&partition]).then_some(())
        });
        let numbers: Vec<usize> = values(&read_all(&mut cluster, "t", partition, 0)).iter().map(|v| v.parse().expect("a number")).collect();
        assert!(numbers.is_sorted(), "the order of one connection is kept: {numbers:?}");
        assert_eq!(numbers.len() as i64, next[&partition]);
    }
}

fn every_version_of_produce_and_fetch(mode: Mode) {
    let (broker, mut cluster) = start(mode, 2);
    let id = cluster.await_topic("t", false).expect("known").id;
    for partition in 0..2 {
        let mut connection = broker.leader_connection("t", partition);
        for (at, version) in (3..=13).enumerate() {
            let mut request = produce_request(-1, "t", &[(partition, batch(&[format!("version {version}")]))]);
            if version >= 13 {
                let data = PartitionProduceData::default().with_index(partition).with_records(Some(batch(&["version 13"])));
                request.topic_data = vec![TopicProduceData::default().with_topic_id(id).with_partition_data(vec![data])];
            }
            let answers = produced(connection.call_at(&request, version).expect("an answer"));
            assert_eq!((answers[0].error_code, answers[0].base_offset), (0, at as i64), "Produce version {version}");
        }
        for version in 4..=18 {
            let mut request = fetch_request("t", &[(partition, 3)], FetchOptions::default());
            if version >= 13 {
                request.topics[0].topic = odradek_client::topic_name("");
                request.topics[0].topic_id = id;
            }
            let response = connection.call_at(&request, version).expect("an answer");
            if version >= 13 {
                assert_eq!(response.responses[0].topic_id, id);
            } else {
                assert_eq!(&*response.responses[0].topic.0, "t");
            }
            let answer = fetched(response).pop().expect("one partition");
            assert_eq!((answer.error_code, answer.high_watermark), (0, 11), "Fetch version {version}");
            let decoded = decode_batches(bytes_of(&answer), "t", partition, 3, Vec::new()).expect("valid");
            assert_eq!(decoded.records.len(), 8, "Fetch version {version}");
        }
    }
}

fn a_waiting_fetch_wakes_on_append(mode: Mode) {
    let (broker, mut cluster) = start(mode, 4);
    let topic = cluster.await_topic("t", false).expect("known").clone();
    let own: Vec<i32> = topic.partitions.iter().filter(|p| p.leader == topic.partitions[0].leader).map(|p| p.index).collect();
    // The wait that is allowed is longer than the test's patience: only the append can end it.
    let patient = FetchOptions { max_wait_ms: 600_000, min_bytes: 1, ..FetchOptions::default() };
    let wanted: Vec<(i32, i64)> = own.iter().map(|&p| (p, 0)).collect();
    let mut next: BTreeMap<i32, i64> = own.iter().map(|&p| (p, 0)).collect();
    let mut waiting = broker.leader_connection("t", own[0]);
    for (round, &partition) in own.iter().chain(&own).enumerate() {
        let now: Vec<(i32, i64)> = wanted.iter().map(|(p, _)| (*p, next[p])).collect();
        waiting.send(&fetch_request("t", &now, patient), FETCH_NAMED).expect("sent");
        // Whether the fetch waits already when the append comes does not matter for the outcome; give it the chance.
        std::thread::sleep(std::time::Duration::from_millis(30));
        assert!(!waiting.response_ready().expect("open"), "nothing to tell yet");
        produce_ok(&mut cluster, "t", partition, batch(&[format!("round {round}")]));
        let answers = fetched(waiting.receive_within::<FetchRequest>(PATIENCE).expect("woken"));
        for answer in answers {
            let expected = if answer.partition_index == partition { vec![format!("round {round}")] } else { Vec::new() };
            let from = next[&answer.partition_index];
            let decoded = decode_batches(bytes_of(&answer), "t", answer.partition_index, from, Vec::new()).expect("valid");
            assert_eq!(values(&decoded.records), expected, "partition {}", answer.partition_index);
        }
        *next.get_mut(&partition).expect("known") += 1;
    }
    // Less than the minimum is not enough; the minimum is.
    let small = batch(&["x"]);
    let hungry = FetchOptions { min_bytes: small.len() as i32 * 2, ..patient };
    let offset = next[&own[0]];
    waiting.send(&fetch_request("t", &[(own[0], offset)], hungry), FETCH_NAMED).expect("sent");
    produce_ok(&mut cluster, "t", own[0], small.clone());
    std::thread::sleep(std::time::Duration::from_millis(30));
    assert!(!waiting.response_ready().expect("open"), "one batch is too little");
    produce_ok(&mut cluster, "t", own[0], small.clone());
    let answer = fetched(waiting.receive_within::<FetchRequest>(PATIENCE).expect("woken")).pop().expect("one partition");
    assert_eq!(bytes_of(&answer).len(), small.len() * 2);
    // Nothing new within the time: an empty answer.
    let brief = FetchOptions { max_wait_ms: 50, ..patient };
    let answer = fetch_with(&mut cluster, "t", own[0], offset + 2, brief);
    assert_eq!((answer.error_code, bytes_of(&answer).len(), answer.high_watermark), (0, 0, offset + 2));
}

fn bounds_of_a_fetch(mode: Mode) {
    let (_broker, mut cluster) = start(mode, 4);
    let topic = cluster.await_topic("t", false).expect("known").clone();
    let own: Vec<i32> = topic.partitions.iter().filter(|p| p.leader == topic.partitions[0].leader).map(|p| p.index).collect();
    let size = batch(&[vec![b'v'; 1000]]).len();
    for &partition in &own {
        for _ in 0..10 {
            produce_ok(&mut cluster, "t", partition, batch(&[vec![b'v'; 1000]]));
        }
    }
    let of_partition = |cluster: &mut Cluster, partition_max_bytes: usize, max_bytes: usize| {
        let options =
            FetchOptions { partition_max_bytes: partition_max_bytes as i32, max_bytes: max_bytes as i32, ..FetchOptions::default() };
        let answer = fetch_with(cluster, "t", own[0], 0, options);
        decode_batches(bytes_of(&answer), "t", own[0], 0, Vec::new()).expect("valid").records.len()
    };
    // Whole batches up to the bound. The last may be cut, as in Kafka; a client ignores what is not whole.
    assert_eq!(of_partition(&mut cluster, size * 3, 1 << 20), 3);
    assert_eq!(of_partition(&mut cluster, 1 << 20, size * 4), 4);
    assert_eq!(of_partition(&mut cluster, 1 << 20, 1 << 20), 10);
    // The first batch always comes, however small the bounds: a consumer must get on.
    assert_eq!(of_partition(&mut cluster, 1, 1 << 20), 1);
    assert_eq!(of_partition(&mut cluster, 1, 1), 1);

    // Over several partitions: together not more than the bound, and at least one batch.
    let wanted: Vec<(i32, i64)> = own.iter().map(|&p| (p, 0)).collect();
    for (max_bytes, expected) in [(size * 12, 12), (1, 1)] {
        let options = FetchOptions { max_bytes: max_bytes as i32, ..FetchOptions::default() };
        let connection = leader(&mut cluster, "t", own[0]);
        let answers = fetched(connection.call_at(&fetch_request("t", &wanted, options), FETCH_NAMED).expect("an answer"));
        let records: usize =
            answers.iter().map(|a| decode_batches(bytes_of(a), "t", a.partition_index, 0, Vec::new()).expect("valid").records.len()).sum();
        assert_eq!(records, expected, "max.bytes {max_bytes}");
    }
}

fn fetch_sessions(mode: Mode) {
    let (broker, mut cluster) = start(mode, 4);
    let topic = cluster.await_topic("t", false).expect("known").clone();
    let own: Vec<i32> = topic.partitions.iter().filter(|p| p.leader == topic.partitions[0].leader).map(|p| p.index).collect();
    let id = topic.id;
    let mut connection = broker.leader_connection("t", own[0]);
    let ask = |offsets: &[(i32, i64)], session: (i32, i32)| {
        let mut request = fetch_request("t", offsets, FetchOptions { session, ..FetchOptions::default() });
        for topic in &mut request.topics {
            topic.topic = odradek_client::topic_name("");
            topic.topic_id = id;
        }
        request
    };
    let all: Vec<(i32, i64)> = own.iter().map(|&p| (p, 0)).collect();
    let full = connection.call_at(&ask(&all, (0, 0)), 17).expect("an answer");
    let session = full.session_id;
    assert_ne!(session, 0, "a session was opened");
    assert_eq!(fetched(full).len(), own.len(), "the first answer tells of everything");

    let next = connection.call_at(&ask(&[], (session, 1)), 17).expect("an answer");
    assert_eq!((next.session_id, fetched(next).len()), (session, 0), "nothing is new");

    produce_ok(&mut cluster, "t", own[1], batch(&["news"]));
    let news = fetched(connection.call_at(&ask(&[], (session, 2)), 17).expect("an answer"));
    assert_eq!(news.iter().map(|p| (p.partition_index, p.high_watermark)).collect::<Vec<_>>(), [(own[1], 1)]);
    let decoded = decode_batches(bytes_of(&news[0]), "t", own[1], 0, Vec::new()).expect("valid");
    assert_eq!(values(&decoded.records), ["news"]);
    // The client moves on in that partition; the others stay as they were.
    let read = fetched(connection.call_at(&ask(&[(own[1], 1)], (session, 3)), 17).expect("an answer"));
    assert!(read.iter().all(|p| bytes_of(p).is_empty()), "{read:?}");
    // A partition that was forgotten is not told of any more.
    let mut forget = ask(&[], (session, 4));
    forget.forgotten_topics_data = vec![ForgottenTopic::default().with_topic_id(id).with_partitions(vec![own[0]])];
    produce_ok(&mut cluster, "t", own[0], batch(&["unheard"]));
    produce_ok(&mut cluster, "t", own[1], batch(&["heard"]));
    let rest = fetched(connection.call_at(&forget, 17).expect("an answer"));
    assert_eq!(rest.iter().map(|p| p.partition_index).collect::<Vec<_>>(), [own[1]]);

    let wrong = connection.call_at(&ask(&[], (session, 77)), 17).expect("an answer");
    assert_eq!(wrong.error_code, code(ErrorCode::InvalidFetchSessionEpoch));
    let unknown = connection.call_at(&ask(&[], (session ^ 0x55, 5)), 17).expect("an answer");
    assert_eq!(unknown.error_code, code(ErrorCode::FetchSessionIdNotFound));
    // Ended by the client: then it is unknown.
    connection.call_at(&ask(&[], (session, -1)), 17).expect("an answer");
    let ended = connection.call_at(&ask(&[], (session, 5)), 17).expect("an answer");
    assert_eq!(ended.error_code, code(ErrorCode::FetchSessionIdNotFound));
}

fn isolation_levels(mode: Mode) {
    let (_broker, mut cluster) = start(mode, 2);
    for partition in 0..2 {
        produce_ok(&mut cluster, "t", partition, batch(&["a", "b"]));
        for isolation in [0, 1] {
            let answer = fetch_with(&mut cluster, "t", partition, 0, FetchOptions { isolation, ..FetchOptions::default() });
            // Without transactions everything that is there is stable.
            assert_eq!((answer.error_code, answer.high_watermark, answer.last_stable_offset), (0, 2, 2));
            assert!(answer.aborted_transactions.unwrap_or_default().is_empty());
            let decoded = decode_batches(answer.records.unwrap_or_default(), "t", partition, 0, Vec::new()).expect("valid");
            assert_eq!(values(&decoded.records), ["a", "b"]);
        }
    }
    // Records of a transaction that nobody began.
    let transactional =
        batch_with(Codec::None, &["x"], |b| b.producer(odradek_base::ProducerId(9), odradek_base::ProducerEpoch(0), 0).transactional(true));
    let refused = produce(&mut cluster, "t", 0, -1, transactional);
    assert_ne!(refused.error_code, 0);
    assert_eq!(fetch(&mut cluster, "t", 0, 0).high_watermark, 2);
}

fn offsets_by_time(mode: Mode) {
    let (_broker, mut cluster) = start(mode, 2);
    let base = now() - 100_000;
    let at = |cluster: &mut Cluster, partition: i32, spec: OffsetSpec| {
        let wanted = [("t".to_owned(), partition, spec)];
        let mut listed = cluster.admin().list_offsets(&wanted, IsolationLevel::ReadUncommitted).expect("an answer");
        let listed = listed.remove(&("t".to_owned(), partition)).expect("asked for").expect("no error");
        (listed.offset, listed.timestamp)
    };
    for partition in 0..2 {
        assert_eq!(at(&mut cluster, partition, OffsetSpec::Earliest).0, 0);
        assert_eq!(at(&mut cluster, partition, OffsetSpec::Latest).0, 0);
        assert_eq!(at(&mut cluster, partition, OffsetSpec::Timestamp(0)), (-1, -1));
        // Three batches; the second holds the newest record of all in its middle.
        for (codec, times) in [(Codec::None, [0, 10, 20]), (Codec::Zstd, [30, 900, 40]), (Codec::None, [50, 60, 70])] {
            let mut builder = BatchBuilder::new(codec);
            for time in times {
                builder.append(Timestamp(base + time), None, Some(b"v"), &[]);
            }
            produce_ok(&mut cluster, "t", partition, builder.build());
        }
        assert_eq!(at(&mut cluster, partition, OffsetSpec::Earliest).0, 0);
        assert_eq!(at(&mut cluster, partition, OffsetSpec::Latest).0, 9);
        assert_eq!(at(&mut cluster, partition, OffsetSpec::MaxTimestamp), (4, base + 900));
        // The first record at or after the time, inside batches too.
        for (time, offset, found) in [(-5, 0, 0), (0, 0, 0), (5, 1, 10), (20, 2, 20), (25, 3, 30), (31, 4, 900), (900, 4, 900)] {
            assert_eq!(at(&mut cluster, partition, OffsetSpec::Timestamp(base + time)), (offset, base + found), "at {time}");
        }
        assert_eq!(at(&mut cluster, partition, OffsetSpec::Timestamp(base + 901)), (-1, -1), "nothing is that new");
    }
}

fn deleted_records_stay_deleted(mode: Mode) {
    let (_broker, mut cluster) = start(mode, 2);
    for partition in 0..2 {
        for i in 0..10 {
            produce_ok(&mut cluster, "t", partition, batch(&[format!("{i}")]));
        }
    }
    let delete = |cluster: &mut Cluster, partition: i32, before: i64| {
        let wanted = BTreeMap::from([(("t".to_owned(), partition), before)]);
        cluster.admin().delete_records(&wanted).expect("an answer").remove(&("t".to_owned(), partition)).expect("asked for")
    };
    for partition in 0..2 {
        assert_eq!(delete(&mut cluster, partition, 4).expect("deleted"), 4);
        assert_eq!(delete(&mut cluster, partition, 2).expect("nothing to do"), 4, "the start never moves back");
        let gone = fetch(&mut cluster, "t", partition, 3);
        assert_eq!(gone.error_code, code(ErrorCode::OffsetOutOfRange));
        let rest = fetch(&mut cluster, "t", partition, 4);
        assert_eq!((rest.error_code, rest.log_start_offset, rest.high_watermark), (0, 4, 10));
        assert_eq!(values(&read_all(&mut cluster, "t", partition, 4)), ["4", "5", "6", "7", "8", "9"]);
        let wanted = [("t".to_owned(), partition, OffsetSpec::Earliest)];
        let listed = cluster.admin().list_offsets(&wanted, IsolationLevel::ReadUncommitted).expect("an answer");
        assert_eq!(listed.into_values().next().expect("one").expect("no error").offset, 4);
        assert_eq!(support::code_of(delete(&mut cluster, partition, 11)), ErrorCode::OffsetOutOfRange);
        assert_eq!(delete(&mut cluster, partition, -1).expect("everything"), 10);
        assert!(read_all(&mut cluster, "t", partition, 10).is_empty());
        assert_eq!(produce_ok(&mut cluster, "t", partition, batch(&["after"])), 10);
    }
}

fn errors_of_produce_and_fetch(mode: Mode) {
    let (broker, mut cluster) = start(mode, 2);
    create(&mut cluster, "compacted", 1, &[("cleanup.policy", "compact")]);
    let mut connection = broker.connection();
    let unknown = produced(connection.call_at(&produce_request(-1, "nobody", &[(0, batch(&["x"]))]), PRODUCE_NAMED).expect("an answer"));
    assert_eq!(unknown[0].error_code, code(ErrorCode::UnknownTopicOrPartition));
    let beyond = produced(connection.call_at(&produce_request(-1, "t", &[(2, batch(&["x"]))]), PRODUCE_NAMED).expect("an answer"));
    assert_eq!(beyond[0].error_code, code(ErrorCode::UnknownTopicOrPartition));
    // A compacted topic needs keys; the answer names the record.
    let keyless = produce(&mut cluster, "compacted", 0, -1, batch(&["x"]));
    assert_eq!(keyless.error_code, code(ErrorCode::InvalidRecord));
    assert_eq!(keyless.record_errors.iter().map(|e| e.batch_index).collect::<Vec<_>>(), [0]);
    // Produce by an id that nobody has.
    let data = PartitionProduceData::default().with_index(0).with_records(Some(batch(&["x"])));
    let topic = TopicProduceData::default().with_topic_id(uuid::Uuid::from_u128(42)).with_partition_data(vec![data]);
    let request = ProduceRequest::default().with_acks(-1).with_timeout_ms(1000).with_topic_data(vec![topic]);
    let by_id = produced(call(&mut connection, &request));
    assert_eq!(by_id[0].error_code, code(ErrorCode::UnknownTopicId));

    for partition in 0..2 {
        produce_ok(&mut cluster, "t", partition, batch(&["x"]));
        for offset in [2, -1, i64::MAX] {
            assert_eq!(fetch(&mut cluster, "t", partition, offset).error_code, code(ErrorCode::OffsetOutOfRange), "{offset}");
        }
        assert_eq!(fetch(&mut cluster, "t", partition, 1).error_code, 0, "the end is a place to wait at");
    }
    let nowhere =
        fetched(connection.call_at(&fetch_request("nobody", &[(0, 0)], FetchOptions::default()), FETCH_NAMED).expect("an answer"));
    assert_eq!(nowhere[0].error_code, code(ErrorCode::UnknownTopicOrPartition));
    let wanted = FetchPartition::default().with_fetch_offset(0).with_current_leader_epoch(-1).with_partition_max_bytes(100);
    let topic = FetchTopic::default().with_topic_id(uuid::Uuid::from_u128(42)).with_partitions(vec![wanted]);
    let request = FetchRequest::default().with_max_bytes(100).with_session_epoch(-1).with_topics(vec![topic]);
    let by_id = fetched(connection.call_at(&request, 17).expect("an answer"));
    assert_eq!(by_id[0].error_code, code(ErrorCode::UnknownTopicId));
    // A leader epoch from the future.
    let mut request = fetch_request("t", &[(0, 0)], FetchOptions::default());
    request.topics[0].partitions[0].current_leader_epoch = 99;
    let ahead = fetched(leader(&mut cluster, "t", 0).call_at(&request, FETCH_NAMED).expect("an answer"));
    assert_eq!(ahead[0].error_code, code(ErrorCode::UnknownLeaderEpoch));
}
