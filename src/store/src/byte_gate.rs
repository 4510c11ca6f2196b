//! Bytes that may be under way at the same time.

use odradek_ring::sync::Event;
use std::cell::Cell;
use std::rc::Rc;

/// Bounds the bytes of operations that run at the same time. The bound comes with each request, because it may depend on what else the shard does.
/// One operation is always let in, whatever its size.
#[derive(Clone, Default)]
pub(crate) struct ByteGate {
    inner: Rc<Inner>,
}

#[derive(Default)]
struct Inner {
    bytes: Cell<usize>,
    relieved: Event,
}

/// Bytes under way; gives them back when dropped.
pub(crate) struct Passage {
    inner: Rc<Inner>,
    bytes: usize,
}

impl ByteGate {
    /// Waits until `bytes` more are no more than what `bytes_max` allows at that moment.
    pub async fn pass(&self, bytes: usize, bytes_max: impl Fn() -> usize) -> Passage {
        loop {
            let relieved = self.inner.relieved.listen();
            if let Some(passage) = self.try_pass(bytes, bytes_max()) {
                return passage;
            }
            relieved.await;
        }
    }

    /// Bytes under way.
    pub fn bytes(&self) -> usize {
        self.inner.bytes.get()
    }

    /// As [`ByteGate::pass`], without waiting.
    pub fn try_pass(&self, bytes: usize, bytes_max: usize) -> Option<Passage> {
        let now = self.inner.bytes.get();
        if now > 0 && now + bytes > bytes_max {
            return None;
        }
        self.inner.bytes.set(now + bytes);
        Some(Passage { inner: self.inner.clone(), bytes })
    }
}

impl Passage {
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        self.inner.bytes.set(self.inner.bytes.get() - self.bytes);
        self.inner.relieved.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_always_passes_and_the_sum_is_bounded() {
        let gate = ByteGate::default();
        let large = gate.try_pass(100, 10).expect("the first");
        assert!(gate.try_pass(1, 10).is_none());
        drop(large);
        let first = gate.try_pass(6, 10).expect("room");
        let second = gate.try_pass(4, 10).expect("room");
        assert!(gate.try_pass(1, 10).is_none());
        drop(first);
        assert!(gate.try_pass(6, 10).is_some());
        drop(second);
    }
}
