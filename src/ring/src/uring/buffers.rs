//! Receive buffers: a ring of them is lent to the kernel, which fills them one after the other.
//!
//! With incremental buffers (Linux 6.12) the kernel packs many receives into one buffer; the place of each follows
//! from the order of completions, so it is taken when the completion is reaped. A received chunk is a
//! reference-counted slice of its buffer and may be dropped on any thread. A buffer goes back to the kernel when the kernel has finished with it
//! and no slice is left. Small chunks are copied, and all chunks are copied while few buffers are left: so an
//! application that keeps slices can pin some buffers but never the last ones, and receiving never stalls for good.

use crate::config::{Features, RingConfig};
use crate::error::{MEMLOCK_HELP, RingError};
use bytes::Bytes;
use io_uring::IoUring;
use io_uring::types::BufRingEntry;
use odradek_base::AlignedBuf;
use std::io;
use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};

/// The only group of buffers of a ring.
pub(super) const BUFFER_GROUP: u16 = 0;

/// `IOU_PBUF_RING_INC` of `linux/io_uring.h`.
const PBUF_RING_INCREMENTAL: u16 = 2;

/// Without incremental buffers every receive takes a whole buffer: more and smaller ones then.
const SPLIT_WITHOUT_INCREMENTAL: u32 = 16;

/// Memory of all buffers and the number of slices into each.
struct Memory {
    /// `ManuallyDrop` so that it can be given up for good when the kernel might still write to it.
    block: ManuallyDrop<AlignedBuf>,
    start: *mut u8,
    slices: Vec<AtomicU32>,
    leaked: std::sync::atomic::AtomicBool,
}

// SAFETY: needed because slices travel to other threads. The block is plain memory; the kernel writes only beyond what completions
// have handed out, and slices only read what they were handed out (see `BufferPool::take`).
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Drop for Memory {
    fn drop(&mut self) {
        if !self.leaked.load(Ordering::Relaxed) {
            // SAFETY: dropped once, here.
            unsafe { ManuallyDrop::drop(&mut self.block) };
        }
    }
}

/// A received chunk that pins its buffer.
struct Slice {
    memory: Arc<Memory>,
    buffer: u16,
    start: *const u8,
    len: usize,
}

// SAFETY: the bytes are immutable while the slice lives, and the count is atomic.
unsafe impl Send for Slice {}

impl AsRef<[u8]> for Slice {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the range lies within a buffer of `memory` and was filled before the slice was made; the buffer is not lent to the
        // kernel again before this slice has given up its count.
        unsafe { std::slice::from_raw_parts(self.start, self.len) }
    }
}

impl Drop for Slice {
    fn drop(&mut self) {
        // Release: our reads of the buffer happen before the owner sees the count go down.
        self.memory.slices[usize::from(self.buffer)].fetch_sub(1, Ordering::Release);
    }
}

struct Buffer {
    /// Bytes handed out since it was last lent to the kernel.
    filled: u32,
    lent: bool,
}

/// What became of one completed receive.
pub(super) struct Received {
    pub(super) chunk: Bytes,
    pub(super) copied: bool,
}

/// The buffers of one ring.
pub(super) struct BufferPool {
    memory: Arc<Memory>,
    entries: AlignedBuf,
    buffer_bytes: u32,
    buffers: Vec<Buffer>,
    /// Buffers the kernel has finished with that are still pinned by slices.
    pinned: Vec<u16>,
    tail: u16,
    available: usize,
    /// At and below this number of available buffers every chunk is copied.
    scarce: usize,
    copy_bytes_max: usize,
}

impl BufferPool {
    pub(super) fn register(ring: &IoUring, config: &RingConfig, features: &mut Features) -> Result<Self, RingError> {
        let whole = (config.recv_buffers, config.recv_buffer_bytes);
        let entries = Self::ring_of_entries(whole.0);
        let (count, bytes, entries) = match Self::register_entries(ring, &entries, whole.0, PBUF_RING_INCREMENTAL) {
            Ok(()) => {
                features.granted.push("incremental buffers");
                (whole.0, whole.1, entries)
            }
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                features.refused.push(format!("incremental buffers ({error})"));
                let split = SPLIT_WITHOUT_INCREMENTAL.min(whole.1 / 4096);
                let split = 1 << split.ilog2();
                let (count, bytes) = (whole.0 * split as u16, whole.1 / split / 4096 * 4096);
                let entries = Self::ring_of_entries(count);
                Self::register_entries(ring, &entries, count, 0).map_err(|source| Self::error(config, source))?;
                (count, bytes, entries)
            }
            Err(source) => return Err(Self::error(config, source)),
        };
        Ok(Self::new(count, bytes, entries, config.recv_copy_bytes_max as usize))
    }

    fn error(config: &RingConfig, source: io::Error) -> RingError {
        let help = MEMLOCK_HELP.to_owned();
        RingError::Buffers { buffers: config.recv_buffers, buffer_bytes: config.recv_buffer_bytes, source, help }
    }

    fn ring_of_entries(count: u16) -> AlignedBuf {
        AlignedBuf::zeroed(usize::from(count) * size_of::<BufRingEntry>())
    }

    fn register_entries(ring: &IoUring, entries: &AlignedBuf, count: u16, flags: u16) -> io::Result<()> {
        // SAFETY: `entries` is page-aligned, large enough for `count` entries, and kept in the pool, which the driver drops
        // after the kernel ring is quiet (or leaks).
        unsafe { ring.submitter().register_buf_ring_with_flags(entries.as_ptr() as u64, count, BUFFER_GROUP, flags) }
    }

    fn new(count: u16, buffer_bytes: u32, entries: AlignedBuf, copy_bytes_max: usize) -> Self {
        let mut block = AlignedBuf::zeroed(usize::from(count) * buffer_bytes as usize);
        // Fresh memory is slow at its first touch in a virtual machine: touch every page now.
        for page in block.chunks_mut(4096) {
            // SAFETY: a write to the first byte of a slice that we hold mutably; volatile so that it is not optimised out.
            unsafe { page.as_mut_ptr().write_volatile(0) };
        }
        let start = block.as_mut_ptr();
        let slices = (0..count).map(|_| AtomicU32::new(0)).collect();
        let memory = Memory { block: ManuallyDrop::new(block), start, slices, leaked: false.into() };
        let mut pool = Self {
            memory: Arc::new(memory),
            entries,
            buffer_bytes,
            buffers: (0..count).map(|_| Buffer { filled: 0, lent: false }).collect(),
            pinned: Vec::with_capacity(count.into()),
            tail: 0,
            available: 0,
            scarce: usize::from(count / 4).max(1),
            copy_bytes_max,
        };
        for buffer in 0..count {
            pool.lend(buffer);
        }
        pool
    }

    /// Buffers the kernel can fill, the one it is filling included.
    pub(super) fn available(&self) -> usize {
        self.available
    }

    /// Takes the bytes of one completed receive. Must be called once per completion that names a buffer, in their
    /// order. `more`: the kernel goes on filling this buffer.
    pub(super) fn take(&mut self, buffer: u16, len: usize, more: bool) -> Received {
        let index = usize::from(buffer);
        let filled = self.buffers[index].filled as usize;
        assert!(self.buffers[index].lent, "the kernel filled buffer {buffer}, which it does not have");
        assert!(filled + len <= self.buffer_bytes as usize, "the kernel filled buffer {buffer} beyond its end");
        // SAFETY: the range is within the buffer (asserted above).
        let start = unsafe { self.memory.start.add(index * self.buffer_bytes as usize + filled) }.cast_const();
        let copied = len <= self.copy_bytes_max || self.available <= self.scarce;
        let chunk = if copied {
            // SAFETY: the kernel has filled this range and will not touch it before the buffer is lent again, which happens after this copy.
            Bytes::copy_from_slice(unsafe { std::slice::from_raw_parts(start, len) })
        } else {
            self.memory.slices[index].fetch_add(1, Ordering::Relaxed);
            Bytes::from_owner(Slice { memory: self.memory.clone(), buffer, start, len })
        };
        self.buffers[index].filled += len as u32;
        if !more {
            self.buffers[index].lent = false;
            self.available -= 1;
            if self.is_free(buffer) { self.lend(buffer) } else { self.pinned.push(buffer) }
        }
        Received { chunk, copied }
    }

    /// No slice points into the buffer.
    fn is_free(&self, buffer: u16) -> bool {
        // Acquire: pairs with the release of the last slice, whose reads are over before the kernel writes again.
        self.memory.slices[usize::from(buffer)].load(Ordering::Acquire) == 0
    }

    /// Lends buffers to the kernel again that nobody reads any more.
    pub(super) fn reclaim(&mut self) {
        let mut place = 0;
        while place < self.pinned.len() {
            let buffer = self.pinned[place];
            if self.is_free(buffer) {
                self.pinned.remove(place);
                self.lend(buffer);
            } else {
                place += 1;
            }
        }
    }

    fn lend(&mut self, buffer: u16) {
        let index = usize::from(buffer);
        let mask = self.buffers.len() as u16 - 1;
        let base = self.entries.as_mut_ptr().cast::<BufRingEntry>();
        // SAFETY: `base` is the aligned start of `buffers.len()` entries (a power of two), the masked place is one of them. The kernel
        // reads an entry only after the tail has moved past it.
        let entry = unsafe { &mut *base.add(usize::from(self.tail & mask)) };
        entry.set_addr(self.memory.start as u64 + (index * self.buffer_bytes as usize) as u64);
        entry.set_len(self.buffer_bytes);
        entry.set_bid(buffer);
        self.buffers[index] = Buffer { filled: 0, lent: true };
        self.available += 1;
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the tail is a 16-bit word inside the first entry, shared with the kernel: an atomic store with release order
        // publishes the entry before the new tail.
        unsafe { AtomicU16::from_ptr(BufRingEntry::tail(base).cast_mut()) }.store(self.tail, Ordering::Release);
    }

    /// Gives up all memory: the kernel may still write to it.
    pub(super) fn leak(&mut self) {
        self.memory.leaked.store(true, Ordering::Relaxed);
        std::mem::forget(std::mem::replace(&mut self.entries, AlignedBuf::zeroed(0)));
    }
}
