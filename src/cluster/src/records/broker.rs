//! Registrations of brokers.

use super::RecordError;
use super::codec::{Reader, Writer, field};
use odradek_base::BrokerId;
use uuid::Uuid;

/// Least bytes of an endpoint: two empty strings, port, protocol, tags.
const ENDPOINT_BYTES_MIN: usize = 7;

/// Least bytes of a feature: empty string, two levels, tags.
const FEATURE_BYTES_MIN: usize = 6;

/// Where a broker is reached.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EndpointRecord {
    /// Name of the listener.
    pub name: String,
    pub host: String,
    pub port: u16,
    /// `SecurityProtocol.id`: 0 PLAINTEXT, 1 SSL, 2 SASL_PLAINTEXT, 3 SASL_SSL.
    pub security_protocol: i16,
}

/// A feature that a broker supports.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FeatureRecord {
    pub name: String,
    pub min: i16,
    pub max: i16,
}

/// `RegisterBrokerRecord`, type 0, written as version 3. Replaces an earlier registration of the same id.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RegisterBrokerRecord {
    pub broker: BrokerId,
    pub is_migrating_zk_broker: bool,
    /// Id of the process's run.
    pub incarnation_id: Uuid,
    pub broker_epoch: i64,
    pub endpoints: Vec<EndpointRecord>,
    pub features: Vec<FeatureRecord>,
    pub rack: Option<String>,
    pub fenced: bool,
    pub in_controlled_shutdown: bool,
    pub log_dirs: Vec<Uuid>,
}

impl RegisterBrokerRecord {
    /// Version 4 (KIP-1066) only adds a tagged field.
    pub(super) const VERSION_MAX: u32 = 4;

    pub(super) fn write(&self, out: &mut Writer) {
        out.i32(self.broker.get());
        out.bool(self.is_migrating_zk_broker);
        out.uuid(self.incarnation_id);
        out.i64(self.broker_epoch);
        out.length(self.endpoints.len());
        for endpoint in &self.endpoints {
            out.string(&endpoint.name);
            out.string(&endpoint.host);
            out.u16(endpoint.port);
            out.i16(endpoint.security_protocol);
            out.tags(Vec::new());
        }
        out.length(self.features.len());
        for feature in &self.features {
            out.string(&feature.name);
            out.i16(feature.min);
            out.i16(feature.max);
            out.tags(Vec::new());
        }
        out.nullable_string(self.rack.as_deref());
        out.bool(self.fenced);
        out.bool(self.in_controlled_shutdown);
        out.tags(if self.log_dirs.is_empty() { Vec::new() } else { vec![(0, field(|out| out.uuids(&self.log_dirs)))] });
    }

    pub(super) fn read(reader: &mut Reader<'_>, version: u32) -> Result<Self, RecordError> {
        let null = RecordError::Malformed("a list of a broker registration is null");
        let mut record = Self {
            broker: BrokerId(reader.i32()?),
            is_migrating_zk_broker: version >= 2 && reader.bool()?,
            incarnation_id: reader.uuid()?,
            broker_epoch: reader.i64()?,
            endpoints: reader.list(ENDPOINT_BYTES_MIN, read_endpoint)?.ok_or(null.clone())?,
            features: reader.list(FEATURE_BYTES_MIN, read_feature)?.ok_or(null)?,
            rack: reader.nullable_string()?,
            fenced: reader.bool()?,
            in_controlled_shutdown: version >= 1 && reader.bool()?,
            log_dirs: Vec::new(),
        };
        reader.tags(|tag, field| {
            if tag == 0 {
                record.log_dirs = field.uuids()?;
            }
            Ok(())
        })?;
        Ok(record)
    }
}

fn read_endpoint(reader: &mut Reader<'_>) -> Result<EndpointRecord, RecordError> {
    let endpoint = EndpointRecord { name: reader.string()?, host: reader.string()?, port: reader.u16()?, security_protocol: reader.i16()? };
    reader.no_tags()?;
    Ok(endpoint)
}

fn read_feature(reader: &mut Reader<'_>) -> Result<FeatureRecord, RecordError> {
    let feature = FeatureRecord { name: reader.string()?, min: reader.i16()?, max: reader.i16()? };
    reader.no_tags()?;
    Ok(feature)
}

/// `UnregisterBrokerRecord`, type 1: the broker is gone for good.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnregisterBrokerRecord {
    pub broker: BrokerId,
    pub broker_epoch: i64,
}

impl UnregisterBrokerRecord {
    pub(super) fn write(&self, out: &mut Writer) {
        out.i32(self.broker.get());
        out.i64(self.broker_epoch);
        out.tags(Vec::new());
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, RecordError> {
        let record = Self { broker: BrokerId(reader.i32()?), broker_epoch: reader.i64()? };
        reader.no_tags()?;
        Ok(record)
    }
}

/// `BrokerRegistrationChangeRecord`, type 17, written as version 2. What is `None` stays as it was.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BrokerRegistrationChangeRecord {
    pub broker: BrokerId,
    pub broker_epoch: i64,
    pub fenced: Option<bool>,
    pub in_controlled_shutdown: bool,
    pub log_dirs: Vec<Uuid>,
}

impl BrokerRegistrationChangeRecord {
    /// Version 3 (KIP-1066) only adds a tagged field.
    pub(super) const VERSION_MAX: u32 = 3;

    pub(super) fn write(&self, out: &mut Writer) {
        out.i32(self.broker.get());
        out.i64(self.broker_epoch);
        let mut fields = Vec::new();
        if let Some(fenced) = self.fenced {
            fields.push((0, field(|out| out.i8(if fenced { 1 } else { -1 }))));
        }
        if self.in_controlled_shutdown {
            fields.push((1, field(|out| out.i8(1))));
        }
        if !self.log_dirs.is_empty() {
            fields.push((2, field(|out| out.uuids(&self.log_dirs))));
        }
        out.tags(fields);
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, RecordError> {
        let mut record = Self {
            broker: BrokerId(reader.i32()?),
            broker_epoch: reader.i64()?,
            fenced: None,
            in_controlled_shutdown: false,
            log_dirs: Vec::new(),
        };
        reader.tags(|tag, field| {
            match tag {
                0 => {
                    record.fenced = match field.i8()? {
                        -1 => Some(false),
                        0 => None,
                        1 => Some(true),
                        _ => return Err(RecordError::Malformed("fencing is neither -1, 0 nor 1")),
                    }
                }
                1 => record.in_controlled_shutdown = field.i8()? == 1,
                2 => record.log_dirs = field.uuids()?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(record)
    }
}
