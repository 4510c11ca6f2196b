//! Reads a journal back: finds the blocks in the files, decides which of them count, and takes them apart.
//!
//! The tail of a journal ends where the next sequence is not there: a block that was being written when the machine stopped is torn
//! and nobody was told that it is durable. Blocks are written one at a time, each made durable before the next is begun, so a missing
//! sequence *below* a valid one is never a torn tail but damage: it is reported as a [`Hole`].

use super::format::{self, BLOCK_HEADER_BYTES, BlockHeader, ENTRY_HEADER_BYTES, EntryHeader, JournalId, Sequence};
use super::space::FileNumber;
use odradek_base::{BLOCK_ALIGNMENT, ShardId};
use std::ops::Range;

/// A valid block in a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FoundBlock {
    pub file: FileNumber,
    pub position: u64,
    pub sequence: Sequence,
    pub replay_from: Sequence,
    pub journal: JournalId,
    pub block_bytes: u32,
}

/// What is at a position of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Probe {
    /// A valid block of this shard.
    Block(BlockHeader),
    /// A header that announces more bytes than were given: probe again with that many, if the file has them.
    NeedMore(usize),
    /// Anything else: go on [`BLOCK_ALIGNMENT`] bytes further.
    Nothing,
}

/// Looks for a block at the start of `bytes`.
pub fn probe(bytes: &[u8], shard: ShardId) -> Probe {
    match BlockHeader::decode(bytes) {
        Some(header) if header.shard == shard && header.payload_bytes as usize <= format::PAYLOAD_BYTES_MAX => {
            if bytes.len() < header.block_bytes() {
                Probe::NeedMore(header.block_bytes())
            } else if format::crc_valid(&header, bytes) {
                Probe::Block(header)
            } else {
                Probe::Nothing
            }
        }
        _ => Probe::Nothing,
    }
}

/// All blocks within `bytes`, which start at `position` of `file`, up to the first one that reaches beyond the end. Returns how many
/// bytes are done with, and how many the block after them needs (0: none announced). Searching goes on behind damage.
pub fn scan(bytes: &[u8], file: FileNumber, position: u64, shard: ShardId, found: &mut Vec<FoundBlock>) -> (usize, usize) {
    let mut at = 0;
    while let Some(rest) = bytes.get(at..).filter(|rest| rest.len() >= BLOCK_HEADER_BYTES) {
        match probe(rest, shard) {
            Probe::Block(header) => {
                found.push(FoundBlock {
                    file,
                    position: position + at as u64,
                    sequence: header.sequence,
                    replay_from: header.replay_from,
                    journal: header.journal,
                    block_bytes: header.block_bytes() as u32,
                });
                at += header.block_bytes();
            }
            Probe::NeedMore(bytes) => return (at, bytes),
            Probe::Nothing => at += BLOCK_ALIGNMENT,
        }
    }
    (at.min(bytes.len()), 0)
}

/// Blocks that must have been there and are not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hole {
    pub first: Sequence,
    pub last: Sequence,
}

impl std::fmt::Display for Hole {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.first, self.last) {
            (first, last) if first == last => write!(f, "journal block {first}"),
            (first, last) => write!(f, "journal blocks {first} to {last}"),
        }
    }
}

/// What to replay.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Plan {
    /// In order of their sequences.
    pub blocks: Vec<FoundBlock>,
    pub holes: Vec<Hole>,
    /// The last block, also when nothing has to be replayed.
    pub last: Option<FoundBlock>,
    /// The id of the journal that was found.
    pub journal: Option<JournalId>,
}

impl Plan {
    /// Where `hole` begins: behind the last block before it that was found.
    pub fn place(&self, hole: &Hole) -> Option<(FileNumber, u64)> {
        let before = self.blocks.iter().rev().find(|block| block.sequence < hole.first)?;
        Some((before.file, before.position + u64::from(before.block_bytes)))
    }
}

/// Decides which blocks count. `journal`: the id the shard's state names; without it, the id of the newest block. `known_last`: a
/// sequence that is known to have been durable, 0 when nothing is known. `files`: all files that were searched.
///
/// Blocks missing at the very beginning are no hole when a file has no block at its start: it was being reused when the machine stopped,
/// the new block is torn, and the last valid one still names the old blocks there, although they had been flushed. A gap in a
/// partition's offsets shows where that explanation is wrong.
pub fn plan(mut found: Vec<FoundBlock>, files: &[FileNumber], journal: Option<JournalId>, known_last: u64) -> Plan {
    let Some(journal) = journal.or_else(|| found.iter().max_by_key(|block| block.sequence).map(|block| block.journal)) else {
        return Plan::default();
    };
    found.retain(|block| block.journal == journal);
    found.sort_by_key(|block| (block.sequence, block.file, block.position));
    let Some(last) = found.last().copied() else {
        let known = Sequence(known_last);
        let holes = if known_last > 0 { vec![Hole { first: known, last: known }] } else { Vec::new() };
        return Plan { journal: Some(journal), holes, ..Plan::default() };
    };
    let from = last.replay_from;
    let reused = files.iter().any(|file| !found.iter().any(|block| block.file == *file && block.position == 0));
    found.retain(|block| block.sequence >= from);
    let mut holes = Vec::new();
    let mut expected = from.0;
    if reused && let Some(first) = found.first() {
        expected = expected.max(first.sequence.0);
    }
    for block in &found {
        if block.sequence.0 > expected {
            holes.push(Hole { first: Sequence(expected), last: Sequence(block.sequence.0 - 1) });
        }
        expected = block.sequence.0 + 1;
    }
    if expected <= known_last {
        holes.push(Hole { first: Sequence(expected), last: Sequence(known_last) });
    }
    Plan { blocks: found, holes, last: Some(last), journal: Some(journal) }
}

/// The entries of a block whose CRC was checked: headers and where their payloads are in `block`. `None` when they do not fit together,
/// which a block that we wrote never shows.
pub fn entries(block: &[u8]) -> Option<Vec<(EntryHeader, Range<usize>)>> {
    let header = BlockHeader::decode(block)?;
    let end = BLOCK_HEADER_BYTES.checked_add(header.payload_bytes as usize)?;
    let mut at = BLOCK_HEADER_BYTES;
    let mut out = Vec::new();
    while at < end {
        let entry = EntryHeader::decode(block.get(at..end)?)?;
        let start = at + ENTRY_HEADER_BYTES;
        at = start.checked_add(entry.payload_bytes as usize)?;
        if at > end {
            return None;
        }
        out.push((entry, start..at));
    }
    (out.len() == header.entries as usize).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::super::writer::{Assignment, Writer, WriterLimits};
    use super::*;
    use odradek_base::{LeaderEpoch, Offset, PartitionIndex, Rng, TopicId, TopicPartition};

    const SHARD: ShardId = ShardId(2);
    const FILE: FileNumber = FileNumber(0);

    /// A journal of `blocks` blocks in one file; positions of the blocks.
    fn journal(rng: &mut Rng, blocks: u64) -> (Vec<u8>, Vec<usize>) {
        let mut writer = Writer::new(SHARD, JournalId(9), Sequence(1), WriterLimits { block_bytes_max: 1 << 20, arena_bytes: 1 << 20 });
        let (mut file, mut positions) = (Vec::new(), Vec::new());
        for i in 0..blocks {
            for _ in 0..1 + rng.below(3) {
                let batch = crate::test_batches::plain(1, rng.below(9000) as usize);
                let assign = Assignment {
                    base_offset: Offset(i as i64),
                    last_offset: Offset(i as i64),
                    leader_epoch: LeaderEpoch(0),
                    log_append_time: None,
                };
                writer.push_batch((), TopicPartition::new(TopicId::NONE, PartitionIndex(0)), &batch, assign, true);
            }
            positions.push(file.len());
            file.extend_from_slice(&writer.take(Sequence(1)).expect("a block").bytes);
        }
        (file, positions)
    }

    fn found(file: &[u8]) -> Vec<FoundBlock> {
        let (mut found, mut position) = (Vec::new(), 0);
        loop {
            let (done, need) = scan(&file[position..], FILE, position as u64, SHARD, &mut found);
            position += done;
            if need == 0 {
                return found;
            }
            position += BLOCK_ALIGNMENT;
        }
    }

    fn sequences(plan: &Plan) -> Vec<u64> {
        plan.blocks.iter().map(|block| block.sequence.0).collect()
    }

    #[test]
    fn a_torn_tail_ends_the_replay_and_a_hole_is_reported() {
        for seed in 0..100 {
            let mut rng = Rng::with_seed(seed);
            let (mut file, positions) = journal(&mut rng, 8);
            let whole = plan(found(&file), &[FILE], None, 0);
            assert_eq!((sequences(&whole), whole.holes.len()), ((1..=8).collect(), 0));
            // The last block is torn at any sector.
            let mut torn = file.clone();
            let tail = positions[7];
            let cut = tail + (rng.below((file.len() - tail) as u64) as usize / 512) * 512;
            torn[cut..].fill(0);
            let got = plan(found(&torn), &[FILE], Some(JournalId(9)), 7);
            if file[cut..].iter().any(|&byte| byte != 0) {
                assert_eq!((sequences(&got), got.holes.len()), ((1..=7).collect(), 0), "seed {seed}");
            }
            // The same, but that block was known to be durable.
            if got.blocks.len() == 7 {
                let got = plan(found(&torn), &[FILE], Some(JournalId(9)), 8);
                assert_eq!(got.holes, [Hole { first: Sequence(8), last: Sequence(8) }]);
            }
            // A flipped bit in the middle.
            let victim = 1 + rng.below(6) as usize;
            file[positions[victim] + 70] ^= 4;
            let got = plan(found(&file), &[FILE], None, 0);
            let gone = Sequence(victim as u64 + 1);
            assert_eq!(got.holes, [Hole { first: gone, last: gone }]);
            assert_eq!(got.blocks.len(), 7);
        }
    }

    #[test]
    fn stale_and_foreign_blocks_are_not_replayed() {
        let (file, positions) = journal(&mut Rng::with_seed(1), 6);
        let mut blocks = found(&file);
        blocks[5].replay_from = Sequence(4);
        assert_eq!(sequences(&plan(blocks.clone(), &[FILE], None, 0)), [4, 5, 6]);
        assert!(plan(blocks.clone(), &[FILE], Some(JournalId(1)), 0).blocks.is_empty(), "another journal's");
        // The first file is being reused: its old blocks had been flushed.
        blocks[5].replay_from = Sequence(1);
        let reused = plan(blocks[1..].to_vec(), &[FILE], None, 0);
        assert_eq!((sequences(&reused), reused.holes.len()), ((2..=6).collect(), 0));
        let mut other_shard = Vec::new();
        scan(&file, FILE, 0, ShardId(3), &mut other_shard);
        assert!(other_shard.is_empty());
        assert_eq!(positions.len(), 6);
        assert_eq!(plan(Vec::new(), &[], Some(JournalId(9)), 5).holes, [Hole { first: Sequence(5), last: Sequence(5) }]);
    }

    #[test]
    fn random_bytes_are_no_journal() {
        let mut rng = Rng::with_seed(5);
        let (file, _) = journal(&mut rng, 2);
        for _ in 0..2000 {
            let mut bad = file.clone();
            for _ in 0..1 + rng.below(8) {
                let at = rng.below(bad.len() as u64) as usize;
                bad[at] = rng.next_u64() as u8;
            }
            for block in found(&bad) {
                let _ = entries(&bad[block.position as usize..block.position as usize + block.block_bytes as usize]);
            }
            let _ = entries(&bad);
        }
    }
}
