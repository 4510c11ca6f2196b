//! Builds journal blocks in memory. Each batch is copied here, once, and this memory is what is written to the journal, what the
//! segments are written from and what consumers at the tail are served from.
//!
//! Blocks are cut from arenas: aligned stretches of memory that hold several blocks, so that a small block does not pin a large buffer.
//! Memory of an arena is given back when the last slice of it is dropped, wherever that is: a small slice pins the whole arena, so what is
//! counted ([`Writer::memory`]) are arenas.

use super::format::{self, BLOCK_HEADER_BYTES, ENTRY_HEADER_BYTES, EntryHeader, EntryKind, JournalId, Sequence};
use super::look_back::LookBack;
use bytes::{BufMut, Bytes, BytesMut};
use odradek_base::{BLOCK_ALIGNMENT, Gauge, Held, LeaderEpoch, Offset, ShardId, Timestamp, TopicPartition, buffer};
use odradek_wire::batch;
use std::collections::VecDeque;
use std::sync::Arc;

/// One entry of a block, with the caller's tag (which partition it belongs to).
#[derive(Debug)]
pub struct BlockEntry<T> {
    pub tag: T,
    pub kind: EntryKind,
    pub base_offset: Offset,
    pub last_offset: Offset,
    /// Position of the payload within the block, in bytes.
    start: u32,
    len: u32,
}

/// A finished block: write `bytes` at an aligned position.
#[derive(Debug)]
pub struct SealedBlock<T> {
    pub sequence: Sequence,
    /// Header, entries and padding; address and length are multiples of 4 KiB.
    pub bytes: Bytes,
    pub entries: Vec<BlockEntry<T>>,
    /// Somebody waits for stable storage.
    pub durable: bool,
    /// The arena that `bytes` is a part of.
    pub arena: Arc<Held>,
}

/// A block whose slices count as the arena that they pin.
pub struct Counted {
    pub bytes: Bytes,
    pub arena: Arc<Held>,
}

impl Counted {
    pub fn share(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl<T> SealedBlock<T> {
    /// The batch of `entry`, as a slice of the block.
    pub fn payload(&self, entry: &BlockEntry<T>) -> Bytes {
        self.bytes.slice(entry.start as usize..(entry.start + entry.len) as usize)
    }
}

/// What to patch into a batch as it is copied.
#[derive(Debug, Clone, Copy)]
pub struct Assignment {
    pub base_offset: Offset,
    pub last_offset: Offset,
    pub leader_epoch: LeaderEpoch,
    /// With LogAppendTime: the time all records get.
    pub log_append_time: Option<Timestamp>,
}

struct OpenBlock<T> {
    entries: Vec<BlockEntry<T>>,
    /// Entries that repeat earlier blocks.
    repeated: usize,
    durable: bool,
}

/// A block that is closed and not yet sealed with a header, so that `replay_from` is fresh.
struct FullBlock<T> {
    sequence: Sequence,
    bytes: BytesMut,
    arena: Arc<Held>,
    open: OpenBlock<T>,
}

/// Bounds of the writer, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct WriterLimits {
    /// A block is closed before it grows beyond this; a single larger batch gets a block of its own.
    pub block_bytes_max: usize,
    /// Memory is taken in stretches of this size.
    pub arena_bytes: usize,
}

/// Builds the blocks of one journal, in sequence order. `T` tags entries.
pub struct Writer<T> {
    shard: ShardId,
    journal: JournalId,
    limits: WriterLimits,
    /// Sequence of the open block.
    next: Sequence,
    /// Written part: the open block. Its start is aligned.
    arena: BytesMut,
    held: Arc<Held>,
    /// Bytes of the arenas of the open block and of those that wait.
    held_bytes: usize,
    /// Entries of these blocks.
    entries: usize,
    open: Option<OpenBlock<T>>,
    look_back: LookBack,
    /// Blocks that wait to be written.
    full: VecDeque<FullBlock<T>>,
    waiting_bytes: usize,
    arenas_taken: u64,
    memory: Gauge,
}

impl<T> Writer<T> {
    pub fn new(shard: ShardId, journal: JournalId, next: Sequence, limits: WriterLimits) -> Self {
        let memory = Gauge::default();
        Self {
            shard,
            journal,
            limits,
            next,
            arena: BytesMut::new(),
            held: Arc::new(memory.hold(0)),
            held_bytes: 0,
            entries: 0,
            open: None,
            look_back: LookBack::default(),
            full: VecDeque::new(),
            waiting_bytes: 0,
            arenas_taken: 0,
            memory,
        }
    }

    /// Sequence of the block that the next entry goes to, when it fits.
    pub fn open_sequence(&self) -> Sequence {
        self.next
    }

    /// Bytes in blocks that were not taken yet.
    pub fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    /// Bytes of all arenas that are alive: those of the blocks here, and those that slices of earlier blocks pin.
    pub fn memory(&self) -> &Gauge {
        &self.memory
    }

    /// Bytes that the entries of blocks here, and what is repeated of earlier ones, take beside the arenas: the former's lists grow by doubling.
    pub fn entry_bytes(&self) -> usize {
        self.entries * 2 * size_of::<BlockEntry<T>>() + self.look_back.bytes()
    }

    /// Bytes of the arenas that blocks are built in or wait in.
    pub fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    pub fn is_empty(&self) -> bool {
        self.open.is_none() && self.full.is_empty()
    }

    /// Arenas allocated so far.
    pub fn arenas_taken(&self) -> u64 {
        self.arenas_taken
    }

    /// Copies a batch into the open block and patches it there. Returns the block's sequence.
    pub fn push_batch(&mut self, tag: T, partition: TopicPartition, bytes: &[u8], assign: Assignment, durable: bool) -> Sequence {
        let header = EntryHeader {
            kind: EntryKind::Batch,
            partition,
            leader_epoch: assign.leader_epoch,
            offset: assign.base_offset,
            payload_bytes: u32::try_from(bytes.len()).expect("batch lengths are i32"),
        };
        let start = self.push(&header, bytes);
        self.look_back.note(EntryHeader { kind: EntryKind::LogEnd, offset: assign.last_offset.next(), payload_bytes: 0, ..header });
        let copied = &mut self.arena[start..];
        batch::patch_base_offset_and_epoch(copied, assign.base_offset, assign.leader_epoch);
        if let Some(time) = assign.log_append_time {
            batch::set_max_timestamp_and_log_append_time(copied, time);
        }
        self.record(tag, EntryKind::Batch, assign.base_offset, assign.last_offset, start, bytes.len(), durable)
    }

    /// Records that the log start offset of `partition` moved. Returns the block's sequence.
    pub fn push_log_start(&mut self, tag: T, partition: TopicPartition, start: Offset) -> Sequence {
        let header =
            EntryHeader { kind: EntryKind::LogStart, partition, leader_epoch: LeaderEpoch::UNKNOWN, offset: start, payload_bytes: 0 };
        let at = self.push(&header, &[]);
        self.look_back.note(header);
        self.record(tag, EntryKind::LogStart, start, start, at, 0, true)
    }

    /// A block that was there before this writer: its entries, batches with the offset after their last record. The first block repeats the last of them.
    pub fn follow(&mut self, entries: impl IntoIterator<Item = (EntryHeader, Offset)>) {
        for (header, end) in entries {
            match header.kind {
                EntryKind::Batch => self.look_back.note(EntryHeader { kind: EntryKind::LogEnd, offset: end, payload_bytes: 0, ..header }),
                EntryKind::LogStart => self.look_back.note(header),
                EntryKind::LogEnd => {}
            }
        }
        self.look_back.close();
    }

    /// The oldest block that waits, sealed for writing. `replay_from` as in the format.
    pub fn take(&mut self, replay_from: Sequence) -> Option<SealedBlock<T>> {
        if self.full.is_empty() {
            self.close_open();
        }
        let FullBlock { sequence, mut bytes, arena, open } = self.full.pop_front()?;
        self.waiting_bytes -= bytes.len();
        self.entries -= open.entries.len();
        if !Arc::ptr_eq(&arena, self.full.front().map_or(&self.held, |next| &next.arena)) {
            self.held_bytes -= arena.bytes();
        }
        // A block whose own entries are the oldest that matter starts the replay itself.
        let replay_from = replay_from.min(sequence);
        format::seal(&mut bytes, self.shard, self.journal, sequence, replay_from, (open.entries.len() + open.repeated) as u32);
        let padding = buffer::align_up(bytes.len()) - bytes.len();
        bytes.put_bytes(0, padding);
        let bytes = Counted { bytes: bytes.freeze(), arena: arena.clone() }.share();
        Some(SealedBlock { sequence, bytes, entries: open.entries, durable: open.durable, arena })
    }

    /// Room in memory for one more entry; returns where its payload starts within the open block.
    fn push(&mut self, header: &EntryHeader, payload: &[u8]) -> usize {
        let entry = ENTRY_HEADER_BYTES + payload.len();
        if self.open.is_some() && self.arena.len() + entry > self.limits.block_bytes_max {
            self.close_open();
        }
        // The padding of the block must fit in the arena too.
        if self.open.is_some() && buffer::align_up(self.arena.len() + entry) > self.arena.capacity() {
            self.close_open();
        }
        if self.open.is_none() {
            let begin = BLOCK_HEADER_BYTES + self.look_back.last_bytes();
            let needed = buffer::align_up(begin + entry);
            if self.arena.capacity() < needed {
                let bytes = needed.max(self.limits.arena_bytes);
                self.arena = aligned_arena(bytes);
                if self.full.back().is_none_or(|last| !Arc::ptr_eq(&last.arena, &self.held)) {
                    self.held_bytes -= self.held.bytes();
                }
                self.held = Arc::new(self.memory.hold(bytes));
                self.held_bytes += bytes;
                self.arenas_taken += 1;
            }
            self.arena.put_bytes(0, BLOCK_HEADER_BYTES);
            let last = self.look_back.last();
            last.iter().for_each(|repeated| self.arena.put_slice(&repeated.encode()));
            self.waiting_bytes += begin;
            self.open = Some(OpenBlock { entries: Vec::with_capacity(16), repeated: last.len(), durable: false });
        }
        self.arena.put_slice(&header.encode());
        let start = self.arena.len();
        self.arena.put_slice(payload);
        self.waiting_bytes += entry;
        start
    }

    #[allow(clippy::too_many_arguments)]
    fn record(
        &mut self,
        tag: T,
        kind: EntryKind,
        base_offset: Offset,
        last_offset: Offset,
        start: usize,
        len: usize,
        durable: bool,
    ) -> Sequence {
        let open = self.open.as_mut().expect("a block is open");
        open.durable |= durable;
        self.entries += 1;
        open.entries.push(BlockEntry { tag, kind, base_offset, last_offset, start: start as u32, len: len as u32 });
        self.next
    }

    fn close_open(&mut self) {
        let Some(mut open) = self.open.take() else { return };
        let room = buffer::align_up(self.arena.len()) - self.arena.len();
        for repeated in self.look_back.older().iter().take(room / ENTRY_HEADER_BYTES) {
            self.arena.put_slice(&repeated.encode());
            self.waiting_bytes += ENTRY_HEADER_BYTES;
            open.repeated += 1;
        }
        self.look_back.close();
        // Cut at the padded length, so that the rest of the arena stays aligned; the padding itself is written when it is sealed.
        let written = self.arena.len();
        let padded = buffer::align_up(written);
        self.arena.put_bytes(0, padded - written);
        let mut block = self.arena.split();
        block.truncate(written);
        self.full.push_back(FullBlock { sequence: self.next, bytes: block, arena: self.held.clone(), open });
        self.next = self.next.next();
    }
}

/// Empty memory whose start is aligned, of exactly `bytes`: where blocks end must not depend on the address that the allocator gave.
fn aligned_arena(bytes: usize) -> BytesMut {
    let mut arena = BytesMut::with_capacity(bytes + BLOCK_ALIGNMENT);
    let misaligned = arena.as_ptr() as usize % BLOCK_ALIGNMENT;
    if misaligned != 0 {
        let skip = BLOCK_ALIGNMENT - misaligned;
        arena.put_bytes(0, skip);
        drop(arena.split());
    }
    drop(arena.split_off(bytes));
    assert!((arena.as_ptr() as usize).is_multiple_of(BLOCK_ALIGNMENT) && arena.capacity() == bytes, "arena is not aligned");
    arena
}

#[cfg(test)]
mod tests {
    use super::super::format::{BlockHeader, crc_valid};
    use super::super::replay;
    use super::*;
    use odradek_base::{PartitionIndex, TopicId};
    use odradek_wire::batch::BatchView;

    fn writer(block: usize, arena: usize) -> Writer<u32> {
        Writer::new(ShardId(3), JournalId(7), Sequence(10), WriterLimits { block_bytes_max: block, arena_bytes: arena })
    }

    fn assignment(base: i64) -> Assignment {
        Assignment { base_offset: Offset(base), last_offset: Offset(base), leader_epoch: LeaderEpoch(4), log_append_time: None }
    }

    fn partition(index: i32) -> TopicPartition {
        TopicPartition::new(TopicId::NONE, PartitionIndex(index))
    }

    #[test]
    fn entries_share_a_block_and_are_patched_in_their_copy() {
        let mut writer = writer(64 << 10, 256 << 10);
        let batch = crate::test_batches::plain(3, 100);
        for i in 0..5 {
            assert_eq!(writer.push_batch(i, partition(i as i32), &batch, assignment(i as i64 * 3), i == 2), Sequence(10));
        }
        let block = writer.take(Sequence(9)).expect("open block");
        assert!(writer.take(Sequence(9)).is_none() && writer.is_empty() && writer.waiting_bytes() == 0);
        assert!(
            block.durable
                && block.bytes.len().is_multiple_of(BLOCK_ALIGNMENT)
                && (block.bytes.as_ptr() as usize).is_multiple_of(BLOCK_ALIGNMENT)
        );
        let header = BlockHeader::decode(&block.bytes).expect("header");
        assert_eq!((header.sequence, header.replay_from, header.shard, header.entries), (Sequence(10), Sequence(9), ShardId(3), 5));
        assert!(crc_valid(&header, &block.bytes));
        let read = replay::entries(&block.bytes).expect("entries");
        for (i, (entry, (read_header, range))) in block.entries.iter().zip(read).enumerate() {
            assert_eq!(block.payload(entry), block.bytes.slice(range));
            assert_eq!(read_header.partition, partition(i as i32));
            let payload = block.payload(entry);
            let view = BatchView::parse(&payload).expect("batch");
            assert!(view.crc_valid());
            assert_eq!((view.base_offset(), view.leader_epoch()), (Offset(i as i64 * 3), LeaderEpoch(4)));
        }
    }

    #[test]
    fn a_block_repeats_the_one_before_also_when_another_writer_made_that() {
        let batch = crate::test_batches::plain(1, 100);
        let repeated = |writer: &mut Writer<u32>| {
            writer.push_batch(0, partition(9), &batch, assignment(0), true);
            let block = writer.take(Sequence(1)).expect("a block");
            let entries = replay::entries(&block.bytes).expect("entries");
            let repeated = entries.into_iter().filter(|(entry, _)| entry.kind != EntryKind::Batch);
            repeated.map(|(entry, _)| (entry.kind, entry.partition, entry.offset)).collect::<Vec<_>>()
        };
        let mut first = writer(64 << 10, 256 << 10);
        first.push_batch(0, partition(1), &batch, assignment(7), true);
        first.push_log_start(0, partition(1), Offset(3));
        let block = first.take(Sequence(1)).expect("a block");
        let expected = [(EntryKind::LogStart, partition(1), Offset(3)), (EntryKind::LogEnd, partition(1), Offset(8))];
        assert_eq!(repeated(&mut first), expected);
        let mut second = writer(64 << 10, 256 << 10);
        second.follow(replay::entries(&block.bytes).expect("entries").into_iter().map(|(entry, _)| (entry, entry.offset.next())));
        assert_eq!(repeated(&mut second), expected);
    }

    #[test]
    fn blocks_are_cut_at_their_bound_and_a_large_batch_gets_its_own() {
        let mut writer = writer(8 << 10, 32 << 10);
        let small = crate::test_batches::plain(1, 3000);
        let large = crate::test_batches::plain(1, 100_000);
        let sequences: Vec<u64> = [&small, &small, &small, &large, &small]
            .iter()
            .enumerate()
            .map(|(i, batch)| writer.push_batch(0, partition(0), batch, assignment(i as i64), true).0)
            .collect();
        assert_eq!(sequences, [10, 10, 11, 12, 13]);
        let mut ends = Vec::new();
        while let Some(block) = writer.take(Sequence(1)) {
            assert!((block.bytes.as_ptr() as usize).is_multiple_of(BLOCK_ALIGNMENT));
            let header = BlockHeader::decode(&block.bytes).expect("header");
            assert!(crc_valid(&header, &block.bytes) && header.block_bytes() == block.bytes.len());
            ends.push(block.entries.len());
        }
        assert_eq!(ends, [2, 1, 1, 1]);
    }

    #[test]
    fn a_slice_counts_as_the_arena_that_it_pins() {
        let mut writer = writer(8 << 10, 32 << 10);
        let batch = crate::test_batches::plain(1, 3000);
        let mut kept = Vec::new();
        let mut block = |writer: &mut Writer<u32>| {
            writer.push_batch(0, partition(0), &batch, assignment(0), true);
            let block = writer.take(Sequence(1)).expect("a block");
            kept.push(block.payload(&block.entries[0]));
            (kept.len(), writer.memory().bytes())
        };
        // Eight blocks of 4 KiB share an arena.
        let counted: Vec<usize> = (0..17).map(|_| block(&mut writer).1 >> 10).collect();
        assert_eq!(counted, [vec![32; 8], vec![64; 8], vec![96]].concat());
        assert_eq!(writer.held_bytes(), 32 << 10);
        kept.truncate(1);
        assert_eq!(writer.memory().bytes(), 64 << 10, "one slice pins the first arena, the writer has the last");
        kept.clear();
        assert_eq!(writer.memory().bytes(), 32 << 10);
        // Blocks that wait: the large one takes an arena of its own.
        let large = crate::test_batches::plain(1, 100_000);
        writer.push_batch(0, partition(0), &large, assignment(1), true);
        writer.push_batch(0, partition(0), &batch, assignment(2), true);
        assert_eq!(writer.held_bytes(), writer.memory().bytes());
        assert_eq!(writer.held_bytes(), (100 + 32) << 10);
    }
}
