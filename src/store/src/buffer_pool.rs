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

/// Smallest part of a buffer that is worth one.
const FILLED_MIN: usize = 4;

/// Buffers of a few sizes. A buffer may be given back on another thread: responses of cold data can be sent by another shard.
pub(crate) struct BufferPool {
    home: Arc<Home>,
}

/// Free buffers of one size.
struct Shelf {
    buffer_bytes: usize,
    free: ArrayQueue<AlignedBuf>,
}

struct Home {
    /// By size, the smallest first.
    shelves: Vec<Shelf>,
    /// Buffers with content that somebody holds.
    lent: Gauge,
    bytes_max: usize,
}

impl Home {
    fn free_bytes(&self) -> usize {
        self.shelves.iter().map(|shelf| shelf.free.len() * shelf.buffer_bytes).sum()
    }

    /// The smallest buffers that take `bytes`; none where these would waste most of one.
    fn shelf(&self, bytes: usize) -> Option<&Shelf> {
        self.shelves.iter().find(|shelf| bytes <= shelf.buffer_bytes).filter(|shelf| bytes >= shelf.buffer_bytes / FILLED_MIN)
    }

    /// Keeps a buffer that is still counted as lent. Free ones of other sizes, which nobody has wanted since, make room for it.
    fn keep(&self, buffer: AlignedBuf) {
        let Some(home) = self.shelves.iter().find(|shelf| shelf.buffer_bytes == buffer.len()) else { return };
        while self.lent.bytes() + self.free_bytes() > self.bytes_max {
            let others = self.shelves.iter().filter(|shelf| shelf.buffer_bytes != home.buffer_bytes);
            if others.rev().find_map(|shelf| shelf.free.pop()).is_none() {
                return;
            }
        }
        // A full shelf lets it go.
        let _ = home.free.push(buffer);
    }
}

impl BufferPool {
    /// Keeps free buffers of these `sizes`, up to `bytes_max` bytes together with those that are lent.
    pub fn new(sizes: impl IntoIterator<Item = usize>, bytes_max: usize) -> Self {
        let shelf = |bytes: usize| {
            let buffer_bytes = align_up(bytes.max(1));
            Shelf { buffer_bytes, free: ArrayQueue::new((bytes_max / buffer_bytes).max(1)) }
        };
        let mut shelves: Vec<Shelf> = sizes.into_iter().map(shelf).collect();
        shelves.sort_by_key(|shelf| shelf.buffer_bytes);
        Self { home: Arc::new(Home { shelves, lent: Gauge::default(), bytes_max }) }
    }

    /// Bytes of the buffers that slices pin, read-ahead's own among them.
    pub fn lent_bytes(&self) -> usize {
        self.home.lent.bytes()
    }

    /// Bytes of free buffers.
    pub fn free_bytes(&self) -> usize {
        self.home.free_bytes()
    }

    /// A buffer of at least `bytes`: a kept one where it fits.
    pub fn take(&self, bytes: usize) -> AlignedBuf {
        let kept = self.home.shelf(bytes).and_then(|shelf| shelf.free.pop());
        kept.unwrap_or_else(|| AlignedBuf::zeroed(self.size_for(bytes)))
    }

    /// Size of the buffer that [`BufferPool::take`] gives for `bytes`.
    pub fn size_for(&self, bytes: usize) -> usize {
        self.home.shelf(bytes).map_or_else(|| align_up(bytes.max(1)), |shelf| shelf.buffer_bytes)
    }

    /// Shares the buffer's content; it comes back when the last slice is gone.
    pub fn freeze(&self, buffer: AlignedBuf) -> Bytes {
        let held = self.home.lent.hold(buffer.len());
        Bytes::from_owner(Lent { buffer: Some(buffer), home: self.home.clone(), _held: held })
    }
}

struct Lent {
    /// Always there until the drop.
    buffer: Option<AlignedBuf>,
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
        if let Some(buffer) = self.buffer.take() {
            self.home.keep(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_come_back_when_the_last_slice_is_gone() {
        let pool = BufferPool::new([8192], 8192);
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
        let pool = BufferPool::new([8192], 1 << 20);
        for bytes in [100, 20_000] {
            drop(pool.freeze(pool.take(bytes)));
            assert_eq!(pool.free_bytes(), 0);
        }
    }

    #[test]
    fn free_and_lent_buffers_share_the_bound_and_a_slice_counts_as_its_buffer() {
        let pool = BufferPool::new([8192], 3 * 8192);
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

    #[test]
    fn the_smallest_size_that_fits_is_given_and_wanted_sizes_displace_others() {
        let pool = BufferPool::new([32_768, 8192], 32_768);
        assert_eq!([1000, 2048, 8192, 8193, 40_000].map(|bytes| pool.size_for(bytes)), [4096, 8192, 8192, 32_768, 40_960]);
        drop(pool.freeze(pool.take(20_000)));
        assert_eq!(pool.free_bytes(), 32_768);
        drop(pool.freeze(pool.take(8000)));
        assert_eq!(pool.free_bytes(), 8192, "the large one went for it");
    }
}
