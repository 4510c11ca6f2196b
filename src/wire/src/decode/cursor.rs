//! Reading fields of a message as slices of the frame.

use super::DecodeError;
use crate::{StrBytes, varint};
use bytes::{Buf, Bytes};
use uuid::Uuid;

/// A position in a message, in either encoding.
pub(crate) struct Cursor<'a> {
    bytes: &'a Bytes,
    at: usize,
    flexible: bool,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a Bytes, flexible: bool) -> Self {
        Self { bytes, at: 0, flexible }
    }

    pub(crate) fn position(&self) -> usize {
        self.at
    }

    fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let value = *self.rest().first_chunk::<N>().ok_or(DecodeError::Truncated)?;
        self.at += N;
        Ok(value)
    }

    pub(crate) fn i16(&mut self) -> Result<i16, DecodeError> {
        self.fixed().map(i16::from_be_bytes)
    }

    pub(crate) fn i32(&mut self) -> Result<i32, DecodeError> {
        self.fixed().map(i32::from_be_bytes)
    }

    pub(crate) fn i64(&mut self) -> Result<i64, DecodeError> {
        self.fixed().map(i64::from_be_bytes)
    }

    pub(crate) fn bool(&mut self) -> Result<bool, DecodeError> {
        self.fixed::<1>().map(|byte| byte != [0])
    }

    pub(crate) fn uuid(&mut self) -> Result<Uuid, DecodeError> {
        self.fixed().map(Uuid::from_bytes)
    }

    fn unsigned(&mut self) -> Result<u32, DecodeError> {
        let mut rest = self.rest();
        let before = rest.len();
        let value = varint::get_unsigned(&mut rest).ok_or(if before < varint::VARINT_BYTES_MAX {
            DecodeError::Truncated
        } else {
            DecodeError::Length
        })?;
        self.at += before - rest.remaining();
        Ok(value)
    }

    /// A length in the flexible encoding, or what the older one reads; `None` is null.
    fn length(&mut self, short: impl FnOnce(&mut Self) -> Result<i32, DecodeError>) -> Result<Option<usize>, DecodeError> {
        if self.flexible {
            return Ok((self.unsigned()? as usize).checked_sub(1));
        }
        match short(self)? {
            -1 => Ok(None),
            length => usize::try_from(length).map(Some).map_err(|_| DecodeError::Length),
        }
    }

    fn take(&mut self, length: usize) -> Result<Bytes, DecodeError> {
        if self.rest().len() < length {
            return Err(DecodeError::Truncated);
        }
        let taken = self.bytes.slice(self.at..self.at + length);
        self.at += length;
        Ok(taken)
    }

    pub(crate) fn nullable_string(&mut self) -> Result<Option<StrBytes>, DecodeError> {
        match self.length(|cursor| cursor.i16().map(i32::from))? {
            None => Ok(None),
            Some(length) => StrBytes::from_utf8(self.take(length)?).map(Some).map_err(|_| DecodeError::Utf8),
        }
    }

    pub(crate) fn string(&mut self) -> Result<StrBytes, DecodeError> {
        self.nullable_string()?.ok_or(DecodeError::Null)
    }

    pub(crate) fn nullable_bytes(&mut self) -> Result<Option<Bytes>, DecodeError> {
        match self.length(Self::i32)? {
            None => Ok(None),
            Some(length) => self.take(length).map(Some),
        }
    }

    /// The length of an array whose elements have at least `element_bytes_min` bytes: proven to fit in what follows.
    pub(crate) fn nullable_array_length(&mut self, element_bytes_min: usize) -> Result<Option<usize>, DecodeError> {
        let Some(count) = self.length(Self::i32)? else { return Ok(None) };
        let bytes = self.rest().len();
        if count > bytes / element_bytes_min.max(1) {
            return Err(DecodeError::Array { count, bytes });
        }
        Ok(Some(count))
    }

    pub(crate) fn array_length(&mut self, element_bytes_min: usize) -> Result<usize, DecodeError> {
        self.nullable_array_length(element_bytes_min)?.ok_or(DecodeError::Null)
    }

    /// Skips a tag section; nothing in encodings without.
    pub(crate) fn tagged_fields(&mut self) -> Result<(), DecodeError> {
        if !self.flexible {
            return Ok(());
        }
        for _ in 0..self.unsigned()? {
            self.unsigned()?;
            let size = self.unsigned()? as usize;
            if self.rest().len() < size {
                return Err(DecodeError::TaggedField);
            }
            self.at += size;
        }
        Ok(())
    }
}
