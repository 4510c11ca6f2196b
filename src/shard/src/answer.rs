//! What a request is answered with.

use crate::produce::PendingProduce;
use bytes::Bytes;

/// Room in the connection's queue that an answer takes beside its own bytes.
const ANSWER_OVERHEAD_BYTES: usize = 128;

/// The answer to one request.
pub enum Answer {
    /// Nothing is sent: a produce with acks=0.
    None,
    /// A whole response frame, in parts that are sent without being joined in memory.
    Ready { parts: Vec<Bytes>, bytes: usize, closes: bool },
    /// A produce whose records are on their way to the disk.
    Produce(Box<PendingProduce>),
}

impl Answer {
    pub fn frame(frame: Bytes) -> Self {
        let bytes = frame.len();
        Self::Ready { parts: vec![frame], bytes, closes: false }
    }

    pub fn parts(parts: Vec<Bytes>) -> Self {
        let bytes = parts.iter().map(|part| part.len() + size_of::<Bytes>()).sum();
        Self::Ready { parts, bytes, closes: false }
    }

    /// Closes the connection without an answer: what Kafka does when a produce with acks=0 fails.
    pub fn close() -> Self {
        Self::Ready { parts: Vec::new(), bytes: 0, closes: true }
    }

    /// Room that the answer takes in its connection's queue, in bytes.
    pub fn bytes(&self) -> usize {
        ANSWER_OVERHEAD_BYTES
            + match self {
                Self::None => 0,
                Self::Ready { bytes, .. } => *bytes,
                Self::Produce(pending) => pending.bytes(),
            }
    }

    pub fn is_ready(&self) -> bool {
        match self {
            Self::Produce(pending) => pending.is_ready(),
            _ => true,
        }
    }

    /// True when the connection ends after this answer.
    pub fn closes(&self) -> bool {
        matches!(self, Self::Ready { closes: true, .. })
    }

    /// Waits until the answer can be sent.
    pub async fn into_parts(self) -> Vec<Bytes> {
        match self {
            Self::None => Vec::new(),
            Self::Ready { parts, .. } => parts,
            Self::Produce(pending) => pending.finish().await,
        }
    }
}
