//! How a journal block looks on disk. All integers are little-endian; blocks start at multiples of 4 KiB and are padded with zeros to one.
//!
//! Block header, 64 bytes:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 8 | magic `ODRAJRNL` |
//! | 8 | 4 | CRC-32C of header bytes 12..64 and the payload |
//! | 12 | 2 | version (1) |
//! | 14 | 2 | shard |
//! | 16 | 8 | sequence: 1 for the first block of a journal, then one more for each |
//! | 24 | 8 | replay from: the lowest sequence whose entries may be missing from the segments |
//! | 32 | 4 | payload length in bytes, without padding |
//! | 36 | 4 | number of entries |
//! | 40 | 8 | journal id: random, the same in all blocks of a journal, so that record data cannot pass for a block |
//! | 48 | 16 | zero |
//!
//! Entry, 44 bytes and its payload:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 4 | payload length in bytes |
//! | 4 | 1 | kind: 1 batch, 2 log start offset, 3 log end offset |
//! | 5 | 3 | zero |
//! | 8 | 16 | topic id |
//! | 24 | 4 | partition |
//! | 28 | 4 | leader epoch |
//! | 32 | 8 | base offset of the batch, the new log start offset, or the log end offset after an earlier block |
//! | 40 | 4 | zero |
//!
//! The payload of a batch entry is the record batch exactly as it goes to the segment. The others have none.
//!
//! Each block repeats what the block before it did to its partitions: log end offsets in place of batches, and log starts as they are (and what
//! blocks before that did, as far as the padding has room). Where a block cannot be read any more, the next one tells which partitions
//! lost their last batches with it; without this only those would be known that have later batches, by a gap in their offsets.

use odradek_base::{LeaderEpoch, Offset, PartitionIndex, ShardId, TopicId, TopicPartition, buffer};
use uuid::Uuid;

pub const BLOCK_HEADER_BYTES: usize = 64;
pub const ENTRY_HEADER_BYTES: usize = 44;
/// Largest payload a block header can be believed to announce: message.max.bytes is an i32.
pub const PAYLOAD_BYTES_MAX: usize = i32::MAX as usize;

const MAGIC: [u8; 8] = *b"ODRAJRNL";
const VERSION: u16 = 1;
const CRC_FROM: usize = 12;

/// Number of a block; a journal's blocks are numbered without gaps, for ever.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct Sequence(pub u64);

impl Sequence {
    pub const FIRST: Self = Self(1);

    pub fn next(self) -> Self {
        Self(self.0.checked_add(1).expect("journal sequence overflow"))
    }
}

impl std::fmt::Display for Sequence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Random id of one journal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct JournalId(pub u64);

/// What an entry is about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum EntryKind {
    /// A record batch at `offset`.
    Batch,
    /// The log start offset moved to `offset`.
    LogStart,
    /// An earlier block brought the log end offset to `offset`.
    LogEnd,
}

/// Header of one entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EntryHeader {
    pub kind: EntryKind,
    pub partition: TopicPartition,
    pub leader_epoch: LeaderEpoch,
    pub offset: Offset,
    pub payload_bytes: u32,
}

impl EntryHeader {
    pub fn encode(&self) -> [u8; ENTRY_HEADER_BYTES] {
        let mut out = [0u8; ENTRY_HEADER_BYTES];
        out[0..4].copy_from_slice(&self.payload_bytes.to_le_bytes());
        out[4] = match self.kind {
            EntryKind::Batch => 1,
            EntryKind::LogStart => 2,
            EntryKind::LogEnd => 3,
        };
        out[8..24].copy_from_slice(self.partition.topic.0.as_bytes());
        out[24..28].copy_from_slice(&self.partition.partition.0.to_le_bytes());
        out[28..32].copy_from_slice(&self.leader_epoch.0.to_le_bytes());
        out[32..40].copy_from_slice(&self.offset.0.to_le_bytes());
        out
    }

    /// `None` where the bytes are too few or name an unknown kind.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let kind = match bytes.get(4)? {
            1 => EntryKind::Batch,
            2 => EntryKind::LogStart,
            3 => EntryKind::LogEnd,
            _ => return None,
        };
        let topic = TopicId(Uuid::from_bytes(field(bytes, 8)?));
        Some(Self {
            kind,
            partition: TopicPartition::new(topic, PartitionIndex(i32::from_le_bytes(field(bytes, 24)?))),
            leader_epoch: LeaderEpoch(i32::from_le_bytes(field(bytes, 28)?)),
            offset: Offset(i64::from_le_bytes(field(bytes, 32)?)),
            payload_bytes: u32::from_le_bytes(field(bytes, 0)?),
        })
    }
}

/// Header of one block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockHeader {
    pub crc: u32,
    pub shard: ShardId,
    pub journal: JournalId,
    pub sequence: Sequence,
    pub replay_from: Sequence,
    pub payload_bytes: u32,
    pub entries: u32,
}

impl BlockHeader {
    /// `None` unless magic and version are ours. The CRC is not checked here.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.get(..8)? != MAGIC || u16::from_le_bytes(field(bytes, 12)?) != VERSION {
            return None;
        }
        let sequence = u64::from_le_bytes(field(bytes, 16)?);
        if sequence == u64::MAX {
            // No block can follow it: no writer gets there.
            return None;
        }
        Some(Self {
            crc: u32::from_le_bytes(field(bytes, 8)?),
            shard: ShardId(u16::from_le_bytes(field(bytes, 14)?)),
            journal: JournalId(u64::from_le_bytes(field(bytes, 40)?)),
            sequence: Sequence(sequence),
            replay_from: Sequence(u64::from_le_bytes(field(bytes, 24)?)),
            payload_bytes: u32::from_le_bytes(field(bytes, 32)?),
            entries: u32::from_le_bytes(field(bytes, 36)?),
        })
    }

    /// Bytes of the whole block on disk.
    pub fn block_bytes(&self) -> usize {
        buffer::align_up(BLOCK_HEADER_BYTES + self.payload_bytes as usize)
    }
}

/// Writes the header over the first 64 bytes of `block` (header and payload, without padding) and computes its CRC.
pub(crate) fn seal(block: &mut [u8], shard: ShardId, journal: JournalId, sequence: Sequence, replay_from: Sequence, entries: u32) {
    assert!(
        block.len() >= BLOCK_HEADER_BYTES && block.len() - BLOCK_HEADER_BYTES <= PAYLOAD_BYTES_MAX,
        "journal block of {} bytes",
        block.len()
    );
    let payload_bytes = (block.len() - BLOCK_HEADER_BYTES) as u32;
    block[..BLOCK_HEADER_BYTES].fill(0);
    block[0..8].copy_from_slice(&MAGIC);
    block[12..14].copy_from_slice(&VERSION.to_le_bytes());
    block[14..16].copy_from_slice(&shard.0.to_le_bytes());
    block[16..24].copy_from_slice(&sequence.0.to_le_bytes());
    block[24..32].copy_from_slice(&replay_from.0.to_le_bytes());
    block[32..36].copy_from_slice(&payload_bytes.to_le_bytes());
    block[36..40].copy_from_slice(&entries.to_le_bytes());
    block[40..48].copy_from_slice(&journal.0.to_le_bytes());
    let crc = crc32c::crc32c(&block[CRC_FROM..]);
    block[8..12].copy_from_slice(&crc.to_le_bytes());
}

/// Whether `block` (from its header on, at least header and payload) carries the CRC its header says.
pub fn crc_valid(header: &BlockHeader, block: &[u8]) -> bool {
    block.get(CRC_FROM..BLOCK_HEADER_BYTES + header.payload_bytes as usize).is_some_and(|covered| crc32c::crc32c(covered) == header.crc)
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk::<N>().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_that_nothing_can_follow_is_none() {
        let mut block = vec![0; BLOCK_HEADER_BYTES];
        seal(&mut block, ShardId(1), JournalId(2), Sequence(u64::MAX - 1), Sequence(1), 0);
        assert_eq!(BlockHeader::decode(&block).map(|header| header.sequence), Some(Sequence(u64::MAX - 1)));
        seal(&mut block, ShardId(1), JournalId(2), Sequence(u64::MAX), Sequence(1), 0);
        assert_eq!(BlockHeader::decode(&block), None);
    }
}
