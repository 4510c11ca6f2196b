//! Descriptors that are closed through the ring.

use super::Driver;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::rc::Weak;

/// An open descriptor. Operations in flight hold it, so that its number is not reused under them.
/// The last holder's drop queues a close on the ring; without a ring it closes at once.
pub(super) struct Fd {
    raw: RawFd,
    driver: Weak<Driver>,
}

impl Fd {
    pub(super) fn new(fd: OwnedFd, driver: &Driver) -> Self {
        Self { raw: fd.into_raw_fd(), driver: driver.this.clone() }
    }

    pub(super) fn target(&self) -> io_uring::types::Fd {
        io_uring::types::Fd(self.raw)
    }
}

impl AsFd for Fd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: `raw` is open until `self` is dropped, and the result borrows `self`.
        unsafe { BorrowedFd::borrow_raw(self.raw) }
    }
}

impl Drop for Fd {
    fn drop(&mut self) {
        match self.driver.upgrade() {
            Some(driver) if !driver.closed.get() => driver.close_later(self.raw),
            // SAFETY: `raw` is open and this was its only owner.
            _ => drop(unsafe { OwnedFd::from_raw_fd(self.raw) }),
        }
    }
}
