//! `kafka-broker-api-versions`: what each broker speaks (`org.apache.kafka.tools.BrokerApiVersionsCommand`).

use super::options::{OptionSpec, Parsed, with};
use super::{ToolError, connect, finish, parse_or_answer};
use crate::console::Console;
use odradek_client::Broker;
use std::collections::BTreeMap;

const PURPOSE: &str = "This tool helps to retrieve broker version information.";

pub const OPTIONS: [OptionSpec; 2] = [
    with("bootstrap-server", "server(s) to use for bootstrapping", "REQUIRED: the brokers to start from."),
    with("command-config", "command config property file", "Properties file for the connection."),
];

pub fn run(args: &[String], console: &mut Console<'_>) -> u8 {
    let result = parse_or_answer(&OPTIONS, PURPOSE, args, console).and_then(|parsed| execute(&parsed, console));
    finish(result, &OPTIONS, console, |error, console| {
        console.error_line(&error.text());
        1
    })
}

fn execute(parsed: &Parsed, console: &mut Console<'_>) -> Result<u8, ToolError> {
    let mut cluster = connect(parsed, "kafka-broker-api-versions", console)?;
    let brokers: Vec<Broker> = cluster.brokers().cloned().collect();
    for broker in brokers {
        let text = match cluster.connection(broker.id) {
            Ok(connection) => versions(connection.api_versions()),
            Err(error) => format!("ERROR: {error}"),
        };
        let rack = broker.rack.as_deref().unwrap_or("null");
        console.line(&format!("{}:{} (id: {} rack: {rack} isFenced: false) -> {text}", broker.host, broker.port, broker.id));
    }
    Ok(0)
}

/// As `NodeApiVersions.toString(true)`: one line per API, by key; the usable version is the newest of both sides.
fn versions(apis: &BTreeMap<i16, (i16, i16)>) -> String {
    let lines: Vec<String> = apis
        .iter()
        .map(|(&key, &(min, max))| {
            let range = if min == max { min.to_string() } else { format!("{min} to {max}") };
            let name = odradek_wire::api::name(key);
            format!("\t{name}({key}): {range} [usable: {max}]")
        })
        .collect();
    format!("(\n{}\n)", lines.join(",\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_per_api() {
        let apis = BTreeMap::from([(0, (0, 13)), (61, (0, 0))]);
        let text = versions(&apis);
        assert!(text.starts_with("(\n\tProduce(0): 0 to 13 [usable: 13],\n"), "{text}");
        assert!(text.ends_with("(61): 0 [usable: 0]\n)"), "{text}");
    }
}
