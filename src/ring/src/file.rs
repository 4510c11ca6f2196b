//! Files and directories as the rooms above see them.

use crate::ring::{Backend, Ring};
use crate::{sim, uring};
use bytes::Bytes;
use odradek_base::{AlignedBuf, BLOCK_ALIGNMENT};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// How a file is opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OpenOptions {
    pub read: bool,
    pub write: bool,
    /// Make the file where it is missing.
    pub create: bool,
    /// Make the file; an existing one is an error.
    pub create_new: bool,
    pub truncate: bool,
    /// `O_DIRECT`: positions, lengths and addresses are multiples of [`BLOCK_ALIGNMENT`].
    pub direct: bool,
}

impl OpenOptions {
    /// An existing file, to be read.
    pub const READ: Self = Self { read: true, write: false, create: false, create_new: false, truncate: false, direct: false };
    /// A file to be read and written, made where it is missing.
    pub const READ_WRITE: Self = Self { read: true, write: true, create: true, create_new: false, truncate: false, direct: false };

    /// The same with or without `O_DIRECT`.
    pub const fn direct(self, direct: bool) -> Self {
        Self { direct, ..self }
    }

    fn flags(self) -> uring::OpenFlags {
        let access = match (self.read, self.write) {
            (_, false) => libc::O_RDONLY,
            (false, true) => libc::O_WRONLY,
            (true, true) => libc::O_RDWR,
        };
        let flag = |on, value| if on { value } else { 0 };
        uring::OpenFlags(
            access
                | flag(self.create || self.create_new, libc::O_CREAT)
                | flag(self.create_new, libc::O_EXCL)
                | flag(self.truncate, libc::O_TRUNC)
                | flag(self.direct, libc::O_DIRECT),
        )
    }
}

/// Whether a write is on stable storage when it completes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sync {
    /// In the kernel: survives the process, not the machine.
    No,
    /// The bytes of this write are on stable storage (`RWF_DSYNC`), with all metadata needed to read them back.
    /// Earlier writes to the file are not meant.
    Data,
}

/// One name in a directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirEntry {
    pub name: String,
    pub is_dir: bool,
}

/// What is known of a file or directory without opening it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata {
    /// Bytes.
    pub len: u64,
    pub is_dir: bool,
}

/// An open file. Clones share it; it closes when the last clone is dropped.
#[derive(Clone)]
pub struct File {
    kind: FileKind,
    direct: bool,
}

#[derive(Clone)]
enum FileKind {
    Uring(Rc<uring::FileShared>),
    Sim(Rc<sim::SimFile>),
}

impl File {
    /// Reads up to `len` bytes at byte `pos` into the start of `buf`; fewer only at the end of the file. Returns the buffer in any case.
    /// With direct I/O `pos` and `len` must be aligned. Dropping the future loses the buffer.
    pub async fn read_at(&self, buf: AlignedBuf, pos: u64, len: usize) -> (io::Result<usize>, AlignedBuf) {
        assert!(len <= buf.len(), "a read of {len} bytes into a buffer of {}", buf.len());
        if self.direct {
            assert_aligned("a direct read", pos, len);
        }
        let mut buf = buf;
        let mut done = 0;
        while done < len {
            let (result, back) = match &self.kind {
                FileKind::Uring(file) => file.read(buf, done, pos + done as u64, len - done).await,
                FileKind::Sim(file) => file.read(buf, done, pos + done as u64, len - done).await,
            };
            buf = back;
            match result {
                Ok(0) => break,
                Ok(count) => {
                    done += count;
                    if self.direct && !done.is_multiple_of(BLOCK_ALIGNMENT) {
                        // The file ends within this block, and an unaligned continuation is not allowed.
                        break;
                    }
                }
                Err(error) if is_interruption(&error) => {}
                Err(error) => return (Err(error), buf),
            }
        }
        (Ok(done), buf)
    }

    /// Writes all parts, one after the other, at byte `pos`. Short writes are completed. With direct I/O `pos`, each
    /// part's address and each part's length must be aligned. An error leaves unknown which bytes were written; after a failed
    /// `Sync::Data` write nothing written to this file since the last good sync may be relied on.
    pub async fn write_at(&self, parts: Vec<Bytes>, pos: u64, sync: Sync) -> io::Result<()> {
        let total: usize = parts.iter().map(Bytes::len).sum();
        if self.direct {
            assert_aligned("a direct write", pos, total);
            for part in &parts {
                assert_aligned("a part of a direct write", part.as_ptr() as u64, part.len());
            }
        }
        let mut done = 0;
        while done < total {
            let result = match &self.kind {
                FileKind::Uring(file) => file.write(&parts, done, pos + done as u64, sync == Sync::Data).await,
                FileKind::Sim(file) => file.write(&parts, done, pos + done as u64, sync == Sync::Data).await,
            };
            match result {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::WriteZero)),
                Ok(count) => {
                    done += count;
                    assert!(!self.direct || done.is_multiple_of(BLOCK_ALIGNMENT) || done == total, "a direct write stopped within a block");
                }
                Err(error) if is_interruption(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// `fdatasync`: everything written is on stable storage, with the length.
    pub async fn sync_data(&self) -> io::Result<()> {
        match &self.kind {
            FileKind::Uring(file) => file.sync(true).await,
            FileKind::Sim(file) => file.sync().await,
        }
    }

    /// `fsync`: as `sync_data`, with all metadata of the file.
    pub async fn sync_all(&self) -> io::Result<()> {
        match &self.kind {
            FileKind::Uring(file) => file.sync(false).await,
            FileKind::Sim(file) => file.sync().await,
        }
    }

    /// Cuts or extends (with zeroes) to `len` bytes; durable with the next sync.
    pub async fn truncate(&self, len: u64) -> io::Result<()> {
        match &self.kind {
            FileKind::Uring(file) => file.truncate(len).await,
            FileKind::Sim(file) => file.truncate(len).await,
        }
    }

    /// Reserves space for the first `len` bytes and extends the file to at least that length.
    pub async fn allocate(&self, len: u64) -> io::Result<()> {
        match &self.kind {
            FileKind::Uring(file) => file.allocate(len).await,
            FileKind::Sim(file) => file.allocate(len).await,
        }
    }

    /// Bytes in the file.
    pub async fn len(&self) -> io::Result<u64> {
        match &self.kind {
            FileKind::Uring(file) => file.len(),
            FileKind::Sim(file) => file.len().await,
        }
    }

    /// True where the file holds no bytes.
    pub async fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len().await? == 0)
    }

    /// Opened with `O_DIRECT`.
    pub fn is_direct(&self) -> bool {
        self.direct
    }
}

fn is_interruption(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINTR) | Some(libc::EAGAIN))
}

fn assert_aligned(what: &str, position: u64, len: usize) {
    assert!(
        position.is_multiple_of(BLOCK_ALIGNMENT as u64) && len.is_multiple_of(BLOCK_ALIGNMENT),
        "{what} at {position} of {len} bytes is not aligned to {BLOCK_ALIGNMENT}"
    );
}

/// Bytes read at once by [`Ring::read_to_vec`].
const READ_CHUNK_BYTES: usize = 1 << 20;

impl Ring {
    /// Opens a file. `EINVAL` with `direct` means that the file system has no direct I/O.
    pub async fn open(&self, path: &Path, options: OpenOptions) -> io::Result<File> {
        let kind = match self.backend() {
            Backend::Uring(driver) => FileKind::Uring(driver.open(path, options.flags()).await?),
            Backend::Sim(port) => FileKind::Sim(port.open(path, options).await?),
        };
        Ok(File { kind, direct: options.direct })
    }

    /// Makes a directory and those above it; one that exists is fine. Names are durable after [`Ring::sync_dir`] on each parent.
    pub async fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut missing = Vec::new();
        let mut next = Some(path);
        // Deepest first until one can be made, then back down.
        while let Some(dir) = next.filter(|dir| !dir.as_os_str().is_empty()) {
            match self.create_dir(dir).await {
                Ok(()) => break,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    missing.push(dir);
                    next = dir.parent();
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && self.metadata(dir).await?.is_dir => break,
                Err(error) => return Err(error),
            }
        }
        for dir in missing.into_iter().rev() {
            match self.create_dir(dir).await {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Makes one directory.
    pub async fn create_dir(&self, path: &Path) -> io::Result<()> {
        match self.backend() {
            Backend::Uring(driver) => driver.create_dir(path).await,
            Backend::Sim(port) => port.create_dir(path).await,
        }
    }

    pub async fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.unlink(path, false).await
    }

    /// Removes an empty directory.
    pub async fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.unlink(path, true).await
    }

    async fn unlink(&self, path: &Path, directory: bool) -> io::Result<()> {
        match self.backend() {
            Backend::Uring(driver) => driver.unlink(path, directory).await,
            Backend::Sim(port) => port.unlink(path, directory).await,
        }
    }

    /// Removes a directory with everything in it.
    pub async fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut directories = vec![path.to_path_buf()];
        let mut place = 0;
        while let Some(dir) = directories.get(place).cloned() {
            place += 1;
            for entry in self.read_dir(&dir).await? {
                let child = dir.join(&entry.name);
                if entry.is_dir { directories.push(child) } else { self.remove_file(&child).await? }
            }
        }
        // Children were found after their parents.
        for dir in directories.into_iter().rev() {
            self.remove_dir(&dir).await?;
        }
        Ok(())
    }

    /// Renames, replacing an existing file. Durable after [`Ring::sync_dir`] on the directory.
    pub async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        match self.backend() {
            Backend::Uring(driver) => driver.rename(from, to).await,
            Backend::Sim(port) => port.rename(from, to).await,
        }
    }

    /// Makes names made, renamed or removed in a directory durable.
    pub async fn sync_dir(&self, path: &Path) -> io::Result<()> {
        match self.backend() {
            Backend::Uring(driver) => driver.open(path, uring::OpenFlags(libc::O_RDONLY | libc::O_DIRECTORY)).await?.sync(false).await,
            Backend::Sim(port) => port.sync_dir(path).await,
        }
    }

    /// Names in a directory, sorted. A name that is not UTF-8 is an error: none of ours is, and skipping it would hide a file.
    pub async fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        match self.backend() {
            Backend::Uring(_) => system_read_dir(path),
            Backend::Sim(port) => port.read_dir(path).await,
        }
    }

    pub async fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        match self.backend() {
            Backend::Uring(_) => {
                let metadata = std::fs::metadata(path)?;
                Ok(Metadata { len: metadata.len(), is_dir: metadata.is_dir() })
            }
            Backend::Sim(port) => port.metadata(path).await,
        }
    }

    /// True where something has this name.
    pub async fn exists(&self, path: &Path) -> io::Result<bool> {
        match self.metadata(path).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Bytes that can still be written to the file system of `path`.
    pub async fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        match self.backend() {
            Backend::Uring(_) => {
                let stat = rustix::fs::statvfs(path)?;
                // A file system without a size of its own (ramfs, some network ones) counts no blocks at all.
                Ok(if stat.f_blocks == 0 { u64::MAX } else { stat.f_bavail * stat.f_frsize })
            }
            Backend::Sim(port) => port.free_bytes().await,
        }
    }

    /// A whole file. For small files: checkpoints, properties.
    pub async fn read_to_vec(&self, path: &Path) -> io::Result<Vec<u8>> {
        let file = self.open(path, OpenOptions::READ).await?;
        let len = file.len().await?;
        let mut content = Vec::new();
        let mut buf = AlignedBuf::zeroed(READ_CHUNK_BYTES.min(usize::try_from(len).unwrap_or(usize::MAX).saturating_add(1)));
        loop {
            let want = buf.len();
            let (result, back) = file.read_at(buf, content.len() as u64, want).await;
            buf = back;
            let count = result?;
            content.extend_from_slice(&buf[..count]);
            if count < want {
                return Ok(content);
            }
        }
    }

    /// Replaces a file as a whole: after a crash it holds either the old or the new content. Durable on return.
    pub async fn write_atomically(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let temporary = temporary_name(path)?;
        let options = OpenOptions { write: true, create: true, truncate: true, ..OpenOptions::default() };
        let file = self.open(&temporary, options).await?;
        file.write_at(vec![Bytes::copy_from_slice(content)], 0, Sync::No).await?;
        file.sync_all().await?;
        drop(file);
        self.rename(&temporary, path).await?;
        self.sync_dir(parent(path)).await
    }
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// The file beside `path` that becomes it; Kafka's suffix, which its loader removes at start.
fn temporary_name(path: &Path) -> io::Result<PathBuf> {
    let mut name = path.file_name().ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))?.to_owned();
    name.push(".tmp");
    Ok(path.with_file_name(name))
}

fn system_read_dir(path: &Path) -> io::Result<Vec<DirEntry>> {
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        let is_dir = entry.file_type()?.is_dir();
        let name = entry.file_name().into_string().map_err(|name| {
            io::Error::new(io::ErrorKind::InvalidData, format!("{} holds a name that is not UTF-8: {name:?}", path.display()))
        })?;
        entries.push(DirEntry { name, is_dir });
    }
    entries.sort();
    Ok(entries)
}
