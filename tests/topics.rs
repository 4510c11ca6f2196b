//! Topics over the wire: create, describe, list, change, extend, delete; in both advertise modes.

mod support;

use odradek_client::admin::{AlterConfig, AlterOperation, ConfigResource, ConfigSource, NewTopic, ResourceType};
use odradek_client::{ClientError, Cluster, Topics};
use odradek_wire::ErrorCode;
use odradek_wire::messages::create_topics_request::{CreatableTopic, CreateTopicsRequest};
use odradek_wire::messages::delete_topics_request::{DeleteTopicState, DeleteTopicsRequest};
use odradek_wire::messages::{ApiVersionsRequest, DescribeClusterRequest, MetadataRequest};
use support::records::{batch, call, fetch, produce, produce_ok, read_all, values};
use support::{Mode, TestBroker, code, code_of};

both_modes!(
    a_created_topic_is_described_and_listed,
    validate_only_makes_nothing,
    configs_of_a_topic_are_seen_and_acted_on_without_restart,
    unusable_configs_are_refused,
    replicas_by_hand,
    what_cannot_be_created_gets_kafkas_error,
    a_deleted_topic_is_gone_and_its_name_is_free,
    partitions_are_added_and_usable,
    metadata_creates_topics_where_that_is_allowed,
    a_topic_is_spread_evenly_over_the_shards,
    versions_of_apis,
);

fn topic(name: &str, partitions: i32) -> NewTopic {
    NewTopic { name: name.to_owned(), partitions: Some(partitions), replication_factor: Some(1), ..NewTopic::default() }
}

fn create(cluster: &mut Cluster, name: &str, partitions: i32) -> uuid::Uuid {
    cluster.admin().create_topic(&topic(name, partitions), false).expect("created")
}

fn names(cluster: &mut Cluster) -> Vec<String> {
    cluster.admin().list_topics(false).expect("listed").into_iter().map(|t| t.name).collect()
}

fn of_topic(name: &str) -> ConfigResource {
    ConfigResource { kind: ResourceType::Topic, name: name.to_owned() }
}

fn config(cluster: &mut Cluster, name: &str, key: &str) -> (String, ConfigSource) {
    let entries = cluster.admin().describe_configs(&of_topic(name), false).expect("described");
    let entry = entries.into_iter().find(|e| e.name == key).unwrap_or_else(|| panic!("no {key}"));
    (entry.value.expect("a value"), entry.source)
}

fn set(cluster: &mut Cluster, name: &str, key: &str, value: &str) -> Result<(), ClientError> {
    let change = AlterConfig { name: key.to_owned(), operation: AlterOperation::Set, value: Some(value.to_owned()) };
    cluster.admin().alter_configs(&of_topic(name), &[change], false)
}

fn a_created_topic_is_described_and_listed(mode: Mode) {
    let broker = TestBroker::start(mode);
    let mut cluster = broker.cluster();
    let id = create(&mut cluster, "orders", 5);
    create(&mut cluster, "a.first", 1);
    assert!(!id.is_nil());
    assert_eq!(names(&mut cluster), ["a.first", "orders"]);

    let described = cluster.admin().describe_topics(&["orders".to_owned(), "a.first".to_owned()], 100).expect("described");
    let orders = &described[1];
    assert_eq!((orders.name.as_str(), orders.id, orders.internal), ("orders", id, false));
    assert_eq!(orders.partitions.iter().map(|p| p.index).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    for partition in &orders.partitions {
        assert!(cluster.broker(partition.leader).is_some(), "leader {} is a broker", partition.leader);
        assert_eq!((&partition.replicas, &partition.isr), (&vec![partition.leader], &vec![partition.leader]));
    }
    // The same, two partitions at a time.
    assert_eq!(cluster.admin().describe_topics(&["orders".to_owned(), "a.first".to_owned()], 2).expect("described"), described);
    // Metadata says the same of it.
    let known = cluster.await_topic("orders", false).expect("known");
    assert_eq!((known.id, known.partitions.len()), (id, 5));
    assert_eq!(code_of(cluster.admin().describe_topics(&["nobody".to_owned()], 100)), ErrorCode::UnknownTopicOrPartition);

    let identity = call(&mut broker.connection(), &DescribeClusterRequest::default());
    assert_eq!(identity.brokers.len(), mode.brokers());
    assert_eq!(Some(&*identity.cluster_id), cluster.cluster_id());
    assert_eq!(cluster.brokers().count(), mode.brokers());
}

fn validate_only_makes_nothing(mode: Mode) {
    let broker = TestBroker::start(mode);
    let mut cluster = broker.cluster();
    cluster.admin().create_topic(&topic("wish", 3), true).expect("valid");
    assert_eq!(names(&mut cluster), Vec::<String>::new());
    assert_eq!(code_of(cluster.admin().create_topic(&topic("no/slash", 3), true)), ErrorCode::InvalidTopicException);
    create(&mut cluster, "wish", 3);
    assert_eq!(code_of(cluster.admin().create_topic(&topic("wish", 3), true)), ErrorCode::TopicAlreadyExists);

    let shorter = AlterConfig { name: "retention.ms".into(), operation: AlterOperation::Set, value: Some("1234".into()) };
    cluster.admin().alter_configs(&of_topic("wish"), &[shorter], true).expect("valid");
    assert_eq!(config(&mut cluster, "wish", "retention.ms"), ("604800000".into(), ConfigSource::Default));
}

fn configs_of_a_topic_are_seen_and_acted_on_without_restart(mode: Mode) {
    let broker = TestBroker::start(mode);
    let mut cluster = broker.cluster();
    let configs = vec![("max.message.bytes".to_owned(), "2000".to_owned()), ("cleanup.policy".to_owned(), "delete".to_owned())];
    // Two partitions: with two shards, one on each.
    cluster.admin().create_topic(&NewTopic { configs, ..topic("bounded", 2) }, false).expect("created");
    assert_eq!(config(&mut cluster, "bounded", "max.message.bytes"), ("2000".into(), ConfigSource::DynamicTopic));
    assert_eq!(config(&mut cluster, "bounded", "segment.bytes").1, ConfigSource::Default);

    let large = batch(&[vec![b'x'; 5000]]);
    for partition in 0..2 {
        let refused = produce(&mut cluster, "bounded", partition, -1, large.clone());
        assert_eq!(refused.error_code, code(ErrorCode::MessageTooLarge));
        assert_eq!(produce_ok(&mut cluster, "bounded", partition, batch(&["small"])), 0, "the refused batch took no offset");
    }

    set(&mut cluster, "bounded", "max.message.bytes", "10000").expect("changed");
    assert_eq!(config(&mut cluster, "bounded", "max.message.bytes"), ("10000".into(), ConfigSource::DynamicTopic));
    for partition in 0..2 {
        assert_eq!(produce_ok(&mut cluster, "bounded", partition, large.clone()), 1);
    }

    set(&mut cluster, "bounded", "max.message.bytes", "2000").expect("changed");
    let back = AlterConfig { name: "max.message.bytes".into(), operation: AlterOperation::Delete, value: None };
    for partition in 0..2 {
        let refused = produce(&mut cluster, "bounded", partition, -1, large.clone());
        assert_eq!(refused.error_code, code(ErrorCode::MessageTooLarge), "the bound is lower again");
    }
    cluster.admin().alter_configs(&of_topic("bounded"), &[back], false).expect("changed");
    assert_eq!(config(&mut cluster, "bounded", "max.message.bytes"), ("1048588".into(), ConfigSource::Default));
    for partition in 0..2 {
        assert_eq!(produce_ok(&mut cluster, "bounded", partition, large.clone()), 2);
    }
}

fn unusable_configs_are_refused(mode: Mode) {
    let broker = TestBroker::start(mode);
    let mut cluster = broker.cluster();
    let with = |key: &str, value: &str| NewTopic { configs: vec![(key.to_owned(), value.to_owned())], ..topic("strange", 1) };
    for (key, value) in [("no.such.key", "1"), ("retention.ms", "soon"), ("cleanup.policy", "burn"), ("min.insync.replicas", "0")] {
        assert_eq!(code_of(cluster.admin().create_topic(&with(key, value), false)), ErrorCode::InvalidConfig, "{key}={value}");
    }
    assert_eq!(names(&mut cluster), Vec::<String>::new());
    create(&mut cluster, "plain", 1);
    for (key, value) in [("no.such.key", "1"), ("retention.ms", "soon"), ("cleanup.policy", "burn"), ("min.insync.replicas", "0")] {
        assert_eq!(code_of(set(&mut cluster, "plain", key, value)), ErrorCode::InvalidConfig, "{key}={value}");
    }
    assert_eq!(code_of(set(&mut cluster, "nobody", "retention.ms", "1000")), ErrorCode::UnknownTopicOrPartition);
    assert_eq!(config(&mut cluster, "plain", "retention.ms"), ("604800000".into(), ConfigSource::Default));
}

fn replicas_by_hand(mode: Mode) {
    let broker = TestBroker::start(mode);
    let mut cluster = broker.cluster();
    let brokers: Vec<i32> = cluster.brokers().map(|b| b.id).collect();
    let last = *brokers.last().expect("a broker");
    let by_hand = |name: &str, assignment: Vec<Vec<i32>>| NewTopic { name: name.to_owned(), assignment, ..NewTopic::default() };
    cluster.admin().create_topic(&by_hand("placed", vec![vec![last], vec![brokers[0]], vec![last]]), false).expect("created");
    let placed = cluster.await_topic("placed", false).expect("known");
    assert_eq!(placed.partitions.iter().map(|p| p.leader).collect::<Vec<_>>(), [last, brokers[0], last]);
    for partition in 0..3 {
        assert_eq!(produce_ok(&mut cluster, "placed", partition, batch(&["here"])), 0);
    }
    cluster.admin().create_partitions("placed", 4, Some(&[vec![brokers[0]]])).expect("added");
    assert_eq!(cluster.await_topic("placed", false).expect("known").partitions[3].leader, brokers[0]);

    assert_eq!(code_of(cluster.admin().create_topic(&by_hand("lost", vec![vec![4711]]), false)), ErrorCode::InvalidReplicaAssignment);
    assert_eq!(
        code_of(cluster.admin().create_topic(&by_hand("twice", vec![vec![last, last]]), false)),
        ErrorCode::InvalidReplicaAssignment
    );
    assert_eq!(names(&mut cluster), ["placed"]);
}

fn what_cannot_be_created_gets_kafkas_error(mode: Mode) {
    let broker = TestBroker::start(mode);
    let mut cluster = broker.cluster();
    create(&mut cluster, "there", 1);
    create(&mut cluster, "dotted.name", 1);
    let attempt = |cluster: &mut Cluster, name: &str, partitions: i32, replication: i16| {
        let wanted = NewTopic { replication_factor: Some(replication), ..topic(name, partitions) };
        code_of(cluster.admin().create_topic(&wanted, false))
    };
    assert_eq!(attempt(&mut cluster, "there", 1, 1), ErrorCode::TopicAlreadyExists);
    assert_eq!(attempt(&mut cluster, "dotted_name", 1, 1), ErrorCode::InvalidTopicException);
    for bad in ["", ".", "..", "space d", "ümlaut", &"x".repeat(250)] {
        assert_eq!(attempt(&mut cluster, bad, 1, 1), ErrorCode::InvalidTopicException, "{bad:?}");
    }
    assert_eq!(attempt(&mut cluster, "none", 0, 1), ErrorCode::InvalidPartitions);
    // Replicas of one partition never share a node, however many shards it has.
    assert_eq!(attempt(&mut cluster, "safe", 1, 2), ErrorCode::InvalidReplicationFactor);
    assert_eq!(attempt(&mut cluster, "huge", 10_001, 1), ErrorCode::PolicyViolation);

    // The same name twice in one request: neither is made. Others of the request are.
    let wanted =
        |name| CreatableTopic::default().with_name(odradek_client::topic_name(name)).with_num_partitions(1).with_replication_factor(1);
    let request =
        CreateTopicsRequest::default().with_timeout_ms(10_000).with_topics(vec![wanted("twin"), wanted("twin"), wanted("single")]);
    let response = call(&mut broker.connection(), &request);
    let mut results: Vec<(String, i16)> = response.topics.iter().map(|t| (t.name.0.to_string(), t.error_code)).collect();
    results.sort();
    assert_eq!(results, [("single".to_owned(), 0), ("twin".to_owned(), code(ErrorCode::InvalidRequest))]);
    assert_eq!(names(&mut cluster), ["dotted.name", "single", "there"]);
}

fn a_deleted_topic_is_gone_and_its_name_is_free(mode: Mode) {
    let broker = TestBroker::start(mode);
    let mut cluster = broker.cluster();
    let first = create(&mut cluster, "short", 4);
    for partition in 0..4 {
        produce_ok(&mut cluster, "short", partition, batch(&["old"]));
    }
    cluster.admin().delete_topic("short").expect("deleted");
    assert_eq!(names(&mut cluster), Vec::<String>::new());
    assert_eq!(code_of(cluster.admin().delete_topic("short")), ErrorCode::UnknownTopicOrPartition);
    cluster.refresh(Topics::Named(&["short".to_owned()]), false).expect("answered");
    assert!(cluster.topic("short").is_none());

    let second = create(&mut cluster, "short", 4);
    assert_ne!(first, second);
    for partition in 0..4 {
        assert_eq!(produce_ok(&mut cluster, "short", partition, batch(&["new"])), 0, "offsets begin again");
        assert_eq!(values(&read_all(&mut cluster, "short", partition, 0)), ["new"]);
    }
    // By id; and an id that nobody has.
    let request = DeleteTopicsRequest::default()
        .with_timeout_ms(10_000)
        .with_topics([second, first].map(|id| DeleteTopicState::default().with_name(None).with_topic_id(id)).into());
    let response = call(&mut broker.connection(), &request);
    let mut codes: Vec<i16> = response.responses.iter().map(|r| r.error_code).collect();
    codes.sort_unstable();
    assert_eq!(codes, [0, code(ErrorCode::UnknownTopicId)]);
    assert_eq!(names(&mut cluster), Vec::<String>::new());
}

fn partitions_are_added_and_usable(mode: Mode) {
    let broker = TestBroker::start(mode);
    let mut cluster = broker.cluster();
    create(&mut cluster, "growing", 1);
    produce_ok(&mut cluster, "growing", 0, batch(&["kept"]));
    cluster.admin().create_partitions("growing", 6, None).expect("added");
    assert_eq!(cluster.await_topic("growing", false).expect("known").partitions.len(), 6);
    for partition in 1..6 {
        assert_eq!(produce_ok(&mut cluster, "growing", partition, batch(&["added"])), 0);
    }
    assert_eq!(values(&read_all(&mut cluster, "growing", 0, 0)), ["kept"]);
    for count in [6, 3, 0, -1] {
        assert_eq!(code_of(cluster.admin().create_partitions("growing", count, None)), ErrorCode::InvalidPartitions, "{count}");
    }
    assert_eq!(code_of(cluster.admin().create_partitions("nobody", 3, None)), ErrorCode::UnknownTopicOrPartition);
    assert_eq!(cluster.await_topic("growing", false).expect("known").partitions.len(), 6);
}

fn metadata_creates_topics_where_that_is_allowed(mode: Mode) {
    let mut broker = TestBroker::start_with(mode, &["num.partitions=3"]);
    let mut cluster = broker.cluster();
    let refused = code_of(cluster.await_topic("wanted", false).map(|t| t.name.clone()));
    assert_eq!(refused, ErrorCode::UnknownTopicOrPartition, "a client that does not ask for creation gets none");
    let made = cluster.await_topic("wanted", true).expect("made").clone();
    assert_eq!((made.partitions.len(), made.id.is_nil()), (3, false));
    for partition in 0..3 {
        assert_eq!(produce_ok(&mut cluster, "wanted", partition, batch(&["x"])), 0);
    }
    assert_eq!(cluster.await_topic("wanted", true).expect("there").id, made.id, "asking again makes nothing new");
    let invalid = code_of(cluster.await_topic("not a name", true).map(|t| t.name.clone()));
    assert_eq!(invalid, ErrorCode::InvalidTopicException);
    assert_eq!(names(&mut cluster), ["wanted"]);

    // Asking for everything creates nothing, and neither does a broker that was told not to.
    call(&mut broker.connection(), &MetadataRequest::default().with_topics(None).with_allow_auto_topic_creation(true));
    broker.restart_with("auto.create.topics.enable=false");
    let mut cluster = broker.cluster();
    cluster.refresh(Topics::Named(&["other".to_owned()]), true).expect("answered");
    assert_eq!(cluster.topic_problem("other").and_then(|e| e.code()), Some(ErrorCode::UnknownTopicOrPartition));
    assert_eq!(names(&mut cluster), ["wanted"]);
}

fn a_topic_is_spread_evenly_over_the_shards(mode: Mode) {
    let broker = TestBroker::start(mode);
    let mut cluster = broker.cluster();
    for (name, partitions) in [("one", 1), ("two", 2), ("seven", 7), ("eight", 8)] {
        create(&mut cluster, name, partitions);
        let topic = cluster.await_topic(name, false).expect("known").clone();
        let brokers: Vec<i32> = cluster.brokers().map(|b| b.id).collect();
        let counts: Vec<usize> = brokers.iter().map(|&b| topic.partitions.iter().filter(|p| p.leader == b).count()).collect();
        assert!(counts.iter().max() <= counts.iter().min().map(|least| least + 1).as_ref(), "{name}: {counts:?}");
    }
    // A partition of another shard is not refused in node mode, and not served by the wrong core-broker in cores mode.
    let topic = cluster.await_topic("two", false).expect("known").clone();
    for partition in 0..2 {
        produce_ok(&mut cluster, "two", partition, batch(&["x"]));
        assert_eq!(fetch(&mut cluster, "two", partition, 0).high_watermark, 1);
    }
    if mode == Mode::Cores {
        let wrong = topic.partitions[1].leader;
        let request = support::records::produce_request(-1, "two", &[(0, batch(&["x"]))]);
        let connection = cluster.connection(wrong).expect("open");
        let answers = support::records::produced(connection.call_at(&request, support::records::PRODUCE_NAMED).expect("an answer"));
        assert_eq!(answers[0].error_code, code(ErrorCode::NotLeaderOrFollower));
        assert_eq!(fetch(&mut cluster, "two", 0, 0).high_watermark, 1, "nothing was appended");
    }
}

fn versions_of_apis(mode: Mode) {
    let broker = TestBroker::start(mode);
    let connection = broker.connection();
    let versions = connection.api_versions().clone();
    for (key, min, max) in [(0, 0, 13), (1, 4, 18), (3, 0, 13), (18, 0, 4), (19, 2, 7)] {
        assert_eq!(versions.get(&key), Some(&(min, max)), "{}", odradek_wire::api::name(key));
    }
    // A version from the future is answered in version 0, with the versions that would do (KIP-511).
    let mut raw = support::raw::RawConnection::open(&broker);
    raw.send(&support::raw::request(18, 99, 7, &[0]));
    let answer = raw.answer().expect("an answer");
    assert_eq!((&answer[..4], &answer[4..6]), (&[0, 0, 0, 7][..], &code(ErrorCode::UnsupportedVersion).to_be_bytes()[..]));
    // And the connection goes on.
    raw.send(&support::raw::request(18, 0, 8, &[]));
    assert_eq!(raw.answer().map(|answer| answer[..6].to_vec()), Some(vec![0, 0, 0, 8, 0, 0]));
    // Versions before 3 have another header; the client asked with 3.
    for version in 0..=4 {
        let mut connection = broker.connection();
        let request = ApiVersionsRequest::default()
            .with_client_software_name(odradek_client::text("test"))
            .with_client_software_version(odradek_client::text("1"));
        let response = connection.call_at(&request, version).expect("an answer");
        assert_eq!((response.error_code, response.api_keys.len()), (0, versions.len()), "version {version}");
    }
}
