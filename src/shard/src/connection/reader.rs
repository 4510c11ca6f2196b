//! Reads the requests of one connection.

use super::{Connections, Entry, queue::AnswerQueue};
use crate::answer::Answer;
use crate::dispatch;
use crate::shard::Shard;
use bytes::Bytes;
use futures_util::future::{Either, select};
use odradek_ring::Stream;
use odradek_wire::frame::FrameReader;
use std::pin::pin;
use std::rc::Rc;

pub async fn run(shard: Rc<Shard>, stream: Stream, queue: Rc<AnswerQueue>, entry: Rc<Entry>) {
    let end = read_all(&shard, &stream, &queue, &entry).await;
    if let Err(reason) = end {
        tracing::debug!(peer = %entry.peer.address, %reason, "connection closed");
    }
    queue.finish();
    shard.connections.remove(&shard, &entry);
}

/// Why a connection ended before the client closed it.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("the connection was lost: {0}")]
    Lost(#[from] std::io::Error),
    #[error("not a Kafka frame: {0}")]
    Frame(#[from] odradek_wire::frame::FrameError),
    #[error("{0}")]
    Request(String),
    #[error("the client left while its request waited")]
    Left,
    #[error("answers could not be sent")]
    Unsendable,
}

async fn read_all(shard: &Rc<Shard>, stream: &Stream, queue: &AnswerQueue, entry: &Entry) -> Result<(), End> {
    let mut frames = FrameReader::new(shard.config.request_bytes_max);
    loop {
        let chunk = stream.recv().await?;
        if chunk.is_empty() || shard.stopping.get() {
            return Ok(());
        }
        entry.touch(shard.ring.now());
        frames.push(chunk);
        while let Some(frame) = frames.next()? {
            entry.works_on(frame.len(), frames.held_bytes(), dispatch::is_produce(&frame), dispatch::may_wait(&frame));
            if !queue.wait_space().await {
                return Err(End::Unsendable);
            }
            answer_one(shard, stream, queue, entry, frame).await?;
        }
        // A frame that is not whole yet holds memory: what all connections hold together has a bound.
        entry.hold_partial(shard, frames.held_bytes()).await;
    }
}

async fn answer_one(shard: &Rc<Shard>, stream: &Stream, queue: &AnswerQueue, entry: &Entry, frame: Bytes) -> Result<(), End> {
    let waits = dispatch::may_wait(&frame);
    let handled = dispatch::handle(shard, &entry.peer, frame);
    let answer = if waits {
        // For as long as the client says, which may be weeks: a client that has left is not waited for.
        match select(pin!(handled), pin!(stream.ended())).await {
            Either::Left((answer, _)) => answer,
            Either::Right(_) => return Err(End::Left),
        }
    } else {
        handled.await
    };
    match answer {
        Ok(Answer::None) => Ok(()),
        Ok(answer) => {
            let closes = answer.closes();
            queue.push(answer);
            Connections::guard_answers(shard);
            if closes { Err(End::Request("the request asked for an end".into())) } else { Ok(()) }
        }
        Err(close) => Err(End::Request(close.to_string())),
    }
}
