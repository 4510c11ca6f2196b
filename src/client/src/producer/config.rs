//! Producer settings under Kafka's names.

use crate::config::{take_bool, take_ms, take_number};
use crate::error::ClientError;
use odradek_wire::compress::Codec;
use std::collections::BTreeMap;
use std::time::Duration;

/// Requests in flight to one broker with which an idempotent producer keeps its order (KIP-98: the broker remembers five batches).
pub const IDEMPOTENT_IN_FLIGHT_MAX: usize = 5;

/// How many copies must have a record before the broker confirms it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acks {
    None,
    Leader,
    All,
}

impl Acks {
    /// The number in a Produce request.
    pub fn code(self) -> i16 {
        match self {
            Acks::None => 0,
            Acks::Leader => 1,
            Acks::All => -1,
        }
    }

    pub fn parse(text: &str) -> Result<Self, ClientError> {
        match text.trim() {
            "0" => Ok(Acks::None),
            "1" => Ok(Acks::Leader),
            "all" | "-1" => Ok(Acks::All),
            _ => Err(ClientError::Invalid(format!("acks={text}: expected 0, 1, all or -1"))),
        }
    }
}

/// Parses Kafka's `compression.type`.
pub fn parse_compression(text: &str) -> Result<Codec, ClientError> {
    Codec::from_name(text.trim())
        .ok_or_else(|| ClientError::Invalid(format!("compression.type={text}: expected none, gzip, snappy, lz4 or zstd")))
}

/// Settings of a producer; defaults are the Java client's.
#[derive(Debug, Clone)]
pub struct ProducerConfig {
    pub acks: Acks,
    /// `enable.idempotence`: retries cannot duplicate or reorder.
    pub idempotent: bool,
    pub compression: Codec,
    pub batch_bytes: usize,
    pub linger: Duration,
    pub request_bytes_max: usize,
    /// `buffer.memory`: bytes accepted and not yet confirmed; beyond it `send` waits.
    pub buffer_bytes_max: usize,
    pub in_flight_max: usize,
    pub retries_max: u32,
    /// From `send` to a final answer.
    pub delivery_timeout: Duration,
    /// Longest `send` waits for metadata or buffer space.
    pub block_max: Duration,
    /// Time the broker may take for the acknowledgement (`request.timeout.ms` is sent with each Produce).
    pub ack_timeout: Duration,
}

impl Default for ProducerConfig {
    fn default() -> Self {
        Self {
            acks: Acks::All,
            idempotent: true,
            compression: Codec::None,
            batch_bytes: 16 * 1024,
            linger: Duration::from_millis(5),
            request_bytes_max: 1024 * 1024,
            buffer_bytes_max: 32 * 1024 * 1024,
            in_flight_max: IDEMPOTENT_IN_FLIGHT_MAX,
            retries_max: i32::MAX as u32,
            delivery_timeout: Duration::from_secs(120),
            block_max: Duration::from_secs(60),
            ack_timeout: Duration::from_secs(30),
        }
    }
}

impl ProducerConfig {
    /// Takes the producer's properties out of the map; a value that cannot be honoured is an error that names the key.
    pub fn take_properties(&mut self, properties: &mut BTreeMap<String, String>) -> Result<(), ClientError> {
        let idempotence = take_bool(properties, "enable.idempotence")?;
        if let Some(acks) = properties.remove("acks") {
            self.acks = Acks::parse(&acks)?;
        }
        if let Some(compression) = properties.remove("compression.type") {
            self.compression = parse_compression(&compression)?;
        }
        if let Some(bytes) = take_number(properties, "batch.size")? {
            self.batch_bytes = bytes;
        }
        if let Some(bytes) = take_number(properties, "max.request.size")? {
            self.request_bytes_max = bytes;
        }
        if let Some(bytes) = take_number(properties, "buffer.memory")? {
            self.buffer_bytes_max = bytes;
        }
        if let Some(count) = take_number(properties, "max.in.flight.requests.per.connection")? {
            self.in_flight_max = count;
        }
        if let Some(retries) = take_number(properties, "retries")? {
            self.retries_max = retries;
        }
        take_ms(properties, "linger.ms", &mut self.linger)?;
        take_ms(properties, "delivery.timeout.ms", &mut self.delivery_timeout)?;
        take_ms(properties, "max.block.ms", &mut self.block_max)?;
        for key in ["transactional.id", "partitioner.class", "interceptor.classes"] {
            if properties.contains_key(key) {
                return Err(ClientError::Invalid(format!("{key}: not implemented by this tool")));
            }
        }
        self.settle_idempotence(idempotence)
    }

    /// Idempotence is the default where the other settings allow it, and an error where it was asked for and they do not (KIP-679).
    pub fn settle_idempotence(&mut self, asked: Option<bool>) -> Result<(), ClientError> {
        let obstacle = if self.acks != Acks::All {
            Some("acks=all")
        } else if self.retries_max == 0 {
            Some("retries above 0")
        } else if self.in_flight_max > IDEMPOTENT_IN_FLIGHT_MAX {
            Some("max.in.flight.requests.per.connection of at most 5")
        } else {
            None
        };
        self.idempotent = match (asked, obstacle) {
            (Some(true), Some(needed)) => return Err(ClientError::Invalid(format!("enable.idempotence=true needs {needed}"))),
            (Some(false), _) | (None, Some(_)) => false,
            (_, None) => true,
        };
        if self.in_flight_max == 0 || self.request_bytes_max == 0 || self.buffer_bytes_max == 0 {
            return Err(ClientError::Invalid("in-flight requests, request size and buffer memory must be above 0".to_owned()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(pairs: &[(&str, &str)]) -> Result<ProducerConfig, ClientError> {
        let mut config = ProducerConfig::default();
        let mut properties = pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        config.take_properties(&mut properties)?;
        assert!(properties.is_empty(), "left over: {properties:?}");
        Ok(config)
    }

    #[test]
    fn idempotence_follows_the_other_settings() {
        assert!(taken(&[]).unwrap().idempotent);
        assert!(!taken(&[("acks", "1")]).unwrap().idempotent);
        assert!(!taken(&[("retries", "0")]).unwrap().idempotent);
        assert!(!taken(&[("enable.idempotence", "false")]).unwrap().idempotent);
        assert!(taken(&[("enable.idempotence", "true"), ("acks", "0")]).is_err());
        assert!(taken(&[("max.in.flight.requests.per.connection", "6"), ("enable.idempotence", "true")]).is_err());
    }

    #[test]
    fn bad_values_name_their_key() {
        for (key, value) in [("acks", "2"), ("compression.type", "bzip2"), ("batch.size", "-1"), ("transactional.id", "t")] {
            assert!(taken(&[(key, value)]).unwrap_err().to_string().contains(key));
        }
    }
}
