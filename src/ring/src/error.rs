//! Why a ring could not be made, in words an operator can act on.

use std::io;
use thiserror::Error;

/// A ring could not be set up. The text says what was tried, what failed and which setting helps.
#[derive(Debug, Error)]
pub enum RingError {
    /// The kernel refused `io_uring_setup` with every set of flags.
    #[error("io_uring is not available: io_uring_setup failed with {source}. {help}")]
    Setup { source: io::Error, help: String },
    /// The kernel is too old for something that has no substitute.
    #[error("this kernel lacks {missing}; Linux 6.1 or newer is needed, 6.12 or newer is recommended")]
    KernelTooOld { missing: &'static str },
    /// The receive buffers could not be registered.
    #[error("{buffers} receive buffers of {buffer_bytes} bytes could not be registered with io_uring: {source}. {help}")]
    Buffers { buffers: u16, buffer_bytes: u32, source: io::Error, help: String },
    /// The descriptor that other threads wake the ring with could not be made.
    #[error("no eventfd to wake the ring with: {source}. Raise the limit of open files (ulimit -n, LimitNOFILE=)")]
    Wake { source: io::Error },
    /// A setting that makes no ring.
    #[error("ring setting {setting} is {value}; it must be {allowed}")]
    Setting { setting: &'static str, value: u64, allowed: &'static str },
}

impl RingError {
    /// Explains a failed `io_uring_setup` by its error number and what `/proc` says.
    pub(crate) fn setup(source: io::Error) -> Self {
        let help = match source.raw_os_error() {
            Some(libc::EPERM) | Some(libc::EACCES) => match disabled_by_sysctl() {
                Some(level) => format!(
                    "The sysctl kernel.io_uring_disabled is {level}: run `sysctl -w kernel.io_uring_disabled=0`, or with level 1 add the process to kernel.io_uring_group"
                ),
                None => "A seccomp or container profile forbids it: allow io_uring_setup, io_uring_enter and io_uring_register (docker: `--security-opt seccomp=unconfined` or a profile of your own)".to_owned(),
            },
            Some(libc::ENOSYS) => "The kernel was built without CONFIG_IO_URING, or a container profile hides it: use a kernel with io_uring (Linux 6.1 or newer)".to_owned(),
            Some(libc::ENOMEM) => MEMLOCK_HELP.to_owned(),
            Some(libc::EMFILE) | Some(libc::ENFILE) => "Raise the limit of open files (ulimit -n, LimitNOFILE=)".to_owned(),
            _ => "Linux 6.1 or newer with io_uring enabled is needed".to_owned(),
        };
        Self::Setup { source, help }
    }
}

pub(crate) const MEMLOCK_HELP: &str = "Raise the limit of locked memory (ulimit -l unlimited, or LimitMEMLOCK=infinity in the unit file), or give the shard fewer or smaller buffers";

fn disabled_by_sysctl() -> Option<u32> {
    let level: u32 = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok()?.trim().parse().ok()?;
    (level > 0).then_some(level)
}
