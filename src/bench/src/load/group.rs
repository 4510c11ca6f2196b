//! Consumer groups of a load: real members, whose partitions the load thread reads.
//!
//! Joining, heartbeats and commits wait for the coordinator, so each member has a thread of its own for them ([`Member`]); it shares
//! nothing with the load thread but two channels ([`Seat`]). Partitions that nobody reads now are parked in the group, with what the audit
//! knows of them: whoever is given a partition goes on from the committed offset with the audit of the member before.
//! Rebalancing is eager, as in Kafka's classic protocol: a member gives up everything, commits, and joins again.

use super::reader::Position;
use crate::BenchError;
use crate::measure::GroupResult;
use crate::scenario::Consumers;
use crate::target::Offsets;
use odradek_client::consumer::{CommittedOffset, ConsumerConfig, Membership, Tick};
use odradek_client::{ClientConfig, ClientError, Cluster};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Longest wait for the members to agree, at the start and at the end.
pub const SETTLE_MAX: Duration = Duration::from_secs(120);
/// How often a member looks at its orders' reasons: a stop, a heartbeat, a commit.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Longest wait for the load thread, which answers between two sleeps of some milliseconds.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// Time a member has to join again before the others go on without it.
const REBALANCE_TIMEOUT: Duration = Duration::from_secs(30);

/// From a member to the load thread.
pub enum Order {
    /// Read these from their committed offsets, where there are any.
    Assign { generation: i32, partitions: Vec<((String, i32), Option<i64>)> },
    /// Say how far you are.
    Report,
    /// Give up all partitions and say how far you are.
    Revoke,
}

/// A member's place at the load thread.
pub struct Seat {
    pub orders: Receiver<Order>,
    pub answers: Sender<Offsets>,
    /// Its connections, one for each leader, by their number in the engine.
    pub readers: Vec<usize>,
    /// Given, and not yet let go by the member before.
    pub expected: Vec<((String, i32), Option<i64>)>,
    /// Generation of the assignment that is being taken over.
    pub generation: Option<i32>,
    /// Its number in the group.
    pub member: usize,
    pub group: Arc<Shared>,
}

/// What the members of a group and the load thread share.
pub struct Shared {
    parked: Mutex<BTreeMap<(String, i32), Position>>,
    /// Generation of each member that reads all it was given.
    seated: Mutex<Vec<Option<i32>>>,
    /// Members whose threads have ended.
    ended: AtomicUsize,
    result: Mutex<GroupResult>,
    /// Since when members leave and join again on purpose, where they do.
    moving_since: Mutex<Option<Instant>>,
    stop: AtomicBool,
    failed: Mutex<Option<ClientError>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub fn park(&self, positions: impl IntoIterator<Item = Position>) {
        locked(&self.parked).extend(positions.into_iter().map(|p| ((p.topic.clone(), p.partition), p)));
    }

    /// A partition that nobody reads now.
    pub fn unpark(&self, partition: &(String, i32)) -> Option<Position> {
        locked(&self.parked).remove(partition)
    }

    /// A member reads all that its generation gives it, or nothing any more.
    pub fn seat(&self, member: usize, generation: Option<i32>) {
        locked(&self.seated)[member] = generation;
    }

    /// Every member has its partitions, all of one generation, and no partition is without a member.
    pub fn is_seated(&self) -> bool {
        let seated = locked(&self.seated);
        seated.iter().all(|g| g.is_some() && *g == seated[0]) && locked(&self.parked).is_empty()
    }

    /// All members have ended.
    pub fn is_over(&self) -> bool {
        self.ended.load(Ordering::SeqCst) == locked(&self.seated).len()
    }

    pub fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// Why a member ended before it was told to.
    pub fn failure(&self) -> BenchError {
        match locked(&self.failed).take() {
            Some(error) => error.into(),
            None => BenchError::Broker("a member of a consumer group ended early".to_owned()),
        }
    }
}

/// A group with its members.
pub struct Group {
    id: String,
    config: ClientConfig,
    shared: Arc<Shared>,
}

impl Group {
    /// Members of a new group join, one for each of the seats' readers. `positions` are all partitions.
    pub fn open(
        id: String,
        config: &ClientConfig,
        consumers: &Consumers,
        positions: Vec<Position>,
        readers: Vec<Vec<usize>>,
    ) -> Result<(Self, Vec<Seat>), BenchError> {
        let mut topics: Vec<String> = positions.iter().map(|p| p.topic.clone()).collect();
        topics.sort();
        topics.dedup();
        let result = GroupResult { group: id.clone(), members: readers.len(), ..GroupResult::default() };
        let shared = Arc::new(Shared {
            parked: Mutex::default(),
            seated: Mutex::new(vec![None; readers.len()]),
            ended: AtomicUsize::new(0),
            result: Mutex::new(result),
            moving_since: Mutex::default(),
            stop: AtomicBool::new(false),
            failed: Mutex::default(),
        });
        shared.park(positions);
        let group = Self { id: id.clone(), config: config.clone(), shared: shared.clone() };
        let mut seats = Vec::new();
        let count = readers.len();
        for (index, readers) in readers.into_iter().enumerate() {
            let (order, orders) = channel();
            let (answers, answer) = channel();
            let mut member = Member {
                group: id.clone(),
                cluster: Cluster::connect(config.clone())?,
                topics: topics.clone(),
                config: ConsumerConfig {
                    heartbeat_interval: Duration::from_millis(consumers.heartbeat_ms),
                    max_poll_interval: REBALANCE_TIMEOUT,
                    ..ConsumerConfig::default()
                },
                commit_every: Duration::from_millis(consumers.commit_interval_ms),
                // Members take turns.
                leave_every: consumers.rebalance_every_s.map(|every| every * count as f64),
                leave_next: consumers.rebalance_every_s.map_or(0.0, |every| every * (index + 1) as f64),
                orders: order,
                answers: answer,
                shared: shared.clone(),
            };
            let run = move || {
                if let Err(error) = member.run() {
                    locked(&member.shared.failed).get_or_insert(error);
                }
                member.shared.ended.fetch_add(1, Ordering::SeqCst);
            };
            // It ends by itself: told to stop, or without anybody who answers it.
            std::thread::Builder::new().name(format!("member-{index}")).spawn(run)?;
            seats.push(Seat { orders, answers, readers, expected: Vec::new(), generation: None, member: index, group: shared.clone() });
        }
        Ok((group, seats))
    }

    /// From here on members leave in turns, where the scenario says so.
    pub fn begin(&self) {
        *locked(&self.shared.moving_since) = Some(Instant::now());
    }

    /// From here on no member leaves on purpose.
    pub fn settle(&self) {
        *locked(&self.shared.moving_since) = None;
    }

    /// Members commit and leave, as far as the load thread answers them.
    pub fn stop(&self) {
        self.shared.stop.store(true, Ordering::SeqCst);
    }

    /// What nobody reads any more, after the end of all members.
    pub fn parked(&self) -> Vec<Position> {
        std::mem::take(&mut *locked(&self.shared.parked)).into_values().collect()
    }

    /// After the end of all members: what they did, and whether the group's committed offsets are where they stopped. `ends` are
    /// those offsets. The group is deleted.
    pub fn finish(self, ends: &Offsets) -> Result<GroupResult, BenchError> {
        if locked(&self.shared.failed).is_some() {
            return Err(self.shared.failure());
        }
        let mut cluster = Cluster::connect(self.config.clone())?;
        let committed = cluster.admin().group_offsets(&self.id, None)?;
        let mut result = locked(&self.shared.result).clone();
        let right = |partition: &(String, i32), end: i64| committed.get(partition).is_some_and(|c| c.offset == end);
        result.uncommitted_partitions = ends.iter().filter(|&(partition, &end)| !right(partition, end)).count() as u64;
        cluster.admin().delete_group(&self.id)?;
        Ok(result)
    }
}

impl Drop for Group {
    /// A run that failed: members leave as soon as they look.
    fn drop(&mut self) {
        self.stop();
    }
}

/// A member, on a thread of its own.
struct Member {
    group: String,
    cluster: Cluster,
    topics: Vec<String>,
    config: ConsumerConfig,
    commit_every: Duration,
    /// Seconds between two planned departures, and from the begin to the next.
    leave_every: Option<f64>,
    leave_next: f64,
    orders: Sender<Order>,
    answers: Receiver<Offsets>,
    shared: Arc<Shared>,
}

/// Why a member gives up its partitions.
enum End {
    Stop,
    Rebalance,
    Leave,
}

impl Member {
    fn run(&mut self) -> Result<(), ClientError> {
        let mut membership = Membership::new(&self.group, &self.config);
        let mut given_up = Instant::now();
        loop {
            let assigned = membership.join(&mut self.cluster, &self.topics)?;
            let partitions: Vec<(String, i32)> =
                assigned.into_iter().flat_map(|(topic, own)| own.into_iter().map(move |p| (topic.clone(), p))).collect();
            let committed = match partitions.is_empty() {
                true => BTreeMap::new(),
                false => self.cluster.admin().group_offsets(&self.group, Some(&partitions))?,
            };
            {
                let mut result = locked(&self.shared.result);
                result.generations = result.generations.max(membership.generation().max(0) as u64);
                // The first join includes the wait for the others.
                if result.joins >= result.members as u64 {
                    result.rebalance_ms_max = result.rebalance_ms_max.max(given_up.elapsed().as_secs_f64() * 1e3);
                }
                result.joins += 1;
            }
            let at = |p: &(String, i32)| committed.get(p).map(|c| c.offset).filter(|&o| o >= 0);
            let partitions = partitions.into_iter().map(|p| (p.clone(), at(&p))).collect();
            if self.orders.send(Order::Assign { generation: membership.generation(), partitions }).is_err() {
                return Ok(());
            }
            let end = self.stay(&mut membership)?;
            given_up = Instant::now();
            let Some(positions) = self.ask(Order::Revoke) else { return Ok(()) };
            self.commit(&mut membership, &positions);
            match end {
                End::Rebalance => {}
                End::Stop => return membership.leave(&mut self.cluster),
                End::Leave => {
                    membership.leave(&mut self.cluster)?;
                    membership = Membership::new(&self.group, &self.config);
                }
            }
        }
    }

    /// Heartbeats and commits until something ends that.
    fn stay(&mut self, membership: &mut Membership) -> Result<End, ClientError> {
        let mut committed = Instant::now();
        loop {
            std::thread::sleep(LOOK_EVERY);
            if self.shared.is_stopping() {
                return Ok(End::Stop);
            }
            if self.leaves_now() {
                return Ok(End::Leave);
            }
            if membership.tick(&mut self.cluster)? == Tick::Rejoin {
                return Ok(End::Rebalance);
            }
            if committed.elapsed() >= self.commit_every {
                committed = Instant::now();
                let Some(positions) = self.ask(Order::Report) else { return Ok(End::Stop) };
                self.commit(membership, &positions);
            }
        }
    }

    /// Whether it is this member's turn to leave; turns that were missed are left out.
    fn leaves_now(&mut self) -> bool {
        let Some((every, since)) = self.leave_every.zip(*locked(&self.shared.moving_since)) else { return false };
        let elapsed = since.elapsed().as_secs_f64();
        let now = elapsed >= self.leave_next;
        while self.leave_next <= elapsed {
            self.leave_next += every;
        }
        now
    }

    /// The load thread's answer; `None` when the load is over.
    fn ask(&self, order: Order) -> Option<Offsets> {
        self.orders.send(order).ok()?;
        self.answers.recv_timeout(ANSWER_MAX).ok()
    }

    /// Commits; what fails is counted by Kafka's name and made good by a later commit, or seen at the end.
    fn commit(&mut self, membership: &mut Membership, positions: &Offsets) {
        if positions.is_empty() {
            return;
        }
        let offset = |&offset: &i64| CommittedOffset { offset, leader_epoch: -1, metadata: String::new() };
        let offsets = positions.iter().map(|(partition, at)| (partition.clone(), offset(at))).collect();
        let outcome = membership.commit(&mut self.cluster, &offsets);
        let mut result = locked(&self.shared.result);
        match outcome {
            Ok(()) => result.commits += 1,
            Err(error) => {
                let name = error.code().map_or_else(|| error.to_string(), odradek_client::code_name);
                *result.commit_errors.entry(name).or_default() += 1;
            }
        }
    }
}
