//! Nothing that the harness started outlives it, however it ends.
//!
//! A harness that is killed, or that panics where panics abort, can clean up nothing. So a process of its own, the same binary, holds the
//! other end of a pipe that only the harness has: when it closes without a word, the guard stops the broker and removes its folder. A signal
//! that the harness can catch takes the same way, and the harness waits for its guards before it dies of that signal.

use crate::BenchError;
use clap::Args;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;
use std::io::{BufRead, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

/// Time a broker has to stop after it was asked to; then it is killed.
pub const STOP_MAX: Duration = Duration::from_secs(30);
/// What the harness says: a broker belongs to the folder; everything was cleaned up.
const BROKER: &str = "broker ";
const DONE: &str = "done";

#[derive(Debug, Clone, Args)]
pub struct GuardArgs {
    /// Folder that is removed.
    folder: PathBuf,
}

/// The guard itself: waits for the end of the harness, which holds the other end of standard input.
pub fn run(args: &GuardArgs) -> Result<bool, BenchError> {
    let mut broker = None;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        if line == DONE {
            return Ok(true);
        }
        if let Some(pid) = line.strip_prefix(BROKER).and_then(|n| n.parse().ok()).and_then(Pid::from_raw) {
            // The harness has not reaped it yet, so this is that process and no later one with its number.
            broker = pidfd_open(pid, PidfdFlags::empty()).ok();
        }
    }
    if let Some(broker) = broker {
        stop(&broker);
    }
    match std::fs::remove_dir_all(&args.folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(true),
    }
}

/// Asks a process to stop and waits for it; kills it when that takes too long.
fn stop(broker: &OwnedFd) {
    for (signal, wait) in [(Signal::TERM, STOP_MAX), (Signal::KILL, STOP_MAX)] {
        // It may have ended by itself: then there is nothing to wait for either.
        let _ = pidfd_send_signal(broker, signal);
        let wait = Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: 0 };
        if matches!(poll(&mut [PollFd::new(broker, PollFlags::IN)], Some(&wait)), Ok(1..)) {
            return;
        }
    }
}

/// Processes that wait for the harness's end, by number.
static GUARDS: Mutex<Vec<(u64, Child, ChildStdin)>> = Mutex::new(Vec::new());
static SIGNALLED: AtomicBool = AtomicBool::new(false);

fn guards() -> MutexGuard<'static, Vec<(u64, Child, ChildStdin)>> {
    GUARDS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A guard over a folder and, once told, over the broker that works in it. Dropped when both are gone.
pub struct Guard(u64);

impl Guard {
    /// Starts one.
    ///
    /// # Errors
    /// When this binary cannot be started again, or signals cannot be caught.
    pub fn over(folder: &Path) -> Result<Self, BenchError> {
        catch_signals()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["bench", "guard"]).arg(folder).stdin(Stdio::piped()).stdout(Stdio::null());
        // In a group of its own, so that an interrupt from the terminal reaches the harness only.
        let started = command.process_group(0).spawn();
        let mut child = started.map_err(|e| BenchError::Broker(format!("the guard over started brokers cannot be started: {e}")))?;
        let tell = child.stdin.take().expect("piped above");
        let mut guards = guards();
        let number = guards.last().map_or(0, |g| g.0 + 1);
        guards.push((number, child, tell));
        Ok(Self(number))
    }

    /// Starts the broker that is to be stopped, too.
    pub fn spawn(&self, command: &mut Command) -> std::io::Result<Child> {
        // A signal waits for the lock, so it finds either no broker or one that the guard knows.
        let mut guards = guards();
        let Some((_, _, tell)) = guards.iter_mut().find(|g| g.0 == self.0) else {
            drop(guards);
            await_signalled_end();
            return Err(std::io::ErrorKind::Interrupted.into());
        };
        let broker = command.spawn()?;
        // A guard that is gone guards nothing, and the benchmark can go on without.
        let _ = writeln!(tell, "{BROKER}{}", broker.id());
        Ok(broker)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut guards = guards();
        if let Some(at) = guards.iter().position(|g| g.0 == self.0) {
            let (_, mut child, mut tell) = guards.remove(at);
            let _ = writeln!(tell, "{DONE}");
            drop(tell);
            let _ = child.wait();
        }
    }
}

/// Signals that end the harness end what it started first. Only where it starts something: else they do what they always do.
fn catch_signals() -> Result<(), BenchError> {
    static CAUGHT: OnceLock<Result<(), String>> = OnceLock::new();
    let catch = || {
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(|e| e.to_string())?;
        let wait = move || {
            for signal in signals.forever() {
                if SIGNALLED.swap(true, Ordering::SeqCst) {
                    // Told twice: the guards do their work without anybody who waits for them.
                    let _ = emulate_default_handler(signal);
                }
                eprintln!("stopping the brokers that were started; another signal does not wait for them");
                std::thread::spawn(move || {
                    let (mut children, tell): (Vec<Child>, Vec<ChildStdin>) = guards().drain(..).map(|(_, c, t)| (c, t)).unzip();
                    drop(tell);
                    for child in &mut children {
                        let _ = child.wait();
                    }
                    let _ = emulate_default_handler(signal);
                });
            }
        };
        std::thread::Builder::new().name("signals".into()).spawn(wait).map_err(|e| e.to_string())?;
        Ok(())
    };
    CAUGHT.get_or_init(catch).clone().map_err(|e| BenchError::Broker(format!("signals cannot be caught: {e}")))
}

/// Does not return when a signal is ending the process: what fails now fails because the brokers are being stopped.
pub fn await_signalled_end() {
    while SIGNALLED.load(Ordering::SeqCst) {
        std::thread::sleep(Duration::from_millis(100));
    }
}
