//! Page-aligned memory for direct I/O.

use bytes::Bytes;
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// Alignment of every direct-I/O buffer, file position and length, in bytes.
/// 4096 satisfies the logical block size of every device in use (512 or 4096).
pub const BLOCK_ALIGNMENT: usize = 4096;

/// Rounds up to the next multiple of [`BLOCK_ALIGNMENT`].
pub const fn align_up(bytes: usize) -> usize {
    bytes.div_ceil(BLOCK_ALIGNMENT) * BLOCK_ALIGNMENT
}

/// Rounds down to a multiple of [`BLOCK_ALIGNMENT`].
pub const fn align_down(position: u64) -> u64 {
    position - position % BLOCK_ALIGNMENT as u64
}

/// A fixed-size, zero-initialised buffer whose address and length are multiples of [`BLOCK_ALIGNMENT`].
pub struct AlignedBuf {
    memory: NonNull<u8>,
    len: usize,
}

// SAFETY: the buffer owns its memory exclusively, like a `Box<[u8]>`.
unsafe impl Send for AlignedBuf {}
// SAFETY: shared access only reads.
unsafe impl Sync for AlignedBuf {}

impl AlignedBuf {
    /// A zeroed buffer of at least `len` bytes, rounded up to the alignment; one block when `len` is 0.
    pub fn zeroed(len: usize) -> Self {
        let len = align_up(len.max(1));
        let layout = Self::layout(len);
        // SAFETY: the layout has a size above zero.
        let memory = unsafe { alloc_zeroed(layout) };
        let Some(memory) = NonNull::new(memory) else { handle_alloc_error(layout) };
        Self { memory, len }
    }

    fn layout(len: usize) -> Layout {
        Layout::from_size_align(len, BLOCK_ALIGNMENT).expect("aligned buffer larger than the address space")
    }

    /// Shares the whole buffer. The address stays, so slices of it at aligned positions stay fit for direct I/O.
    pub fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl Drop for AlignedBuf {
    fn drop(&mut self) {
        // SAFETY: allocated in `zeroed` with this very layout, and freed only here.
        unsafe { dealloc(self.memory.as_ptr(), Self::layout(self.len)) }
    }
}

impl Deref for AlignedBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `memory` points at `len` initialised bytes that live as long as `self`.
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr(), self.len) }
    }
}

impl DerefMut for AlignedBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and `&mut self` makes the access exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.memory.as_ptr(), self.len) }
    }
}

impl AsRef<[u8]> for AlignedBuf {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for AlignedBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AlignedBuf({} bytes)", self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_aligned_zeroed_and_shareable() {
        let mut buf = AlignedBuf::zeroed(5000);
        assert_eq!(buf.len(), 8192);
        assert_eq!(buf.as_ptr() as usize % BLOCK_ALIGNMENT, 0);
        assert!(buf.iter().all(|&b| b == 0));
        buf[4096] = 7;
        let address = buf.as_ptr();
        let shared = buf.freeze();
        assert_eq!(shared.as_ptr(), address);
        assert_eq!(shared.slice(4096..4097)[0], 7);
        assert_eq!(AlignedBuf::zeroed(0).len(), BLOCK_ALIGNMENT);
    }

    #[test]
    fn rounding() {
        assert_eq!((align_up(0), align_up(1), align_up(4096), align_up(4097)), (0, 4096, 4096, 8192));
        assert_eq!((align_down(0), align_down(4095), align_down(8193)), (0, 0, 8192));
    }
}
