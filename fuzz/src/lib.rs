//! What all targets share: an allocator that gives no single piece of memory above a bound, so that a length believed from the input
//! is a finding even where the memory would never be touched.

use std::alloc::{GlobalAlloc, Layout, System};

/// Inputs are a few KiB; the largest piece that is owed regardless of them is a 4 MiB block of lz4.
const PIECE_BYTES_MAX: usize = 32 << 20;

struct Bounded;

// SAFETY: requests go to the system allocator unchanged, or are answered with null as the trait allows.
unsafe impl GlobalAlloc for Bounded {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.size() > PIECE_BYTES_MAX {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if size > PIECE_BYTES_MAX {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Bounded = Bounded;
