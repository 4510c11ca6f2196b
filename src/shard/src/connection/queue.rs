//! The answers of one connection, in the order of its requests.

use crate::answer::Answer;
use odradek_ring::sync::Event;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

/// Answers of one connection that may wait at the same time. A client with more requests in flight is read more slowly.
const ANSWERS_QUEUED_MAX: usize = 1024;

/// What one connection may have waiting, and what one fetch gets beside its first batch, while its shard is over its bound.
const FULL_BYTES_MAX: usize = 256 * 1024;

/// Bytes of answers that wait on all connections of a shard together, and of those that are being put together.
pub struct QueuedBytes {
    bytes: Cell<usize>,
    bytes_max: usize,
}

impl QueuedBytes {
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes: Cell::new(0), bytes_max }
    }

    pub fn bytes(&self) -> usize {
        self.bytes.get()
    }

    pub fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// True while clients that do not read hold half of what a shard may hold: everybody gets [`FULL_BYTES_MAX`] then.
    pub fn full(&self) -> bool {
        self.bytes.get() >= self.bytes_max / 2
    }

    /// True while they hold all of it: a client gets one answer at a time then, and those that take nothing are not kept.
    pub fn is_over(&self) -> bool {
        self.bytes.get() > self.bytes_max
    }

    /// What one fetch may get: no more than half of what is left.
    pub fn fetch_bytes_max(&self) -> usize {
        if self.full() { FULL_BYTES_MAX } else { (self.bytes_max - self.bytes.get()) / 2 }
    }

    fn add(&self, bytes: usize) {
        self.bytes.set(self.bytes.get() + bytes);
    }

    fn give_back(&self, bytes: usize) {
        self.bytes.set(self.bytes.get() - bytes);
    }
}

/// Answers wait here until the writer has sent them. Bounded by number and by bytes: while it is full the reader stops
/// reading, and TCP slows the client down.
pub struct AnswerQueue {
    bytes_max: usize,
    shard: Rc<QueuedBytes>,
    answers: RefCell<VecDeque<Answer>>,
    /// Bytes of answers queued or being sent, and of requests whose produce another shard has.
    bytes: Rc<Cell<usize>>,
    /// No more answers will be pushed: the writer ends when it has sent what is there.
    finished: Cell<bool>,
    /// The writer is gone: nothing more can be sent.
    broken: Cell<bool>,
    pushed: Event,
    taken: Event,
}

impl AnswerQueue {
    /// `bytes`: where others see what waits here.
    pub fn new(bytes_max: usize, shard: Rc<QueuedBytes>, bytes: Rc<Cell<usize>>) -> Self {
        Self {
            bytes_max,
            shard,
            answers: RefCell::default(),
            bytes,
            finished: Cell::new(false),
            broken: Cell::new(false),
            pushed: Event::new(),
            taken: Event::new(),
        }
    }

    /// Waits until another answer may be queued; false when the connection is broken. While the shard as a whole is over its bound,
    /// a connection gets [`FULL_BYTES_MAX`], and in the end one answer: those that read go on, and those that do not hold little more.
    pub async fn wait_space(&self) -> bool {
        loop {
            if self.broken.get() {
                return false;
            }
            let bytes_max = match (self.shard.is_over(), self.shard.full()) {
                (true, _) => 1,
                (_, true) => self.bytes_max.min(FULL_BYTES_MAX),
                _ => self.bytes_max,
            };
            if self.answers.borrow().len() < ANSWERS_QUEUED_MAX && self.bytes.get() < bytes_max {
                return true;
            }
            self.taken.listen().await;
        }
    }

    pub fn push(&self, answer: Answer) {
        self.bytes.set(self.bytes.get() + answer.bytes());
        self.shard.add(answer.bytes());
        self.answers.borrow_mut().push_back(answer);
        self.pushed.notify_all();
    }

    /// The next answer; `None` when the reader has finished and everything is sent.
    pub async fn pop(&self) -> Option<Answer> {
        loop {
            if let Some(answer) = self.answers.borrow_mut().pop_front() {
                return Some(answer);
            }
            if self.finished.get() {
                return None;
            }
            self.pushed.listen().await;
        }
    }

    /// The next answer if it can be sent without waiting.
    pub fn pop_ready(&self) -> Option<Answer> {
        let mut answers = self.answers.borrow_mut();
        if answers.front()?.is_ready() { answers.pop_front() } else { None }
    }

    /// Gives back the room that answers took, after they were sent.
    pub fn sent(&self, bytes: usize) {
        self.bytes.set(self.bytes.get() - bytes);
        self.shard.give_back(bytes);
        self.taken.notify_all();
    }

    /// The reader will push no more.
    pub fn finish(&self) {
        self.finished.set(true);
        self.pushed.notify_all();
    }

    /// The writer cannot send any more.
    pub fn break_off(&self) {
        self.broken.set(true);
        self.answers.borrow_mut().clear();
        self.shard.give_back(self.bytes.take());
        self.taken.notify_all();
    }
}

/// Bytes of an answer that is being put together; gives them back when dropped.
pub struct Assembled<'a> {
    shard: &'a QueuedBytes,
    bytes: usize,
}

impl QueuedBytes {
    pub fn assemble(&self) -> Assembled<'_> {
        Assembled { shard: self, bytes: 0 }
    }
}

impl Assembled<'_> {
    pub fn add(&mut self, bytes: usize) {
        self.bytes += bytes;
        self.shard.add(bytes);
    }
}

impl Drop for Assembled<'_> {
    fn drop(&mut self) {
        self.shard.give_back(self.bytes);
    }
}

impl Drop for AnswerQueue {
    fn drop(&mut self) {
        self.shard.give_back(self.bytes.get());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use futures_util::future::FutureExt;

    #[test]
    fn a_full_shard_leaves_every_connection_a_little_and_gets_everything_back() {
        let shard = Rc::new(QueuedBytes::new(2 << 20));
        let queue = || AnswerQueue::new(4 << 20, shard.clone(), Rc::default());
        let answer = |bytes: usize| Answer::frame(Bytes::from(vec![0; bytes]));
        let (hog, other, gone) = (queue(), queue(), queue());
        hog.push(answer(512 << 10));
        assert_eq!(hog.wait_space().now_or_never(), Some(true), "far from its own bound");
        gone.push(answer(512 << 10));
        assert!(shard.full());
        assert_eq!(hog.wait_space().now_or_never(), None);
        other.push(answer(1000));
        assert_eq!(other.wait_space().now_or_never(), Some(true), "one that reads goes on");
        other.push(answer(FULL_BYTES_MAX));
        assert_eq!(other.wait_space().now_or_never(), None);
        let late = queue();
        late.push(answer(1 << 20));
        assert!(shard.is_over());
        assert_eq!(late.wait_space().now_or_never(), None);
        assert_eq!(queue().wait_space().now_or_never(), Some(true), "one answer each");
        drop(late);

        gone.break_off();
        assert!(!gone.wait_space().now_or_never().unwrap());
        drop(gone);
        let sent = hog.pop_ready().map(|answer| answer.bytes()).unwrap();
        hog.sent(sent);
        assert!(!shard.full());
        assert_eq!(hog.wait_space().now_or_never(), Some(true));
        drop((hog, other));
        assert_eq!(shard.bytes.get(), 0);
    }
}
