//! The request header: which API, which version, whose request.

use crate::{StrBytes, api};
use bytes::{Buf, Bytes};

/// One request frame, split into header and body.
#[derive(Debug, Clone)]
pub struct Request {
    pub api_key: i16,
    pub api_version: i16,
    pub correlation_id: i32,
    /// What the client calls itself; invalid UTF-8 is replaced, as Java does.
    pub client_id: Option<StrBytes>,
    /// The rest of the frame, a slice of it.
    pub body: Bytes,
}

/// Why no header could be read. The connection ends, as Kafka ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    #[error("the frame ends inside the request header")]
    Truncated,
    #[error("unknown API key {0}")]
    UnknownApi(i16),
    #[error("client id length {0} is negative")]
    NegativeLength(i16),
    #[error("a tagged field of the header is malformed")]
    TaggedField,
}

/// Reads the header (`RequestHeader` versions 1 and 2) and leaves the body alone.
///
/// Whether the version is served is the caller's question ([`api::supported`]); an ApiVersions request of an unknown version yields
/// a header too, because it must be answered.
pub fn parse_header(mut frame: Bytes) -> Result<Request, HeaderError> {
    let api_key = frame.try_get_i16().map_err(|_| HeaderError::Truncated)?;
    let api_version = frame.try_get_i16().map_err(|_| HeaderError::Truncated)?;
    let correlation_id = frame.try_get_i32().map_err(|_| HeaderError::Truncated)?;
    let header_version = api::request_header_version(api_key, api_version).ok_or(HeaderError::UnknownApi(api_key))?;
    let client_id = match frame.try_get_i16().map_err(|_| HeaderError::Truncated)? {
        -1 => None,
        length => {
            let length = usize::try_from(length).map_err(|_| HeaderError::NegativeLength(length))?;
            if frame.len() < length {
                return Err(HeaderError::Truncated);
            }
            Some(lossy_string(frame.split_to(length)))
        }
    };
    let answered_without_body = api_key == api::API_VERSIONS && !api::supported(api_key, api_version);
    if header_version >= 2 && !answered_without_body {
        skip_tagged_fields(&mut frame)?;
    }
    Ok(Request { api_key, api_version, correlation_id, client_id, body: frame })
}

fn lossy_string(bytes: Bytes) -> StrBytes {
    match StrBytes::from_utf8(bytes.clone()) {
        Ok(text) => text,
        Err(_) => StrBytes::from_string(String::from_utf8_lossy(&bytes).into_owned()),
    }
}

fn skip_tagged_fields(frame: &mut Bytes) -> Result<(), HeaderError> {
    let count = crate::varint::get_unsigned(frame).ok_or(HeaderError::TaggedField)?;
    for _ in 0..count {
        crate::varint::get_unsigned(frame).ok_or(HeaderError::TaggedField)?;
        let size = crate::varint::get_unsigned(frame).ok_or(HeaderError::TaggedField)? as usize;
        if frame.len() < size {
            return Err(HeaderError::TaggedField);
        }
        frame.advance(size);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(key: i16, version: i16, client_id: Option<&[u8]>, rest: &[u8]) -> Bytes {
        let mut frame = Vec::new();
        frame.extend_from_slice(&key.to_be_bytes());
        frame.extend_from_slice(&version.to_be_bytes());
        frame.extend_from_slice(&77i32.to_be_bytes());
        frame.extend_from_slice(&client_id.map_or(-1, |id| id.len() as i16).to_be_bytes());
        frame.extend_from_slice(client_id.unwrap_or_default());
        frame.extend_from_slice(rest);
        Bytes::from(frame)
    }

    #[test]
    fn both_header_versions() {
        let old = parse_header(header(api::METADATA, 1, Some(b"me"), b"body")).expect("valid");
        assert_eq!((old.api_key, old.api_version, old.correlation_id, &*old.body), (3, 1, 77, &b"body"[..]));
        assert_eq!(old.client_id.as_deref(), Some("me"));
        // Two tagged fields: tag 5 of 3 bytes, tag 900 of none.
        let new = parse_header(header(api::METADATA, 12, None, b"\x02\x05\x03xyz\x84\x07\x00body")).expect("valid");
        assert_eq!((new.client_id, &*new.body), (None, &b"body"[..]));
    }

    #[test]
    fn unknown_api_versions_still_have_a_header() {
        let request = parse_header(header(api::API_VERSIONS, 99, Some(b"me"), b"\xff\xff")).expect("answered with UNSUPPORTED_VERSION");
        assert_eq!((request.api_version, request.correlation_id), (99, 77));
    }

    #[test]
    fn client_ids_that_are_no_text() {
        let request = parse_header(header(api::METADATA, 1, Some(b"a\xffb"), b"")).expect("valid");
        assert_eq!(request.client_id.as_deref(), Some("a\u{fffd}b"));
    }

    #[test]
    fn malformed_headers() {
        let error = |frame: Bytes| parse_header(frame).map(|_| ()).expect_err("malformed");
        let whole = header(api::METADATA, 12, Some(b"me"), b"\x01\x05\x03xyz");
        for cut in 0..whole.len() {
            assert!(matches!(error(whole.slice(..cut)), HeaderError::Truncated | HeaderError::TaggedField), "{cut}");
        }
        assert_eq!(error(header(999, 0, None, b"")), HeaderError::UnknownApi(999));
        assert_eq!(error(header(api::METADATA, 12, None, b"\xff\xff\xff\xff\x7f")), HeaderError::TaggedField);
    }
}
