//! What an operating system's error says of a disk.

use std::io::{Error, ErrorKind};

/// There was no room: nothing is broken, and it may work later (`ENOSPC`, `EDQUOT`).
pub fn is_full(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}
