//! Reading the journal files of a shard at start.

use crate::careful;
use crate::error::StoreError;
use crate::journal_files;
use bytes::Bytes;
use odradek_base::{AlignedBuf, ShardId, buffer};
use odradek_log::journal::format::{self, BlockHeader, JournalId};
use odradek_log::journal::replay::{self, FoundBlock, Plan};
use odradek_log::journal::space::FileNumber;
use odradek_ring::{File, OpenOptions, Ring};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const READ_BYTES: usize = 4 << 20;

/// The journal files that exist, with their paths.
pub(crate) async fn list(ring: &Ring, directory: &Path, shard: ShardId) -> Result<BTreeMap<FileNumber, PathBuf>, StoreError> {
    let entries = ring.read_dir(directory).await.map_err(|error| StoreError::io("list", directory, error))?;
    Ok(entries
        .iter()
        .filter_map(|entry| Some((journal_files::parse_file_name(shard, &entry.name)?, directory.join(&entry.name))))
        .collect())
}

/// Finds all blocks and decides what to replay.
pub(crate) async fn plan(
    ring: &Ring,
    files: &BTreeMap<FileNumber, PathBuf>,
    shard: ShardId,
    journal: Option<JournalId>,
    known_last: u64,
) -> Result<Plan, StoreError> {
    let mut found = Vec::new();
    for (number, path) in files {
        scan_file(ring, *number, path, shard, &mut found).await?;
    }
    let numbers: Vec<FileNumber> = files.keys().copied().collect();
    Ok(replay::plan(found, &numbers, journal, known_last))
}

async fn scan_file(ring: &Ring, number: FileNumber, path: &Path, shard: ShardId, found: &mut Vec<FoundBlock>) -> Result<(), StoreError> {
    let io = |operation: &'static str, error| StoreError::io(operation, path, error);
    let file = ring.open(path, OpenOptions::READ).await.map_err(|error| io("open", error))?;
    let length = file.len().await.map_err(|error| io("inspect", error))?;
    let (mut position, mut want) = (0u64, READ_BYTES);
    while position < length {
        let len = want.min((length - position) as usize);
        let bytes = read(&file, position, len).await.map_err(|error| io("read", error))?;
        let short = bytes.len() < len;
        let (done, need) = replay::scan(&bytes, number, position, shard, found);
        position += done as u64;
        want = READ_BYTES.max(need);
        if need > 0 && position + need as u64 > length {
            // A header that announces more than the file has: no block of ours.
            position += odradek_base::BLOCK_ALIGNMENT as u64;
            want = READ_BYTES;
        } else if short || done == 0 && need == 0 {
            break;
        }
    }
    Ok(())
}

/// A block that the plan names.
pub(crate) async fn read_block(ring: &Ring, files: &BTreeMap<FileNumber, PathBuf>, block: &FoundBlock) -> Result<Bytes, StoreError> {
    let path = files.get(&block.file).cloned().unwrap_or_default();
    let file = ring.open(&path, OpenOptions::READ).await.map_err(|error| StoreError::io("open", &path, error))?;
    let len = block.block_bytes as usize;
    // What it holds is written again, into the journal or a segment.
    let buf = AlignedBuf::zeroed(buffer::align_up(len));
    let right = |bytes: &[u8]| BlockHeader::decode(bytes).is_some_and(|header| format::crc_valid(&header, bytes));
    let (buf, read) = careful::read(&file, &path, buf, block.position, buffer::align_up(len), len, right).await?;
    Ok(buf.freeze().slice(..read.min(len)))
}

async fn read(file: &File, position: u64, len: usize) -> std::io::Result<Bytes> {
    let (result, buf) = file.read_at(AlignedBuf::zeroed(buffer::align_up(len)), position, len).await;
    let read = result?;
    Ok(buf.freeze().slice(..read))
}
