use super::*;
use odradek_base::{BrokerId, LeaderEpoch, PartitionIndex, Rng, TopicId};
use uuid::Uuid;

fn samples() -> Vec<MetadataRecord> {
    let topic_id = TopicId(Uuid::from_u128(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10));
    let brokers = |ids: &[i32]| ids.iter().copied().map(BrokerId).collect::<Vec<_>>();
    vec![
        MetadataRecord::RegisterBroker(RegisterBrokerRecord {
            broker: BrokerId(1000),
            is_migrating_zk_broker: false,
            incarnation_id: Uuid::from_u128(7),
            broker_epoch: 12,
            endpoints: vec![EndpointRecord { name: "PLAINTEXT".into(), host: "localhost".into(), port: 65_535, security_protocol: 0 }],
            features: vec![FeatureRecord { name: "metadata.version".into(), min: 1, max: 29 }],
            rack: Some("r".into()),
            fenced: true,
            in_controlled_shutdown: false,
            log_dirs: vec![Uuid::from_u128(9)],
        }),
        MetadataRecord::UnregisterBroker(UnregisterBrokerRecord { broker: BrokerId(3), broker_epoch: -1 }),
        MetadataRecord::Topic(TopicRecord { name: "t\u{fc}".into(), topic_id }),
        MetadataRecord::Partition(PartitionRecord {
            partition: PartitionIndex(4),
            topic_id,
            replicas: brokers(&[1, 2, 3]),
            isr: brokers(&[2]),
            removing_replicas: brokers(&[]),
            adding_replicas: brokers(&[3]),
            leader: BrokerId(-1),
            leader_recovery_state: 1,
            leader_epoch: LeaderEpoch(5),
            partition_epoch: 6,
            directories: vec![Uuid::from_u128(1); 3],
        }),
        MetadataRecord::Config(ConfigRecord { resource_type: 2, resource_name: "t".into(), name: "retention.ms".into(), value: None }),
        MetadataRecord::Config(ConfigRecord { resource_type: 4, resource_name: "".into(), name: "a".into(), value: Some("".into()) }),
        MetadataRecord::PartitionChange(PartitionChangeRecord {
            partition: PartitionIndex(1),
            topic_id,
            isr: Some(brokers(&[1])),
            leader: Some(BrokerId(-1)),
            replicas: Some(brokers(&[1, 2])),
            removing_replicas: Some(brokers(&[])),
            adding_replicas: None,
            leader_recovery_state: Some(0),
            directories: Some(vec![Uuid::from_u128(2)]),
        }),
        MetadataRecord::PartitionChange(PartitionChangeRecord { partition: PartitionIndex(0), topic_id, ..Default::default() }),
        MetadataRecord::RemoveTopic(RemoveTopicRecord { topic_id }),
        MetadataRecord::FeatureLevel(FeatureLevelRecord { name: "metadata.version".into(), level: 29 }),
        MetadataRecord::ProducerIds(ProducerIdsRecord { broker: BrokerId(1), broker_epoch: 2, next_producer_id: 3000 }),
        MetadataRecord::BrokerRegistrationChange(BrokerRegistrationChangeRecord {
            broker: BrokerId(1),
            broker_epoch: 2,
            fenced: Some(false),
            in_controlled_shutdown: true,
            log_dirs: vec![Uuid::from_u128(3)],
        }),
        MetadataRecord::NoOp,
        MetadataRecord::BeginTransaction(Some("start".into())),
        MetadataRecord::BeginTransaction(None),
        MetadataRecord::EndTransaction,
        MetadataRecord::AbortTransaction(Some("why".into())),
    ]
}

#[test]
fn records_round_trip() {
    for record in samples() {
        assert_eq!(MetadataRecord::decode(&record.encode()), Ok(record));
    }
}

/// Bytes worked out by hand from Kafka's schemas.
#[test]
fn bytes_are_those_of_kafka() {
    let id = TopicId(Uuid::from_u128(1));
    let mut topic = vec![1, 2, 0, 4, b'f', b'o', b'o'];
    topic.extend([0; 15]);
    topic.extend([1, 0]);
    assert_eq!(MetadataRecord::Topic(TopicRecord { name: "foo".into(), topic_id: id }).encode(), topic);
    assert_eq!(MetadataRecord::NoOp.encode(), [1u8, 20, 0, 0][..]);
    assert_eq!(
        MetadataRecord::FeatureLevel(FeatureLevelRecord { name: "a".into(), level: 1 }).encode(),
        [1u8, 12, 0, 2, b'a', 0, 1, 0][..]
    );
    // Fencing: tag 0, one byte.
    let change = BrokerRegistrationChangeRecord {
        broker: BrokerId(1),
        broker_epoch: 2,
        fenced: Some(false),
        in_controlled_shutdown: false,
        log_dirs: Vec::new(),
    };
    let expected = [1u8, 17, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 1, 0, 1, 0xff];
    assert_eq!(MetadataRecord::BrokerRegistrationChange(change).encode(), expected[..]);
}

#[test]
fn older_versions_are_read() {
    // PartitionRecord version 0 has no directories.
    let mut bytes = vec![1, 3, 0];
    bytes.extend([0; 4]);
    bytes.extend([0; 16]);
    bytes.extend([2, 0, 0, 0, 1, 2, 0, 0, 0, 1, 1, 1]);
    bytes.extend([0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let MetadataRecord::Partition(record) = MetadataRecord::decode(&bytes).unwrap() else { panic!("not a partition") };
    assert_eq!((record.leader, record.directories.len()), (BrokerId(1), 0));
}

#[test]
fn unknown_tags_are_skipped() {
    let mut bytes = MetadataRecord::NoOp.encode().to_vec();
    bytes.pop();
    bytes.extend([1, 99, 2, 7, 7]);
    assert_eq!(MetadataRecord::decode(&bytes), Ok(MetadataRecord::NoOp));
}

#[test]
fn hostile_bytes_are_refused() {
    let table: &[(&[u8], RecordError)] = &[
        (&[], RecordError::Truncated),
        (&[2], RecordError::FrameVersion(2)),
        (&[1, 99, 0], RecordError::UnknownType(99)),
        (&[1, 2, 1], RecordError::UnknownVersion { record_type: 2, version: 1 }),
        (&[1, 20, 0, 0, 0], RecordError::TrailingBytes),
        // A string and arrays that claim four billion bytes.
        (&[1, 2, 0, 0xff, 0xff, 0xff, 0xff, 0x0f, 1], RecordError::Truncated),
        (&[1, 20, 0, 0xff, 0xff, 0xff, 0xff, 0x0f], RecordError::Malformed("too many tagged fields")),
        (&[1, 0x80, 0x80, 0x80, 0x80, 0x80, 1], RecordError::Malformed("a varint is longer than 5 bytes")),
        (&[1, 0x80, 0x80, 0x80, 0x80, 0x7f], RecordError::Malformed("a varint exceeds 32 bits")),
        (&[1, 2, 0, 3, 0xff, 0xff], RecordError::Malformed("a string is not UTF-8")),
        (&[1, 2, 0, 0], RecordError::Malformed("a string is null that must not be")),
    ];
    for (bytes, expected) in table {
        assert_eq!(MetadataRecord::decode(bytes).unwrap_err(), *expected, "{bytes:?}");
    }
    for record in samples() {
        let bytes = record.encode();
        for end in 0..bytes.len() {
            assert!(MetadataRecord::decode(&bytes[..end]).is_err(), "{record:?} cut at {end}");
        }
    }
}

#[test]
fn any_mutation_is_survived() {
    let samples: Vec<Vec<u8>> = samples().iter().map(|record| record.encode().to_vec()).collect();
    let mut rng = Rng::with_seed(11);
    let mut decoded = 0;
    for _ in 0..20_000 {
        let mut bytes = samples[rng.below(samples.len() as u64) as usize].clone();
        for _ in 0..=rng.below(3) {
            let at = rng.below(bytes.len() as u64) as usize;
            match rng.below(4) {
                0 => bytes[at] = rng.next_u64() as u8,
                1 => bytes[at] ^= 1 << rng.below(8),
                2 => bytes.truncate(at + 1),
                _ => bytes.insert(at, rng.next_u64() as u8),
            }
        }
        if let Ok(record) = MetadataRecord::decode(&bytes) {
            decoded += 1;
            assert_eq!(MetadataRecord::decode(&record.encode()), Ok(record));
        }
    }
    assert!(decoded > 1000, "the mutations are too wild to show anything: {decoded}");
}

/// Records out of the metadata log of an Apache Kafka 4.3.1 broker.
#[test]
fn records_that_kafka_wrote() {
    let of = |hex: &str| {
        let bytes: Vec<u8> = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
        (MetadataRecord::decode(&bytes).unwrap(), bytes)
    };
    let same = [
        "01170001001212426f6f747374726170207265636f726473",
        "010c00116d657461646174612e76657273696f6e001e00",
        "0104000401146d696e2e696e73796e632e7265706c69636173023100",
        "01180000",
        "01140000",
        "0102000668656c6c6f2a79604984804450ab8f502159b4716700",
        "010f0000000001000000000000000f00000000000003e800",
        "010900890bab8556e34dd4b3fb66f4e5a79a5000",
    ];
    for hex in same {
        let (record, bytes) = of(hex);
        assert_eq!(record.encode(), bytes, "{record:?}");
    }
    // Kafka writes newer versions of these; what they say is the same.
    let (record, _) = of(
        "010302000000002a79604984804450ab8f502159b471670200000001020000000101010000000100000000000000000271d6221b9817477ca662f16847ea707c00",
    );
    let MetadataRecord::Partition(partition) = record else { panic!("{record:?}") };
    assert_eq!((partition.leader, partition.replicas, partition.directories.len()), (BrokerId(1), vec![BrokerId(1)], 1));
    let (record, _) = of("01110300000001000000000000000f01030101");
    let MetadataRecord::BrokerRegistrationChange(change) = record else { panic!("{record:?}") };
    assert_eq!((change.broker, change.broker_epoch, change.fenced), (BrokerId(1), 15, None));
    let (record, _) = of(
        "0100040000000100e6796da3c23d4a99a32d523a9ac4ac15000000000000000f020a504c41494e544558540a3132372e302e302e314a9400000002116d6574\
         61646174612e76657273696f6e0007001e000001000100110271d6221b9817477ca662f16847ea707c",
    );
    let MetadataRecord::RegisterBroker(broker) = record else { panic!("{record:?}") };
    assert_eq!((broker.endpoints[0].port, broker.features[0].max, broker.log_dirs.len(), broker.fenced), (19_092, 30, 1, true));
}
