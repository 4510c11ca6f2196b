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

/// A revision of the repository in which the harness runs.
#[derive(Debug, PartialEq, Eq)]
pub struct Revision {
    /// Top folder of the repository.
    top: PathBuf,
    commit: String,
}

impl Revision {
    /// Looks it up, from a folder within the repository.
    pub fn find(within: &Path, revision: &str) -> Result<Self, BenchError> {
        let git = |arguments: &[&str]| output(Command::new("git").arg("-C").arg(within).args(arguments));
        let top = git(&["rev-parse", "--show-toplevel"]).map_err(|error| {
            BenchError::Arguments(format!(
                "odradek@{revision} is built from the repository of Odradek: run this within a clone of it\n{error}"
            ))
        })?;
        let commit = git(&["rev-parse", "--quiet", "--verify", "--end-of-options", &format!("{revision}^{{commit}}")])
            .map_err(|_| BenchError::Arguments(format!("odradek@{revision}: {top} has no such revision; git fetch may bring it")))?;
        Ok(Self { top: top.into(), commit })
    }

    /// The binary, built once and kept in `cache`. Uncommitted changes are not in it.
    pub fn build(&self, cache: &Path) -> Result<PathBuf, BenchError> {
        let toolchain = output(Command::new("rustc").arg("-vV").current_dir(&self.top))?;
        let builds = cache.join("builds");
        let folder = builds.join(self.key(&toolchain, &std::env::var("RUSTFLAGS").unwrap_or_default()));
        let binary = folder.join("odradek");
        let failed = |e: std::io::Error| BenchError::Broker(format!("{}: {e}", folder.display()));
        std::fs::create_dir_all(&folder).map_err(failed)?;
        // Two harnesses do not build in the same folders at the same time; the lock goes with its file.
        let lock = std::fs::File::create(builds.join("lock")).map_err(failed)?;
        lock.lock().map_err(failed)?;
        if binary.is_file() {
            return Ok(binary);
        }
        let short = &self.commit[..self.commit.len().min(12)];
        eprintln!("building {short}; this takes minutes, once");
        let source = folder.join("source");
        if source.exists() {
            // A build that was interrupted.
            std::fs::remove_dir_all(&source).map_err(failed)?;
        }
        // A clone, which links to what is there, and no worktree: the repository itself is left as it is.
        output(Command::new("git").args(["clone", "-q", "--no-checkout"]).arg(&self.top).arg(&source))?;
        output(Command::new("git").arg("-C").arg(&source).args(["checkout", "-q", "--detach", &self.commit]))?;
        // One target folder for all revisions: what has not changed is built once.
        let target = builds.join("target");
        let mut cargo = Command::new("cargo");
        cargo.args(["build", "-q", "--release", "--locked", "--bin", "odradek"]).current_dir(&source).env("CARGO_TARGET_DIR", &target);
        output(&mut cargo).map_err(|error| BenchError::Broker(format!("{short} does not build: {error}")))?;
        let part = folder.join("odradek.part");
        std::fs::copy(target.join("release").join("odradek"), &part).map_err(failed)?;
        std::fs::rename(&part, &binary).map_err(failed)?;
        std::fs::remove_dir_all(&source).map_err(failed)?;
        Ok(binary)
    }

    /// What tells one build from another: two revisions are only compared when the same compiler made both.
    fn key(&self, toolchain: &str, flags: &str) -> String {
        format!("{}-{:08x}", self.commit, crc32c::crc32c(format!("{toolchain}\n{flags}").as_bytes()))
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A repository with one program called odradek, in two commits: the second one does not compile.
    fn repository() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        let git = |arguments: &[&str]| {
            let who = ["-c", "user.name=test", "-c", "user.email=test@localhost"];
            output(Command::new("git").arg("-C").arg(folder.path()).args(who).args(arguments)).unwrap()
        };
        write(
            "Cargo.toml",
            "[package]\nname = 'odradek'\nversion = '0.1.0'\nedition = '2024'\n[[bin]]\nname = 'odradek'\npath = 'main.rs'\n[workspace]\n",
        );
        write("Cargo.lock", "version = 4\n[[package]]\nname = 'odradek'\nversion = '0.1.0'\n");
        write("main.rs", "fn main() { println!(\"it runs\"); }");
        git(&["init", "-q"]);
        git(&["add", "."]);
        git(&["commit", "-q", "-m", "one"]);
        git(&["tag", "good"]);
        write("main.rs", "fn main() { lost_word }");
        git(&["commit", "-q", "-a", "-m", "two"]);
        folder
    }

    #[test]
    fn revisions_are_built_once_and_a_build_that_fails_says_why() {
        let (repository, cache) = (repository(), tempfile::tempdir().unwrap());
        let find = |revision: &str| Revision::find(repository.path(), revision);
        let good = find("good").unwrap();
        let binary = good.build(cache.path()).unwrap();
        assert_eq!(output(&mut Command::new(&binary)).unwrap(), "it runs");
        // What is in the cache is not built again.
        std::fs::write(&binary, "kept").unwrap();
        assert_eq!(std::fs::read(good.build(cache.path()).unwrap()).unwrap(), b"kept");
        let error = find("HEAD").unwrap().build(cache.path()).unwrap_err().to_string();
        assert!(error.contains("does not build") && error.contains("lost_word"), "{error}");
        assert_eq!(find("HEAD~1").unwrap(), good);
        assert!(output(Command::new("git").arg("-C").arg(repository.path()).args(["status", "--porcelain"])).unwrap().is_empty());
    }

    #[test]
    fn what_is_no_revision_is_named() {
        let repository = repository();
        let error = Revision::find(repository.path(), "no-such").unwrap_err();
        assert!(
            matches!(&error, BenchError::Arguments(text) if text.contains("odradek@no-such") && text.contains("no such revision")),
            "{error}"
        );
        let outside = tempfile::tempdir().unwrap();
        let error = Revision::find(outside.path(), "HEAD").unwrap_err();
        assert!(matches!(&error, BenchError::Arguments(text) if text.contains("within a clone")), "{error}");
    }

    #[test]
    fn another_compiler_or_other_flags_are_another_build() {
        let revision = Revision { top: "/".into(), commit: "abc".into() };
        let key = revision.key("rustc 1", "");
        assert!(key.starts_with("abc-"));
        assert_eq!(key, revision.key("rustc 1", ""));
        assert!(key != revision.key("rustc 2", "") && key != revision.key("rustc 1", "-C target-cpu=native"));
    }
}
