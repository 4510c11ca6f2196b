//! Decoding messages of peers.
//!
//! kafka-protocol reserves memory for as many array elements as the peer announces. So before it decodes, [`guard`] walks the bytes with
//! a schema and proves that every announced length is there: what is allocated then is bounded by the bytes that arrived and by
//! [`ARRAY_ELEMENTS_MAX`].

pub(crate) mod cursor;
mod guard;
mod requests;
mod responses;
pub mod sample;
mod schema;

use crate::{api, newer};
use bytes::Bytes;
use kafka_protocol::protocol::Decodable;
use std::any::Any;

pub use schema::{request_versions, response_versions};

/// Most array elements other than numbers, and tagged fields, in one message.
pub const ARRAY_ELEMENTS_MAX: usize = 1 << 18;

/// Why a message cannot be decoded. The connection ends, as Kafka ends it.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    #[error("{api} version {version} is not served", api = api::name(*.api_key))]
    UnsupportedVersion { api_key: i16, version: i16 },
    #[error("the message ends inside a field")]
    Truncated,
    #[error("a length is negative or malformed")]
    Length,
    #[error("an array of {count} elements does not fit in the {bytes} bytes that follow")]
    Array { count: usize, bytes: usize },
    #[error("more than {ARRAY_ELEMENTS_MAX} array elements")]
    TooManyElements,
    #[error("a tagged field does not have the size it claims")]
    TaggedField,
    #[error("a string is not UTF-8")]
    Utf8,
    #[error("a field that cannot be null is null")]
    Null,
    #[error("{0}")]
    Message(String),
}

/// Decodes the body of a request, front first; bytes after it stay in `body` and are tolerated, as Kafka does.
///
/// `T` is the request type of the API. The versions of [`api::SUPPORTED`] beyond those of kafka-protocol are decoded too ([`newer`]).
pub fn decode<T: Decodable + Any>(api_key: i16, body: &mut Bytes, version: i16) -> Result<T, DecodeError> {
    let schema = schema::request(api_key, version).ok_or(DecodeError::UnsupportedVersion { api_key, version })?;
    guard::check(body, schema, version)?;
    decode_guarded(api_key, body, version)
}

/// Decodes the body of a response, for the client side; the header is already off.
pub fn decode_response<T: Decodable + Any>(api_key: i16, body: &mut Bytes, version: i16) -> Result<T, DecodeError> {
    let schema = schema::response(api_key, version).ok_or(DecodeError::UnsupportedVersion { api_key, version })?;
    guard::check(body, schema, version)?;
    decode_guarded(api_key, body, version)
}

fn decode_guarded<T: Decodable + Any>(api_key: i16, body: &mut Bytes, version: i16) -> Result<T, DecodeError> {
    if let Some(message) = newer::decode(api_key, body, version) {
        return message;
    }
    T::decode(body, newer::same_layout_as(api_key, version)).map_err(|error| DecodeError::Message(error.to_string()))
}

/// Only the guard's walk: what the fuzzers and tests call for every schema.
pub fn check_request(api_key: i16, body: &[u8], version: i16) -> Result<(), DecodeError> {
    let schema = schema::request(api_key, version).ok_or(DecodeError::UnsupportedVersion { api_key, version })?;
    guard::check(body, schema, version).map(|_| ())
}

/// Splits a response frame (without length prefix) into correlation id and body.
pub fn response_header(api_key: i16, version: i16, mut frame: Bytes) -> Result<(i32, Bytes), DecodeError> {
    use bytes::Buf;
    let correlation_id = frame.try_get_i32().map_err(|_| DecodeError::Truncated)?;
    if api::response_header_version(api_key, version).ok_or(DecodeError::UnsupportedVersion { api_key, version })? >= 1 {
        let mut cursor = cursor::Cursor::new(&frame, true);
        cursor.tagged_fields()?;
        frame = frame.slice(cursor.position()..);
    }
    Ok((correlation_id, frame))
}

#[cfg(test)]
mod tests;
