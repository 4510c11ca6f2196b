//! SIGTERM and SIGINT: the broker ends in order, also when told before it serves.
//!
//! Until a process has handlers, either signal kills it (`signal(7)`), and one that just said that it serves may be told to stop at once.
//! So they are taken over before the first file is opened.

use super::notify::{self, Stopping};
use super::shards::Stopper;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};
use signal_hook::low_level::emulate_default_handler;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// What a signal finds.
enum Stage {
    /// The broker starts. A start that was told to stop runs to its end first: what it has begun is then finished.
    Starting {
        told: bool,
    },
    Serving {
        stopper: Stopper,
        watchdog: Stopping,
    },
}

/// Waits for signals on its own thread. Dropped when the broker has stopped, or did not start.
pub struct StopSignals {
    stage: Arc<Mutex<Stage>>,
    handle: Handle,
    waiter: Option<JoinHandle<()>>,
}

impl StopSignals {
    /// Takes over both signals.
    ///
    /// # Errors
    /// When the handlers or the thread cannot be had.
    pub fn listen() -> io::Result<Self> {
        let mut signals = Signals::new([SIGTERM, SIGINT])?;
        let handle = signals.handle();
        let stage = Arc::new(Mutex::new(Stage::Starting { told: false }));
        let seen = stage.clone();
        let waiter = std::thread::Builder::new().name("signals".into()).spawn(move || {
            for signal in signals.forever() {
                receive(&mut seen.lock().unwrap_or_else(PoisonError::into_inner), signal);
            }
        })?;
        Ok(Self { stage, handle, waiter: Some(waiter) })
    }

    /// From here on a signal stops the broker; one that came during the start does so now.
    pub fn serving(&self, stopper: Stopper, watchdog: Stopping) {
        let mut stage = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*stage, Stage::Starting { told: true }) {
            stop(&stopper, &watchdog);
        }
        *stage = Stage::Serving { stopper, watchdog };
    }
}

impl Drop for StopSignals {
    fn drop(&mut self) {
        self.handle.close();
        if let Some(waiter) = self.waiter.take() {
            let _ = waiter.join();
        }
    }
}

fn receive(stage: &mut Stage, signal: i32) {
    match stage {
        Stage::Serving { stopper, watchdog } => {
            tracing::info!(signal, "stopping: finishing what is in flight, then flushing");
            stop(stopper, watchdog);
        }
        Stage::Starting { told: told @ false } => {
            tracing::info!(signal, "the start is finished first, then the broker stops; another signal ends it at once, uncleanly");
            *told = true;
        }
        Stage::Starting { told: true } => {
            tracing::warn!(signal, "ended during the start; the next one replays the journal");
            // Ends the process for both signals.
            let _ = emulate_default_handler(signal);
        }
    }
}

fn stop(stopper: &Stopper, watchdog: &Stopping) {
    watchdog.set();
    notify::stopping();
    stopper.stop();
}
