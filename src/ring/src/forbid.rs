//! For tests: a thread that the kernel refuses io_uring to, as a container profile does.

use std::io;

/// From here on `io_uring_setup` fails with `error` (an errno) on this thread and on those that it starts.
///
/// # Errors
/// What the kernel says where it does not let a thread filter its own system calls.
pub fn forbid_io_uring(error: u16) -> io::Result<()> {
    const ON: libc::c_ulong = 1;
    const UNUSED: libc::c_ulong = 0;
    // The number of the system call is the first field of what a filter sees.
    let mut filter = [
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, libc::SYS_io_uring_setup as u32),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | u32::from(error)),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: PR_SET_NO_NEW_PRIVS takes plain numbers; PR_SET_SECCOMP reads `program` and the filter it points to, which both live until the
    // call is over. Neither touches this process's memory.
    let done = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, ON, UNUSED, UNUSED, UNUSED) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::c_ulong::from(libc::SECCOMP_MODE_FILTER), &raw const program) == 0
    };
    if done { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn instruction(code: u32, if_true: u8, if_false: u8, operand: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: if_true, jf: if_false, k: operand }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{RingConfig, available};

    #[test]
    fn a_refusal_says_what_helps() {
        for (error, advice) in [(libc::EPERM, "seccomp"), (libc::ENOSYS, "CONFIG_IO_URING"), (libc::ENOMEM, "ulimit -l")] {
            let refused = std::thread::spawn(move || {
                forbid_io_uring(error as u16).expect("a filter");
                available(&RingConfig::default()).expect_err("refused").to_string()
            });
            let text = refused.join().expect("no panic");
            assert!(text.contains("io_uring_setup failed") && text.contains(advice), "{text}");
        }
        available(&RingConfig::default()).expect("other threads may");
    }
}
