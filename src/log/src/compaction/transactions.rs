//! Which batches were aborted and which markers are still needed (`CleanedTransactionMetadata`).

use crate::segment::transaction_index::AbortedTransaction;
use odradek_base::{Offset, ProducerId};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Clone, Copy)]
struct Ongoing {
    transaction: AbortedTransaction,
    /// Batches of it were met.
    has_batches: bool,
}

/// Follows the transactions of a log that is read in offset order.
#[derive(Debug, Clone, Default)]
pub struct CleanedTransactions {
    /// Not begun yet, the last one first.
    ahead: Vec<AbortedTransaction>,
    aborted: BTreeMap<ProducerId, Ongoing>,
    committed: BTreeSet<ProducerId>,
    /// Transactions whose marker stays, for the new transaction index.
    retained: Vec<AbortedTransaction>,
}

impl CleanedTransactions {
    /// `aborted`: all that touch what will be read, in any order.
    pub fn new(mut aborted: Vec<AbortedTransaction>) -> Self {
        aborted.sort_by_key(|transaction| std::cmp::Reverse((transaction.first_offset, transaction.last_offset, transaction.producer_id)));
        aborted.dedup();
        Self { ahead: aborted, ..Self::default() }
    }

    /// A data batch; true when its transaction was aborted.
    pub fn on_batch(&mut self, producer: ProducerId, is_transactional: bool, last_offset: Offset) -> bool {
        self.begin_up_to(last_offset);
        if !is_transactional {
            return false;
        }
        if let Some(ongoing) = self.aborted.get_mut(&producer) {
            ongoing.has_batches = true;
            return true;
        }
        self.committed.insert(producer);
        false
    }

    /// A marker at `offset`; `commit` is `None` for a control batch whose record is gone or is no marker. True when no batch of its transaction is left,
    /// so that the marker may go once nobody needs it.
    pub fn on_marker(&mut self, producer: ProducerId, commit: Option<bool>, empty: bool, offset: Offset) -> bool {
        self.begin_up_to(offset);
        match commit {
            None => empty,
            Some(true) => !self.committed.remove(&producer),
            Some(false) => match self.aborted.remove(&producer) {
                Some(ongoing) if ongoing.has_batches => {
                    self.retained.push(ongoing.transaction);
                    false
                }
                _ => true,
            },
        }
    }

    /// The aborted transactions whose markers were met and that have batches, since the last call.
    pub fn take_retained(&mut self) -> Vec<AbortedTransaction> {
        std::mem::take(&mut self.retained)
    }

    fn begin_up_to(&mut self, offset: Offset) {
        while let Some(next) = self.ahead.last().filter(|next| next.first_offset <= offset).copied() {
            self.ahead.pop();
            self.aborted.entry(next.producer_id).or_insert(Ongoing { transaction: next, has_batches: false });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aborted(producer: i64, first: i64, last: i64) -> AbortedTransaction {
        AbortedTransaction {
            producer_id: ProducerId(producer),
            first_offset: Offset(first),
            last_offset: Offset(last),
            last_stable_offset: Offset(last + 1),
        }
    }

    #[test]
    fn markers_stay_until_their_batches_are_gone() {
        let one = aborted(1, 0, 5);
        let mut transactions = CleanedTransactions::new(vec![aborted(1, 6, 9), one, one]);
        let (p1, p2) = (ProducerId(1), ProducerId(2));
        assert!(transactions.on_batch(p1, true, Offset(1)), "aborted");
        assert!(!transactions.on_batch(p2, true, Offset(3)), "committed");
        assert!(!transactions.on_batch(p1, false, Offset(4)), "not in a transaction");
        assert!(!transactions.on_marker(p1, Some(false), false, Offset(5)), "its batch was met");
        assert_eq!(transactions.take_retained(), [one]);
        // The second aborted transaction has no batch left.
        assert!(!transactions.on_marker(p2, Some(true), false, Offset(8)));
        assert!(transactions.on_marker(p1, Some(false), false, Offset(9)));
        assert_eq!(transactions.take_retained(), []);
        assert!(transactions.on_marker(p2, Some(true), false, Offset(11)), "a commit of nothing");
        assert!(transactions.on_marker(p2, None, true, Offset(12)), "an empty control batch was cleaned before");
        assert!(!transactions.on_marker(p2, None, false, Offset(13)), "other control records are no markers");
        assert!(!transactions.on_batch(p1, true, Offset(14)), "the producer's next transaction was committed");
    }
}
