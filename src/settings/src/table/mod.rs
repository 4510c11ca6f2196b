//! The rows. Broker keys are split by area; each area is a constant table of one line per key.

mod groups;
pub(crate) mod log;
mod network;
mod odradek;
mod replication;
mod security;
mod server;
mod tiering;

use crate::rule::{Rule, ValueError};
use crate::value::ValueType;

/// Whether and how a broker setting can change while the broker runs (KIP-226).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    ReadOnly,
    PerBroker,
    ClusterWide,
}

/// Whether Odradek does anything with the key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    ActedOn,
    /// Kafka has the key; here it is accepted, told by DescribeConfigs and named in one warning when a file sets it.
    NoMeaningHere,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Importance {
    High,
    Medium,
    Low,
}

/// One setting.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Setting {
    pub name: &'static str,
    pub value_type: ValueType,
    /// Text of the default; `None` is Kafka's null.
    pub default: Option<&'static str>,
    pub rule: Rule,
    pub change: Change,
    pub effect: Effect,
    pub importance: Importance,
    pub doc: &'static str,
}

impl Setting {
    /// A row that Odradek acts on, read-only, of medium importance, any value of its type.
    pub(crate) const fn new(name: &'static str, value_type: ValueType, default: &'static str, doc: &'static str) -> Self {
        Self {
            name,
            value_type,
            default: Some(default),
            rule: Rule::Any,
            change: Change::ReadOnly,
            effect: Effect::ActedOn,
            importance: Importance::Medium,
            doc,
        }
    }

    pub(crate) const fn null(name: &'static str, value_type: ValueType, doc: &'static str) -> Self {
        let mut row = Self::new(name, value_type, "", doc);
        row.default = None;
        row
    }

    pub(crate) const fn rule(mut self, rule: Rule) -> Self {
        self.rule = rule;
        self
    }

    pub(crate) const fn at_least(self, min: i64) -> Self {
        self.rule(Rule::at_least(min))
    }

    pub(crate) const fn between(self, min: i64, max: i64) -> Self {
        self.rule(Rule::Between { min, max })
    }

    pub(crate) const fn per_broker(mut self) -> Self {
        self.change = Change::PerBroker;
        self
    }

    pub(crate) const fn cluster_wide(mut self) -> Self {
        self.change = Change::ClusterWide;
        self
    }

    pub(crate) const fn unused(mut self) -> Self {
        self.effect = Effect::NoMeaningHere;
        self
    }

    pub(crate) const fn high(mut self) -> Self {
        self.importance = Importance::High;
        self
    }

    pub(crate) const fn low(mut self) -> Self {
        self.importance = Importance::Low;
        self
    }

    /// # Errors
    /// The value is not of the type, or outside its bounds.
    pub fn check(&self, text: &str) -> Result<(), ValueError> {
        self.rule.check(self.name, self.value_type, text)
    }

    pub const fn is_sensitive(&self) -> bool {
        self.value_type.is_sensitive()
    }
}

/// The tables by area.
pub fn areas() -> [(&'static str, &'static [Setting]); 8] {
    [
        ("odradek", odradek::ROWS),
        ("server", server::ROWS),
        ("network", network::ROWS),
        ("log", log::ROWS),
        ("replication", replication::ROWS),
        ("groups and transactions", groups::ROWS),
        ("security", security::ROWS),
        ("tiered storage and metrics", tiering::ROWS),
    ]
}

/// Every broker setting, by name.
pub fn all() -> impl Iterator<Item = &'static Setting> {
    index().iter().copied()
}

/// The broker setting of that name.
pub fn find(name: &str) -> Option<&'static Setting> {
    let index = index();
    index.binary_search_by(|row| row.name.cmp(name)).ok().map(|at| index[at])
}

fn index() -> &'static [&'static Setting] {
    static INDEX: std::sync::OnceLock<Vec<&'static Setting>> = std::sync::OnceLock::new();
    INDEX.get_or_init(|| {
        let mut rows: Vec<&'static Setting> = areas().into_iter().flat_map(|(_, rows)| rows).collect();
        rows.sort_by_key(|row| row.name);
        rows
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_defaults_pass_their_rule() {
        let names: Vec<_> = all().map(|row| row.name).collect();
        assert!(names.windows(2).all(|pair| pair[0] < pair[1]), "a name occurs twice");
        for row in all() {
            assert!(!row.doc.is_empty(), "{} has no doc", row.name);
            if let Some(default) = row.default {
                row.check(default).unwrap();
                assert_eq!(crate::canonical(row.value_type, default), default, "{}", row.name);
            }
        }
    }

    #[test]
    fn rows_are_found_by_name() {
        assert_eq!(find("listeners").map(|row| row.name), Some("listeners"));
        assert_eq!(find("nope"), None);
    }
}
