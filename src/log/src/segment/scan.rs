//! Reads the batches of a segment file one after the other, trusting nothing.

use odradek_base::Offset;
use odradek_wire::batch::{self, BatchView};

/// What is at the start of some bytes of a segment.
#[derive(Debug, Clone, Copy)]
pub enum Scan<'a> {
    Batch(BatchView<'a>),
    /// This many bytes are needed to say.
    NeedMore(usize),
    /// No batch: the end, zero padding, or damage.
    End(Stop),
}

/// Why a scan ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Only zeros follow within a header's length.
    Padding,
    /// Not the format of a batch.
    Format,
    /// The CRC is wrong.
    Checksum,
    /// The batch's offsets do not follow the one before.
    Offsets,
}

/// Looks at the batch that starts `bytes`. Its base offset must be at least `expected`; the CRC is checked when `check` is set.
pub fn next(bytes: &[u8], expected: Offset, check: bool) -> Scan<'_> {
    let header = bytes.get(..bytes.len().min(batch::HEADER_BYTES)).unwrap_or_default();
    if header.iter().all(|&byte| byte == 0) {
        return if header.len() < batch::HEADER_BYTES { Scan::NeedMore(batch::HEADER_BYTES) } else { Scan::End(Stop::Padding) };
    }
    let total = match batch::total_bytes(bytes) {
        Ok(Some(total)) => total,
        Ok(None) => return Scan::NeedMore(batch::HEADER_BYTES),
        Err(_) => return Scan::End(Stop::Format),
    };
    if bytes.len() < total {
        return Scan::NeedMore(total);
    }
    let Ok(view) = BatchView::parse(bytes) else { return Scan::End(Stop::Format) };
    if view.base_offset() < expected || view.last_offset_delta() < 0 || view.last_offset() < view.base_offset() {
        return Scan::End(Stop::Offsets);
    }
    if check && !view.crc_valid() {
        return Scan::End(Stop::Checksum);
    }
    Scan::Batch(view)
}
