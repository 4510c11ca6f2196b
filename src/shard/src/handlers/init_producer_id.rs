//! InitProducerId (key 22, KIP-98, KIP-360).

use crate::answer::Answer;
use crate::coordinators::{self, Place, txn};
use crate::dispatch::{Close, Context};
use crate::shard::Shard;
use odradek_wire::ErrorCode;
use odradek_wire::messages::{InitProducerIdRequest, InitProducerIdResponse};
use std::rc::Rc;

pub async fn handle(shard: &Rc<Shard>, context: &Context<'_>) -> Result<Answer, Close> {
    let request: InitProducerIdRequest = context.parse()?;
    let failed = |error: ErrorCode| {
        InitProducerIdResponse::default().with_error_code(error.code()).with_producer_id((-1).into()).with_producer_epoch(-1)
    };
    let Some(transactional_id) = request.transactional_id.clone() else {
        let response = match shard.producer_ids.next(shard).await {
            Ok(id) => InitProducerIdResponse::default().with_producer_id(id.get().into()).with_producer_epoch(0),
            Err(error) => failed(error),
        };
        return context.respond(&response);
    };
    if transactional_id.0.is_empty() {
        return context.respond(&failed(ErrorCode::InvalidRequest));
    }
    let slot = match shard.transactions.locate(shard, |partitions| odradek_txn::partition_for(&transactional_id, partitions)) {
        Place::Here(slot) => slot,
        Place::There(owner) => return coordinators::forward(shard, owner, context).await,
        Place::Nowhere(error) => return context.respond(&failed(error)),
    };
    let response = txn::init_producer_id(shard, &slot, request, context.version()).await.unwrap_or_else(failed);
    context.respond(&response)
}
