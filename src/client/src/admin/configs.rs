//! Configurations: DescribeConfigs, IncrementalAlterConfigs, ListConfigResources.

use super::Admin;
use crate::cluster::text;
use crate::error::ClientError;
use odradek_wire::messages::describe_configs_request::{DescribeConfigsRequest, DescribeConfigsResource};
use odradek_wire::messages::describe_configs_response::DescribeConfigsResourceResult;
use odradek_wire::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest};

/// Kinds of resources that have configurations, with Kafka's numbers (`ConfigResource.Type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ResourceType {
    Topic = 2,
    Broker = 4,
    BrokerLogger = 8,
    ClientMetrics = 16,
    Group = 32,
}

/// A resource; the empty broker name is the cluster-wide default.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConfigResource {
    pub kind: ResourceType,
    pub name: String,
}

/// Where a value comes from (`ConfigEntry.ConfigSource`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigSource {
    DynamicTopic,
    DynamicBroker,
    DynamicDefaultBroker,
    StaticBroker,
    Default,
    DynamicBrokerLogger,
    DynamicClientMetrics,
    DynamicGroup,
    Unknown,
}

impl ConfigSource {
    fn from_code(code: i8) -> Self {
        match code {
            1 => Self::DynamicTopic,
            2 => Self::DynamicBroker,
            3 => Self::DynamicDefaultBroker,
            4 => Self::StaticBroker,
            5 => Self::Default,
            6 => Self::DynamicBrokerLogger,
            7 => Self::DynamicClientMetrics,
            8 => Self::DynamicGroup,
            _ => Self::Unknown,
        }
    }

    /// Kafka's name: `DYNAMIC_TOPIC_CONFIG`.
    pub fn name(self) -> &'static str {
        match self {
            Self::DynamicTopic => "DYNAMIC_TOPIC_CONFIG",
            Self::DynamicBroker => "DYNAMIC_BROKER_CONFIG",
            Self::DynamicDefaultBroker => "DYNAMIC_DEFAULT_BROKER_CONFIG",
            Self::StaticBroker => "STATIC_BROKER_CONFIG",
            Self::Default => "DEFAULT_CONFIG",
            Self::DynamicBrokerLogger => "DYNAMIC_BROKER_LOGGER_CONFIG",
            Self::DynamicClientMetrics => "DYNAMIC_CLIENT_METRICS_CONFIG",
            Self::DynamicGroup => "DYNAMIC_GROUP_CONFIG",
            Self::Unknown => "UNKNOWN",
        }
    }
}

/// A value that stands behind another, nearest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigSynonym {
    pub name: String,
    pub value: Option<String>,
    pub source: ConfigSource,
}

/// One configuration of a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigEntry {
    pub name: String,
    /// `None` for sensitive values.
    pub value: Option<String>,
    pub source: ConfigSource,
    pub read_only: bool,
    pub sensitive: bool,
    pub synonyms: Vec<ConfigSynonym>,
}

/// What to do with a configuration (KIP-339).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlterOperation {
    Set = 0,
    Delete = 1,
    Append = 2,
    Subtract = 3,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlterConfig {
    pub name: String,
    pub operation: AlterOperation,
    /// `None` for `Delete`.
    pub value: Option<String>,
}

impl Admin<'_> {
    /// All configurations of a resource, in the broker's order.
    pub fn describe_configs(&mut self, resource: &ConfigResource, synonyms: bool) -> Result<Vec<ConfigEntry>, ClientError> {
        let wanted = DescribeConfigsResource::default()
            .with_resource_type(resource.kind as i8)
            .with_resource_name(text(&resource.name))
            .with_configuration_keys(None);
        let request = DescribeConfigsRequest::default().with_resources(vec![wanted]).with_include_synonyms(synonyms);
        let response = match broker_of(resource) {
            Some(broker) => self.cluster.call(broker, &request)?,
            None => self.cluster.call_any(&request)?,
        };
        let mut entries = Vec::new();
        for result in response.results {
            ClientError::check(result.error_code, describe(resource), result.error_message.as_deref())?;
            entries.extend(result.configs.into_iter().map(to_entry));
        }
        Ok(entries)
    }

    /// Applies changes to one resource, all or none.
    pub fn alter_configs(&mut self, resource: &ConfigResource, changes: &[AlterConfig], validate_only: bool) -> Result<(), ClientError> {
        let configs = changes
            .iter()
            .map(|c| {
                AlterableConfig::default()
                    .with_name(text(&c.name))
                    .with_config_operation(c.operation as i8)
                    .with_value(c.value.as_deref().map(text))
            })
            .collect();
        let wanted = AlterConfigsResource::default()
            .with_resource_type(resource.kind as i8)
            .with_resource_name(text(&resource.name))
            .with_configs(configs);
        let request = IncrementalAlterConfigsRequest::default().with_resources(vec![wanted]).with_validate_only(validate_only);
        let response = match broker_of(resource) {
            Some(broker) => self.cluster.call(broker, &request)?,
            None => self.cluster.call_controller(&request)?,
        };
        for result in response.responses {
            ClientError::check(result.error_code, describe(resource), result.error_message.as_deref())?;
        }
        Ok(())
    }
}

/// Configurations of one broker are asked of that broker.
fn broker_of(resource: &ConfigResource) -> Option<i32> {
    match resource.kind {
        ResourceType::Broker | ResourceType::BrokerLogger => resource.name.parse().ok(),
        _ => None,
    }
}

fn describe(resource: &ConfigResource) -> String {
    let kind = match resource.kind {
        ResourceType::Topic => "topic",
        ResourceType::Broker => "broker",
        ResourceType::BrokerLogger => "broker logger",
        ResourceType::ClientMetrics => "client metrics",
        ResourceType::Group => "group",
    };
    format!("{kind} '{}'", resource.name)
}

fn to_entry(config: DescribeConfigsResourceResult) -> ConfigEntry {
    ConfigEntry {
        name: config.name.to_string(),
        value: config.value.map(|v| v.to_string()),
        source: ConfigSource::from_code(config.config_source),
        read_only: config.read_only,
        sensitive: config.is_sensitive,
        synonyms: config
            .synonyms
            .into_iter()
            .map(|s| ConfigSynonym {
                name: s.name.to_string(),
                value: s.value.map(|v| v.to_string()),
                source: ConfigSource::from_code(s.source),
            })
            .collect(),
    }
}
