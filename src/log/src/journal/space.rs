//! Where blocks go: a bounded set of files, filled one after the other, reused when nothing in them is needed any more.

use super::format::Sequence;
use std::collections::VecDeque;

/// Number in a journal file's name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct FileNumber(pub u32);

/// A block's place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    pub file: FileNumber,
    pub position: u64,
    /// The file has to be created first.
    pub create: bool,
}

/// All files are in use: flush segments, then [`Space::release`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UsedFile {
    pub file: FileNumber,
    /// Sequence of the last block in it.
    pub last: Sequence,
    /// End of the last block, in bytes.
    pub end: u64,
}

/// The files of one journal.
#[derive(Debug)]
pub struct Space {
    file_bytes: u64,
    files_max: usize,
    /// In order of use; the last one is being written.
    used: VecDeque<UsedFile>,
    /// Exist, and hold nothing that is needed.
    spare: VecDeque<FileNumber>,
    next_number: u32,
}

impl Space {
    /// `file_bytes`: where a file is full; `files_max`: at least 2.
    pub fn new(file_bytes: u64, files_max: usize) -> Self {
        Self::restore(file_bytes, files_max, Vec::new(), Vec::new())
    }

    /// After a restart: `used` in order of their sequences, `spare` in any order.
    pub fn restore(file_bytes: u64, files_max: usize, used: Vec<UsedFile>, spare: Vec<FileNumber>) -> Self {
        let next_number = used.iter().map(|u| u.file.0).chain(spare.iter().map(|s| s.0)).max().map_or(0, |n| n + 1);
        Self { file_bytes, files_max: files_max.max(2), used: used.into(), spare: spare.into(), next_number }
    }

    /// The place of the next block. A block larger than a file gets an empty file, which then grows.
    pub fn place(&mut self, sequence: Sequence, block_bytes: u64) -> Result<Place, Full> {
        if let Some(current) = self.used.back_mut() {
            assert!(current.last < sequence, "journal blocks are placed in order");
            if current.end + block_bytes <= self.file_bytes {
                let position = current.end;
                current.end += block_bytes;
                current.last = sequence;
                return Ok(Place { file: current.file, position, create: false });
            }
        }
        let (file, create) = match self.spare.pop_front() {
            Some(file) => (file, false),
            None if self.used.len() < self.files_max => {
                let file = FileNumber(self.next_number);
                self.next_number += 1;
                (file, true)
            }
            None => return Err(Full),
        };
        self.used.push_back(UsedFile { file, last: sequence, end: block_bytes });
        Ok(Place { file, position: 0, create })
    }

    /// Gives back the files in which every block is below `replay_from`. The file being written stays.
    pub fn release(&mut self, replay_from: Sequence) {
        while self.used.len() > 1 && self.used.front().is_some_and(|file| file.last < replay_from) {
            if let Some(file) = self.used.pop_front() {
                self.spare.push_back(file.file);
            }
        }
    }

    /// Prepares the next file in advance: the one that exists already, or the number to create. `None` when the bound is reached.
    pub fn upcoming(&self) -> Option<FileNumber> {
        self.spare.front().copied().or((self.used.len() < self.files_max).then_some(FileNumber(self.next_number)))
    }

    /// A file with the number of [`Space::upcoming`] exists now.
    pub fn add_spare(&mut self, file: FileNumber) {
        assert!(!self.spare.contains(&file) && self.used.iter().all(|used| used.file != file), "journal file {} twice", file.0);
        self.next_number = self.next_number.max(file.0 + 1);
        self.spare.push_back(file);
    }

    pub fn has_spare(&self) -> bool {
        !self.spare.is_empty()
    }

    /// The file being written and the end of its last block.
    pub fn current(&self) -> Option<UsedFile> {
        self.used.back().copied()
    }

    /// Sequence to flush up to so that the oldest file can be reused; `None` while there is only the current one.
    pub fn oldest_file_last(&self) -> Option<Sequence> {
        if self.used.len() > 1 { self.used.front().map(|file| file.last) } else { None }
    }

    pub fn used(&self) -> impl Iterator<Item = &UsedFile> {
        self.used.iter()
    }

    pub fn spare(&self) -> impl Iterator<Item = FileNumber> {
        self.spare.iter().copied()
    }

    /// Bytes that cannot be reused yet.
    pub fn used_bytes(&self) -> u64 {
        self.used.iter().map(|file| file.end).sum()
    }

    /// Share of all files that is in use, 0 to 1.
    pub fn pressure(&self) -> f64 {
        self.used_bytes() as f64 / (self.file_bytes as f64 * self.files_max as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_fill_in_order_and_are_reused_when_released() {
        let mut space = Space::new(100, 2);
        let place = |space: &mut Space, sequence, bytes| {
            space.place(Sequence(sequence), bytes).map(|place| (place.file.0, place.position, place.create))
        };
        assert_eq!(place(&mut space, 1, 60), Ok((0, 0, true)));
        assert_eq!(place(&mut space, 2, 40), Ok((0, 60, false)));
        assert_eq!(place(&mut space, 3, 60), Ok((1, 0, true)));
        assert_eq!(place(&mut space, 4, 60), Err(Full));
        space.release(Sequence(2));
        assert_eq!(place(&mut space, 4, 60), Err(Full), "block 2 is still needed");
        space.release(Sequence(3));
        assert_eq!(place(&mut space, 4, 60), Ok((0, 0, false)));
        space.release(Sequence(9));
        assert_eq!(space.used_bytes(), 60, "the current file stays");
        assert_eq!(place(&mut space, 5, 500), Ok((1, 0, false)), "a block larger than a file starts one");
        assert_eq!(place(&mut space, 6, 10), Err(Full));
    }
}
