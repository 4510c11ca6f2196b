//! The walk that proves a message's lengths before memory is reserved for them.

use super::schema::{Field, Message, Shape};
use super::{ARRAY_ELEMENTS_MAX, DecodeError};
use crate::varint;

/// Walks `bytes` as `message`; the bytes it takes up.
pub(super) fn check(bytes: &[u8], message: Message, version: i16) -> Result<usize, DecodeError> {
    let mut walk = Walk { rest: bytes, flexible: message.flexible, version, elements_left: ARRAY_ELEMENTS_MAX };
    walk.fields(message.fields)?;
    Ok(bytes.len() - walk.rest.len())
}

struct Walk<'a> {
    rest: &'a [u8],
    flexible: bool,
    version: i16,
    elements_left: usize,
}

impl Walk<'_> {
    /// A struct. Its depth is that of the schema.
    fn fields(&mut self, fields: &'static [Field]) -> Result<(), DecodeError> {
        let version = self.version;
        for field in fields.iter().filter(|field| field.tag.is_none() && field.exists_in(version)) {
            self.shape(&field.shape)?;
        }
        if self.flexible { self.tagged_fields(fields) } else { Ok(()) }
    }

    fn shape(&mut self, shape: &'static Shape) -> Result<(), DecodeError> {
        match shape {
            Shape::Fixed(bytes) => self.skip(*bytes),
            Shape::String => {
                let length = self.length(Self::short)?;
                self.skip(length.unwrap_or(0))
            }
            Shape::Bytes => {
                let length = self.length(Self::int)?;
                self.skip(length.unwrap_or(0))
            }
            Shape::Struct(fields) => self.fields(fields),
            Shape::Optional(fields) => {
                let present = self.rest.first() == Some(&1);
                self.skip(1)?;
                if present { self.fields(fields) } else { Ok(()) }
            }
            Shape::Array(element) => self.array(element),
        }
    }

    fn array(&mut self, element: &'static Field) -> Result<(), DecodeError> {
        let Some(count) = self.length(Self::int)? else { return Ok(()) };
        let least = bytes_min(&element.shape, self.version, self.flexible).max(1);
        if count > self.rest.len() / least {
            return Err(DecodeError::Array { count, bytes: self.rest.len() });
        }
        if let Shape::Fixed(bytes) = element.shape {
            return self.skip(count * bytes);
        }
        self.elements(count)?;
        for _ in 0..count {
            self.shape(&element.shape)?;
        }
        Ok(())
    }

    fn elements(&mut self, count: usize) -> Result<(), DecodeError> {
        self.elements_left = self.elements_left.checked_sub(count).ok_or(DecodeError::TooManyElements)?;
        Ok(())
    }

    /// A tag section. kafka-protocol reads a known field wherever it ends, so its size must be the claimed one.
    fn tagged_fields(&mut self, fields: &'static [Field]) -> Result<(), DecodeError> {
        let count = self.unsigned()? as usize;
        if count > self.rest.len() / 2 {
            return Err(DecodeError::Array { count, bytes: self.rest.len() });
        }
        self.elements(count)?;
        for _ in 0..count {
            let tag = self.unsigned()?;
            let size = self.unsigned()? as usize;
            let known = fields.iter().find(|field| field.tag == Some(tag) && field.exists_in(self.version));
            match known {
                None => self.skip(size)?,
                Some(field) => {
                    let before = self.rest.len();
                    self.shape(&field.shape)?;
                    if before - self.rest.len() != size {
                        return Err(DecodeError::TaggedField);
                    }
                }
            }
        }
        Ok(())
    }

    fn length(&mut self, old: impl FnOnce(&mut Self) -> Result<i32, DecodeError>) -> Result<Option<usize>, DecodeError> {
        if self.flexible {
            return Ok((self.unsigned()? as usize).checked_sub(1));
        }
        match old(self)? {
            -1 => Ok(None),
            length => usize::try_from(length).map(Some).map_err(|_| DecodeError::Length),
        }
    }

    fn short(&mut self) -> Result<i32, DecodeError> {
        let bytes = *self.rest.first_chunk::<2>().ok_or(DecodeError::Truncated)?;
        self.skip(2)?;
        Ok(i32::from(i16::from_be_bytes(bytes)))
    }

    fn int(&mut self) -> Result<i32, DecodeError> {
        let bytes = *self.rest.first_chunk::<4>().ok_or(DecodeError::Truncated)?;
        self.skip(4)?;
        Ok(i32::from_be_bytes(bytes))
    }

    fn unsigned(&mut self) -> Result<u32, DecodeError> {
        varint::get_unsigned(&mut self.rest).ok_or(DecodeError::Length)
    }

    fn skip(&mut self, bytes: usize) -> Result<(), DecodeError> {
        self.rest = self.rest.get(bytes..).ok_or(DecodeError::Truncated)?;
        Ok(())
    }
}

/// Fewest bytes of a value of this shape.
fn bytes_min(shape: &Shape, version: i16, flexible: bool) -> usize {
    match shape {
        Shape::Fixed(bytes) => *bytes,
        Shape::String => {
            if flexible {
                1
            } else {
                2
            }
        }
        Shape::Bytes | Shape::Array(_) => {
            if flexible {
                1
            } else {
                4
            }
        }
        Shape::Optional(_) => 1,
        Shape::Struct(fields) => {
            let here = fields.iter().filter(|field| field.tag.is_none() && field.exists_in(version));
            usize::from(flexible) + here.map(|field| bytes_min(&field.shape, version, flexible)).sum::<usize>()
        }
    }
}
