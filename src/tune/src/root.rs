//! The kernel's files, below `/` or below a made-up tree.

use std::io;
use std::path::{Path, PathBuf};

/// Bytes of one kernel file that are read: `/proc/interrupts` of a machine with 512 CPUs is about 2 MB.
const FILE_BYTES_MAX: u64 = 8 << 20;

/// Where `/proc` and `/sys` are. All paths given to it are absolute paths as the machine itself has them.
#[derive(Debug, Clone)]
pub struct Root(PathBuf);

impl Root {
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self(root.into())
    }

    /// The path below this root.
    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.0.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// The text of a file without blanks around it; nothing if it is missing, unreadable or no text.
    pub fn read(&self, path: impl AsRef<Path>) -> Option<String> {
        use std::io::Read;
        let mut text = String::new();
        std::fs::File::open(self.path(path)).ok()?.take(FILE_BYTES_MAX).read_to_string(&mut text).ok()?;
        Some(text.trim().to_owned())
    }

    pub fn number(&self, path: impl AsRef<Path>) -> Option<i64> {
        self.read(path)?.parse().ok()
    }

    /// The names in a directory, sorted with their numbers as numbers (`rx-2` before `rx-10`); none if it is missing.
    pub fn names(&self, path: impl AsRef<Path>) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.path(path)) else { return Vec::new() };
        let mut names: Vec<String> = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort_by_key(|name| {
            let digits = name.len() - name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
            let (stem, number) = name.split_at(name.len() - digits);
            (stem.to_owned(), number.parse::<u64>().unwrap_or(0))
        });
        names
    }

    pub fn exists(&self, path: impl AsRef<Path>) -> bool {
        self.path(path).exists()
    }

    /// Follows symbolic links; the answer is a path of the machine again.
    pub fn resolve(&self, path: impl AsRef<Path>) -> Option<PathBuf> {
        let root = self.0.canonicalize().ok()?;
        let real = self.path(path).canonicalize().ok()?;
        Some(Path::new("/").join(real.strip_prefix(root).ok()?))
    }

    /// Writes a kernel file in place. It is not created where it is missing: a kernel without the file has no such switch.
    pub fn write(&self, path: impl AsRef<Path>, value: &str) -> io::Result<()> {
        use std::io::Write;
        std::fs::OpenOptions::new().write(true).truncate(true).open(self.path(path))?.write_all(format!("{value}\n").as_bytes())
    }
}

/// The chosen one of a list that the kernel prints as `always [madvise] never`; the text itself where nothing is in brackets.
pub fn selected(text: &str) -> &str {
    match (text.find('['), text.find(']')) {
        (Some(from), Some(to)) if from < to => &text[from + 1..to],
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_by_number_and_links_stay_below_the_root() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["rx-10", "rx-2", "tx-0"] {
            std::fs::create_dir_all(dir.path().join("sys/q").join(name)).unwrap();
        }
        std::os::unix::fs::symlink("q/rx-2", dir.path().join("sys/link")).unwrap();
        let root = Root::new(dir.path());
        assert_eq!(root.names("/sys/q"), ["rx-2", "rx-10", "tx-0"]);
        assert_eq!(root.resolve("/sys/link"), Some(PathBuf::from("/sys/q/rx-2")));
        assert_eq!(root.read("/sys/none"), None);
        assert!(root.write("/sys/none", "1").is_err(), "a switch that is not there is not made");
    }

    #[test]
    fn the_selected_word_of_a_list() {
        assert_eq!(selected("always [madvise] never"), "madvise");
        assert_eq!(selected("performance"), "performance");
        assert_eq!(selected("]["), "][");
    }
}
