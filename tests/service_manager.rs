//! What the binary tells a service manager: the socket and the variables are those of `sd_notify(3)`, systemd itself is not needed.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longest wait for one word.
const PATIENCE: Duration = Duration::from_secs(60);

struct Manager {
    socket: UnixDatagram,
}

impl Manager {
    fn new(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket }
    }

    /// The next datagram that has this line; others are passed over.
    fn wait_for(&self, line: &str) -> String {
        let mut buffer = [0; 4096];
        loop {
            let length = match self.socket.recv(&mut buffer) {
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => panic!("no {line}: {error}"),
            };
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if text.lines().any(|have| have == line) {
                return text;
            }
        }
    }
}

/// Ends the broker also when the test fails.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(directory: &Path) -> Running {
    // Freed at once: another process could take the port in between, and the test would say that the broker did not start.
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let settings = [
        format!("listeners=PLAINTEXT://127.0.0.1:{port}"),
        format!("log.dirs={}", directory.join("data").display()),
        "odradek.shards=2".into(),
        "odradek.advertise=node".into(),
        "odradek.journal.bytes=8388608".into(),
    ];
    let overrides = settings.iter().flat_map(|setting| ["--override", setting]);
    let child = Command::new(env!("CARGO_BIN_EXE_odradek"))
        .arg("serve")
        .args(overrides)
        .env("NOTIFY_SOCKET", directory.join("notify"))
        .env("WATCHDOG_USEC", "2000000")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    Running(child.unwrap())
}

#[test]
fn the_manager_hears_ready_then_signs_of_life_then_stopping() {
    let directory = tempfile::tempdir().unwrap();
    let manager = Manager::new(&directory.path().join("notify"));
    let mut broker = start(directory.path());
    let ready = manager.wait_for("READY=1");
    assert!(ready.contains("STATUS=serving with 2 shards"), "{ready}");
    // The first may be from before a shard has moved twice; several show that shards go on moving.
    for _ in 0..3 {
        manager.wait_for("WATCHDOG=1");
    }
    let pid = rustix::process::Pid::from_child(&broker.0);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    manager.wait_for("STOPPING=1");
    assert!(broker.0.wait().unwrap().success());
}

#[test]
fn a_stop_that_comes_during_the_start_is_a_clean_stop() {
    let directory = tempfile::tempdir().unwrap();
    let manager = Manager::new(&directory.path().join("notify"));
    let mut broker = start(directory.path());
    // The lock is the first thing a start leaves on disk; the shards come long after it.
    let lock = directory.path().join("data/.lock");
    let patience = Instant::now() + PATIENCE;
    while !lock.exists() {
        assert!(Instant::now() < patience, "the broker did not begin to start");
        std::thread::yield_now();
    }
    let pid = rustix::process::Pid::from_child(&broker.0);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    manager.wait_for("STOPPING=1");
    assert!(broker.0.wait().unwrap().success());
    assert!(directory.path().join("data/.kafka_cleanshutdown").exists());
}
