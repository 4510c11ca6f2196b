//! Bits that flip where they are stored: in data that was flushed long ago.

use super::NODE;
use crate::faults::Stored;
use crate::history::{History, Tp};
use crate::node::DATA_DIR;
use crate::scenario::SHARDS;
use odradek_base::{Rng, ShardId, TopicId};
use odradek_log::checkpoint::decode_partition_metadata;
use odradek_log::journal::format::{BLOCK_HEADER_BYTES, EntryKind};
use odradek_log::journal::replay::{entries, scan};
use odradek_log::journal::space::FileNumber;
use odradek_log::segment::names::PARTITION_METADATA;
use odradek_ring::sim::World;
use odradek_wire::batch::{HEADER_BYTES, batches};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;

/// Places that are tried: what was not flushed yet is left alone.
const TRIES: usize = 8;
/// Fields of a batch that no CRC covers and no check can tell from right ones: base offset and leader epoch (Kafka's format).
const UNCHECKED: [Range<u64>; 2] = [0..8, 12..16];
/// The length and what names the last offset: whoever does not believe these does not know where the next batch begins.
const LENGTH: Range<u64> = 8..HEADER_BYTES as u64;
/// Journal files are looked for up to this number.
const JOURNALS_MAX: u32 = 64;
/// Where blocks of a journal begin, in bytes.
const JOURNAL_BLOCK_ALIGN: usize = 4096;
const JOURNAL_BIT: u8 = 3;

/// The partition that a file belongs to, and the base offset of its segment; `None` for what is none of the workload's.
fn owner(history: &History, path: &str) -> Option<(Tp, i64)> {
    let (directory, file) = path.strip_prefix(DATA_DIR)?.strip_prefix('/')?.split_once('/')?;
    let (topic, partition) = directory.rsplit_once('-')?;
    let tp = Tp::new(topic, partition.parse().ok()?);
    history.facts().partitions.contains_key(&tp).then_some(())?;
    Some((tp, file.split_once('.')?.0.parse().ok()?))
}

/// Flips one stored bit of a segment or an index, and notes which offsets may be damaged by it.
pub(super) fn flip(world: &World, history: &History, stored: Stored) {
    let mut rng = world.rng();
    let wanted = |path: &str| match stored {
        Stored::Log => path.ends_with(".log"),
        Stored::Index => path.ends_with(".index") || path.ends_with(".timeindex"),
    };
    let files: Vec<(String, Tp, i64)> = world
        .files(NODE)
        .into_iter()
        .filter(|(path, bytes)| *bytes > 0 && wanted(path))
        .filter_map(|(path, _)| owner(history, &path).map(|(tp, base)| (path, tp, base)))
        .collect();
    for _ in 0..TRIES {
        let Some((path, tp, base)) = files.get(rng.below(files.len().max(1) as u64) as usize) else { return };
        let later = files.iter().filter(|(_, of, other)| of == tp && other > base).map(|(_, _, other)| *other).min();
        let content = world.peek(NODE, Path::new(path)).unwrap_or_default();
        let Some((position, damaged)) = place(&mut rng, stored, &content, *base..later.unwrap_or(i64::MAX)) else { continue };
        if world.flip_synced_bit(NODE, Path::new(path), position, rng.below(8) as u8) {
            history.event(|| format!("a bit of {path} at {position} flipped: {damaged:?}"));
            history.damaged(tp, damaged);
            return;
        }
    }
}

/// A byte to damage, and the offsets that it may take with it: those of its batch, and those before it that compaction has taken. `segment`: from its
/// base offset to that of the next one.
fn place(rng: &mut Rng, stored: Stored, content: &[u8], segment: Range<i64>) -> Option<(u64, Option<Range<i64>>)> {
    if stored == Stored::Index {
        return Some((rng.below(content.len() as u64), None));
    }
    let (mut at, mut next) = (0, segment.start);
    let mut all = Vec::new();
    for batch in batches(content).map_while(Result::ok) {
        let offsets = next..batch.last_offset().get() + 1;
        next = offsets.end;
        all.push((at, batch.total_bytes() as u64, offsets));
        at += batch.total_bytes() as u64;
    }
    let (start, bytes, offsets) = all.get(rng.below(all.len().max(1) as u64) as usize)?.clone();
    let within = if rng.chance(4) { rng.below(HEADER_BYTES as u64) } else { rng.below(bytes) };
    if UNCHECKED.iter().any(|field| field.contains(&within)) {
        return None;
    }
    let damaged = if LENGTH.contains(&within) { offsets.start..segment.end } else { offsets };
    Some((start + within, Some(damaged)))
}

fn journal_paths() -> impl Iterator<Item = String> {
    let numbers = (0..SHARDS).flat_map(|shard| (0..JOURNALS_MAX).map(move |number| (shard, number)));
    numbers.map(|(shard, number)| format!("{DATA_DIR}/odradek-shard-{shard}-{number:08}.journal"))
}

/// Names of the topics whose partitions are on the disk.
fn topics(world: &World) -> BTreeMap<TopicId, String> {
    let files = world.files(NODE).into_iter().map(|(path, _)| path);
    files
        .filter_map(|path| {
            let (topic, _) = path.strip_suffix(PARTITION_METADATA)?.strip_suffix('/')?.rsplit('/').next()?.rsplit_once('-')?;
            let content = String::from_utf8(world.peek(NODE, Path::new(&path))?).ok()?;
            Some((decode_partition_metadata(&content)?, topic.to_owned()))
        })
        .collect()
}

/// Blocks at the end of a journal that are left alone: damage in the last one looks like a torn write, and a power loss may take one.
const JOURNAL_END_BLOCKS: usize = 2;

/// Flips a bit in a block of a journal that a start may need, and notes whose partitions may be closed for it. Blocks that hold what is
/// none of the workload's (committed offsets) are left alone.
pub(super) fn needed_journal(world: &World, history: &History) {
    let mut rng = world.rng();
    let shard = ShardId(rng.below(u64::from(SHARDS)) as u16);
    let paths: Vec<String> = journal_paths().filter(|path| path.contains(&format!("-shard-{shard}-"))).collect();
    let files: Vec<Vec<u8>> = paths.iter().map(|path| world.peek(NODE, Path::new(path)).unwrap_or_default()).collect();
    let mut blocks = Vec::new();
    for (number, content) in files.iter().enumerate() {
        scan(content, FileNumber(number as u32), 0, shard, &mut blocks);
    }
    blocks.sort_by_key(|block| block.sequence);
    // Most of the older ones are needed no more.
    let from = blocks.last().map_or(0, |last| blocks.partition_point(|block| block.sequence < last.replay_from));
    let candidates = blocks.get(from..blocks.len().saturating_sub(JOURNAL_END_BLOCKS)).unwrap_or_default();
    let Some(block) = candidates.get(rng.below(candidates.len().max(1) as u64) as usize) else { return };
    let (path, content) = (&paths[block.file.0 as usize], &files[block.file.0 as usize]);
    let bytes = &content[block.position as usize..][..block.block_bytes as usize];
    let topics = topics(world);
    let own = entries(bytes).unwrap_or_default().into_iter().filter(|(entry, _)| entry.kind != EntryKind::LogEnd);
    let owners: Option<BTreeSet<Tp>> = own
        .map(|(entry, _)| topics.get(&entry.partition.topic).map(|topic| Tp::new(topic, entry.partition.partition.0)))
        .map(|tp| tp.filter(|tp| history.facts().partitions.contains_key(tp)))
        .collect();
    let Some(owners) = owners else { return };
    if world.flip_bit(NODE, Path::new(path), block.position + rng.below(BLOCK_HEADER_BYTES as u64), JOURNAL_BIT) {
        history.event(|| format!("a bit of block {} in {path} flipped: {owners:?}", block.sequence));
        owners.iter().for_each(|tp| history.may_close(tp));
    }
}

/// One bit of each journal. Only after a clean stop: what nobody needs any more must hurt nobody.
pub(super) fn journals(world: &World) {
    let mut rng = world.rng();
    for path in journal_paths() {
        let bytes = world.peek(NODE, Path::new(&path)).map_or(0, |content| content.len() as u64);
        if bytes > 0 {
            world.flip_bit(NODE, Path::new(&path), rng.below(bytes), JOURNAL_BIT);
        }
    }
}

/// Flips a bit in the first bytes of every block that a journal may begin with, and so of every block.
pub(super) fn spoil_journals(world: &World) {
    for path in journal_paths() {
        let bytes = world.peek(NODE, Path::new(&path)).map_or(0, |content| content.len());
        for pos in (0..bytes).step_by(JOURNAL_BLOCK_ALIGN) {
            world.flip_bit(NODE, Path::new(&path), pos as u64, JOURNAL_BIT);
        }
    }
}
