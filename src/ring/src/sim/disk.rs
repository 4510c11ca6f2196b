//! One host's file system, with what the running system sees and what a power loss would leave.
//!
//! Sans-io: requests are begun, and some virtual time later ended, which is when they take effect.

mod names;

use super::{CrashMode, DiskFailure, DiskFaults, DiskOperation};
use crate::file::{DirEntry, Metadata};
use names::DirNode;
use odradek_base::Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::time::Duration;

/// What a disk writes as a whole, in bytes.
const SECTOR_BYTES: usize = 512;

pub(super) type NodeId = u64;
const ROOT: NodeId = 0;

/// Begun and not ended.
pub(super) type RequestId = u64;

#[derive(Debug)]
pub(super) enum Request {
    Open { path: String, read_only: bool, create: bool, create_new: bool, truncate: bool, directory: bool },
    Read { node: NodeId, pos: u64, len: usize, direct: bool },
    Write { node: NodeId, pos: u64, data: Vec<u8>, sync: bool, direct: bool },
    Sync { node: NodeId },
    Truncate { node: NodeId, len: u64 },
    Allocate { node: NodeId, len: u64 },
    Len { node: NodeId },
    CreateDir { path: String },
    Unlink { path: String, directory: bool },
    Rename { from: String, to: String },
    ReadDir { path: String },
    Metadata { path: String },
    FreeBytes,
}

#[derive(Debug)]
pub(super) enum Reply {
    Done,
    Node(NodeId),
    Count(u64),
    Data(Vec<u8>),
    Entries(Vec<DirEntry>),
    Metadata(Metadata),
}

enum Node {
    File(FileNode),
    Dir(DirNode),
}

struct FileNode {
    /// As the running system sees it.
    content: Vec<u8>,
    /// As the last sync left it.
    durable: Vec<u8>,
    /// Sectors of `content` written since then.
    unsynced: BTreeSet<usize>,
    /// Sectors whose sync failed: read back, but never durable unless written again.
    forsaken: BTreeSet<usize>,
    /// A new length that no sync has made durable.
    length_unsynced: bool,
    /// For failures on demand: the name it was opened under last.
    path: String,
    parent: NodeId,
}

/// The file system of one host.
pub(super) struct Disk {
    nodes: BTreeMap<NodeId, Node>,
    next_node: NodeId,
    used_bytes: u64,
    in_flight: BTreeMap<RequestId, Request>,
    next_request: RequestId,
    rng: Rng,
    pub(super) faults: DiskFaults,
    failures: Vec<DiskFailure>,
}

fn error(number: i32) -> io::Error {
    io::Error::from_raw_os_error(number)
}

fn one_in(rng: &mut Rng, rate: u64) -> bool {
    rate > 0 && rng.chance(rate)
}

impl Disk {
    pub(super) fn new(rng: Rng, faults: DiskFaults) -> Self {
        Self {
            nodes: BTreeMap::from([(ROOT, Node::Dir(DirNode::default()))]),
            next_node: ROOT + 1,
            used_bytes: 0,
            in_flight: BTreeMap::new(),
            next_request: 0,
            rng,
            faults,
            failures: Vec::new(),
        }
    }

    /// Takes a request and says how long it takes.
    pub(super) fn begin(&mut self, request: Request) -> (RequestId, Duration) {
        let id = self.next_request;
        self.next_request += 1;
        self.in_flight.insert(id, request);
        let faults = &self.faults;
        let latency = if one_in(&mut self.rng, faults.slow_one_in) {
            faults.slow_latency
        } else {
            let spread = faults.latency_max.saturating_sub(faults.latency_min).as_nanos() as u64;
            faults.latency_min + Duration::from_nanos(self.rng.below(spread + 1))
        };
        (id, latency)
    }

    /// Carries out a request that was begun.
    pub(super) fn end(&mut self, id: RequestId) -> io::Result<Reply> {
        let request = self.in_flight.remove(&id).expect("a request ends once");
        self.execute(request)
    }

    pub(super) fn fail(&mut self, failure: DiskFailure) {
        self.failures.push(failure);
    }

    /// Everything in flight has happened, or not, or in part; then the host is down.
    pub(super) fn crash(&mut self, mode: CrashMode) {
        for (_, request) in std::mem::take(&mut self.in_flight) {
            if self.rng.chance(2) {
                continue;
            }
            match request {
                // Its sectors may arrive in any number; syncing it was not finished.
                Request::Write { node, pos, data, sync, direct: _ } => {
                    let synced = sync && self.rng.chance(2);
                    let count = if synced { data.len() } else { self.rng.below(data.len() as u64 + 1) as usize };
                    if self.write(node, pos, &data[..count]).is_ok() && synced {
                        self.sync(node, pos as usize..pos as usize + count);
                    }
                }
                request => drop(self.execute(request)),
            }
        }
        if mode == CrashMode::PowerLoss {
            self.lose_power();
        }
        self.failures.clear();
    }

    fn lose_power(&mut self) {
        let kept_of_four = self.rng.below(5);
        self.lose_names();
        for node in self.nodes.values_mut() {
            match node {
                Node::File(file) => file.lose_power(&mut self.rng, kept_of_four),
                Node::Dir(dir) => dir.entries = dir.durable.clone(),
            }
        }
        self.forget_unreachable();
    }

    /// Drops nodes without a name (a crash has closed them too), and tells the others where they are now.
    fn forget_unreachable(&mut self) {
        let mut parents = BTreeMap::from([(ROOT, ROOT)]);
        let mut next = vec![ROOT];
        while let Some(id) = next.pop() {
            let Some(Node::Dir(dir)) = self.nodes.get(&id) else { continue };
            for child in dir.entries.values() {
                if parents.insert(*child, id).is_none() {
                    next.push(*child);
                }
            }
        }
        self.nodes.retain(|id, node| {
            let Some(place) = parents.get(id) else { return false };
            match node {
                Node::File(file) => file.parent = *place,
                Node::Dir(dir) => dir.parent = *place,
            }
            true
        });
        self.used_bytes = self.nodes.values().map(|node| if let Node::File(file) = node { file.content.len() as u64 } else { 0 }).sum();
    }

    fn execute(&mut self, request: Request) -> io::Result<Reply> {
        match request {
            Request::Open { path, read_only, create, create_new, truncate, directory } => {
                let node = self.open(&path, read_only, create, create_new, directory)?;
                if truncate {
                    self.set_len(node, 0)?;
                }
                Ok(Reply::Node(node))
            }
            Request::Read { node, pos, len, direct } => self.read(node, pos, len, direct).map(Reply::Data),
            Request::Write { node, pos, data, sync, direct } => self.checked_write(node, pos, data, sync, direct).map(Reply::Count),
            Request::Sync { node } => self.checked_sync(node, 0..usize::MAX).map(|()| Reply::Done),
            Request::Truncate { node, len } => self.set_len(node, len).map(|()| Reply::Done),
            Request::Allocate { node, len } => {
                let len = len.max(self.file(node)?.content.len() as u64);
                self.set_len(node, len).map(|()| Reply::Done)
            }
            Request::Len { node } => Ok(Reply::Count(self.file(node)?.content.len() as u64)),
            Request::CreateDir { path } => self.create_dir(&path).map(|()| Reply::Done),
            Request::Unlink { path, directory } => self.unlink(&path, directory).map(|()| Reply::Done),
            Request::Rename { from, to } => self.rename(&from, &to).map(|()| Reply::Done),
            Request::ReadDir { path } => self.read_dir(&path).map(Reply::Entries),
            Request::Metadata { path } => self.metadata(&path).map(Reply::Metadata),
            Request::FreeBytes => Ok(Reply::Count(self.faults.capacity_bytes.saturating_sub(self.used_bytes))),
        }
    }

    // Files.

    fn file(&self, node: NodeId) -> io::Result<&FileNode> {
        match self.nodes.get(&node) {
            Some(Node::File(file)) => Ok(file),
            Some(Node::Dir(_)) => Err(error(libc::EISDIR)),
            None => Err(error(libc::EBADF)),
        }
    }

    fn file_mut(&mut self, node: NodeId) -> io::Result<&mut FileNode> {
        match self.nodes.get_mut(&node) {
            Some(Node::File(file)) => Ok(file),
            Some(Node::Dir(_)) => Err(error(libc::EISDIR)),
            None => Err(error(libc::EBADF)),
        }
    }

    /// Whether this operation is one that fails.
    fn fails(&mut self, operation: DiskOperation, node: NodeId) -> bool {
        let rate = match operation {
            DiskOperation::Read => self.faults.read_error_one_in,
            DiskOperation::Write => self.faults.write_error_one_in,
            DiskOperation::Sync => self.faults.sync_error_one_in,
        };
        if one_in(&mut self.rng, rate) {
            return true;
        }
        let path = match self.nodes.get(&node) {
            Some(Node::File(file)) => file.path.as_str(),
            _ => "",
        };
        let demanded = self
            .failures
            .iter_mut()
            .find(|failure| failure.times > 0 && failure.operation == operation && path.contains(&failure.path_contains));
        match demanded {
            Some(failure) => {
                failure.times -= 1;
                true
            }
            None => false,
        }
    }

    /// The number of bytes a read or write of `len` bytes handles this time.
    fn short(&mut self, len: usize, direct: bool) -> usize {
        if len < 2 || !one_in(&mut self.rng, self.faults.short_one_in) {
            return len;
        }
        let unit = if direct { odradek_base::BLOCK_ALIGNMENT } else { 1 };
        (1 + self.rng.below((len / unit).max(1) as u64) as usize).saturating_mul(unit).min(len)
    }

    fn read(&mut self, node: NodeId, pos: u64, len: usize, direct: bool) -> io::Result<Vec<u8>> {
        if self.fails(DiskOperation::Read, node) {
            return Err(error(libc::EIO));
        }
        let len = self.short(len, direct);
        let content = &self.file(node)?.content;
        let start = (pos as usize).min(content.len());
        let end = (start + len).min(content.len());
        let mut data = content[start..end].to_vec();
        if !data.is_empty() && one_in(&mut self.rng, self.faults.bit_rot_one_in) {
            let bit = self.rng.below(data.len() as u64 * 8) as usize;
            data[bit / 8] ^= 1 << (bit % 8);
        }
        Ok(data)
    }

    fn checked_write(&mut self, node: NodeId, pos: u64, mut data: Vec<u8>, sync: bool, direct: bool) -> io::Result<u64> {
        if self.fails(DiskOperation::Write, node) {
            let written = self.rng.below(data.len() as u64 + 1) as usize;
            self.write(node, pos, &data[..written])?;
            return Err(error(libc::EIO));
        }
        data.truncate(self.short(data.len(), direct));
        self.write(node, pos, &data)?;
        if sync {
            self.checked_sync(node, pos as usize..pos as usize + data.len())?;
        }
        Ok(data.len() as u64)
    }

    fn write(&mut self, node: NodeId, pos: u64, data: &[u8]) -> io::Result<()> {
        let end = pos as usize + data.len();
        let growth = end.saturating_sub(self.file(node)?.content.len()) as u64;
        let needed = if self.faults.copy_on_write { data.len() as u64 } else { growth };
        if needed > self.faults.capacity_bytes.saturating_sub(self.used_bytes) {
            return Err(error(libc::ENOSPC));
        }
        self.used_bytes += growth;
        let file = self.file_mut(node)?;
        if growth > 0 {
            file.content.resize(end, 0);
            file.length_unsynced = true;
        }
        file.content[pos as usize..end].copy_from_slice(data);
        if !data.is_empty() {
            for sector in pos as usize / SECTOR_BYTES..=(end - 1) / SECTOR_BYTES {
                file.unsynced.insert(sector);
                file.forsaken.remove(&sector);
            }
        }
        Ok(())
    }

    fn set_len(&mut self, node: NodeId, len: u64) -> io::Result<()> {
        let old = self.file(node)?.content.len() as u64;
        if len > old && len - old > self.faults.capacity_bytes.saturating_sub(self.used_bytes) {
            return Err(error(libc::ENOSPC));
        }
        // Saturating: an unlinked file no longer counts.
        self.used_bytes = (self.used_bytes + len).saturating_sub(old);
        let file = self.file_mut(node)?;
        if len < old {
            // Should the file grow again, these sectors hold zeroes and no longer what was synced.
            file.unsynced.extend(len as usize / SECTOR_BYTES..=(old as usize - 1) / SECTOR_BYTES);
        }
        file.content.resize(len as usize, 0);
        file.length_unsynced |= len != old;
        Ok(())
    }

    fn checked_sync(&mut self, node: NodeId, range: Range<usize>) -> io::Result<()> {
        if self.fails(DiskOperation::Sync, node) {
            if let Ok(file) = self.file_mut(node) {
                let unsynced = file.take_unsynced(range);
                file.forsaken.extend(unsynced);
            }
            return Err(error(libc::EIO));
        }
        if !one_in(&mut self.rng, self.faults.sync_lie_one_in) {
            self.sync(node, range);
        }
        Ok(())
    }

    /// Makes bytes of a file with its length and the names that lead to it, or the names in a directory, durable.
    fn sync(&mut self, node: NodeId, range: Range<usize>) {
        match self.nodes.get_mut(&node) {
            Some(Node::File(file)) => {
                file.sync(range);
                let parent = file.parent;
                self.sync_creation(node, parent);
            }
            Some(Node::Dir(dir)) => {
                let changes = std::mem::take(&mut dir.unsynced);
                for change in &changes {
                    self.make_durable(node, change);
                }
                if let Some(Node::Dir(dir)) = self.nodes.get(&node) {
                    self.sync_creation(node, dir.parent);
                }
            }
            None => {}
        }
    }

    // For tests and checkers, without faults.

    pub(super) fn peek(&self, path: &str) -> Option<Vec<u8>> {
        Some(self.file(self.find(path).ok()?).ok()?.content.clone())
    }

    pub(super) fn used_bytes(&self) -> u64 {
        self.used_bytes
    }

    /// Path and length of every file that has a name.
    pub(super) fn files(&self) -> Vec<(String, u64)> {
        let mut files = Vec::new();
        let mut next = vec![(ROOT, String::new())];
        while let Some((id, path)) = next.pop() {
            match self.nodes.get(&id) {
                Some(Node::Dir(dir)) => next.extend(dir.entries.iter().map(|(name, child)| (*child, format!("{path}/{name}")))),
                Some(Node::File(file)) => files.push((path, file.content.len() as u64)),
                None => {}
            }
        }
        files.sort();
        files
    }

    /// Whether a byte of a file is on stable storage as it is read.
    pub(super) fn is_synced(&self, path: &str, pos: u64) -> bool {
        let Some(file) = self.find(path).ok().and_then(|node| self.file(node).ok()) else { return false };
        let sector = pos as usize / SECTOR_BYTES;
        pos < file.durable.len().min(file.content.len()) as u64 && !file.unsynced.contains(&sector) && !file.forsaken.contains(&sector)
    }

    /// Flips one stored bit, on stable storage too. False where there is no such bit.
    pub(super) fn flip_bit(&mut self, path: &str, pos: u64, bit: u8) -> bool {
        let Some(file) = self.find(path).ok().and_then(|node| self.file_mut(node).ok()) else { return false };
        let Some(byte) = file.content.get_mut(pos as usize) else { return false };
        *byte ^= 1 << (bit % 8);
        if let Some(byte) = file.durable.get_mut(pos as usize) {
            *byte ^= 1 << (bit % 8);
        }
        true
    }
}

impl FileNode {
    fn new(path: String, parent: NodeId) -> Self {
        Self {
            content: Vec::new(),
            durable: Vec::new(),
            unsynced: BTreeSet::new(),
            forsaken: BTreeSet::new(),
            length_unsynced: false,
            path,
            parent,
        }
    }

    /// Takes the unsynced sectors that a range of bytes touches.
    fn take_unsynced(&mut self, range: Range<usize>) -> Vec<usize> {
        let sectors = range.start / SECTOR_BYTES..range.end.div_ceil(SECTOR_BYTES);
        let taken: Vec<usize> = self.unsynced.range(sectors).copied().collect();
        for sector in &taken {
            self.unsynced.remove(sector);
        }
        taken
    }

    fn sync(&mut self, range: Range<usize>) {
        self.durable.resize(self.content.len(), 0);
        for sector in self.take_unsynced(range) {
            self.persist(sector);
        }
        self.length_unsynced = false;
    }

    fn persist(&mut self, sector: usize) {
        let start = (sector * SECTOR_BYTES).min(self.durable.len()).min(self.content.len());
        let end = ((sector + 1) * SECTOR_BYTES).min(self.durable.len()).min(self.content.len());
        self.durable[start..end].copy_from_slice(&self.content[start..end]);
    }

    fn lose_power(&mut self, rng: &mut Rng, kept_of_four: u64) {
        if self.length_unsynced {
            let (old, new) = (self.durable.len(), self.content.len());
            let len = match rng.below(3) {
                0 => old,
                1 => new,
                _ => old.min(new) + rng.below(old.abs_diff(new) as u64 + 1) as usize,
            };
            self.durable.resize(len, 0);
            self.length_unsynced = false;
        }
        for sector in std::mem::take(&mut self.unsynced) {
            if rng.below(4) < kept_of_four {
                self.persist(sector);
            }
        }
        self.forsaken.clear();
        self.content = self.durable.clone();
    }
}
