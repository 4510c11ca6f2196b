//! Sends the answers of one connection.

use super::{Entry, queue::AnswerQueue};
use crate::shard::Shard;
use odradek_ring::Stream;
use std::rc::Rc;

/// Answers that are ready are joined into one send up to about this many bytes: one system call for a whole pipeline.
const SEND_JOINED_BYTES_MAX: usize = 1024 * 1024;

pub async fn run(shard: Rc<Shard>, stream: Stream, queue: Rc<AnswerQueue>, entry: Rc<Entry>) {
    while let Some(answer) = queue.pop().await {
        let mut room = answer.bytes();
        let mut close = answer.closes();
        let mut parts = answer.into_parts().await;
        while !close && room < SEND_JOINED_BYTES_MAX {
            let Some(next) = queue.pop_ready() else { break };
            room += next.bytes();
            close = next.closes();
            parts.extend(next.into_parts().await);
        }
        if !parts.is_empty() {
            entry.touch(shard.ring.now());
            entry.sending(Some(shard.ring.now()));
            if let Err(error) = stream.send(parts).await {
                tracing::debug!(peer = %entry.peer.address, %error, "connection lost while sending");
                break;
            }
            entry.touch(shard.ring.now());
            entry.sending(None);
        }
        queue.sent(room);
        if close {
            break;
        }
    }
    queue.break_off();
    stream.shutdown();
}
