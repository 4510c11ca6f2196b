//! GroupMetadataValue: the last completed generation of a classic group.
//!
//! | field | since version |
//! |---|---|
//! | protocol type string, generation i32, protocol nullable string, leader nullable string | 0 |
//! | current state timestamp i64 | 2 |
//! | members array: member id string | 0 |
//! | ... group instance id nullable string | 3 |
//! | ... client id string, client host string | 0 |
//! | ... rebalance timeout i32 | 1 |
//! | ... session timeout i32, subscription bytes, assignment bytes | 0 |
//!
//! Version 4 has the same fields in compact encodings with tagged fields.

use super::{Read, ReplayError};
use bytes::Bytes;
use odradek_wire::fields::{Reader, Writer};

/// The newest version Kafka writes while it needs no tagged field: its non-flexible maximum.
const VERSION: i16 = 3;
const VERSION_MAX: i16 = 4;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GroupMetadata<'a> {
    pub(crate) protocol_type: &'a str,
    pub(crate) generation: i32,
    pub(crate) protocol: Option<&'a str>,
    pub(crate) leader: Option<&'a str>,
    /// When the group entered its state, in ms since the epoch; -1: not known.
    pub(crate) state_timestamp: i64,
    pub(crate) members: Vec<MemberMetadata<'a>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MemberMetadata<'a> {
    pub(crate) member_id: &'a str,
    pub(crate) instance_id: Option<&'a str>,
    pub(crate) client_id: &'a str,
    pub(crate) client_host: &'a str,
    pub(crate) rebalance_timeout_ms: i32,
    pub(crate) session_timeout_ms: i32,
    pub(crate) subscription: &'a [u8],
    pub(crate) assignment: &'a [u8],
}

impl<'a> GroupMetadata<'a> {
    pub(crate) fn decode(bytes: &'a [u8]) -> Read<Self> {
        let mut reader = Reader::new(bytes);
        let version = reader.i16()?;
        if !(0..=VERSION_MAX).contains(&version) {
            return Err(ReplayError::UnknownVersion { what: "GroupMetadataValue", version });
        }
        let compact = version >= 4;
        let protocol_type = reader.string(compact)?;
        let generation = reader.i32()?;
        let protocol = reader.nullable_string(compact)?;
        let leader = reader.nullable_string(compact)?;
        let state_timestamp = if version >= 2 { reader.i64()? } else { -1 };
        let mut members = Vec::new();
        for _ in 0..reader.count(compact)? {
            members.push(MemberMetadata::decode(&mut reader, version)?);
        }
        if compact {
            reader.skip_tags()?;
        }
        if !members.is_empty() && protocol.is_none() {
            return Err(ReplayError::Invalid("a group with members has no protocol"));
        }
        Ok(Self { protocol_type, generation, protocol, leader, state_timestamp, members })
    }

    pub(crate) fn encode(&self) -> Bytes {
        let members: usize = self.members.iter().map(|m| 64 + m.member_id.len() + m.subscription.len() + m.assignment.len()).sum();
        let mut writer = Writer::with_capacity(64 + members);
        writer.i16(VERSION);
        writer.string(self.protocol_type);
        writer.i32(self.generation);
        writer.nullable_string(self.protocol);
        writer.nullable_string(self.leader);
        writer.i64(self.state_timestamp);
        writer.count(self.members.len());
        for member in &self.members {
            writer.string(member.member_id);
            writer.nullable_string(member.instance_id);
            writer.string(member.client_id);
            writer.string(member.client_host);
            writer.i32(member.rebalance_timeout_ms);
            writer.i32(member.session_timeout_ms);
            writer.bytes(member.subscription);
            writer.bytes(member.assignment);
        }
        writer.finish()
    }
}

impl<'a> MemberMetadata<'a> {
    fn decode(reader: &mut Reader<'a>, version: i16) -> Read<Self> {
        let compact = version >= 4;
        let member_id = reader.string(compact)?;
        let instance_id = if version >= 3 { reader.nullable_string(compact)? } else { None };
        let client_id = reader.string(compact)?;
        let client_host = reader.string(compact)?;
        let rebalance_timeout = if version >= 1 { reader.i32()? } else { -1 };
        let session_timeout_ms = reader.i32()?;
        let subscription = reader.bytes(compact)?;
        let assignment = reader.bytes(compact)?;
        if compact {
            reader.skip_tags()?;
        }
        // Before version 1 the session timeout was the rebalance timeout too.
        let rebalance_timeout_ms = if rebalance_timeout == -1 { session_timeout_ms } else { rebalance_timeout };
        Ok(Self { member_id, instance_id, client_id, client_host, rebalance_timeout_ms, session_timeout_ms, subscription, assignment })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> GroupMetadata<'static> {
        GroupMetadata {
            protocol_type: "consumer",
            generation: 3,
            protocol: Some("range"),
            leader: Some("m1"),
            state_timestamp: 17,
            members: vec![MemberMetadata {
                member_id: "m1",
                instance_id: Some("i"),
                client_id: "c",
                client_host: "/h",
                rebalance_timeout_ms: 300,
                session_timeout_ms: 100,
                subscription: b"sub",
                assignment: b"asg",
            }],
        }
    }

    #[test]
    fn the_newest_version_round_trips() {
        let value = sample();
        assert_eq!(&value.encode()[..2], [0, 3]);
        assert_eq!(GroupMetadata::decode(&value.encode()), Ok(value));
        let empty = GroupMetadata { protocol: None, leader: None, members: Vec::new(), ..sample() };
        assert_eq!(GroupMetadata::decode(&empty.encode()), Ok(empty));
    }

    #[test]
    fn older_and_flexible_versions_are_read() {
        let v0 = b"\x00\x00\x00\x08consumer\x00\x00\x00\x03\x00\x05range\x00\x02m1\x00\x00\x00\x01\x00\x02m1\x00\x01c\x00\x02/h\x00\x00\x00\x64\x00\x00\x00\x03sub\x00\x00\x00\x03asg";
        let mut expected = sample();
        expected.state_timestamp = -1;
        expected.members[0].instance_id = None;
        expected.members[0].rebalance_timeout_ms = 100;
        assert_eq!(GroupMetadata::decode(v0), Ok(expected));

        let v4 = b"\x00\x04\x09consumer\x00\x00\x00\x03\x06range\x03m1\x00\x00\x00\x00\x00\x00\x00\x11\x02\x03m1\x02i\x02c\x03/h\x00\x00\x01\x2c\x00\x00\x00\x64\x04sub\x04asg\x00\x00";
        assert_eq!(GroupMetadata::decode(v4), Ok(sample()));
    }

    #[test]
    fn members_without_a_protocol_are_refused() {
        let value = GroupMetadata { protocol: None, ..sample() };
        assert!(GroupMetadata::decode(&value.encode()).is_err());
    }
}
