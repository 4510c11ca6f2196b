//! The language the guard's tables are written in: shapes of fields and the versions that have them.

use super::{requests, responses};
use crate::api;

/// What a field looks like on the wire, as far as lengths go.
#[derive(Debug)]
pub(super) enum Shape {
    /// Always this many bytes.
    Fixed(usize),
    /// Length, then text: 16-bit or compact.
    String,
    /// Length, then bytes: 32-bit or compact.
    Bytes,
    Array(&'static Field),
    Struct(&'static [Field]),
    /// A byte, 1 when a struct follows.
    Optional(&'static [Field]),
}

/// A field, the versions it exists in, and its tag where it is a tagged field.
#[derive(Debug)]
pub(super) struct Field {
    pub shape: Shape,
    from: i16,
    until: i16,
    pub tag: Option<u32>,
}

impl Field {
    const fn new(shape: Shape) -> Self {
        Self { shape, from: 0, until: i16::MAX, tag: None }
    }

    pub(super) const fn from(mut self, version: i16) -> Self {
        self.from = version;
        self
    }

    pub(super) const fn until(mut self, version: i16) -> Self {
        self.until = version;
        self
    }

    pub(super) const fn between(self, from: i16, until: i16) -> Self {
        self.from(from).until(until)
    }

    pub(super) const fn tag(mut self, tag: u32) -> Self {
        self.tag = Some(tag);
        self
    }

    pub(super) fn exists_in(&self, version: i16) -> bool {
        self.from <= version && version <= self.until
    }
}

pub(super) const BOOLEAN: Field = Field::new(Shape::Fixed(1));
pub(super) const INT8: Field = Field::new(Shape::Fixed(1));
pub(super) const INT16: Field = Field::new(Shape::Fixed(2));
pub(super) const UINT16: Field = Field::new(Shape::Fixed(2));
pub(super) const INT32: Field = Field::new(Shape::Fixed(4));
pub(super) const INT64: Field = Field::new(Shape::Fixed(8));
pub(super) const FLOAT64: Field = Field::new(Shape::Fixed(8));
pub(super) const UUID: Field = Field::new(Shape::Fixed(16));
pub(super) const STRING: Field = Field::new(Shape::String);
pub(super) const BYTES: Field = Field::new(Shape::Bytes);

pub(super) const fn array(element: &'static Field) -> Field {
    Field::new(Shape::Array(element))
}

pub(super) const fn record(fields: &'static [Field]) -> Field {
    Field::new(Shape::Struct(fields))
}

pub(super) const fn optional(fields: &'static [Field]) -> Field {
    Field::new(Shape::Optional(fields))
}

/// The fields of one message over its versions.
#[derive(Debug)]
pub(super) struct Schema {
    pub key: i16,
    pub min: i16,
    pub max: i16,
    pub fields: &'static [Field],
}

pub(super) const fn schema(key: i16, min: i16, max: i16, fields: &'static [Field]) -> Schema {
    Schema { key, min, max, fields }
}

/// A message's fields and whether its encoding is flexible.
#[derive(Debug, Clone, Copy)]
pub(super) struct Message {
    pub fields: &'static [Field],
    pub flexible: bool,
}

fn find(table: &'static [Schema], key: i16) -> Option<&'static Schema> {
    table.binary_search_by_key(&key, |schema| schema.key).ok().and_then(|at| table.get(at))
}

fn message(table: &'static [Schema], key: i16, version: i16) -> Option<Message> {
    let schema = find(table, key).filter(|schema| (schema.min..=schema.max).contains(&version))?;
    Some(Message { fields: schema.fields, flexible: api::flexible(key, version)? })
}

pub(super) fn request(key: i16, version: i16) -> Option<Message> {
    message(requests::REQUESTS, key, version)
}

pub(super) fn response(key: i16, version: i16) -> Option<Message> {
    message(responses::RESPONSES, key, version)
}

/// Lowest and highest version of the request that can be decoded.
pub fn request_versions(key: i16) -> Option<(i16, i16)> {
    find(requests::REQUESTS, key).map(|schema| (schema.min, schema.max))
}

/// Lowest and highest version of the response that can be decoded.
pub fn response_versions(key: i16) -> Option<(i16, i16)> {
    find(responses::RESPONSES, key).map(|schema| (schema.min, schema.max))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_sorted_and_cover_what_is_served() {
        assert!(requests::REQUESTS.is_sorted_by_key(|schema| schema.key));
        assert!(responses::RESPONSES.is_sorted_by_key(|schema| schema.key));
        for row in api::SUPPORTED {
            let min = if row.key == api::PRODUCE { api::PRODUCE_VERSION_MIN } else { row.min };
            for versions in [request_versions(row.key), response_versions(row.key)] {
                let (low, high) = versions.expect("a schema");
                assert!(low <= min && high >= row.max, "{}", api::name(row.key));
            }
        }
    }
}
