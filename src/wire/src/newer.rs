//! Versions that kafka-protocol does not know yet, in the structs it has.
//!
//! - OffsetCommit 10 and OffsetFetch 10 (KIP-848): topics by id instead of name; the structs' `topic_id` is set and the name empty.
//!   (OffsetFetch's response is in the crate.)
//! - ListOffsets 11 (KIP-1023): the layout of version 10, more meanings of a timestamp.

use crate::decode::DecodeError;
use crate::decode::cursor::Cursor;
use crate::{api, varint};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::{OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest};
use std::any::Any;

const TOPIC_ID_VERSION: i16 = 10;
const LIST_OFFSETS_NEWEST: i16 = 11;
const LIST_OFFSETS_IN_CRATE: i16 = 10;

/// The version to ask kafka-protocol for: the given one, or an older one with the same layout.
pub(crate) fn same_layout_as(api_key: i16, version: i16) -> i16 {
    if (api_key, version) == (api::LIST_OFFSETS, LIST_OFFSETS_NEWEST) { LIST_OFFSETS_IN_CRATE } else { version }
}

/// Decodes a message of a version this module knows; `None` is everything else. The guard has passed the bytes.
pub(crate) fn decode<T: Any>(api_key: i16, body: &mut Bytes, version: i16) -> Option<Result<T, DecodeError>> {
    if version != TOPIC_ID_VERSION {
        return None;
    }
    let is = |other: std::any::TypeId| std::any::TypeId::of::<T>() == other;
    let decoder: fn(&mut Cursor<'_>) -> Result<Box<dyn Any>, DecodeError> = match api_key {
        api::OFFSET_COMMIT if is(std::any::TypeId::of::<OffsetCommitRequest>()) => |c| Ok(Box::new(commit_request(c)?)),
        api::OFFSET_COMMIT if is(std::any::TypeId::of::<OffsetCommitResponse>()) => |c| Ok(Box::new(commit_response(c)?)),
        api::OFFSET_FETCH if is(std::any::TypeId::of::<OffsetFetchRequest>()) => |c| Ok(Box::new(fetch_request(c)?)),
        _ => return None,
    };
    let whole = body.clone();
    let mut cursor = Cursor::new(&whole, true);
    let message = match decoder(&mut cursor) {
        Ok(message) => message,
        Err(error) => return Some(Err(error)),
    };
    body.advance(cursor.position());
    message.downcast::<T>().ok().map(|message| Ok(*message))
}

/// Encodes a message of a version this module knows; false leaves it to kafka-protocol.
pub(crate) fn encode(out: &mut BytesMut, api_key: i16, version: i16, message: &dyn Any) -> bool {
    if version != TOPIC_ID_VERSION {
        return false;
    }
    let mut bytes = Vec::new();
    match api_key {
        api::OFFSET_COMMIT => {
            if let Some(request) = message.downcast_ref::<OffsetCommitRequest>() {
                put_commit_request(&mut bytes, request);
            } else if let Some(response) = message.downcast_ref::<OffsetCommitResponse>() {
                put_commit_response(&mut bytes, response);
            } else {
                return false;
            }
        }
        api::OFFSET_FETCH => match message.downcast_ref::<OffsetFetchRequest>() {
            Some(request) => put_fetch_request(&mut bytes, request),
            None => return false,
        },
        _ => return false,
    }
    out.put_slice(&bytes);
    true
}

// Fewest bytes of array elements, as the guard counts them.
const TOPIC_BYTES_MIN: usize = 18;
const GROUP_BYTES_MIN: usize = 8;

fn list<T>(
    cursor: &mut Cursor<'_>,
    bytes_min: usize,
    mut one: impl FnMut(&mut Cursor<'_>) -> Result<T, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    let count = cursor.array_length(bytes_min)?;
    let mut items = Vec::with_capacity(count);
    for _ in 0..count {
        items.push(one(cursor)?);
    }
    Ok(items)
}

fn commit_request(cursor: &mut Cursor<'_>) -> Result<OffsetCommitRequest, DecodeError> {
    let request = OffsetCommitRequest::default()
        .with_group_id(cursor.string()?.into())
        .with_generation_id_or_member_epoch(cursor.i32()?)
        .with_member_id(cursor.string()?)
        .with_group_instance_id(cursor.nullable_string()?)
        .with_topics(list(cursor, TOPIC_BYTES_MIN, commit_request_topic)?);
    cursor.tagged_fields()?;
    Ok(request)
}

fn commit_request_topic(cursor: &mut Cursor<'_>) -> Result<OffsetCommitRequestTopic, DecodeError> {
    let topic = OffsetCommitRequestTopic::default().with_topic_id(cursor.uuid()?).with_partitions(list(cursor, 18, |cursor| {
        let partition = OffsetCommitRequestPartition::default()
            .with_partition_index(cursor.i32()?)
            .with_committed_offset(cursor.i64()?)
            .with_committed_leader_epoch(cursor.i32()?)
            .with_committed_metadata(cursor.nullable_string()?);
        cursor.tagged_fields()?;
        Ok(partition)
    })?);
    cursor.tagged_fields()?;
    Ok(topic)
}

fn commit_response(cursor: &mut Cursor<'_>) -> Result<OffsetCommitResponse, DecodeError> {
    let throttle_time_ms = cursor.i32()?;
    let topics = list(cursor, TOPIC_BYTES_MIN, |cursor| {
        let topic = OffsetCommitResponseTopic::default().with_topic_id(cursor.uuid()?).with_partitions(list(cursor, 7, |cursor| {
            let partition = OffsetCommitResponsePartition::default().with_partition_index(cursor.i32()?).with_error_code(cursor.i16()?);
            cursor.tagged_fields()?;
            Ok(partition)
        })?);
        cursor.tagged_fields()?;
        Ok(topic)
    })?;
    cursor.tagged_fields()?;
    Ok(OffsetCommitResponse::default().with_throttle_time_ms(throttle_time_ms).with_topics(topics))
}

fn fetch_request(cursor: &mut Cursor<'_>) -> Result<OffsetFetchRequest, DecodeError> {
    let groups = list(cursor, GROUP_BYTES_MIN, |cursor| {
        let group = OffsetFetchRequestGroup::default()
            .with_group_id(cursor.string()?.into())
            .with_member_id(cursor.nullable_string()?)
            .with_member_epoch(cursor.i32()?)
            .with_topics(fetch_request_topics(cursor)?);
        cursor.tagged_fields()?;
        Ok(group)
    })?;
    let request = OffsetFetchRequest::default().with_groups(groups).with_require_stable(cursor.bool()?);
    cursor.tagged_fields()?;
    Ok(request)
}

fn fetch_request_topics(cursor: &mut Cursor<'_>) -> Result<Option<Vec<OffsetFetchRequestTopics>>, DecodeError> {
    let Some(count) = cursor.nullable_array_length(TOPIC_BYTES_MIN)? else { return Ok(None) };
    let mut topics = Vec::with_capacity(count);
    for _ in 0..count {
        let topic = OffsetFetchRequestTopics::default()
            .with_topic_id(cursor.uuid()?)
            .with_partition_indexes(list(cursor, 4, |cursor| cursor.i32())?);
        cursor.tagged_fields()?;
        topics.push(topic);
    }
    Ok(Some(topics))
}

fn put_length(out: &mut Vec<u8>, length: Option<usize>) {
    varint::put_unsigned(out, length.map_or(0, |length| length as u64 + 1));
}

fn put_string(out: &mut Vec<u8>, text: Option<&str>) {
    put_length(out, text.map(str::len));
    out.put_slice(text.unwrap_or_default().as_bytes());
}

const NO_TAGGED_FIELDS: u8 = 0;

fn put_commit_request(out: &mut Vec<u8>, request: &OffsetCommitRequest) {
    put_string(out, Some(&request.group_id));
    out.put_i32(request.generation_id_or_member_epoch);
    put_string(out, Some(&request.member_id));
    put_string(out, request.group_instance_id.as_deref());
    put_length(out, Some(request.topics.len()));
    for topic in &request.topics {
        out.put_slice(topic.topic_id.as_bytes());
        put_length(out, Some(topic.partitions.len()));
        for partition in &topic.partitions {
            out.put_i32(partition.partition_index);
            out.put_i64(partition.committed_offset);
            out.put_i32(partition.committed_leader_epoch);
            put_string(out, partition.committed_metadata.as_deref());
            out.put_u8(NO_TAGGED_FIELDS);
        }
        out.put_u8(NO_TAGGED_FIELDS);
    }
    out.put_u8(NO_TAGGED_FIELDS);
}

fn put_commit_response(out: &mut Vec<u8>, response: &OffsetCommitResponse) {
    out.put_i32(response.throttle_time_ms);
    put_length(out, Some(response.topics.len()));
    for topic in &response.topics {
        out.put_slice(topic.topic_id.as_bytes());
        put_length(out, Some(topic.partitions.len()));
        for partition in &topic.partitions {
            out.put_i32(partition.partition_index);
            out.put_i16(partition.error_code);
            out.put_u8(NO_TAGGED_FIELDS);
        }
        out.put_u8(NO_TAGGED_FIELDS);
    }
    out.put_u8(NO_TAGGED_FIELDS);
}

fn put_fetch_request(out: &mut Vec<u8>, request: &OffsetFetchRequest) {
    put_length(out, Some(request.groups.len()));
    for group in &request.groups {
        put_string(out, Some(&group.group_id));
        put_string(out, group.member_id.as_deref());
        out.put_i32(group.member_epoch);
        put_length(out, group.topics.as_ref().map(Vec::len));
        for topic in group.topics.iter().flatten() {
            out.put_slice(topic.topic_id.as_bytes());
            put_length(out, Some(topic.partition_indexes.len()));
            for &index in &topic.partition_indexes {
                out.put_i32(index);
            }
            out.put_u8(NO_TAGGED_FIELDS);
        }
        out.put_u8(NO_TAGGED_FIELDS);
    }
    out.put_u8(u8::from(request.require_stable));
    out.put_u8(NO_TAGGED_FIELDS);
}
