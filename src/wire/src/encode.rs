//! Writing whole frames: length prefix, header, body.

use crate::produce::{NodeEndpoint, TopicReference};
use crate::{StrBytes, api, newer, varint};
use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::protocol::Encodable;
use odradek_base::{BrokerId, LeaderEpoch};
use std::any::Any;
use uuid::Uuid;

/// Why a message of ours could not be written: a field is set that the version does not have, or a string is too long for it.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    #[error("API key {0} is unknown")]
    UnknownApi(i16),
    #[error("{api} version {version}: {reason}", api = api::name(*.api_key))]
    Message { api_key: i16, version: i16, reason: String },
    #[error("a frame of {0} bytes is longer than the protocol allows")]
    TooLong(usize),
}

/// A response frame with its length prefix.
///
/// Covers the versions of [`api::SUPPORTED`]; those that kafka-protocol does not know yet are encoded by [`newer`].
pub fn encode_response<T: Encodable + Any>(api_key: i16, version: i16, correlation_id: i32, response: &T) -> Result<Bytes, EncodeError> {
    let header_version = api::response_header_version(api_key, version).ok_or(EncodeError::UnknownApi(api_key))?;
    let mut out = BytesMut::new();
    out.put_i32(0);
    out.put_i32(correlation_id);
    if header_version >= 1 {
        out.put_u8(0);
    }
    encode_body(&mut out, api_key, version, response)?;
    finish(out)
}

/// A request frame with its length prefix, for the client side.
pub fn encode_request<T: Encodable + Any>(
    api_key: i16,
    version: i16,
    correlation_id: i32,
    client_id: Option<&str>,
    request: &T,
) -> Result<Bytes, EncodeError> {
    let header_version = api::request_header_version(api_key, version).ok_or(EncodeError::UnknownApi(api_key))?;
    let mut out = BytesMut::new();
    out.put_i32(0);
    out.put_i16(api_key);
    out.put_i16(version);
    out.put_i32(correlation_id);
    put_short_string(&mut out, client_id);
    if header_version >= 2 {
        out.put_u8(0);
    }
    encode_body(&mut out, api_key, version, request)?;
    finish(out)
}

fn encode_body<T: Encodable + Any>(out: &mut BytesMut, api_key: i16, version: i16, message: &T) -> Result<(), EncodeError> {
    if newer::encode(out, api_key, version, message) {
        return Ok(());
    }
    let version_of_crate = newer::same_layout_as(api_key, version);
    message.encode(out, version_of_crate).map_err(|error| EncodeError::Message { api_key, version, reason: error.to_string() })
}

fn finish(mut out: BytesMut) -> Result<Bytes, EncodeError> {
    let length = out.len() - 4;
    let prefix = i32::try_from(length).map_err(|_| EncodeError::TooLong(length))?;
    out[..4].copy_from_slice(&prefix.to_be_bytes());
    Ok(out.freeze())
}

/// A nullable string with a 16-bit length, cut where it is too long for one.
fn put_short_string(out: &mut impl BufMut, text: Option<&str>) {
    match text {
        None => out.put_i16(-1),
        Some(text) => {
            let text = cut(text, i16::MAX as usize);
            out.put_i16(text.len() as i16);
            out.put_slice(text.as_bytes());
        }
    }
}

fn cut(text: &str, max: usize) -> &str {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Writes a response by hand, in either encoding, as one buffer or as buffers around shared slices.
pub(crate) struct FrameWriter {
    parts: Vec<Bytes>,
    /// Bytes of `parts`.
    parts_bytes: usize,
    open: Vec<u8>,
    flexible: bool,
}

impl FrameWriter {
    /// Starts a frame: room for the length, correlation id, and an empty tag section in flexible versions.
    pub(crate) fn new(correlation_id: i32, flexible: bool, bytes_estimate: usize) -> Self {
        let mut writer = Self { parts: Vec::new(), parts_bytes: 0, open: Vec::with_capacity(bytes_estimate), flexible };
        writer.i32(0);
        writer.i32(correlation_id);
        writer.no_tagged_fields();
        writer
    }

    /// The frame in one buffer.
    pub(crate) fn finish(mut self) -> Bytes {
        assert!(self.parts.is_empty(), "a frame with shared slices is finished in parts");
        self.patch_length();
        Bytes::from(self.open)
    }

    /// The frame as buffers.
    pub(crate) fn finish_parts(mut self) -> Vec<Bytes> {
        if self.parts.is_empty() {
            return vec![self.finish()];
        }
        let total = self.parts_bytes + self.open.len();
        if !self.open.is_empty() {
            self.parts.push(Bytes::from(self.open));
        }
        // The first part is our own header buffer and nobody else holds it yet.
        if let Some(first) = self.parts.first_mut() {
            let mut header = BytesMut::from(std::mem::take(first));
            header[..4].copy_from_slice(&frame_length(total).to_be_bytes());
            *first = header.freeze();
        }
        self.parts
    }

    fn patch_length(&mut self) {
        let length = frame_length(self.open.len());
        self.open[..4].copy_from_slice(&length.to_be_bytes());
    }

    pub(crate) fn i16(&mut self, value: i16) {
        self.open.put_i16(value);
    }

    pub(crate) fn i32(&mut self, value: i32) {
        self.open.put_i32(value);
    }

    pub(crate) fn i64(&mut self, value: i64) {
        self.open.put_i64(value);
    }

    pub(crate) fn uuid(&mut self, value: Uuid) {
        self.open.put_slice(value.as_bytes());
    }

    pub(crate) fn unsigned(&mut self, value: u32) {
        varint::put_unsigned(&mut self.open, u64::from(value));
    }

    pub(crate) fn array_length(&mut self, length: usize) {
        if self.flexible {
            varint::put_unsigned(&mut self.open, length as u64 + 1);
        } else {
            self.i32(length as i32);
        }
    }

    pub(crate) fn null_array(&mut self) {
        if self.flexible {
            self.unsigned(0);
        } else {
            self.i32(-1);
        }
    }

    pub(crate) fn nullable_string(&mut self, text: Option<&str>) {
        if !self.flexible {
            return put_short_string(&mut self.open, text);
        }
        match text {
            None => self.unsigned(0),
            Some(text) => {
                varint::put_unsigned(&mut self.open, text.len() as u64 + 1);
                self.open.put_slice(text.as_bytes());
            }
        }
    }

    pub(crate) fn string(&mut self, text: &str) {
        self.nullable_string(Some(text));
    }

    /// A topic by the reference the version asks for; the other kind is a broken invariant of the caller.
    pub(crate) fn topic(&mut self, topic: &TopicReference, by_id: bool) {
        match topic {
            TopicReference::Id(id) => {
                assert!(by_id, "this version names topics by name");
                self.uuid(id.0);
            }
            TopicReference::Name(name) => {
                assert!(!by_id, "this version names topics by id");
                self.string(name);
            }
        }
    }

    pub(crate) fn no_tagged_fields(&mut self) {
        if self.flexible {
            self.open.put_u8(0);
        }
    }

    /// A tag section with one field: leader id and epoch.
    pub(crate) fn tagged_leader(&mut self, tag: u32, (leader, epoch): (BrokerId, LeaderEpoch)) {
        self.unsigned(1);
        self.unsigned(tag);
        self.unsigned(4 + 4 + 1);
        self.i32(leader.get());
        self.i32(epoch.get());
        self.unsigned(0);
    }

    /// A tag section with the endpoints as tag 0, empty when there are none.
    pub(crate) fn node_endpoints(&mut self, endpoints: &[NodeEndpoint]) {
        if endpoints.is_empty() {
            return self.no_tagged_fields();
        }
        let mut field = FrameWriter { parts: Vec::new(), parts_bytes: 0, open: Vec::new(), flexible: true };
        field.array_length(endpoints.len());
        for endpoint in endpoints {
            field.i32(endpoint.node_id.get());
            field.string(&endpoint.host);
            field.i32(endpoint.port);
            field.nullable_string(endpoint.rack.as_ref().map(StrBytes::as_str));
            field.no_tagged_fields();
        }
        self.unsigned(1);
        self.unsigned(0);
        self.unsigned(field.open.len() as u32);
        self.open.extend_from_slice(&field.open);
    }

    /// A records field made of shared slices: its length, then the slices as parts of their own.
    pub(crate) fn records(&mut self, records: &[Bytes]) {
        let bytes: usize = records.iter().map(Bytes::len).sum();
        self.array_length(bytes);
        if bytes == 0 {
            return;
        }
        self.parts_bytes += self.open.len() + bytes;
        self.parts.push(Bytes::from(std::mem::take(&mut self.open)));
        self.parts.extend(records.iter().filter(|slice| !slice.is_empty()).cloned());
    }
}

/// The length prefix for a frame of `total` bytes with its prefix. Fetch limits are 32-bit, so a longer one is a broken invariant.
fn frame_length(total: usize) -> i32 {
    i32::try_from(total - 4).expect("response longer than 2 GiB")
}
