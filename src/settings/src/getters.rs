//! Typed access to [`Settings`]. Every value was checked when it was loaded, so nothing here can fail.

use crate::listeners::{self, Listener};
use crate::load::Settings;
use crate::topic;
use crate::value::{ValueType, list_items};
use odradek_base::NodeId;
use std::path::PathBuf;
use std::time::Duration;

/// `odradek.advertise`: what clients see as a broker.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Advertise {
    /// Every shard, with a port of its own.
    #[default]
    Cores,
    /// The node, with one port.
    Node,
}

/// `odradek.direct.io`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum DirectIo {
    #[default]
    Auto,
    Required,
    Off,
}

/// `odradek.log.format`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

macro_rules! numbers {
    ($($(#[$doc:meta])* $getter:ident: $type:ty = $name:literal;)*) => {
        $(
            $(#[$doc])*
            #[doc = concat!("`", $name, "`.")]
            pub fn $getter(&self) -> $type {
                let number = self.number($name).unwrap_or_else(|| panic!("{} has no default", $name));
                <$type>::try_from(number).unwrap_or_else(|_| panic!("the bounds of {} do not fit its type", $name))
            }
        )*

        #[cfg(test)]
        fn call_every_number_getter(&self) {
            $(let _ = self.$getter();)*
        }
    };
}

impl Settings {
    /// A whole number by Kafka's name; `None` is Kafka's null.
    pub fn number(&self, name: &str) -> Option<i64> {
        self.text(name).map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
    }

    /// A number with a fraction by Kafka's name.
    pub fn decimal(&self, name: &str) -> Option<f64> {
        self.text(name).and_then(|text| text.parse().ok())
    }

    /// A boolean by Kafka's name.
    pub fn flag(&self, name: &str) -> bool {
        self.text(name) == Some("true")
    }

    numbers! {
        bypass_bytes: usize = "odradek.bypass.bytes";
        cold_reads_percent: u32 = "odradek.cold.reads.percent";
        connection_queued_bytes: u64 = "odradek.connections.queued.bytes";
        /// Of each file system.
        disk_reserve_bytes: u64 = "odradek.disk.reserve.bytes";
        journal_block_bytes: usize = "odradek.journal.block.bytes";
        /// Per shard.
        journal_bytes: u64 = "odradek.journal.bytes";
        journal_files: u32 = "odradek.journal.files";
        /// Per shard.
        open_files_max: usize = "odradek.open.files.max";
        receive_buffer_bytes: u32 = "odradek.receive.buffer.bytes";
        receive_buffers: u16 = "odradek.receive.buffers";
        replicas_per_node: usize = "odradek.replicas.per.node";
        request_control_max_bytes: usize = "odradek.request.control.max.bytes";
        shard_port_offset: u32 = "odradek.shard.port.offset";
        num_partitions: i32 = "num.partitions";
        default_replication_factor: i32 = "default.replication.factor";
        fetch_max_bytes: usize = "fetch.max.bytes";
        fetch_sessions_max: usize = "max.incremental.fetch.session.cache.slots";
        group_initial_rebalance_delay_ms: i32 = "group.initial.rebalance.delay.ms";
        group_max_session_timeout_ms: i32 = "group.max.session.timeout.ms";
        group_consumer_assignment_interval_ms: i32 = "group.consumer.assignment.interval.ms";
        group_consumer_heartbeat_interval_ms: i32 = "group.consumer.heartbeat.interval.ms";
        group_consumer_max_size: i32 = "group.consumer.max.size";
        group_consumer_session_timeout_ms: i32 = "group.consumer.session.timeout.ms";
        group_max_size: i32 = "group.max.size";
        group_min_session_timeout_ms: i32 = "group.min.session.timeout.ms";
        log_cleaner_backoff_ms: u64 = "log.cleaner.backoff.ms";
        log_cleaner_io_buffer_size: u32 = "log.cleaner.io.buffer.size";
        log_retention_check_interval_ms: u64 = "log.retention.check.interval.ms";
        max_connections: u32 = "max.connections";
        max_connections_per_ip: u32 = "max.connections.per.ip";
        message_max_bytes: u64 = "message.max.bytes";
        metadata_log_bytes_between_snapshots: u64 = "metadata.log.max.record.bytes.between.snapshots";
        offset_metadata_max_bytes: i32 = "offset.metadata.max.bytes";
        offsets_commit_timeout_ms: i32 = "offsets.commit.timeout.ms";
        offsets_retention_check_interval_ms: i64 = "offsets.retention.check.interval.ms";
        offsets_retention_minutes: i32 = "offsets.retention.minutes";
        offsets_topic_partitions: i32 = "offsets.topic.num.partitions";
        offsets_topic_replication_factor: i16 = "offsets.topic.replication.factor";
        producer_id_expiration_ms: i64 = "producer.id.expiration.ms";
        request_partitions_max: i32 = "max.request.partition.size.limit";
        socket_backlog: i32 = "socket.listen.backlog.size";
        socket_request_max_bytes: usize = "socket.request.max.bytes";
        transaction_max_timeout_ms: i32 = "transaction.max.timeout.ms";
        transaction_state_partitions: i32 = "transaction.state.log.num.partitions";
        transaction_state_replication_factor: i16 = "transaction.state.log.replication.factor";
        transactional_id_expiration_ms: i64 = "transactional.id.expiration.ms";
    }

    /// A size in bytes that a file or an override gave; `None` where nobody did.
    fn bytes_given(&self, name: &str) -> Option<u64> {
        self.given(name).and_then(|_| self.number(name)).and_then(|bytes| u64::try_from(bytes).ok())
    }

    /// `odradek.memory.bytes`.
    pub fn memory_bytes(&self) -> Option<u64> {
        self.bytes_given("odradek.memory.bytes")
    }

    /// `odradek.read.ahead.bytes`, per shard.
    pub fn read_ahead_bytes(&self) -> Option<u64> {
        self.bytes_given("odradek.read.ahead.bytes")
    }

    /// `odradek.shard.queued.bytes`.
    pub fn shard_queued_bytes(&self) -> Option<u64> {
        self.bytes_given("odradek.shard.queued.bytes")
    }

    /// `odradek.tail.cache.bytes`, per shard.
    pub fn tail_cache_bytes(&self) -> Option<u64> {
        self.bytes_given("odradek.tail.cache.bytes")
    }

    /// `odradek.unflushed.bytes.max`, per shard.
    pub fn unflushed_bytes_max(&self) -> Option<u64> {
        self.bytes_given("odradek.unflushed.bytes.max")
    }

    /// `log.cleaner.dedupe.buffer.size` of the whole node, where it was given.
    pub fn log_cleaner_dedupe_buffer_size_given(&self) -> Option<u64> {
        self.bytes_given("log.cleaner.dedupe.buffer.size")
    }

    /// `socket.request.max.bytes`, where it was given.
    pub fn socket_request_max_bytes_given(&self) -> Option<u64> {
        self.bytes_given("socket.request.max.bytes")
    }

    /// `odradek.metrics.listener`; `None` when it is empty.
    pub fn metrics_listener(&self) -> Option<&str> {
        self.text("odradek.metrics.listener").filter(|address| !address.is_empty())
    }

    /// `node.id`, else `broker.id`, else the default.
    pub fn node_id(&self) -> NodeId {
        let given = self.given("node.id").or(self.given("broker.id").filter(|text| *text != "-1"));
        let text = given.or(self.text("node.id")).unwrap_or_default();
        NodeId(text.parse().unwrap_or_else(|_| panic!("node.id is no number: {text}")))
    }

    /// `odradek.shards`; `None` means one for each CPU.
    pub fn shards(&self) -> Option<u16> {
        self.number("odradek.shards").and_then(|number| u16::try_from(number).ok()).filter(|&number| number > 0)
    }

    pub fn advertise(&self) -> Advertise {
        if self.text("odradek.advertise") == Some("node") { Advertise::Node } else { Advertise::Cores }
    }

    pub fn direct_io(&self) -> DirectIo {
        match self.text("odradek.direct.io") {
            Some("required") => DirectIo::Required,
            Some("off") => DirectIo::Off,
            _ => DirectIo::Auto,
        }
    }

    pub fn log_format(&self) -> LogFormat {
        if self.text("odradek.log.format") == Some("json") { LogFormat::Json } else { LogFormat::Text }
    }

    /// `odradek.log.level`: a level or a filter.
    pub fn log_level(&self) -> &str {
        self.text("odradek.log.level").unwrap_or("info")
    }

    pub fn pin(&self) -> bool {
        self.flag("odradek.pin")
    }

    pub fn spin(&self) -> Duration {
        Duration::from_micros(self.number("odradek.spin.us").unwrap_or(0).unsigned_abs())
    }

    pub fn shutdown_timeout(&self) -> Duration {
        Duration::from_millis(self.number("odradek.shutdown.timeout.ms").unwrap_or(0).unsigned_abs())
    }

    /// `connections.max.idle.ms`; `None`: idle connections stay.
    pub fn connections_max_idle(&self) -> Option<Duration> {
        self.number("connections.max.idle.ms").and_then(|ms| u64::try_from(ms).ok()).map(Duration::from_millis)
    }

    /// The listeners for clients, at least one.
    pub fn listeners(&self) -> Vec<Listener> {
        listeners::from_settings(self).unwrap_or_else(|reason| panic!("listeners were not checked: {reason}"))
    }

    /// What clients are told, in the order of `advertised.listeners`.
    pub fn advertised_listeners(&self) -> Vec<Listener> {
        listeners::advertised(self).unwrap_or_else(|_| self.listeners())
    }

    /// `log.dirs`, else a given `log.dir`, else the default.
    pub fn log_dirs(&self) -> Vec<PathBuf> {
        let given = self.given("log.dirs").or(self.given("log.dir"));
        list_items(given.or(self.text("log.dirs")).unwrap_or_default()).into_iter().map(PathBuf::from).collect()
    }

    /// `odradek.journal.dir`.
    pub fn journal_dir(&self) -> Option<PathBuf> {
        self.text("odradek.journal.dir").filter(|text| !text.is_empty()).map(PathBuf::from)
    }

    /// `metadata.log.dir`, else the first of the data directories.
    pub fn metadata_log_dir(&self) -> PathBuf {
        let given = self.text("metadata.log.dir").filter(|text| !text.is_empty()).map(PathBuf::from);
        given.or_else(|| self.log_dirs().into_iter().next()).unwrap_or_default()
    }

    pub fn rack(&self) -> Option<&str> {
        self.text("broker.rack").filter(|text| !text.is_empty())
    }

    pub fn auto_create_topics(&self) -> bool {
        self.flag("auto.create.topics.enable")
    }

    pub fn delete_topics(&self) -> bool {
        self.flag("delete.topic.enable")
    }

    /// The value that topics without a config of their own get, from broker settings: `None` where the name is no topic
    /// config. Looks at every unit in which the broker setting can be given (`log.retention.hours` and so on).
    pub fn topic_default(&self, name: &str) -> Option<String> {
        let row = topic::find(name)?;
        let from_broker = row.broker_synonym.and_then(|synonym| {
            let units = topic::broker_synonyms(synonym);
            if units.is_empty() {
                return self.text(synonym).map(str::to_owned);
            }
            let (text, per_unit) = units.iter().find_map(|&(name, per_unit)| self.text(name).map(|text| (text, per_unit)))?;
            Some(in_milliseconds(text, per_unit))
        });
        Some(from_broker.unwrap_or_else(|| row.default.to_owned()))
    }
}

/// A time given in a larger unit. Negative values mean "without bound" in every unit.
pub fn in_milliseconds(text: &str, per_unit: i64) -> String {
    match text.parse::<i64>() {
        Ok(number) if per_unit > 1 && number < 0 => "-1".to_owned(),
        Ok(number) => number.saturating_mul(per_unit).to_string(),
        Err(_) => text.to_owned(),
    }
}

impl Settings {
    /// Replaces one value, checked; for tests and for values that are only known at start (a free port).
    ///
    /// # Errors
    /// As [`Settings::load`].
    pub fn with(mut self, key: &str, value: &str) -> Result<Self, crate::SettingsError> {
        let (one, _) = Self::parse(b"", "", &[format!("{key}={value}")])?;
        self.given.extend(one.given);
        Ok(self)
    }

    /// The config type of a broker setting.
    pub fn type_of(name: &str) -> Option<ValueType> {
        crate::table::find(name).map(|row| row.value_type)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_without_a_file() {
        let settings = Settings::load(None, &[]).unwrap().0;
        settings.call_every_number_getter();
        assert_eq!(settings.node_id(), NodeId(1));
        assert_eq!(settings.listeners()[0].to_string(), "PLAINTEXT://localhost:9092");
        assert_eq!(settings.log_dirs(), [PathBuf::from("./odradek-data")]);
        assert_eq!(settings.metadata_log_dir(), PathBuf::from("./odradek-data"));
        assert!(settings.auto_create_topics());
        assert_eq!((settings.shards(), settings.advertise(), settings.direct_io()), (None, Advertise::Cores, DirectIo::Auto));
        assert_eq!((settings.group_initial_rebalance_delay_ms(), settings.offsets_topic_replication_factor()), (3000, 1));
        assert_eq!(settings.connections_max_idle(), Some(Duration::from_secs(600)));
    }

    #[test]
    fn topic_defaults_come_from_broker_settings_in_any_unit() {
        let of = |text: &str, name: &str| Settings::parse(text.as_bytes(), "f", &[]).unwrap().0.topic_default(name);
        let table = [
            ("", "retention.ms", "604800000"),
            ("log.retention.hours=2", "retention.ms", "7200000"),
            ("log.retention.hours=2\nlog.retention.minutes=3", "retention.ms", "180000"),
            ("log.retention.hours=2\nlog.retention.minutes=3\nlog.retention.ms=5", "retention.ms", "5"),
            ("log.retention.hours=-1", "retention.ms", "-1"),
            ("log.roll.hours=1", "segment.ms", "3600000"),
            ("", "segment.jitter.ms", "0"),
            ("", "flush.ms", "9223372036854775807"),
            ("log.cleanup.policy=compact , delete", "cleanup.policy", "compact,delete"),
            ("min.insync.replicas=2", "min.insync.replicas", "2"),
        ];
        for (text, name, expected) in table {
            assert_eq!(of(text, name).as_deref(), Some(expected), "{text:?} {name}");
        }
        assert_eq!(of("", "nope"), None);
        for row in topic::all() {
            assert_eq!(of("", row.name).as_deref(), Some(row.default), "{}", row.name);
        }
    }

    #[test]
    fn a_value_can_be_replaced() {
        let settings = Settings::default().with("listeners", "PLAINTEXT://127.0.0.1:0").unwrap();
        assert_eq!(settings.listeners()[0].port, 0);
        assert!(Settings::default().with("num.partitions", "0").is_err());
    }
}
