//! A bounded queue between tasks of one thread.

use super::event::Event;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

/// A bounded first-in, first-out queue. Clones are the same queue; any number of tasks push and pop.
pub struct Queue<T> {
    shared: Rc<Shared<T>>,
}

struct Shared<T> {
    items: RefCell<VecDeque<T>>,
    capacity: usize,
    closed: Cell<bool>,
    filled: Event,
    drained: Event,
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

/// The queue was closed; holds the item that did not go in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed<T>(pub T);

/// Why an item did not go in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TryPushError<T> {
    Full(T),
    Closed(T),
}

impl<T> Queue<T> {
    /// A queue for at most `capacity` items (at least one).
    pub fn new(capacity: usize) -> Self {
        let shared = Shared {
            items: RefCell::default(),
            capacity: capacity.max(1),
            closed: Cell::new(false),
            filled: Event::new(),
            drained: Event::new(),
        };
        Self { shared: Rc::new(shared) }
    }

    pub fn try_push(&self, item: T) -> Result<(), TryPushError<T>> {
        if self.shared.closed.get() {
            return Err(TryPushError::Closed(item));
        }
        let mut items = self.shared.items.borrow_mut();
        if items.len() >= self.shared.capacity {
            return Err(TryPushError::Full(item));
        }
        items.push_back(item);
        drop(items);
        self.shared.filled.notify_all();
        Ok(())
    }

    /// Waits for room.
    pub async fn push(&self, item: T) -> Result<(), Closed<T>> {
        let mut item = item;
        loop {
            let drained = self.shared.drained.listen();
            match self.try_push(item) {
                Ok(()) => return Ok(()),
                Err(TryPushError::Closed(back)) => return Err(Closed(back)),
                Err(TryPushError::Full(back)) => item = back,
            }
            drained.await;
        }
    }

    pub fn try_pop(&self) -> Option<T> {
        let item = self.shared.items.borrow_mut().pop_front();
        if item.is_some() {
            self.shared.drained.notify_all();
        }
        item
    }

    /// Waits for an item; `None` once the queue is closed and empty.
    pub async fn pop(&self) -> Option<T> {
        loop {
            let filled = self.shared.filled.listen();
            if let Some(item) = self.try_pop() {
                return Some(item);
            }
            if self.shared.closed.get() {
                return None;
            }
            filled.await;
        }
    }

    /// Takes nothing more; what is in it can still be popped.
    pub fn close(&self) {
        self.shared.closed.set(true);
        self.shared.filled.notify_all();
        self.shared.drained.notify_all();
    }

    pub fn is_closed(&self) -> bool {
        self.shared.closed.get()
    }

    pub fn len(&self) -> usize {
        self.shared.items.borrow().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn capacity(&self) -> usize {
        self.shared.capacity
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    #[test]
    fn full_empty_and_closed() {
        let mut cx = Context::from_waker(Waker::noop());
        let queue = Queue::new(2);
        assert_eq!(queue.try_push(1), Ok(()));
        assert_eq!(queue.try_push(2), Ok(()));
        assert_eq!(queue.try_push(3), Err(TryPushError::Full(3)));
        let mut push = pin!(queue.push(3));
        assert!(push.as_mut().poll(&mut cx).is_pending());
        assert_eq!(queue.try_pop(), Some(1));
        assert_eq!(push.as_mut().poll(&mut cx), Poll::Ready(Ok(())));
        queue.close();
        assert_eq!(queue.try_push(4), Err(TryPushError::Closed(4)));
        assert_eq!(queue.try_pop(), Some(2));
        assert_eq!(pin!(queue.pop()).as_mut().poll(&mut cx), Poll::Ready(Some(3)));
        assert_eq!(pin!(queue.pop()).as_mut().poll(&mut cx), Poll::Ready(None));
    }
}
