//! The protocol names this room uses, in one place.

pub(crate) use odradek_wire::{ErrorCode, StrBytes, messages};

/// Code of "no error" on the wire.
pub(crate) const NONE: i16 = 0;

/// A copy that owns its memory. A string that came from a socket pins a whole receive buffer, so nothing
/// kept beyond the request may share it.
pub(crate) fn own(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// The wire code of a result.
pub(crate) fn code<T>(result: &Result<T, ErrorCode>) -> i16 {
    result.as_ref().err().map_or(NONE, ErrorCode::code)
}
