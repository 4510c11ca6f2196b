//! Calls between the shards of one node.
//!
//! With clients routed to cores this carries metadata only; with `odradek.advertise=node` it also carries the
//! parts of a request that belong to other shards. A call is a message with a number; the reply carries the
//! number back. Nothing here blocks: a full queue spills into the port's bounded overflow (see `ring::mesh`).
//!
//! Owner: the shard's thread. Failure behaviour: a reply that never comes is a dropped sender on the other
//! side, which ends the waiting call with [`CallError`]; a call beyond [`CALLS_PENDING_MAX`] is refused at once.

use crate::messages::{Call, Message, Reply};
use odradek_base::ShardId;
use odradek_ring::mesh::Attached;
use odradek_ring::sync::oneshot;
use std::cell::RefCell;
use std::collections::BTreeMap;

/// Calls of one shard that may wait for a reply at the same time.
pub const CALLS_PENDING_MAX: usize = 65_536;

/// Why a call to another shard gave no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    #[error("the other shard is gone")]
    Gone,
    #[error("more than {CALLS_PENDING_MAX} calls to other shards are waiting")]
    TooMany,
}

/// One shard's end of the mesh.
pub struct Mailbox {
    port: Attached<Message>,
    pending: RefCell<Pending>,
}

#[derive(Default)]
struct Pending {
    next_id: u64,
    waiting: BTreeMap<u64, oneshot::Sender<Reply>>,
}

impl Mailbox {
    pub fn new(port: Attached<Message>) -> Self {
        Self { port, pending: RefCell::default() }
    }

    /// Sends `call` to another shard and waits for its reply.
    pub async fn call(&self, to: ShardId, call: Call) -> Result<Reply, CallError> {
        self.call_later(to, call).await
    }

    /// Sends `call` at once and gives a future of its reply, which need not be awaited in the order of the calls.
    pub fn call_later(&self, to: ShardId, call: Call) -> impl Future<Output = Result<Reply, CallError>> + use<> {
        let sent = self.send_call(to, call);
        async move { sent?.await.map_err(|_| CallError::Gone) }
    }

    fn send_call(&self, to: ShardId, call: Call) -> Result<oneshot::Receiver<Reply>, CallError> {
        let mut pending = self.pending.borrow_mut();
        if pending.waiting.len() >= CALLS_PENDING_MAX {
            return Err(CallError::TooMany);
        }
        let id = pending.next_id;
        pending.next_id += 1;
        self.port.send(to, Message::Call { id, call }).map_err(|_| CallError::TooMany)?;
        let (sender, receiver) = oneshot::channel();
        pending.waiting.insert(id, sender);
        Ok(receiver)
    }

    /// Answers call `id` of shard `to`.
    pub fn reply(&self, to: ShardId, id: u64, reply: Reply) {
        if self.port.send(to, Message::Reply { id, reply }).is_err() {
            // The mesh refuses only when tens of thousands of messages wait: that shard is stuck, and its caller with it.
            tracing::error!(shard = %to, "a reply to another shard was lost: it has stopped taking messages");
        }
    }

    /// The next call of another shard; replies are handed to their callers on the way.
    pub async fn next(&self) -> (ShardId, u64, Call) {
        loop {
            let (from, message) = self.port.recv().await;
            match message {
                Message::Reply { id, reply } => {
                    let waiting = self.pending.borrow_mut().waiting.remove(&id);
                    if let Some(sender) = waiting {
                        // The caller may have gone away (its connection closed): then nobody wants the reply.
                        let _ = sender.send(reply);
                    }
                }
                Message::Call { id, call } => return (from, id, call),
            }
        }
    }
}
