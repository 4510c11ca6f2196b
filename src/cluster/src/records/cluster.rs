//! Configs, features, producer ids, and records that frame a batch.

use super::RecordError;
use super::codec::{Reader, Writer, field};
use odradek_base::BrokerId;

/// `ConfigRecord`, type 4: one config of one resource; without a value it is back to its default.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigRecord {
    /// `ConfigResource.Type`: 2 topic, 4 broker, 16 client metrics, 32 group.
    pub resource_type: i8,
    /// Empty for the cluster-wide default of brokers.
    pub resource_name: String,
    pub name: String,
    pub value: Option<String>,
}

impl ConfigRecord {
    pub(super) fn write(&self, out: &mut Writer) {
        out.i8(self.resource_type);
        out.string(&self.resource_name);
        out.string(&self.name);
        out.nullable_string(self.value.as_deref());
        out.tags(Vec::new());
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, RecordError> {
        let record =
            Self { resource_type: reader.i8()?, resource_name: reader.string()?, name: reader.string()?, value: reader.nullable_string()? };
        reader.no_tags()?;
        Ok(record)
    }
}

/// `FeatureLevelRecord`, type 12; level 0 removes the feature.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FeatureLevelRecord {
    pub name: String,
    pub level: i16,
}

impl FeatureLevelRecord {
    pub(super) fn write(&self, out: &mut Writer) {
        out.string(&self.name);
        out.i16(self.level);
        out.tags(Vec::new());
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, RecordError> {
        let record = Self { name: reader.string()?, level: reader.i16()? };
        reader.no_tags()?;
        Ok(record)
    }
}

/// `ProducerIdsRecord`, type 15: all ids below are given away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProducerIdsRecord {
    pub broker: BrokerId,
    pub broker_epoch: i64,
    pub next_producer_id: i64,
}

impl ProducerIdsRecord {
    pub(super) fn write(&self, out: &mut Writer) {
        out.i32(self.broker.get());
        out.i64(self.broker_epoch);
        out.i64(self.next_producer_id);
        out.tags(Vec::new());
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, RecordError> {
        let record = Self { broker: BrokerId(reader.i32()?), broker_epoch: reader.i64()?, next_producer_id: reader.i64()? };
        reader.no_tags()?;
        Ok(record)
    }
}

/// `BeginTransactionRecord` (23) and `AbortTransactionRecord` (25): nothing but an optional text for people.
pub(super) fn write_note(note: Option<&str>, out: &mut Writer) {
    out.tags(note.map(|note| (0, field(|out| out.string(note)))).into_iter().collect());
}

pub(super) fn read_note(reader: &mut Reader<'_>) -> Result<Option<String>, RecordError> {
    let mut note = None;
    reader.tags(|tag, field| {
        if tag == 0 {
            note = field.nullable_string()?;
        }
        Ok(())
    })?;
    Ok(note)
}
