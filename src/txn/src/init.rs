//! InitProducerId: what a producer with a transactional id is given (`TransactionCoordinator.handleInitProducerId`).

use crate::transaction::{Transaction, is_exhausted};
use odradek_base::{ProducerEpoch, ProducerId};
use odradek_wire::ErrorCode;

/// The producer id and epoch a client says it has (KIP-360): it recovers from an error and wants to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) id: ProducerId,
    pub(crate) epoch: ProducerEpoch,
}

impl Expected {
    /// Both or neither must be given.
    pub(crate) fn from_request(id: i64, epoch: i16) -> Result<Option<Self>, ErrorCode> {
        let (id, epoch) = (ProducerId(id), ProducerEpoch(epoch));
        match (id == ProducerId::NONE, epoch == ProducerEpoch::NONE) {
            (true, true) => Ok(None),
            (false, false) => Ok(Some(Self { id, epoch })),
            _ => Err(ErrorCode::InvalidRequest),
        }
    }
}

/// What to do about a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Same producer id at this epoch; `last` is the epoch before it that may still ask again.
    Epoch {
        epoch: ProducerEpoch,
        last: ProducerEpoch,
    },
    /// A new producer id at epoch 0.
    NewId {
        last: ProducerEpoch,
    },
    Refuse(ErrorCode),
}

/// `known` is the id's state, with the epoch that it had before its last bump if the producer named it.
pub(crate) fn decide(known: Option<(&Transaction, ProducerEpoch)>, expected: Option<Expected>) -> Decision {
    let Some((transaction, last)) = known else {
        // Nothing is known that could be wrong about what the producer says.
        return Decision::NewId { last: ProducerEpoch::NONE };
    };
    let current = transaction.producer_epoch;
    if expected.is_some_and(|expected| !belongs(transaction, expected)) {
        return Decision::Refuse(ErrorCode::ProducerFenced);
    }
    if !transaction.status.is_idle() {
        return Decision::Refuse(ErrorCode::ConcurrentTransactions);
    }
    if is_exhausted(current) && expected.is_none_or(|expected| expected.epoch == current) {
        let last = if expected.is_some() { current } else { ProducerEpoch::NONE };
        return Decision::NewId { last };
    }
    match expected {
        _ if is_exhausted(current) => Decision::Refuse(ErrorCode::ProducerFenced),
        None => Decision::Epoch { epoch: ProducerEpoch(current.get() + 1), last: ProducerEpoch::NONE },
        Some(Expected { epoch, .. }) if epoch == current => Decision::Epoch { epoch: ProducerEpoch(current.get() + 1), last: current },
        // It did not get the answer to its last request: tell it again.
        Some(Expected { epoch, .. }) if epoch == last => Decision::Epoch { epoch: current, last },
        Some(_) => Decision::Refuse(ErrorCode::ProducerFenced),
    }
}

/// Whether the producer is the current one, or the one that did not hear of its new producer id.
fn belongs(transaction: &Transaction, expected: Expected) -> bool {
    expected.id == transaction.producer_id || (expected.id == transaction.previous_producer_id && is_exhausted(expected.epoch))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transaction::Status;
    use odradek_base::Timestamp;

    fn transaction(epoch: i16, status: Status) -> Transaction {
        Transaction {
            producer_id: ProducerId(7),
            previous_producer_id: ProducerId(5),
            next_producer_id: ProducerId::NONE,
            producer_epoch: ProducerEpoch(epoch),
            timeout_ms: 1,
            status,
            partitions: Default::default(),
            last_update: Timestamp(0),
            start: Timestamp::NONE,
            client_version: 0,
        }
    }

    #[test]
    fn decisions() {
        let none = ProducerEpoch::NONE;
        let e = ProducerEpoch;
        let fenced = Decision::Refuse(ErrorCode::ProducerFenced);
        let busy = Decision::Refuse(ErrorCode::ConcurrentTransactions);
        // epoch, last, expected -> decision
        type Row = (i16, i16, Option<(i64, i16)>, Decision);
        let table: &[Row] = &[
            (3, -1, None, Decision::Epoch { epoch: e(4), last: none }),
            (3, -1, Some((7, 3)), Decision::Epoch { epoch: e(4), last: e(3) }),
            (4, 3, Some((7, 3)), Decision::Epoch { epoch: e(4), last: e(3) }),
            (4, -1, Some((7, 3)), fenced),
            (4, 3, Some((7, 2)), fenced),
            (4, 3, Some((7, 9)), fenced),
            (4, 3, Some((8, 4)), fenced),
            (4, 3, Some((5, 4)), fenced),
            (i16::MAX - 1, -1, None, Decision::NewId { last: none }),
            (i16::MAX - 1, -1, Some((7, i16::MAX - 1)), Decision::NewId { last: e(i16::MAX - 1) }),
            (i16::MAX - 1, -1, Some((7, 3)), fenced),
            (0, i16::MAX - 1, Some((5, i16::MAX - 1)), Decision::Epoch { epoch: e(0), last: e(i16::MAX - 1) }),
            (0, -1, Some((5, i16::MAX - 1)), fenced),
        ];
        for &(epoch, last, expected, decision) in table {
            let expected = expected.map(|(id, epoch)| Expected { id: ProducerId(id), epoch: ProducerEpoch(epoch) });
            for status in [Status::Empty, Status::CompleteCommit, Status::CompleteAbort] {
                assert_eq!(decide(Some((&transaction(epoch, status), e(last))), expected), decision, "{epoch} {last} {expected:?}");
            }
        }
        for status in [Status::Ongoing, Status::PrepareCommit, Status::PrepareAbort, Status::PrepareEpochFence, Status::Dead] {
            assert_eq!(decide(Some((&transaction(3, status), none)), None), busy);
        }
        let stranger = Expected { id: ProducerId(9), epoch: e(3) };
        assert_eq!(decide(None, Some(stranger)), Decision::NewId { last: none });
        assert_eq!(Expected::from_request(-1, 3), Err(ErrorCode::InvalidRequest));
        assert_eq!(Expected::from_request(3, -1), Err(ErrorCode::InvalidRequest));
    }
}
