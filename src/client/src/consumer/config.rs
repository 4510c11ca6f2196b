//! Consumer settings under Kafka's names.

use crate::config::{take_bool, take_ms, take_number};
use crate::error::ClientError;
use std::collections::BTreeMap;
use std::time::Duration;

/// Which records of transactions a consumer sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IsolationLevel {
    ReadUncommitted,
    ReadCommitted,
}

impl IsolationLevel {
    /// The number in Fetch and ListOffsets requests.
    pub fn code(self) -> i8 {
        match self {
            IsolationLevel::ReadUncommitted => 0,
            IsolationLevel::ReadCommitted => 1,
        }
    }

    pub fn parse(text: &str) -> Result<Self, ClientError> {
        match text.trim() {
            "read_uncommitted" => Ok(IsolationLevel::ReadUncommitted),
            "read_committed" => Ok(IsolationLevel::ReadCommitted),
            _ => Err(ClientError::Invalid(format!("isolation.level={text}: expected read_uncommitted or read_committed"))),
        }
    }
}

/// Where to start without a committed offset, or when the offset is out of range (`auto.offset.reset`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffsetReset {
    Earliest,
    Latest,
    /// An error instead.
    None,
}

impl OffsetReset {
    pub fn parse(text: &str) -> Result<Self, ClientError> {
        match text.trim() {
            "earliest" => Ok(OffsetReset::Earliest),
            "latest" => Ok(OffsetReset::Latest),
            "none" => Ok(OffsetReset::None),
            _ => Err(ClientError::Invalid(format!("auto.offset.reset={text}: expected earliest, latest or none"))),
        }
    }
}

/// Settings of a consumer; defaults are the Java client's.
#[derive(Debug, Clone)]
pub struct ConsumerConfig {
    /// `group.id`; needed to subscribe and to commit.
    pub group: Option<String>,
    /// `group.instance.id`: static membership (KIP-345).
    pub group_instance: Option<String>,
    pub session_timeout: Duration,
    pub heartbeat_interval: Duration,
    /// Also the rebalance timeout.
    pub max_poll_interval: Duration,
    pub auto_commit: bool,
    pub auto_commit_interval: Duration,
    pub offset_reset: OffsetReset,
    pub isolation: IsolationLevel,
    pub fetch_min_bytes: i32,
    pub fetch_max_wait: Duration,
    pub fetch_max_bytes: i32,
    pub partition_max_bytes: i32,
    /// Most records one `poll` returns.
    pub poll_records_max: usize,
    /// How often metadata is refreshed without a reason, so that new partitions and topics are seen.
    pub metadata_max_age: Duration,
}

impl Default for ConsumerConfig {
    fn default() -> Self {
        Self {
            group: None,
            group_instance: None,
            session_timeout: Duration::from_secs(45),
            heartbeat_interval: Duration::from_secs(3),
            max_poll_interval: Duration::from_secs(300),
            auto_commit: true,
            auto_commit_interval: Duration::from_secs(5),
            offset_reset: OffsetReset::Latest,
            isolation: IsolationLevel::ReadUncommitted,
            fetch_min_bytes: 1,
            fetch_max_wait: Duration::from_millis(500),
            fetch_max_bytes: 50 * 1024 * 1024,
            partition_max_bytes: 1024 * 1024,
            poll_records_max: 500,
            metadata_max_age: Duration::from_secs(300),
        }
    }
}

impl ConsumerConfig {
    /// Takes the consumer's properties out of the map; a value that cannot be honoured is an error that names the key.
    pub fn take_properties(&mut self, properties: &mut BTreeMap<String, String>) -> Result<(), ClientError> {
        if let Some(group) = properties.remove("group.id") {
            self.group = Some(group);
        }
        if let Some(instance) = properties.remove("group.instance.id") {
            self.group_instance = Some(instance);
        }
        if let Some(reset) = properties.remove("auto.offset.reset") {
            self.offset_reset = OffsetReset::parse(&reset)?;
        }
        if let Some(isolation) = properties.remove("isolation.level") {
            self.isolation = IsolationLevel::parse(&isolation)?;
        }
        if let Some(on) = take_bool(properties, "enable.auto.commit")? {
            self.auto_commit = on;
        }
        if let Some(protocol) = properties.remove("group.protocol")
            && !protocol.trim().eq_ignore_ascii_case("classic")
        {
            return Err(ClientError::Invalid(format!("group.protocol={protocol}: only classic is implemented by this tool")));
        }
        if let Some(assignors) = properties.remove("partition.assignment.strategy")
            && !(assignors.contains("RangeAssignor") || assignors.split(',').any(|a| a.trim() == "range"))
        {
            return Err(ClientError::Invalid(format!(
                "partition.assignment.strategy={assignors}: only the range assignor is implemented by this tool"
            )));
        }
        for key in ["interceptor.classes", "client.rack"] {
            if properties.contains_key(key) {
                return Err(ClientError::Invalid(format!("{key}: not implemented by this tool")));
            }
        }
        take_ms(properties, "session.timeout.ms", &mut self.session_timeout)?;
        take_ms(properties, "heartbeat.interval.ms", &mut self.heartbeat_interval)?;
        take_ms(properties, "max.poll.interval.ms", &mut self.max_poll_interval)?;
        take_ms(properties, "auto.commit.interval.ms", &mut self.auto_commit_interval)?;
        take_ms(properties, "fetch.max.wait.ms", &mut self.fetch_max_wait)?;
        take_ms(properties, "metadata.max.age.ms", &mut self.metadata_max_age)?;
        let numbers = [
            ("fetch.min.bytes", &mut self.fetch_min_bytes),
            ("fetch.max.bytes", &mut self.fetch_max_bytes),
            ("max.partition.fetch.bytes", &mut self.partition_max_bytes),
        ];
        for (key, target) in numbers {
            if let Some(value) = take_number(properties, key)? {
                *target = value;
            }
        }
        if let Some(count) = take_number(properties, "max.poll.records")? {
            self.poll_records_max = count;
        }
        Ok(())
    }
}
