//! A small Kafka client on a simulated ring: one connection, and where the partitions are.

use crate::history::{History, Tp};
use crate::violation::Checker;
use bytes::Bytes;
use odradek_base::Instant;
use odradek_ring::{Ring, Stream};
use odradek_wire::frame::FrameReader;
use odradek_wire::messages::find_coordinator_request::FindCoordinatorRequest;
use odradek_wire::messages::metadata_request::MetadataRequestTopic;
use odradek_wire::messages::{MetadataRequest, TopicName};
use odradek_wire::{ErrorCode, RequestMessage, StrBytes, decode_response, encode_request, response_header};
use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

pub const METADATA_VERSION: i16 = 12;
const FIND_COORDINATOR_VERSION: i16 = 4;
/// Answers that take longer end the connection.
const ANSWER_WAIT: Duration = Duration::from_secs(15);
const FRAME_BYTES_MAX: usize = 64 << 20;

/// The connection is of no use any more; the request may or may not have been carried out.
#[derive(Debug, thiserror::Error)]
#[error("connection lost: {0}")]
pub struct Lost(String);

fn lost(reason: impl ToString) -> Lost {
    Lost(reason.to_string())
}

/// A connection to one broker. Requests may be pipelined; answers come in their order.
pub struct Connection {
    ring: Ring,
    history: History,
    stream: Stream,
    frames: FrameReader,
    pending: VecDeque<(i32, i16, i16)>,
    next_correlation_id: i32,
}

impl Connection {
    pub async fn open(client: &Client, address: SocketAddr) -> Result<Self, Lost> {
        let opening = client.ring.connect(address);
        let stream = client.ring.timeout(client.ring.now() + ANSWER_WAIT, opening).await.ok_or_else(|| lost("no answer"))?.map_err(lost)?;
        Ok(Self {
            ring: client.ring.clone(),
            history: client.history.clone(),
            stream,
            frames: FrameReader::new(FRAME_BYTES_MAX),
            pending: VecDeque::new(),
            next_correlation_id: 0,
        })
    }

    /// Sends a request whose answer is taken by [`Connection::receive`].
    pub async fn send<R: RequestMessage + Any>(&mut self, request: &R, version: i16) -> Result<(), Lost> {
        let id = self.next_correlation_id;
        self.pending.push_back((id, R::KEY, version));
        self.write(request, version).await
    }

    /// Sends a request that has no answer (Produce with acks=0).
    pub async fn send_only<R: RequestMessage + Any>(&mut self, request: &R, version: i16) -> Result<(), Lost> {
        self.write(request, version).await
    }

    async fn write<R: RequestMessage + Any>(&mut self, request: &R, version: i16) -> Result<(), Lost> {
        let id = self.next_correlation_id;
        self.next_correlation_id += 1;
        let frame = encode_request(R::KEY, version, id, Some("sim"), request).expect("a request of the simulation");
        let sending = self.stream.send(vec![frame]);
        self.ring.timeout(self.ring.now() + ANSWER_WAIT, sending).await.ok_or_else(|| lost("nobody reads"))?.map_err(lost)
    }

    /// Requests whose answers are outstanding.
    pub fn in_flight(&self) -> usize {
        self.pending.len()
    }

    /// The answer of the oldest unanswered request, which must be an `R`.
    pub async fn receive<R: RequestMessage>(&mut self) -> Result<R::Response, Lost>
    where
        R::Response: Any,
    {
        let (id, key, version) = *self.pending.front().expect("a request is outstanding");
        assert_eq!(key, R::KEY, "answers are taken in the order of requests");
        let mut body = self.frame(id, key, version).await?;
        self.pending.pop_front();
        decode_response::<R::Response>(key, &mut body, version).map_err(|error| {
            self.history.violation(Checker::Answer, format!("an answer of API {key} version {version} cannot be read: {error}"));
            lost(error)
        })
    }

    async fn frame(&mut self, id: i32, key: i16, version: i16) -> Result<Bytes, Lost> {
        let deadline = self.ring.now() + ANSWER_WAIT;
        loop {
            if let Some(frame) = self.frames.next().map_err(lost)? {
                let (answered, body) = response_header(key, version, frame).map_err(lost)?;
                if answered != id {
                    self.history.violation(Checker::Answer, format!("answer {answered} came where {id} was due (API {key})"));
                    return Err(lost("answers out of order"));
                }
                return Ok(body);
            }
            let chunk = self.ring.timeout(deadline, self.stream.recv()).await.ok_or_else(|| lost("no answer"))?.map_err(lost)?;
            if chunk.is_empty() {
                return Err(lost("closed"));
            }
            self.frames.push(chunk);
        }
    }

    pub async fn call<R: RequestMessage + Any>(&mut self, request: &R, version: i16) -> Result<R::Response, Lost>
    where
        R::Response: Any,
    {
        self.send(request, version).await?;
        self.receive::<R>().await
    }
}

/// What every simulated client has.
#[derive(Clone)]
pub struct Client {
    pub ring: Ring,
    pub bootstrap: SocketAddr,
    pub history: History,
}

/// Leaders and ids of topics.
#[derive(Debug, Clone, Default)]
pub struct Metadata {
    pub leaders: BTreeMap<Tp, SocketAddr>,
    pub ids: BTreeMap<String, odradek_base::TopicId>,
}

pub fn text(text: impl Into<String>) -> StrBytes {
    StrBytes::from_string(text.into())
}

pub fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}

impl Client {
    pub fn now(&self) -> Instant {
        self.ring.now()
    }

    /// Waits before something is tried again.
    pub async fn back_off(&self) {
        let pause = 10 + self.ring.rng().below(90);
        self.ring.sleep(Duration::from_millis(pause)).await;
    }

    /// Connects to the bootstrap port; tries until it works.
    pub async fn bootstrap(&self) -> Connection {
        loop {
            match Connection::open(self, self.bootstrap).await {
                Ok(connection) => return connection,
                Err(_) => self.back_off().await,
            }
        }
    }

    /// What the node knows of these topics now; topics that are not there are left out.
    pub async fn metadata(&self, topics: &[String]) -> Result<Metadata, Lost> {
        let wanted = topics.iter().map(|name| MetadataRequestTopic::default().with_name(Some(topic_name(name)))).collect();
        let request = MetadataRequest::default().with_topics(Some(wanted)).with_allow_auto_topic_creation(false);
        let answer = Connection::open(self, self.bootstrap).await?.call(&request, METADATA_VERSION).await?;
        let mut brokers = BTreeMap::new();
        for broker in &answer.brokers {
            brokers.insert(broker.node_id.0, self.address(&broker.host, broker.port)?);
        }
        let mut metadata = Metadata::default();
        for topic in &answer.topics {
            let (Some(name), 0) = (&topic.name, topic.error_code) else { continue };
            let name = name.0.to_string();
            for partition in &topic.partitions {
                // Of one that is offline, the broker that would lead is asked all the same: whether it may be offline is judged by its answer.
                let offline = partition.leader_id.0 == -1
                    && ErrorCode::try_from_code(partition.error_code) == Some(ErrorCode::LeaderNotAvailable)
                    && partition.offline_replicas == partition.replica_nodes;
                let asked = partition.replica_nodes.first().filter(|_| offline).unwrap_or(&partition.leader_id);
                let Some(leader) = brokers.get(&asked.0) else {
                    self.history.violation(
                        Checker::Metadata,
                        format!("{name}-{} has leader {:?}, which is no broker", partition.partition_index, partition.leader_id),
                    );
                    continue;
                };
                metadata.leaders.insert(Tp::new(&name, partition.partition_index), *leader);
            }
            metadata.ids.insert(name, odradek_base::TopicId(topic.topic_id));
        }
        Ok(metadata)
    }

    /// Metadata once all these topics are there with at least one partition.
    pub async fn metadata_of_all(&self, topics: &[String]) -> Metadata {
        loop {
            match self.metadata(topics).await {
                Ok(metadata) if topics.iter().all(|name| metadata.ids.contains_key(name)) => return metadata,
                _ => self.back_off().await,
            }
        }
    }

    /// Where a group's coordinator is; `None` while there is none.
    pub async fn coordinator(&self, group: &str) -> Result<Option<SocketAddr>, Lost> {
        let request = FindCoordinatorRequest::default().with_coordinator_keys(vec![text(group)]);
        let answer = Connection::open(self, self.bootstrap).await?.call(&request, FIND_COORDINATOR_VERSION).await?;
        match answer.coordinators.first() {
            Some(found) if found.error_code == 0 => Ok(Some(self.address(&found.host, found.port)?)),
            _ => Ok(None),
        }
    }

    fn address(&self, host: &str, port: i32) -> Result<SocketAddr, Lost> {
        let ip: IpAddr = host.parse().map_err(lost)?;
        Ok(SocketAddr::new(ip, u16::try_from(port).map_err(lost)?))
    }
}

impl Lost {
    /// The broker refused; the connection is given up so that everything unanswered is sent again in order.
    pub fn refused(code: i16) -> Self {
        Lost(format!("refused with error {code}"))
    }
}
