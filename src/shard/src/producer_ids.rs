//! Producer ids for idempotent producers: taken from blocks that the controller gives out (KIP-730).

use crate::controller::{self, Command, CommandResult};
use crate::shard::Shard;
use odradek_base::ProducerId;
use odradek_ring::sync::Semaphore;
use odradek_wire::ErrorCode;
use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;

pub struct ProducerIds {
    block: RefCell<Range<i64>>,
    /// One request for a block at a time.
    turn: Semaphore,
}

impl Default for ProducerIds {
    fn default() -> Self {
        Self { block: RefCell::new(0..0), turn: Semaphore::new(1) }
    }
}

impl ProducerIds {
    pub async fn next(&self, shard: &Rc<Shard>) -> Result<ProducerId, ErrorCode> {
        loop {
            if let Some(id) = self.block.borrow_mut().next() {
                return Ok(ProducerId(id));
            }
            let _turn = self.turn.acquire(1).await;
            if !self.block.borrow().is_empty() {
                continue;
            }
            *self.block.borrow_mut() = block(shard).await?;
        }
    }
}

/// A block of ids nobody else has or ever will have.
pub async fn block(shard: &Rc<Shard>) -> Result<Range<i64>, ErrorCode> {
    match controller::call(shard, Command::AllocateProducerIds(shard.config.broker_of(shard.id))).await {
        Some(CommandResult::ProducerIds(range)) => Ok(range),
        _ => Err(ErrorCode::CoordinatorNotAvailable),
    }
}
