//! Kafka's flexible-version primitives, as metadata records use them: big-endian numbers, unsigned varints, compact
//! strings and arrays, tagged fields.

use super::RecordError;
use bytes::{BufMut, Bytes, BytesMut};
use odradek_base::{BrokerId, TopicId};
use uuid::Uuid;

/// Bytes of an unsigned varint that holds 32 bits.
const VARINT_BYTES_MAX: usize = 5;

/// Tagged fields of one structure; Kafka's records have fewer than ten.
const TAGS_MAX: u32 = 1024;

#[derive(Default)]
pub(super) struct Writer {
    out: BytesMut,
}

impl Writer {
    pub fn finish(self) -> Bytes {
        self.out.freeze()
    }

    pub fn varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.out.put_u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.out.put_u8(value as u8);
    }

    pub fn i8(&mut self, value: i8) {
        self.out.put_i8(value);
    }

    pub fn bool(&mut self, value: bool) {
        self.out.put_i8(i8::from(value));
    }

    pub fn i16(&mut self, value: i16) {
        self.out.put_i16(value);
    }

    pub fn u16(&mut self, value: u16) {
        self.out.put_u16(value);
    }

    pub fn i32(&mut self, value: i32) {
        self.out.put_i32(value);
    }

    pub fn i64(&mut self, value: i64) {
        self.out.put_i64(value);
    }

    pub fn uuid(&mut self, value: Uuid) {
        self.out.put_slice(value.as_bytes());
    }

    pub fn string(&mut self, value: &str) {
        self.length(value.len());
        self.out.put_slice(value.as_bytes());
    }

    pub fn nullable_string(&mut self, value: Option<&str>) {
        match value {
            Some(value) => self.string(value),
            None => self.varint(0),
        }
    }

    /// Length of a compact string or array that is not null.
    pub fn length(&mut self, length: usize) {
        let length = u32::try_from(length).ok().and_then(|length| length.checked_add(1)).expect("metadata records are small");
        self.varint(length);
    }

    pub fn brokers(&mut self, brokers: &[BrokerId]) {
        self.length(brokers.len());
        brokers.iter().for_each(|broker| self.i32(broker.get()));
    }

    pub fn uuids(&mut self, uuids: &[Uuid]) {
        self.length(uuids.len());
        uuids.iter().for_each(|&uuid| self.uuid(uuid));
    }

    /// Tagged fields, in ascending order of their tags.
    pub fn tags(&mut self, fields: Vec<(u32, Bytes)>) {
        assert!(fields.windows(2).all(|pair| pair[0].0 < pair[1].0), "tags must ascend");
        self.varint(fields.len() as u32);
        for (tag, bytes) in fields {
            self.varint(tag);
            self.varint(u32::try_from(bytes.len()).expect("metadata records are small"));
            self.out.put_slice(&bytes);
        }
    }
}

/// One tagged field's bytes.
pub(super) fn field(write: impl FnOnce(&mut Writer)) -> Bytes {
    let mut writer = Writer::default();
    write(&mut writer);
    writer.finish()
}

/// Reads what a disk said: every length is checked against what is there before anything is allocated.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], RecordError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(RecordError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], RecordError> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(RecordError::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    pub fn varint(&mut self) -> Result<u32, RecordError> {
        let mut value = 0u64;
        for index in 0..VARINT_BYTES_MAX {
            let [byte] = self.array()?;
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                return u32::try_from(value).map_err(|_| RecordError::Malformed("a varint exceeds 32 bits"));
            }
        }
        Err(RecordError::Malformed("a varint is longer than 5 bytes"))
    }

    pub fn i8(&mut self) -> Result<i8, RecordError> {
        self.array().map(i8::from_be_bytes)
    }

    pub fn bool(&mut self) -> Result<bool, RecordError> {
        Ok(self.i8()? != 0)
    }

    pub fn i16(&mut self) -> Result<i16, RecordError> {
        self.array().map(i16::from_be_bytes)
    }

    pub fn u16(&mut self) -> Result<u16, RecordError> {
        self.array().map(u16::from_be_bytes)
    }

    pub fn i32(&mut self) -> Result<i32, RecordError> {
        self.array().map(i32::from_be_bytes)
    }

    pub fn i64(&mut self) -> Result<i64, RecordError> {
        self.array().map(i64::from_be_bytes)
    }

    pub fn uuid(&mut self) -> Result<Uuid, RecordError> {
        self.array().map(Uuid::from_bytes)
    }

    pub fn topic_id(&mut self) -> Result<TopicId, RecordError> {
        self.uuid().map(TopicId)
    }

    pub fn nullable_string(&mut self) -> Result<Option<String>, RecordError> {
        let Some(length) = self.varint()?.checked_sub(1) else { return Ok(None) };
        let bytes = self.take(length as usize)?;
        let text = std::str::from_utf8(bytes).map_err(|_| RecordError::Malformed("a string is not UTF-8"))?;
        Ok(Some(text.to_owned()))
    }

    pub fn string(&mut self) -> Result<String, RecordError> {
        self.nullable_string()?.ok_or(RecordError::Malformed("a string is null that must not be"))
    }

    /// Elements of a compact array of which each takes at least `least_bytes`; `None` for null.
    fn nullable_count(&mut self, least_bytes: usize) -> Result<Option<usize>, RecordError> {
        let Some(count) = self.varint()?.checked_sub(1) else { return Ok(None) };
        let count = count as usize;
        if count > self.rest.len() / least_bytes {
            return Err(RecordError::Truncated);
        }
        Ok(Some(count))
    }

    pub fn list<T>(
        &mut self,
        least_bytes: usize,
        mut read: impl FnMut(&mut Self) -> Result<T, RecordError>,
    ) -> Result<Option<Vec<T>>, RecordError> {
        let Some(count) = self.nullable_count(least_bytes)? else { return Ok(None) };
        let mut items = Vec::with_capacity(count);
        for _ in 0..count {
            items.push(read(self)?);
        }
        Ok(Some(items))
    }

    pub fn nullable_brokers(&mut self) -> Result<Option<Vec<BrokerId>>, RecordError> {
        self.list(4, |reader| reader.i32().map(BrokerId))
    }

    pub fn brokers(&mut self) -> Result<Vec<BrokerId>, RecordError> {
        self.nullable_brokers()?.ok_or(RecordError::Malformed("a list of brokers is null that must not be"))
    }

    pub fn nullable_uuids(&mut self) -> Result<Option<Vec<Uuid>>, RecordError> {
        self.list(16, Self::uuid)
    }

    pub fn uuids(&mut self) -> Result<Vec<Uuid>, RecordError> {
        self.nullable_uuids()?.ok_or(RecordError::Malformed("a list of ids is null that must not be"))
    }

    /// Hands each tagged field to `take`, which ignores those it does not know.
    pub fn tags(&mut self, mut take: impl FnMut(u32, &mut Reader<'a>) -> Result<(), RecordError>) -> Result<(), RecordError> {
        let count = self.varint()?;
        if count > TAGS_MAX {
            return Err(RecordError::Malformed("too many tagged fields"));
        }
        for _ in 0..count {
            let tag = self.varint()?;
            let length = self.varint()? as usize;
            let mut field = Reader::new(self.take(length)?);
            take(tag, &mut field)?;
        }
        Ok(())
    }

    pub fn no_tags(&mut self) -> Result<(), RecordError> {
        self.tags(|_, _| Ok(()))
    }
}
