//! Topic names as patterns: `IncludeList` of Kafka's tools.

use super::ToolError;
use regex::Regex;

/// A regular expression that has to match the whole name; a comma separates alternatives.
#[derive(Debug, Clone)]
pub struct TopicFilter(Regex);

impl TopicFilter {
    pub fn new(pattern: &str) -> Result<Self, ToolError> {
        let cleaned: String = pattern.trim().chars().filter(|c| *c != ' ').map(|c| if c == ',' { '|' } else { c }).collect();
        let cleaned = cleaned.trim_matches(['"', '\'']);
        Regex::new(&format!("^(?:{cleaned})$")).map(Self).map_err(|_| ToolError::Failed(format!("{pattern} is an invalid regex.")))
    }

    pub fn matches(&self, topic: &str) -> bool {
        self.0.is_match(topic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_names() {
        let filter = TopicFilter::new("\"orders.*, audit\"").unwrap();
        for (name, expected) in [("orders-1", true), ("audit", true), ("my-orders", false), ("auditor", false)] {
            assert_eq!(filter.matches(name), expected, "{name}");
        }
        assert!(TopicFilter::new("(").is_err());
    }
}
