//! Which value of a config is in force, and where it comes from.
//!
//! Order for a topic, the first wins: the topic's own; the broker's own dynamic one; the dynamic default of all brokers;
//! the broker's properties file; the default. A dynamic value of a broker setting comes before the properties file in
//! the same way for the broker itself (KIP-226).

use super::{Configs, Image};
use crate::resource::{ConfigSource, ResourceType};
use odradek_base::BrokerId;
use odradek_settings::{Settings, canonical, list_items, table, topic};
use std::collections::BTreeMap;

/// The layers of broker settings, seen from one broker.
#[derive(Clone, Copy)]
pub struct Layers<'a> {
    pub settings: &'a Settings,
    dynamic_broker: Option<&'a Configs>,
    dynamic_default: Option<&'a Configs>,
}

impl<'a> Layers<'a> {
    /// `broker` is the id that clients know ([`crate::View::id`]): dynamic configs are kept under that name.
    pub fn new(image: &'a Image, settings: &'a Settings, broker: BrokerId) -> Self {
        Self {
            settings,
            dynamic_broker: image.config(ResourceType::Broker, &broker.to_string()),
            dynamic_default: image.config(ResourceType::Broker, ""),
        }
    }

    /// What each layer says about a broker setting, from the strongest to the weakest.
    pub fn sources(&self, name: &str) -> impl Iterator<Item = (ConfigSource, String)> {
        let dynamic = |configs: Option<&Configs>| configs.and_then(|configs| configs.get(name)).cloned();
        let default = table::find(name).and_then(|row| row.default).map(str::to_owned);
        [
            (ConfigSource::DynamicBroker, dynamic(self.dynamic_broker)),
            (ConfigSource::DynamicDefaultBroker, dynamic(self.dynamic_default)),
            (ConfigSource::StaticBroker, self.settings.given(name).map(str::to_owned)),
            (ConfigSource::Default, default),
        ]
        .into_iter()
        .filter_map(|(source, text)| Some((source, text?)))
    }

    /// The value of a broker setting that is in force; `None` is Kafka's null.
    pub fn broker_value(&self, name: &str) -> Option<String> {
        self.sources(name).next().map(|(_, text)| text)
    }

    /// The value that a topic without a config of its own gets.
    pub fn topic_default(&self, row: &topic::TopicConfig) -> String {
        let Some(synonym) = row.broker_synonym else { return row.default.to_owned() };
        let units = topic::broker_synonyms(synonym);
        let found = if units.is_empty() {
            self.broker_value(synonym)
        } else {
            units
                .iter()
                .find_map(|&(name, per_unit)| self.broker_value(name).map(|text| odradek_settings::in_milliseconds(&text, per_unit)))
        };
        found.unwrap_or_else(|| row.default.to_owned())
    }

    /// All configs of a topic whose own ones are `own`.
    pub fn topic_settings(&self, own: Option<&Configs>) -> TopicSettings {
        let value = |row: &topic::TopicConfig| match own.and_then(|own| own.get(row.name)) {
            Some(text) => canonical(row.value_type, text),
            None => self.topic_default(row),
        };
        TopicSettings { values: topic::all().iter().map(|row| (row.name, value(row))).collect() }
    }
}

/// The configs of one topic that are in force on one broker. Every value has passed its rule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TopicSettings {
    values: BTreeMap<&'static str, String>,
}

impl TopicSettings {
    /// The text of a topic config; asking for one that does not exist is a broken invariant of the caller.
    pub fn get(&self, name: &str) -> &str {
        self.values.get(name).unwrap_or_else(|| panic!("there is no topic config {name}"))
    }

    /// A whole number. A value that is none (only a damaged log has one) counts as the config's default.
    pub fn number(&self, name: &str) -> i64 {
        let default = || topic::find(name).and_then(|row| row.default.parse().ok());
        self.get(name).parse().ok().or_else(default).unwrap_or_else(|| panic!("topic config {name} is no number"))
    }

    pub fn fraction(&self, name: &str) -> f64 {
        let default = || topic::find(name).and_then(|row| row.default.parse().ok());
        self.get(name).parse().ok().or_else(default).unwrap_or_else(|| panic!("topic config {name} is no fraction"))
    }

    pub fn flag(&self, name: &str) -> bool {
        self.get(name) == "true"
    }

    pub fn items(&self, name: &str) -> Vec<&str> {
        list_items(self.get(name))
    }

    /// `cleanup.policy` contains `compact`.
    pub fn is_compacted(&self) -> bool {
        self.items("cleanup.policy").contains(&"compact")
    }

    /// `cleanup.policy` contains `delete`.
    pub fn is_deleted(&self) -> bool {
        self.items("cleanup.policy").contains(&"delete")
    }

    pub(crate) fn values(&self) -> &BTreeMap<&'static str, String> {
        &self.values
    }
}

impl Image {
    /// The configs of a topic that are in force on a broker. `broker` is the id that clients know.
    pub fn topic_settings(&self, settings: &Settings, broker: BrokerId, topic: &str) -> TopicSettings {
        Layers::new(self, settings, broker).topic_settings(self.config(ResourceType::Topic, topic))
    }
}
