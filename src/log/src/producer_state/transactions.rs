//! Open transactions of a partition and the aborted ones, as far as the last stable offset needs them (KIP-98, KIP-447).

use odradek_base::{Offset, ProducerId};
use std::collections::BTreeMap;

/// A transaction whose marker was appended (`CompletedTxn`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompletedTransaction {
    pub producer: ProducerId,
    pub first_offset: Offset,
    /// Offset of the marker.
    pub last_offset: Offset,
    pub aborted: bool,
}

/// The transactions of one partition by their first offset.
#[derive(Debug, Clone, Default)]
pub(super) struct Transactions {
    /// No marker yet.
    open: BTreeMap<Offset, ProducerId>,
    /// With a marker, by first offset; the value is the marker's offset. Kept until the marker is below the high watermark.
    undecided: BTreeMap<Offset, Offset>,
}

impl Transactions {
    pub(super) fn begin(&mut self, producer: ProducerId, first_offset: Offset) {
        self.open.insert(first_offset, producer);
    }

    pub(super) fn complete(&mut self, transaction: CompletedTransaction) -> CompletedTransaction {
        self.open.remove(&transaction.first_offset);
        self.undecided.insert(transaction.first_offset, transaction.last_offset);
        transaction
    }

    pub(super) fn decided_below(&mut self, high_watermark: Offset) {
        self.undecided.retain(|_, marker| *marker >= high_watermark);
    }

    pub(super) fn first_unstable(&self) -> Option<Offset> {
        let open = self.open.keys().next();
        let undecided = self.undecided.keys().next();
        open.into_iter().chain(undecided).min().copied()
    }

    pub(super) fn first_open_besides(&self, producer: ProducerId) -> Option<Offset> {
        self.open.iter().find(|(_, other)| **other != producer).map(|(first, _)| *first)
    }
}
