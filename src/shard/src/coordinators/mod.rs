//! Group and transaction coordinators: which shard has which, and how requests reach them.
//!
//! A coordinator is the leader of a partition of `__consumer_offsets` or `__transaction_state`, so the metadata says
//! where it is. A request that arrives at another shard is forwarded to it whole.

pub mod groups;
pub mod slot;
pub mod txn;

use crate::answer::Answer;
use crate::connection::Peer;
use crate::dispatch::{self, Close, Context};
use crate::messages::{Call, Forwarded, Reply};
use crate::shard::Shard;
use odradek_base::{PartitionIndex, ShardId, TopicPartition};
use odradek_wire::ErrorCode;
use slot::{Logic, Slot};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

pub const GROUPS_TOPIC: &str = "__consumer_offsets";
pub const TRANSACTIONS_TOPIC: &str = "__transaction_state";

/// The coordinators of one kind on this shard, by partition of their topic.
pub struct Slots<L: Logic> {
    topic: &'static str,
    slots: RefCell<BTreeMap<PartitionIndex, Rc<Slot<L>>>>,
}

/// Where a coordinator is.
pub enum Place<L: Logic> {
    Here(Rc<Slot<L>>),
    There(ShardId),
    Nowhere(ErrorCode),
}

impl<L: Logic> Slots<L> {
    pub fn new(topic: &'static str) -> Self {
        Self { topic, slots: RefCell::default() }
    }

    /// Finds the coordinator of a key by the rule that maps it to a partition.
    pub fn locate(&self, shard: &Shard, partition_of: impl FnOnce(i32) -> PartitionIndex) -> Place<L> {
        let Some(topic) = shard.topics.by_name(shard, self.topic) else { return Place::Nowhere(ErrorCode::NotCoordinator) };
        let index = partition_of(topic.partitions.len() as i32);
        let Some(route) = topic.partition(index) else { return Place::Nowhere(ErrorCode::NotCoordinator) };
        if route.shard != shard.id {
            return Place::There(route.shard);
        }
        match self.slots.borrow().get(&index) {
            Some(slot) => Place::Here(slot.clone()),
            None => Place::Nowhere(ErrorCode::CoordinatorLoadInProgress),
        }
    }

    pub fn all(&self) -> Vec<Rc<Slot<L>>> {
        self.slots.borrow().values().cloned().collect()
    }

    /// Starts coordinators for partitions that this shard has got and ends those of partitions it has lost.
    pub fn follow_metadata(&self, shard: &Rc<Shard>, make: impl Fn() -> L) {
        let topic = shard.topics.by_name(shard, self.topic);
        let mut slots = self.slots.borrow_mut();
        slots.retain(|index, slot| {
            let ours = topic.as_ref().and_then(|topic| topic.partition(*index)).is_some_and(|route| route.shard == shard.id);
            if !ours {
                slot.stop();
            }
            ours
        });
        let Some(topic) = topic else { return };
        for (at, route) in topic.partitions.iter().enumerate() {
            let index = PartitionIndex(at as i32);
            let tp = TopicPartition::new(topic.id, index);
            if route.shard == shard.id
                && !slots.contains_key(&index)
                && let Some(partition) = shard.store().partition(tp)
            {
                slots.insert(index, Slot::start(shard, tp, partition, make()));
            }
        }
    }

    pub fn stop_all(&self) {
        for slot in self.slots.borrow().values() {
            slot.stop();
        }
    }
}

/// Sends a whole request to the shard that has its coordinator and gives that shard's answer.
pub async fn forward(shard: &Rc<Shard>, to: ShardId, context: &Context<'_>) -> Result<Answer, Close> {
    let forwarded = Forwarded { request: context.request.clone(), address: context.peer.address };
    match shard.mailbox.call(to, Call::Forward(forwarded)).await {
        Ok(Reply::Forwarded(Some(parts))) => Ok(Answer::parts(parts)),
        _ => Err(Close::Refused("the shard that coordinates this could not answer")),
    }
}

/// Answers a request that another shard forwarded.
pub async fn serve_forwarded(shard: &Rc<Shard>, forwarded: Forwarded) -> Reply {
    let peer = Peer { address: forwarded.address, host: format!("/{}", forwarded.address.ip()) };
    let context = Context { request: &forwarded.request, peer: &peer };
    match Box::pin(dispatch::route(shard, &context)).await {
        Ok(answer) => Reply::Forwarded(Some(answer.into_parts().await)),
        Err(_) => Reply::Forwarded(None),
    }
}
