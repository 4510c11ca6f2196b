//! Blocks of producer ids (`ProducerIdControlManager`).

use super::{Controller, Outcome};
use crate::protocol::{ErrorCode, Refusal};
use crate::records::{MetadataRecord, ProducerIdsRecord};
use odradek_base::BrokerId;
use std::ops::Range;

/// Ids in a block (`ProducerIdsBlock.PRODUCER_ID_BLOCK_SIZE`).
pub const PRODUCER_ID_BLOCK: i64 = 1000;

impl Controller<'_> {
    /// The next block for a broker. The ids may be used once the record is durable; those of a block that a broker did
    /// not use up are lost.
    pub fn allocate_producer_ids(&self, broker: BrokerId) -> Outcome<Result<Range<i64>, Refusal>> {
        let first = self.image.next_producer_id();
        let Some(next) = first.checked_add(PRODUCER_ID_BLOCK) else {
            let refusal = Refusal::new(ErrorCode::UnknownServerError, "There are no producer ids left.");
            return Outcome { records: Vec::new(), response: Err(refusal) };
        };
        let broker_epoch = self.image.broker(broker).map_or(-1, |broker| broker.epoch);
        let record = ProducerIdsRecord { broker, broker_epoch, next_producer_id: next };
        Outcome { records: vec![MetadataRecord::ProducerIds(record)], response: Ok(first..next) }
    }
}
