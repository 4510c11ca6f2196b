//! Ctrl-C and SIGTERM: the first asks a command to finish, one that follows later ends the process at once.

use odradek_client::Interrupt;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals as SignalIterator;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

/// Signals that follow the first one this closely are the same request: wrappers such as timeout(1) send it twice.
const SAME_REQUEST: Duration = Duration::from_secs(1);

/// Raises the interrupt of a client when a signal arrives.
#[derive(Debug, Clone)]
pub struct Signals {
    received: Arc<AtomicI32>,
}

impl Signals {
    /// # Errors
    /// The system refused the handlers.
    pub fn install(interrupt: &Interrupt) -> std::io::Result<Self> {
        let mut signals = SignalIterator::new([SIGINT, SIGTERM])?;
        let received = Arc::new(AtomicI32::new(0));
        let (interrupt, seen) = (interrupt.clone(), received.clone());
        std::thread::spawn(move || {
            let mut first: Option<Instant> = None;
            for signal in signals.forever() {
                match first {
                    None => {
                        first = Some(Instant::now());
                        seen.store(signal, Ordering::Relaxed);
                        interrupt.raise();
                    }
                    Some(at) if at.elapsed() > SAME_REQUEST => std::process::exit(128 + signal),
                    Some(_) => {}
                }
            }
        });
        Ok(Self { received })
    }

    /// 128 + signal number, as shells report it; `None` when none arrived.
    pub fn exit_code(&self) -> Option<u8> {
        match self.received.load(Ordering::Relaxed) {
            0 => None,
            signal => u8::try_from(128 + signal).ok(),
        }
    }
}
