//! Framing, record batches and the only door to kafka-protocol.
//!
//! Purpose: everything between bytes and Kafka's messages. Frames and headers ([`frame`], [`request`]), which APIs at which versions
//! ([`api`]), messages in both directions ([`decode()`], [`encode_response`], [`encode_request`]), fast paths for [`produce`] and
//! [`fetch`], record batches ([`batch`]) with their validation ([`batch::validate`](mod@batch::validate)), single [`records`], and
//! the codecs ([`compress`]).
//!
//! Invariants: bytes of a peer never panic and never make this crate allocate more than a small multiple of themselves, except for
//! what codecs expand, which callers bound. Valid batches pass through byte for byte. Nothing is kept beyond a call except in
//! [`frame::FrameReader`] and [`batch::Validator`], which belong to one connection each.
//!
//! Owner: none, no state is shared; every type may be used on any one thread. No I/O, no clock: `now` is an argument.
//!
//! Failure behaviour: peer errors are values, one enum per operation; batch errors carry Kafka's error code. Messages of our own that
//! no version can carry, and batches over 2 GiB, are broken invariants and panic.

pub mod api;
pub mod batch;
pub mod compress;
pub mod decode;
mod encode;
pub mod fetch;
pub mod fields;
pub mod frame;
mod newer;
pub mod produce;
pub mod records;
pub mod request;
pub mod varint;

pub use decode::{DecodeError, decode, decode_response, response_header};
pub use encode::{EncodeError, encode_request, encode_response};
pub use kafka_protocol::ResponseError as ErrorCode;
pub use kafka_protocol::messages;
pub use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Message, Request as RequestMessage, StrBytes};
pub use request::{HeaderError, Request, parse_header};
