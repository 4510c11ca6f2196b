//! Client connections: accept, read frames in order, answer in order.
//!
//! Each connection is two tasks. The reader takes frames and starts requests one after the other; the writer sends
//! the answers in the order of the requests. A produce does not hold the reader up: its answer waits in the queue
//! until the journal block is stored, so a client may have many produces in flight. Everything else is finished
//! before the next request is looked at, as in Kafka.

mod queue;
mod reader;
mod registry;
mod writer;

pub use registry::{Connections, Entry};

use crate::shard::Shard;
use odradek_ring::{Listener, Stream};
use queue::AnswerQueue;
use std::net::SocketAddr;
use std::rc::Rc;

/// What a handler may know of the connection that a request came on.
#[derive(Debug)]
pub struct Peer {
    pub address: SocketAddr,
    /// Kafka's form of a host: `/` and the address.
    pub host: String,
}

/// Accepts connections until the shard stops.
pub async fn accept_all(shard: Rc<Shard>, listener: Listener) {
    loop {
        if shard.stopping.get() {
            return;
        }
        match listener.accept().await {
            Ok((stream, address)) => {
                let Some(entry) = shard.connections.admit(&shard, stream.clone(), address) else {
                    // Over a bound: the registry said so in the log; dropping the stream closes it.
                    stream.shutdown();
                    continue;
                };
                start(shard.clone(), stream, entry);
            }
            Err(error) if shard.stopping.get() => {
                tracing::debug!(%error, "listener closed");
                return;
            }
            Err(error) => {
                // EMFILE and friends: waiting is the only thing that helps, and it keeps the core free.
                tracing::warn!(%error, "cannot accept a connection; trying again in 100 ms (is the open files limit too low?)");
                shard.ring.sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

fn start(shard: Rc<Shard>, stream: Stream, entry: Entry) {
    let queue = AnswerQueue::new(shard.config.connection_queued_bytes_max, shard.connections.queued.clone(), entry.answer_bytes());
    let (queue, entry) = (Rc::new(queue), Rc::new(entry));
    shard.ring.spawn(writer::run(shard.clone(), stream.clone(), queue.clone(), entry.clone()));
    let ring = shard.ring.clone();
    ring.spawn(reader::run(shard, stream, queue, entry));
}
