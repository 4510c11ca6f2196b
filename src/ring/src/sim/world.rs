//! The world: hosts, rings, the virtual clock and the scheduler.

use super::disk::{Disk, Reply, Request, RequestId};
use super::net::{self, Effects, NetEvent, Network};
use super::trace::{Tag, Trace};
use super::{CrashMode, DiskFailure, DiskFaults, HostId, NetworkFaults, WALL_CLOCK_START, WorldOptions};
use crate::executor::TaskKey;
use crate::ring::Ring;
use odradek_base::{Instant, Rng, ShardId, Timestamp};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

/// Virtual nanoseconds that one poll of a task takes: at least this, and up to ten times.
const POLL_NANOS_MIN: u64 = 200;

/// One in so many times a task overtakes older ones of its ring.
const OVERTAKE_ONE_IN: u64 = 4;

/// Hosts with rings and disks, joined by a network, on one thread and one virtual clock. Clones are the same world;
/// when the last is dropped, all tasks are.
#[derive(Clone)]
pub struct World {
    inner: Rc<Inner>,
    _owner: Rc<Owner>,
}

struct Owner(Rc<Inner>);

impl Drop for Owner {
    fn drop(&mut self) {
        // Tasks hold rings, rings hold the world: this takes the circle apart.
        for (_, ring) in std::mem::take(&mut *self.0.rings.borrow_mut()) {
            ring.end_simulated();
        }
        self.0.events.borrow_mut().clear();
    }
}

/// What a step of the world did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A task was polled, or something arrived or completed.
    Ran,
    /// Nothing was runnable: the clock jumped to the next thing that happens.
    Advanced,
    /// Nothing will ever happen by itself.
    Idle,
}

pub(crate) struct Inner {
    seed: u64,
    now: Cell<Instant>,
    rng: RefCell<Rng>,
    trace: RefCell<Trace>,
    /// By time, then by a drawn number, then by age.
    events: RefCell<BTreeMap<(Instant, u64, u64), Event>>,
    next_event: Cell<u64>,
    hosts: RefCell<BTreeMap<HostId, Host>>,
    rings: RefCell<BTreeMap<u64, Ring>>,
    next_ring: Cell<u64>,
    network: RefCell<Network>,
    disk_faults: DiskFaults,
    pub(super) blocked_on: Cell<bool>,
}

struct Host {
    disk: Disk,
    /// Counts crashes: what an earlier life began does not end in a later one.
    incarnation: u64,
    clock_offset_millis: i64,
}

enum Event {
    Disk { host: HostId, incarnation: u64, request: RequestId, answer: Answer },
    Network(NetEvent),
}

/// Where the end of a disk request is awaited.
type Answer = Rc<RefCell<AnswerState>>;

#[derive(Default)]
struct AnswerState {
    reply: Option<io::Result<Reply>>,
    waker: Option<Waker>,
}

/// What one turn of the scheduler did.
pub(crate) enum Turn {
    /// The future that a ring blocks on is to be polled.
    Main(u64),
    Did(Step),
}

impl World {
    pub fn new(seed: u64, options: WorldOptions) -> World {
        let mut rng = Rng::with_seed(seed);
        let network = Network::new(rng.fork(), options.network);
        let inner = Rc::new(Inner {
            seed,
            // Not zero, so that code that subtracts from the clock has room.
            now: Cell::new(Instant(1_000_000_000)),
            rng: RefCell::new(rng),
            trace: RefCell::default(),
            events: RefCell::default(),
            next_event: Cell::new(0),
            hosts: RefCell::default(),
            rings: RefCell::default(),
            next_ring: Cell::new(0),
            network: RefCell::new(network),
            disk_faults: options.disk,
            blocked_on: Cell::new(false),
        });
        World { _owner: Rc::new(Owner(inner.clone())), inner }
    }

    /// A new ring on a host: a thread of its process starts. After a crash this is the restart of the host.
    pub fn ring(&self, host: HostId, shard: ShardId) -> Ring {
        let inner = &self.inner;
        inner.with_host(host, |_| ());
        inner.network_call(|network, now, effects| network.restart(host, now, effects));
        let id = inner.next_ring.replace(inner.next_ring.get() + 1);
        inner.record(Tag::RingMade, &[id, host.0.into(), shard.0.into()]);
        let port = Rc::new(SimPort { inner: inner.clone(), host, id, alive: Cell::new(true) });
        let ring = Ring::simulated(port, inner.rng.borrow_mut().fork());
        inner.rings.borrow_mut().insert(id, ring.clone());
        ring
    }

    /// The address of a host. Rings listen on it, on an unspecified address, or on a loopback one that only the host itself reaches.
    pub fn address(&self, host: HostId) -> IpAddr {
        net::address(host)
    }

    pub fn seed(&self) -> u64 {
        self.inner.seed
    }

    pub fn now(&self) -> Instant {
        self.inner.now.get()
    }

    /// A generator for the program that drives the world, forked from the world's.
    pub fn rng(&self) -> Rng {
        self.inner.rng.borrow_mut().fork()
    }

    /// A hash over everything that has happened. Equal for equal seeds and programs.
    pub fn trace_hash(&self) -> u64 {
        self.inner.trace.borrow().hash()
    }

    /// How many things have happened.
    pub fn trace_events(&self) -> u64 {
        self.inner.trace.borrow().events()
    }

    // Running.

    /// Lets one thing happen.
    pub fn step(&self) -> Step {
        match self.inner.turn() {
            Turn::Main(_) => Step::Ran,
            Turn::Did(step) => step,
        }
    }

    /// Runs until the condition holds (checked between steps); false where the world went idle before.
    pub fn run_until(&self, mut condition: impl FnMut() -> bool) -> bool {
        while !condition() {
            if self.step() == Step::Idle {
                return condition();
            }
        }
        true
    }

    /// Runs `future` on one of the world's rings until it is done.
    ///
    /// # Panics
    /// When the world goes idle before.
    pub fn block_on<T: 'static>(&self, ring: &Ring, future: impl Future<Output = T> + 'static) -> T {
        let slot = Rc::new(RefCell::new(None));
        let out = slot.clone();
        ring.spawn(async move {
            let value = future.await;
            *out.borrow_mut() = Some(value);
        });
        assert!(self.run_until(|| slot.borrow().is_some()), "the simulation stands still");
        let value = slot.borrow_mut().take();
        value.expect("done")
    }

    /// Runs for a stretch of virtual time, or until nothing happens any more.
    pub fn run_for(&self, duration: Duration) {
        let end = self.now() + duration;
        self.run_until(|| self.now() >= end || self.inner.next_time().is_some_and(|next| next > end));
        self.inner.now.set(self.now().max(end));
    }

    // Crashes and faults.

    /// Ends all rings of a host at this instant. Its disk stays; see the fault model for what is on it.
    pub fn crash(&self, host: HostId, mode: CrashMode) {
        let inner = &self.inner;
        inner.record(Tag::Crash, &[host.0.into(), mode as u64]);
        let mut doomed = Vec::new();
        inner.rings.borrow_mut().retain(|_, ring| {
            let here = ring.sim_port().is_some_and(|port| port.host == host);
            if here {
                doomed.push(ring.clone());
            }
            !here
        });
        for port in doomed.iter().filter_map(Ring::sim_port) {
            port.alive.set(false);
        }
        inner.network_call(|network, now, effects| network.crash(host, mode, now, effects));
        inner.with_host(host, |host| {
            host.incarnation += 1;
            host.disk.crash(mode);
        });
        // Destructors of the tasks run now; with the ring dead they change nothing outside.
        for ring in doomed {
            ring.end_simulated();
        }
    }

    /// Speed and faults of one host's disk from now on.
    pub fn set_disk_faults(&self, host: HostId, faults: DiskFaults) {
        self.inner.with_host(host, |host| host.disk.faults = faults);
    }

    pub fn set_network_faults(&self, faults: NetworkFaults) {
        self.inner.network.borrow_mut().faults = faults;
    }

    /// Makes the next matching disk operations of a host fail, until its next crash.
    pub fn fail_disk(&self, host: HostId, failure: DiskFailure) {
        self.inner.with_host(host, |host| host.disk.fail(failure));
    }

    /// Flips one stored bit of a file, for good. False where the file has no such byte.
    pub fn flip_bit(&self, host: HostId, path: &Path, pos: u64, bit: u8) -> bool {
        let Some(path) = path.to_str() else { return false };
        self.inner.with_host(host, |host| host.disk.flip_bit(path, pos, bit))
    }

    /// The same where the bit is on stable storage; false, and nothing happens, where it is not yet.
    pub fn flip_synced_bit(&self, host: HostId, path: &Path, pos: u64, bit: u8) -> bool {
        let Some(path) = path.to_str() else { return false };
        self.inner.with_host(host, |host| host.disk.is_synced(path, pos) && host.disk.flip_bit(path, pos, bit))
    }

    /// A file as the host's operating system sees it, without faults and without time passing.
    pub fn peek(&self, host: HostId, path: &Path) -> Option<Vec<u8>> {
        let path = path.to_str()?;
        self.inner.with_host(host, |host| host.disk.peek(path))
    }

    /// Bytes of all files that have a name on a host's disk.
    pub fn disk_used(&self, host: HostId) -> u64 {
        self.inner.with_host(host, |host| host.disk.used_bytes())
    }

    /// The files of a host's disk with their lengths in bytes, in the order of their paths.
    pub fn files(&self, host: HostId) -> Vec<(String, u64)> {
        self.inner.with_host(host, |host| host.disk.files())
    }

    /// Tasks of all rings of a host.
    pub fn task_count(&self, host: HostId) -> usize {
        let rings = self.inner.rings.borrow();
        let here = rings.values().filter(|ring| ring.sim_port().is_some_and(|port| port.host == host));
        here.map(|ring| ring.executor().task_count()).sum()
    }

    /// Nothing gets through between two hosts, in either direction.
    pub fn partition(&self, one: HostId, other: HostId) {
        self.partition_one_way(one, other);
        self.partition_one_way(other, one);
    }

    /// Nothing gets through from one host to another; the other direction works.
    pub fn partition_one_way(&self, from: HostId, to: HostId) {
        self.inner.record(Tag::Partition, &[from.0.into(), to.0.into()]);
        self.inner.network_call(|network, now, effects| network.cut(from, to, now, effects));
    }

    /// Undoes partitions of both directions between two hosts.
    pub fn heal(&self, one: HostId, other: HostId) {
        self.inner.network_call(|network, now, effects| {
            network.heal(one, other, now, effects);
            network.heal(other, one, now, effects);
        });
    }

    /// Resets every connection between two hosts (or of one host with itself).
    pub fn reset_connections(&self, one: HostId, other: HostId) {
        self.inner.network_call(|network, _, effects| network.reset_between(one, other, effects));
    }

    /// Shifts a host's wall clock against the world's.
    pub fn set_clock_offset(&self, host: HostId, millis: i64) {
        self.inner.with_host(host, |host| host.clock_offset_millis = millis);
    }
}

impl Inner {
    fn record(&self, tag: Tag, numbers: &[u64]) {
        let mut trace = self.trace.borrow_mut();
        trace.record(tag, &[self.now.get().0]);
        trace.record(tag, numbers);
    }

    fn with_host<R>(&self, id: HostId, body: impl FnOnce(&mut Host) -> R) -> R {
        let mut hosts = self.hosts.borrow_mut();
        let host = hosts.entry(id).or_insert_with(|| Host {
            // From the world's seed and the host's number, so that the order in which hosts appear does not matter.
            disk: Disk::new(Rng::with_seed(self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(id.0)), self.disk_faults.clone()),
            incarnation: 0,
            clock_offset_millis: 0,
        });
        body(host)
    }

    fn network_call<R>(&self, body: impl FnOnce(&mut Network, Instant, &mut Effects) -> R) -> R {
        let mut effects = Effects::default();
        let result = body(&mut self.network.borrow_mut(), self.now.get(), &mut effects);
        if !effects.trace.is_empty() {
            self.record(Tag::Segment, &effects.trace);
        }
        for (at, event) in effects.later {
            self.schedule(at, Event::Network(event));
        }
        effects.wake.into_iter().for_each(Waker::wake);
        result
    }

    fn schedule(&self, at: Instant, event: Event) {
        let age = self.next_event.replace(self.next_event.get() + 1);
        let tie = self.rng.borrow_mut().next_u64();
        self.events.borrow_mut().insert((at, tie, age), event);
    }

    /// One turn of the scheduler.
    pub(crate) fn turn(&self) -> Turn {
        let now = self.now.get();
        let due = {
            let mut events = self.events.borrow_mut();
            events.first_entry().filter(|entry| entry.key().0 <= now).map(|entry| entry.remove())
        };
        if let Some(event) = due {
            self.happen(event);
            return Turn::Did(Step::Ran);
        }
        let rings: Vec<(u64, Ring)> = self.rings.borrow().iter().map(|(id, ring)| (*id, ring.clone())).collect();
        for (id, ring) in &rings {
            ring.collect_remote_wakes();
            if ring.fire_timers() {
                self.record(Tag::Timer, &[*id]);
            }
        }
        let ready: Vec<&(u64, Ring)> = rings.iter().filter(|(_, ring)| ring.executor().ready_count() > 0).collect();
        if ready.is_empty() {
            return Turn::Did(match self.next_time() {
                Some(next) => {
                    self.now.set(next.max(now));
                    Step::Advanced
                }
                None => Step::Idle,
            });
        }
        let (ring, key, cost) = {
            let mut rng = self.rng.borrow_mut();
            let ring = ready[rng.below(ready.len() as u64) as usize];
            let count = ring.1.executor().ready_count();
            let place = if rng.chance(OVERTAKE_ONE_IN) { rng.below(count as u64) as usize } else { 0 };
            (ring, ring.1.executor().take_ready(place), POLL_NANOS_MIN * (1 + rng.below(10)))
        };
        self.now.set(now + Duration::from_nanos(cost));
        let (id, ring) = ring;
        let Some(key) = key else { return Turn::Did(Step::Ran) };
        self.record(Tag::Poll, &[*id, key.index() as u64]);
        if key == TaskKey::MAIN {
            return Turn::Main(*id);
        }
        ring.executor().poll(key);
        Turn::Did(Step::Ran)
    }

    /// When the next thing happens by itself.
    fn next_time(&self) -> Option<Instant> {
        if self.rings.borrow().values().any(|ring| ring.executor().ready_count() > 0) {
            return Some(self.now.get());
        }
        let event = self.events.borrow().first_key_value().map(|(key, _)| key.0);
        let timer = self.rings.borrow().values().filter_map(Ring::next_deadline).min();
        event.into_iter().chain(timer).min()
    }

    fn happen(&self, event: Event) {
        match event {
            Event::Network(event) => self.network_call(|network, now, effects| network.happen(event, now, effects)),
            Event::Disk { host, incarnation, request, answer } => {
                let reply = self.with_host(host, |host| (host.incarnation == incarnation).then(|| host.disk.end(request)));
                let Some(reply) = reply else { return };
                let digest = match &reply {
                    Ok(Reply::Data(data)) => Trace::digest(data),
                    Ok(Reply::Count(count)) => *count,
                    Ok(_) => 1,
                    Err(error) => error.raw_os_error().unwrap_or(0) as u64,
                };
                self.record(Tag::DiskEnd, &[host.0.into(), request, digest]);
                let mut answer = answer.borrow_mut();
                answer.reply = Some(reply);
                let waker = answer.waker.take();
                drop(answer);
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
        }
    }
}

/// A ring's way into its world.
pub(crate) struct SimPort {
    inner: Rc<Inner>,
    pub(super) host: HostId,
    id: u64,
    alive: Cell<bool>,
}

impl SimPort {
    pub(crate) fn now(&self) -> Instant {
        self.inner.now.get()
    }

    pub(crate) fn wall_clock(&self) -> Timestamp {
        let offset = self.inner.with_host(self.host, |host| host.clock_offset_millis);
        Timestamp(WALL_CLOCK_START.0 + (self.now().0 / 1_000_000) as i64 + offset)
    }

    /// False after the host has crashed.
    pub(crate) fn is_alive(&self) -> bool {
        self.alive.get()
    }

    /// Lets the world turn until this ring's main future is to be polled. Panics where that can never be.
    pub(crate) fn run_until_main(&self) {
        loop {
            assert!(self.is_alive(), "{} crashed while a ring of it was blocked on (seed {})", self.host, self.inner.seed);
            match self.inner.turn() {
                Turn::Main(id) if id == self.id => return,
                Turn::Main(_) | Turn::Did(Step::Ran | Step::Advanced) => {}
                Turn::Did(Step::Idle) => panic!("deadlock: nothing is runnable and nothing will happen (seed {})", self.inner.seed),
            }
        }
    }

    /// While a ring blocks, its world runs inside that call: one at a time.
    pub(crate) fn set_blocked_on(&self, blocked: bool) {
        assert!(self.inner.blocked_on.replace(blocked) != blocked, "block_on within block_on of the same world");
    }

    /// The ring is no longer part of the world.
    pub(crate) fn leave(&self) {
        let ring = self.inner.rings.borrow_mut().remove(&self.id);
        drop(ring);
    }

    /// Runs a disk request to its end. Never completes on a dead ring.
    pub(super) async fn disk(&self, request: Request) -> io::Result<Reply> {
        if !self.is_alive() {
            return std::future::pending().await;
        }
        let answer = Answer::default();
        let digest = match &request {
            Request::Write { pos, data, .. } => pos ^ Trace::digest(data),
            Request::Read { pos, .. } => *pos,
            _ => 0,
        };
        let ((id, latency), incarnation) = self.inner.with_host(self.host, |host| (host.disk.begin(request), host.incarnation));
        self.inner.record(Tag::DiskBegin, &[self.host.0.into(), id, digest]);
        let event = Event::Disk { host: self.host, incarnation, request: id, answer: answer.clone() };
        self.inner.schedule(self.now() + latency, event);
        poll_fn(|cx| {
            let mut state = answer.borrow_mut();
            match state.reply.take() {
                Some(reply) => Poll::Ready(reply),
                None => {
                    state.waker = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    pub(super) fn network<R>(&self, body: impl FnOnce(&mut Network, Instant, &mut Effects) -> R) -> R {
        self.inner.network_call(body)
    }

    pub(super) fn record_connect(&self, port: u16) {
        self.inner.record(Tag::Connect, &[self.host.0.into(), port.into()]);
    }

    pub(super) fn record_close(&self, number: u64) {
        self.inner.record(Tag::Close, &[self.host.0.into(), number]);
    }
}
