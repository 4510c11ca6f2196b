//! Buffers for cold reads, used again and again.
//!
//! A fresh buffer costs zeroing and, in a virtual machine, a slow first touch of every page; both together cost more than checking what
//! was read into it. What comes out of here holds the bytes of an earlier read: callers hand out only what theirs filled.
//!
//! A slice pins its whole buffer, so buffers are what is counted.

use bytes::Bytes;
use crossbeam::queue::ArrayQueue;
use odradek_base::buffer::align_up;
use odradek_base::{AlignedBuf, Gauge, Held};
use std::sync::Arc;

/// Buffers of one size. A buffer may be given back on another thread: responses of cold data can be sent by another shard.
pub(crate) struct BufferPool {
    buffer_bytes: usize,
    home: Arc<Home>,
}

struct Home {
    free: ArrayQueue<AlignedBuf>,
    /// Buffers with content that somebody holds.
    lent: Gauge,
    bytes_max: usize,
}

impl BufferPool {
    /// Keeps free buffers of `buffer_bytes` each, up to `bytes_max` bytes together with those that are lent.
    pub fn new(buffer_bytes: usize, bytes_max: usize) -> Self {
        let count = (bytes_max / buffer_bytes.max(1)).max(1);
        Self { buffer_bytes, home: Arc::new(Home { free: ArrayQueue::new(count), lent: Gauge::default(), bytes_max }) }
    }

    /// Bytes of the buffers that slices pin, read-ahead's own among them.
    pub fn lent_bytes(&self) -> usize {
        self.home.lent.bytes()
    }

    /// Bytes of free buffers.
    pub fn free_bytes(&self) -> usize {
        self.home.free.len() * self.buffer_bytes
    }

    /// A buffer of at least `bytes`: a kept one where it fits.
    pub fn take(&self, bytes: usize) -> AlignedBuf {
        let kept = if self.fits(bytes) { self.home.free.pop() } else { None };
        kept.unwrap_or_else(|| AlignedBuf::zeroed(self.size_for(bytes)))
    }

    /// Size of the buffer that [`BufferPool::take`] gives for `bytes`.
    pub fn size_for(&self, bytes: usize) -> usize {
        align_up(if self.fits(bytes) { self.buffer_bytes } else { bytes.max(1) })
    }

    /// Not too large for a kept buffer, and not so small that it would waste most of one.
    fn fits(&self, bytes: usize) -> bool {
        (self.buffer_bytes / 4..=self.buffer_bytes).contains(&bytes)
    }

    /// Shares the buffer's content; it comes back when the last slice is gone.
    pub fn freeze(&self, buffer: AlignedBuf) -> Bytes {
        let held = self.home.lent.hold(buffer.len());
        let returns = buffer.len() == align_up(self.buffer_bytes);
        Bytes::from_owner(Lent { buffer: Some(buffer), returns, home: self.home.clone(), _held: held })
    }
}

struct Lent {
    /// Always there until the drop.
    buffer: Option<AlignedBuf>,
    /// It has the size of those that are kept.
    returns: bool,
    home: Arc<Home>,
    _held: Held,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        self.buffer.as_deref().unwrap_or_default()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let Some(buffer) = self.buffer.take().filter(|_| self.returns) else { return };
        // It is still counted as lent.
        if self.home.lent.bytes() + self.home.free.len() * buffer.len() <= self.home.bytes_max {
            // A full pool lets it go.
            let _ = self.home.free.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_come_back_when_the_last_slice_is_gone() {
        let pool = BufferPool::new(8192, 8192);
        let buffer = pool.take(5000);
        let address = buffer.as_ptr();
        let shared = pool.freeze(buffer);
        let slice = shared.slice(4096..5000);
        drop(shared);
        assert_ne!(pool.take(8192).as_ptr(), address);
        drop(slice);
        assert_eq!(pool.take(8192).as_ptr(), address);
    }

    #[test]
    fn other_sizes_are_not_kept() {
        let pool = BufferPool::new(8192, 1 << 20);
        for bytes in [100, 20_000] {
            drop(pool.freeze(pool.take(bytes)));
            assert!(pool.home.free.is_empty());
        }
    }

    #[test]
    fn free_and_lent_buffers_share_the_bound_and_a_slice_counts_as_its_buffer() {
        let pool = BufferPool::new(8192, 3 * 8192);
        let slices: Vec<Bytes> = (0..4).map(|_| pool.freeze(pool.take(8192)).slice(..1)).collect();
        assert_eq!((pool.lent_bytes(), pool.free_bytes()), (4 * 8192, 0));
        let mut slices = slices.into_iter();
        slices.next();
        assert_eq!((pool.lent_bytes(), pool.free_bytes()), (3 * 8192, 0), "four are too many");
        slices.next();
        assert_eq!((pool.lent_bytes(), pool.free_bytes()), (2 * 8192, 8192));
        drop(slices);
        assert_eq!((pool.lent_bytes(), pool.free_bytes()), (0, 3 * 8192));
    }
}
