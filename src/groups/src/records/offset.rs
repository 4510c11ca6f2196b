//! OffsetCommitValue: a committed offset.
//!
//! | version | fields |
//! |---|---|
//! | 0, 2 | offset i64, metadata string, commit timestamp i64 |
//! | 1 | ... and expire timestamp i64 |
//! | 3 | offset i64, leader epoch i32, metadata string, commit timestamp i64 |
//! | 4 | as 3 with compact strings and tagged fields: 0 = topic id |

use super::{Read, ReplayError};
use crate::wire::{StrBytes, own};
use bytes::Bytes;
use odradek_base::{Offset, Timestamp, TopicId};
use odradek_wire::fields::{Reader, Writer};

/// The newest version Kafka writes while it needs no tagged field: its non-flexible maximum.
const VERSION: i16 = 3;
/// The only version with an expiry time of its own (OffsetCommit requests up to version 4).
const VERSION_WITH_EXPIRY: i16 = 1;
const VERSION_MAX: i16 = 4;

/// One partition's committed offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommittedOffset {
    /// As the client sent it: Kafka accepts any value.
    pub offset: Offset,
    /// -1: not known.
    pub leader_epoch: i32,
    pub metadata: StrBytes,
    pub commit_timestamp: Timestamp,
    /// Given by old clients that chose their own retention.
    pub expire_timestamp: Option<Timestamp>,
    /// Only in records of other writers.
    pub topic_id: TopicId,
}

impl CommittedOffset {
    pub(crate) fn decode(bytes: &[u8]) -> Read<Self> {
        let mut reader = Reader::new(bytes);
        let version = reader.i16()?;
        if !(0..=VERSION_MAX).contains(&version) {
            return Err(ReplayError::UnknownVersion { what: "OffsetCommitValue", version });
        }
        let compact = version >= 4;
        let offset = Offset(reader.i64()?);
        let leader_epoch = if version >= 3 { reader.i32()? } else { -1 };
        let metadata = own(reader.string(compact)?);
        let commit_timestamp = Timestamp(reader.i64()?);
        let expire_timestamp = match version {
            VERSION_WITH_EXPIRY => Some(Timestamp(reader.i64()?)).filter(|&at| at != Timestamp::NONE),
            _ => None,
        };
        let mut topic_id = TopicId::NONE;
        if compact {
            reader.tags(|tag, field| {
                if tag == 0 {
                    topic_id = field.topic_id()?;
                }
                Ok(())
            })?;
        }
        Ok(Self { offset, leader_epoch, metadata, commit_timestamp, expire_timestamp, topic_id })
    }

    pub(crate) fn encode(&self) -> Bytes {
        let mut writer = Writer::with_capacity(32 + self.metadata.len());
        writer.i16(if self.expire_timestamp.is_some() { VERSION_WITH_EXPIRY } else { VERSION });
        writer.i64(self.offset.get());
        if self.expire_timestamp.is_none() {
            writer.i32(self.leader_epoch);
        }
        writer.string(&self.metadata);
        writer.i64(self.commit_timestamp.get());
        if let Some(at) = self.expire_timestamp {
            writer.i64(at.get());
        }
        writer.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> CommittedOffset {
        CommittedOffset {
            offset: Offset(42),
            leader_epoch: 5,
            metadata: own("me"),
            commit_timestamp: Timestamp(1_000),
            expire_timestamp: None,
            topic_id: TopicId::NONE,
        }
    }

    #[test]
    fn every_version_is_read_and_the_newest_written() {
        let value = sample();
        let bytes = value.encode();
        assert_eq!(&bytes[..2], [0, 3]);
        assert_eq!(CommittedOffset::decode(&bytes), Ok(value.clone()));

        let expiring = CommittedOffset { expire_timestamp: Some(Timestamp(2_000)), leader_epoch: -1, ..value.clone() };
        assert_eq!(&expiring.encode()[..2], [0, 1]);
        assert_eq!(CommittedOffset::decode(&expiring.encode()), Ok(expiring));

        let old = b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x2a\x00\x02me\x00\x00\x00\x00\x00\x00\x03\xe8";
        let expected = CommittedOffset { leader_epoch: -1, ..value.clone() };
        assert_eq!(CommittedOffset::decode(old), Ok(expected.clone()));
        let mut second = old.to_vec();
        second[1] = 2;
        assert_eq!(CommittedOffset::decode(&second), Ok(expected));

        let mut flexible =
            b"\x00\x04\x00\x00\x00\x00\x00\x00\x00\x2a\x00\x00\x00\x05\x03me\x00\x00\x00\x00\x00\x00\x03\xe8\x01\x00\x10".to_vec();
        flexible.extend([7; 16]);
        let expected = CommittedOffset { topic_id: TopicId(uuid::Uuid::from_bytes([7; 16])), ..value };
        assert_eq!(CommittedOffset::decode(&flexible), Ok(expected));

        assert!(matches!(CommittedOffset::decode(&[0, 5]), Err(ReplayError::UnknownVersion { version: 5, .. })));
        assert!(matches!(CommittedOffset::decode(&[0xff, 0xff]), Err(ReplayError::UnknownVersion { version: -1, .. })));
    }
}
