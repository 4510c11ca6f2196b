//! The data directories: made if missing, locked against a second process, marked with node and cluster.

use odradek_base::ids::uuid_to_kafka_string;
use odradek_settings::Settings;
use rustix::fs::{FlockOperation, fcntl_lock, flock};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// Kafka's names for both files.
const LOCK_FILE: &str = ".lock";
const META_PROPERTIES: &str = "meta.properties";

/// How many shards last ran on the directories. Each shard has a journal, which only a node with that shard replays.
const SHARDS_FILE: &str = "odradek-shards";
/// Kafka's marker of a clean stop.
const CLEAN_SHUTDOWN: &str = ".kafka_cleanshutdown";

/// The locked data directories of this process; the locks go when it ends, however it ends.
pub struct DataDir {
    pub cluster_id: String,
    /// Directories that were stopped cleanly before, and what their marker says.
    marks: Vec<(PathBuf, Vec<u8>)>,
    _locks: Vec<File>,
}

#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    #[error("{path}: {error}")]
    Io { path: PathBuf, error: io::Error },
    #[error("{path} is in use by another process: stop that one, or give this one another log.dirs")]
    InUse { path: PathBuf },
    #[error("{path} belongs to node {found}, this is node {wanted}: set node.id={found}, or use another directory")]
    OtherNode { path: PathBuf, found: String, wanted: i32 },
    #[error("{path} belongs to cluster {found}, {first} to cluster {wanted}: directories of two clusters cannot be mixed")]
    OtherCluster { path: PathBuf, found: String, first: PathBuf, wanted: String },
    #[error(
        "{path} was last used by {found} shards and was not stopped cleanly, so {found} journals have to be replayed: start once with \
         odradek.shards={found}, stop it, and then start with {wanted}"
    )]
    OtherShards { path: PathBuf, found: u16, wanted: u16 },
    #[error("{path} has no {key}: it is not a data directory of Kafka's format version 1")]
    Incomplete { path: PathBuf, key: &'static str },
}

impl DataDir {
    /// Makes, locks and checks every directory of `log.dirs`, and the journal's and the metadata's where they differ.
    pub fn open(settings: &Settings, shards: u16) -> Result<Self, DataDirError> {
        let dirs = directories(settings);
        // Without the first log directory, the journal's or the metadata's there is nothing to start from. Any other may be offline.
        let needed: Vec<PathBuf> =
            settings.log_dirs().into_iter().take(1).chain(settings.journal_dir()).chain([settings.metadata_log_dir()]).collect();
        let node = settings.node_id().get();
        let (mut locks, mut found, mut online) = (Vec::new(), Vec::new(), Vec::new());
        for dir in dirs {
            match open_one(&dir, node) {
                Ok((lock, cluster)) => {
                    locks.push(lock);
                    found.push((dir.clone(), cluster));
                    online.push(dir);
                }
                Err(DataDirError::Io { path, error }) if !needed.contains(&dir) => {
                    tracing::error!(directory = %dir.display(), "log directory offline: {}: {error}", path.display());
                }
                Err(error) => return Err(error),
            }
        }
        let dirs = online;
        let mut known: Option<(PathBuf, String)> = None;
        for (dir, found) in &found {
            let Some(found) = found.clone() else { continue };
            match &known {
                None => known = Some((dir.clone(), found)),
                Some((_, wanted)) if *wanted == found => {}
                Some((first, wanted)) => {
                    return Err(DataDirError::OtherCluster { path: dir.clone(), found, first: first.clone(), wanted: wanted.clone() });
                }
            }
        }
        let cluster_id = known.map_or_else(|| uuid_to_kafka_string(Uuid::new_v4()), |(_, id)| id);
        for dir in &dirs {
            write_meta(dir, &cluster_id, node)?;
        }
        if let Some(first) = settings.log_dirs().first() {
            check_shards(first, shards)?;
        }
        // From here on the directories are in use: whoever finds them without the marker checks them.
        let mut marks = Vec::new();
        for dir in &dirs {
            if let Ok(mark) = fs::read(dir.join(CLEAN_SHUTDOWN)) {
                marks.push((dir.clone(), mark));
            }
            remove_durably(dir, CLEAN_SHUTDOWN)?;
        }
        Ok(Self { cluster_id, marks, _locks: locks })
    }

    /// The start came to nothing and everything that it opened is closed again: what was stopped cleanly before still is.
    pub fn not_used(&self) {
        for (dir, mark) in &self.marks {
            if let Err(error) = write_durably(dir, &dir.join(CLEAN_SHUTDOWN), mark) {
                tracing::warn!("the mark of a clean stop could not be put back, so the next start checks what it need not: {error}");
            }
        }
    }
}

/// Makes and locks one directory and reads which cluster it belongs to.
fn open_one(dir: &Path, node: i32) -> Result<(File, Option<String>), DataDirError> {
    fs::create_dir_all(dir).map_err(|error| DataDirError::Io { path: dir.to_path_buf(), error })?;
    let lock = lock(dir)?;
    let found = read_meta(dir, node)?;
    Ok((lock, found))
}

/// Every directory of a node: `log.dirs`, and the journal's and the metadata's where they differ.
pub fn directories(settings: &Settings) -> Vec<PathBuf> {
    let mut dirs = settings.log_dirs();
    dirs.extend(settings.journal_dir());
    dirs.push(settings.metadata_log_dir());
    dirs.sort();
    dirs.dedup();
    dirs
}

/// The cluster that a directory is marked for; `None` for a new one.
pub fn marked_cluster(dir: &Path) -> Result<Option<String>, DataDirError> {
    let Some((path, text)) = meta_text(dir)? else { return Ok(None) };
    match pairs(&text).get("cluster.id") {
        Some(id) => Ok(Some((*id).to_string())),
        None => Err(DataDirError::Incomplete { path, key: "cluster.id" }),
    }
}

/// Makes a directory and marks it, unless it is marked already or a process uses it.
pub fn format(dir: &Path, cluster_id: &str, node: i32) -> Result<(), DataDirError> {
    fs::create_dir_all(dir).map_err(|error| DataDirError::Io { path: dir.to_path_buf(), error })?;
    let _lock = lock(dir)?;
    write_meta(dir, cluster_id, node)
}

fn lock(dir: &Path) -> Result<File, DataDirError> {
    let path = dir.join(LOCK_FILE);
    let io = |error| DataDirError::Io { path: path.clone(), error };
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(io)?;
    // Kafka holds a lock of the other kind (Java's are those of fcntl), so both are taken.
    let locked =
        flock(&file, FlockOperation::NonBlockingLockExclusive).and_then(|()| fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive));
    match locked {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::ACCESS) => Err(DataDirError::InUse { path: dir.to_path_buf() }),
        Err(error) => Err(io(error.into())),
    }
}

/// Refuses another number of shards while journals are waiting to be replayed, and notes the number.
fn check_shards(dir: &Path, wanted: u16) -> Result<(), DataDirError> {
    let path = dir.join(SHARDS_FILE);
    let before = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse::<u16>().ok());
    match before {
        Some(found) if found == wanted => return Ok(()),
        Some(found) if !dir.join(CLEAN_SHUTDOWN).exists() => {
            return Err(DataDirError::OtherShards { path: dir.to_path_buf(), found, wanted });
        }
        _ => {}
    }
    write_durably(dir, &path, wanted.to_string().as_bytes())
}

/// The cluster id of a directory that was used before; `None` for a new one.
fn read_meta(dir: &Path, node: i32) -> Result<Option<String>, DataDirError> {
    let Some((path, text)) = meta_text(dir)? else { return Ok(None) };
    let pairs = pairs(&text);
    let found = pairs.get("node.id").or(pairs.get("broker.id"));
    match found {
        None => return Err(DataDirError::Incomplete { path, key: "node.id" }),
        Some(found) if *found != node.to_string() => {
            return Err(DataDirError::OtherNode { path, found: (*found).to_string(), wanted: node });
        }
        Some(_) => {}
    }
    match pairs.get("cluster.id") {
        Some(id) => Ok(Some((*id).to_string())),
        None => Err(DataDirError::Incomplete { path, key: "cluster.id" }),
    }
}

/// `meta.properties` of a directory, where it has one.
fn meta_text(dir: &Path) -> Result<Option<(PathBuf, String)>, DataDirError> {
    let path = dir.join(META_PROPERTIES);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some((path, text))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(DataDirError::Io { path, error }),
    }
}

fn pairs(text: &str) -> BTreeMap<&str, &str> {
    text.lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.trim(), value.trim()))
        .collect()
}

/// Marks a directory, unless it is marked already (`org.apache.kafka.metadata.properties.MetaProperties`, version 1).
fn write_meta(dir: &Path, cluster_id: &str, node: i32) -> Result<(), DataDirError> {
    let path = dir.join(META_PROPERTIES);
    if path.exists() {
        return Ok(());
    }
    let directory_id = uuid_to_kafka_string(Uuid::new_v4());
    let text = format!("cluster.id={cluster_id}\ndirectory.id={directory_id}\nnode.id={node}\nversion=1\n");
    write_durably(dir, &path, text.as_bytes())
}

fn remove_durably(dir: &Path, name: &str) -> Result<(), DataDirError> {
    let path = dir.join(name);
    match fs::remove_file(&path) {
        Ok(()) => File::open(dir).and_then(|dir| dir.sync_all()).map_err(|error| DataDirError::Io { path, error }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(DataDirError::Io { path, error }),
    }
}

/// Replaces a file as a whole: after a crash it is the old one or the new one.
fn write_durably(dir: &Path, path: &Path, content: &[u8]) -> Result<(), DataDirError> {
    let io = |error| DataDirError::Io { path: path.to_path_buf(), error };
    let temporary = path.with_extension("tmp");
    let mut file = File::create(&temporary).map_err(io)?;
    file.write_all(content).map_err(io)?;
    file.sync_all().map_err(io)?;
    fs::rename(&temporary, path).map_err(io)?;
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(io)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(dir: &Path, node: &str) -> Settings {
        let overrides = [format!("log.dirs={}", dir.display()), format!("node.id={node}")];
        Settings::load(None, &overrides).unwrap().0
    }

    #[test]
    fn a_directory_keeps_its_cluster_and_its_node_and_is_locked() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("data");
        let first = DataDir::open(&settings(&dir, "7"), 2).unwrap();
        assert!(matches!(DataDir::open(&settings(&dir, "7"), 2), Err(DataDirError::InUse { .. })));
        let cluster_id = first.cluster_id.clone();
        drop(first);
        assert_eq!(DataDir::open(&settings(&dir, "7"), 2).unwrap().cluster_id, cluster_id);
        assert!(matches!(DataDir::open(&settings(&dir, "8"), 2), Err(DataDirError::OtherNode { .. })));
        fs::write(dir.join(META_PROPERTIES), "version=1\nnode.id=7\n").unwrap();
        assert!(matches!(DataDir::open(&settings(&dir, "7"), 2), Err(DataDirError::Incomplete { .. })));
    }

    #[test]
    fn another_number_of_shards_needs_a_clean_stop() {
        let temp = tempfile::tempdir().unwrap();
        let settings = settings(temp.path(), "7");
        drop(DataDir::open(&settings, 2).unwrap());
        assert!(matches!(DataDir::open(&settings, 3), Err(DataDirError::OtherShards { found: 2, wanted: 3, .. })));
        fs::write(temp.path().join(CLEAN_SHUTDOWN), "").unwrap();
        drop(DataDir::open(&settings, 3).unwrap());
        assert!(matches!(DataDir::open(&settings, 2), Err(DataDirError::OtherShards { found: 3, wanted: 2, .. })));
    }

    #[test]
    fn directories_of_two_clusters_are_not_mixed() {
        let temp = tempfile::tempdir().unwrap();
        let (a, b) = (temp.path().join("a"), temp.path().join("b"));
        drop(DataDir::open(&settings(&a, "1"), 2).unwrap());
        drop(DataDir::open(&settings(&b, "1"), 2).unwrap());
        let both = format!("log.dirs={},{}", a.display(), b.display());
        let settings = Settings::load(None, &[both]).unwrap().0;
        assert!(matches!(DataDir::open(&settings, 2), Err(DataDirError::OtherCluster { .. })));
    }
}
