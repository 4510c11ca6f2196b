//! Properties of clients, from files (`--command-config`) and `key=value` arguments.

use super::ToolError;
use crate::console::Console;
use std::collections::BTreeMap;

/// Loads a Java properties file.
pub fn load(path: &str) -> Result<BTreeMap<String, String>, ToolError> {
    let failed = |reason: String| ToolError::Failed(format!("{path}: {reason}"));
    let size = std::fs::metadata(path).map_err(|e| failed(e.to_string()))?.len();
    if size > odradek_settings::properties::FILE_BYTES_MAX {
        return Err(failed(format!("larger than {} bytes", odradek_settings::properties::FILE_BYTES_MAX)));
    }
    let bytes = std::fs::read(path).map_err(|e| failed(e.to_string()))?;
    let parsed = odradek_settings::properties::parse(&odradek_settings::properties::decode(&bytes)).map_err(|e| failed(e.to_string()))?;
    Ok(parsed.into_iter().map(|p| (p.key, p.value)).collect())
}

/// Adds `key=value` arguments; a value may contain `=`, a missing one is empty.
pub fn add_arguments(properties: &mut BTreeMap<String, String>, arguments: &[String]) {
    for argument in arguments {
        let (key, value) = argument.split_once('=').unwrap_or((argument, ""));
        properties.insert(key.to_owned(), value.to_owned());
    }
}

/// Names what was given and has no effect: never silent.
pub fn warn_unused(properties: &BTreeMap<String, String>, console: &mut Console<'_>) {
    for (key, value) in properties {
        console.error_line(&format!("WARN: the property {key}={value} has no effect in this tool."));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_override_and_may_contain_equals() {
        let mut properties = BTreeMap::from([("a".to_owned(), "1".to_owned())]);
        add_arguments(&mut properties, &["a=2".into(), "b=x=y".into(), "c".into()]);
        assert_eq!(
            properties.into_iter().collect::<Vec<_>>(),
            [("a", "2"), ("b", "x=y"), ("c", "")].map(|(k, v)| (k.to_owned(), v.to_owned()))
        );
    }
}
