//! Reading and writing the primitive types of Kafka's message formats, for records of internal topics.
//!
//! Bytes come from disk and are never trusted: every read checks what is left, and no length allocates more
//! than the record has bytes.

use bytes::{BufMut, Bytes, BytesMut};
use odradek_base::TopicId;
use uuid::Uuid;

/// Why a field could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    #[error("the record ends early")]
    Truncated,
    #[error("a length of {0} does not fit the record")]
    BadLength(i64),
    #[error("a string is not UTF-8")]
    NotUtf8,
    #[error("a field that may not be null is null")]
    Null,
}

pub type Read<T> = Result<T, FieldError>;

pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub fn take(&mut self, count: usize) -> Read<&'a [u8]> {
        let (head, tail) = self.rest.split_at_checked(count).ok_or(FieldError::Truncated)?;
        self.rest = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Read<[u8; N]> {
        let (head, tail) = self.rest.split_first_chunk::<N>().ok_or(FieldError::Truncated)?;
        self.rest = tail;
        Ok(*head)
    }

    pub fn i8(&mut self) -> Read<i8> {
        Ok(i8::from_be_bytes(self.array()?))
    }

    pub fn i16(&mut self) -> Read<i16> {
        Ok(i16::from_be_bytes(self.array()?))
    }

    pub fn i32(&mut self) -> Read<i32> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    pub fn i64(&mut self) -> Read<i64> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    pub fn topic_id(&mut self) -> Read<TopicId> {
        Ok(TopicId(Uuid::from_bytes(self.array()?)))
    }

    pub fn uvarint(&mut self) -> Read<u32> {
        let mut value = 0u32;
        for shift in (0..32).step_by(7) {
            let [byte] = self.array()?;
            // The fifth byte may carry only the top four bits.
            if shift == 28 && byte > 0x0f {
                return Err(FieldError::BadLength(i64::from(byte)));
            }
            value |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(FieldError::BadLength(i64::from(value)))
    }

    /// Length of a string: `None` for null. Compact lengths are stored plus one.
    fn length(&mut self, width: Width, compact: bool) -> Read<Option<usize>> {
        let length = if compact {
            i64::from(self.uvarint()?) - 1
        } else {
            match width {
                Width::Short => i64::from(self.i16()?),
                Width::Int => i64::from(self.i32()?),
            }
        };
        match length {
            -1 => Ok(None),
            n if n >= 0 && n as u64 <= self.rest.len() as u64 => Ok(Some(n as usize)),
            n => Err(FieldError::BadLength(n)),
        }
    }

    pub fn nullable_string(&mut self, compact: bool) -> Read<Option<&'a str>> {
        let Some(length) = self.length(Width::Short, compact)? else { return Ok(None) };
        std::str::from_utf8(self.take(length)?).map(Some).map_err(|_| FieldError::NotUtf8)
    }

    pub fn string(&mut self, compact: bool) -> Read<&'a str> {
        self.nullable_string(compact)?.ok_or(FieldError::Null)
    }

    pub fn bytes(&mut self, compact: bool) -> Read<&'a [u8]> {
        let length = self.length(Width::Int, compact)?.ok_or(FieldError::Null)?;
        self.take(length)
    }

    /// Number of elements of an array; `None` for null. Each element takes at least one byte.
    pub fn nullable_count(&mut self, compact: bool) -> Read<Option<usize>> {
        self.length(Width::Int, compact)
    }

    pub fn count(&mut self, compact: bool) -> Read<usize> {
        self.nullable_count(compact)?.ok_or(FieldError::Null)
    }

    /// Reads the tagged fields of a flexible version, handing each to `field`.
    pub fn tags(&mut self, mut field: impl FnMut(u32, &mut Reader<'a>) -> Read<()>) -> Read<()> {
        for _ in 0..self.uvarint()? {
            let tag = self.uvarint()?;
            let length = self.uvarint()? as usize;
            field(tag, &mut Reader::new(self.take(length)?))?;
        }
        Ok(())
    }

    pub fn skip_tags(&mut self) -> Read<()> {
        self.tags(|_, _| Ok(()))
    }
}

enum Width {
    Short,
    Int,
}

/// Appends Kafka's primitive types. Strings longer than the format's length field cannot occur: they came in
/// through requests with the same limit.
#[derive(Default)]
pub struct Writer {
    out: BytesMut,
}

impl Writer {
    pub fn with_capacity(bytes: usize) -> Self {
        Self { out: BytesMut::with_capacity(bytes) }
    }

    pub fn finish(self) -> Bytes {
        self.out.freeze()
    }

    pub fn i8(&mut self, value: i8) {
        self.out.put_i8(value);
    }

    pub fn i16(&mut self, value: i16) {
        self.out.put_i16(value);
    }

    pub fn i32(&mut self, value: i32) {
        self.out.put_i32(value);
    }

    pub fn i64(&mut self, value: i64) {
        self.out.put_i64(value);
    }

    pub fn topic_id(&mut self, id: TopicId) {
        self.out.put_slice(id.0.as_bytes());
    }

    pub fn uvarint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.out.put_u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.out.put_u8(value as u8);
    }

    pub fn string(&mut self, text: &str) {
        let length = i16::try_from(text.len()).expect("a string from a request fits its length field");
        self.i16(length);
        self.out.put_slice(text.as_bytes());
    }

    pub fn nullable_string(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.string(text),
            None => self.i16(-1),
        }
    }

    pub fn bytes(&mut self, bytes: &[u8]) {
        self.i32(length_i32(bytes.len()));
        self.out.put_slice(bytes);
    }

    pub fn count(&mut self, count: usize) {
        self.i32(length_i32(count));
    }

    pub fn compact_string(&mut self, text: &str) {
        self.compact_count(text.len());
        self.out.put_slice(text.as_bytes());
    }

    pub fn compact_nullable_string(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.compact_string(text),
            None => self.uvarint(0),
        }
    }

    pub fn compact_count(&mut self, count: usize) {
        self.uvarint(length_i32(count) as u32 + 1);
    }

    pub fn no_tags(&mut self) {
        self.uvarint(0);
    }

    /// Tagged fields, in the order of their tags.
    pub fn tags(&mut self, fields: &[(u32, Bytes)]) {
        self.uvarint(length_i32(fields.len()) as u32);
        for (tag, bytes) in fields {
            self.uvarint(*tag);
            self.uvarint(length_i32(bytes.len()) as u32);
            self.out.put_slice(bytes);
        }
    }
}

fn length_i32(length: usize) -> i32 {
    i32::try_from(length).expect("lengths come from requests below 2 GiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_round_trip_and_overlong_ones_are_refused() {
        for value in [0, 1, 127, 128, 300, u32::MAX] {
            let mut writer = Writer::default();
            writer.uvarint(value);
            assert_eq!(Reader::new(&writer.finish()).uvarint(), Ok(value));
        }
        assert!(Reader::new(&[0xff, 0xff, 0xff, 0xff, 0x1f]).uvarint().is_err());
        assert!(Reader::new(&[0x80; 6]).uvarint().is_err());
        assert_eq!(Reader::new(&[0x80]).uvarint(), Err(FieldError::Truncated));
    }

    #[test]
    fn lengths_beyond_the_record_are_refused() {
        assert_eq!(Reader::new(&[0x7f, 0xff, 1]).string(false), Err(FieldError::BadLength(0x7fff)));
        assert_eq!(Reader::new(&[0xff, 0xfe]).nullable_string(false), Err(FieldError::BadLength(-2)));
        assert_eq!(Reader::new(&[0xff, 0xff]).nullable_string(false), Ok(None));
        assert!(Reader::new(&[0xff, 0xff]).string(false).is_err());
        assert_eq!(Reader::new(&[0x7f, 0xff, 0xff, 0xff]).count(false), Err(FieldError::BadLength(i64::from(i32::MAX))));
        assert_eq!(Reader::new(&[0, 1, 0xff]).string(false), Err(FieldError::NotUtf8));
    }
}
