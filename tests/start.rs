//! Starts that must not succeed, and what they say.

use odradek::serve::broker::Broker;
use odradek_ring::forbid::forbid_io_uring;
use odradek_settings::Settings;
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
