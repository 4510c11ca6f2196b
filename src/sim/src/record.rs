//! Records that say who sent them and whose every byte can be checked. A tombstone, which has no value, says it in a header.

use odradek_base::Rng;
use odradek_wire::records::Record;
use std::fmt;

/// Bytes in front of the padding: producer and number.
const HEAD_BYTES: usize = 12;

/// The header in which a tombstone has its name.
pub const TOMBSTONE_HEADER: &[u8] = b"record";

/// Words of the padding before it repeats.
const PATTERN_WORDS: usize = 16;

/// Names a record: the number counts per producer and partition, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecordId {
    pub producer: u32,
    pub number: u64,
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "record {} of producer {}", self.number, self.producer)
    }
}

/// Keys of a partition that is compacted.
const COMPACTED_KEYS: u64 = 5;

impl RecordId {
    /// The record's key: in a compacted partition all producers share a few.
    pub fn key(self, compacted: bool) -> u64 {
        if compacted { self.number % COMPACTED_KEYS } else { self.number }
    }

    /// The record's value: its name and padding that follows from it.
    pub fn value(self, padding: usize) -> Vec<u8> {
        let mut value = Vec::with_capacity(HEAD_BYTES + padding + 8);
        value.extend_from_slice(&self.producer.to_be_bytes());
        value.extend_from_slice(&self.number.to_be_bytes());
        let mut rng = Rng::with_seed(u64::from(self.producer) << 40 ^ self.number);
        let block: Vec<u8> = (0..PATTERN_WORDS).flat_map(|_| rng.next_u64().to_be_bytes()).collect();
        while value.len() < HEAD_BYTES + padding {
            value.extend_from_slice(&block);
        }
        value.truncate(HEAD_BYTES + padding);
        value
    }

    /// The name of a record that was read.
    pub fn of(record: &Record) -> Result<Self, String> {
        match &record.value {
            Some(value) => Self::of_value(value),
            None => {
                let header = record.headers.iter().find(|header| header.key == TOMBSTONE_HEADER).and_then(|header| header.value.as_ref());
                Self::of_value(header.ok_or("neither a value nor the header of a tombstone")?)
            }
        }
    }

    /// Reads a value back; an error says what is wrong with it.
    pub fn of_value(value: &[u8]) -> Result<Self, String> {
        let (Some(producer), Some(number)) =
            (value.first_chunk::<4>(), value.get(4..HEAD_BYTES).and_then(|bytes| bytes.first_chunk::<8>()))
        else {
            return Err(format!("a value of {} bytes", value.len()));
        };
        let id = Self { producer: u32::from_be_bytes(*producer), number: u64::from_be_bytes(*number) };
        if value == id.value(value.len() - HEAD_BYTES) { Ok(id) } else { Err(format!("{id} is damaged")) }
    }
}

/// A checksum by which batches are compared: of everything but the leader epoch, which no CRC of the format covers (KIP-98), so that a read may
/// return a wrong one.
pub fn hash_of_batch(bytes: &[u8]) -> u64 {
    const LEADER_EPOCH: std::ops::Range<usize> = 12..16;
    let (before, after) = (bytes.get(..LEADER_EPOCH.start), bytes.get(LEADER_EPOCH.end..));
    u64::from(crc32c::crc32c_append(crc32c::crc32c(before.unwrap_or(bytes)), after.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_names_its_record_and_shows_damage() {
        let id = RecordId { producer: 3, number: 77 };
        for padding in [0, 1, 8, 1000] {
            let mut value = id.value(padding);
            assert_eq!(RecordId::of_value(&value), Ok(id));
            if padding > 0 {
                value[HEAD_BYTES + padding / 2] ^= 1;
                assert!(RecordId::of_value(&value).is_err());
            }
        }
        assert!(RecordId::of_value(b"short").is_err());
    }
}
