//! Exit codes, which scripts rely on.

mod support;

use odradek_tune::{command, run};
use std::process::ExitCode;
use support::MadeUp;

fn tune(machine: &MadeUp, arguments: &[&str]) -> String {
    let root = machine.root().path("/");
    let all = ["tune", "--root", root.to_str().unwrap()].into_iter().chain(arguments.iter().copied());
    format!("{:?}", run(&command().get_matches_from(all)))
}

#[test]
fn zero_is_fit_and_one_is_not() {
    let (good, bad) = (format!("{:?}", ExitCode::SUCCESS), format!("{:?}", ExitCode::FAILURE));
    let machine = MadeUp::new(2, 4, 1);
    assert_eq!(tune(&machine, &["check", "--json"]), good);
    machine.file("/proc/sys/vm/swappiness", "60");
    assert_eq!(tune(&machine, &["check"]), bad);
    assert_eq!(tune(&machine, &["apply", "--dry-run"]), good);
    assert_eq!(tune(&machine, &["check"]), bad, "a dry run mends nothing");
    assert_eq!(tune(&machine, &["apply"]), good);
    assert_eq!(tune(&machine, &["check"]), good);
    assert_eq!(tune(&machine, &["undo"]), good);
    assert_eq!(tune(&machine, &["check"]), bad);
    let out = tempfile::tempdir().unwrap();
    assert_eq!(tune(&machine, &["plan", "--out", out.path().to_str().unwrap()]), good);
    assert!(out.path().join("etc/odradek/node-1.properties").exists());
    assert_eq!(tune(&machine, &["plan", "--port", "60000"]), bad);
    assert_eq!(tune(&machine, &["disk", "/no/such/directory"]), bad);
}
