use super::*;
use crate::image::Image;
use crate::protocol::messages::alter_configs_request::{AlterConfigsResource as Whole, AlterableConfig as WholeConfig};
use crate::protocol::messages::create_partitions_request::{CreatePartitionsAssignment, CreatePartitionsTopic};
use crate::protocol::messages::create_topics_request::{CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig};
use crate::protocol::messages::delete_topics_request::DeleteTopicState;
use crate::protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use crate::protocol::messages::{
    AlterConfigsRequest, BrokerId as MessageBrokerId, CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest,
    IncrementalAlterConfigsRequest,
};
use crate::protocol::{ErrorCode, text, topic_name};
use crate::records::EndpointRecord;
use odradek_base::{NodeId, Rng};
use odradek_settings::Advertise;

const VIEW: View<'static> = View { advertise: Advertise::Cores, listener: "PLAINTEXT", controller: BrokerId(1000) };
const NODE_VIEW: View<'static> = View { advertise: Advertise::Node, ..VIEW };

/// A cluster and everything that a test does to it.
struct Cluster {
    image: Image,
    settings: Settings,
    view: View<'static>,
    rng: Rng,
}

impl Cluster {
    fn new(brokers: &[i32]) -> Self {
        let mut cluster = Self { image: Image::new("c"), settings: Settings::default(), view: VIEW, rng: Rng::with_seed(1) };
        for &broker in brokers {
            let registration = registration(broker);
            let outcome = cluster.controller().register_broker(registration);
            cluster.apply(&outcome.records);
        }
        cluster
    }

    fn controller(&self) -> Controller<'_> {
        Controller { image: &self.image, settings: &self.settings, view: &self.view }
    }

    fn apply(&mut self, records: &[MetadataRecord]) {
        for record in records {
            let decoded = MetadataRecord::decode(&record.encode()).unwrap();
            assert_eq!(decoded, *record);
            self.image.apply(record).unwrap_or_else(|error| panic!("{record:?}: {error}"));
        }
    }

    fn create(&mut self, topics: Vec<CreatableTopic>) -> Vec<String> {
        let request = CreateTopicsRequest::default().with_topics(topics);
        let mut rng = self.rng.fork();
        let outcome = self.controller().create_topics(&request, &mut rng);
        self.apply(&outcome.records);
        let told = outcome.response.topics.iter().map(|topic| told(topic.error_code, topic.error_message.as_deref()));
        told.collect()
    }

    fn alter(&mut self, resource_type: i8, name: &str, configs: &[(&str, i8, Option<&str>)]) -> String {
        let configs = configs.iter().map(|&(name, operation, value)| {
            AlterableConfig::default().with_name(text(name)).with_config_operation(operation).with_value(value.map(text))
        });
        let resource = AlterConfigsResource::default()
            .with_resource_type(resource_type)
            .with_resource_name(text(name))
            .with_configs(configs.collect());
        let outcome =
            self.controller().incremental_alter_configs(&IncrementalAlterConfigsRequest::default().with_resources(vec![resource]));
        self.apply(&outcome.records);
        let response = &outcome.response.responses[0];
        told(response.error_code, response.error_message.as_deref())
    }

    fn grow(&mut self, name: &str, count: i32, assignments: Option<&[&[i32]]>) -> String {
        let assignments =
            assignments.map(|lists| lists.iter().map(|list| CreatePartitionsAssignment::default().with_broker_ids(ids(list))).collect());
        let topic = CreatePartitionsTopic::default().with_name(topic_name(name)).with_count(count).with_assignments(assignments);
        let outcome = self.controller().create_partitions(&CreatePartitionsRequest::default().with_topics(vec![topic]));
        self.apply(&outcome.records);
        let result = &outcome.response.results[0];
        told(result.error_code, result.error_message.as_deref())
    }

    fn value(&self, topic: &str, config: &str) -> String {
        self.image.topic_settings(&self.settings, BrokerId(1000), topic).get(config).to_owned()
    }
}

fn registration(broker: i32) -> Registration {
    let port = 19_092 + (broker % 1000) as u16;
    Registration {
        broker: BrokerId(broker),
        incarnation: Uuid::from_u128(7),
        endpoints: vec![EndpointRecord { name: "PLAINTEXT".into(), host: "localhost".into(), port, security_protocol: 0 }],
        features: Vec::new(),
        rack: None,
        fenced: false,
    }
}

fn told(code: i16, message: Option<&str>) -> String {
    match (ErrorCode::try_from_code(code), message) {
        (None, None) => "ok".to_owned(),
        (code, message) => format!("{}: {}", code.map_or("?".to_owned(), |code| format!("{code:?}")), message.unwrap_or("-")),
    }
}

fn ids(list: &[i32]) -> Vec<MessageBrokerId> {
    list.iter().copied().map(MessageBrokerId).collect()
}

fn topic(name: &str, partitions: i32, factor: i16) -> CreatableTopic {
    CreatableTopic::default().with_name(topic_name(name)).with_num_partitions(partitions).with_replication_factor(factor)
}

fn with_config(name: &str, value: Option<&str>) -> CreatableTopic {
    let config = CreatableTopicConfig::default().with_name(text(name)).with_value(value.map(text));
    topic("t", 1, 1).with_configs(vec![config])
}

fn assigned(lists: &[(i32, &[i32])]) -> CreatableTopic {
    let assignments =
        lists.iter().map(|&(index, list)| CreatableReplicaAssignment::default().with_partition_index(index).with_broker_ids(ids(list)));
    topic("t", -1, -1).with_assignments(assignments.collect())
}

/// The `create-*` cases of the conformance questions, with what Kafka says.
#[test]
fn topics_that_are_refused() {
    let long = "x".repeat(250);
    let table: Vec<(CreatableTopic, &str)> = vec![
        (topic("", 1, 1), "InvalidTopicException: "),
        (topic(".", 1, 1), "InvalidTopicException: "),
        (topic("..", 1, 1), "InvalidTopicException: "),
        (topic(&long, 1, 1), "InvalidTopicException: "),
        (topic("a b", 1, 1), "InvalidTopicException: "),
        (topic("there", 1, 1), "TopicAlreadyExists: Topic 'there' already exists."),
        (topic("a_b", 1, 1), "InvalidTopicException: Topic 'a_b' collides with existing topic: a.b"),
        (topic("__cluster_metadata", 1, 1), "InvalidRequest: "),
        (topic("t", 0, 1), "InvalidPartitions: "),
        (topic("t", -2, 1), "InvalidPartitions: "),
        (topic("t", 10_001, 1), "PolicyViolation: "),
        (topic("t", i32::MAX, 1), "PolicyViolation: "),
        (topic("t", 1, 0), "InvalidReplicationFactor: Replication factor must be larger than 0"),
        (topic("t", 1, -2), "InvalidReplicationFactor: Replication factor must be larger than 0"),
        (
            topic("t", 1, 2),
            "InvalidReplicationFactor: Unable to replicate the partition 2 time(s): The target replication factor of 2 cannot be reached",
        ),
        (topic("t", 1, i16::MAX), "InvalidReplicationFactor: Unable to replicate"),
        (with_config("no.such.config", Some("1")), "InvalidConfig: Unknown topic config name: no.such.config"),
        (
            with_config("retention.ms", Some("abc")),
            "InvalidConfig: Invalid value abc for configuration retention.ms: Not a number of type LONG",
        ),
        (with_config("retention.ms", Some("-2")), "InvalidConfig: "),
        (with_config("retention.ms", None), "InvalidConfig: Null value not supported for topic configs: retention.ms"),
        (with_config("cleanup.policy", Some("shred")), "InvalidConfig: "),
        (with_config("min.insync.replicas", Some("0")), "InvalidConfig: "),
        (with_config("max.message.bytes", Some("-1")), "InvalidConfig: "),
        (with_config("compression.type", Some("rar")), "InvalidConfig: "),
        (with_config("segment.bytes", Some("1")), "InvalidConfig: "),
        (with_config("unclean.leader.election.enable", Some("maybe")), "InvalidConfig: "),
        (with_config("message.timestamp.type", Some("x")), "InvalidConfig: "),
        (
            assigned(&[(0, &[1000])]).with_num_partitions(2),
            "InvalidRequest: A manual partition assignment was specified, but numPartitions",
        ),
        (
            assigned(&[(0, &[1000])]).with_replication_factor(1),
            "InvalidRequest: A manual partition assignment was specified, but replication factor",
        ),
        (assigned(&[(0, &[])]), "InvalidReplicaAssignment: The manual partition assignment includes an empty replica list."),
        (assigned(&[(1, &[1000])]), "InvalidReplicaAssignment: partitions should be a consecutive 0-based integer sequence"),
        (assigned(&[(0, &[1000]), (0, &[1000])]), "InvalidReplicaAssignment: Found multiple manual partition assignments for partition 0"),
        (
            assigned(&[(0, &[1000, 1000])]),
            "InvalidReplicaAssignment: The manual partition assignment includes the broker 1000 more than once.",
        ),
        (
            assigned(&[(0, &[999])]),
            "InvalidReplicaAssignment: The manual partition assignment includes broker 999, but no such broker is registered.",
        ),
        (assigned(&[(0, &[1000, 1001])]), "InvalidReplicaAssignment: The manual partition assignment puts 2 replicas on node 1"),
    ];
    let mut cluster = Cluster::new(&[1000, 1001]);
    assert_eq!(cluster.create(vec![topic("there", 1, 1), topic("a.b", 1, 1)]), ["ok", "ok"]);
    let before = cluster.image.clone();
    for (wanted, expected) in table {
        let got = cluster.create(vec![wanted.clone()]);
        assert!(got[0].starts_with(expected), "{wanted:?}\n{}\n{expected}", got[0]);
        assert_eq!(cluster.image, before, "{wanted:?}");
    }
}

#[test]
fn topics_that_are_made() {
    let mut cluster = Cluster::new(&[1000, 1001]);
    let names = [topic("one", 3, 1), topic("default", -1, -1), assigned(&[(1, &[1000]), (0, &[1001])])];
    assert_eq!(cluster.create(names.to_vec()), ["ok", "ok", "ok"]);
    let leaders = |name: &str| {
        let topic = cluster.image.topic(name).unwrap();
        topic.partitions.values().map(|partition| partition.leader.unwrap().get()).collect::<Vec<_>>()
    };
    assert_eq!((leaders("one"), leaders("default"), leaders("t")), (vec![1000, 1001, 1000], vec![1001], vec![1001, 1000]));
    let partition = cluster.image.topic("one").unwrap().partition(PartitionIndex(0)).unwrap().clone();
    assert_eq!((partition.isr, partition.leader_epoch, partition.partition_epoch), (vec![BrokerId(1000)], LeaderEpoch(0), 0));
}

#[test]
fn a_topic_named_twice_is_refused_once_and_the_others_are_made() {
    let mut cluster = Cluster::new(&[1000]);
    let got = cluster.create(vec![topic("z", 1, 1), topic("y", 1, 1), topic("z", 1, 1)]);
    assert_eq!(got, ["InvalidRequest: Duplicate topic name.", "ok"]);
    let got = cluster.create(vec![topic("p.q", 1, 1), topic("p_q", 1, 1)]);
    assert!(got[0] == "ok" && got[1].starts_with("InvalidTopicException"), "{got:?}");
}

#[test]
fn validation_makes_nothing_and_tells_everything() {
    let cluster = Cluster::new(&[1000]);
    let request = CreateTopicsRequest::default().with_validate_only(true).with_topics(vec![
        topic("t", 2, 1).with_configs(vec![CreatableTopicConfig::default().with_name(text("retention.ms")).with_value(Some(text("5")))]),
    ]);
    let outcome = cluster.controller().create_topics(&request, &mut Rng::with_seed(1));
    assert_eq!(outcome.records, []);
    let answer = &outcome.response.topics[0];
    assert_eq!((answer.num_partitions, answer.replication_factor, answer.topic_id.is_nil()), (2, 1, false));
    let configs = answer.configs.as_ref().unwrap();
    assert_eq!(configs.len(), 33);
    assert!(configs.windows(2).all(|pair| pair[0].name.as_str() < pair[1].name.as_str()));
    let retention = configs.iter().find(|config| &*config.name == "retention.ms").unwrap();
    assert_eq!((retention.value.as_deref(), retention.config_source), (Some("5"), 1));
    let policy = configs.iter().find(|config| &*config.name == "cleanup.policy").unwrap();
    assert_eq!((policy.value.as_deref(), policy.config_source), (Some("delete"), 5));
}

#[test]
fn with_nodes_as_brokers_clients_name_nodes() {
    let mut cluster = Cluster::new(&[1000, 1001, 2000]);
    cluster.view = NODE_VIEW;
    assert_eq!(cluster.create(vec![assigned(&[(0, &[1]), (1, &[1]), (2, &[2])])]), ["ok"]);
    let leaders: Vec<i32> =
        cluster.image.topic("t").unwrap().partitions.values().map(|partition| partition.leader.unwrap().get()).collect();
    assert_eq!(leaders, [1000, 1001, 2000]);
    let refused = cluster.create(vec![assigned(&[(0, &[1000])]).with_name(topic_name("u"))]);
    assert!(refused[0].starts_with("InvalidReplicaAssignment: The manual partition assignment includes broker 1000"), "{refused:?}");
    assert_eq!(cluster.create(vec![topic("v", 1, 2)]), ["ok"]);
}

#[test]
fn replicas_per_node_is_relaxed_by_a_setting() {
    let mut cluster = Cluster::new(&[1000, 1001]);
    cluster.settings = Settings::default().with("odradek.replicas.per.node", "2").unwrap();
    assert_eq!(cluster.create(vec![topic("t", 1, 2)]), ["ok"]);
    assert_eq!(cluster.image.topic("t").unwrap().replication_factor(), 2);
}

#[test]
fn nothing_is_placed_on_fenced_brokers() {
    let mut cluster = Cluster::new(&[1000, 1001]);
    let records = cluster.controller().fence_broker(BrokerId(1000), true).records;
    cluster.apply(&records);
    assert_eq!(cluster.controller().fence_broker(BrokerId(1000), true).records, []);
    assert_eq!(cluster.create(vec![topic("t", 3, 1)]), ["ok"]);
    assert_eq!(cluster.image.replica_count(BrokerId(1000)), 0);
    let got = cluster.create(vec![assigned(&[(0, &[1000])]).with_name(topic_name("u"))]);
    assert!(got[0].ends_with("are fenced or in controlled shutdown."), "{got:?}");
}

/// The `create-partitions-*` cases of the conformance questions.
#[test]
fn partitions_are_added() {
    let mut cluster = Cluster::new(&[1000, 1001]);
    cluster.create(vec![topic("t", 3, 1)]);
    type Case<'a> = (i32, Option<&'a [&'a [i32]]>, &'a str);
    let table: &[Case<'_>] = &[
        (2, None, "InvalidPartitions: The topic t currently has 3 partition(s); 2 would not be an increase."),
        (3, None, "InvalidPartitions: Topic already has 3 partition(s)."),
        (0, None, "InvalidPartitions: "),
        (-1, None, "InvalidPartitions: "),
        (i32::MAX, None, "UnknownServerError: "),
        (5, Some(&[&[1000]]), "InvalidReplicaAssignment: Attempted to add 2 additional partition(s), but only 1"),
        (4, Some(&[&[999]]), "InvalidReplicaAssignment: "),
        (4, Some(&[&[]]), "InvalidReplicaAssignment: "),
        (4, Some(&[&[1000, 1001]]), "InvalidReplicaAssignment: The manual partition assignment includes a partition with 2 replica(s)"),
        (4, Some(&[&[1000]]), "ok"),
        (6, None, "ok"),
    ];
    for &(count, assignments, expected) in table {
        let got = cluster.grow("t", count, assignments);
        assert!(got.starts_with(expected), "{count}: {got}");
    }
    let leaders: Vec<i32> =
        cluster.image.topic("t").unwrap().partitions.values().map(|partition| partition.leader.unwrap().get()).collect();
    assert_eq!(leaders, [1000, 1001, 1000, 1000, 1001, 1001]);
    assert!(cluster.grow("none", 5, None).starts_with("UnknownTopicOrPartition"));
    let twice = CreatePartitionsTopic::default().with_name(topic_name("t")).with_count(9);
    let request = CreatePartitionsRequest::default().with_topics(vec![twice.clone(), twice]);
    let outcome = cluster.controller().create_partitions(&request);
    assert_eq!((outcome.records.len(), outcome.response.results.len(), outcome.response.results[0].error_code), (0, 1, 42));
}

/// The `delete-topic-*` cases of the conformance questions.
#[test]
fn topics_are_deleted() {
    let mut cluster = Cluster::new(&[1000]);
    cluster.create(vec![topic("t", 3, 1), topic("u", 1, 1)]);
    let id = cluster.image.topic("t").unwrap().id.0;
    let by = |name: Option<&str>, id: Uuid| DeleteTopicState::default().with_name(name.map(topic_name)).with_topic_id(id);
    let ask = |cluster: &Cluster, topics: Vec<DeleteTopicState>| {
        let outcome = cluster.controller().delete_topics(&DeleteTopicsRequest::default().with_topics(topics), 6);
        let told: Vec<String> =
            outcome.response.responses.iter().map(|result| told(result.error_code, result.error_message.as_deref())).collect();
        (outcome.records, told)
    };
    let table = [
        (vec![by(None, Uuid::nil())], "InvalidRequest: Neither"),
        (vec![by(Some("t"), id)], "InvalidRequest: You may not specify both"),
        (vec![by(Some("none"), Uuid::nil())], "UnknownTopicOrPartition: "),
        (vec![by(None, Uuid::from_u128(77))], "UnknownTopicId: "),
        (vec![by(Some("t"), Uuid::nil()), by(Some("t"), Uuid::nil())], "InvalidRequest: Duplicate topic name."),
        (vec![by(None, id), by(None, id)], "InvalidRequest: Duplicate topic id."),
    ];
    for (topics, expected) in table {
        let (records, told) = ask(&cluster, topics);
        assert!(records.is_empty() && told.len() == 1 && told[0].starts_with(expected), "{told:?}");
    }
    let (records, answers) = ask(&cluster, vec![by(Some("t"), Uuid::nil()), by(None, id)]);
    assert!(records.len() == 1 && answers[0] == "ok" && answers[1].starts_with("InvalidRequest"), "{answers:?}");
    cluster.apply(&records);
    let old = DeleteTopicsRequest::default().with_topic_names(vec![topic_name("u"), topic_name("t")]);
    let outcome = cluster.controller().delete_topics(&old, 5);
    assert_eq!((outcome.records.len(), outcome.response.responses[1].error_code), (1, 3));
    cluster.settings = Settings::default().with("delete.topic.enable", "false").unwrap();
    assert_eq!(cluster.controller().delete_topics(&old, 5).response.responses[0].error_code, 73);
    assert_eq!(cluster.controller().delete_topics(&old, 2).response.responses[0].error_code, 42);
}

/// The `alter-configs-*` cases of the conformance questions, and what else Kafka was seen to answer.
#[test]
fn configs_are_altered() {
    let (set, delete, append, subtract) = (0, 1, 2, 3);
    let (of_topic, of_broker, of_logger, of_group) = (2, 4, 8, 32);
    type Config<'a> = (&'a str, i8, Option<&'a str>);
    let table: Vec<(i8, &str, Vec<Config<'_>>, &str)> = vec![
        (
            of_topic,
            "t",
            vec![("retention.ms", append, Some("5"))],
            "InvalidConfig: Can't APPEND to key retention.ms because its type is not LIST.",
        ),
        (of_topic, "t", vec![("retention.ms", 9, Some("5"))], "UnknownServerError: "),
        (of_topic, "t", vec![("retention.ms", set, Some("x"))], "InvalidConfig: "),
        (of_topic, "t", vec![("retention.ms", set, None)], "InvalidRequest: Null value not supported for : retention.ms"),
        (
            of_topic,
            "t",
            vec![("retention.ms", set, Some("1")), ("retention.ms", set, Some("2"))],
            "InvalidRequest: Error due to duplicate config keys",
        ),
        (of_topic, "t", vec![("nope", set, Some("1"))], "InvalidConfig: Unknown topic config name: nope"),
        (of_topic, "none", vec![("retention.ms", set, Some("1"))], "UnknownTopicOrPartition: The topic 'none' does not exist."),
        (of_topic, "", vec![("retention.ms", set, Some("1"))], "InvalidRequest: Default topic resources are not allowed."),
        (of_topic, "a b", vec![("retention.ms", set, Some("1"))], "InvalidTopicException: "),
        (
            of_topic,
            "t",
            vec![("min.compaction.lag.ms", set, Some("5")), ("max.compaction.lag.ms", set, Some("2"))],
            "InvalidConfig: conflict",
        ),
        (99, "x", vec![("a", set, Some("1"))], "InvalidRequest: Unknown resource type 99"),
        (of_broker, "1000", vec![("node.id", set, Some("9"))], "InvalidRequest: Cannot update these configs dynamically: [node.id]"),
        (of_broker, "4242", vec![("log.retention.ms", set, Some("9000000"))], "InvalidRequest: Unexpected broker id"),
        (of_broker, "x", vec![("log.retention.ms", set, Some("9"))], "InvalidRequest: Node id must be an integer"),
        (
            of_broker,
            "",
            vec![("listeners", set, Some("PLAINTEXT://:1"))],
            "InvalidRequest: Cannot update these configs at default cluster level",
        ),
        (of_broker, "1000", vec![("listeners", set, Some("nonsense"))], "InvalidRequest: "),
        (of_broker, "1000", vec![("log.retention.ms", set, Some("x"))], "InvalidRequest: "),
        (of_broker, "1000", vec![("log.retention.ms", set, Some("0"))], "InvalidRequest: log.retention.ms must be unlimited (-1)"),
        (of_broker, "1000", vec![("log.retention.ms", append, Some("1"))], "InvalidConfig: "),
        (of_broker, "1000", vec![("log.retention.ms", set, Some("9000000"))], "ok"),
        (of_broker, "", vec![("log.cleanup.policy", append, Some("compact"))], "ok"),
        (of_logger, "1000", vec![("nope", set, Some("INFO"))], "InvalidConfig: Logger nope does not exist!"),
        (of_logger, "7", vec![("root", set, Some("INFO"))], "InvalidRequest: "),
        (of_group, "g", vec![("consumer.session.timeout.ms", set, Some("1"))], "InvalidConfig: "),
        (
            of_group,
            "",
            vec![("consumer.session.timeout.ms", set, Some("50000"))],
            "InvalidRequest: Default group resources are not allowed.",
        ),
        (of_group, "g", vec![("consumer.session.timeout.ms", set, Some("50000"))], "ok"),
        (of_topic, "t", vec![("x", set, Some("1")); 0], "ok"),
    ];
    let mut cluster = Cluster::new(&[1000]);
    cluster.create(vec![topic("t", 1, 1)]);
    for (resource_type, name, configs, expected) in table {
        let got = cluster.alter(resource_type, name, &configs);
        assert!(got.starts_with(expected), "{resource_type} {name} {configs:?}: {got}");
    }
    cluster.alter(of_broker, "", &[("log.cleanup.policy", delete, None)]);
    cluster.alter(of_broker, "1000", &[("log.retention.ms", delete, None)]);
    assert_eq!((cluster.value("t", "retention.ms").as_str(), cluster.value("t", "cleanup.policy").as_str()), ("604800000", "delete"));
    assert_eq!(cluster.alter(of_topic, "t", &[("cleanup.policy", append, Some("compact"))]), "ok");
    assert_eq!(cluster.value("t", "cleanup.policy"), "delete,compact");
    assert_eq!(cluster.alter(of_topic, "t", &[("cleanup.policy", subtract, Some("delete,compact"))]), "ok");
    assert_eq!(cluster.value("t", "cleanup.policy"), "");
    assert_eq!(cluster.alter(of_topic, "t", &[("retention.ms", set, Some("77"))]), "ok");
    assert_eq!(cluster.value("t", "retention.ms"), "77");
    assert_eq!(cluster.alter(of_topic, "t", &[("retention.ms", delete, None)]), "ok");
    assert_eq!(cluster.value("t", "retention.ms"), "604800000");
}

#[test]
fn a_resource_named_twice_is_refused_twice() {
    let mut cluster = Cluster::new(&[1000]);
    cluster.create(vec![topic("t", 1, 1)]);
    let config = AlterableConfig::default().with_name(text("retention.ms")).with_value(Some(text("77")));
    let resource = AlterConfigsResource::default().with_resource_type(2).with_resource_name(text("t")).with_configs(vec![config]);
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource.clone(), resource.clone()]);
    let outcome = cluster.controller().incremental_alter_configs(&request);
    assert_eq!(outcome.response.responses.iter().map(|response| response.error_code).collect::<Vec<_>>(), [42, 42]);
    let once = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]).with_validate_only(true);
    let outcome = cluster.controller().incremental_alter_configs(&once);
    assert_eq!((outcome.records.len(), outcome.response.responses[0].error_code), (0, 0));
}

#[test]
fn alter_configs_replaces_all() {
    let mut cluster = Cluster::new(&[1000]);
    cluster.create(vec![topic("t", 1, 1)]);
    cluster.alter(2, "t", &[("retention.ms", 0, Some("77")), ("segment.ms", 0, Some("5000"))]);
    let config = WholeConfig::default().with_name(text("segment.ms")).with_value(Some(text("6000")));
    let resource = Whole::default().with_resource_type(2).with_resource_name(text("t")).with_configs(vec![config]);
    let outcome = cluster.controller().alter_configs(&AlterConfigsRequest::default().with_resources(vec![resource]));
    cluster.apply(&outcome.records);
    assert_eq!((cluster.value("t", "retention.ms").as_str(), cluster.value("t", "segment.ms").as_str()), ("604800000", "6000"));
}

#[test]
fn producer_ids_come_in_blocks() {
    let mut cluster = Cluster::new(&[1000]);
    for first in [0, 1000, 2000] {
        let outcome = cluster.controller().allocate_producer_ids(BrokerId(1000));
        assert_eq!(outcome.response, Ok(first..first + 1000));
        cluster.apply(&outcome.records);
    }
}

#[test]
fn topics_of_coordinators_have_kafkas_configs() {
    let mut cluster = Cluster::new(&[1000, 1001]);
    for internal in [InternalTopic::ConsumerOffsets, InternalTopic::TransactionState] {
        let mut rng = cluster.rng.fork();
        let outcome = cluster.controller().create_internal(internal, &mut rng);
        assert_eq!(outcome.response, Ok(()));
        cluster.apply(&outcome.records);
        let topic = cluster.image.topic(internal.name()).unwrap();
        assert_eq!((topic.partition_count(), topic.is_internal()), (50, true));
        assert_eq!(cluster.value(internal.name(), "cleanup.policy"), "compact");
        assert_eq!(cluster.value(internal.name(), "segment.bytes"), "104857600");
        let mut rng = cluster.rng.fork();
        assert_eq!(cluster.controller().create_internal(internal, &mut rng).records, []);
    }
    assert_eq!(cluster.value("__consumer_offsets", "compression.type"), "producer");
    assert_eq!(cluster.value("__transaction_state", "compression.type"), "uncompressed");
}

#[test]
fn topics_are_made_by_use() {
    let mut cluster = Cluster::new(&[1000]);
    let mut rng = cluster.rng.fork();
    let outcome = cluster.controller().auto_create(&["x", "a b", "x"], &mut rng);
    let results: Vec<_> = outcome.response.iter().map(|(name, result)| (name.as_str(), result.is_ok())).collect();
    assert_eq!(results, [("a b", false), ("x", true)]);
    cluster.apply(&outcome.records);
    assert_eq!(cluster.image.topic("x").unwrap().partition_count(), 1);
}

#[test]
fn registering_again_costs_nothing_unless_something_changed() {
    let cluster = Cluster::new(&[1000]);
    assert_eq!(cluster.controller().register_broker(registration(1000)).records, []);
    let restarted = Registration { incarnation: Uuid::from_u128(8), ..registration(1000) };
    let outcome = cluster.controller().register_broker(restarted);
    assert_eq!((outcome.records.len(), outcome.response), (1, 1));
}

#[test]
fn a_node_that_comes_back_with_fewer_shards_keeps_its_partitions() {
    let mut cluster = Cluster::new(&[1000, 1001, 1002, 1003, 2000]);
    cluster.create(vec![topic("t", 8, 1), topic("u", 2, 2)]);
    let outcome = cluster.controller().move_lost_shards(NodeId(1), 2);
    assert!(outcome.response > 0);
    cluster.apply(&outcome.records);
    assert_eq!(cluster.image.brokers().map(|broker| broker.id.get()).collect::<Vec<_>>(), [1000, 1001, 2000]);
    for topic in cluster.image.topics() {
        for partition in topic.partitions.values() {
            let leader = partition.leader.unwrap();
            assert!(cluster.image.broker(leader).is_some() && partition.replicas.contains(&leader), "{partition:?}");
            assert_eq!(partition.isr.len(), partition.replicas.len());
        }
    }
    let loads = (cluster.image.replica_count(BrokerId(1000)), cluster.image.replica_count(BrokerId(1001)));
    assert!(loads.0.abs_diff(loads.1) <= 1, "{loads:?}");
    assert_eq!(cluster.controller().move_lost_shards(NodeId(1), 2).records, []);
}

#[test]
fn a_new_cluster_says_what_it_is() {
    let mut cluster = Cluster::new(&[]);
    let records = cluster.controller().bootstrap();
    cluster.apply(&records);
    assert_eq!(cluster.image.features().collect::<Vec<_>>(), [("group.version", 1), ("metadata.version", 30), ("transaction.version", 2)]);
}
