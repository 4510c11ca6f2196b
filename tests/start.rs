//! Starts that must not succeed, and what they say.

use odradek::serve::broker::Broker;
use odradek_ring::forbid::forbid_io_uring;
use odradek_settings::Settings;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;

#[test]
fn without_io_uring_the_start_is_refused_with_what_helps() {
    let dir = tempfile::tempdir().expect("a directory");
    let overrides = ["listeners=PLAINTEXT://127.0.0.1:0".to_owned(), format!("log.dirs={}", dir.path().display())];
    let settings = Arc::new(Settings::load(None, &overrides).expect("settings").0);
    // On a thread of its own: the refusal is inherited by the threads that it starts, and by no other.
    let started = std::thread::spawn(move || {
        forbid_io_uring(1 /* EPERM */).expect("a filter");
        Broker::start(settings).map(|_| ()).map_err(|error| error.to_string())
    });
    let error = started.join().expect("no panic").expect_err("there is no io_uring");
    assert!(error.contains("io_uring_setup failed") && error.contains("seccomp"), "{error}");
}

fn start_at(dir: &Path, port: u16, shards: u16) -> Result<Broker, String> {
    let overrides = [
        format!("listeners=PLAINTEXT://127.0.0.1:{port}"),
        format!("log.dirs={}", dir.display()),
        format!("odradek.shards={shards}"),
        "odradek.advertise=node".to_owned(),
        "odradek.journal.bytes=8388608".to_owned(),
    ];
    Broker::start(Arc::new(Settings::load(None, &overrides).expect("settings").0)).map_err(|error| error.to_string())
}

#[test]
fn a_start_that_finds_its_port_taken_leaves_a_clean_directory_clean() {
    let dir = tempfile::tempdir().expect("a directory");
    start_at(dir.path(), 0, 2).expect("started").stop().expect("stopped");
    let mark = dir.path().join(".kafka_cleanshutdown");
    let before = std::fs::read(&mark).expect("the mark of a clean stop");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let error = start_at(dir.path(), taken.local_addr().expect("bound").port(), 2).map(|_| ()).expect_err("the port is taken");
    assert!(error.contains("cannot listen"), "{error}");
    assert_eq!(std::fs::read(&mark).expect("still marked"), before);
    // Nothing has to be replayed, so another number of shards is fine.
    start_at(dir.path(), 0, 1).expect("started").stop().expect("stopped");
}
