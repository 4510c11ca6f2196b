//! The cluster as a client sees it: who is there, who leads what, who coordinates a group, and a connection to each.

use crate::config::ClientConfig;
use crate::connection::Connection;
use crate::connection::Request;
use crate::error::{BrokerError, ClientError};
use odradek_wire::ErrorCode;
use odradek_wire::StrBytes;
use odradek_wire::messages::TopicName;
use odradek_wire::messages::find_coordinator_request::FindCoordinatorRequest;
use odradek_wire::messages::metadata_request::{MetadataRequest, MetadataRequestTopic};
use odradek_wire::messages::metadata_response::{MetadataResponse, MetadataResponseTopic};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// `key_type` of FindCoordinator (`CoordinatorType.java`).
const COORDINATOR_OF_GROUP: i8 = 0;
const COORDINATOR_OF_TRANSACTION: i8 = 1;
/// Connections a client keeps open at most; a cluster with more brokers than this is refused, not half served.
pub const CONNECTIONS_MAX: usize = 4096;

/// A broker as the metadata names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broker {
    pub id: i32,
    pub host: String,
    pub port: i32,
    pub rack: Option<String>,
}

/// A partition as the metadata describes it. `leader` is -1 where there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    pub index: i32,
    pub leader: i32,
    pub leader_epoch: i32,
    pub replicas: Vec<i32>,
    pub isr: Vec<i32>,
    pub offline: Vec<i32>,
}

/// A topic as the metadata describes it, partitions sorted by index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    pub name: String,
    pub id: Uuid,
    pub internal: bool,
    pub partitions: Vec<Partition>,
}

/// Which topics to ask the metadata for.
#[derive(Debug, Clone, Copy)]
pub enum Topics<'a> {
    All,
    Named(&'a [String]),
    None,
}

/// A cluster and the connections into it.
#[derive(Debug)]
pub struct Cluster {
    config: ClientConfig,
    brokers: BTreeMap<i32, Broker>,
    connections: BTreeMap<i32, Connection>,
    /// Connections for requests whose answers are awaited later (Produce, Fetch): a call never waits behind them.
    pipelines: BTreeMap<i32, Connection>,
    bootstrap: Option<Connection>,
    cluster_id: Option<String>,
    controller: i32,
    topics: BTreeMap<String, Topic>,
    topic_errors: BTreeMap<String, ErrorCode>,
}

/// A string of the protocol.
pub fn text(s: &str) -> StrBytes {
    StrBytes::from_string(s.to_owned())
}

/// A topic name of the protocol.
pub fn topic_name(s: &str) -> TopicName {
    TopicName(text(s))
}

impl Cluster {
    /// Connects to the first bootstrap address that answers and learns the brokers.
    pub fn connect(config: ClientConfig) -> Result<Self, ClientError> {
        let mut cluster = Self {
            config,
            brokers: BTreeMap::new(),
            connections: BTreeMap::new(),
            pipelines: BTreeMap::new(),
            bootstrap: None,
            cluster_id: None,
            controller: -1,
            topics: BTreeMap::new(),
            topic_errors: BTreeMap::new(),
        };
        cluster.refresh(Topics::None, false)?;
        Ok(cluster)
    }

    pub fn config(&self) -> &ClientConfig {
        &self.config
    }

    /// Longest wait for operations that are retried, from now on.
    pub fn set_operation_timeout(&mut self, timeout: Duration) {
        self.config.operation_timeout = timeout;
    }

    pub fn cluster_id(&self) -> Option<&str> {
        self.cluster_id.as_deref()
    }

    /// The controller's broker id, -1 where the metadata names none.
    pub fn controller(&self) -> i32 {
        self.controller
    }

    pub fn brokers(&self) -> impl Iterator<Item = &Broker> {
        self.brokers.values()
    }

    pub fn broker(&self, id: i32) -> Option<&Broker> {
        self.brokers.get(&id)
    }

    /// What the last refresh said about a topic.
    pub fn topic(&self, name: &str) -> Option<&Topic> {
        self.topics.get(name)
    }

    /// All topics of the last refresh, by name.
    pub fn topics(&self) -> impl Iterator<Item = &Topic> {
        self.topics.values()
    }

    /// Asks for metadata and replaces what was known about the topics asked for.
    pub fn refresh(&mut self, wanted: Topics<'_>, allow_auto_creation: bool) -> Result<(), ClientError> {
        let names = match wanted {
            Topics::All => None,
            Topics::None => Some(Vec::new()),
            Topics::Named(names) => Some(names.iter().map(|n| MetadataRequestTopic::default().with_name(Some(topic_name(n)))).collect()),
        };
        let request = MetadataRequest::default().with_topics(names).with_allow_auto_topic_creation(allow_auto_creation);
        let response = self.call_any(&request)?;
        ClientError::check(response.error_code, "metadata", None)?;
        self.take_metadata(response, wanted)
    }

    /// The topic, asking the brokers until it is there with a leader for each partition, or the operation timeout is over.
    pub fn await_topic(&mut self, name: &str, allow_auto_creation: bool) -> Result<&Topic, ClientError> {
        let deadline = Instant::now() + self.config.operation_timeout;
        loop {
            let error = match self.refresh(Topics::Named(&[name.to_owned()]), allow_auto_creation) {
                Ok(()) => match self.topic_problem(name) {
                    None => break,
                    Some(error) => error,
                },
                Err(error) => error,
            };
            // An unknown topic is worth a retry only where asking for it creates it.
            let hopeless = error.code() == Some(ErrorCode::UnknownTopicOrPartition) && !allow_auto_creation;
            if hopeless || !error.is_retriable() || Instant::now() >= deadline {
                return Err(error);
            }
            self.pause()?;
        }
        self.topics.get(name).ok_or_else(|| unknown_topic(name))
    }

    /// Why a topic cannot be used, by the last refresh.
    pub fn topic_problem(&self, name: &str) -> Option<ClientError> {
        if let Some(&code) = self.topic_errors.get(name) {
            return Some(BrokerError { code, subject: format!("topic '{name}'"), message: None }.into());
        }
        let Some(topic) = self.topics.get(name) else { return Some(unknown_topic(name)) };
        // One that is offline does not make the others useless; none with a leader is what a topic looks like that is being made.
        if topic.partitions.iter().any(|p| p.leader >= 0) {
            return None;
        }
        let subject = format!("topic '{name}'");
        Some(BrokerError { code: ErrorCode::LeaderNotAvailable, subject, message: None }.into())
    }

    /// Leader of a partition by the last refresh of its topic.
    pub fn leader(&self, topic: &str, partition: i32) -> Option<i32> {
        let topic = self.topics.get(topic)?;
        topic.partitions.iter().find(|p| p.index == partition).map(|p| p.leader).filter(|&l| l >= 0)
    }

    /// A connection to a broker for calls, opened when needed.
    pub fn connection(&mut self, broker: i32) -> Result<&mut Connection, ClientError> {
        opened(&mut self.connections, broker, &self.brokers, &self.config)
    }

    /// A connection to a broker for pipelined requests, opened when needed.
    pub fn pipeline(&mut self, broker: i32) -> Result<&mut Connection, ClientError> {
        opened(&mut self.pipelines, broker, &self.brokers, &self.config)
    }

    /// A connection of its own to a broker, for requests that wait long (group membership).
    pub fn open_separate(&self, broker: i32) -> Result<Connection, ClientError> {
        let Some(known) = self.brokers.get(&broker) else {
            let subject = format!("broker {broker}");
            return Err(BrokerError { code: ErrorCode::BrokerNotAvailable, subject, message: None }.into());
        };
        Connection::open(&address(known), &self.config)
    }

    /// The open pipeline to a broker, if any.
    pub fn open_pipeline(&mut self, broker: i32) -> Option<&mut Connection> {
        self.pipelines.get_mut(&broker)
    }

    pub fn open_pipelines(&self) -> impl Iterator<Item = (i32, &Connection)> {
        self.pipelines.iter().map(|(&id, c)| (id, c))
    }

    /// Closes the pipeline to a broker: what is unanswered on it has an unknown outcome.
    pub fn drop_pipeline(&mut self, broker: i32) {
        self.pipelines.remove(&broker);
    }

    /// Closes the connection to a broker; the next use opens a new one.
    pub fn drop_connection(&mut self, broker: i32) {
        self.connections.remove(&broker);
    }

    /// One request to one broker. A broken connection is dropped and, since it may simply have been idle too long, tried once more.
    pub fn call<R: Request>(&mut self, broker: i32, request: &R) -> Result<R::Response, ClientError> {
        for attempt in 0..2 {
            let result = self.connection(broker)?.call(request);
            match result {
                Err(ClientError::Disconnected { .. }) if attempt == 0 => self.drop_connection(broker),
                Err(error) => {
                    self.drop_connection(broker);
                    return Err(error);
                }
                ok => return ok,
            }
        }
        unreachable!("the second attempt returns")
    }

    /// One request to whichever broker answers.
    pub fn call_any<R: Request>(&mut self, request: &R) -> Result<R::Response, ClientError> {
        let mut last = None;
        if let Some(connection) = self.bootstrap.as_mut() {
            match connection.call(request) {
                Ok(response) => return Ok(response),
                Err(error @ (ClientError::Interrupted | ClientError::UnsupportedVersion { .. } | ClientError::Invalid(_))) => {
                    return Err(error);
                }
                Err(error) => {
                    self.bootstrap = None;
                    last = Some(error);
                }
            }
        }
        let known = self.brokers.values().map(address);
        let candidates: Vec<String> = self.config.bootstrap.iter().cloned().chain(known).collect();
        for candidate in candidates {
            match Connection::open(&candidate, &self.config).and_then(|mut c| c.call(request).map(|r| (c, r))) {
                Ok((connection, response)) => {
                    self.bootstrap = Some(connection);
                    return Ok(response);
                }
                Err(error @ (ClientError::Interrupted | ClientError::UnsupportedVersion { .. } | ClientError::Invalid(_))) => {
                    return Err(error);
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| ClientError::Invalid("no bootstrap servers".to_owned())))
    }

    /// One request to the controller (in KRaft clusters every broker forwards; the metadata names one to use).
    pub fn call_controller<R: Request>(&mut self, request: &R) -> Result<R::Response, ClientError> {
        if self.controller >= 0 && self.brokers.contains_key(&self.controller) {
            self.call(self.controller, request)
        } else {
            self.call_any(request)
        }
    }

    /// Broker id of a group's coordinator, retried while coordinators are being loaded or created.
    pub fn group_coordinator(&mut self, group: &str) -> Result<i32, ClientError> {
        self.coordinator(group, COORDINATOR_OF_GROUP)
    }

    /// Broker id of a transactional id's coordinator, retried in the same way.
    pub fn transaction_coordinator(&mut self, transactional_id: &str) -> Result<i32, ClientError> {
        self.coordinator(transactional_id, COORDINATOR_OF_TRANSACTION)
    }

    fn coordinator(&mut self, key: &str, key_type: i8) -> Result<i32, ClientError> {
        let deadline = Instant::now() + self.config.operation_timeout;
        loop {
            match self.find_coordinator(key, key_type) {
                Err(error) if error.is_retriable() && Instant::now() < deadline => self.pause()?,
                other => return other,
            }
        }
    }

    /// Waits the retry backoff, or returns an error when interrupted.
    pub fn pause(&self) -> Result<(), ClientError> {
        self.pause_for(self.config.retry_backoff)
    }

    pub fn pause_for(&self, duration: Duration) -> Result<(), ClientError> {
        if self.config.interrupt.is_raised() {
            return Err(ClientError::Interrupted);
        }
        std::thread::sleep(duration);
        Ok(())
    }

    fn find_coordinator(&mut self, key: &str, key_type: i8) -> Result<i32, ClientError> {
        // Both the old single key and the list are set; the encoder takes what the version has.
        let version = {
            self.call_any(&MetadataRequest::default().with_topics(Some(Vec::new())))?;
            let connection = self.bootstrap.as_ref().expect("call_any leaves an open connection");
            connection.version::<FindCoordinatorRequest>(i16::MAX)?
        };
        let mut request = FindCoordinatorRequest::default().with_key_type(key_type);
        if version >= 4 {
            request.coordinator_keys = vec![text(key)];
        } else {
            request.key = text(key);
        }
        let response = self.call_any(&request)?;
        let subject = || format!("coordinator of {} '{key}'", if key_type == COORDINATOR_OF_GROUP { "group" } else { "transactional id" });
        let (id, host, port, code, message) = match response.coordinators.first() {
            Some(c) => (c.node_id, c.host.clone(), c.port, c.error_code, c.error_message.clone()),
            None => (response.node_id, response.host.clone(), response.port, response.error_code, response.error_message.clone()),
        };
        ClientError::check(code, subject(), message.as_deref())?;
        self.brokers.entry(id.0).or_insert_with(|| Broker { id: id.0, host: host.to_string(), port, rack: None });
        Ok(id.0)
    }

    fn take_metadata(&mut self, response: MetadataResponse, wanted: Topics<'_>) -> Result<(), ClientError> {
        let brokers: BTreeMap<i32, Broker> = response
            .brokers
            .iter()
            .map(|b| {
                let broker =
                    Broker { id: b.node_id.0, host: b.host.to_string(), port: b.port, rack: b.rack.as_ref().map(|r| r.to_string()) };
                (broker.id, broker)
            })
            .collect();
        // A broker that moved needs a new connection.
        let known = &self.brokers;
        let stayed =
            |id: &i32| brokers.get(id).is_none_or(|new| known.get(id).is_none_or(|old| (&old.host, old.port) == (&new.host, new.port)));
        self.connections.retain(|id, _| stayed(id));
        self.pipelines.retain(|id, _| stayed(id));
        if !brokers.is_empty() {
            self.brokers = brokers;
        }
        self.cluster_id = response.cluster_id.as_ref().map(|id| id.to_string());
        self.controller = response.controller_id.0;
        match wanted {
            Topics::All => {
                self.topics.clear();
                self.topic_errors.clear();
            }
            Topics::Named(names) => {
                for name in names {
                    self.topics.remove(name);
                    self.topic_errors.remove(name);
                }
            }
            Topics::None => {}
        }
        for topic in response.topics {
            let Some(name) = topic.name.as_ref().map(|n| n.0.to_string()) else { continue };
            match ErrorCode::try_from_code(topic.error_code) {
                None => {
                    self.topics.insert(name.clone(), to_topic(name, topic));
                }
                Some(code) => {
                    self.topic_errors.insert(name, code);
                }
            }
        }
        Ok(())
    }
}

fn opened<'a>(
    open: &'a mut BTreeMap<i32, Connection>,
    broker: i32,
    brokers: &BTreeMap<i32, Broker>,
    config: &ClientConfig,
) -> Result<&'a mut Connection, ClientError> {
    use std::collections::btree_map::Entry;
    let connections = open.len();
    match open.entry(broker) {
        Entry::Occupied(known) => Ok(known.into_mut()),
        Entry::Vacant(slot) => {
            let Some(known) = brokers.get(&broker) else {
                let subject = format!("broker {broker}");
                return Err(BrokerError { code: ErrorCode::BrokerNotAvailable, subject, message: None }.into());
            };
            if connections >= CONNECTIONS_MAX {
                return Err(ClientError::Invalid(format!("more than {CONNECTIONS_MAX} brokers")));
            }
            Ok(slot.insert(Connection::open(&address(known), config)?))
        }
    }
}

fn unknown_topic(name: &str) -> ClientError {
    BrokerError { code: ErrorCode::UnknownTopicOrPartition, subject: format!("topic '{name}'"), message: None }.into()
}

fn address(broker: &Broker) -> String {
    if broker.host.contains(':') { format!("[{}]:{}", broker.host, broker.port) } else { format!("{}:{}", broker.host, broker.port) }
}

fn to_topic(name: String, topic: MetadataResponseTopic) -> Topic {
    let mut partitions: Vec<Partition> = topic
        .partitions
        .into_iter()
        .map(|p| Partition {
            index: p.partition_index,
            leader: p.leader_id.0,
            leader_epoch: p.leader_epoch,
            replicas: p.replica_nodes.iter().map(|b| b.0).collect(),
            isr: p.isr_nodes.iter().map(|b| b.0).collect(),
            offline: p.offline_replicas.iter().map(|b| b.0).collect(),
        })
        .collect();
    partitions.sort_by_key(|p| p.index);
    Topic { name, id: topic.topic_id, internal: topic.is_internal, partitions }
}
