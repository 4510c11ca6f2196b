//! Odradek: this binary, or one built from a revision of the repository in which the harness runs.

use crate::BenchError;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs a command to its end; its standard output, or what it complained about.
pub fn output(command: &mut Command) -> Result<String, BenchError> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|e| BenchError::Broker(format!("{name}: cannot be run: {e}")))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        let tail: Vec<&str> = errors.lines().rev().take(20).collect();
        let tail: Vec<&str> = tail.into_iter().rev().collect();
        return Err(BenchError::Broker(format!("{name} failed ({}):\n{}", output.status, tail.join("\n"))));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The binary of a revision, built once and kept in `cache`. Uncommitted changes are not in it.
pub fn build(cache: &Path, revision: &str) -> Result<PathBuf, BenchError> {
    let top = output(Command::new("git").args(["rev-parse", "--show-toplevel"]))?;
    let commit = output(Command::new("git").args(["rev-parse", "--verify", "--end-of-options", &format!("{revision}^{{commit}}")]))?;
    let builds = cache.join("builds");
    let folder = builds.join(&commit);
    let binary = folder.join("odradek");
    if binary.is_file() {
        return Ok(binary);
    }
    let failed = |e: std::io::Error| BenchError::Broker(format!("{}: {e}", folder.display()));
    let source = folder.join("source");
    if source.exists() {
        // A build that was interrupted.
        std::fs::remove_dir_all(&source).map_err(failed)?;
    }
    std::fs::create_dir_all(&folder).map_err(failed)?;
    eprintln!("building {revision} ({}); this takes minutes, once", &commit[..commit.len().min(12)]);
    output(Command::new("git").args(["clone", "-q", "--no-checkout", &top]).arg(&source))?;
    output(Command::new("git").arg("-C").arg(&source).args(["checkout", "-q", "--detach", &commit]))?;
    // One target folder for all revisions: what has not changed is built once.
    let target = builds.join("target");
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "-q", "--release", "--bin", "odradek"]).current_dir(&source).env("CARGO_TARGET_DIR", &target);
    output(&mut cargo)?;
    let part = folder.join("odradek.part");
    std::fs::copy(target.join("release").join("odradek"), &part).map_err(failed)?;
    std::fs::rename(&part, &binary).map_err(failed)?;
    std::fs::remove_dir_all(&source).map_err(failed)?;
    Ok(binary)
}

/// How to start it, and its port.
pub fn command(binary: &Path, folder: &Path, settings: BTreeMap<String, String>) -> (Command, u16) {
    let port = super::started::free_port();
    let mut command = Command::new(binary);
    command.arg("serve");
    let mut all: BTreeMap<String, String> = [
        ("listeners".to_owned(), format!("PLAINTEXT://127.0.0.1:{port}")),
        ("log.dirs".to_owned(), folder.join("data").display().to_string()),
    ]
    .into();
    all.extend(settings);
    for (key, value) in all {
        command.arg("--override").arg(format!("{key}={value}"));
    }
    (command, port)
}
