//! Records of `__consumer_offsets` in Kafka's formats (`group-coordinator/.../common/message/*.json`).
//!
//! The first two bytes of a key are its type, those of a value its version.

pub(crate) mod consumer;
pub(crate) mod group;
pub(crate) mod offset;

use crate::effects::CoordinatorRecord;
use bytes::Bytes;
use odradek_wire::fields::{FieldError, Reader, Writer};

/// Why a record of `__consumer_offsets` could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    #[error(transparent)]
    Field(#[from] FieldError),
    #[error("unknown key type {0}")]
    UnknownKey(i16),
    #[error("unknown version {version} of {what}")]
    UnknownVersion { what: &'static str, version: i16 },
    #[error("{0}")]
    Invalid(&'static str),
}

pub(crate) type Read<T> = Result<T, ReplayError>;

/// Key types. Offset commits have two (an old and a current one) with the same layout.
mod key_type {
    pub(super) const OFFSET_OLD: i16 = 0;
    pub(super) const OFFSET: i16 = 1;
    pub(super) const GROUP: i16 = 2;
    pub(super) const CONSUMER: i16 = 3;
    pub(super) const CONSUMER_PARTITIONS: i16 = 4;
    pub(super) const CONSUMER_MEMBER: i16 = 5;
    pub(super) const CONSUMER_TARGETS: i16 = 6;
    pub(super) const CONSUMER_TARGET: i16 = 7;
    pub(super) const CONSUMER_CURRENT: i16 = 8;
    pub(super) const CONSUMER_REGEX: i16 = 16;
}

/// What a record is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Key<'a> {
    /// OffsetCommitKey
    Offset { group: &'a str, topic: &'a str, partition: i32 },
    /// GroupMetadataKey
    Group { group: &'a str },
    /// ConsumerGroupMetadataKey
    Consumer { group: &'a str },
    /// ConsumerGroupPartitionMetadataKey: no longer written
    ConsumerPartitions { group: &'a str },
    /// ConsumerGroupMemberMetadataKey
    ConsumerMember { group: &'a str, member: &'a str },
    /// ConsumerGroupTargetAssignmentMetadataKey
    ConsumerTargets { group: &'a str },
    /// ConsumerGroupTargetAssignmentMemberKey
    ConsumerTarget { group: &'a str, member: &'a str },
    /// ConsumerGroupCurrentMemberAssignmentKey
    ConsumerCurrent { group: &'a str, member: &'a str },
    /// ConsumerGroupRegularExpressionKey
    ConsumerRegex { group: &'a str, regex: &'a str },
}

impl<'a> Key<'a> {
    pub(crate) fn decode(bytes: &'a [u8]) -> Read<Self> {
        let mut reader = Reader::new(bytes);
        match reader.i16()? {
            key_type::OFFSET_OLD | key_type::OFFSET => {
                Ok(Self::Offset { group: reader.string(false)?, topic: reader.string(false)?, partition: reader.i32()? })
            }
            key_type::GROUP => Ok(Self::Group { group: reader.string(false)? }),
            key_type::CONSUMER => Ok(Self::Consumer { group: reader.string(false)? }),
            key_type::CONSUMER_PARTITIONS => Ok(Self::ConsumerPartitions { group: reader.string(false)? }),
            key_type::CONSUMER_MEMBER => Ok(Self::ConsumerMember { group: reader.string(false)?, member: reader.string(false)? }),
            key_type::CONSUMER_TARGETS => Ok(Self::ConsumerTargets { group: reader.string(false)? }),
            key_type::CONSUMER_TARGET => Ok(Self::ConsumerTarget { group: reader.string(false)?, member: reader.string(false)? }),
            key_type::CONSUMER_CURRENT => Ok(Self::ConsumerCurrent { group: reader.string(false)?, member: reader.string(false)? }),
            key_type::CONSUMER_REGEX => Ok(Self::ConsumerRegex { group: reader.string(false)?, regex: reader.string(false)? }),
            unknown => Err(ReplayError::UnknownKey(unknown)),
        }
    }

    pub(crate) fn encode(&self) -> Bytes {
        match *self {
            Self::Offset { group, topic, partition } => {
                let mut writer = Writer::with_capacity(10 + group.len() + topic.len());
                writer.i16(key_type::OFFSET);
                writer.string(group);
                writer.string(topic);
                writer.i32(partition);
                writer.finish()
            }
            Self::Group { group } => of_strings(key_type::GROUP, &[group]),
            Self::Consumer { group } => of_strings(key_type::CONSUMER, &[group]),
            Self::ConsumerPartitions { group } => of_strings(key_type::CONSUMER_PARTITIONS, &[group]),
            Self::ConsumerMember { group, member } => of_strings(key_type::CONSUMER_MEMBER, &[group, member]),
            Self::ConsumerTargets { group } => of_strings(key_type::CONSUMER_TARGETS, &[group]),
            Self::ConsumerTarget { group, member } => of_strings(key_type::CONSUMER_TARGET, &[group, member]),
            Self::ConsumerCurrent { group, member } => of_strings(key_type::CONSUMER_CURRENT, &[group, member]),
            Self::ConsumerRegex { group, regex } => of_strings(key_type::CONSUMER_REGEX, &[group, regex]),
        }
    }

    pub(crate) fn group(&self) -> &'a str {
        match *self {
            Self::Offset { group, .. }
            | Self::Group { group }
            | Self::Consumer { group }
            | Self::ConsumerPartitions { group }
            | Self::ConsumerMember { group, .. }
            | Self::ConsumerTargets { group }
            | Self::ConsumerTarget { group, .. }
            | Self::ConsumerCurrent { group, .. }
            | Self::ConsumerRegex { group, .. } => group,
        }
    }

    /// The record that removes what this key names.
    pub(crate) fn tombstone(&self) -> CoordinatorRecord {
        CoordinatorRecord { key: self.encode(), value: None }
    }

    pub(crate) fn with(&self, value: Bytes) -> CoordinatorRecord {
        CoordinatorRecord { key: self.encode(), value: Some(value) }
    }
}

fn of_strings(key_type: i16, strings: &[&str]) -> Bytes {
    let mut writer = Writer::with_capacity(2 + strings.iter().map(|text| 2 + text.len()).sum::<usize>());
    writer.i16(key_type);
    strings.iter().for_each(|text| writer.string(text));
    writer.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_kafkas_layout() {
        let key = Key::Offset { group: "g", topic: "t", partition: 7 };
        assert_eq!(&key.encode()[..], b"\x00\x01\x00\x01g\x00\x01t\x00\x00\x00\x07");
        assert_eq!(Key::decode(&key.encode()), Ok(key));
        // The old key type has the same layout.
        assert_eq!(Key::decode(b"\x00\x00\x00\x01g\x00\x01t\x00\x00\x00\x07"), Ok(key));
        let key = Key::Group { group: "gr" };
        assert_eq!(&key.encode()[..], b"\x00\x02\x00\x02gr");
        assert_eq!(Key::decode(&key.encode()), Ok(key));
        assert_eq!(Key::decode(b"\x00\x63"), Err(ReplayError::UnknownKey(99)));
        assert_eq!(Key::decode(b""), Err(ReplayError::Field(FieldError::Truncated)));
    }
}
