//! One shard: what its tasks share, and its life from start to stop.

use crate::config::NodeConfig;
use crate::connection::{self, Connections};
use crate::controller::Controller;
use crate::coordinators::groups::{GroupSlots, Groups};
use crate::coordinators::txn::{TransactionSlots, Transactions};
use crate::coordinators::{GROUPS_TOPIC, TRANSACTIONS_TOPIC};
use crate::counters::Counters;
use crate::fetch::session::Sessions;
use crate::mailbox::Mailbox;
use crate::memory::Part;
use crate::messages::{Call, Reply};
use crate::produce::WaitingAppends;
use crate::producer_ids::ProducerIds;
use crate::topics::{Route, Topics};
use odradek_background::Background;
use odradek_base::{Rng, ShardId, TopicPartition};
use odradek_cluster::{Image, View};
use odradek_groups::GroupsConfig;
use odradek_ring::sync::{Event, Semaphore};
use odradek_ring::{ListenOptions, Ring};
use odradek_settings::{Advertise, Settings};
use odradek_store::{Partition, RecoveryProgress, Store};
use odradek_txn::TxnConfig;
use odradek_wire::ErrorCode;
use std::cell::{Cell, OnceCell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// What the tasks of one shard share. Lives on the shard's thread.
pub struct Shard {
    pub id: ShardId,
    pub config: Arc<NodeConfig>,
    pub ring: Ring,
    pub rng: RefCell<Rng>,
    pub mailbox: Mailbox,
    pub topics: Topics,
    pub sessions: RefCell<Sessions>,
    pub connections: Connections,
    pub groups: GroupSlots,
    pub transactions: TransactionSlots,
    pub producer_ids: ProducerIds,
    pub waiting_appends: WaitingAppends,
    /// Only on shard 0.
    pub controller: OnceCell<Controller>,
    pub counters: Counters,
    /// How far the start of its store is.
    pub recovery: Rc<RecoveryProgress>,
    pub stopping: Cell<bool>,
    pub background: Option<Background>,
    /// Bytes that checks of batches may hold between their turns.
    pub checking: Semaphore,
    metadata_version: Cell<u64>,
    metadata_arrived: Event,
    image: RefCell<Arc<Image>>,
    store: OnceCell<Store>,
    store_opened: Event,
    /// Images that are being acted on: they may name partitions that are not made yet.
    applying: Cell<usize>,
    applied: Event,
}

impl Shard {
    pub fn new(id: ShardId, config: Arc<NodeConfig>, ring: Ring, mailbox: Mailbox, background: Option<Background>) -> Rc<Self> {
        Rc::new(Self {
            id,
            rng: RefCell::new(ring.rng()),
            mailbox,
            topics: Topics::default(),
            sessions: RefCell::new(Sessions::new(config.settings.fetch_sessions_max(), config.memory.bytes(Part::Sessions) as usize)),
            connections: Connections::new(config.requests_bytes_max, config.answers_bytes_max),
            groups: GroupSlots::new(GROUPS_TOPIC),
            transactions: TransactionSlots::new(TRANSACTIONS_TOPIC),
            producer_ids: ProducerIds::default(),
            waiting_appends: WaitingAppends::default(),
            controller: OnceCell::new(),
            counters: Counters::default(),
            recovery: Rc::default(),
            stopping: Cell::new(false),
            background,
            checking: Semaphore::new(crate::produce::CHECKED_BYTES_MAX),
            metadata_version: Cell::new(0),
            metadata_arrived: Event::new(),
            image: RefCell::new(Arc::new(Image::new(""))),
            store: OnceCell::new(),
            store_opened: Event::new(),
            applying: Cell::new(0),
            applied: Event::new(),
            config,
            ring,
        })
    }

    pub fn image(&self) -> Arc<Image> {
        self.image.borrow().clone()
    }

    pub fn set_image(&self, image: Arc<Image>, version: u64) {
        *self.image.borrow_mut() = image;
        self.metadata_version.set(version);
        self.metadata_arrived.notify_all();
    }

    /// Grows with every change of the metadata; 0 before the first image.
    pub fn metadata_version(&self) -> u64 {
        self.metadata_version.get()
    }

    /// The partitions of this shard. Set before the first connection is accepted, but not before the first call of another shard
    /// ([`Shard::partition`]).
    pub fn store(&self) -> &Store {
        self.store.get().expect("the store is opened before anything is served")
    }

    /// A partition of this shard. `None` also while the store is opening: other shards may be up already and ask.
    pub fn partition(&self, tp: TopicPartition) -> Option<Partition> {
        self.store.get()?.partition(tp)
    }

    /// Runs what acts on an image that has been set.
    pub async fn while_applying(&self, acting: impl Future<Output = ()>) {
        self.applying.set(self.applying.get() + 1);
        acting.await;
        self.applying.set(self.applying.get() - 1);
        self.applied.notify_all();
    }

    /// Whether a partition of this shard that is not there may just be about to be made.
    pub fn may_come(&self, tp: TopicPartition) -> bool {
        self.applying.get() > 0 && self.store_if_open().is_some_and(|store| store.partition(tp).is_none() && store.closed(tp).is_none())
    }

    /// Waits for a partition that is about to be made. A client is told of a new topic by the first shard that knows of it; were its first batch refused
    /// and its second one taken, an idempotent producer's order would be lost for good.
    pub async fn wait_made(&self, tp: TopicPartition) {
        while self.may_come(tp) {
            let applied = self.applied.listen();
            if !self.may_come(tp) {
                return;
            }
            applied.await;
        }
    }

    /// What to say of a partition that this shard should have and [`Shard::partition`] does not give: one that could not be opened is offline.
    pub fn missing(&self, tp: TopicPartition) -> ErrorCode {
        let closed = self.store.get().and_then(|store| store.closed(tp));
        closed.map_or(ErrorCode::NotLeaderOrFollower, |error| error.code())
    }

    pub fn store_if_open(&self) -> Option<&Store> {
        self.store.get()
    }

    pub fn set_store(&self, store: Store) {
        assert!(self.store.set(store).is_ok(), "a shard opens its store once");
        self.store_opened.notify_all();
    }

    /// Whether a client of this shard may be answered for a partition: its own, or any of the node's when the node is
    /// one broker.
    pub fn serves(&self, route: &Route) -> bool {
        route.shard == self.id || self.config.advertise == Advertise::Node
    }

    pub fn node_shards(&self) -> impl Iterator<Item = ShardId> + use<> {
        self.config.all_shards()
    }

    /// Broker id, host and port by which clients reach a shard.
    pub fn advertised(&self, shard: ShardId) -> Option<(i32, String, i32)> {
        let host = self.config.advertised_host.clone();
        match self.config.advertise {
            Advertise::Node => Some((self.config.node.get(), host, i32::from(self.config.advertised_port))),
            Advertise::Cores => {
                let port = self.config.shard_port(self.config.advertised_port, shard)?;
                Some((self.config.broker_of(shard).get(), host, i32::from(port)))
            }
        }
    }

    /// The shard of this node that runs a partition. A shard that is no longer there is stood in for by another.
    pub fn shard_of(&self, partition: &odradek_cluster::Partition) -> ShardId {
        partition.leader.map_or(ShardId(u16::MAX), |leader| self.config.shard_of(leader))
    }

    pub fn owns(&self, partition: &odradek_cluster::Partition) -> bool {
        self.shard_of(partition) == self.id
    }

    /// What clients see of the cluster.
    pub fn view(&self) -> View<'_> {
        View {
            advertise: self.config.advertise,
            listener: &self.config.listener,
            controller: self.config.broker_of(crate::controller::CONTROLLER_SHARD),
        }
    }

    /// Starts and ends coordinators so that they match the metadata.
    pub fn follow_coordinators(self: &Rc<Self>) {
        let (settings, rng) = (&self.config.settings, || self.ring.rng());
        self.groups.follow_metadata(self, || Groups(odradek_groups::Coordinator::new(groups_config(settings), rng())));
        self.transactions.follow_metadata(self, || Transactions(odradek_txn::Coordinator::new(transactions_config(settings), rng())));
    }

    /// Waits until the controller has given this shard its first image.
    pub async fn wait_for_metadata(&self) {
        while self.metadata_version.get() == 0 {
            self.metadata_arrived.listen().await;
        }
    }

    /// Opens this shard's listeners and serves connections until the shard stops.
    pub fn listen(self: &Rc<Self>) -> Result<Vec<SocketAddr>, (SocketAddr, std::io::Error)> {
        let mut addresses = Vec::new();
        for bootstrap in &self.config.bootstrap {
            addresses.push((*bootstrap, true));
            if self.config.advertise == Advertise::Cores
                && let Some(port) = self.config.shard_port(bootstrap.port(), self.id)
            {
                addresses.push((SocketAddr::new(bootstrap.ip(), port), false));
            }
        }
        for (address, reuse_port) in &addresses {
            let options = ListenOptions { reuse_port: *reuse_port, backlog: self.config.settings.socket_backlog().max(1) as u32 };
            let listener = self.ring.listen(*address, options).map_err(|error| (*address, error))?;
            self.ring.spawn(connection::accept_all(self.clone(), listener));
        }
        self.ring.spawn(Connections::sweep(self.clone()));
        Ok(addresses.into_iter().map(|(address, _)| address).collect())
    }

    /// Answers the other shards until the node stops.
    pub async fn serve_mailbox(self: Rc<Self>) {
        loop {
            let (from, id, call) = self.mailbox.next().await;
            self.serve_call(from, id, call);
        }
    }

    fn serve_call(self: &Rc<Self>, from: ShardId, id: u64, call: Call) {
        // Appends happen at once, in the order of the messages; the rest may wait and gets a task.
        let call = match call {
            Call::Append(append) => return crate::produce::serve_append(self, from, id, append),
            other => other,
        };
        let shard = self.clone();
        self.ring.spawn(async move {
            let reply = match call {
                Call::Append(_) => return,
                Call::Controller(command) => Reply::Controller(Box::new(crate::controller::serve(&shard, *command).await)),
                Call::Publish(publication) => {
                    crate::publication::apply(&shard, publication).await;
                    Reply::Published
                }
                Call::AwaitOpen => {
                    while shard.store_if_open().is_none() {
                        shard.store_opened.listen().await;
                    }
                    Reply::Open
                }
                Call::Read(call) => Reply::Read(crate::fetch::read::read_all(&shard, &call).await),
                Call::Watch(call) => {
                    crate::fetch::read::watch(&shard, call).await;
                    Reply::News
                }
                Call::Partition(tp, call) => Reply::Partition(crate::partitions::answer(&shard, tp, call).await),
                Call::LogDirs(wanted) => Reply::LogDirs(crate::log_dirs::of(&shard, wanted.as_ref())),
                Call::Forward(forwarded) => crate::coordinators::serve_forwarded(&shard, forwarded).await,
                Call::Groups(call) => Reply::Groups(Box::new(crate::coordinators::groups::serve(&shard, *call).await)),
            };
            shard.mailbox.reply(from, id, reply);
        });
    }

    /// Finishes what is in flight, ends the connections, flushes everything.
    pub async fn stop(self: &Rc<Self>) -> Result<(), odradek_store::StoreError> {
        self.stopping.set(true);
        // Requests in flight get a moment; then connections end, which also ends fetches that wait.
        self.ring.sleep(std::time::Duration::from_millis(20)).await;
        self.connections.shutdown_all();
        let deadline = self.ring.now() + self.config.shutdown_timeout;
        while self.connections.count() > 0 && self.ring.now() < deadline {
            self.ring.sleep(std::time::Duration::from_millis(5)).await;
        }
        self.groups.stop_all();
        self.transactions.stop_all();
        self.report();
        match self.store.get() {
            Some(store) => store.clone().close().await,
            None => Ok(()),
        }
    }

    /// What this shard did in its life, for the log.
    fn report(&self) {
        let ring = self.ring.stats();
        let requests = self.counters.requests();
        let per_request = ring.syscalls() as f64 / requests.max(1) as f64;
        tracing::info!(
            shard = self.id.get(),
            requests,
            system_calls = ring.syscalls(),
            per_request = format!("{per_request:.2}"),
            received_bytes = ring.recv_bytes,
            "shard stopped serving"
        );
    }
}

fn groups_config(settings: &Settings) -> GroupsConfig {
    let ms = |number: i64| Duration::from_millis(number.unsigned_abs());
    GroupsConfig {
        session_timeout_min: ms(settings.group_min_session_timeout_ms().into()),
        session_timeout_max: ms(settings.group_max_session_timeout_ms().into()),
        initial_rebalance_delay: ms(settings.group_initial_rebalance_delay_ms().into()),
        members_max: settings.group_max_size() as usize,
        offset_metadata_bytes_max: settings.offset_metadata_max_bytes() as usize,
        offsets_retention: ms(i64::from(settings.offsets_retention_minutes()) * 60_000),
        offsets_retention_check_interval: ms(settings.offsets_retention_check_interval_ms()),
        consumer_session_timeout: ms(settings.group_consumer_session_timeout_ms().into()),
        consumer_heartbeat_interval: ms(settings.group_consumer_heartbeat_interval_ms().into()),
        consumer_assignment_interval: ms(settings.group_consumer_assignment_interval_ms().into()),
        consumer_members_max: settings.group_consumer_max_size() as usize,
        ..GroupsConfig::default()
    }
}

fn transactions_config(settings: &Settings) -> TxnConfig {
    TxnConfig { transaction_timeout_max_ms: settings.transaction_max_timeout_ms(), ..TxnConfig::default() }
}
