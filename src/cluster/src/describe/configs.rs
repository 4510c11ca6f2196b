//! DescribeConfigs (KIP-133, KIP-226, KIP-569).

use crate::image::{Image, Layers};
use crate::names;
use crate::protocol::messages::describe_configs_request::DescribeConfigsResource;
use crate::protocol::messages::describe_configs_response::{DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym};
use crate::protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};
use crate::protocol::{ErrorCode, Refusal, text};
use crate::resource::{ConfigSource, ResourceType};
use crate::view::View;
use odradek_base::BrokerId;
use odradek_settings::{Change, Setting, Settings, ValueType, canonical, group, table, topic};

/// `local` is a shard of this node. Brokers are only told about on their own node, which alone has their properties file.
pub fn configs(
    image: &Image,
    settings: &Settings,
    view: &View<'_>,
    local: BrokerId,
    request: &DescribeConfigsRequest,
) -> DescribeConfigsResponse {
    let teller = Teller { image, settings, view, local, request };
    let results = request.resources.iter().map(|resource| {
        let result =
            DescribeConfigsResult::default().with_resource_type(resource.resource_type).with_resource_name(resource.resource_name.clone());
        match teller.tell(resource) {
            Ok(configs) => result.with_configs(configs),
            Err(refusal) => {
                let message = refusal.message();
                result.with_error_code(refusal.code.code()).with_error_message(message)
            }
        }
    });
    DescribeConfigsResponse::default().with_results(results.collect())
}

struct Teller<'a> {
    image: &'a Image,
    settings: &'a Settings,
    view: &'a View<'a>,
    local: BrokerId,
    request: &'a DescribeConfigsRequest,
}

/// One value and where it comes from; `None` is not told (secrets) or null.
struct Synonym {
    name: String,
    value: Option<String>,
    source: ConfigSource,
}

/// One config of any resource before it becomes a message.
struct Told<'a> {
    name: &'a str,
    value: Option<String>,
    value_type: Option<ValueType>,
    read_only: bool,
    synonyms: Vec<Synonym>,
    doc: &'a str,
}

fn invalid_request(message: impl Into<String>) -> Refusal {
    Refusal::new(ErrorCode::InvalidRequest, message)
}

impl Teller<'_> {
    fn tell(&self, resource: &DescribeConfigsResource) -> Result<Vec<DescribeConfigsResourceResult>, Refusal> {
        let name: &str = &resource.resource_name;
        let resource_type = ResourceType::from_code(resource.resource_type)
            .ok_or_else(|| invalid_request(format!("Unsupported resource type: {}", resource.resource_type)))?;
        let wanted = |config: &str| match &resource.configuration_keys {
            Some(keys) if !keys.is_empty() => keys.iter().any(|key| **key == *config),
            _ => true,
        };
        match resource_type {
            ResourceType::Topic => self.topic(name, &wanted),
            ResourceType::Broker if name.is_empty() => Ok(self.broker_defaults(&wanted)),
            ResourceType::Broker => self.broker(name, &wanted),
            ResourceType::BrokerLogger => self.broker_logger(name, &wanted),
            ResourceType::ClientMetrics if name.is_empty() => Err(invalid_request("Client metrics subscription name must not be empty")),
            ResourceType::ClientMetrics => Ok(self.client_metrics(&wanted)),
            ResourceType::Group if name.is_empty() => Err(invalid_request("Group name must not be empty")),
            ResourceType::Group => Ok(self.group(name, &wanted)),
        }
    }

    fn topic(&self, name: &str, wanted: &dyn Fn(&str) -> bool) -> Result<Vec<DescribeConfigsResourceResult>, Refusal> {
        names::check(name).map_err(|message| Refusal::new(ErrorCode::InvalidTopicException, message))?;
        if self.image.topic(name).is_none() {
            return Err(Refusal::new(ErrorCode::UnknownTopicOrPartition, ""));
        }
        let layers = self.layers(self.view.id(self.local));
        let own = self.image.config(ResourceType::Topic, name);
        let values = layers.topic_settings(own);
        let rows = topic::all().iter().filter(|row| wanted(row.name)).map(|row| {
            let value = values.get(row.name).to_owned();
            let mut synonyms = Vec::new();
            if own.is_some_and(|own| own.contains_key(row.name)) {
                synonyms.push(Synonym { name: row.name.to_owned(), value: Some(value.clone()), source: ConfigSource::Topic });
            }
            synonyms.extend(row.broker_synonym.into_iter().flat_map(|synonym| broker_synonyms(&layers, synonym)));
            self.message(Told {
                name: row.name,
                value: Some(value),
                value_type: Some(row.value_type),
                read_only: false,
                synonyms,
                doc: row.doc,
            })
        });
        Ok(rows.collect())
    }

    /// The dynamic configs that hold for all brokers.
    fn broker_defaults(&self, wanted: &dyn Fn(&str) -> bool) -> Vec<DescribeConfigsResourceResult> {
        let Some(configs) = self.image.config(ResourceType::Broker, "") else { return Vec::new() };
        let rows = configs.iter().filter(|(name, _)| wanted(name)).map(|(name, value)| {
            let row = table::find(name);
            let value = Some(value.clone()).filter(|_| row.is_none_or(|row| !row.is_sensitive()));
            let synonyms = vec![Synonym { name: name.clone(), value: value.clone(), source: ConfigSource::DynamicDefaultBroker }];
            self.message(Told {
                name,
                value,
                value_type: row.map(|row| row.value_type),
                read_only: row.is_none_or(|row| row.change == Change::ReadOnly),
                synonyms,
                doc: row.map_or("", |row| row.doc),
            })
        });
        rows.collect()
    }

    fn broker(&self, name: &str, wanted: &dyn Fn(&str) -> bool) -> Result<Vec<DescribeConfigsResourceResult>, Refusal> {
        let id = self.local_broker(name, "Unexpected broker id, expected a broker of this node or empty string, but received")?;
        let layers = self.layers(id);
        let rows = table::all().filter(|row| wanted(row.name)).map(|row| {
            let value = match row.name {
                "node.id" | "broker.id" => Some(self.settings.node_id().to_string()),
                _ => layers.broker_value(row.name).map(|value| canonical(row.value_type, &value)),
            };
            self.message(Told {
                name: row.name,
                value: value.filter(|_| !row.is_sensitive()),
                value_type: Some(row.value_type),
                read_only: row.change == Change::ReadOnly,
                synonyms: broker_synonyms(&layers, row.name),
                doc: row.doc,
            })
        });
        Ok(rows.collect())
    }

    /// Kafka lists log4j's loggers here. There is one: what the process logs.
    fn broker_logger(&self, name: &str, wanted: &dyn Fn(&str) -> bool) -> Result<Vec<DescribeConfigsResourceResult>, Refusal> {
        if name.is_empty() {
            return Err(invalid_request("Broker id must not be empty"));
        }
        self.local_broker(name, "Unexpected broker id, expected a broker of this node but received")?;
        let level = self.settings.log_level().to_ascii_uppercase();
        let root = DescribeConfigsResourceResult::default()
            .with_name(text("root"))
            .with_value(Some(text(level)))
            .with_config_source(ConfigSource::BrokerLogger.code());
        Ok(if wanted("root") { vec![root] } else { Vec::new() })
    }

    /// Client metrics are not collected (KIP-714): every subscription is the empty one.
    fn client_metrics(&self, wanted: &dyn Fn(&str) -> bool) -> Vec<DescribeConfigsResourceResult> {
        let rows = [
            ("interval.ms", "300000", ValueType::Int, "Milliseconds between pushes of a client's metrics."),
            ("match", "", ValueType::List, "Which clients the subscription is for."),
            ("metrics", "", ValueType::List, "Prefixes of the metrics that are wanted."),
        ];
        let told = rows.into_iter().filter(|(name, ..)| wanted(name)).map(|(name, value, value_type, doc)| {
            self.message(Told {
                name,
                value: Some(value.to_owned()),
                value_type: Some(value_type),
                read_only: false,
                synonyms: Vec::new(),
                doc,
            })
        });
        told.collect()
    }

    /// Groups have configs whether they exist or not.
    fn group(&self, name: &str, wanted: &dyn Fn(&str) -> bool) -> Vec<DescribeConfigsResourceResult> {
        let own = self.image.config(ResourceType::Group, name);
        let layers = self.layers(self.view.id(self.local));
        let rows = group::all().iter().filter(|row| wanted(row.name)).map(|row| {
            let given = own.and_then(|own| own.get(row.name)).map(|value| canonical(row.value_type, value));
            let mut synonyms = Vec::new();
            if let Some(value) = &given {
                synonyms.push(Synonym { name: row.name.to_owned(), value: Some(value.clone()), source: ConfigSource::Group });
            }
            match row.broker_synonym {
                Some(synonym) => synonyms.extend(broker_synonyms(&layers, synonym)),
                None => {
                    synonyms.push(Synonym { name: row.name.to_owned(), value: Some(row.default.to_owned()), source: ConfigSource::Default })
                }
            }
            let default = || row.broker_synonym.and_then(|synonym| layers.broker_value(synonym)).unwrap_or_else(|| row.default.to_owned());
            let value = given.unwrap_or_else(default);
            self.message(Told {
                name: row.name,
                value: Some(value),
                value_type: Some(row.value_type),
                read_only: false,
                synonyms,
                doc: row.doc,
            })
        });
        rows.collect()
    }

    fn layers(&self, broker: BrokerId) -> Layers<'_> {
        Layers::new(self.image, self.settings, broker)
    }

    /// The id of a broker of this node.
    fn local_broker(&self, name: &str, unexpected: &str) -> Result<BrokerId, Refusal> {
        let id = name.parse::<i32>().map_err(|_| invalid_request(format!("Broker id must be an integer, but it is: {name}")))?;
        let node = self.local.node_and_shard().0;
        let known = self.view.shards_of(self.image, BrokerId(id)).any(|broker| broker.id.node_and_shard().0 == node);
        if known { Ok(BrokerId(id)) } else { Err(invalid_request(format!("{unexpected} {name}"))) }
    }

    fn message(&self, told: Told<'_>) -> DescribeConfigsResourceResult {
        let source = told.synonyms.first().map_or(ConfigSource::Default, |synonym| synonym.source);
        let synonyms = if self.request.include_synonyms { told.synonyms } else { Vec::new() };
        let synonyms = synonyms.into_iter().map(|synonym| {
            DescribeConfigsSynonym::default()
                .with_name(text(synonym.name))
                .with_value(synonym.value.map(text))
                .with_source(synonym.source.code())
        });
        DescribeConfigsResourceResult::default()
            .with_name(text(told.name))
            .with_value(told.value.map(text))
            .with_read_only(told.read_only)
            .with_config_source(source.code())
            .with_is_sensitive(told.value_type.is_some_and(ValueType::is_sensitive))
            .with_synonyms(synonyms.collect())
            .with_config_type(told.value_type.map_or(0, ValueType::code))
            .with_documentation(Some(text(told.doc)).filter(|_| self.request.include_documentation))
    }
}

/// What every layer says about a broker setting, the strongest first. Other units of the same time (`log.retention.hours`)
/// count as synonyms, but only after the setting itself, so that they are not told while it is unset; Kafka does so
/// (`ConfigHelper.configSynonyms`).
fn broker_synonyms(layers: &Layers<'_>, name: &str) -> Vec<Synonym> {
    let units = topic::broker_synonyms(name);
    let names: Vec<&str> = if units.is_empty() { vec![name] } else { units.iter().map(|(name, _)| *name).collect() };
    let sensitive = table::find(name).is_some_and(Setting::is_sensitive);
    let mut all: Vec<Synonym> = Vec::new();
    for layer in [ConfigSource::DynamicBroker, ConfigSource::DynamicDefaultBroker, ConfigSource::StaticBroker, ConfigSource::Default] {
        for name in &names {
            let said = layers.sources(name).find(|(source, _)| *source == layer);
            all.extend(said.map(|(source, value)| Synonym { name: (*name).to_owned(), value: Some(value).filter(|_| !sensitive), source }));
        }
    }
    all.into_iter().skip_while(|synonym| synonym.name != name).collect()
}
