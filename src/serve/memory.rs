//! What the allocator keeps.

/// Gives memory that this thread has freed back to the system (`mi_collect`). A start reads and sorts much more than it keeps, and mimalloc
/// gives pages back only when its thread goes on allocating, which an idle shard does not.
pub fn give_back() {
    // SAFETY: it takes no pointer, and looks at the calling thread's own heaps.
    unsafe { libmimalloc_sys::mi_collect(true) };
}
