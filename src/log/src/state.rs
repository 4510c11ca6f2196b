//! The state file of a shard, `odradek-shard-<n>.state`: everything that opening a partition needs, so that no segment file is touched at
//! start. It is replaced as a whole. After a clean stop it is exact; otherwise it says from where on segments are checked.
//!
//! | bytes | field (little-endian) |
//! |---|---|
//! | 8 | magic `ODRSTATE` |
//! | 4 | CRC-32C of everything that follows |
//! | 2 | version (1) |
//! | 1 | clean stop |
//! | 8 | journal id |
//! | 8 | last journal sequence that was durable |
//! | 4 + n | journal file in use: number, and 8 bytes the end of its last block; number -1 (4 bytes) when there is none |
//! | 4 | number of log directories, each a string (4 bytes length, UTF-8) |
//! | 4 | number of partitions, each as `PartitionState` lists its fields; strings and lists are prefixed by 4 bytes of length |

use crate::epochs::EpochStart;
use crate::journal::format::{JournalId, Sequence};
use crate::producer_state::ProducerState;
use crate::producer_state::entry::{BatchMetadata, ProducerEntry};
use crate::segment::meta::Segment;
use crate::segment::time_index::TimeEntry;
use odradek_base::{LeaderEpoch, Offset, PartitionIndex, ProducerEpoch, ProducerId, Timestamp, TopicId, TopicPartition};
use uuid::Uuid;

const MAGIC: [u8; 8] = *b"ODRSTATE";
const VERSION: u16 = 1;
const CRC_FROM: usize = 12;

#[derive(Debug, Clone, PartialEq)]
pub struct PartitionState {
    pub partition: TopicPartition,
    pub topic: String,
    /// Index into the state's log directories.
    pub directory: u16,
    pub log_start: Offset,
    /// Everything below is in the segments (recovery point).
    pub flushed: Offset,
    /// The high watermark.
    pub high_watermark: Offset,
    /// The producers are those of the log up to here.
    pub producers_at: Offset,
    pub epochs: Vec<EpochStart>,
    pub segments: Vec<SegmentState>,
    pub producers: Vec<ProducerRow>,
}

/// A segment as the state file keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentState {
    pub base_offset: Offset,
    pub next_offset: Offset,
    pub bytes: u64,
    pub first_timestamp: Option<Timestamp>,
    pub created: Timestamp,
    pub max_timestamp: Timestamp,
    pub offset_of_max_timestamp: Offset,
    pub roll_jitter_ms: i64,
    pub bytes_since_index: u64,
    pub last_time_entry: Option<(Timestamp, u32)>,
    pub offset_entries: u32,
    pub time_entries: u32,
    pub aborted_entries: u32,
}

/// A producer with all its retained batches; Kafka's snapshot format keeps only the last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerRow {
    pub producer: ProducerId,
    pub entry: ProducerEntry,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ShardState {
    pub clean: bool,
    pub journal: JournalId,
    pub last_sequence: Sequence,
    pub journal_end: Option<(u32, u64)>,
    pub directories: Vec<String>,
    pub partitions: Vec<PartitionState>,
}

impl SegmentState {
    /// `flushed` bytes and offsets only: what is in the file.
    pub fn of(segment: &Segment) -> Self {
        Self {
            base_offset: segment.base_offset,
            next_offset: segment.next_offset,
            bytes: segment.flushed_bytes,
            first_timestamp: segment.first_timestamp,
            created: segment.created,
            max_timestamp: segment.max_timestamp,
            offset_of_max_timestamp: segment.offset_of_max_timestamp,
            roll_jitter_ms: segment.roll_jitter_ms,
            bytes_since_index: segment.bytes_since_index(),
            last_time_entry: segment.last_time_entry().map(|entry| (entry.timestamp, entry.relative_offset)),
            offset_entries: segment.offset_index.len() as u32,
            time_entries: segment.time_index.len() as u32,
            aborted_entries: segment.aborted.len() as u32,
        }
    }

    /// The segment as it was, everything in its files.
    pub fn restore(&self) -> Segment {
        let mut segment = Segment::new(self.base_offset, self.created);
        segment.next_offset = self.next_offset;
        segment.bytes = self.bytes;
        segment.flushed_bytes = self.bytes;
        segment.first_timestamp = self.first_timestamp;
        segment.max_timestamp = self.max_timestamp;
        segment.offset_of_max_timestamp = self.offset_of_max_timestamp;
        segment.roll_jitter_ms = self.roll_jitter_ms;
        let last = self.last_time_entry.map(|(timestamp, relative_offset)| TimeEntry { timestamp, relative_offset });
        segment.resume(
            self.bytes_since_index,
            last,
            self.offset_entries as usize,
            self.time_entries as usize,
            self.aborted_entries as usize,
        );
        segment
    }
}

/// The producers of a log, as rows.
pub fn producer_rows(state: &ProducerState) -> Vec<ProducerRow> {
    state.producers().map(|(producer, entry)| ProducerRow { producer, entry: entry.clone() }).collect()
}

pub fn encode(state: &ShardState) -> Vec<u8> {
    let mut out = Out(Vec::with_capacity(256 + state.partitions.len() * 256));
    out.0.extend_from_slice(&MAGIC);
    out.u32(0);
    out.0.extend_from_slice(&VERSION.to_le_bytes());
    out.u8(u8::from(state.clean));
    out.u64(state.journal.0);
    out.u64(state.last_sequence.0);
    match state.journal_end {
        Some((file, end)) => {
            out.u32(file);
            out.u64(end);
        }
        None => out.u32(u32::MAX),
    }
    out.list(&state.directories, |out, directory| out.text(directory));
    out.list(&state.partitions, Out::partition);
    let crc = crc32c::crc32c(&out.0[CRC_FROM..]);
    out.0[8..12].copy_from_slice(&crc.to_le_bytes());
    out.0
}

/// `None` when the bytes are not a whole, undamaged state file.
pub fn decode(bytes: &[u8]) -> Option<ShardState> {
    let mut input = In(bytes);
    if input.take(8)? != MAGIC {
        return None;
    }
    let crc = input.u32()?;
    if crc32c::crc32c(bytes.get(CRC_FROM..)?) != crc || u16::from_le_bytes(*input.take(2)?.first_chunk()?) != VERSION {
        return None;
    }
    let clean = input.u8()? != 0;
    let (journal, last_sequence) = (JournalId(input.u64()?), Sequence(input.u64()?));
    let journal_end = match input.u32()? {
        u32::MAX => None,
        file => Some((file, input.u64()?)),
    };
    let directories = input.list(4, In::text)?;
    let partitions = input.list(64, In::partition)?;
    Some(ShardState { clean, journal, last_sequence, journal_end, directories, partitions })
}

struct Out(Vec<u8>);

impl Out {
    fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn i64(&mut self, value: i64) {
        self.u64(value as u64);
    }

    fn text(&mut self, text: &str) {
        self.u32(text.len() as u32);
        self.0.extend_from_slice(text.as_bytes());
    }

    fn option(&mut self, value: Option<i64>) {
        self.u8(u8::from(value.is_some()));
        self.i64(value.unwrap_or(0));
    }

    fn list<T>(&mut self, items: &[T], each: impl Fn(&mut Self, &T)) {
        self.u32(items.len() as u32);
        for item in items {
            each(self, item);
        }
    }

    fn partition(&mut self, state: &PartitionState) {
        self.0.extend_from_slice(state.partition.topic.0.as_bytes());
        self.u32(state.partition.partition.0 as u32);
        self.text(&state.topic);
        self.u32(u32::from(state.directory));
        for offset in [state.log_start, state.flushed, state.high_watermark, state.producers_at] {
            self.i64(offset.0);
        }
        self.list(&state.epochs, |out, entry| {
            out.u32(entry.epoch.0 as u32);
            out.i64(entry.start.0);
        });
        self.list(&state.segments, Self::segment);
        self.list(&state.producers, |out, row| out.producer(row));
    }

    fn segment(&mut self, segment: &SegmentState) {
        self.i64(segment.base_offset.0);
        self.i64(segment.next_offset.0);
        self.u64(segment.bytes);
        self.option(segment.first_timestamp.map(Timestamp::get));
        self.i64(segment.created.0);
        self.i64(segment.max_timestamp.0);
        self.i64(segment.offset_of_max_timestamp.0);
        self.i64(segment.roll_jitter_ms);
        self.u64(segment.bytes_since_index);
        self.option(segment.last_time_entry.map(|(timestamp, _)| timestamp.0));
        self.u32(segment.last_time_entry.map_or(0, |(_, offset)| offset));
        self.u32(segment.offset_entries);
        self.u32(segment.time_entries);
        self.u32(segment.aborted_entries);
    }

    fn producer(&mut self, row: &ProducerRow) {
        self.i64(row.producer.0);
        self.u32(row.entry.epoch.0 as u32);
        self.u32(row.entry.coordinator_epoch as u32);
        self.i64(row.entry.last_timestamp.0);
        self.option(row.entry.transaction_first_offset.map(Offset::get));
        self.list(row.entry.batches(), |out, batch| {
            out.u32(batch.last_sequence as u32);
            out.i64(batch.last_offset.0);
            out.u32(batch.offset_delta as u32);
            out.i64(batch.timestamp.0);
        });
    }
}

struct In<'a>(&'a [u8]);

impl<'a> In<'a> {
    fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(*self.take(4)?.first_chunk()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(*self.take(8)?.first_chunk()?))
    }

    fn i64(&mut self) -> Option<i64> {
        Some(self.u64()? as i64)
    }

    fn text(&mut self) -> Option<String> {
        let length = self.u32()? as usize;
        String::from_utf8(self.take(length)?.to_vec()).ok()
    }

    fn option(&mut self) -> Option<Option<i64>> {
        let there = self.u8()? != 0;
        let value = self.i64()?;
        Some(there.then_some(value))
    }

    /// `least`: fewest bytes of an item, which bounds the length that is believed.
    fn list<T>(&mut self, least: usize, each: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = self.u32()? as usize;
        if count > self.0.len() / least {
            return None;
        }
        (0..count).map(|_| each(self)).collect()
    }

    fn partition(&mut self) -> Option<PartitionState> {
        let topic_id = TopicId(Uuid::from_bytes(*self.take(16)?.first_chunk()?));
        let partition = TopicPartition::new(topic_id, PartitionIndex(self.u32()? as i32));
        let topic = self.text()?;
        let directory = u16::try_from(self.u32()?).ok()?;
        let [log_start, flushed, high_watermark, producers_at] = [self.i64()?, self.i64()?, self.i64()?, self.i64()?].map(Offset);
        let epochs = self.list(12, |input| Some(EpochStart { epoch: LeaderEpoch(input.u32()? as i32), start: Offset(input.i64()?) }))?;
        let segments = self.list(98, Self::segment)?;
        let producers = self.list(32, Self::producer)?;
        Some(PartitionState { partition, topic, directory, log_start, flushed, high_watermark, producers_at, epochs, segments, producers })
    }

    fn segment(&mut self) -> Option<SegmentState> {
        Some(SegmentState {
            base_offset: Offset(self.i64()?),
            next_offset: Offset(self.i64()?),
            bytes: self.u64()?,
            first_timestamp: self.option()?.map(Timestamp),
            created: Timestamp(self.i64()?),
            max_timestamp: Timestamp(self.i64()?),
            offset_of_max_timestamp: Offset(self.i64()?),
            roll_jitter_ms: self.i64()?,
            bytes_since_index: self.u64()?,
            last_time_entry: {
                let timestamp = self.option()?;
                let offset = self.u32()?;
                timestamp.map(|timestamp| (Timestamp(timestamp), offset))
            },
            offset_entries: self.u32()?,
            time_entries: self.u32()?,
            aborted_entries: self.u32()?,
        })
    }

    fn producer(&mut self) -> Option<ProducerRow> {
        let producer = ProducerId(self.i64()?);
        let epoch = ProducerEpoch(self.u32()? as i32 as i16);
        let coordinator_epoch = self.u32()? as i32;
        let last_timestamp = Timestamp(self.i64()?);
        let transaction = self.option()?.map(Offset);
        let batches = self.list(24, |input| {
            Some(BatchMetadata {
                last_sequence: input.u32()? as i32,
                last_offset: Offset(input.i64()?),
                offset_delta: input.u32()? as i32,
                timestamp: Timestamp(input.i64()?),
            })
        })?;
        let mut entry = ProducerEntry::restored(epoch, coordinator_epoch, last_timestamp, transaction, None);
        for batch in batches {
            entry.push(batch);
        }
        Some(ProducerRow { producer, entry })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_and_no_damage_passes() {
        let mut entry = ProducerEntry::restored(ProducerEpoch(3), -1, Timestamp(5), Some(Offset(4)), None);
        for i in 0..7 {
            entry.push(BatchMetadata { last_sequence: i, last_offset: Offset(i64::from(i)), offset_delta: 0, timestamp: Timestamp(9) });
        }
        let mut segment = Segment::new(Offset(10), Timestamp(77));
        segment.resume(123, Some(TimeEntry { timestamp: Timestamp(8), relative_offset: 2 }), 4, 3, 0);
        let state = ShardState {
            clean: true,
            journal: JournalId(99),
            last_sequence: Sequence(1234),
            journal_end: Some((3, 8192)),
            directories: vec!["/data/ä".to_owned()],
            partitions: vec![PartitionState {
                partition: TopicPartition::new(TopicId(Uuid::from_u128(5)), PartitionIndex(2)),
                topic: "orders".to_owned(),
                directory: 0,
                log_start: Offset(1),
                flushed: Offset(20),
                high_watermark: Offset(20),
                producers_at: Offset(20),
                epochs: vec![EpochStart { epoch: LeaderEpoch(0), start: Offset(0) }],
                segments: vec![SegmentState::of(&segment)],
                producers: vec![ProducerRow { producer: ProducerId(7), entry }],
            }],
        };
        let bytes = encode(&state);
        assert_eq!(decode(&bytes).as_ref(), Some(&state));
        assert_eq!(state.partitions[0].segments[0].restore(), segment);
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            assert_eq!(decode(&bad), None, "byte {at}");
            assert_eq!(decode(&bytes[..at]), None);
        }
    }
}
