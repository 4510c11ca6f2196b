//! The handle of one core's reactor and executor.

use crate::config::{Features, RingConfig, RingStats};
use crate::error::RingError;
use crate::executor::{Executor, TaskKey};
use crate::net::{ListenOptions, Listener, ListenerKind, Stream, StreamKind};
use crate::remote::RemoteWaker;
use crate::sim::SimPort;
use crate::timers::{TimerKey, Timers};
use crate::uring::Driver;
use odradek_base::{Instant, Rng, Timestamp};
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

/// The reactor and executor of one thread. Clones are handles to the same ring; none leaves the thread.
///
/// Spawned tasks hold handles too, so a ring ends by [`Ring::shutdown`] (or with the process), not by dropping handles.
#[derive(Clone)]
pub struct Ring {
    core: Rc<Core>,
}

pub(crate) struct Core {
    executor: Executor,
    timers: RefCell<Timers>,
    rng: RefCell<Rng>,
    remote: RemoteWaker,
    backend: Backend,
    turn: Duration,
    turns: Cell<u64>,
    blocked_on: Cell<bool>,
}

/// Where operations go. One predictable branch per operation, and no type parameter in the rooms above.
pub(crate) enum Backend {
    Uring(Rc<Driver>),
    Sim(Rc<SimPort>),
}

impl Ring {
    /// A ring on io_uring, to be used on this thread only.
    pub fn new(config: RingConfig) -> Result<Ring, RingError> {
        let remote = RemoteWaker::with_eventfd().map_err(|source| RingError::Wake { source })?;
        let driver = Driver::new(&config, remote.clone())?;
        let seed = if config.seed == 0 { seed_from_system() } else { config.seed };
        Ok(Self::with_backend(Backend::Uring(driver), remote, Rng::with_seed(seed), config.turn))
    }

    /// A ring of a simulated world.
    pub(crate) fn simulated(port: Rc<SimPort>, rng: Rng) -> Ring {
        Self::with_backend(Backend::Sim(port), RemoteWaker::simulated(), rng, Duration::ZERO)
    }

    fn with_backend(backend: Backend, remote: RemoteWaker, rng: Rng, turn: Duration) -> Ring {
        let core = Core {
            executor: Executor::new(remote.clone()),
            timers: RefCell::default(),
            rng: RefCell::new(rng),
            remote,
            backend,
            turn,
            turns: Cell::new(0),
            blocked_on: Cell::new(false),
        };
        Ring { core: Rc::new(core) }
    }

    pub(crate) fn backend(&self) -> &Backend {
        &self.core.backend
    }

    /// What the kernel granted and refused.
    pub fn features(&self) -> Features {
        match &self.core.backend {
            Backend::Uring(driver) => driver.features(),
            Backend::Sim(_) => Features { backend: "simulated", granted: Vec::new(), refused: Vec::new() },
        }
    }

    /// Counters since the start.
    pub fn stats(&self) -> RingStats {
        let stats = match &self.core.backend {
            Backend::Uring(driver) => driver.stats(),
            Backend::Sim(_) => RingStats::default(),
        };
        RingStats { turns: self.core.turns.get(), polls: self.core.executor.polls(), ..stats }
    }

    /// Runs this ring's tasks until `future` is done. Other tasks stay and go on with the next call.
    /// In a simulation the whole world runs meanwhile; where nothing can ever wake `future` it panics and names the seed.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        assert!(!self.core.blocked_on.replace(true), "block_on within block_on");
        let output = match &self.core.backend {
            Backend::Uring(driver) => self.run_on_uring(driver, pin!(future)),
            Backend::Sim(port) => self.run_in_world(port, pin!(future)),
        };
        self.core.blocked_on.set(false);
        output
    }

    fn run_on_uring<F: Future>(&self, driver: &Driver, mut future: Pin<&mut F>) -> F::Output {
        let core = &*self.core;
        let main = core.executor.main_task();
        loop {
            core.turns.set(core.turns.get() + 1);
            core.remote.begin_turn();
            driver.reap();
            core.executor.collect_remote_wakes();
            core.fire_timers(self.now());
            let turn_end = self.now() + core.turn;
            while let Some(key) = core.executor.next_ready() {
                if key == TaskKey::MAIN {
                    if let Poll::Ready(output) = future.as_mut().poll(&mut main.begin_poll()) {
                        driver.submit();
                        return output;
                    }
                } else {
                    core.executor.poll(key);
                }
                if self.now() >= turn_end {
                    break;
                }
            }
            if core.executor.is_idle() {
                let deadline = core.timers.borrow().next_deadline();
                driver.wait(deadline.map(|at| at - self.now()));
            } else {
                driver.submit();
            }
        }
    }

    fn run_in_world<F: Future>(&self, port: &SimPort, mut future: Pin<&mut F>) -> F::Output {
        port.set_blocked_on(true);
        let main = self.core.executor.main_task();
        let output = loop {
            port.run_until_main();
            if let Poll::Ready(output) = future.as_mut().poll(&mut main.begin_poll()) {
                break output;
            }
        };
        port.set_blocked_on(false);
        output
    }

    /// Starts a task that nobody waits for. It is dropped, finished or not, by [`Ring::shutdown`].
    pub fn spawn(&self, future: impl Future<Output = ()> + 'static) {
        self.core.executor.spawn(Box::pin(future));
    }

    /// Number of tasks that have not finished.
    pub fn task_count(&self) -> usize {
        self.core.executor.task_count()
    }

    /// Drops all tasks, cancels what is in flight and waits until the kernel is done with our memory. Handles that are
    /// left can still tell the time; their operations never complete.
    pub fn shutdown(&self) {
        self.core.executor.clear();
        let timers = self.core.timers.borrow_mut().clear();
        drop(timers);
        match &self.core.backend {
            Backend::Uring(driver) => driver.shutdown(),
            Backend::Sim(port) => port.leave(),
        }
    }

    // For the simulated world.

    pub(crate) fn executor(&self) -> &Executor {
        &self.core.executor
    }

    pub(crate) fn collect_remote_wakes(&self) {
        self.core.remote.begin_turn();
        self.core.executor.collect_remote_wakes();
    }

    /// Wakes what sleeps no longer; true where something did.
    pub(crate) fn fire_timers(&self) -> bool {
        self.core.fire_timers(self.now())
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.core.timers.borrow().next_deadline()
    }

    pub(crate) fn sim_port(&self) -> Option<&SimPort> {
        match &self.core.backend {
            Backend::Uring(_) => None,
            Backend::Sim(port) => Some(port),
        }
    }

    /// Drops all tasks; the world has forgotten this ring already.
    pub(crate) fn end_simulated(&self) {
        self.core.executor.clear();
        let timers = self.core.timers.borrow_mut().clear();
        drop(timers);
    }

    /// The monotonic clock.
    pub fn now(&self) -> Instant {
        match &self.core.backend {
            Backend::Uring(_) => {
                let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
                Instant(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
            }
            Backend::Sim(port) => port.now(),
        }
    }

    /// The wall clock, for record timestamps.
    pub fn wall_clock(&self) -> Timestamp {
        match &self.core.backend {
            Backend::Uring(_) => {
                let time = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
                Timestamp(time.tv_sec * 1000 + time.tv_nsec / 1_000_000)
            }
            Backend::Sim(port) => port.wall_clock(),
        }
    }

    /// A generator of its own, seeded from the ring's.
    pub fn rng(&self) -> Rng {
        self.core.rng.borrow_mut().fork()
    }

    /// Done at `at`, or at once where that has passed. Starts counting when made, not when first polled.
    pub fn sleep_until(&self, at: Instant) -> Sleep {
        Sleep { ring: self.clone(), at, key: None }
    }

    pub fn sleep(&self, duration: Duration) -> Sleep {
        self.sleep_until(self.now() + duration)
    }

    /// Lets every other runnable task run once.
    pub fn yield_now(&self) -> YieldNow {
        YieldNow { yielded: false }
    }

    /// The future's output, or `None` where it was not done at `at`; it is dropped then.
    pub async fn timeout<F: Future>(&self, at: Instant, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        let mut sleep = pin!(self.sleep_until(at));
        std::future::poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Some(output));
            }
            sleep.as_mut().poll(cx).map(|()| None)
        })
        .await
    }

    /// Listens on an address; port 0 takes a free one. A busy port is tried again for half a second, because the ring of a process
    /// that has just ended may still hold it.
    pub fn listen(&self, addr: SocketAddr, options: ListenOptions) -> io::Result<Listener> {
        let kind = match &self.core.backend {
            Backend::Uring(driver) => ListenerKind::Uring(driver.listen(addr, options)?),
            Backend::Sim(port) => ListenerKind::Sim(port.listen(addr, options)?),
        };
        Ok(Listener { kind })
    }

    pub async fn connect(&self, addr: SocketAddr) -> io::Result<Stream> {
        let kind = match &self.core.backend {
            Backend::Uring(driver) => StreamKind::Uring(driver.connect(addr).await?),
            Backend::Sim(port) => StreamKind::Sim(port.connect(addr).await?),
        };
        Ok(Stream { kind })
    }

    /// Wakes this ring's loop from another thread.
    pub fn waker(&self) -> RemoteWaker {
        self.core.remote.clone()
    }
}

impl Core {
    /// Wakes what sleeps no longer; true where something did.
    fn fire_timers(&self, now: Instant) -> bool {
        let mut fired = false;
        loop {
            let due = self.timers.borrow_mut().pop_due(now);
            let Some(waker) = due else { return fired };
            waker.wake();
            fired = true;
        }
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        // No task is left (each would hold a handle); the kernel may still be busy.
        if let Backend::Uring(driver) = &self.backend {
            driver.shutdown();
        }
    }
}

fn seed_from_system() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    // The standard library keys each of these from the system's randomness.
    std::hash::RandomState::new().build_hasher().finish()
}

/// See [`Ring::sleep_until`].
pub struct Sleep {
    ring: Ring,
    at: Instant,
    key: Option<TimerKey>,
}

impl Sleep {
    /// When it is over.
    pub fn deadline(&self) -> Instant {
        self.at
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.ring.now() >= self.at {
            return Poll::Ready(());
        }
        let mut timers = self.ring.core.timers.borrow_mut();
        let key = match self.key {
            Some(key) if timers.update(key, cx.waker()) => key,
            _ => timers.insert(self.at, cx.waker().clone()),
        };
        drop(timers);
        self.key = Some(key);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            let waker = self.ring.core.timers.borrow_mut().cancel(key);
            drop(waker);
        }
    }
}

/// See [`Ring::yield_now`].
pub struct YieldNow {
    yielded: bool,
}

impl Future for YieldNow {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
