//! Where the kernel takes a thread's memory from.

use std::io;

/// NUMA nodes that the mask has room for; the kernel's own most is 1024.
const NODES_MAX: usize = 1024;
const WORD_BITS: usize = u64::BITS as usize;

/// Memory that the calling thread touches first comes from `node` as long as that has any (`set_mempolicy(2)`, `MPOL_PREFERRED`).
///
/// # Errors
/// `EINVAL` for a node that does not exist, `EPERM` in a container whose seccomp profile forbids the call, `ENOSYS` without NUMA.
pub fn prefer_memory_of(node: u32) -> io::Result<()> {
    let node = node as usize;
    if node >= NODES_MAX {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    let mut mask = [0u64; NODES_MAX / WORD_BITS];
    mask[node / WORD_BITS] |= 1 << (node % WORD_BITS);
    // SAFETY: libc has no function for this call, only its number. The kernel reads NODES_MAX bits from the mask, which is that long and
    // outlives the call; it keeps no pointer.
    let result = unsafe { libc::syscall(libc::SYS_set_mempolicy, libc::MPOL_PREFERRED, mask.as_ptr(), NODES_MAX) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_that_cannot_be_are_refused() {
        assert_eq!(prefer_memory_of(NODES_MAX as u32).unwrap_err().raw_os_error(), Some(libc::EINVAL));
        // No machine has a node 1000; without NUMA the call is not there at all.
        let code = prefer_memory_of(1000).unwrap_err().raw_os_error();
        assert!([Some(libc::EINVAL), Some(libc::ENOSYS), Some(libc::EPERM)].contains(&code), "{code:?}");
    }

    #[test]
    fn the_first_node_is_accepted_and_memory_still_comes() {
        std::thread::spawn(|| {
            match prefer_memory_of(0) {
                Ok(()) => {}
                Err(error) => assert!([Some(libc::ENOSYS), Some(libc::EPERM)].contains(&error.raw_os_error()), "{error}"),
            }
            assert_eq!(vec![1u8; 1 << 20].len(), 1 << 20);
        })
        .join()
        .unwrap();
    }
}
