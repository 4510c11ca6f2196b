//! The answers of one connection, in the order of its requests.

use crate::answer::Answer;
use odradek_ring::sync::Event;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

/// Answers of one connection that may wait at the same time. A client with more requests in flight is read more slowly.
const ANSWERS_QUEUED_MAX: usize = 1024;

/// Answers wait here until the writer has sent them. Bounded by number and by bytes: while it is full the reader stops
/// reading, and TCP slows the client down.
pub struct AnswerQueue {
    bytes_max: usize,
    answers: RefCell<VecDeque<Answer>>,
    /// Bytes of answers queued or being sent, and of requests whose produce is waiting.
    bytes: Cell<usize>,
    /// No more answers will be pushed: the writer ends when it has sent what is there.
    finished: Cell<bool>,
    /// The writer is gone: nothing more can be sent.
    broken: Cell<bool>,
    pushed: Event,
    taken: Event,
}

impl AnswerQueue {
    pub fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            answers: RefCell::default(),
            bytes: Cell::new(0),
            finished: Cell::new(false),
            broken: Cell::new(false),
            pushed: Event::new(),
            taken: Event::new(),
        }
    }

    /// Waits until another answer may be queued; false when the connection is broken.
    pub async fn wait_space(&self) -> bool {
        loop {
            if self.broken.get() {
                return false;
            }
            if self.answers.borrow().len() < ANSWERS_QUEUED_MAX && self.bytes.get() < self.bytes_max {
                return true;
            }
            self.taken.listen().await;
        }
    }

    pub fn push(&self, answer: Answer) {
        self.bytes.set(self.bytes.get() + answer.bytes());
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
        self.taken.notify_all();
    }
}
