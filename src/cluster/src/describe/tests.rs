use super::*;
use crate::controller::{Controller, Registration};
use crate::protocol::messages::describe_configs_request::DescribeConfigsResource;
use crate::protocol::messages::describe_topic_partitions_request::{Cursor, TopicRequest};
use crate::protocol::messages::metadata_request::MetadataRequestTopic;
use crate::protocol::messages::{
    DescribeClusterRequest, DescribeConfigsRequest, DescribeTopicPartitionsRequest, ListConfigResourcesRequest, MetadataRequest,
};
use crate::protocol::{text, topic_name};
use crate::records::{ConfigRecord, EndpointRecord, MetadataRecord};
use odradek_base::{BrokerId, PartitionIndex, Rng, TopicPartition};
use odradek_settings::{Advertise, Settings};
use odradek_wire::Encodable;
use uuid::Uuid;

const VIEW: View<'static> = View { advertise: Advertise::Cores, listener: "PLAINTEXT", controller: BrokerId(1000) };
const NODE_VIEW: View<'static> = View { advertise: Advertise::Node, ..VIEW };

/// Two shards on one node, topics `a` with 5 partitions and `b` with 2.
fn example() -> Image {
    let mut image = Image::new("cluster");
    let settings = Settings::default();
    let apply = |image: &mut Image, records: Vec<MetadataRecord>| records.iter().for_each(|record| image.apply(record).unwrap());
    for (broker, port) in [(1000, 19_092), (1001, 19_093)] {
        let endpoints = vec![EndpointRecord { name: "PLAINTEXT".into(), host: "localhost".into(), port, security_protocol: 0 }];
        let registration = Registration {
            broker: BrokerId(broker),
            incarnation: Uuid::nil(),
            endpoints,
            features: Vec::new(),
            rack: Some("r".into()),
            fenced: false,
        };
        let records = Controller { image: &image, settings: &settings, view: &VIEW }.register_broker(registration).records;
        apply(&mut image, records);
    }
    let mut rng = Rng::with_seed(1);
    for (name, count) in [("a", "5"), ("b", "2")] {
        let settings = Settings::default().with("num.partitions", count).unwrap();
        let records = Controller { image: &image, settings: &settings, view: &VIEW }.auto_create(&[name], &mut rng).records;
        apply(&mut image, records);
    }
    let records = Controller { image: &image, settings: &settings, view: &VIEW }.bootstrap();
    apply(&mut image, records);
    image
}

fn ask(names: &[&str]) -> MetadataRequest {
    let topic = |name: &&str| MetadataRequestTopic::default().with_name(Some(topic_name(name)));
    MetadataRequest::default().with_topics(Some(names.iter().map(topic).collect()))
}

fn ask_ids(ids: &[Uuid]) -> MetadataRequest {
    let topic = |&id: &Uuid| MetadataRequestTopic::default().with_name(None).with_topic_id(id);
    MetadataRequest::default().with_topics(Some(ids.iter().map(topic).collect()))
}

fn codes(request: &MetadataRequest, version: i16) -> Vec<(i16, Option<String>)> {
    let answer = metadata(&example(), &VIEW, request, version, true);
    answer.response.encode(&mut bytes::BytesMut::new(), version).unwrap();
    answer.response.topics.iter().map(|topic| (topic.error_code, topic.name.as_ref().map(|name| name.to_string()))).collect()
}

fn named(code: i16, name: &str) -> (i16, Option<String>) {
    (code, Some(name.to_owned()))
}

/// The `metadata-*` cases of the conformance questions.
#[test]
fn metadata_of_topics() {
    let (a, b) = (named(0, "a"), named(0, "b"));
    assert_eq!(codes(&MetadataRequest::default().with_topics(None), 12), [a.clone(), b.clone()]);
    assert_eq!(codes(&ask(&[]), 0), [a.clone(), b.clone()]);
    assert_eq!(codes(&ask(&[]), 1), []);
    assert_eq!(codes(&ask(&["b", "a", "b"]), 9), [b, a]);
    assert_eq!(codes(&ask(&["none"]), 9), [named(3, "none")]);
    assert_eq!(codes(&ask(&["a b"]), 9), [named(17, "a b")]);
    assert_eq!(codes(&ask(&[""]), 9), [named(17, "")]);
    assert_eq!(codes(&ask_ids(&[Uuid::from_u128(99)]), 12), [(100, None)]);
    assert_eq!(codes(&ask_ids(&[Uuid::from_u128(99)]), 10), [named(42, "")]);
    assert_eq!(codes(&ask_ids(&[Uuid::nil()]), 12), [named(42, "")]);
    let id = example().topic("a").unwrap().id.0;
    assert_eq!(codes(&ask_ids(&[id]), 12), [named(0, "a")]);
}

#[test]
fn topics_that_may_be_made_are_named() {
    let image = example();
    let creatable = |request: &MetadataRequest, on| metadata(&image, &VIEW, request, 9, on).creatable;
    assert_eq!(creatable(&ask(&["a", "x", "a b"]), true), ["x"]);
    assert_eq!(creatable(&ask(&["x"]), false), [""; 0]);
    assert_eq!(creatable(&ask(&["x"]).with_allow_auto_topic_creation(false), true), [""; 0]);
}

#[test]
fn shards_or_nodes_are_brokers() {
    let image = example();
    let told = |view: &View<'_>| {
        let response = metadata(&image, view, &ask(&["a"]), 12, false).response;
        let brokers: Vec<(i32, i32)> = response.brokers.iter().map(|broker| (broker.node_id.0, broker.port)).collect();
        let leaders: Vec<i32> = response.topics[0].partitions.iter().map(|partition| partition.leader_id.0).collect();
        (response.controller_id.0, brokers, leaders)
    };
    assert_eq!(told(&VIEW), (1000, vec![(1000, 19_092), (1001, 19_093)], vec![1000, 1001, 1000, 1001, 1000]));
    assert_eq!(told(&NODE_VIEW), (1, vec![(1, 19_092)], vec![1; 5]));
    let other = View { listener: "SSL", ..VIEW };
    let response = metadata(&image, &other, &ask(&["a"]), 12, false).response;
    assert_eq!((response.brokers.len(), response.topics[0].partitions[0].error_code), (0, 72));
}

#[test]
fn a_replica_that_its_broker_cannot_serve_is_offline() {
    let mut image = example();
    let topic = image.topic("a").expect("there").clone();
    let at = |index| TopicPartition::new(topic.id, PartitionIndex(index));
    image.set_offline(BrokerId(1001), [at(1)]);
    image.set_offline(BrokerId(1000), [at(0), at(2)]);
    image.set_offline(BrokerId(1000), [at(2)]);
    let told = |view: &View<'_>| {
        let response = metadata(&image, view, &ask(&["a"]), 12, false).response;
        let rows = response.topics[0].partitions.iter();
        rows.map(|row| (row.error_code, row.leader_id.0, row.offline_replicas.iter().map(|id| id.0).collect())).collect::<Vec<_>>()
    };
    let none = Vec::new;
    assert_eq!(told(&VIEW), [(0, 1000, none()), (5, -1, vec![1001]), (5, -1, vec![1000]), (0, 1001, none()), (0, 1000, none())]);
    assert_eq!(told(&NODE_VIEW), [(0, 1, none()), (5, -1, vec![1]), (5, -1, vec![1]), (0, 1, none()), (0, 1, none())]);
    let request = DescribeTopicPartitionsRequest::default()
        .with_topics(vec![TopicRequest::default().with_name(topic_name("a"))])
        .with_response_partition_limit(2_000);
    let described = topic_partitions(&image, &VIEW, &request, 2_000);
    let row = &described.topics[0].partitions[1];
    assert_eq!((row.error_code, row.leader_id.0, row.isr_nodes.len(), row.offline_replicas.len()), (5, -1, 1, 1));
}

#[test]
fn every_version_can_be_written() {
    let image = example();
    for version in 0..=13 {
        let request =
            ask(&["a", "none"]).with_include_cluster_authorized_operations(true).with_include_topic_authorized_operations(version >= 8);
        let response = metadata(&image, &VIEW, &request, version, true).response;
        response.encode(&mut bytes::BytesMut::new(), version).unwrap_or_else(|error| panic!("Metadata {version}: {error}"));
    }
    for version in 0..=2 {
        let response = cluster(&image, &VIEW, &DescribeClusterRequest::default().with_endpoint_type(1), version);
        response.encode(&mut bytes::BytesMut::new(), version).unwrap_or_else(|error| panic!("DescribeCluster {version}: {error}"));
    }
    for version in 1..=4 {
        let response = configs(&image, &Settings::default(), &VIEW, BrokerId(1000), &configs_of(4, "1000", None));
        response.encode(&mut bytes::BytesMut::new(), version).unwrap_or_else(|error| panic!("DescribeConfigs {version}: {error}"));
    }
}

/// Topics with error code and partition indexes, and the next cursor.
type Page = (Vec<(String, i16, Vec<i32>)>, Option<(String, i32)>);

fn page(limit: i32, cursor: Option<(&str, i32)>, names: &[&str]) -> Page {
    let cursor = cursor.map(|(name, index)| Cursor::default().with_topic_name(topic_name(name)).with_partition_index(index));
    let request = DescribeTopicPartitionsRequest::default()
        .with_topics(names.iter().map(|name| TopicRequest::default().with_name(topic_name(name))).collect())
        .with_response_partition_limit(limit)
        .with_cursor(cursor);
    let response = topic_partitions(&example(), &VIEW, &request, 2000);
    response.encode(&mut bytes::BytesMut::new(), 0).unwrap();
    let topic = |topic: &crate::protocol::messages::describe_topic_partitions_response::DescribeTopicPartitionsResponseTopic| {
        let indexes = topic.partitions.iter().map(|partition| partition.partition_index).collect();
        (topic.name.as_ref().unwrap().to_string(), topic.error_code, indexes)
    };
    let next = response.next_cursor.map(|cursor| (cursor.topic_name.to_string(), cursor.partition_index));
    (response.topics.iter().map(topic).collect(), next)
}

/// The `describe-topic-partitions-*` cases of the conformance questions.
#[test]
fn pages_of_partitions() {
    let of = |name: &str, code: i16, indexes: &[i32]| (name.to_owned(), code, indexes.to_vec());
    let at = |name: &str, index| Some((name.to_owned(), index));
    assert_eq!(page(2, None, &["a"]), (vec![of("a", 0, &[0, 1])], at("a", 2)));
    assert_eq!(page(2, Some(("a", 2)), &["a"]), (vec![of("a", 0, &[2, 3])], at("a", 4)));
    assert_eq!(page(2, Some(("a", 4)), &["a"]), (vec![of("a", 0, &[4])], None));
    assert_eq!(page(6, None, &[]), (vec![of("a", 0, &[0, 1, 2, 3, 4]), of("b", 0, &[0])], at("b", 1)));
    assert_eq!(page(5, None, &[]), (vec![of("a", 0, &[0, 1, 2, 3, 4])], at("b", 0)));
    assert_eq!(page(9, Some(("b", 0)), &["b", "a"]), (vec![of("b", 0, &[0, 1])], None));
    assert_eq!(page(0, None, &["b"]), (vec![of("b", 0, &[0])], at("b", 1)));
    assert_eq!(page(5, Some(("b", 7)), &["b"]), (vec![of("b", 0, &[])], None));
    assert_eq!(page(5, Some(("b", -1)), &["b"]), (vec![of("b", 42, &[])], None));
    assert_eq!(page(5, Some(("z", 0)), &["b"]), (vec![of("b", 42, &[])], None));
    assert_eq!(page(10, None, &["none", "b", "a b"]), (vec![of("a b", 17, &[]), of("b", 0, &[0, 1]), of("none", 3, &[])], None));
}

#[test]
fn the_cluster() {
    let image = example();
    let ask = |endpoint_type: i8, version| {
        let request = DescribeClusterRequest::default().with_endpoint_type(endpoint_type).with_include_cluster_authorized_operations(true);
        cluster(&image, &VIEW, &request, version)
    };
    let response = ask(1, 2);
    assert_eq!((response.error_code, response.brokers.len(), response.controller_id.0), (0, 2, 1000));
    assert_eq!((response.cluster_id.as_str(), response.cluster_authorized_operations), ("cluster", 8096));
    assert_eq!((ask(2, 2).error_code, ask(9, 1).error_code, ask(9, 0).error_code), (114, 115, 0));
    assert_eq!(TOPIC_OPERATIONS, 3576);
}

fn configs_of(resource_type: i8, name: &str, keys: Option<&[&str]>) -> DescribeConfigsRequest {
    let resource = DescribeConfigsResource::default()
        .with_resource_type(resource_type)
        .with_resource_name(text(name))
        .with_configuration_keys(keys.map(|keys| keys.iter().map(|&key| text(key)).collect()));
    DescribeConfigsRequest::default().with_resources(vec![resource]).with_include_synonyms(true).with_include_documentation(true)
}

/// Error code and number of configs, by resource: the `describe-configs-*` cases of the conformance questions.
#[test]
fn configs_of_resources() {
    let image = example();
    let settings = Settings::default();
    type Case<'a> = (i8, &'a str, Option<&'a [&'a str]>, i16, Option<usize>);
    let table: &[Case<'_>] = &[
        (2, "a", None, 0, Some(33)),
        (2, "a", Some(&[]), 0, Some(33)),
        (2, "a", Some(&["retention.ms"]), 0, Some(1)),
        (2, "a", Some(&["nope"]), 0, Some(0)),
        (2, "none", None, 3, Some(0)),
        (2, "", None, 17, Some(0)),
        (2, "a b", None, 17, Some(0)),
        (4, "1000", None, 0, None),
        (4, "1001", None, 0, None),
        (4, "4242", None, 42, Some(0)),
        (4, "x", None, 42, Some(0)),
        (4, "", None, 0, Some(1)),
        (8, "1000", None, 0, Some(1)),
        (8, "", None, 42, Some(0)),
        (16, "m", None, 0, Some(3)),
        (16, "", None, 42, Some(0)),
        (32, "g", None, 0, Some(17)),
        (32, "", None, 42, Some(0)),
        (0, "x", None, 42, Some(0)),
        (99, "x", None, 42, Some(0)),
    ];
    for &(resource_type, name, keys, code, count) in table {
        let response = configs(&image, &settings, &VIEW, BrokerId(1000), &configs_of(resource_type, name, keys));
        let result = &response.results[0];
        assert_eq!(result.error_code, code, "{resource_type} {name}");
        match count {
            Some(count) => assert_eq!(result.configs.len(), count, "{resource_type} {name}"),
            None => assert!(result.configs.len() > 300, "{resource_type} {name}"),
        }
    }
    let node = configs(&image, &settings, &NODE_VIEW, BrokerId(1000), &configs_of(4, "1", None));
    assert_eq!(node.results[0].error_code, 0);
}

/// Values of all topic configs in the order of DescribeConfigs, as the conformance questions have them from Kafka
/// (whose broker was started with `log.segment.delete.delay.ms=500`).
#[test]
fn topic_configs_are_told_in_kafkas_order() {
    let settings = Settings::default().with("log.segment.delete.delay.ms", "500").unwrap();
    let response = configs(&example(), &settings, &VIEW, BrokerId(1000), &configs_of(2, "a", None));
    let values: Vec<&str> = response.results[0].configs.iter().map(|config| config.value.as_deref().unwrap_or("None")).collect();
    assert_eq!(
        values.join(","),
        "producer,false,,false,1,0,false,-2,delete,9223372036854775807,,9,1073741824,604800000,-1,9223372036854775807,3,9223372036854775807,\
         500,1048588,0,CreateTime,-2,false,4096,0.5,false,-1,86400000,3600000,9223372036854775807,604800000,10485760"
    );
}

#[test]
fn sources_and_synonyms() {
    let mut image = example();
    let set = |resource_type: i8, resource: &str, name: &str, value: &str| {
        MetadataRecord::Config(ConfigRecord { resource_type, resource_name: resource.into(), name: name.into(), value: Some(value.into()) })
    };
    image.apply(&set(2, "a", "retention.ms", "123456")).unwrap();
    image.apply(&set(4, "1000", "log.segment.bytes", "2097152")).unwrap();
    image.apply(&set(32, "g", "consumer.session.timeout.ms", "50000")).unwrap();
    let settings = Settings::parse(b"log.segment.bytes=3145728\nssl.key.password=geheim\nlog.retention.hours=1", "f", &[]).unwrap().0;
    let told = |resource_type, name: &str, key: &str| {
        let response = configs(&image, &settings, &VIEW, BrokerId(1000), &configs_of(resource_type, name, Some(&[key])));
        let config = response.results[0].configs[0].clone();
        let synonyms: Vec<String> = config
            .synonyms
            .iter()
            .map(|synonym| format!("{}={}@{}", synonym.name, synonym.value.as_deref().unwrap_or("null"), synonym.source))
            .collect();
        format!("{}@{} {}", config.value.as_deref().unwrap_or("null"), config.config_source, synonyms.join(" "))
    };
    assert_eq!(told(2, "a", "retention.ms"), "123456@1 retention.ms=123456@1");
    assert_eq!(told(2, "b", "retention.ms"), "3600000@5 ", "a source of another unit is not told, as in Kafka");
    assert_eq!(told(2, "a", "cleanup.policy"), "delete@5 log.cleanup.policy=delete@5");
    assert_eq!(told(2, "a", "min.insync.replicas"), "1@3 min.insync.replicas=1@3 min.insync.replicas=1@5");
    let segment = "log.segment.bytes=2097152@2 log.segment.bytes=3145728@4 log.segment.bytes=1073741824@5";
    assert_eq!(told(2, "a", "segment.bytes"), format!("2097152@2 {segment}"));
    assert_eq!(told(4, "1000", "log.segment.bytes"), format!("2097152@2 {segment}"));
    assert_eq!(told(4, "1000", "ssl.key.password"), "null@4 ssl.key.password=null@4");
    assert_eq!(told(4, "1000", "node.id"), "1@5 node.id=1@5");
    assert_eq!(
        told(32, "g", "consumer.session.timeout.ms"),
        "50000@8 consumer.session.timeout.ms=50000@8 group.consumer.session.timeout.ms=45000@5"
    );
    assert_eq!(told(32, "h", "share.auto.offset.reset"), "latest@5 share.auto.offset.reset=latest@5");
    let mut request = configs_of(4, "1000", None);
    request.include_documentation = false;
    request.include_synonyms = false;
    let response = configs(&image, &settings, &VIEW, BrokerId(1000), &request);
    assert!(response.results[0].configs.iter().all(|config| config.documentation.is_none() && config.synonyms.is_empty()));
    let secrets: Vec<_> = response.results[0].configs.iter().filter(|config| config.is_sensitive).collect();
    assert!(secrets.len() > 5 && secrets.iter().all(|config| config.value.is_none()));
}

#[test]
fn resources_with_configs() {
    let image = example();
    let list = |types: &[i8], version| {
        let request = ListConfigResourcesRequest::default().with_resource_types(types.to_vec());
        let response = config_resources(&image, &VIEW, &request, version);
        let names: Vec<String> =
            response.config_resources.iter().map(|resource| format!("{}:{}", resource.resource_type, resource.resource_name)).collect();
        (response.error_code, names.join(" "))
    };
    assert_eq!(list(&[], 1), (0, "2:a 2:b 4:1000 4:1001 8:1000 8:1001".to_owned()));
    assert_eq!(list(&[2], 1), (0, "2:a 2:b".to_owned()));
    assert_eq!(list(&[99], 1), (35, String::new()));
    assert_eq!(list(&[], 0), (0, String::new()));
}
