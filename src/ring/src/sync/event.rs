//! Something happened: wakes everybody who waits.

use slab::Slab;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Tells any number of waiters that something changed. Clones are the same event. Costs nothing while nobody waits.
///
/// Take [`Event::listen`] first, then look at the state, then await: a change in between is not missed.
#[derive(Clone, Default)]
pub struct Event {
    shared: Rc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Counts notifications.
    times: Cell<u64>,
    waiters: RefCell<Slab<Waker>>,
}

impl Event {
    pub fn new() -> Self {
        Self::default()
    }

    /// Completes every `listen` made before this call.
    pub fn notify_all(&self) {
        self.shared.times.set(self.shared.times.get() + 1);
        if self.shared.waiters.borrow().is_empty() {
            return;
        }
        let waiters = std::mem::take(&mut *self.shared.waiters.borrow_mut());
        for (_, waker) in waiters {
            waker.wake();
        }
    }

    /// Done at the next `notify_all` after this call (not after the first poll).
    pub fn listen(&self) -> Listen {
        Listen { shared: self.shared.clone(), seen: self.shared.times.get(), place: None }
    }

    /// Number of futures that wait right now.
    pub fn waiter_count(&self) -> usize {
        self.shared.waiters.borrow().len()
    }
}

/// See [`Event::listen`].
pub struct Listen {
    shared: Rc<Shared>,
    seen: u64,
    place: Option<usize>,
}

impl Listen {
    /// Whether the event has happened since `listen`.
    pub fn is_notified(&self) -> bool {
        self.shared.times.get() != self.seen
    }
}

impl Future for Listen {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_notified() {
            // A notification empties the list.
            self.place = None;
            return Poll::Ready(());
        }
        let place = {
            let mut waiters = self.shared.waiters.borrow_mut();
            match self.place {
                Some(place) => {
                    waiters[place].clone_from(cx.waker());
                    place
                }
                None => waiters.insert(cx.waker().clone()),
            }
        };
        self.place = Some(place);
        Poll::Pending
    }
}

impl Drop for Listen {
    fn drop(&mut self) {
        if let Some(place) = self.place
            && !self.is_notified()
        {
            let waker = self.shared.waiters.borrow_mut().remove(place);
            drop(waker);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;

    #[test]
    fn listeners_see_only_what_happens_after_they_listened() {
        let event = Event::new();
        event.notify_all();
        let mut cx = Context::from_waker(Waker::noop());
        let mut early = pin!(event.listen());
        let mut other = pin!(event.listen());
        assert!(early.as_mut().poll(&mut cx).is_pending());
        assert_eq!(event.waiter_count(), 1);
        event.notify_all();
        assert!(early.as_mut().poll(&mut cx).is_ready());
        assert!(other.as_mut().poll(&mut cx).is_ready(), "an event before the first poll counts");
        assert!(pin!(event.listen()).as_mut().poll(&mut cx).is_pending());
        assert_eq!(event.waiter_count(), 0, "a dropped listener leaves nothing behind");
    }
}
