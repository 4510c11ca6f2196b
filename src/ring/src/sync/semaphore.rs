//! A counted resource, given out in the order of asking.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// A number of permits. Clones are the same semaphore. Waiters are served first come, first served: a large
/// request is not overtaken by small ones.
#[derive(Clone)]
pub struct Semaphore {
    shared: Rc<Shared>,
}

struct Shared {
    available: Cell<u64>,
    next_ticket: Cell<u64>,
    /// By age.
    waiters: RefCell<BTreeMap<u64, Waiter>>,
}

struct Waiter {
    permits: u64,
    waker: Waker,
}

impl Semaphore {
    pub fn new(permits: u64) -> Self {
        let shared = Shared { available: Cell::new(permits), next_ticket: Cell::new(0), waiters: RefCell::default() };
        Self { shared: Rc::new(shared) }
    }

    /// Waits for `permits`; they come back when the [`Permit`] is dropped.
    pub fn acquire(&self, permits: u64) -> Acquire {
        Acquire { shared: self.shared.clone(), permits, ticket: None }
    }

    /// The permits, where they are free and nobody waits.
    pub fn try_acquire(&self, permits: u64) -> Option<Permit> {
        if !self.shared.waiters.borrow().is_empty() || self.shared.available.get() < permits {
            return None;
        }
        Some(self.shared.take(permits))
    }

    pub fn available(&self) -> u64 {
        self.shared.available.get()
    }

    /// Adds permits for good.
    pub fn add(&self, permits: u64) {
        self.shared.give(permits);
    }
}

impl Shared {
    fn take(self: &Rc<Self>, permits: u64) -> Permit {
        self.available.set(self.available.get() - permits);
        Permit { shared: self.clone(), permits }
    }

    fn give(&self, permits: u64) {
        self.available.set(self.available.get() + permits);
        self.wake_first();
    }

    /// Only the oldest may be served; the next one is woken when it has been.
    fn wake_first(&self) {
        let waker = self
            .waiters
            .borrow()
            .first_key_value()
            .filter(|(_, waiter)| waiter.permits <= self.available.get())
            .map(|(_, waiter)| waiter.waker.clone());
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// See [`Semaphore::acquire`].
pub struct Acquire {
    shared: Rc<Shared>,
    permits: u64,
    ticket: Option<u64>,
}

impl Future for Acquire {
    type Output = Permit;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Permit> {
        let first = match (self.ticket, self.shared.waiters.borrow().first_key_value()) {
            (Some(ticket), Some((first, _))) => *first == ticket,
            (None, None) => true,
            _ => false,
        };
        if first && self.shared.available.get() >= self.permits {
            let permit = self.shared.take(self.permits);
            if let Some(ticket) = self.ticket.take() {
                self.shared.waiters.borrow_mut().remove(&ticket);
                self.shared.wake_first();
            }
            return Poll::Ready(permit);
        }
        let ticket = match self.ticket {
            Some(ticket) => ticket,
            None => self.shared.next_ticket.replace(self.shared.next_ticket.get() + 1),
        };
        let waiter = Waiter { permits: self.permits, waker: cx.waker().clone() };
        self.shared.waiters.borrow_mut().insert(ticket, waiter);
        self.ticket = Some(ticket);
        Poll::Pending
    }
}

impl Drop for Acquire {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            let waiter = self.shared.waiters.borrow_mut().remove(&ticket);
            drop(waiter);
            self.shared.wake_first();
        }
    }
}

/// Permits that come back when this is dropped.
pub struct Permit {
    shared: Rc<Shared>,
    permits: u64,
}

impl Permit {
    pub fn count(&self) -> u64 {
        self.permits
    }

    /// Keeps the permits for good.
    pub fn forget(mut self) {
        self.permits = 0;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.permits > 0 {
            self.shared.give(self.permits);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;

    #[test]
    fn the_oldest_waiter_is_served_first() {
        let mut cx = Context::from_waker(Waker::noop());
        let semaphore = Semaphore::new(3);
        let held = semaphore.try_acquire(2).expect("free");
        let mut large = Box::pin(semaphore.acquire(3));
        let mut small = pin!(semaphore.acquire(1));
        assert!(large.as_mut().poll(&mut cx).is_pending());
        assert!(small.as_mut().poll(&mut cx).is_pending(), "one permit is free, but somebody is first");
        assert!(semaphore.try_acquire(1).is_none());
        drop(held);
        assert!(small.as_mut().poll(&mut cx).is_pending());
        drop(large);
        let Poll::Ready(permit) = small.as_mut().poll(&mut cx) else { panic!("nobody is before it now") };
        assert_eq!((permit.count(), semaphore.available()), (1, 2));
        permit.forget();
        assert_eq!(semaphore.available(), 2);
    }
}
