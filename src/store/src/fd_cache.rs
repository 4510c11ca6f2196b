//! Segment and index files that are open: bounded, the one used longest ago is closed first.

use crate::error::StoreError;
use odradek_ring::{File, OpenOptions, Ring};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;

struct Open {
    file: File,
    used: u64,
}

pub(crate) struct FileCache {
    files_max: usize,
    files: RefCell<Files>,
}

#[derive(Default)]
struct Files {
    by_path: BTreeMap<Rc<Path>, Open>,
    /// By the last use.
    by_age: BTreeMap<u64, Rc<Path>>,
    clock: u64,
    /// Counts the calls of `forget`: a file that was opened meanwhile may be of the old name.
    forgotten: u64,
}

impl FileCache {
    pub fn new(files_max: usize) -> Self {
        Self { files_max, files: RefCell::default() }
    }

    pub fn len(&self) -> usize {
        self.files.borrow().by_path.len()
    }

    /// The file at `path`; `created` says that it was made now and its name is not durable yet.
    pub async fn open(&self, ring: &Ring, path: &Path, direct: bool, create: bool) -> Result<(File, bool), StoreError> {
        if let Some(file) = self.files.borrow_mut().find(path) {
            return Ok((file, false));
        }
        let forgotten = self.files.borrow().forgotten;
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
        if files.forgotten == forgotten {
            files.keep(path, file.clone(), self.files_max);
        }
        drop(files);
        Ok((file, created))
    }

    pub fn forget(&self, path: &Path) {
        let mut files = self.files.borrow_mut();
        files.forgotten += 1;
        files.forget(path);
    }

    /// Closes everything below a directory.
    pub fn forget_below(&self, directory: &Path) {
        let mut files = self.files.borrow_mut();
        let Files { by_path, by_age, .. } = &mut *files;
        by_path.retain(|path, open| {
            let stays = !path.starts_with(directory);
            if !stays {
                by_age.remove(&open.used);
            }
            stays
        });
    }
}

impl Files {
    fn find(&mut self, path: &Path) -> Option<File> {
        let open = self.by_path.get_mut(path)?;
        let key = self.by_age.remove(&open.used)?;
        self.clock += 1;
        open.used = self.clock;
        self.by_age.insert(open.used, key);
        Some(open.file.clone())
    }

    fn keep(&mut self, path: &Path, file: File, files_max: usize) {
        // Somebody else may have opened it meanwhile.
        self.forget(path);
        while self.by_path.len() >= files_max {
            let Some((_, oldest)) = self.by_age.pop_first() else { break };
            self.by_path.remove(&oldest);
        }
        self.clock += 1;
        let path: Rc<Path> = path.into();
        self.by_age.insert(self.clock, path.clone());
        self.by_path.insert(path, Open { file, used: self.clock });
    }

    fn forget(&mut self, path: &Path) {
        if let Some(open) = self.by_path.remove(path) {
            self.by_age.remove(&open.used);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use odradek_base::ShardId;
    use odradek_ring::sim::{HostId, World, WorldOptions};

    fn names(cache: &FileCache) -> Vec<String> {
        let files = cache.files.borrow();
        assert_eq!(files.by_path.len(), files.by_age.len());
        files.by_age.values().map(|path| path.to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn the_one_used_longest_ago_is_closed() {
        let world = World::new(1, WorldOptions::default());
        let ring = world.ring(HostId(1), ShardId(0));
        ring.block_on(async {
            for directory in ["/a", "/b"] {
                ring.create_dir_all(Path::new(directory)).await.expect("directory");
            }
            let cache = FileCache::new(3);
            for path in ["/a/1", "/a/2", "/b/3", "/a/1", "/b/4"] {
                cache.open(&ring, Path::new(path), false, true).await.expect("open");
            }
            assert_eq!(names(&cache), ["/b/3", "/a/1", "/b/4"]);
            cache.forget_below(Path::new("/b"));
            assert_eq!(names(&cache), ["/a/1"]);
            cache.forget(Path::new("/a/1"));
            assert_eq!(cache.len(), 0);
        });
    }
}
