//! Tables for people, JSON for scripts.

use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table};
use serde_json::Value;
use std::io::Write;

/// Prints a table with a heading; nothing but the heading when there are no rows.
pub fn table(header: &[&str], rows: Vec<Vec<String>>) {
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.iter().map(|h| h.to_string()).collect::<Vec<_>>());
    for row in rows {
        table.add_row(row);
    }
    let text: String = table.to_string().lines().map(|line| format!("{}\n", line.trim())).collect();
    print(&text);
}

/// Prints a JSON document, indented.
pub fn json(value: &Value) {
    print(&format!("{value:#}\n"));
}

/// Prints what was done to a topic or a group: a sentence, or with --json one line such as `{"result":"created","topic":"orders"}`.
pub fn done(as_json: bool, kind: &str, name: &str, result: &str) {
    print(&done_text(as_json, kind, name, result));
}

fn done_text(as_json: bool, kind: &str, name: &str, result: &str) -> String {
    if as_json { format!("{}\n", serde_json::json!({ kind: name, "result": result })) } else { format!("{kind} {name}: {result}\n") }
}

/// Prints text; a reader that went away is not an error.
pub fn print(text: &str) {
    let mut out = std::io::stdout();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// A field of a record for JSON: text where it is UTF-8, else an object with the bytes in hexadecimal.
pub fn bytes_json(bytes: Option<&[u8]>) -> Value {
    match bytes.map(std::str::from_utf8) {
        None => Value::Null,
        Some(Ok(text)) => Value::from(text),
        Some(Err(_)) => {
            let hex: String = bytes.unwrap_or_default().iter().map(|b| format!("{b:02x}")).collect();
            serde_json::json!({ "hex": hex })
        }
    }
}

/// `1 234 567` is hard to script but easy to read; tables for people group digits.
pub fn grouped(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3 + 1);
    if number < 0 {
        out.push('-');
    }
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_is_a_sentence_or_a_line_of_json() {
        assert_eq!(done_text(false, "topic", "orders", "created"), "topic orders: created\n");
        assert_eq!(done_text(true, "group", "a\"b", "deleted"), "{\"group\":\"a\\\"b\",\"result\":\"deleted\"}\n");
    }

    #[test]
    fn numbers_and_bytes() {
        assert_eq!((grouped(0), grouped(-1234567), grouped(999)), ("0".into(), "-1,234,567".into(), "999".into()));
        assert_eq!(bytes_json(Some(b"a")), Value::from("a"));
        assert_eq!(bytes_json(Some(&[0xff, 1])), serde_json::json!({ "hex": "ff01" }));
        assert_eq!(bytes_json(None), Value::Null);
    }
}
