//! Tasks of one ring, their run queue and their wakers.
//!
//! Tasks live in a slab and are polled only on the ring's thread. A waker may leave that thread: on the
//! owner's thread it appends to the run queue directly; elsewhere it appends to a concurrent queue and wakes the
//! ring. Both are idempotent until the task is polled again, so each queue holds a task at most once.

use crate::remote::RemoteWaker;
use crossbeam::queue::SegQueue;
use slab::Slab;
use std::cell::{Cell, RefCell, UnsafeCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Wake, Waker};

/// A number no two threads ever share, cheaper to read than `std::thread::current().id()`.
fn thread_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    thread_local!(static NUMBER: Cell<u64> = const { Cell::new(0) });
    // Zero after this thread's locals are gone: never equal to an owner, so such a wake takes the remote way.
    NUMBER
        .try_with(|number| {
            if number.get() == 0 {
                number.set(NEXT.fetch_add(1, Ordering::Relaxed));
            }
            number.get()
        })
        .unwrap_or(0)
}

/// Slab index in the low half, generation in the high half: a key of a finished task matches no later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TaskKey(u64);

impl TaskKey {
    /// The future given to `block_on`.
    pub(crate) const MAIN: Self = Self(u64::MAX);

    fn new(index: usize, generation: u32) -> Self {
        Self(u64::from(generation) << 32 | index as u64)
    }

    pub(crate) fn index(self) -> usize {
        (self.0 & u64::from(u32::MAX)) as usize
    }

    fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// The part of an executor that wakers reach from any thread.
struct Shared {
    owner: u64,
    ready: UnsafeCell<VecDeque<TaskKey>>,
    woken_remotely: SegQueue<Arc<TaskHeader>>,
    remote: RemoteWaker,
    /// The tasks are gone for good: wakes are for nobody.
    closed: AtomicBool,
}

// SAFETY: needed because wakers (which hold this) are Send and Sync. `ready` is the only part that is not by itself safe to share;
// it is reached through `with_ready` alone, which proves that the caller is the owner's thread.
unsafe impl Sync for Shared {}
// SAFETY: as above; dropping it on another thread only frees a queue of plain keys.
unsafe impl Send for Shared {}

impl Shared {
    /// Runs `body` on the run queue. Panics off the owner's thread. `body` must not call back into the executor.
    fn with_ready<R>(&self, body: impl FnOnce(&mut VecDeque<TaskKey>) -> R) -> R {
        assert_eq!(self.owner, thread_number(), "a ring was used outside its thread");
        // SAFETY: only this function touches the cell, only on the owner's thread (asserted above, thread numbers are
        // never reused), and the closures of this file neither call it again nor let the reference escape.
        body(unsafe { &mut *self.ready.get() })
    }
}

/// What a waker points at.
struct TaskHeader {
    key: TaskKey,
    /// In the run queue. Touched by the owner's thread only; atomic so that the header is Sync without unsafe code.
    queued: AtomicBool,
    /// In `woken_remotely`.
    queued_remotely: AtomicBool,
    shared: Arc<Shared>,
}

impl TaskHeader {
    fn enqueue(&self) {
        if !self.queued.load(Ordering::Relaxed) {
            self.queued.store(true, Ordering::Relaxed);
            self.shared.with_ready(|ready| ready.push_back(self.key));
        }
    }
}

impl Wake for TaskHeader {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if thread_number() == self.shared.owner {
            self.enqueue();
        } else if !self.shared.closed.load(Ordering::Relaxed) && !self.queued_remotely.swap(true, Ordering::AcqRel) {
            self.shared.woken_remotely.push(self.clone());
            self.shared.remote.wake();
        }
    }
}

struct Task {
    future: Pin<Box<dyn Future<Output = ()>>>,
    header: Arc<TaskHeader>,
    waker: Waker,
}

struct Slot {
    generation: u32,
    /// None while the task is being polled.
    task: Option<Task>,
}

/// All tasks of one ring.
pub(crate) struct Executor {
    slots: RefCell<Slab<Slot>>,
    next_generation: Cell<u32>,
    shared: Arc<Shared>,
    polls: Cell<u64>,
}

impl Executor {
    pub(crate) fn new(remote: RemoteWaker) -> Self {
        let shared = Shared {
            owner: thread_number(),
            ready: UnsafeCell::new(VecDeque::new()),
            woken_remotely: SegQueue::new(),
            remote,
            closed: AtomicBool::new(false),
        };
        Self { slots: RefCell::new(Slab::new()), next_generation: Cell::new(0), shared: Arc::new(shared), polls: Cell::new(0) }
    }

    pub(crate) fn spawn(&self, future: Pin<Box<dyn Future<Output = ()>>>) {
        if self.shared.closed.load(Ordering::Relaxed) {
            return;
        }
        // The all-ones generation is left to TaskKey::MAIN.
        let generation = self.next_generation.get();
        self.next_generation.set(if generation == u32::MAX - 1 { 0 } else { generation + 1 });
        let mut slots = self.slots.borrow_mut();
        let entry = slots.vacant_entry();
        let header = self.header(TaskKey::new(entry.key(), generation));
        let waker = Waker::from(header.clone());
        header.enqueue();
        entry.insert(Slot { generation, task: Some(Task { future, header, waker }) });
    }

    fn header(&self, key: TaskKey) -> Arc<TaskHeader> {
        Arc::new(TaskHeader { key, queued: AtomicBool::new(false), queued_remotely: AtomicBool::new(false), shared: self.shared.clone() })
    }

    /// A waker for the future given to `block_on`, already woken once.
    pub(crate) fn main_task(&self) -> MainTask {
        let header = self.header(TaskKey::MAIN);
        header.enqueue();
        MainTask { waker: Waker::from(header.clone()), header }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.shared.with_ready(|ready| ready.is_empty())
    }

    pub(crate) fn ready_count(&self) -> usize {
        self.shared.with_ready(|ready| ready.len())
    }

    pub(crate) fn next_ready(&self) -> Option<TaskKey> {
        self.shared.with_ready(|ready| ready.pop_front())
    }

    /// Takes the task at a place of the run queue; the others keep their order. For the simulator.
    pub(crate) fn take_ready(&self, place: usize) -> Option<TaskKey> {
        self.shared.with_ready(|ready| ready.remove(place))
    }

    /// Moves tasks that other threads woke to the run queue.
    pub(crate) fn collect_remote_wakes(&self) {
        if self.shared.woken_remotely.is_empty() {
            return;
        }
        while let Some(header) = self.shared.woken_remotely.pop() {
            // Cleared before the poll, so that a wake during it counts.
            header.queued_remotely.store(false, Ordering::Release);
            header.enqueue();
        }
    }

    /// Polls one task; a key of a finished task does nothing.
    pub(crate) fn poll(&self, key: TaskKey) {
        let task = self
            .slots
            .borrow_mut()
            .get_mut(key.index())
            .filter(|slot| slot.generation == key.generation())
            .and_then(|slot| slot.task.take());
        let Some(mut task) = task else { return };
        task.header.queued.store(false, Ordering::Relaxed);
        self.polls.set(self.polls.get() + 1);
        let poll = task.future.as_mut().poll(&mut Context::from_waker(&task.waker));
        let mut slots = self.slots.borrow_mut();
        if poll.is_pending() {
            // The slot is gone when the task cleared its own executor.
            if let Some(slot) = slots.get_mut(key.index()).filter(|slot| slot.generation == key.generation()) {
                slot.task = Some(task);
                return;
            }
        } else if slots.get(key.index()).is_some_and(|slot| slot.generation == key.generation()) {
            slots.remove(key.index());
        }
        // A future's destructor may spawn or wake: no borrow is held then.
        drop(slots);
        drop(task);
    }

    pub(crate) fn polls(&self) -> u64 {
        self.polls.get()
    }

    pub(crate) fn task_count(&self) -> usize {
        self.slots.borrow().len()
    }

    /// Drops every task, in the order of their slots. Nothing can be spawned afterwards.
    pub(crate) fn clear(&self) {
        self.shared.closed.store(true, Ordering::Relaxed);
        let slots = std::mem::take(&mut *self.slots.borrow_mut());
        for (_, slot) in slots {
            drop(slot.task);
        }
        while self.shared.woken_remotely.pop().is_some() {}
        self.shared.with_ready(|ready| ready.clear());
    }
}

/// The waker of the future given to `block_on`.
pub(crate) struct MainTask {
    header: Arc<TaskHeader>,
    waker: Waker,
}

impl MainTask {
    pub(crate) fn begin_poll(&self) -> Context<'_> {
        self.header.queued.store(false, Ordering::Relaxed);
        Context::from_waker(&self.waker)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::rc::Rc;
    use std::task::Poll;

    fn run_all(executor: &Executor) {
        executor.collect_remote_wakes();
        while let Some(key) = executor.next_ready() {
            executor.poll(key);
        }
    }

    #[test]
    fn finished_tasks_ignore_late_wakes_and_slots_are_reused_safely() {
        let executor = Executor::new(RemoteWaker::simulated());
        let kept: Rc<RefCell<Option<Waker>>> = Rc::default();
        let inner = kept.clone();
        executor.spawn(Box::pin(std::future::poll_fn(move |cx| {
            *inner.borrow_mut() = Some(cx.waker().clone());
            Poll::Ready(())
        })));
        run_all(&executor);
        assert_eq!(executor.task_count(), 0);
        let polls = Rc::new(Cell::new(0));
        let inner = polls.clone();
        executor.spawn(Box::pin(std::future::poll_fn(move |_| {
            inner.set(inner.get() + 1);
            Poll::<()>::Pending
        })));
        run_all(&executor);
        kept.borrow().as_ref().expect("waker").wake_by_ref();
        run_all(&executor);
        assert_eq!(polls.get(), 1, "the waker of a finished task woke its successor in the slot");
    }

    #[test]
    fn a_waker_works_from_another_thread_and_outlives_the_executor() {
        let executor = Executor::new(RemoteWaker::simulated());
        let polls = Rc::new(Cell::new(0));
        let kept: Rc<RefCell<Option<Waker>>> = Rc::default();
        let (count, keep) = (polls.clone(), kept.clone());
        executor.spawn(Box::pin(std::future::poll_fn(move |cx| {
            count.set(count.get() + 1);
            *keep.borrow_mut() = Some(cx.waker().clone());
            Poll::<()>::Pending
        })));
        run_all(&executor);
        let waker = kept.borrow_mut().take().expect("waker");
        let again = waker.clone();
        std::thread::spawn(move || {
            again.wake_by_ref();
            again.wake();
        })
        .join()
        .expect("thread");
        run_all(&executor);
        assert_eq!(polls.get(), 2);
        executor.clear();
        drop(executor);
        std::thread::spawn(move || waker.wake()).join().expect("thread");
    }

    #[test]
    fn a_task_may_drop_its_own_executor_contents() {
        let executor = Rc::new(Executor::new(RemoteWaker::simulated()));
        let inner = executor.clone();
        executor.spawn(Box::pin(async move { inner.clear() }));
        run_all(&executor);
        assert_eq!(executor.task_count(), 0);
        executor.spawn(Box::pin(async {}));
        assert_eq!(executor.task_count(), 0, "a closed executor takes no tasks");
    }
}
