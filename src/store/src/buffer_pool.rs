//! Buffers for cold reads, used again and again.
//!
//! A fresh buffer costs zeroing and, in a virtual machine, a slow first touch of every page; both together cost more than checking what
//! was read into it. What comes out of here holds the bytes of an earlier read: callers hand out only what theirs filled.

use bytes::Bytes;
use crossbeam::queue::ArrayQueue;
use odradek_base::AlignedBuf;
use std::sync::Arc;

/// Buffers of one size. A buffer may be given back on another thread: responses of cold data can be sent by another shard.
pub(crate) struct BufferPool {
    buffer_bytes: usize,
    free: Arc<ArrayQueue<AlignedBuf>>,
}

impl BufferPool {
    /// Keeps up to `bytes_max` bytes of buffers of `buffer_bytes` each.
    pub fn new(buffer_bytes: usize, bytes_max: usize) -> Self {
        let count = (bytes_max / buffer_bytes.max(1)).max(1);
        Self { buffer_bytes, free: Arc::new(ArrayQueue::new(count)) }
    }

    /// A buffer of at least `bytes`: a kept one where it fits.
    pub fn take(&self, bytes: usize) -> AlignedBuf {
        if bytes > self.buffer_bytes || bytes < self.buffer_bytes / 4 {
            // Too large, or so small that it would waste most of one.
            return AlignedBuf::zeroed(bytes);
        }
        self.free.pop().unwrap_or_else(|| AlignedBuf::zeroed(self.buffer_bytes))
    }

    /// Shares the buffer's content; it comes back when the last slice is gone.
    pub fn freeze(&self, buffer: AlignedBuf) -> Bytes {
        if buffer.len() != odradek_base::buffer::align_up(self.buffer_bytes) {
            return buffer.freeze();
        }
        Bytes::from_owner(Lent { buffer: Some(buffer), home: self.free.clone() })
    }
}

struct Lent {
    /// Always there until the drop.
    buffer: Option<AlignedBuf>,
    home: Arc<ArrayQueue<AlignedBuf>>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        self.buffer.as_deref().unwrap_or_default()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            // A full pool lets it go.
            let _ = self.home.push(buffer);
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
            assert!(pool.free.is_empty());
        }
    }
}
