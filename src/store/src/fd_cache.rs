//! Segment and index files that are open: bounded, the one used longest ago is closed first.

use crate::error::StoreError;
use odradek_ring::{File, OpenOptions, Ring};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

struct Open {
    file: File,
    used: u64,
}

pub(crate) struct FileCache {
    files_max: usize,
    files: RefCell<BTreeMap<PathBuf, Open>>,
    clock: Cell<u64>,
}

impl FileCache {
    pub fn new(files_max: usize) -> Self {
        Self { files_max, files: RefCell::new(BTreeMap::new()), clock: Cell::new(0) }
    }

    pub fn len(&self) -> usize {
        self.files.borrow().len()
    }

    /// The file at `path`; `created` says that it was made now and its name is not durable yet.
    pub async fn open(&self, ring: &Ring, path: &Path, direct: bool, create: bool) -> Result<(File, bool), StoreError> {
        let used = self.clock.get() + 1;
        self.clock.set(used);
        if let Some(open) = self.files.borrow_mut().get_mut(path) {
            open.used = used;
            return Ok((open.file.clone(), false));
        }
        let existing = OpenOptions { read: true, write: true, ..OpenOptions::default() }.direct(direct);
        let (file, created) = match ring.open(path, existing).await {
            Ok(file) => (file, false),
            Err(error) if create && error.kind() == std::io::ErrorKind::NotFound => {
                let new = OpenOptions { create: true, ..existing };
                (ring.open(path, new).await.map_err(|error| StoreError::io("create", path, error))?, true)
            }
            Err(error) => return Err(StoreError::io("open", path, error)),
        };
        let mut files = self.files.borrow_mut();
        if files.len() >= self.files_max {
            // Rare and bounded: the cache is only this large where the working set exceeds it, and then opening costs far more.
            let oldest = files.iter().min_by_key(|(_, open)| open.used).map(|(path, _)| path.clone());
            if let Some(oldest) = oldest {
                files.remove(&oldest);
            }
        }
        files.insert(path.to_owned(), Open { file: file.clone(), used });
        Ok((file, created))
    }

    pub fn forget(&self, path: &Path) {
        self.files.borrow_mut().remove(path);
    }

    /// Closes everything below a directory.
    pub fn forget_below(&self, directory: &Path) {
        self.files.borrow_mut().retain(|path, _| !path.starts_with(directory));
    }
}
