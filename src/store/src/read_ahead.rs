//! What cold reads leave behind for the next ones: stretches of segments in memory, and where each sequential reader goes on.

use bytes::Bytes;
use odradek_base::{Offset, TopicPartition};
use odradek_ring::sync::Event;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Sequential readers that are remembered; the one that came longest ago is forgotten and looks its place up again.
const PLACES_MAX: usize = 4096;
/// The last reads whose readers share the room.
const RECENT: usize = 128;

/// A stretch of a segment that was read and may serve the next read.
pub(crate) struct Chunk {
    pub partition: TopicPartition,
    /// Whole batches: the first offset that they answer for, and the offset after the last one.
    pub first_offset: Offset,
    pub next_offset: Offset,
    pub batches: Bytes,
    /// Bytes of the buffer that `batches` pins.
    pub pinned: usize,
    /// Its reader has had everything: the first to go when room is needed.
    pub used_up: Cell<bool>,
}

/// Where a reader goes on that has had everything before an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub segment: Offset,
    pub position: u64,
    /// Bytes of the batch there, where its header was in what was read before; 0 where it was not.
    pub batch_bytes: usize,
    /// Who goes on there: the same as long as one stretch follows the other.
    pub reader: u64,
}

/// Bounded in bytes of the buffers that it pins, and in readers.
pub(crate) struct ReadAhead {
    bytes_max: usize,
    bytes: Cell<usize>,
    chunks: RefCell<VecDeque<Chunk>>,
    places: RefCell<BTreeMap<(TopicPartition, Offset), Place>>,
    /// Keys of `places`, oldest first; may name some that are gone.
    ages: RefCell<VecDeque<(TopicPartition, Offset)>>,
    /// Reads of what a reader will want next.
    under_way: RefCell<BTreeMap<(TopicPartition, Offset), Event>>,
    under_way_bytes: Cell<usize>,
    /// Readers of the last stretches, the newest last.
    recent: RefCell<VecDeque<u64>>,
    readers: Cell<u64>,
    /// Grows when segments change: what was read from the old ones is not kept.
    generation: Cell<u64>,
}

impl ReadAhead {
    pub fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            bytes: Cell::new(0),
            chunks: RefCell::default(),
            places: RefCell::default(),
            ages: RefCell::default(),
            under_way: RefCell::default(),
            under_way_bytes: Cell::new(0),
            recent: RefCell::default(),
            readers: Cell::new(0),
            generation: Cell::new(0),
        }
    }

    pub fn generation(&self) -> u64 {
        self.generation.get()
    }

    /// The batches in memory that contain `from`, and the offset after them.
    pub fn find(&self, partition: TopicPartition, from: Offset) -> Option<(Bytes, Offset)> {
        let chunks = self.chunks.borrow();
        let holds = |chunk: &&Chunk| chunk.partition == partition && chunk.first_offset <= from && from < chunk.next_offset;
        chunks.iter().rev().find(holds).map(|chunk| (chunk.batches.clone(), chunk.next_offset))
    }

    /// Where a reader that wants `from` goes on, when it has just had everything before.
    pub fn place(&self, partition: TopicPartition, from: Offset) -> Option<Place> {
        self.places.borrow().get(&(partition, from)).copied()
    }

    /// Bytes of the buffers that are pinned here.
    pub fn bytes(&self) -> usize {
        self.bytes.get()
    }

    /// Somebody who has not gone on from a place that is known.
    pub fn new_reader(&self) -> u64 {
        self.readers.set(self.readers.get() + 1);
        self.readers.get()
    }

    /// Bytes that each of the readers of these days may have in memory and under way: their parts of the whole.
    pub fn share(&self) -> usize {
        let recent = self.recent.borrow();
        let readers: BTreeSet<u64> = recent.iter().copied().collect();
        self.bytes_max / readers.len().max(1)
    }

    /// Keeps what was read in the given generation, and where it ends. `lent` tells the bytes of all buffers that hold cold data: those that
    /// answers pin leave less room here.
    pub fn keep(&self, chunk: Chunk, end: Place, generation: u64, lent: impl Fn() -> usize) {
        if generation != self.generation.get() {
            return;
        }
        // Whoever wants the first offset finds it here now.
        let goes_on = self.places.borrow_mut().remove(&(chunk.partition, chunk.first_offset)).is_some();
        self.remember(chunk.partition, chunk.next_offset, end);
        if goes_on {
            self.note_reader(end.reader);
        }
        let bytes = chunk.pinned;
        let mut chunks = self.chunks.borrow_mut();
        chunks.push_back(chunk);
        self.bytes.set(self.bytes.get() + bytes);
        while self.bytes.get().max(lent()) > self.bytes_max {
            let at = chunks.iter().position(|chunk| chunk.used_up.get()).unwrap_or(0);
            let Some(old) = chunks.remove(at) else { break };
            self.bytes.set(self.bytes.get() - old.pinned);
        }
    }

    /// Only who goes on needs room for what comes next.
    fn note_reader(&self, reader: u64) {
        let mut recent = self.recent.borrow_mut();
        recent.push_back(reader);
        if recent.len() > RECENT {
            recent.pop_front();
        }
    }

    fn remember(&self, partition: TopicPartition, next: Offset, place: Place) {
        let (mut places, mut ages) = (self.places.borrow_mut(), self.ages.borrow_mut());
        if places.insert((partition, next), place).is_none() {
            ages.push_back((partition, next));
        }
        while places.len() > PLACES_MAX {
            let Some(old) = ages.pop_front() else { break };
            places.remove(&old);
        }
        if ages.len() > 2 * PLACES_MAX {
            ages.retain(|key| places.contains_key(key));
        }
    }

    /// A reader has had everything before `next`: chunks that end there will hardly be wanted again.
    pub fn used_up(&self, partition: TopicPartition, next: Offset) {
        for chunk in self.chunks.borrow().iter().filter(|chunk| chunk.partition == partition && chunk.next_offset == next) {
            chunk.used_up.set(true);
        }
    }

    /// Fires when the read ahead of `from` that is under way is over.
    pub fn under_way(&self, partition: TopicPartition, from: Offset) -> Option<Event> {
        self.under_way.borrow().get(&(partition, from)).cloned()
    }

    /// Announces a read ahead of up to `bytes`. False when it is under way or done already, or when there is no room for it beside what
    /// readers have not had yet.
    pub fn begin(&self, partition: TopicPartition, from: Offset, bytes: usize) -> bool {
        let waiting: usize = self.chunks.borrow().iter().filter(|chunk| !chunk.used_up.get()).map(|chunk| chunk.pinned).sum();
        if waiting + self.under_way_bytes.get() + bytes > self.bytes_max || self.find(partition, from).is_some() {
            return false;
        }
        let mut under_way = self.under_way.borrow_mut();
        if under_way.contains_key(&(partition, from)) {
            return false;
        }
        under_way.insert((partition, from), Event::new());
        self.under_way_bytes.set(self.under_way_bytes.get() + bytes);
        true
    }

    /// The read that [`ReadAhead::begin`] announced is over, whatever came of it.
    pub fn end(&self, partition: TopicPartition, from: Offset, bytes: usize) {
        self.under_way_bytes.set(self.under_way_bytes.get() - bytes);
        let event = self.under_way.borrow_mut().remove(&(partition, from));
        if let Some(event) = event {
            event.notify_all();
        }
    }

    /// Forgets everything about a partition whose segments change.
    pub fn forget(&self, partition: TopicPartition) {
        self.generation.set(self.generation.get() + 1);
        self.chunks.borrow_mut().retain(|chunk| chunk.partition != partition);
        self.bytes.set(self.chunks.borrow().iter().map(|chunk| chunk.pinned).sum());
        self.places.borrow_mut().retain(|(of, _), _| *of != partition);
        self.ages.borrow_mut().retain(|(of, _)| *of != partition);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use odradek_base::{PartitionIndex, TopicId};

    fn tp(index: i32) -> TopicPartition {
        TopicPartition::new(TopicId::NONE, PartitionIndex(index))
    }

    fn chunk(index: i32, first: i64, next: i64, pinned: usize) -> Chunk {
        Chunk {
            partition: tp(index),
            first_offset: Offset(first),
            next_offset: Offset(next),
            batches: Bytes::from(vec![0; pinned]),
            pinned,
            used_up: Cell::new(false),
        }
    }

    fn end(next: i64) -> Place {
        Place { segment: Offset(0), position: next as u64, batch_bytes: 0, reader: 0 }
    }

    fn keep(cache: &ReadAhead, index: i32, first: i64, next: i64, bytes: usize) {
        cache.keep(chunk(index, first, next, bytes), end(next), cache.generation(), || 0);
    }

    #[test]
    fn what_was_used_goes_first_and_what_is_wanted_is_not_displaced_by_reading_ahead() {
        let cache = ReadAhead::new(300);
        keep(&cache, 0, 0, 10, 100);
        keep(&cache, 1, 0, 10, 100);
        assert!(cache.begin(tp(0), Offset(10), 100));
        assert!(!cache.begin(tp(0), Offset(10), 0), "under way");
        assert!(!cache.begin(tp(1), Offset(10), 1), "no room");
        cache.end(tp(0), Offset(10), 100);
        keep(&cache, 0, 10, 20, 100);
        assert!(!cache.begin(tp(0), Offset(15), 0), "there");
        cache.used_up(tp(1), Offset(10));
        keep(&cache, 2, 0, 10, 100);
        assert!(cache.find(tp(1), Offset(5)).is_none());
        assert!(cache.find(tp(0), Offset(5)).is_some());
        keep(&cache, 2, 10, 20, 100);
        assert!(cache.find(tp(0), Offset(5)).is_none(), "then the oldest");
    }

    #[test]
    fn what_answers_pin_leaves_less_room() {
        let cache = ReadAhead::new(300);
        keep(&cache, 0, 0, 10, 100);
        keep(&cache, 1, 0, 10, 100);
        let lent = Cell::new(450);
        // Each look finds a buffer less.
        cache.keep(chunk(2, 0, 10, 100), end(10), cache.generation(), || lent.replace(lent.get() - 100));
        assert_eq!(cache.bytes(), 100);
        assert!(cache.find(tp(1), Offset(5)).is_none() && cache.find(tp(2), Offset(5)).is_some());
    }

    #[test]
    fn nothing_read_before_a_change_is_kept_after_it() {
        let cache = ReadAhead::new(1000);
        keep(&cache, 0, 0, 10, 100);
        keep(&cache, 1, 0, 10, 100);
        let generation = cache.generation();
        cache.forget(tp(0));
        assert!(cache.find(tp(0), Offset(1)).is_none() && cache.place(tp(0), Offset(10)).is_none());
        assert!(cache.find(tp(1), Offset(1)).is_some() && cache.place(tp(1), Offset(10)).is_some());
        cache.keep(chunk(0, 0, 10, 10), end(10), generation, || 0);
        assert!(cache.find(tp(0), Offset(1)).is_none() && cache.place(tp(0), Offset(10)).is_none());
    }

    #[test]
    fn readers_of_the_last_stretches_share_the_room() {
        let cache = ReadAhead::new(1000);
        assert_eq!(cache.share(), 1000);
        let readers: Vec<u64> = (0..4).map(|_| cache.new_reader()).collect();
        for at in 0..3 * RECENT as i64 {
            let reader = readers[at as usize % readers.len()];
            cache.keep(chunk(0, at, at + 1, 1), Place { reader, ..end(at + 1) }, cache.generation(), || 0);
        }
        assert_eq!(cache.share(), 250);
        // The first of them does not go on from anywhere.
        for at in 0..=RECENT as i64 {
            cache.keep(chunk(1, at, at + 1, 1), Place { reader: readers[0], ..end(at + 1) }, cache.generation(), || 0);
        }
        assert_eq!(cache.share(), 1000, "who has stopped needs none");
    }

    #[test]
    fn readers_are_bounded() {
        let cache = ReadAhead::new(1);
        for at in 0..PLACES_MAX as i64 + 5 {
            keep(&cache, 0, 2 * at, 2 * at + 1, 0);
        }
        assert_eq!(cache.places.borrow().len(), PLACES_MAX);
        assert!(cache.place(tp(0), Offset(1)).is_none() && cache.place(tp(0), Offset(2 * PLACES_MAX as i64 + 1)).is_some());
        // One reader that goes on and on takes one place.
        for at in 0..3 * PLACES_MAX as i64 {
            keep(&cache, 1, at, at + 1, 0);
        }
        assert_eq!(cache.places.borrow().keys().filter(|(of, _)| *of == tp(1)).count(), 1);
        assert!(cache.ages.borrow().len() <= 2 * PLACES_MAX);
    }
}
