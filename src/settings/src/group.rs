//! Kafka's group configs (KIP-848, KIP-932, KIP-1071), in Kafka 4.3.1's order.

use crate::load::Settings;
use crate::rule::Rule;
use crate::value::ValueType::{self, Boolean, Int};
use std::collections::BTreeMap;

/// One group config.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct GroupConfig {
    pub name: &'static str,
    pub value_type: ValueType,
    pub default: &'static str,
    pub rule: Rule,
    /// The broker setting that gives the default.
    pub broker_synonym: Option<&'static str>,
    /// Broker settings that bound it from below and above.
    pub bounds: (Option<&'static str>, Option<&'static str>),
    pub doc: &'static str,
}

const fn row(
    name: &'static str,
    default: &'static str,
    min: i64,
    synonym: &'static str,
    low: &'static str,
    high: &'static str,
    doc: &'static str,
) -> GroupConfig {
    const fn some(name: &'static str) -> Option<&'static str> {
        if name.is_empty() { None } else { Some(name) }
    }
    GroupConfig {
        name,
        value_type: Int,
        default,
        rule: Rule::at_least(min),
        broker_synonym: some(synonym),
        bounds: (some(low), some(high)),
        doc,
    }
}

const fn word(name: &'static str, value_type: ValueType, default: &'static str, rule: Rule, doc: &'static str) -> GroupConfig {
    GroupConfig { name, value_type, default, rule, broker_synonym: None, bounds: (None, None), doc }
}

#[rustfmt::skip]
static ROWS: [GroupConfig; 17] = [
    row("consumer.session.timeout.ms", "45000", 1, "group.consumer.session.timeout.ms", "group.consumer.min.session.timeout.ms", "group.consumer.max.session.timeout.ms", "Milliseconds without a heartbeat after which a member of the consumer group is out."),
    row("consumer.assignment.interval.ms", "1000", 0, "group.consumer.assignment.interval.ms", "group.consumer.min.assignment.interval.ms", "group.consumer.max.assignment.interval.ms", "Least milliseconds between two assignments of the consumer group."),
    word("share.auto.offset.reset", ValueType::String, "latest", Rule::Any, "Where a share group starts on a partition that is new to it."),
    word("share.renew.acknowledge.enable", Boolean, "true", Rule::Any, "Whether members of the share group may renew their record locks."),
    row("streams.initial.rebalance.delay.ms", "3000", 0, "group.streams.initial.rebalance.delay.ms", "", "", "Milliseconds that a new streams group waits for more members."),
    row("share.session.timeout.ms", "45000", 1, "group.share.session.timeout.ms", "group.share.min.session.timeout.ms", "group.share.max.session.timeout.ms", "Milliseconds without a heartbeat after which a member of the share group is out."),
    row("streams.assignment.interval.ms", "1000", 0, "group.streams.assignment.interval.ms", "group.streams.min.assignment.interval.ms", "group.streams.max.assignment.interval.ms", "Least milliseconds between two assignments of the streams group."),
    row("share.heartbeat.interval.ms", "5000", 1, "group.share.heartbeat.interval.ms", "group.share.min.heartbeat.interval.ms", "group.share.max.heartbeat.interval.ms", "Milliseconds between heartbeats of the share group's members."),
    row("streams.heartbeat.interval.ms", "5000", 1, "group.streams.heartbeat.interval.ms", "group.streams.min.heartbeat.interval.ms", "group.streams.max.heartbeat.interval.ms", "Milliseconds between heartbeats of the streams group's members."),
    row("share.delivery.count.limit", "5", 1, "group.share.delivery.count.limit", "group.share.min.delivery.count.limit", "group.share.max.delivery.count.limit", "How often a record is handed out to the share group before it is given up."),
    row("consumer.heartbeat.interval.ms", "5000", 1, "group.consumer.heartbeat.interval.ms", "group.consumer.min.heartbeat.interval.ms", "group.consumer.max.heartbeat.interval.ms", "Milliseconds between heartbeats of the consumer group's members."),
    row("share.record.lock.duration.ms", "30000", 1000, "group.share.record.lock.duration.ms", "group.share.min.record.lock.duration.ms", "group.share.max.record.lock.duration.ms", "Milliseconds that a member of the share group has for a record."),
    row("share.assignment.interval.ms", "1000", 0, "group.share.assignment.interval.ms", "group.share.min.assignment.interval.ms", "group.share.max.assignment.interval.ms", "Least milliseconds between two assignments of the share group."),
    word("share.isolation.level", ValueType::String, "read_uncommitted", Rule::OneOf(&["read_committed", "read_uncommitted"]), "Whether the share group sees records of open and aborted transactions."),
    row("streams.session.timeout.ms", "45000", 1, "group.streams.session.timeout.ms", "group.streams.min.session.timeout.ms", "group.streams.max.session.timeout.ms", "Milliseconds without a heartbeat after which a member of the streams group is out."),
    row("share.partition.max.record.locks", "2000", 100, "group.share.partition.max.record.locks", "group.share.min.partition.max.record.locks", "group.share.max.partition.max.record.locks", "Records of one partition that the share group may hold at a time."),
    row("streams.num.standby.replicas", "0", 0, "group.streams.num.standby.replicas", "", "group.streams.max.standby.replicas", "Standby copies of each task of the streams group."),
];

/// All of them, in Kafka's order.
pub fn all() -> &'static [GroupConfig] {
    &ROWS
}

/// The group config of that name.
pub fn find(name: &str) -> Option<&'static GroupConfig> {
    ROWS.iter().find(|row| row.name == name)
}

impl Settings {
    /// What groups without a config of their own get.
    pub fn group_default(&self, row: &GroupConfig) -> String {
        row.broker_synonym.and_then(|name| self.text(name)).unwrap_or(row.default).to_owned()
    }
}

/// Checks the configs of one group: each alone, against the broker's bounds, and against each other.
///
/// # Errors
/// The text for the client, Kafka's `InvalidConfigurationException`.
pub fn check(configs: &BTreeMap<String, String>, settings: &Settings) -> Result<(), String> {
    for (name, value) in configs {
        let row = find(name).ok_or_else(|| format!("Unknown group config name: {name}"))?;
        row.rule.check(name, row.value_type, value).map_err(|error| error.to_string())?;
        if name == "share.auto.offset.reset" && !is_offset_reset(value.trim()) {
            return Err(format!("Invalid value {value} for configuration {name}: use latest, earliest or by_duration:<ISO-8601 duration>"));
        }
        check_bounds(row, value, settings)?;
    }
    for kind in ["consumer", "share", "streams"] {
        let effective = |what: &str| {
            let name = format!("{kind}.{what}.ms");
            let row = find(&name)?;
            configs.get(&name).cloned().unwrap_or_else(|| settings.group_default(row)).trim().parse::<i64>().ok()
        };
        let touched = configs.keys().any(|name| name.starts_with(kind));
        if let (true, Some(session), Some(heartbeat)) = (touched, effective("session.timeout"), effective("heartbeat.interval"))
            && session <= heartbeat
        {
            return Err(format!("{kind}.session.timeout.ms must be greater than {kind}.heartbeat.interval.ms"));
        }
    }
    Ok(())
}

fn check_bounds(row: &GroupConfig, value: &str, settings: &Settings) -> Result<(), String> {
    let Ok(number) = value.trim().parse::<i64>() else { return Ok(()) };
    let bound = |name: Option<&'static str>| name.and_then(|name| Some((name, settings.number(name)?)));
    if let Some((name, low)) = bound(row.bounds.0)
        && number < low
    {
        return Err(format!("{} must be greater than or equal to {name} ({low})", row.name));
    }
    if let Some((name, high)) = bound(row.bounds.1)
        && number > high
    {
        return Err(format!("{} must be less than or equal to {name} ({high})", row.name));
    }
    Ok(())
}

fn is_offset_reset(value: &str) -> bool {
    let duration =
        |text: &str| text.starts_with('P') && text.len() > 2 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.');
    matches!(value, "latest" | "earliest") || value.strip_prefix("by_duration:").is_some_and(duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_agree_with_the_broker_settings() {
        let settings = Settings::default();
        for row in all() {
            assert_eq!(settings.group_default(row), row.default, "{}", row.name);
            row.rule.check(row.name, row.value_type, row.default).unwrap();
            for name in [row.bounds.0, row.bounds.1].into_iter().flatten() {
                assert!(settings.number(name).is_some(), "{name}");
            }
        }
    }

    #[test]
    fn values_are_held_to_the_brokers_bounds() {
        let table = [
            ("consumer.session.timeout.ms", "1", false),
            ("consumer.session.timeout.ms", "45000", true),
            ("consumer.session.timeout.ms", "60001", false),
            ("consumer.session.timeout.ms", "x", false),
            ("consumer.heartbeat.interval.ms", "15000", true),
            ("consumer.heartbeat.interval.ms", "4999", false),
            ("share.auto.offset.reset", "earliest", true),
            ("share.auto.offset.reset", "by_duration:PT1H", true),
            ("share.auto.offset.reset", "somewhere", false),
            ("share.isolation.level", "read_committed", true),
            ("streams.num.standby.replicas", "3", false),
            ("nope", "1", false),
        ];
        for (name, value, fits) in table {
            let configs = BTreeMap::from([(name.to_owned(), value.to_owned())]);
            assert_eq!(check(&configs, &Settings::default()).is_ok(), fits, "{name}={value}");
        }
    }
}
