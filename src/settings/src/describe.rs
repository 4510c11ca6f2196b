//! What `odradek settings` prints: the whole table, with what is in force here.

use crate::load::Settings;
use crate::table::{self, Change, Effect, Importance};

/// One setting as it is in force.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    pub area: &'static str,
    pub name: &'static str,
    pub value_type: &'static str,
    /// `None` is Kafka's null. Passwords are hidden.
    pub value: Option<String>,
    pub default: Option<&'static str>,
    /// Bounds or permitted values; empty where everything of the type is allowed.
    pub allowed: String,
    /// `static`, `per-broker` or `cluster-wide`.
    pub change: &'static str,
    pub importance: &'static str,
    pub acted_on: bool,
    /// Where the value was given; empty for the default.
    pub origin: String,
    pub doc: &'static str,
}

impl Settings {
    /// Every setting: by area, then by name.
    pub fn describe(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        for (area, settings) in table::areas() {
            let start = rows.len();
            rows.extend(settings.iter().map(|row| {
                let shown = if row.is_sensitive() { self.given(row.name).map(|_| "[hidden]") } else { self.text(row.name) };
                Row {
                    area,
                    name: row.name,
                    value_type: row.value_type.name(),
                    value: shown.map(str::to_owned),
                    default: row.default,
                    allowed: row.rule.to_string(),
                    change: match row.change {
                        Change::ReadOnly => "static",
                        Change::PerBroker => "per-broker",
                        Change::ClusterWide => "cluster-wide",
                    },
                    importance: match row.importance {
                        Importance::High => "high",
                        Importance::Medium => "medium",
                        Importance::Low => "low",
                    },
                    acted_on: row.effect == Effect::ActedOn,
                    origin: self.given.get(row.name).map(|given| given.origin.to_string()).unwrap_or_default(),
                    doc: row.doc,
                }
            }));
            rows[start..].sort_by_key(|row| row.name);
        }
        rows
    }

    /// [`Settings::describe`] as plain text, one paragraph per setting.
    pub fn describe_text(&self) -> String {
        let mut out = String::new();
        let mut area = "";
        for row in self.describe() {
            if row.area != area {
                area = row.area;
                out.push_str(&format!("# {area}\n\n"));
            }
            let value = row.value.as_deref().unwrap_or("null");
            out.push_str(&format!("{} = {value}\n    {}, {}, {}", row.name, row.value_type, row.change, row.importance));
            if !row.allowed.is_empty() {
                out.push_str(&format!(", {}", row.allowed));
            }
            if row.origin.is_empty() {
                out.push_str(", default");
            } else {
                out.push_str(&format!(", default {}, set by {}", row.default.unwrap_or("null"), row.origin));
            }
            out.push_str(if row.acted_on { "\n" } else { ", no meaning here\n" });
            out.push_str(&format!("    {}\n\n", row.doc));
        }
        out
    }

    /// [`Settings::describe`] as a JSON array.
    pub fn describe_json(&self) -> String {
        let rows: Vec<String> = self
            .describe()
            .into_iter()
            .map(|row| {
                format!(
                    "  {{\"name\": {}, \"area\": {}, \"type\": {}, \"value\": {}, \"default\": {}, \"allowed\": {}, \"change\": {}, \"importance\": {}, \
                     \"actedOn\": {}, \"origin\": {}, \"doc\": {}}}",
                    json(row.name),
                    json(row.area),
                    json(row.value_type),
                    row.value.as_deref().map_or("null".to_owned(), json),
                    row.default.map_or("null".to_owned(), json),
                    json(&row.allowed),
                    json(row.change),
                    json(row.importance),
                    row.acted_on,
                    json(&row.origin),
                    json(row.doc),
                )
            })
            .collect();
        format!("[\n{}\n]\n", rows.join(",\n"))
    }
}

/// A JSON string.
fn json(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_origins_and_secrets() {
        let file = b"num.partitions=3\nssl.key.password=geheim\n";
        let (settings, _) = Settings::parse(file, "server.properties", &["log.dirs=a\"b".to_owned()]).unwrap();
        let rows = settings.describe();
        let row = |name| rows.iter().find(|row| row.name == name).unwrap();
        assert_eq!((row("num.partitions").value.as_deref(), row("num.partitions").origin.as_str()), (Some("3"), "server.properties:1"));
        assert_eq!(row("ssl.key.password").value.as_deref(), Some("[hidden]"));
        for text in [settings.describe_text(), settings.describe_json()] {
            assert!(!text.contains("geheim"));
        }
        assert!(settings.describe_json().contains(r#""name": "log.dirs", "area": "log", "type": "list", "value": "a\"b""#));
        assert!(
            settings
                .describe_text()
                .contains("num.partitions = 3\n    int, static, medium, [1,...], default 1, set by server.properties:1\n")
        );
    }
}
