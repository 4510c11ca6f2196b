//! The records of the metadata log: Kafka's KRaft records with Kafka's schemas and Kafka's framing.
//!
//! | bytes | |
//! |---|---|
//! | unsigned varint | frame version, 1 |
//! | unsigned varint | record type (`apiKey` of Kafka's schema) |
//! | unsigned varint | version of the schema |
//! | rest | fields, flexible encoding |
//!
//! The schemas are those of `metadata/src/main/resources/common/metadata` in Kafka.

mod broker;
mod cluster;
mod codec;
mod topic;

pub use broker::{BrokerRegistrationChangeRecord, EndpointRecord, FeatureRecord, RegisterBrokerRecord, UnregisterBrokerRecord};
pub use cluster::{ConfigRecord, FeatureLevelRecord, ProducerIdsRecord};
pub use topic::{PartitionChangeRecord, PartitionRecord, RemoveTopicRecord, TopicRecord};

use bytes::Bytes;
use codec::{Reader, Writer};

/// `AbstractApiMessageSerde`'s frame version.
const FRAME_VERSION: u32 = 1;

/// Why bytes are no metadata record.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RecordError {
    #[error("the record ends too early")]
    Truncated,
    #[error("the record is malformed: {0}")]
    Malformed(&'static str),
    #[error("frame version {0} is unknown")]
    FrameVersion(u32),
    #[error("record type {0} is unknown")]
    UnknownType(u32),
    #[error("version {version} of record type {record_type} is unknown")]
    UnknownVersion { record_type: u32, version: u32 },
    #[error("bytes follow the record")]
    TrailingBytes,
}

/// One record of the metadata log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MetadataRecord {
    RegisterBroker(RegisterBrokerRecord),
    UnregisterBroker(UnregisterBrokerRecord),
    Topic(TopicRecord),
    Partition(PartitionRecord),
    Config(ConfigRecord),
    PartitionChange(PartitionChangeRecord),
    RemoveTopic(RemoveTopicRecord),
    FeatureLevel(FeatureLevelRecord),
    ProducerIds(ProducerIdsRecord),
    BrokerRegistrationChange(BrokerRegistrationChangeRecord),
    NoOp,
    /// The records up to the end of the transaction belong together (KIP-868).
    BeginTransaction(Option<String>),
    EndTransaction,
    AbortTransaction(Option<String>),
}

impl MetadataRecord {
    /// Kafka's record type and the version that is written.
    const fn type_and_version(&self) -> (u32, u32) {
        match self {
            Self::RegisterBroker(_) => (0, 3),
            Self::UnregisterBroker(_) => (1, 0),
            Self::Topic(_) => (2, 0),
            Self::Partition(_) => (3, 1),
            Self::Config(_) => (4, 0),
            Self::PartitionChange(_) => (5, 1),
            Self::RemoveTopic(_) => (9, 0),
            Self::FeatureLevel(_) => (12, 0),
            Self::ProducerIds(_) => (15, 0),
            Self::BrokerRegistrationChange(_) => (17, 2),
            Self::NoOp => (20, 0),
            Self::BeginTransaction(_) => (23, 0),
            Self::EndTransaction => (24, 0),
            Self::AbortTransaction(_) => (25, 0),
        }
    }

    /// The record with its frame: what goes into the value of a record batch's record.
    pub fn encode(&self) -> Bytes {
        let (record_type, version) = self.type_and_version();
        let mut out = Writer::default();
        out.varint(FRAME_VERSION);
        out.varint(record_type);
        out.varint(version);
        match self {
            Self::RegisterBroker(record) => record.write(&mut out),
            Self::UnregisterBroker(record) => record.write(&mut out),
            Self::Topic(record) => record.write(&mut out),
            Self::Partition(record) => record.write(&mut out),
            Self::Config(record) => record.write(&mut out),
            Self::PartitionChange(record) => record.write(&mut out),
            Self::RemoveTopic(record) => record.write(&mut out),
            Self::FeatureLevel(record) => record.write(&mut out),
            Self::ProducerIds(record) => record.write(&mut out),
            Self::BrokerRegistrationChange(record) => record.write(&mut out),
            Self::NoOp | Self::EndTransaction => out.tags(Vec::new()),
            Self::BeginTransaction(note) | Self::AbortTransaction(note) => cluster::write_note(note.as_deref(), &mut out),
        }
        out.finish()
    }

    /// Kafka's record type, also of records that are not read here.
    ///
    /// # Errors
    /// The bytes are too short, or of another framing.
    pub fn type_of(bytes: &[u8]) -> Result<u32, RecordError> {
        let mut reader = Reader::new(bytes);
        match reader.varint()? {
            FRAME_VERSION => reader.varint(),
            other => Err(RecordError::FrameVersion(other)),
        }
    }

    /// # Errors
    /// The bytes are damaged, or of a newer Kafka.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let mut reader = Reader::new(bytes);
        let frame_version = reader.varint()?;
        if frame_version != FRAME_VERSION {
            return Err(RecordError::FrameVersion(frame_version));
        }
        let record_type = reader.varint()?;
        let version = reader.varint()?;
        let newest = match record_type {
            0 => RegisterBrokerRecord::VERSION_MAX,
            3 => PartitionRecord::VERSION_MAX,
            5 => PartitionChangeRecord::VERSION_MAX,
            17 => BrokerRegistrationChangeRecord::VERSION_MAX,
            _ => 0,
        };
        let reader = &mut reader;
        let record = match record_type {
            0 | 3 | 5 | 17 | 1 | 2 | 4 | 9 | 12 | 15 | 20 | 23..=25 if version > newest => {
                return Err(RecordError::UnknownVersion { record_type, version });
            }
            0 => Self::RegisterBroker(RegisterBrokerRecord::read(reader, version)?),
            1 => Self::UnregisterBroker(UnregisterBrokerRecord::read(reader)?),
            2 => Self::Topic(TopicRecord::read(reader)?),
            3 => Self::Partition(PartitionRecord::read(reader, version)?),
            4 => Self::Config(ConfigRecord::read(reader)?),
            5 => Self::PartitionChange(PartitionChangeRecord::read(reader)?),
            9 => Self::RemoveTopic(RemoveTopicRecord::read(reader)?),
            12 => Self::FeatureLevel(FeatureLevelRecord::read(reader)?),
            15 => Self::ProducerIds(ProducerIdsRecord::read(reader)?),
            17 => Self::BrokerRegistrationChange(BrokerRegistrationChangeRecord::read(reader)?),
            20 => {
                reader.no_tags()?;
                Self::NoOp
            }
            23 => Self::BeginTransaction(cluster::read_note(reader)?),
            24 => {
                reader.no_tags()?;
                Self::EndTransaction
            }
            25 => Self::AbortTransaction(cluster::read_note(reader)?),
            other => return Err(RecordError::UnknownType(other)),
        };
        if reader.is_empty() { Ok(record) } else { Err(RecordError::TrailingBytes) }
    }
}

#[cfg(test)]
mod tests;
