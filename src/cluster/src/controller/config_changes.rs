//! AlterConfigs and IncrementalAlterConfigs (KIP-339).

use super::{Controller, Outcome};
use crate::protocol::messages::{
    AlterConfigsRequest, AlterConfigsResponse, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse, alter_configs_response,
    incremental_alter_configs_response,
};
use crate::protocol::{ErrorCode, Refusal, text};
use crate::records::{ConfigRecord, MetadataRecord};
use crate::resource::ResourceType;
use odradek_settings::{ValueType, group, list_items, table, topic};
use std::collections::{BTreeMap, BTreeSet};

/// What is to happen to one config; the codes are those of `AlterConfigOp.OpType`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Operation {
    Set,
    Delete,
    Append,
    Subtract,
}

impl Operation {
    fn from_code(code: i8) -> Option<Self> {
        match code {
            0 => Some(Self::Set),
            1 => Some(Self::Delete),
            2 => Some(Self::Append),
            3 => Some(Self::Subtract),
            _ => None,
        }
    }
}

/// One resource of a request, of either API.
struct Changes<'r> {
    resource_type: i8,
    resource_name: &'r str,
    /// Name, operation code, value.
    configs: Vec<(&'r str, i8, Option<&'r str>)>,
    /// Configs that are not named go back to their defaults (AlterConfigs).
    replaces_all: bool,
}

/// Configs that one resource may have of its own, and bytes of a name and a value. Kafka has no bound; names that nobody
/// knows are accepted for brokers, so a client could fill the metadata otherwise.
const CONFIGS_PER_RESOURCE_MAX: usize = 1000;
const NAME_BYTES_MAX: usize = 1024;
const VALUE_BYTES_MAX: usize = 65_536;

const SET: i8 = 0;
const DELETE: i8 = 1;

fn invalid_request(message: impl Into<String>) -> Refusal {
    Refusal::new(ErrorCode::InvalidRequest, message)
}

impl Controller<'_> {
    pub fn incremental_alter_configs(&self, request: &IncrementalAlterConfigsRequest) -> Outcome<IncrementalAlterConfigsResponse> {
        let resources = request.resources.iter().map(|resource| Changes {
            resource_type: resource.resource_type,
            resource_name: &resource.resource_name,
            configs: resource.configs.iter().map(|config| (&*config.name, config.config_operation, config.value.as_deref())).collect(),
            replaces_all: false,
        });
        let (records, results) = self.alter(resources.collect(), request.validate_only);
        let responses = request.resources.iter().zip(results).map(|(resource, result)| {
            let (code, message) = code_and_message(&result);
            incremental_alter_configs_response::AlterConfigsResourceResponse::default()
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name.clone())
                .with_error_code(code)
                .with_error_message(message)
        });
        Outcome { records, response: IncrementalAlterConfigsResponse::default().with_responses(responses.collect()) }
    }

    pub fn alter_configs(&self, request: &AlterConfigsRequest) -> Outcome<AlterConfigsResponse> {
        let resources = request.resources.iter().map(|resource| Changes {
            resource_type: resource.resource_type,
            resource_name: &resource.resource_name,
            configs: resource.configs.iter().map(|config| (&*config.name, SET, config.value.as_deref())).collect(),
            replaces_all: true,
        });
        let (records, results) = self.alter(resources.collect(), request.validate_only);
        let responses = request.resources.iter().zip(results).map(|(resource, result)| {
            let (code, message) = code_and_message(&result);
            alter_configs_response::AlterConfigsResourceResponse::default()
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name.clone())
                .with_error_code(code)
                .with_error_message(message)
        });
        Outcome { records, response: AlterConfigsResponse::default().with_responses(responses.collect()) }
    }

    /// Each resource succeeds or fails as a whole, and on its own.
    fn alter(&self, resources: Vec<Changes<'_>>, validate_only: bool) -> (Vec<MetadataRecord>, Vec<Result<(), Refusal>>) {
        let mut seen: BTreeMap<(i8, &str), usize> = BTreeMap::new();
        for resource in &resources {
            *seen.entry((resource.resource_type, resource.resource_name)).or_default() += 1;
        }
        let mut records = Vec::new();
        let results = resources
            .iter()
            .map(|resource| {
                if seen[&(resource.resource_type, resource.resource_name)] > 1 {
                    return Err(invalid_request("Each resource must appear at most once."));
                }
                records.extend(self.alter_resource(resource)?);
                Ok(())
            })
            .collect();
        if validate_only {
            records.clear();
        }
        (records, results)
    }

    fn alter_resource(&self, changes: &Changes<'_>) -> Result<Vec<MetadataRecord>, Refusal> {
        let nulls: Vec<&str> = changes
            .configs
            .iter()
            .filter(|(_, operation, value)| *operation != DELETE && value.is_none())
            .map(|(name, ..)| *name)
            .collect();
        if !nulls.is_empty() {
            return Err(invalid_request(format!("Null value not supported for : {}", nulls.join(","))));
        }
        let distinct: BTreeSet<&str> = changes.configs.iter().map(|(name, ..)| *name).collect();
        if distinct.len() != changes.configs.len() {
            return Err(invalid_request("Error due to duplicate config keys"));
        }
        let resource_type = ResourceType::from_code(changes.resource_type)
            .ok_or_else(|| invalid_request(format!("Unknown resource type {}", changes.resource_type)))?;
        let name = changes.resource_name;
        if resource_type == ResourceType::BrokerLogger {
            return Err(self.refuse_logger(changes));
        }
        let current = self.image.config(resource_type, name).cloned().unwrap_or_default();
        let mut wanted: BTreeMap<String, Option<String>> = BTreeMap::new();
        for &(key, operation, value) in &changes.configs {
            let operation = Operation::from_code(operation)
                .ok_or_else(|| Refusal::new(ErrorCode::UnknownServerError, format!("Unknown operation {operation} for config {key}")))?;
            wanted.insert(key.to_owned(), self.new_value(resource_type, key, operation, value, current.get(key))?);
        }
        self.check_resource_name(resource_type, name)?;
        let mut after: BTreeMap<String, String> =
            if changes.replaces_all { BTreeMap::new() } else { current.iter().map(|(key, value)| (key.clone(), value.clone())).collect() };
        for (key, value) in &wanted {
            match value {
                Some(value) => after.insert(key.clone(), value.clone()),
                None => after.remove(key),
            };
        }
        check_size(name, &after)?;
        self.check_resource(resource_type, name, &wanted, &after)?;
        if changes.replaces_all {
            wanted.extend(current.keys().filter(|key| !after.contains_key(*key)).map(|key| (key.clone(), None)).collect::<Vec<_>>());
        }
        let changed = wanted.into_iter().filter(|(key, value)| current.get(key) != value.as_ref());
        Ok(changed
            .map(|(key, value)| {
                MetadataRecord::Config(ConfigRecord {
                    resource_type: resource_type.code(),
                    resource_name: name.to_owned(),
                    name: key,
                    value,
                })
            })
            .collect())
    }

    /// The value after an operation. Lists grow from and shrink to what is in force, also by default.
    fn new_value(
        &self,
        resource_type: ResourceType,
        key: &str,
        operation: Operation,
        value: Option<&str>,
        current: Option<&String>,
    ) -> Result<Option<String>, Refusal> {
        let value = value.unwrap_or_default();
        match operation {
            Operation::Set => Ok(Some(value.to_owned())),
            Operation::Delete => Ok(None),
            Operation::Append | Operation::Subtract => {
                let verb = if operation == Operation::Append { "APPEND" } else { "SUBTRACT" };
                if type_of(resource_type, key) != Some(ValueType::List) {
                    let message = format!("Can't {verb} to key {key} because its type is not LIST.");
                    return Err(Refusal::new(ErrorCode::InvalidConfig, message));
                }
                let default = || self.default_of(resource_type, key);
                let before = current.cloned().or_else(default).unwrap_or_default();
                let mut items: Vec<&str> = list_items(&before).into_iter().filter(|item| !item.is_empty()).collect();
                for item in list_items(value) {
                    match operation {
                        Operation::Append if !items.contains(&item) => items.push(item),
                        Operation::Subtract => items.retain(|other| *other != item),
                        _ => {}
                    }
                }
                Ok(Some(items.join(",")))
            }
        }
    }

    fn default_of(&self, resource_type: ResourceType, key: &str) -> Option<String> {
        match resource_type {
            ResourceType::Topic => topic::find(key).map(|row| self.layers().topic_default(row)),
            ResourceType::Broker => self.settings.text(key).map(str::to_owned),
            ResourceType::Group => group::find(key).map(|row| self.settings.group_default(row)),
            _ => None,
        }
    }

    fn check_resource(
        &self,
        resource_type: ResourceType,
        name: &str,
        wanted: &BTreeMap<String, Option<String>>,
        after: &BTreeMap<String, String>,
    ) -> Result<(), Refusal> {
        match resource_type {
            ResourceType::Topic => {
                self.check_topic_configs(after)?;
                if self.image.topic(name).is_none() {
                    return Err(Refusal::new(ErrorCode::UnknownTopicOrPartition, format!("The topic '{name}' does not exist.")));
                }
                Ok(())
            }
            ResourceType::Broker => self.check_broker_changes(name, wanted),
            ResourceType::Group => self.check_group_configs(after),
            ResourceType::ClientMetrics => Err(invalid_request("Client metrics subscriptions are not supported.")),
            ResourceType::BrokerLogger => Ok(()),
        }
    }

    /// Kafka changes log4j levels this way. What the process logs is the setting `odradek.log.level`.
    fn refuse_logger(&self, changes: &Changes<'_>) -> Refusal {
        let named = changes.resource_name.parse::<i32>();
        match named {
            Err(_) => invalid_request(format!("Node id must be an integer, but it is: {}", changes.resource_name)),
            Ok(id) if !self.view.has_broker(self.image, odradek_base::BrokerId(id)) => {
                invalid_request(format!("Unexpected node id, no node {id} is registered"))
            }
            Ok(_) => {
                let logger = changes.configs.first().map_or("", |(name, ..)| name);
                Refusal::new(ErrorCode::InvalidConfig, format!("Logger {logger} does not exist!"))
            }
        }
    }
}

fn check_size(resource_name: &str, configs: &BTreeMap<String, String>) -> Result<(), Refusal> {
    let fits = |name: &str, value: &str| name.len() <= NAME_BYTES_MAX && value.len() <= VALUE_BYTES_MAX;
    if configs.len() > CONFIGS_PER_RESOURCE_MAX
        || resource_name.len() > NAME_BYTES_MAX
        || !configs.iter().all(|(name, value)| fits(name, value))
    {
        return Err(Refusal::new(ErrorCode::InvalidConfig, "Too many configs, or a name or value is too long."));
    }
    Ok(())
}

fn type_of(resource_type: ResourceType, key: &str) -> Option<ValueType> {
    match resource_type {
        ResourceType::Topic => topic::find(key).map(|row| row.value_type),
        ResourceType::Broker => table::find(key).map(|row| row.value_type),
        ResourceType::Group => group::find(key).map(|row| row.value_type),
        ResourceType::ClientMetrics | ResourceType::BrokerLogger => None,
    }
}

fn code_and_message(result: &Result<(), Refusal>) -> (i16, Option<crate::protocol::StrBytes>) {
    match result {
        Ok(()) => (0, None),
        Err(refusal) => (refusal.code.code(), Some(text(refusal.message.as_str()))),
    }
}
