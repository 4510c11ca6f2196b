//! Which log directories can be used, and where direct I/O works.

use super::RecoveryReport;
use crate::config::{DirectIo, StoreConfig};
use crate::error::StoreError;
use crate::segment_files;
use odradek_ring::{OpenOptions, Ring};
use std::path::Path;
use std::rc::Rc;

/// What is known of the directories before anything is read.
pub(super) struct Directories {
    /// Per log directory: direct I/O works there.
    pub direct: Vec<bool>,
    pub journal_direct: bool,
    /// Per log directory: why it cannot be used.
    pub offline: Vec<Option<Rc<str>>>,
}

/// Makes the directories and finds out which can be used, and where direct I/O works. The journal's directory and the first log directory, which
/// has the state file, must be there; of the others each may be offline.
pub(super) async fn directories(ring: &Ring, config: &StoreConfig, report: &mut RecoveryReport) -> Result<Directories, StoreError> {
    let journal_dir = config.journal_dir();
    let mut known = Directories { direct: Vec::new(), journal_direct: false, offline: Vec::new() };
    for (index, directory) in config.log_dirs.iter().enumerate() {
        let probed = match probe(ring, directory, config, report).await {
            Err(error) if index > 0 && *directory != journal_dir && matches!(error, StoreError::Io { .. }) && !error.is_full() => {
                let reason = format!("log directory {} is offline: {error}", directory.display());
                tracing::error!("{reason}; its partitions are not served until a restart that can open it");
                report.offline_directories.push((directory.clone(), error.to_string()));
                Err(reason)
            }
            probed => Ok(probed?),
        };
        known.direct.push(probed.as_ref().copied().unwrap_or(false));
        known.offline.push(probed.err().map(Rc::from));
    }
    known.journal_direct = probe(ring, &journal_dir, config, report).await?;
    Ok(known)
}

async fn probe(ring: &Ring, directory: &Path, config: &StoreConfig, report: &mut RecoveryReport) -> Result<bool, StoreError> {
    ring.create_dir_all(directory).await.map_err(|error| StoreError::io("create", directory, error))?;
    match config.direct_io {
        DirectIo::Off => {
            ring.read_dir(directory).await.map_err(|error| StoreError::io("list", directory, error))?;
            Ok(false)
        }
        _ => probe_direct(ring, directory, config, report).await,
    }
}

async fn probe_direct(ring: &Ring, directory: &Path, config: &StoreConfig, report: &mut RecoveryReport) -> Result<bool, StoreError> {
    let path = directory.join(format!("odradek-shard-{}.probe", config.shard));
    let options = OpenOptions { read: true, write: true, create: true, truncate: true, direct: true, ..OpenOptions::default() };
    let result = match ring.open(&path, options).await {
        Ok(file) => {
            let block = odradek_base::AlignedBuf::zeroed(odradek_base::BLOCK_ALIGNMENT).freeze();
            file.write_at(vec![block], 0, odradek_ring::Sync::No).await
        }
        Err(error) => Err(error),
    };
    segment_files::remove(ring, &path).await?;
    match result {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::InvalidInput || error.raw_os_error() == Some(libc_eopnotsupp()) => {
            if config.direct_io == DirectIo::Required {
                return Err(StoreError::NoDirectIo { path: directory.to_owned(), error: std::sync::Arc::new(error) });
            }
            if !report.buffered.iter().any(|(known, _)| known == directory) {
                tracing::warn!(directory = %directory.display(), "no direct I/O ({error}): writes go through the page cache");
                report.buffered.push((directory.to_owned(), error.to_string()));
            }
            Ok(false)
        }
        // It could be opened for direct I/O; that there is no room says nothing about that.
        Err(error) if odradek_base::disk::is_full(&error) => Ok(true),
        Err(error) => Err(StoreError::io("write", &path, error)),
    }
}

/// `EOPNOTSUPP` on Linux.
const fn libc_eopnotsupp() -> i32 {
    95
}
