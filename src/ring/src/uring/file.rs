//! Files and directories through the ring. What has no operation there, or is asked once in a while, is a plain system call.

use super::fd::Fd;
use super::ops::Payload;
use super::send::Parts;
use super::{Driver, os_error, to_result};
use bytes::Bytes;
use io_uring::types::FsyncFlags;
use io_uring::{opcode, types};
use odradek_base::AlignedBuf;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;

const CURRENT_DIRECTORY: types::Fd = types::Fd(libc::AT_FDCWD);
const FILE_MODE: libc::mode_t = 0o644;
const DIRECTORY_MODE: libc::mode_t = 0o755;

/// Largest single read or write: the kernel cuts longer ones, and lengths are 32 bits in an entry.
const BYTES_PER_CALL_MAX: usize = 1 << 30;

/// Flags of open(2).
pub(crate) struct OpenFlags(pub(crate) libc::c_int);

/// An open file.
pub(crate) struct FileShared {
    driver: Rc<Driver>,
    fd: Rc<Fd>,
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
}

impl Driver {
    pub(crate) async fn open(&self, path: &Path, flags: OpenFlags) -> io::Result<Rc<FileShared>> {
        let path = c_path(path)?;
        let entry = opcode::OpenAt::new(CURRENT_DIRECTORY, path.as_ptr()).flags(flags.0 | libc::O_CLOEXEC).mode(FILE_MODE).build();
        let (result, _) = self.once(Payload::Opening { _path: path }, false, entry).await;
        let raw = to_result(result)? as i32;
        // SAFETY: the kernel has just made this descriptor for us; nobody else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(raw) };
        let driver = self.this.upgrade().expect("the driver lives while it is used");
        Ok(Rc::new(FileShared { driver, fd: Rc::new(Fd::new(fd, self)) }))
    }

    pub(crate) async fn create_dir(&self, path: &Path) -> io::Result<()> {
        let path = c_path(path)?;
        let entry = opcode::MkDirAt::new(CURRENT_DIRECTORY, path.as_ptr()).mode(DIRECTORY_MODE).build();
        let (result, _) = self.once(Payload::Path { _path: path }, false, entry).await;
        to_result(result).map(drop)
    }

    /// Removes a file, or an empty directory.
    pub(crate) async fn unlink(&self, path: &Path, directory: bool) -> io::Result<()> {
        let path = c_path(path)?;
        let flags = if directory { libc::AT_REMOVEDIR } else { 0 };
        let entry = opcode::UnlinkAt::new(CURRENT_DIRECTORY, path.as_ptr()).flags(flags).build();
        let (result, _) = self.once(Payload::Path { _path: path }, false, entry).await;
        to_result(result).map(drop)
    }

    pub(crate) async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let paths = [c_path(from)?, c_path(to)?];
        let entry = opcode::RenameAt::new(CURRENT_DIRECTORY, paths[0].as_ptr(), CURRENT_DIRECTORY, paths[1].as_ptr()).build();
        let (result, _) = self.once(Payload::TwoPaths { _paths: paths }, false, entry).await;
        to_result(result).map(drop)
    }
}

impl FileShared {
    fn payload(&self) -> Payload {
        Payload::Fd { _fd: self.fd.clone() }
    }

    /// One read into the buffer from its byte `done` on; the count may be short.
    pub(crate) async fn read(&self, mut buffer: AlignedBuf, done: usize, pos: u64, len: usize) -> (io::Result<usize>, AlignedBuf) {
        let len = len.min(BYTES_PER_CALL_MAX);
        let target = buffer[done..done + len].as_mut_ptr();
        let entry = opcode::Read::new(self.fd.target(), target, len as u32).offset(pos).build();
        // Not cancelled on drop: the buffer is lost then either way, and a disk read ends soon.
        let (result, payload) = self.driver.once(Payload::Buffer { _fd: self.fd.clone(), buffer }, false, entry).await;
        let Payload::Buffer { buffer, .. } = payload else { panic!("a read came back without its buffer") };
        (to_result(result), buffer)
    }

    /// One write of the rest of `parts` from byte `done` on; the count may be short.
    pub(crate) async fn write(&self, parts: &[Bytes], done: usize, pos: u64, data_sync: bool) -> io::Result<usize> {
        let parts = Parts::after(parts, done);
        let rw_flags = if data_sync { libc::RWF_DSYNC } else { 0 };
        let entry = match parts.iovecs() {
            [one] => {
                let len = one.iov_len.min(BYTES_PER_CALL_MAX) as u32;
                opcode::Write::new(self.fd.target(), one.iov_base.cast_const().cast(), len).offset(pos).rw_flags(rw_flags).build()
            }
            many => opcode::Writev::new(self.fd.target(), many.as_ptr(), many.len() as u32).offset(pos).rw_flags(rw_flags).build(),
        };
        let (result, _) = self.driver.once(Payload::Parts { _fd: self.fd.clone(), _parts: parts }, false, entry).await;
        if result < 0 { Err(os_error(result)) } else { Ok(result as usize) }
    }

    pub(crate) async fn sync(&self, data_only: bool) -> io::Result<()> {
        let flags = if data_only { FsyncFlags::DATASYNC } else { FsyncFlags::empty() };
        let entry = opcode::Fsync::new(self.fd.target()).flags(flags).build();
        let (result, _) = self.driver.once(self.payload(), false, entry).await;
        to_result(result).map(drop)
    }

    pub(crate) async fn allocate(&self, len: u64) -> io::Result<()> {
        let entry = opcode::Fallocate::new(self.fd.target(), len).build();
        let (result, _) = self.driver.once(self.payload(), false, entry).await;
        to_result(result).map(drop)
    }

    pub(crate) async fn truncate(&self, len: u64) -> io::Result<()> {
        let (result, _) = self.driver.once(self.payload(), false, opcode::Ftruncate::new(self.fd.target(), len).build()).await;
        if result == -libc::EINVAL {
            // Kernels before 6.9 have no such operation.
            self.driver.count_syscall();
            return Ok(rustix::fs::ftruncate(self.fd.as_fd(), len)?);
        }
        to_result(result).map(drop)
    }

    /// A plain fstat(2): it only reads memory of the kernel.
    pub(crate) fn len(&self) -> io::Result<u64> {
        self.driver.count_syscall();
        Ok(rustix::fs::fstat(self.fd.as_fd())?.st_size as u64)
    }
}
