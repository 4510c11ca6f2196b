//! The journal's files: made as they are needed, filled with zeros ahead of the write position, reused.
//!
//! A durable write into zeroed space costs half of one that extends a file (it changes no metadata), so a background task writes zeros ahead.
//! When the writer catches up it simply extends the file itself; the two never touch the same bytes.

use crate::error::StoreError;
use crate::room::FULL_PAUSE;
use crate::shared::Shared;
use bytes::Bytes;
use odradek_base::{AlignedBuf, ShardId};
use odradek_log::journal::format::Sequence;
use odradek_log::journal::space::{FileNumber, Full, Place, Space};
use odradek_ring::sync::Event;
use odradek_ring::{File, OpenOptions, Ring, Sync};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

/// Zeros written at once, in bytes.
const ZERO_CHUNK_BYTES: usize = 1 << 20;
/// Chunks between two pauses. Each is made durable by itself: a flush of the whole file could take the error away that a journal block, written to
/// the same file at the same time, has to see.
const ZERO_CHUNKS_PER_TURN: u32 = 4;
/// Pause between two turns of writing zeros, so that filling a file does not crowd out the journal.
const ZERO_PAUSE: Duration = Duration::from_millis(10);

struct JournalFile {
    file: File,
    path: PathBuf,
    /// The file's length: everything below was written once.
    zeroed: Cell<u64>,
    /// Zeros are being written at `zeroed`.
    zeroing: Cell<bool>,
}

pub(crate) struct JournalFiles {
    directory: PathBuf,
    shard: ShardId,
    direct: bool,
    file_bytes: u64,
    space: RefCell<Space>,
    files: RefCell<BTreeMap<FileNumber, Rc<JournalFile>>>,
    /// The position moved on, or a chunk of zeros is written.
    progress: Event,
}

/// Name of a journal file. Not a directory, so Kafka's loader passes over it.
pub(crate) fn file_name(shard: ShardId, number: FileNumber) -> String {
    format!("odradek-shard-{shard}-{:08}.journal", number.0)
}

/// The number in a journal file's name.
pub(crate) fn parse_file_name(shard: ShardId, name: &str) -> Option<FileNumber> {
    let number = name.strip_prefix(&format!("odradek-shard-{shard}-"))?.strip_suffix(".journal")?;
    Some(FileNumber(number.parse().ok()?))
}

impl JournalFiles {
    pub fn new(directory: &Path, shard: ShardId, direct: bool, file_bytes: u64, space: Space) -> Self {
        Self {
            directory: directory.to_owned(),
            shard,
            direct,
            file_bytes,
            space: RefCell::new(space),
            files: RefCell::new(BTreeMap::new()),
            progress: Event::new(),
        }
    }

    pub fn pressure(&self) -> f64 {
        self.space.borrow().pressure()
    }

    pub fn used_bytes(&self) -> u64 {
        self.space.borrow().used_bytes()
    }

    pub fn release(&self, from: Sequence) {
        self.space.borrow_mut().release(from);
        self.progress.notify_all();
    }

    /// The place of the next block. Waits for flushes while all files are in use; when those find no room, everybody who waits is told.
    pub async fn place(&self, shared: &Shared, sequence: Sequence, bytes: u64) -> Result<Place, StoreError> {
        let place = loop {
            let relieved = shared.relieved.listen();
            let placed = self.space.borrow_mut().place(sequence, bytes);
            match placed {
                Ok(place) => break place,
                Err(Full) => {
                    shared.journal_full.set(true);
                    shared.flush_wanted.notify_all();
                    if shared.room.is_any_full() {
                        shared.set_journal_full(true);
                        if shared.closing.get() {
                            return Err(StoreError::Full { path: self.directory.clone() });
                        }
                        let again = shared.ring.now() + FULL_PAUSE;
                        shared.ring.timeout(again, relieved).await;
                    } else {
                        relieved.await;
                    }
                }
            }
        };
        shared.journal_full.set(false);
        Ok(place)
    }

    /// The file that a block of `bytes` is written to.
    pub async fn prepare(&self, shared: &Shared, place: Place, bytes: u64) -> Result<(File, PathBuf), StoreError> {
        let known = self.files.borrow().get(&place.file).map(|file| file.zeroed.get());
        if shared.room.is_journal_reserve_reached() && known.is_none_or(|zeroed| zeroed < place.position + bytes) {
            return Err(StoreError::Full { path: self.directory.clone() });
        }
        let file = self.file(&shared.ring, place.file).await?;
        self.reserve(&file, place.position + bytes).await;
        self.progress.notify_all();
        Ok((file.file.clone(), file.path.clone()))
    }

    /// Makes sure that no zeros are written below `end` any more.
    async fn reserve(&self, file: &JournalFile, end: u64) {
        loop {
            let progress = self.progress.listen();
            if file.zeroed.get() >= end {
                return;
            }
            if !file.zeroing.get() {
                file.zeroed.set(end);
                return;
            }
            progress.await;
        }
    }

    /// Opens a file, makes it where it is missing.
    async fn file(&self, ring: &Ring, number: FileNumber) -> Result<Rc<JournalFile>, StoreError> {
        if let Some(file) = self.files.borrow().get(&number) {
            return Ok(file.clone());
        }
        let path = self.directory.join(file_name(self.shard, number));
        let file =
            ring.open(&path, OpenOptions::READ_WRITE.direct(self.direct)).await.map_err(|error| StoreError::io("open", &path, error))?;
        let length = file.len().await.map_err(|error| StoreError::io("inspect", &path, error))?;
        if length == 0 {
            ring.sync_dir(&self.directory).await.map_err(|error| StoreError::io("flush", &self.directory, error))?;
        }
        let file =
            Rc::new(JournalFile { file, path, zeroed: Cell::new(odradek_base::buffer::align_down(length)), zeroing: Cell::new(false) });
        // Somebody else may have opened it meanwhile.
        Ok(self.files.borrow_mut().entry(number).or_insert(file).clone())
    }

    /// The file to write zeros to now: the current one, then the next one once the current one is half full.
    fn zero_target(&self) -> Option<FileNumber> {
        let space = self.space.borrow();
        let files = self.files.borrow();
        let Some(current) = space.current() else { return space.upcoming().filter(|number| !self.is_zeroed(&files, *number)) };
        if !self.is_zeroed(&files, current.file) {
            return Some(current.file);
        }
        if current.end * 2 < self.file_bytes {
            return None;
        }
        space.upcoming().filter(|number| !self.is_zeroed(&files, *number))
    }

    fn is_zeroed(&self, files: &BTreeMap<FileNumber, Rc<JournalFile>>, number: FileNumber) -> bool {
        files.get(&number).is_some_and(|file| file.zeroed.get() >= self.file_bytes)
    }

    /// One chunk of zeros. Returns false when the file needs no more.
    async fn zero_chunk(&self, file: &JournalFile, zeros: &Bytes) -> std::io::Result<bool> {
        let from = file.zeroed.get();
        let bytes = (self.file_bytes.saturating_sub(from)).min(zeros.len() as u64) as usize;
        if bytes == 0 {
            return Ok(false);
        }
        file.zeroing.set(true);
        let result = file.file.write_at(vec![zeros.slice(..bytes)], from, Sync::Data).await;
        file.zeroing.set(false);
        if result.is_ok() {
            file.zeroed.set(file.zeroed.get().max(from + bytes as u64));
        }
        self.progress.notify_all();
        result.map(|()| true)
    }
}

/// Writes zeros ahead of the journal until the store closes.
pub(crate) async fn zero_ahead(shared: Rc<Shared>) {
    let zeros = AlignedBuf::zeroed(ZERO_CHUNK_BYTES).freeze();
    let journal = &shared.journal;
    while !shared.closing.get() && shared.failed.borrow().is_none() {
        let progress = journal.progress.listen();
        let Some(number) = journal.zero_target() else {
            progress.await;
            continue;
        };
        if shared.room.is_any_full() {
            shared.ring.sleep(FULL_PAUSE).await;
            continue;
        }
        if let Err(error) = zero_some(&shared, number, &zeros).await {
            if !error.is_full() {
                // The device that the next blocks go to is at fault, and what it says once it may not say again.
                shared.fail(error);
                return;
            }
            tracing::warn!("journal file {} cannot be prepared ahead of its use: {error}", number.0);
            shared.ring.sleep(FULL_PAUSE).await;
        }
        shared.ring.sleep(ZERO_PAUSE).await;
    }
}

async fn zero_some(shared: &Shared, number: FileNumber, zeros: &Bytes) -> Result<(), StoreError> {
    let journal = &shared.journal;
    let known = journal.files.borrow().contains_key(&number);
    let file = journal.file(&shared.ring, number).await?;
    for _ in 0..ZERO_CHUNKS_PER_TURN {
        if !journal.zero_chunk(&file, zeros).await.map_err(|error| StoreError::io("write", &file.path, error))? {
            break;
        }
    }
    if !known {
        let mut space = journal.space.borrow_mut();
        let in_use = space.used().any(|used| used.file == number) || space.spare().any(|spare| spare == number);
        if !in_use {
            space.add_spare(number);
        }
    }
    Ok(())
}
