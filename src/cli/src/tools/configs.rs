//! `kafka-configs`: configurations of topics, brokers, groups and client metrics (`kafka.admin.ConfigCommand`).

use super::options::{Argument, OptionSpec, Parsed, flag, refused, with};
use super::{ToolError, connect, finish, parse_or_answer, properties, usage_error};
use crate::console::Console;
use odradek_client::Cluster;
use odradek_client::admin::{AlterConfig, AlterOperation, ConfigEntry, ConfigResource, ConfigSource, ResourceType};
use std::collections::BTreeMap;

const PURPOSE: &str =
    "This tool helps to manipulate and describe entity config for a topic, client, user, broker, ip, client-metrics or group";

pub const OPTIONS: [OptionSpec; 24] = [
    with("bootstrap-server", "server to connect to", "REQUIRED: the brokers to start from."),
    with("command-config", "command config property file", "Properties file for the connection."),
    flag("alter", "Alter the configuration of an entity."),
    flag("describe", "List the configurations of entities."),
    flag("all", "With --describe: all configurations, also static and default ones."),
    with("entity-type", "type", "topics, brokers, broker-loggers, client-metrics or groups."),
    with("entity-name", "name", "Name of the entity."),
    flag("entity-default", "The default entity of the type (brokers only)."),
    with("add-config", "k1=v1,k2=[v1,v2]", "Configurations to set; square brackets hold values with commas."),
    with("add-config-file", "path", "Properties file with configurations to set."),
    with("delete-config", "k1,k2", "Configurations to remove."),
    with("topic", "topic", "As --entity-type topics --entity-name."),
    with("broker", "id", "As --entity-type brokers --entity-name."),
    with("broker-logger", "id", "As --entity-type broker-loggers --entity-name."),
    with("client-metrics", "name", "As --entity-type client-metrics --entity-name."),
    with("group", "group", "As --entity-type groups --entity-name."),
    flag("broker-defaults", "As --entity-type brokers --entity-default."),
    refused("user", Argument::Required("user"), "quotas and SCRAM credentials are not implemented by this tool"),
    refused("user-defaults", Argument::None, "quotas are not implemented by this tool"),
    refused("client", Argument::Required("client"), "quotas are not implemented by this tool"),
    refused("client-defaults", Argument::None, "quotas are not implemented by this tool"),
    refused("ip", Argument::Required("ip"), "quotas are not implemented by this tool"),
    refused("ip-defaults", Argument::None, "quotas are not implemented by this tool"),
    refused("bootstrap-controller", Argument::Required("controller"), "controllers cannot be asked directly; use --bootstrap-server"),
];

pub fn run(args: &[String], console: &mut Console<'_>) -> u8 {
    let result = parse_or_answer(&OPTIONS, PURPOSE, args, console).and_then(|parsed| execute(&parsed, console));
    finish(result, &OPTIONS, console, |error, console| {
        console.error_line(&format!("Error while executing config command with args '{}'", args.join(" ")));
        console.error_line(&error.text());
        1
    })
}

/// An entity type with Kafka's words for it.
#[derive(Clone, Copy)]
struct Kind {
    resource: ResourceType,
    plural: &'static str,
    singular: &'static str,
    short_option: &'static str,
}

const KINDS: [Kind; 5] = [
    Kind { resource: ResourceType::Topic, plural: "topics", singular: "topic", short_option: "topic" },
    Kind { resource: ResourceType::Broker, plural: "brokers", singular: "broker", short_option: "broker" },
    Kind { resource: ResourceType::BrokerLogger, plural: "broker-loggers", singular: "broker-logger", short_option: "broker-logger" },
    Kind { resource: ResourceType::ClientMetrics, plural: "client-metrics", singular: "client-metric", short_option: "client-metrics" },
    Kind { resource: ResourceType::Group, plural: "groups", singular: "group", short_option: "group" },
];

fn execute(parsed: &Parsed, console: &mut Console<'_>) -> Result<u8, ToolError> {
    if parsed.has("alter") == parsed.has("describe") {
        return Err(ToolError::Usage("Command must include exactly one action: --describe, --alter".to_owned()));
    }
    let (kind, name) = entity(parsed)?;
    if parsed.has("describe") {
        for option in ["add-config", "add-config-file", "delete-config"] {
            parsed.exclude(option, &["describe"]).map_err(usage_error)?;
        }
        let mut cluster = connect(parsed, "kafka-configs", console)?;
        return describe(parsed, &mut cluster, kind, name, console);
    }
    let changes = changes(parsed)?;
    let Some(name) = name else {
        return Err(ToolError::Usage("an entity name must be specified with --alter".to_owned()));
    };
    let mut cluster = connect(parsed, "kafka-configs", console)?;
    alter(&mut cluster, kind, &name, &changes)?;
    let what = if name.is_empty() { format!("default {}s in the cluster", kind.singular) } else { format!("{} {name}", kind.singular) };
    console.line(
        &format!("Completed updating {}config for {what}.", if name.is_empty() { "default " } else { "" }).replace("for default ", "for "),
    );
    Ok(0)
}

/// Type and name; the empty name is the default entity, `None` all entities.
fn entity(parsed: &Parsed) -> Result<(Kind, Option<String>), ToolError> {
    if parsed.has("broker-defaults") {
        return Ok((KINDS[1], Some(String::new())));
    }
    for kind in KINDS {
        if let Some(name) = parsed.value(kind.short_option).map_err(usage_error)? {
            return Ok((kind, Some(name.to_owned())));
        }
    }
    let Some(text) = parsed.value("entity-type").map_err(usage_error)? else {
        return Err(ToolError::Usage("At least one entity type must be specified".to_owned()));
    };
    let Some(kind) = KINDS.into_iter().find(|k| k.plural == text) else {
        return Err(match text {
            "users" | "clients" | "ips" => {
                ToolError::Failed(format!("--entity-type {text}: quotas and SCRAM credentials are not implemented by this tool"))
            }
            _ => ToolError::Usage(format!(
                "Invalid entity type {text}, the entity type must be one of topics, clients, users, brokers, ips, broker-loggers, client-metrics, groups with a --bootstrap-server or --bootstrap-controller argument"
            )),
        });
    };
    let name = match parsed.value("entity-name").map_err(usage_error)? {
        Some(name) => Some(name.to_owned()),
        None if parsed.has("entity-default") => Some(String::new()),
        None => None,
    };
    if name.as_deref() == Some("") && kind.resource != ResourceType::Broker {
        return Err(ToolError::Usage(format!("--entity-default: {} have no default entity", kind.plural)));
    }
    Ok((kind, name))
}

fn describe(parsed: &Parsed, cluster: &mut Cluster, kind: Kind, name: Option<String>, console: &mut Console<'_>) -> Result<u8, ToolError> {
    let mut names = match (name, kind.resource) {
        (Some(name), _) => vec![name],
        (None, ResourceType::Topic) => cluster.admin().list_topics(true)?.into_iter().map(|t| t.name).collect(),
        (None, ResourceType::Broker | ResourceType::BrokerLogger) => cluster.brokers().map(|b| b.id.to_string()).collect(),
        (None, ResourceType::Group) => cluster.admin().list_groups(&[], &[])?.into_iter().map(|g| g.id).collect(),
        (None, ResourceType::ClientMetrics) => return Err(ToolError::Failed("client-metrics need --entity-name in this tool".to_owned())),
    };
    if kind.resource == ResourceType::Broker && !parsed.has("entity-name") && !parsed.has("broker") && !names.iter().any(String::is_empty) {
        names.push(String::new());
    }
    let all = parsed.has("all") || kind.resource == ResourceType::BrokerLogger;
    for name in names {
        let heading = match name.as_str() {
            "" => format!("Default configs for {}s in the cluster are:", kind.singular),
            name => format!("{} configs for {} {name} are:", if all { "All" } else { "Dynamic" }, kind.singular),
        };
        if kind.resource == ResourceType::Topic && cluster.topic(&name).is_none() {
            cluster.refresh(odradek_client::Topics::Named(std::slice::from_ref(&name)), false)?;
            if cluster.topic(&name).is_none() {
                console.line(&format!("The {} '{name}' doesn't exist and doesn't have dynamic config.", kind.singular));
                continue;
            }
        }
        console.line(&heading);
        let resource = ConfigResource { kind: kind.resource, name };
        let mut entries = cluster.admin().describe_configs(&resource, true)?;
        entries.retain(|e| all || is_dynamic(e, &resource));
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        for entry in &entries {
            console.line(&entry_line(entry));
        }
    }
    Ok(0)
}

fn is_dynamic(entry: &ConfigEntry, resource: &ConfigResource) -> bool {
    let own = match resource.kind {
        ResourceType::Topic => ConfigSource::DynamicTopic,
        ResourceType::Broker if resource.name.is_empty() => ConfigSource::DynamicDefaultBroker,
        ResourceType::Broker => ConfigSource::DynamicBroker,
        ResourceType::BrokerLogger => ConfigSource::DynamicBrokerLogger,
        ResourceType::ClientMetrics => ConfigSource::DynamicClientMetrics,
        ResourceType::Group => ConfigSource::DynamicGroup,
    };
    entry.source == own || entry.synonyms.iter().any(|s| s.source == own)
}

fn entry_line(entry: &ConfigEntry) -> String {
    let value = |v: &Option<String>| v.clone().unwrap_or_else(|| "null".to_owned());
    let synonyms: Vec<String> = entry.synonyms.iter().map(|s| format!("{}:{}={}", s.source.name(), s.name, value(&s.value))).collect();
    format!("  {}={} sensitive={} synonyms={{{}}}", entry.name, value(&entry.value), entry.sensitive, synonyms.join(", "))
}

fn alter(cluster: &mut Cluster, kind: Kind, name: &str, changes: &[AlterConfig]) -> Result<(), ToolError> {
    let resource = ConfigResource { kind: kind.resource, name: name.to_owned() };
    let existing = cluster.admin().describe_configs(&resource, true)?;
    let invalid: Vec<&str> = changes
        .iter()
        .filter(|c| c.operation == AlterOperation::Delete && !existing.iter().any(|e| e.name == c.name && is_dynamic(e, &resource)))
        .map(|c| c.name.as_str())
        .collect();
    if !invalid.is_empty() {
        return Err(ToolError::Failed(format!("Invalid config(s): {}", invalid.join(","))));
    }
    Ok(cluster.admin().alter_configs(&resource, changes, false)?)
}

fn changes(parsed: &Parsed) -> Result<Vec<AlterConfig>, ToolError> {
    if !["add-config", "add-config-file", "delete-config"].iter().any(|o| parsed.has(o)) {
        return Err(ToolError::Usage(
            "At least one of --add-config, --add-config-file, or --delete-config must be specified with --alter".to_owned(),
        ));
    }
    parsed.exclude("add-config", &["add-config-file"]).map_err(usage_error)?;
    let mut set: BTreeMap<String, String> = match parsed.value("add-config-file").map_err(usage_error)? {
        Some(path) => properties::load(path)?,
        None => BTreeMap::new(),
    };
    for text in parsed.values("add-config") {
        set.extend(key_values(&text)?);
    }
    let deletions = parsed
        .values("delete-config")
        .iter()
        .flat_map(|t| t.split(','))
        .map(str::trim)
        .filter(|k| !k.is_empty())
        .map(str::to_owned)
        .collect::<Vec<_>>();
    let set = set.into_iter().map(|(name, value)| AlterConfig { name, operation: AlterOperation::Set, value: Some(value) });
    let delete = deletions.into_iter().map(|name| AlterConfig { name, operation: AlterOperation::Delete, value: None });
    Ok(set.chain(delete).collect())
}

/// `k1=v1,k2=[v1,v2],k3=v3`: brackets hold commas.
fn key_values(text: &str) -> Result<Vec<(String, String)>, ToolError> {
    let mut parts = vec![String::new()];
    let mut depth = 0;
    for c in text.chars() {
        match c {
            '[' => depth += 1,
            ']' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        parts.last_mut().expect("never empty").push(c);
    }
    parts
        .iter()
        .map(|part| part.trim())
        .filter(|part| !part.is_empty())
        .map(|part| match part.split_once('=') {
            Some((key, value)) => {
                let value = value.trim();
                let value = value.strip_prefix('[').and_then(|v| v.strip_suffix(']')).unwrap_or(value);
                Ok((key.trim().to_owned(), value.to_owned()))
            }
            None => Err(ToolError::Failed("Invalid entity config: all configs to be added must be in the format \"key=val\".".to_owned())),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use odradek_client::admin::ConfigSynonym;

    #[test]
    fn lists_with_brackets() {
        let pairs = key_values("k1=v1,k2=[a,b=c],k3=").unwrap();
        assert_eq!(pairs, [("k1", "v1"), ("k2", "a,b=c"), ("k3", "")].map(|(k, v)| (k.to_owned(), v.to_owned())));
        assert!(key_values("k1").is_err());
    }

    #[test]
    fn entries_as_kafka_prints_them() {
        let synonym = |source, name: &str, value: &str| ConfigSynonym { name: name.into(), value: Some(value.into()), source };
        let entry = ConfigEntry {
            name: "cleanup.policy".into(),
            value: Some("compact".into()),
            source: ConfigSource::DynamicTopic,
            read_only: false,
            sensitive: false,
            synonyms: vec![
                synonym(ConfigSource::DynamicTopic, "cleanup.policy", "compact"),
                synonym(ConfigSource::Default, "log.cleanup.policy", "delete"),
            ],
        };
        // Taken from kafka-configs of Apache Kafka 4.3.1.
        assert_eq!(
            entry_line(&entry),
            "  cleanup.policy=compact sensitive=false synonyms={DYNAMIC_TOPIC_CONFIG:cleanup.policy=compact, DEFAULT_CONFIG:log.cleanup.policy=delete}"
        );
    }
}
