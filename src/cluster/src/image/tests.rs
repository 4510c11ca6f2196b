use super::*;
use crate::records::{BrokerRegistrationChangeRecord, PartitionChangeRecord, PartitionRecord, RemoveTopicRecord, UnregisterBrokerRecord};
use odradek_base::LeaderEpoch;
use odradek_settings::Settings;

fn id(number: u128) -> TopicId {
    TopicId(Uuid::from_u128(number))
}

fn topic(name: &str, number: u128) -> MetadataRecord {
    MetadataRecord::Topic(TopicRecord { name: name.into(), topic_id: id(number) })
}

fn partition(number: u128, index: i32, replicas: &[i32]) -> MetadataRecord {
    let replicas: Vec<BrokerId> = replicas.iter().copied().map(BrokerId).collect();
    MetadataRecord::Partition(PartitionRecord {
        partition: PartitionIndex(index),
        topic_id: id(number),
        isr: replicas.clone(),
        removing_replicas: Vec::new(),
        adding_replicas: Vec::new(),
        leader: replicas[0],
        leader_recovery_state: 0,
        leader_epoch: LeaderEpoch(0),
        partition_epoch: 0,
        directories: vec![Uuid::nil(); replicas.len()],
        replicas,
    })
}

fn config(resource_type: ResourceType, resource: &str, name: &str, value: Option<&str>) -> MetadataRecord {
    MetadataRecord::Config(ConfigRecord {
        resource_type: resource_type.code(),
        resource_name: resource.into(),
        name: name.into(),
        value: value.map(str::to_owned),
    })
}

fn broker(number: i32, epoch: i64) -> MetadataRecord {
    MetadataRecord::RegisterBroker(RegisterBrokerRecord {
        broker: BrokerId(number),
        is_migrating_zk_broker: false,
        incarnation_id: Uuid::from_u128(1),
        broker_epoch: epoch,
        endpoints: vec![EndpointRecord { name: "PLAINTEXT".into(), host: "h".into(), port: 1, security_protocol: 0 }],
        features: Vec::new(),
        rack: None,
        fenced: false,
        in_controlled_shutdown: false,
        log_dirs: Vec::new(),
    })
}

fn image(records: &[MetadataRecord]) -> Image {
    let mut image = Image::new("cluster");
    records.iter().for_each(|record| image.apply(record).unwrap());
    image
}

fn example() -> Vec<MetadataRecord> {
    vec![
        MetadataRecord::FeatureLevel(FeatureLevelRecord { name: "metadata.version".into(), level: 30 }),
        broker(1000, 3),
        broker(1001, 4),
        topic("b.c", 1),
        partition(1, 0, &[1000]),
        partition(1, 1, &[1001, 1000]),
        topic("a", 2),
        partition(2, 0, &[1001]),
        config(ResourceType::Topic, "a", "retention.ms", Some("5")),
        config(ResourceType::Broker, "", "log.retention.ms", Some("7")),
        MetadataRecord::ProducerIds(ProducerIdsRecord { broker: BrokerId(1000), broker_epoch: 3, next_producer_id: 2000 }),
    ]
}

#[test]
fn records_make_an_image() {
    let image = image(&example());
    assert_eq!(image.topics().map(|topic| &*topic.name).collect::<Vec<_>>(), ["a", "b.c"]);
    assert_eq!(image.topics_from("b").count(), 1);
    assert_eq!((image.topic_count(), image.partition_count()), (2, 3));
    assert_eq!((image.replica_count(BrokerId(1000)), image.replica_count(BrokerId(1001)), image.replica_count(BrokerId(7))), (2, 2, 0));
    assert_eq!(image.colliding_topic("b_c"), Some("b.c"));
    assert_eq!(image.colliding_topic("b.c"), None);
    assert_eq!(image.next_producer_id(), 2000);
    assert_eq!(image.features().collect::<Vec<_>>(), [("metadata.version", 30)]);
    let on_1000: Vec<_> = image.partitions_of(BrokerId(1000)).map(|(topic, index, _)| (&*topic.name, index.get())).collect();
    assert_eq!(on_1000, [("b.c", 0), ("b.c", 1)]);
    let at = TopicPartition::new(id(1), PartitionIndex(1));
    assert_eq!(image.partition(at).unwrap().leader, Some(BrokerId(1001)));
}

#[test]
fn a_snapshot_makes_the_same_image() {
    let mut original = image(&example());
    let mut again = image(&original.snapshot());
    // Who was given the last block of producer ids is of no interest.
    assert_eq!(again, original);
    original.apply(&MetadataRecord::RemoveTopic(RemoveTopicRecord { topic_id: id(1) })).unwrap();
    again.apply(&MetadataRecord::RemoveTopic(RemoveTopicRecord { topic_id: id(1) })).unwrap();
    assert_eq!(again, original);
}

#[test]
fn removing_a_topic_leaves_nothing() {
    let mut image = image(&example());
    for number in [1, 2] {
        image.apply(&MetadataRecord::RemoveTopic(RemoveTopicRecord { topic_id: id(number) })).unwrap();
    }
    assert_eq!((image.topic_count(), image.partition_count(), image.replica_count(BrokerId(1000))), (0, 0, 0));
    assert_eq!(image.config(ResourceType::Topic, "a"), None);
    assert_eq!(image.colliding_topic("b_c"), None);
    image.apply(&topic("a", 3)).unwrap();
    assert!(image.topic("a").is_some());
}

#[test]
fn partitions_change() {
    let mut image = image(&example());
    let at = TopicPartition::new(id(1), PartitionIndex(1));
    let change = |change: PartitionChangeRecord| {
        MetadataRecord::PartitionChange(PartitionChangeRecord { partition: PartitionIndex(1), topic_id: id(1), ..change })
    };
    image.apply(&change(PartitionChangeRecord { isr: Some(vec![BrokerId(1001)]), ..Default::default() })).unwrap();
    let partition = image.partition(at).unwrap();
    assert_eq!((partition.isr.len(), partition.leader_epoch, partition.partition_epoch), (1, LeaderEpoch(0), 1));
    image.apply(&change(PartitionChangeRecord { leader: Some(BrokerId(-1)), ..Default::default() })).unwrap();
    let partition = image.partition(at).unwrap();
    assert_eq!((partition.leader, partition.leader_epoch, partition.partition_epoch), (None, LeaderEpoch(1), 2));
    image.apply(&change(PartitionChangeRecord { replicas: Some(vec![BrokerId(1001)]), ..Default::default() })).unwrap();
    assert_eq!(image.replica_count(BrokerId(1000)), 1);
}

#[test]
fn records_that_do_not_fit_change_nothing() {
    let before = image(&example());
    let change = |topic, index| {
        MetadataRecord::PartitionChange(PartitionChangeRecord {
            partition: PartitionIndex(index),
            topic_id: id(topic),
            replicas: Some(vec![BrokerId(5)]),
            ..Default::default()
        })
    };
    let wrong = [
        topic("a", 9),
        topic("z", 1),
        partition(9, 0, &[1]),
        partition(1, 0, &[1]),
        partition(1, -1, &[1]),
        change(9, 0),
        change(1, 7),
        MetadataRecord::RemoveTopic(RemoveTopicRecord { topic_id: id(9) }),
        MetadataRecord::UnregisterBroker(UnregisterBrokerRecord { broker: BrokerId(1000), broker_epoch: 1 }),
        MetadataRecord::BrokerRegistrationChange(BrokerRegistrationChangeRecord {
            broker: BrokerId(9),
            broker_epoch: 0,
            fenced: Some(true),
            in_controlled_shutdown: false,
            log_dirs: Vec::new(),
        }),
        MetadataRecord::ProducerIds(ProducerIdsRecord { broker: BrokerId(1), broker_epoch: 0, next_producer_id: 1999 }),
        MetadataRecord::Config(ConfigRecord { resource_type: 3, resource_name: "a".into(), name: "b".into(), value: None }),
    ];
    for record in wrong {
        let mut after = before.clone();
        assert!(after.apply(&record).is_err(), "{record:?}");
        assert_eq!(after, before, "{record:?}");
    }
}

#[test]
fn brokers_are_fenced_and_leave() {
    let mut image = image(&example());
    let fence = MetadataRecord::BrokerRegistrationChange(BrokerRegistrationChangeRecord {
        broker: BrokerId(1000),
        broker_epoch: 3,
        fenced: Some(true),
        in_controlled_shutdown: false,
        log_dirs: Vec::new(),
    });
    image.apply(&fence).unwrap();
    assert!(!image.broker(BrokerId(1000)).unwrap().is_active());
    image.apply(&MetadataRecord::UnregisterBroker(UnregisterBrokerRecord { broker: BrokerId(1000), broker_epoch: 3 })).unwrap();
    assert_eq!(image.brokers().map(|broker| broker.id).collect::<Vec<_>>(), [BrokerId(1001)]);
}

#[test]
fn changes_between_images() {
    let before = image(&example());
    let mut after = before.clone();
    assert_eq!(after.changes_since(&before), []);
    after.apply(&MetadataRecord::RemoveTopic(RemoveTopicRecord { topic_id: id(2) })).unwrap();
    after.apply(&partition(1, 2, &[1000])).unwrap();
    after.apply(&topic("new", 3)).unwrap();
    let kinds: Vec<_> = after
        .changes_since(&before)
        .into_iter()
        .map(|change| match change {
            TopicChange::Added(topic) => format!("+{}", topic.name),
            TopicChange::Removed(topic) => format!("-{}", topic.name),
            TopicChange::Changed { before, after } => format!("{} {}->{}", after.name, before.partition_count(), after.partition_count()),
        })
        .collect();
    assert_eq!(kinds, ["b.c 2->3", "-a", "+new"]);
    assert_eq!(before.topic("b.c").unwrap().partition_count(), 2, "the older image is untouched");
}

#[test]
fn the_strongest_layer_counts() {
    let of = |records: &[MetadataRecord], file: &str, name: &str| {
        let settings = Settings::parse(file.as_bytes(), "f", &[]).unwrap().0;
        let mut all = example();
        all.extend_from_slice(records);
        image(&all).topic_settings(&settings, BrokerId(1000), "a").get(name).to_owned()
    };
    let gone = config(ResourceType::Topic, "a", "retention.ms", None);
    let broker = config(ResourceType::Broker, "1000", "log.retention.ms", Some("9"));
    let no_default = config(ResourceType::Broker, "", "log.retention.ms", None);
    assert_eq!(of(&[], "log.retention.ms=11", "retention.ms"), "5");
    assert_eq!(of(std::slice::from_ref(&gone), "log.retention.ms=11", "retention.ms"), "7");
    assert_eq!(of(&[gone.clone(), broker], "log.retention.ms=11", "retention.ms"), "9");
    assert_eq!(of(&[gone.clone(), no_default.clone()], "log.retention.ms=11", "retention.ms"), "11");
    assert_eq!(of(&[gone.clone(), no_default.clone()], "log.retention.hours=1", "retention.ms"), "3600000");
    assert_eq!(of(&[gone, no_default], "", "retention.ms"), "604800000");
    assert_eq!(of(&[], "log.cleanup.policy=compact", "cleanup.policy"), "compact");
}

#[test]
fn a_large_image_is_cheap_to_change() {
    let mut image = Image::new("cluster");
    for number in 0..20_000u128 {
        image.apply(&topic(&format!("topic-{number}"), number + 1)).unwrap();
        image.apply(&partition(number + 1, 0, &[1000])).unwrap();
    }
    let copy = image.clone();
    image.apply(&partition(77, 1, &[1000])).unwrap();
    assert_eq!(image.changes_since(&copy).len(), 1);
    let shared = copy.topics().filter(|topic| image.topic_by_id(topic.id).is_some_and(|other| Arc::ptr_eq(topic, other)));
    assert_eq!(shared.count(), 19_999);
}
