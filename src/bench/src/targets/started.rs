//! A broker process that belongs to the harness.

use super::affinity;
use super::guard::{Guard, STOP_MAX, await_signalled_end};
use crate::BenchError;
use crate::process::Process;
use odradek_client::{ClientConfig, ClientError, Cluster, Connection};
use rustix::process::{Pid, Signal, kill_process};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Time a broker has to answer.
const START_MAX: Duration = Duration::from_secs(180);
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// Odradek's shards listen this much above its port, Kafka's controller one above.
const SHARD_PORT_OFFSET: u16 = 10_000;
const SHARDS_LOOKED_AT: u16 = 64;
const LOG: &str = "broker.log";

/// A folder for a broker, removed when this is dropped or the harness ends in any other way.
pub struct Folder {
    // Dropped in this order: the guard is dismissed when the folder is gone.
    folder: TempDir,
    guard: Guard,
}

impl Folder {
    /// Makes one in `work`, which is made if it is not there.
    pub fn within(work: &Path) -> Result<Self, BenchError> {
        let failed = |e: std::io::Error| BenchError::Broker(format!("{}: {e}", work.display()));
        std::fs::create_dir_all(work).map_err(failed)?;
        let folder = tempfile::Builder::new().prefix("broker-").tempdir_in(work).map_err(failed)?;
        let guard = Guard::over(folder.path())?;
        Ok(Self { folder, guard })
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// A running broker. Stopped when dropped, and its folder removed.
pub struct Started {
    child: Child,
    pub process: Process,
    pub name: String,
    pub bootstrap: String,
    folder: Folder,
}

impl Started {
    /// Starts it on these CPUs and waits until it answers.
    pub fn start(name: String, mut command: Command, port: u16, folder: Folder, cpus: Option<&[usize]>) -> Result<Self, BenchError> {
        let log = std::fs::File::create(folder.path().join(LOG))?;
        // An interrupt from the terminal reaches the harness, which stops the broker in its own time.
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
        let begun = Instant::now();
        let child = affinity::on(cpus, || folder.guard.spawn(&mut command))
            .map_err(|e| BenchError::Broker(format!("{name} cannot be started: {e}")))?;
        let bootstrap = format!("127.0.0.1:{port}");
        let process = Process::new(child.id(), Duration::ZERO);
        let mut started = Self { child, process, name, bootstrap, folder };
        let config = ClientConfig::new(&started.bootstrap)?;
        started.await_that(begun, |bootstrap| Connection::open(bootstrap, &config).is_ok())?;
        started.process = Process::new(started.child.id(), begun.elapsed());
        // The first answer names brokers whose own ports may open a moment later.
        started.await_that(begun, |_| all_answer(&config).is_ok())?;
        Ok(started)
    }

    fn await_that(&mut self, begun: Instant, answers: impl Fn(&str) -> bool) -> Result<(), BenchError> {
        while !answers(&self.bootstrap) {
            if let Some(status) = self.child.try_wait()? {
                return Err(BenchError::Broker(format!("{} ended ({status}) before it answered:\n{}", self.name, self.log_tail())));
            }
            if begun.elapsed() > START_MAX {
                return Err(BenchError::Broker(format!("{} does not answer after {START_MAX:?}:\n{}", self.name, self.log_tail())));
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }

    fn log_tail(&self) -> String {
        tail(&self.folder.path().join(LOG))
    }
}

/// Connects to every broker that the metadata names.
fn all_answer(config: &ClientConfig) -> Result<(), ClientError> {
    let mut cluster = Cluster::connect(config.clone())?;
    let brokers: Vec<i32> = cluster.brokers().map(|b| b.id).collect();
    brokers.into_iter().try_for_each(|id| cluster.connection(id).map(|_| ()))
}

fn tail(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

impl Drop for Started {
    fn drop(&mut self) {
        await_signalled_end();
        if let Some(pid) = Pid::from_raw(self.child.id() as i32) {
            // It may have ended by itself.
            let _ = kill_process(pid, Signal::TERM);
        }
        let asked = Instant::now();
        while asked.elapsed() < STOP_MAX {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        eprintln!("{} does not stop after {STOP_MAX:?}: killed", self.name);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that is free together with the one above and those of shards. Below the range of outgoing connections.
pub fn free_port() -> u16 {
    let free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    let shards = std::thread::available_parallelism().map_or(1, |n| n.get() as u16).min(SHARDS_LOOKED_AT);
    loop {
        let drawn = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|l| l.local_addr()).map_or(20_000, |a| a.port());
        let port = 10_240 + drawn % 12_000;
        if free(port) && free(port + 1) && (0..shards).all(|shard| free(port + SHARD_PORT_OFFSET + shard)) {
            return port;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_that_ends_at_once_is_quoted() {
        let work = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo the disk is full >&2; exit 3"]);
        let folder = Folder::within(work.path()).unwrap();
        let error = Started::start("sh".into(), command, free_port(), folder, None).err().expect("it ended").to_string();
        assert!(error.contains("the disk is full") && error.contains('3'), "{error}");
    }
}
