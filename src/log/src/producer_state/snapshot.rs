//! Kafka's producer snapshot files (`<offset>.snapshot`, `ProducerSnapshot.json` version 1), big-endian:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 2 | version (1) |
//! | 2 | 4 | CRC-32C of everything from offset 6 |
//! | 6 | 4 | number of entries, then per entry 46 bytes: |
//! | +0 | 8 | producer id |
//! | +8 | 2 | producer epoch |
//! | +10 | 4 | last sequence |
//! | +14 | 8 | last offset |
//! | +22 | 4 | offset delta of the last batch |
//! | +26 | 8 | timestamp |
//! | +34 | 4 | coordinator epoch |
//! | +38 | 8 | first offset of the open transaction, -1 without one |

use super::ProducerState;
use super::entry::{BatchMetadata, ProducerEntry};
use odradek_base::{Offset, ProducerEpoch, ProducerId, Timestamp};

const VERSION: i16 = 1;
const HEADER_BYTES: usize = 10;
const CRC_FROM: usize = 6;
const ENTRY_BYTES: usize = 46;

/// Why a snapshot file is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    #[error("producer snapshot version {0} is unknown")]
    Version(i16),
    #[error("producer snapshot fails its checksum")]
    Checksum,
    #[error("producer snapshot is cut off")]
    Truncated,
}

pub fn encode(state: &ProducerState) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_BYTES + state.len() * ENTRY_BYTES);
    out.extend_from_slice(&VERSION.to_be_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&(state.len() as i32).to_be_bytes());
    for (id, entry) in state.producers() {
        let last = entry.last_batch().copied().unwrap_or(BatchMetadata {
            last_sequence: -1,
            last_offset: Offset(-1),
            offset_delta: 0,
            timestamp: Timestamp::NONE,
        });
        out.extend_from_slice(&id.0.to_be_bytes());
        out.extend_from_slice(&entry.epoch.0.to_be_bytes());
        out.extend_from_slice(&last.last_sequence.to_be_bytes());
        out.extend_from_slice(&last.last_offset.0.to_be_bytes());
        out.extend_from_slice(&last.offset_delta.to_be_bytes());
        out.extend_from_slice(&entry.last_timestamp.0.to_be_bytes());
        out.extend_from_slice(&entry.coordinator_epoch.to_be_bytes());
        out.extend_from_slice(&entry.transaction_first_offset.map_or(-1, Offset::get).to_be_bytes());
    }
    let crc = crc32c::crc32c(&out[CRC_FROM..]);
    out[2..6].copy_from_slice(&crc.to_be_bytes());
    out
}

/// The producers of a snapshot file; bytes from a disk, so anything may be in them.
pub fn decode(bytes: &[u8]) -> Result<Vec<(ProducerId, ProducerEntry)>, SnapshotError> {
    let version = i16::from_be_bytes(field(bytes, 0)?);
    if version != VERSION {
        return Err(SnapshotError::Version(version));
    }
    let crc = u32::from_be_bytes(field(bytes, 2)?);
    if crc32c::crc32c(bytes.get(CRC_FROM..).ok_or(SnapshotError::Truncated)?) != crc {
        return Err(SnapshotError::Checksum);
    }
    let count = usize::try_from(i32::from_be_bytes(field(bytes, 6)?)).map_err(|_| SnapshotError::Truncated)?;
    let entries = bytes.get(HEADER_BYTES..).ok_or(SnapshotError::Truncated)?;
    if entries.len() / ENTRY_BYTES < count {
        return Err(SnapshotError::Truncated);
    }
    entries.chunks_exact(ENTRY_BYTES).take(count).map(decode_entry).collect()
}

fn decode_entry(bytes: &[u8]) -> Result<(ProducerId, ProducerEntry), SnapshotError> {
    let last = BatchMetadata {
        last_sequence: i32::from_be_bytes(field(bytes, 10)?),
        last_offset: Offset(i64::from_be_bytes(field(bytes, 14)?)),
        offset_delta: i32::from_be_bytes(field(bytes, 22)?),
        timestamp: Timestamp(i64::from_be_bytes(field(bytes, 26)?)),
    };
    let first = i64::from_be_bytes(field(bytes, 38)?);
    let entry = ProducerEntry::restored(
        ProducerEpoch(i16::from_be_bytes(field(bytes, 8)?)),
        i32::from_be_bytes(field(bytes, 34)?),
        last.timestamp,
        (first >= 0).then_some(Offset(first)),
        // Kafka's test too (`ProducerStateManager.readSnapshot`): without a data offset there was only a marker.
        (last.last_offset.get() >= 0 && last.offset_delta >= 0 && last.last_sequence >= 0).then_some(last),
    );
    Ok((ProducerId(i64::from_be_bytes(field(bytes, 0)?)), entry))
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], SnapshotError> {
    bytes.get(at..).and_then(|rest| rest.first_chunk::<N>()).copied().ok_or(SnapshotError::Truncated)
}

#[cfg(test)]
mod tests {
    use super::super::ProducerBatch;
    use super::*;

    #[test]
    fn snapshots_round_trip_and_damage_is_seen() {
        let mut state = ProducerState::default();
        for id in 0..3 {
            let batch = ProducerBatch {
                producer: ProducerId(id),
                epoch: ProducerEpoch(2),
                base_sequence: i32::MAX,
                last_offset_delta: 4,
                timestamp: Timestamp(55),
                is_transactional: id == 1,
            };
            state.appended(&batch, Offset(100 * id));
        }
        let bytes = encode(&state);
        assert_eq!(bytes.len(), 10 + 3 * 46);
        let mut read = ProducerState::default();
        read.load(decode(&bytes).expect("our own"));
        assert!(read.producers().eq(state.producers()));
        assert_eq!(read.first_unstable_offset(), Some(Offset(100)));
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 0x10;
            assert!(decode(&bad).is_err(), "byte {at}");
        }
        for cut in 0..bytes.len() {
            assert!(decode(&bytes[..cut]).is_err());
        }
    }
}
