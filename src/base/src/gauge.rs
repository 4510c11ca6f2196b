//! Bytes in use, counted where they are held and given back where they are dropped, which may be on another thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes that are alive. Clones count the same bytes.
#[derive(Debug, Clone, Default)]
pub struct Gauge(Arc<AtomicUsize>);

/// Bytes that are counted until this is dropped.
#[derive(Debug)]
pub struct Held {
    gauge: Gauge,
    bytes: usize,
}

impl Gauge {
    /// Counts `bytes` for as long as the result lives.
    pub fn hold(&self, bytes: usize) -> Held {
        self.0.fetch_add(bytes, Ordering::Relaxed);
        Held { gauge: self.clone(), bytes }
    }

    pub fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Held {
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.gauge.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_elsewhere_is_given_back() {
        let gauge = Gauge::default();
        let (first, second) = (gauge.hold(5), gauge.clone().hold(7));
        assert_eq!((gauge.bytes(), first.bytes(), second.bytes()), (12, 5, 7));
        std::thread::spawn(move || drop(first)).join().unwrap();
        assert_eq!(gauge.bytes(), 7);
        drop(second);
        assert_eq!(gauge.bytes(), 0);
    }
}
