//! The transaction coordinators of one shard. So far they give producers with a transactional id their id and epoch.

use super::Slots;
use super::slot::{Logic, Out, Slot};
use crate::producer_ids;
use crate::shard::Shard;
use odradek_base::Instant;
use odradek_txn::{Coordinator, Effects, Token, Turn, WriteId};
use odradek_wire::ErrorCode;
use odradek_wire::messages::{InitProducerIdRequest, InitProducerIdResponse};
use std::rc::Rc;

pub type TransactionSlots = Slots<Transactions>;

/// The transaction coordinator behind the slot's mechanism.
pub struct Transactions(pub Coordinator);

fn turn(shard: &Shard) -> Turn {
    Turn { now: shard.ring.now(), wall: shard.ring.wall_clock() }
}

impl Logic for Transactions {
    type Reply = InitProducerIdResponse;
    const NAME: &'static str = "transaction coordinator";

    fn replay(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), String> {
        self.0.replay(key, value).map_err(|error| error.to_string())
    }

    fn loaded(&mut self, shard: &Shard, out: &mut Out<Self::Reply>) {
        effects(out, |fx| self.0.loaded(&turn(shard), fx));
    }

    fn committed(&mut self, shard: &Shard, write: u64, out: &mut Out<Self::Reply>) {
        effects(out, |fx| self.0.committed(&turn(shard), WriteId(write), fx));
    }

    fn failed(&mut self, shard: &Shard, write: u64, error: ErrorCode, out: &mut Out<Self::Reply>) {
        effects(out, |fx| self.0.failed(&turn(shard), WriteId(write), error, fx));
    }

    fn deadline(&self) -> Option<Instant> {
        self.0.deadline()
    }

    fn on_deadline(&mut self, shard: &Shard, out: &mut Out<Self::Reply>) {
        effects(out, |fx| self.0.on_deadline(&turn(shard), fx));
    }
}

fn effects(out: &mut Out<InitProducerIdResponse>, call: impl FnOnce(&mut Effects)) -> u32 {
    let mut fx = Effects::default();
    call(&mut fx);
    for write in fx.writes {
        let records = write.records.into_iter().map(|record| (record.key, record.value)).collect();
        out.writes.push((write.id.0, records));
    }
    out.replies.extend(fx.replies.into_iter().map(|(token, reply)| (token.0, reply)));
    fx.producer_ids_wanted
}

/// Asks the coordinator for a producer id; feeds it a block of ids when it has none left.
pub async fn init_producer_id(
    shard: &Rc<Shard>,
    slot: &Rc<Slot<Transactions>>,
    request: InitProducerIdRequest,
    version: i16,
) -> Result<InitProducerIdResponse, ErrorCode> {
    slot.ask(shard, |transactions, token, out| {
        let wanted = effects(out, |fx| transactions.0.init_producer_id(&turn(shard), request, version, Token(token), fx));
        if wanted > 0 {
            let (shard, slot) = (shard.clone(), slot.clone());
            shard.ring.clone().spawn(async move {
                if let Ok(ids) = producer_ids::block(&shard).await {
                    slot.act(&shard, |transactions, out| {
                        effects(out, |fx| transactions.0.provide_producer_ids(&turn(&shard), ids, fx));
                    });
                }
            });
        }
    })
    .await
}
