//! Sends the answers of one connection.

use super::{Entry, queue::AnswerQueue};
use crate::shard::Shard;
use bytes::Bytes;
use odradek_ring::Stream;
use std::collections::VecDeque;
use std::rc::Rc;

/// Answers that are ready are joined into one send up to about this many bytes: one system call for a whole pipeline.
const SEND_JOINED_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of one send beside live writes. On loopback the kernel does the receiver's part too before a send returns, at some GB/s, and a journal
/// write that is done waits for that. Without writes a send is as large as its answer: smaller ones cost half of the throughput there.
const SEND_LIVE_BYTES_MAX: usize = 256 * 1024;

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
            if let Err(error) = send(&shard, &stream, parts).await {
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

/// In one piece, or in several beside live writes. Which it is may change on the way.
async fn send(shard: &Shard, stream: &Stream, parts: Vec<Bytes>) -> std::io::Result<()> {
    let mut left = VecDeque::from(parts);
    while !left.is_empty() && shard.store_if_open().is_some_and(|store| store.writes_are_live()) {
        stream.send(front(&mut left, SEND_LIVE_BYTES_MAX)).await?;
    }
    if left.is_empty() { Ok(()) } else { stream.send(left.into()).await }
}

/// The first `bytes_max` bytes of `parts`.
fn front(parts: &mut VecDeque<Bytes>, bytes_max: usize) -> Vec<Bytes> {
    let (mut room, mut front) = (bytes_max, Vec::new());
    while room > 0
        && let Some(part) = parts.front_mut()
    {
        let piece = part.split_to(part.len().min(room));
        room -= piece.len();
        if part.is_empty() {
            parts.pop_front();
        }
        front.push(piece);
    }
    front
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_front_has_what_was_asked_for_and_the_rest_stays_in_order() {
        let parts = [&b"abc"[..], b"", b"defgh", b"i"].map(Bytes::from_static);
        let mut left = VecDeque::from(parts.to_vec());
        let mut all = Vec::new();
        let mut lengths = Vec::new();
        while !left.is_empty() {
            let piece = front(&mut left, 4).concat();
            lengths.push(piece.len());
            all.extend(piece);
        }
        assert_eq!((all.as_slice(), lengths.as_slice()), (&b"abcdefghi"[..], &[4, 4, 1][..]));
    }
}
