//! Changes what may be changed while the machine runs, and puts it back.

use crate::check::{Change, Item};
use crate::root::{Root, selected};
use serde::{Deserialize, Serialize};
use std::io;

/// Where former values are kept. Root's own directory: what is in this file gets written by root.
pub const SAVED: &str = "/var/lib/odradek-tune/former-values.json";

/// The file format of [`SAVED`].
const VERSION: u32 = 1;

/// What a file held before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Former {
    pub path: String,
    pub value: String,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Saved {
    version: u32,
    former: Vec<Former>,
}

/// What became of one change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Changed,
    /// With `--dry-run`.
    WouldChange,
    Failed(String),
}

/// One change, done or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub path: String,
    pub from: String,
    pub to: String,
    pub outcome: Outcome,
}

#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error("{SAVED}: {0}; nothing more was changed: former values must be kept first (run as root)")]
    Keep(io::Error),
    #[error("{SAVED} is damaged ({0}); restore the values by hand or remove the file to forget them")]
    Damaged(String),
}

/// Carries out the changes of all items, one after the other; a former value is on disk before its file is written.
pub fn apply(root: &Root, items: &[Item], dry_run: bool) -> Result<Vec<Step>, ApplyError> {
    let mut saved = load(root)?;
    let mut steps = Vec::new();
    for Change { path, value } in items.iter().flat_map(|item| &item.changes) {
        let former = root.read(path).unwrap_or_default();
        let former = selected(&former).to_owned();
        if former == *value {
            continue;
        }
        let outcome = if dry_run {
            Outcome::WouldChange
        } else {
            // A second `apply` keeps the value from before the first one.
            if !saved.former.iter().any(|known| known.path == *path) {
                saved.former.push(Former { path: path.clone(), value: former.clone() });
                store(root, &saved).map_err(ApplyError::Keep)?;
            }
            written(root, path, value)
        };
        steps.push(Step { path: path.clone(), from: former, to: value.clone(), outcome });
    }
    Ok(steps)
}

/// Writes the former values back, the last change first. What fails stays recorded, so that undo can be repeated.
pub fn undo(root: &Root, dry_run: bool) -> Result<Vec<Step>, ApplyError> {
    let mut saved = load(root)?;
    let mut steps = Vec::new();
    let mut left = Vec::new();
    for former in saved.former.iter().rev() {
        let now = root.read(&former.path).unwrap_or_default();
        let now = selected(&now).to_owned();
        let outcome = match dry_run {
            true => Outcome::WouldChange,
            // The change itself failed at the time, or somebody restored it: writing it again could fail for nothing.
            false if now == former.value => Outcome::Changed,
            false => written(root, &former.path, &former.value),
        };
        if matches!(outcome, Outcome::Failed(_)) {
            left.insert(0, former.clone());
        }
        steps.push(Step { path: former.path.clone(), from: now, to: former.value.clone(), outcome });
    }
    if !dry_run && !saved.former.is_empty() {
        saved.former = left;
        store(root, &saved).map_err(ApplyError::Keep)?;
    }
    Ok(steps)
}

fn written(root: &Root, path: &str, value: &str) -> Outcome {
    match root.write(path, value) {
        Ok(()) => Outcome::Changed,
        Err(error) => Outcome::Failed(error.to_string()),
    }
}

fn load(root: &Root) -> Result<Saved, ApplyError> {
    if !root.exists(SAVED) {
        return Ok(Saved { version: VERSION, former: Vec::new() });
    }
    let text = root.read(SAVED).ok_or_else(|| ApplyError::Damaged("it cannot be read".into()))?;
    let saved: Saved = serde_json::from_str(&text).map_err(|error| ApplyError::Damaged(error.to_string()))?;
    let strange = saved.former.iter().find(|former| !is_switch(&former.path));
    match strange {
        _ if saved.version != VERSION => Err(ApplyError::Damaged(format!("version {}", saved.version))),
        Some(former) => Err(ApplyError::Damaged(format!("{} is no file of the kernel", former.path))),
        None => Ok(saved),
    }
}

/// Undo runs as root: it writes below `/proc` and `/sys` and nowhere else.
fn is_switch(path: &str) -> bool {
    (path.starts_with("/proc/") || path.starts_with("/sys/")) && !path.split('/').any(|part| part == "..")
}

fn store(root: &Root, saved: &Saved) -> io::Result<()> {
    let path = root.path(SAVED);
    if saved.former.is_empty() {
        return std::fs::remove_file(path);
    }
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    let next = path.with_extension("next");
    std::fs::write(&next, serde_json::to_string_pretty(saved)?)?;
    std::fs::File::open(&next)?.sync_all()?;
    std::fs::rename(next, path)
}
