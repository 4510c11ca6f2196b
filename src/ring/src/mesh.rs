//! Messages between the shards of one node.
//!
//! Each shard has one bounded inbox that all others push to without locks. What does not fit waits, in order, in
//! a bounded overflow of the sender, whose own task pushes it on as the receiver makes room. A message to a
//! busy shard costs no system call; a sleeping one is woken with one.

use crate::ring::Ring;
use crate::sync::Event;
use crossbeam::queue::ArrayQueue;
use futures_util::task::AtomicWaker;
use odradek_base::ShardId;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::task::Poll;

/// Messages that one shard may hold back for one full receiver. Beyond this the receiver is not slow but stuck.
pub const OVERFLOW_MESSAGES_MAX: usize = 1 << 16;

/// The receiver is stuck: its inbox and the sender's overflow for it are full. Holds the message.
pub struct MeshFull<T>(pub T);

impl<T> fmt::Debug for MeshFull<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MeshFull")
    }
}

impl<T> fmt::Display for MeshFull<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a shard does not read its inbox: {OVERFLOW_MESSAGES_MAX} messages are waiting for it")
    }
}

struct Inbox<T> {
    queue: ArrayQueue<(ShardId, T)>,
    /// The receiver found the queue empty and waits for `receiver`.
    receiver_waits: AtomicBool,
    receiver: AtomicWaker,
}

struct Shared<T> {
    inboxes: Vec<Inbox<T>>,
    /// One per shard: its overflow is not empty and waits for room.
    senders: Vec<Overflowing>,
    /// Any of `senders` waits. One word to look at per message, almost never written.
    any_sender_waits: AtomicBool,
}

#[derive(Default)]
struct Overflowing {
    waits: AtomicBool,
    waker: AtomicWaker,
}

/// One end for each of `n` shards; each is moved to its shard's thread and attached to its ring there.
/// `capacity`: messages an inbox holds.
pub fn mesh<T: Send + 'static>(n: usize, capacity: usize) -> Vec<Port<T>> {
    let inbox = || Inbox { queue: ArrayQueue::new(capacity.max(1)), receiver_waits: AtomicBool::new(false), receiver: AtomicWaker::new() };
    let shared = Arc::new(Shared {
        inboxes: (0..n).map(|_| inbox()).collect(),
        senders: (0..n).map(|_| Overflowing::default()).collect(),
        any_sender_waits: AtomicBool::new(false),
    });
    (0..n).map(|shard| Port { shard: ShardId(shard as u16), shared: shared.clone() }).collect()
}

/// A shard's end before it is on its thread.
pub struct Port<T> {
    shard: ShardId,
    shared: Arc<Shared<T>>,
}

impl<T: Send + 'static> Port<T> {
    pub fn shard(&self) -> ShardId {
        self.shard
    }

    /// Binds the end to the ring of its shard; starts the task that drains the overflow.
    pub fn attach(self, ring: &Ring) -> Attached<T> {
        let local = Rc::new(Local {
            shard: self.shard,
            overflow: RefCell::new(self.shared.inboxes.iter().map(|_| VecDeque::new()).collect()),
            overflowed: Event::new(),
            shared: self.shared,
        });
        let draining = local.clone();
        ring.spawn(async move { draining.drain_overflow().await });
        Attached { local }
    }
}

/// A shard's end on its thread. Clones are the same end.
pub struct Attached<T> {
    local: Rc<Local<T>>,
}

impl<T> Clone for Attached<T> {
    fn clone(&self) -> Self {
        Self { local: self.local.clone() }
    }
}

struct Local<T> {
    shard: ShardId,
    shared: Arc<Shared<T>>,
    /// By receiver.
    overflow: RefCell<Vec<VecDeque<T>>>,
    overflowed: Event,
}

impl<T: Send + 'static> Attached<T> {
    pub fn shard(&self) -> ShardId {
        self.local.shard
    }

    /// Number of shards.
    pub fn shard_count(&self) -> usize {
        self.local.shared.inboxes.len()
    }

    /// Sends a message; never waits. Messages of one sender to one receiver arrive in order, also to itself.
    /// An error means that the receiver is stuck.
    pub fn send(&self, to: ShardId, message: T) -> Result<(), MeshFull<T>> {
        let local = &*self.local;
        let mut overflow = local.overflow.borrow_mut();
        let waiting = &mut overflow[usize::from(to.0)];
        let message = if waiting.is_empty() {
            match local.push(to, message) {
                Ok(()) => return Ok(()),
                Err(message) => message,
            }
        } else {
            message
        };
        if waiting.len() >= OVERFLOW_MESSAGES_MAX {
            return Err(MeshFull(message));
        }
        waiting.push_back(message);
        drop(overflow);
        local.overflowed.notify_all();
        Ok(())
    }

    /// The next message and who sent it. One task receives.
    pub async fn recv(&self) -> (ShardId, T) {
        let inbox = &self.local.shared.inboxes[usize::from(self.local.shard.0)];
        poll_fn(|cx| {
            if let Some(message) = self.try_recv() {
                return Poll::Ready(message);
            }
            inbox.receiver.register(cx.waker());
            inbox.receiver_waits.store(true, Ordering::Relaxed);
            // Pairs with the fence of `push`: either the sender sees that we wait, or we see its message.
            fence(Ordering::SeqCst);
            match self.try_recv() {
                Some(message) => {
                    inbox.receiver_waits.store(false, Ordering::Relaxed);
                    Poll::Ready(message)
                }
                None => Poll::Pending,
            }
        })
        .await
    }

    /// The next message, where one is there.
    pub fn try_recv(&self) -> Option<(ShardId, T)> {
        let shared = &self.local.shared;
        let message = shared.inboxes[usize::from(self.local.shard.0)].queue.pop()?;
        // Pairs with the fence of `drain_overflow`: either the sender sees the room, or we see that it waits.
        fence(Ordering::SeqCst);
        if shared.any_sender_waits.load(Ordering::Relaxed) && shared.any_sender_waits.swap(false, Ordering::AcqRel) {
            for sender in &shared.senders {
                if sender.waits.swap(false, Ordering::AcqRel) {
                    sender.waker.wake();
                }
            }
        }
        Some(message)
    }

    /// Messages held back because their receivers are full.
    pub fn overflow_count(&self) -> usize {
        self.local.overflow.borrow().iter().map(VecDeque::len).sum()
    }
}

impl<T: Send + 'static> Local<T> {
    fn push(&self, to: ShardId, message: T) -> Result<(), T> {
        let inbox = &self.shared.inboxes[usize::from(to.0)];
        inbox.queue.push((self.shard, message)).map_err(|(_, message)| message)?;
        fence(Ordering::SeqCst);
        if inbox.receiver_waits.load(Ordering::Relaxed) && inbox.receiver_waits.swap(false, Ordering::AcqRel) {
            inbox.receiver.wake();
        }
        Ok(())
    }

    /// Pushes what overflowed, receiver by receiver; true where nothing is left.
    fn push_overflow(&self) -> bool {
        let mut overflow = self.overflow.borrow_mut();
        let mut empty = true;
        for (receiver, waiting) in overflow.iter_mut().enumerate() {
            while let Some(message) = waiting.pop_front() {
                if let Err(message) = self.push(ShardId(receiver as u16), message) {
                    waiting.push_front(message);
                    empty = false;
                    break;
                }
            }
        }
        empty
    }

    async fn drain_overflow(&self) {
        let own = &self.shared.senders[usize::from(self.shard.0)];
        loop {
            let overflowed = self.overflowed.listen();
            if self.push_overflow() {
                overflowed.await;
                continue;
            }
            let mut registered = false;
            poll_fn(|cx| {
                if registered {
                    return Poll::Ready(());
                }
                registered = true;
                own.waker.register(cx.waker());
                own.waits.store(true, Ordering::Release);
                self.shared.any_sender_waits.store(true, Ordering::Release);
                fence(Ordering::SeqCst);
                // Room that appeared before the flag was up would wake nobody.
                if self.push_overflow() {
                    own.waits.store(false, Ordering::Relaxed);
                    return Poll::Ready(());
                }
                Poll::Pending
            })
            .await;
        }
    }
}
