//! Random well-formed messages, written from the guard's tables: where tests and fuzzers start from.

use super::schema::{self, Field, Message, Shape};
use crate::varint::put_unsigned;
use odradek_base::Rng;

/// Elements per array, at most.
const ELEMENTS_MAX: u64 = 3;

/// The body of a request with every field of the version present; `None` where the version has no schema.
pub fn request(api_key: i16, version: i16, rng: &mut Rng) -> Option<Vec<u8>> {
    schema::request(api_key, version).map(|message| body(message, version, rng))
}

/// The body of a response; as [`request`].
pub fn response(api_key: i16, version: i16, rng: &mut Rng) -> Option<Vec<u8>> {
    schema::response(api_key, version).map(|message| body(message, version, rng))
}

fn body(message: Message, version: i16, rng: &mut Rng) -> Vec<u8> {
    let mut writer = Writer { out: Vec::new(), version, flexible: message.flexible, rng };
    writer.fields(message.fields);
    writer.out
}

struct Writer<'a> {
    out: Vec<u8>,
    version: i16,
    flexible: bool,
    rng: &'a mut Rng,
}

impl Writer<'_> {
    fn fields(&mut self, fields: &'static [Field]) {
        let version = self.version;
        let here = |field: &&Field| field.exists_in(version);
        for field in fields.iter().filter(here).filter(|field| field.tag.is_none()) {
            self.shape(&field.shape);
        }
        if !self.flexible {
            return;
        }
        let tagged: Vec<_> = fields.iter().filter(here).filter_map(|field| Some((field.tag?, field))).collect();
        let unknown = self.rng.chance(4);
        put_unsigned(&mut self.out, tagged.len() as u64 + u64::from(unknown));
        for (tag, field) in tagged {
            let outer = std::mem::take(&mut self.out);
            self.shape(&field.shape);
            let value = std::mem::replace(&mut self.out, outer);
            self.tagged(tag, &value);
        }
        if unknown {
            self.tagged(100, b"unknown");
        }
    }

    fn tagged(&mut self, tag: u32, value: &[u8]) {
        put_unsigned(&mut self.out, u64::from(tag));
        put_unsigned(&mut self.out, value.len() as u64);
        self.out.extend_from_slice(value);
    }

    fn shape(&mut self, shape: &'static Shape) {
        match shape {
            Shape::Fixed(bytes) => {
                // Small numbers, so that booleans and codes are plausible.
                let value = self.rng.below(3) as u8;
                self.out.extend(std::iter::repeat_n(0, bytes - 1));
                self.out.push(value);
            }
            Shape::String => {
                let length = self.rng.below(6) as usize;
                self.length(length, 2);
                self.out.extend(std::iter::repeat_n(b's', length));
            }
            Shape::Bytes => {
                let length = self.rng.below(9) as usize;
                self.length(length, 4);
                self.out.extend(std::iter::repeat_n(0xbb, length));
            }
            Shape::Array(element) => {
                let count = self.rng.below(ELEMENTS_MAX + 1) as usize;
                self.length(count, 4);
                for _ in 0..count {
                    self.shape(&element.shape);
                }
            }
            Shape::Struct(fields) => self.fields(fields),
            Shape::Optional(fields) => {
                self.out.push(1);
                self.fields(fields);
            }
        }
    }

    fn length(&mut self, length: usize, old_bytes: usize) {
        if self.flexible {
            put_unsigned(&mut self.out, length as u64 + 1);
        } else {
            self.out.extend_from_slice(&(length as u32).to_be_bytes()[4 - old_bytes..]);
        }
    }
}
