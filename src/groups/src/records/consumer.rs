//! Records of consumer groups (KIP-848): `ConsumerGroup*Key` and `ConsumerGroup*Value`.
//!
//! All values have version 0 in flexible encoding; keys have the strings of [`super::Key`].
//!
//! | type | key after the type | value |
//! |---|---|---|
//! | 3 | group | group epoch i32; tag 0: metadata hash i64 |
//! | 4 | group | what Kafka 4.0 and older kept instead of the hash; only its presence counts here |
//! | 5 | group, member | instance, rack nullable string; client id, client host string; topics array of string; regex nullable string; rebalance timeout i32; assignor nullable string; tag 0: members of the classic protocol, skipped |
//! | 6 | group | assignment epoch i32; tag 0: timestamp i64 |
//! | 7 | group, member | array of (topic id, partitions array of i32) |
//! | 8 | group, member | member epoch, previous member epoch i32; state i8; assigned, pending revocation: arrays of (topic id, partitions; tag 0: epoch of each partition) |
//! | 16 | group, regex | topics array of string; version, timestamp i64 |

use super::{Read, ReplayError};
use crate::consumer::{Assigned, Current, Member, MemberState, Resolved, Subscription, Target};
use bytes::Bytes;
use odradek_base::TopicId;
use odradek_wire::fields::{FieldError, Reader, Writer};
use std::collections::BTreeSet;
use std::sync::Arc;

const VERSION: i16 = 0;

fn reader<'a>(what: &'static str, bytes: &'a [u8]) -> Read<Reader<'a>> {
    let mut reader = Reader::new(bytes);
    match reader.i16()? {
        VERSION => Ok(reader),
        version => Err(ReplayError::UnknownVersion { what, version }),
    }
}

fn writer(bytes: usize) -> Writer {
    let mut writer = Writer::with_capacity(bytes);
    writer.i16(VERSION);
    writer
}

fn tagged_i64(value: i64) -> Bytes {
    let mut writer = Writer::with_capacity(8);
    writer.i64(value);
    writer.finish()
}

/// Reads `i32` and an `i64` in tag 0: the layout of types 3 and 6.
fn decode_epoch(what: &'static str, bytes: &[u8]) -> Read<(i32, i64)> {
    let mut reader = reader(what, bytes)?;
    let epoch = reader.i32()?;
    let mut tagged = 0;
    reader.tags(|tag, field| {
        if tag == 0 {
            tagged = field.i64()?;
        }
        Ok(())
    })?;
    Ok((epoch, tagged))
}

fn encode_epoch(epoch: i32, tagged: i64) -> Bytes {
    let mut writer = writer(20);
    writer.i32(epoch);
    match tagged {
        0 => writer.no_tags(),
        value => writer.tags(&[(0, tagged_i64(value))]),
    }
    writer.finish()
}

/// ConsumerGroupMetadataValue: group epoch and metadata hash.
pub(crate) fn decode_metadata(bytes: &[u8]) -> Read<(i32, i64)> {
    decode_epoch("ConsumerGroupMetadataValue", bytes)
}

pub(crate) fn encode_metadata(epoch: i32, hash: i64) -> Bytes {
    encode_epoch(epoch, hash)
}

/// ConsumerGroupTargetAssignmentMetadataValue: assignment epoch and when it was computed.
pub(crate) fn decode_target_metadata(bytes: &[u8]) -> Read<(i32, i64)> {
    decode_epoch("ConsumerGroupTargetAssignmentMetadataValue", bytes)
}

pub(crate) fn encode_target_metadata(epoch: i32, timestamp: i64) -> Bytes {
    encode_epoch(epoch, timestamp)
}

/// ConsumerGroupPartitionMetadataValue: only that it can be read.
pub(crate) fn check_partition_metadata(bytes: &[u8]) -> Read<()> {
    reader("ConsumerGroupPartitionMetadataValue", bytes).map(|_| ())
}

impl Subscription {
    /// ConsumerGroupMemberMetadataValue
    pub(crate) fn decode(bytes: &[u8]) -> Read<Self> {
        let mut reader = reader("ConsumerGroupMemberMetadataValue", bytes)?;
        let instance = reader.nullable_string(true)?.map(Arc::from);
        let rack = reader.nullable_string(true)?.map(Arc::from);
        let client_id = Arc::from(reader.string(true)?);
        let client_host = Arc::from(reader.string(true)?);
        let mut topics = BTreeSet::new();
        for _ in 0..reader.count(true)? {
            topics.insert(Arc::from(reader.string(true)?));
        }
        let regex = reader.nullable_string(true)?.filter(|regex| !regex.is_empty()).map(Arc::from);
        let rebalance_timeout_ms = reader.i32()?;
        let assignor = reader.nullable_string(true)?.map(Arc::from);
        reader.skip_tags()?;
        Ok(Self { instance, rack, client_id, client_host, topics, regex, rebalance_timeout_ms, assignor })
    }

    pub(crate) fn encode(&self) -> Bytes {
        let mut writer = writer(64);
        writer.compact_nullable_string(self.instance.as_deref());
        writer.compact_nullable_string(self.rack.as_deref());
        writer.compact_string(&self.client_id);
        writer.compact_string(&self.client_host);
        writer.compact_count(self.topics.len());
        for topic in &self.topics {
            writer.compact_string(topic);
        }
        writer.compact_nullable_string(self.regex.as_deref());
        writer.i32(self.rebalance_timeout_ms);
        writer.compact_nullable_string(self.assignor.as_deref());
        writer.no_tags();
        writer.finish()
    }
}

/// ConsumerGroupTargetAssignmentMemberValue
pub(crate) fn decode_target(bytes: &[u8]) -> Read<Target> {
    let mut reader = reader("ConsumerGroupTargetAssignmentMemberValue", bytes)?;
    let mut target = Target::new();
    for _ in 0..reader.count(true)? {
        let partitions: &mut BTreeSet<i32> = target.entry(reader.topic_id()?).or_default();
        for _ in 0..reader.count(true)? {
            partitions.insert(reader.i32()?);
        }
        reader.skip_tags()?;
    }
    reader.skip_tags()?;
    target.retain(|_, partitions| !partitions.is_empty());
    Ok(target)
}

pub(crate) fn encode_target(target: &Target) -> Bytes {
    let mut writer = writer(8 + target.values().map(|partitions| 24 + 4 * partitions.len()).sum::<usize>());
    writer.compact_count(target.len());
    for (topic, partitions) in target {
        writer.topic_id(*topic);
        writer.compact_count(partitions.len());
        partitions.iter().for_each(|&index| writer.i32(index));
        writer.no_tags();
    }
    writer.no_tags();
    writer.finish()
}

impl Current {
    /// ConsumerGroupCurrentMemberAssignmentValue
    pub(crate) fn decode(bytes: &[u8]) -> Read<Self> {
        let mut reader = reader("ConsumerGroupCurrentMemberAssignmentValue", bytes)?;
        let epoch = reader.i32()?;
        let previous_epoch = reader.i32()?;
        let state = MemberState::from_code(reader.i8()?);
        let assigned = decode_assigned(&mut reader, epoch)?;
        let revoking = decode_assigned(&mut reader, epoch)?;
        reader.skip_tags()?;
        Ok(Self { epoch, previous_epoch, state, assigned, revoking })
    }

    pub(crate) fn encode(&self) -> Bytes {
        let mut writer = writer(32);
        writer.i32(self.epoch);
        writer.i32(self.previous_epoch);
        writer.i8(self.state.code());
        encode_assigned(&mut writer, &self.assigned);
        encode_assigned(&mut writer, &self.revoking);
        writer.no_tags();
        writer.finish()
    }
}

/// Partitions without epochs of their own (Kafka 4.2 and older) count as assigned at the member's epoch.
fn decode_assigned(reader: &mut Reader, member_epoch: i32) -> Read<Assigned> {
    let mut assigned = Assigned::new();
    for _ in 0..reader.count(true)? {
        let topic: TopicId = reader.topic_id()?;
        let mut partitions = Vec::new();
        for _ in 0..reader.count(true)? {
            partitions.push(reader.i32()?);
        }
        let mut epochs: Option<Vec<i32>> = None;
        reader.tags(|tag, field| {
            if tag == 0
                && let Some(count) = field.nullable_count(true)?
            {
                epochs = Some((0..count).map(|_| field.i32()).collect::<Result<_, FieldError>>()?);
            }
            Ok(())
        })?;
        if epochs.as_ref().is_some_and(|epochs| epochs.len() != partitions.len()) {
            return Err(ReplayError::Invalid("a partition without its epoch"));
        }
        let epochs = epochs.unwrap_or_else(|| vec![member_epoch; partitions.len()]);
        if !partitions.is_empty() {
            assigned.entry(topic).or_default().extend(partitions.into_iter().zip(epochs));
        }
    }
    Ok(assigned)
}

fn encode_assigned(writer: &mut Writer, assigned: &Assigned) {
    writer.compact_count(assigned.len());
    for (topic, partitions) in assigned {
        writer.topic_id(*topic);
        writer.compact_count(partitions.len());
        partitions.keys().for_each(|&index| writer.i32(index));
        let mut epochs = Writer::with_capacity(4 + 4 * partitions.len());
        epochs.compact_count(partitions.len());
        partitions.values().for_each(|&epoch| epochs.i32(epoch));
        writer.tags(&[(0, epochs.finish())]);
    }
}

impl Resolved {
    /// ConsumerGroupRegularExpressionValue
    pub(crate) fn decode(bytes: &[u8]) -> Read<Self> {
        let mut reader = reader("ConsumerGroupRegularExpressionValue", bytes)?;
        let mut topics = BTreeSet::new();
        for _ in 0..reader.count(true)? {
            topics.insert(Arc::from(reader.string(true)?));
        }
        let version = reader.i64()?;
        let timestamp = reader.i64()?;
        reader.skip_tags()?;
        Ok(Self { topics, version, timestamp })
    }

    pub(crate) fn encode(&self) -> Bytes {
        let mut writer = writer(32);
        writer.compact_count(self.topics.len());
        for topic in &self.topics {
            writer.compact_string(topic);
        }
        writer.i64(self.version);
        writer.i64(self.timestamp);
        writer.no_tags();
        writer.finish()
    }
}

impl Member {
    pub(crate) fn subscribed_as(subscription: Subscription) -> Self {
        Self { subscription, current: Current::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn topic() -> TopicId {
        TopicId(uuid::Uuid::from_bytes([7; 16]))
    }

    #[test]
    fn epochs_have_kafkas_layout() {
        assert_eq!(&encode_metadata(2, 0)[..], b"\x00\x00\x00\x00\x00\x02\x00");
        assert_eq!(&encode_metadata(2, 5)[..], b"\x00\x00\x00\x00\x00\x02\x01\x00\x08\x00\x00\x00\x00\x00\x00\x00\x05");
        assert_eq!(decode_metadata(&encode_metadata(2, -5)), Ok((2, -5)));
        assert_eq!(decode_target_metadata(&encode_target_metadata(3, 9)), Ok((3, 9)));
        assert!(decode_metadata(b"\x00\x01\x00\x00\x00\x02\x00").is_err(), "a version of the future");
    }

    #[test]
    fn a_subscription_round_trips_and_skips_what_classic_members_add() {
        let value = Subscription {
            instance: Some("i".into()),
            rack: None,
            client_id: "c".into(),
            client_host: "/h".into(),
            topics: ["a".into(), "b".into()].into(),
            regex: Some("x.*".into()),
            rebalance_timeout_ms: 300,
            assignor: Some("range".into()),
        };
        let bytes = value.encode();
        assert_eq!(&bytes[..], b"\x00\x00\x02i\x00\x02c\x03/h\x03\x02a\x02b\x04x.*\x00\x00\x01\x2c\x06range\x00");
        assert_eq!(Subscription::decode(&bytes), Ok(value.clone()));
        let mut classic = bytes[..bytes.len() - 1].to_vec();
        classic.extend(b"\x01\x00\x03abc");
        assert_eq!(Subscription::decode(&classic), Ok(value));
    }

    #[test]
    fn assignments_round_trip_and_old_ones_get_the_members_epoch() {
        let assigned: Assigned = [(topic(), BTreeMap::from([(0, 4), (3, 5)]))].into();
        let value =
            Current { epoch: 5, previous_epoch: 4, state: MemberState::Unreleased, assigned: assigned.clone(), revoking: Assigned::new() };
        assert_eq!(Current::decode(&value.encode()), Ok(value));

        let mut old = b"\x00\x00\x00\x00\x00\x05\x00\x00\x00\x04\x00\x02".to_vec();
        old.extend([7; 16]);
        old.extend(b"\x02\x00\x00\x00\x03\x00\x01\x00");
        let read = Current::decode(&old).unwrap();
        assert_eq!((read.epoch, read.state, &read.assigned), (5, MemberState::Stable, &[(topic(), BTreeMap::from([(3, 5)]))].into()));

        let target: Target = [(topic(), BTreeSet::from([1, 2]))].into();
        assert_eq!(decode_target(&encode_target(&target)), Ok(target));
        let resolved = Resolved { topics: ["a".into()].into(), version: 3, timestamp: 9 };
        assert_eq!(Resolved::decode(&resolved.encode()), Ok(resolved));
    }
}
