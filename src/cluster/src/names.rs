//! Rules for topic names (`org.apache.kafka.common.internals.Topic`).

use odradek_base::limits::TOPIC_NAME_LENGTH_MAX;

pub const CONSUMER_OFFSETS: &str = "__consumer_offsets";
pub const TRANSACTION_STATE: &str = "__transaction_state";
pub const SHARE_GROUP_STATE: &str = "__share_group_state";
/// The metadata log itself; it is no topic that clients can make.
pub const CLUSTER_METADATA: &str = "__cluster_metadata";

/// Topics that belong to the brokers.
pub fn is_internal(name: &str) -> bool {
    matches!(name, CONSUMER_OFFSETS | TRANSACTION_STATE | SHARE_GROUP_STATE)
}

/// Whether a topic may have this name.
///
/// # Errors
/// The text for the client; the code is INVALID_TOPIC_EXCEPTION.
pub fn check(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("Topic name is invalid: the empty string is not allowed".to_owned());
    }
    if name == "." || name == ".." {
        return Err(format!("Topic name is invalid: '{name}' is not allowed"));
    }
    if name.chars().count() > TOPIC_NAME_LENGTH_MAX {
        return Err(format!("Topic name is invalid: the length of '{name}' is longer than the max allowed length {TOPIC_NAME_LENGTH_MAX}"));
    }
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')) {
        return Err(format!(
            "Topic name is invalid: '{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"
        ));
    }
    Ok(())
}

/// Whether the name has a character that metric names confuse with another one.
pub fn may_collide(name: &str) -> bool {
    name.contains(['.', '_'])
}

/// The name under which `.` and `_` are the same.
pub fn collision_key(name: &str) -> String {
    name.replace('.', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let long = "x".repeat(249);
        let too_long = "x".repeat(250);
        let table = [
            ("a", true),
            ("A-z_0.9", true),
            ("...", true),
            (long.as_str(), true),
            (too_long.as_str(), false),
            ("", false),
            (".", false),
            ("..", false),
            ("a b", false),
            ("a/b", false),
            ("a:b", false),
            ("t\u{fc}", false),
            ("a\0", false),
        ];
        for (name, fits) in table {
            assert_eq!(check(name).is_ok(), fits, "{name:?}");
        }
        assert_eq!(collision_key("a.b_c"), collision_key("a_b.c"));
        assert!(!may_collide("a-b") && may_collide("a.b"));
        assert!(is_internal("__consumer_offsets") && !is_internal("__cluster_metadata"));
    }
}
