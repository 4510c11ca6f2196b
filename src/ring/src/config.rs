//! Settings of a ring, what the kernel granted, and what the ring counted.

use std::fmt;
use std::time::Duration;

/// Settings of one ring. The defaults are measured ones for a server shard.
#[derive(Debug, Clone)]
pub struct RingConfig {
    /// Entries of the submission queue.
    pub submission_entries: u32,
    /// Entries of the completion queue.
    pub completion_entries: u32,
    /// Number of receive buffers, a power of two. All streams of the ring share them.
    pub recv_buffers: u16,
    /// Bytes of one receive buffer, a multiple of 4096.
    pub recv_buffer_bytes: u32,
    /// Received chunks up to this many bytes are copied out of their buffer instead of pinning it.
    pub recv_copy_bytes_max: u32,
    /// Received bytes that one stream may hold unread before the ring stops receiving for it.
    pub recv_unread_bytes_max: usize,
    /// Received bytes that all streams together may hold unread; beyond it a stream holds what one receive brings.
    pub recv_unread_total_bytes_max: usize,
    /// How long to poll before blocking, while the ring is busy enough for it to pay. Zero turns it off.
    pub spin: Duration,
    /// Longest run of tasks between two looks at the completion queue.
    pub turn: Duration,
    /// Seed of the ring's random numbers; 0 takes one from the system.
    pub seed: u64,
}

impl Default for RingConfig {
    fn default() -> Self {
        Self {
            submission_entries: 1024,
            completion_entries: 4096,
            recv_buffers: 16,
            recv_buffer_bytes: 256 * 1024,
            recv_copy_bytes_max: 4096,
            recv_unread_bytes_max: 256 * 1024,
            recv_unread_total_bytes_max: 4 << 20,
            spin: Duration::from_micros(30),
            turn: Duration::from_micros(100),
            seed: 0,
        }
    }
}

/// Which backend a ring runs on and what it got; `Display` is one line for the start banner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Features {
    pub backend: &'static str,
    /// Set-up flags and abilities that are in use.
    pub granted: Vec<&'static str>,
    /// What was asked for and refused, with the reason.
    pub refused: Vec<String>,
}

impl Features {
    /// True where a named flag or ability is in use.
    pub fn has(&self, name: &str) -> bool {
        self.granted.contains(&name)
    }
}

impl fmt::Display for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.backend)?;
        if !self.granted.is_empty() {
            write!(f, " with {}", self.granted.join(", "))?;
        }
        if !self.refused.is_empty() {
            write!(f, "; without {}", self.refused.join(", "))?;
        }
        Ok(())
    }
}

/// Counters since the ring was made. The simulated backend fills only `turns`, `polls` and `wakes`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RingStats {
    /// `io_uring_enter` calls.
    pub enters: u64,
    /// Other system calls the ring made itself (socket set-up, file metadata, eventfd writes excluded).
    pub other_syscalls: u64,
    /// Entries submitted.
    pub sqes: u64,
    /// Completions reaped.
    pub cqes: u64,
    /// Turns of the loop.
    pub turns: u64,
    /// Polls of tasks.
    pub polls: u64,
    /// Times the ring blocked in the kernel.
    pub blocks: u64,
    /// Times polling before blocking found something.
    pub spins_hit: u64,
    /// Times it did not.
    pub spins_missed: u64,
    /// Bytes received.
    pub recv_bytes: u64,
    /// Bytes of those that were copied out of their receive buffer.
    pub recv_copied_bytes: u64,
    /// Bytes received and not read yet, at this moment.
    pub recv_unread_bytes: u64,
    /// Times a receive ended for want of a buffer.
    pub recv_starved: u64,
}

impl RingStats {
    /// All system calls the ring made.
    pub fn syscalls(&self) -> u64 {
        self.enters + self.other_syscalls
    }
}
