//! When reads of cold data may use the device: as they like while nobody writes, with a share of its time beside live writes.
//!
//! A journal write waits behind what the device has begun to read, and what was read has to be checked and sent on the shard's thread. So
//! beside live writes cold reads go one after the other, none begins while a journal write is under way, and after each the device rests
//! from them in proportion to how long it took: a slow device gets longer rests without anybody knowing its speed.

use crate::byte_gate::{ByteGate, Passage};
use crate::shared::Shared;
use odradek_base::Instant;
use std::cell::Cell;
use std::time::Duration;

/// Writes are live for so long after a journal block.
const LIVE_FOR: Duration = Duration::from_millis(100);
/// Longest rest after one read: a device that hangs once does not hold readers up for long afterwards.
const REST_MAX: Duration = Duration::from_millis(50);

/// The cold reads of one shard.
#[derive(Default)]
pub(crate) struct ColdReads {
    gate: ByteGate,
    /// No cold read begins before, while writes are live.
    rest_until: Cell<Option<Instant>>,
    /// Bytes that were read and are being looked at.
    looked_at: Cell<usize>,
}

/// A cold read that may run. It keeps its place among those under way until this is dropped, so that no more is read than is looked at.
pub(crate) struct ColdRead<'a> {
    shared: &'a Shared,
    began: Instant,
    /// The device is done, and somebody looks at what was read.
    looked_at: bool,
    passage: Passage,
}

impl ColdRead<'_> {
    /// Size of the buffer.
    pub fn bytes(&self) -> usize {
        self.passage.bytes()
    }

    /// The device is done.
    pub fn finish(&mut self) {
        self.rest();
        self.looked_at = true;
        let looked_at = &self.shared.cold_reads.looked_at;
        looked_at.set(looked_at.get() + self.bytes());
    }

    fn rest(&self) {
        let now = self.shared.ring.now();
        let rest = rest_after(now - self.began, self.shared.config.cold_reads_live_percent);
        self.shared.cold_reads.rest_until.set(Some(now + rest));
    }
}

impl Drop for ColdRead<'_> {
    fn drop(&mut self) {
        if self.looked_at {
            let looked_at = &self.shared.cold_reads.looked_at;
            looked_at.set(looked_at.get() - self.bytes());
        } else {
            self.rest();
        }
    }
}

/// Whether the journal is being written.
pub(crate) fn writes_are_live(shared: &Shared) -> bool {
    shared.ring.now() - shared.commit.moved_at.get() < LIVE_FOR
}

impl ColdReads {
    /// Bytes that are being read or looked at.
    pub fn bytes(&self) -> usize {
        self.gate.bytes()
    }

    /// Bytes of those that were read: their buffers are lent.
    pub fn looked_at_bytes(&self) -> usize {
        self.looked_at.get()
    }

    /// Waits until `bytes` may be read.
    pub async fn begin<'a>(&self, shared: &'a Shared, bytes: usize) -> ColdRead<'a> {
        let passage = self.gate.pass(bytes, || under_way_bytes_max(shared)).await;
        if writes_are_live(shared) {
            if let Some(rest) = self.rest_until.get().filter(|rest| *rest > shared.ring.now()) {
                shared.ring.sleep_until(rest).await;
            }
            // At most one write is waited for: readers go on also when one follows the other.
            let settled = shared.commit.settled.listen();
            if shared.commit.under_way.get() {
                settled.await;
            }
        }
        ColdRead { shared, began: shared.ring.now(), looked_at: false, passage }
    }
}

/// Bytes of cold reads that may be under way at the same time.
fn under_way_bytes_max(shared: &Shared) -> usize {
    if writes_are_live(shared) { shared.config.cold_reads_live_bytes_max } else { shared.config.cold_reads_bytes_max }
}

/// How long cold reads rest after one that took `took`, so that they have `percent` of the time.
fn rest_after(took: Duration, percent: u32) -> Duration {
    let percent = percent.clamp(1, 100);
    (took * (100 - percent) / percent).min(REST_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rest_leaves_reads_their_share_of_the_time() {
        let took = Duration::from_micros(300);
        assert_eq!(rest_after(took, 100), Duration::ZERO);
        assert_eq!(rest_after(took, 25), 3 * took);
        assert_eq!(rest_after(took, 0), 99 * took, "never none");
        assert_eq!(rest_after(Duration::from_secs(5), 25), REST_MAX);
    }
}
