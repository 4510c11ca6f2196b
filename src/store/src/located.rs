//! Where a partition lies. It may be moved to another log directory while others hold it, so the places form a chain whose last one counts.

use std::cell::OnceCell;
use std::ops::Deref;
use std::path::{Path, PathBuf};

#[derive(Debug)]
struct Place {
    /// Index into the log directories.
    directory: usize,
    log_dir: PathBuf,
    path: PathBuf,
    next: OnceCell<Box<Place>>,
}

/// The directory of a partition; dereferences to its path.
#[derive(Debug)]
pub(crate) struct Located(Place);

impl Located {
    pub fn new(directory: usize, log_dir: &Path, name: &str) -> Self {
        Self(Place { directory, log_dir: log_dir.to_owned(), path: log_dir.join(name), next: OnceCell::new() })
    }

    fn place(&self) -> &Place {
        let mut place = &self.0;
        while let Some(next) = place.next.get() {
            place = next;
        }
        place
    }

    pub fn directory(&self) -> usize {
        self.place().directory
    }

    pub fn log_dir(&self) -> &Path {
        &self.place().log_dir
    }

    /// The partition lies in another log directory from now on.
    pub fn relocate(&self, directory: usize, log_dir: &Path) {
        let place = self.place();
        let path = place.path.file_name().map(|name| log_dir.join(name)).unwrap_or_default();
        let next = Place { directory, log_dir: log_dir.to_owned(), path, next: OnceCell::new() };
        assert!(place.next.set(Box::new(next)).is_ok(), "the last place has no next one");
    }
}

impl Deref for Located {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.place().path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_place_counts() {
        let at = Located::new(0, Path::new("/a"), "t-0");
        let before: &Path = &at;
        at.relocate(2, Path::new("/c"));
        at.relocate(1, Path::new("/b"));
        assert_eq!((before, &*at, at.log_dir(), at.directory()), (Path::new("/a/t-0"), Path::new("/b/t-0"), Path::new("/b"), 1));
    }
}
