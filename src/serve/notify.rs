//! Readiness and watchdog for the service manager: `READY=1`, `STOPPING=1`, `WATCHDOG=1` (`sd_notify(3)`).
//!
//! Without `$NOTIFY_SOCKET` nothing happens. The watchdog is told that all is well only while every shard does something: a shard that
//! hangs is noticed within `WatchdogSec`, and the process is restarted.

use odradek_ring::Ring;
use sd_notify::NotifyState;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

/// A shard says so often that it lives. A watchdog interval is tens of seconds.
const BEAT_EVERY: Duration = Duration::from_millis(500);

/// The watchdog is told this many times in its interval, as `sd_watchdog_enabled(3)` advises.
const TOLD_PER_INTERVAL: u32 = 2;

/// One shard's sign of life: written by the shard alone, read by the watchdog's thread.
#[derive(Debug, Clone, Default)]
pub struct Pulse(Arc<AtomicU64>);

impl Pulse {
    /// Runs on the shard for as long as its ring does.
    pub async fn beat(self, ring: Ring) {
        loop {
            self.0.fetch_add(1, Ordering::Relaxed);
            ring.sleep(BEAT_EVERY).await;
        }
    }

    fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Whether the service manager wants signs of life.
pub fn watchdog_wanted() -> bool {
    sd_notify::watchdog_enabled().is_some()
}

/// Tells the service manager that the broker serves.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Tells it that the broker stops.
pub fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("finishing what is in flight, then flushing")]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!("the service manager could not be told ({error}); check NotifyAccess= in the unit");
    }
}

/// Which shards have moved since they were last looked at.
struct Lives {
    pulses: Vec<Pulse>,
    seen: Vec<u64>,
}

impl Lives {
    fn new(pulses: Vec<Pulse>) -> Self {
        let seen = vec![0; pulses.len()];
        Self { pulses, seen }
    }

    /// The shards that have not moved.
    fn silent(&mut self) -> Vec<usize> {
        let now: Vec<u64> = self.pulses.iter().map(Pulse::count).collect();
        let silent = (0..now.len()).filter(|&at| now[at] == self.seen[at]).collect();
        self.seen = now;
        silent
    }
}

/// The thread that tells the watchdog. Ends when dropped.
pub struct Watchdog {
    thread: Option<JoinHandle<()>>,
    ends: Arc<AtomicBool>,
    stopping: Arc<AtomicBool>,
}

/// Says to a [`Watchdog`] that the broker stops: shards end one after the other, and silence is no fault any more.
#[derive(Clone)]
pub struct Stopping(Arc<AtomicBool>);

impl Stopping {
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Watchdog {
    /// Starts telling, where the service manager asked for it.
    pub fn start(pulses: Vec<Pulse>) -> std::io::Result<Self> {
        let (ends, stopping) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let Some(interval) = sd_notify::watchdog_enabled() else { return Ok(Self { thread: None, ends, stopping }) };
        let every = (interval / TOLD_PER_INTERVAL).max(BEAT_EVERY * 2);
        let (ended, stops) = (ends.clone(), stopping.clone());
        let thread = std::thread::Builder::new().name("watchdog".into()).spawn(move || {
            let mut lives = Lives::new(pulses);
            while !ended.load(Ordering::Relaxed) {
                let silent = lives.silent();
                if silent.is_empty() || stops.load(Ordering::Relaxed) {
                    tell(&[NotifyState::Watchdog]);
                } else {
                    tracing::error!(?silent, "shards do not move; the watchdog is not told that all is well");
                }
                std::thread::park_timeout(every);
            }
        })?;
        Ok(Self { thread: Some(thread), ends, stopping })
    }

    pub fn on_stopping(&self) -> Stopping {
        Stopping(self.stopping.clone())
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            Thread::unpark(thread.thread());
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_that_does_not_move_is_silent() {
        let pulses = vec![Pulse::default(), Pulse::default()];
        let mut lives = Lives::new(pulses.clone());
        assert_eq!(lives.silent(), [0, 1], "nobody has moved yet");
        pulses[0].0.fetch_add(1, Ordering::Relaxed);
        pulses[1].0.fetch_add(2, Ordering::Relaxed);
        assert!(lives.silent().is_empty());
        pulses[0].0.fetch_add(1, Ordering::Relaxed);
        assert_eq!(lives.silent(), [1]);
    }
}
