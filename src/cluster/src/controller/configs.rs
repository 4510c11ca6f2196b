//! Whether configs of a topic, a broker or a group are acceptable.

use super::Controller;
use crate::names;
use crate::protocol::{ErrorCode, Refusal};
use crate::resource::ResourceType;
use odradek_settings::{Change, group, listeners, table, topic};
use std::collections::BTreeMap;

fn invalid_config(message: impl Into<String>) -> Refusal {
    Refusal::new(ErrorCode::InvalidConfig, message)
}

fn invalid_request(message: impl Into<String>) -> Refusal {
    Refusal::new(ErrorCode::InvalidRequest, message)
}

impl Controller<'_> {
    /// All configs that a topic would have of its own: each alone, then together with the defaults.
    pub(super) fn check_topic_configs(&self, configs: &BTreeMap<String, String>) -> Result<(), Refusal> {
        for (name, value) in configs {
            let row = topic::find(name).ok_or_else(|| invalid_config(format!("Unknown topic config name: {name}")))?;
            row.check(value).map_err(|error| invalid_config(error.to_string()))?;
        }
        let own = configs.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        topic::check_together(self.layers().topic_settings(Some(&own)).values()).map_err(invalid_config)
    }

    /// Checks the name of a resource whose configs are to change (`ControllerConfigurationValidator`).
    pub(super) fn check_resource_name(&self, resource_type: ResourceType, name: &str) -> Result<(), Refusal> {
        match resource_type {
            ResourceType::Topic if name.is_empty() => Err(invalid_request("Default topic resources are not allowed.")),
            ResourceType::Topic => names::check(name).map_err(|message| Refusal::new(ErrorCode::InvalidTopicException, message)),
            ResourceType::Group if name.is_empty() => Err(invalid_request("Default group resources are not allowed.")),
            ResourceType::ClientMetrics if name.is_empty() => Err(invalid_request("Subscription name can't be empty")),
            ResourceType::Broker if !name.is_empty() => self.check_broker_name(name),
            _ => Ok(()),
        }
    }

    fn check_broker_name(&self, name: &str) -> Result<(), Refusal> {
        let id = name.parse::<i32>().map_err(|_| invalid_request(format!("Node id must be an integer, but it is: {name}")))?;
        if !self.view.has_broker(self.image, odradek_base::BrokerId(id)) {
            return Err(invalid_request(format!("Unexpected broker id, no broker {id} is registered")));
        }
        Ok(())
    }

    /// Changes of dynamic broker configs. Names that nobody knows are accepted, as Kafka does (they may belong to a
    /// plugin); they have no effect.
    pub(super) fn check_broker_changes(&self, broker: &str, changes: &BTreeMap<String, Option<String>>) -> Result<(), Refusal> {
        let scope = |wanted: Change| {
            let matching = changes.keys().filter(|name| table::find(name).is_some_and(|row| row.change == wanted));
            matching.map(String::as_str).collect::<Vec<_>>().join(", ")
        };
        let read_only = scope(Change::ReadOnly);
        if !read_only.is_empty() {
            return Err(invalid_request(format!("Cannot update these configs dynamically: [{read_only}]")));
        }
        let per_broker = scope(Change::PerBroker);
        if broker.is_empty() && !per_broker.is_empty() {
            return Err(invalid_request(format!(
                "Cannot update these configs at default cluster level, broker id must be specified: [{per_broker}]"
            )));
        }
        for (name, value) in changes {
            let (Some(row), Some(value)) = (table::find(name), value) else { continue };
            row.check(value).map_err(|error| invalid_request(error.to_string()))?;
            check_time_bound(name, value).map_err(invalid_request)?;
            listeners::check(name, value).map_err(invalid_request)?;
        }
        Ok(())
    }

    pub(super) fn check_group_configs(&self, configs: &BTreeMap<String, String>) -> Result<(), Refusal> {
        group::check(configs, self.settings).map_err(invalid_config)
    }
}

/// Retention is unlimited or at least one unit.
fn check_time_bound(name: &str, value: &str) -> Result<(), String> {
    let bounded = name.starts_with("log.retention.") && (name.ends_with(".ms") || name.ends_with(".minutes") || name.ends_with(".hours"));
    match value.trim().parse::<i64>() {
        Ok(number) if bounded && number != -1 && number < 1 => Err(format!("{name} must be unlimited (-1) or, greater than or equal to 1")),
        _ => Ok(()),
    }
}
