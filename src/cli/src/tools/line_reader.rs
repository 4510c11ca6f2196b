//! Lines to records: `org.apache.kafka.tools.LineMessageReader`.

use bytes::Bytes;
use odradek_client::ProducerRecord;
use regex::Regex;
use std::collections::BTreeMap;

/// How a line is taken apart.
#[derive(Debug, Clone)]
pub struct LineReader {
    topic: String,
    parse_key: bool,
    key_separator: String,
    parse_headers: bool,
    headers_delimiter: String,
    headers_separator: Regex,
    headers_key_separator: String,
    null_marker: Option<String>,
    ignore_error: bool,
    lines: u64,
}

impl LineReader {
    /// From Kafka's reader properties; unknown ones are an error that names them.
    pub fn new(topic: &str, mut properties: BTreeMap<String, String>) -> Result<Self, String> {
        let mut is_true = |key: &str| properties.remove(key).is_some_and(|v| v.trim().eq_ignore_ascii_case("true"));
        let (parse_key, parse_headers, ignore_error) = (is_true("parse.key"), is_true("parse.headers"), is_true("ignore.error"));
        let mut text = |key: &str, default: &str| properties.remove(key).unwrap_or_else(|| default.to_owned());
        let key_separator = text("key.separator", "\t");
        let headers_delimiter = text("headers.delimiter", "\t");
        let headers_separator = text("headers.separator", ",");
        let headers_key_separator = text("headers.key.separator", ":");
        let null_marker = properties.remove("null.marker");
        properties.remove("topic");
        if let Some(unknown) = properties.keys().next() {
            return Err(format!("unknown property of the line reader: {unknown}"));
        }
        let named = [
            ("headers.delimiter", &headers_delimiter),
            ("headers.separator", &headers_separator),
            ("headers.key.separator", &headers_key_separator),
        ];
        for (i, (name, value)) in named.iter().enumerate() {
            if let Some((other, _)) = named[i + 1..].iter().find(|(_, v)| v == value) {
                return Err(format!("{name} and {other} may not be equal"));
            }
        }
        if let Some(marker) = &null_marker
            && let Some((name, _)) = [("key.separator", &key_separator)].iter().chain(&named).find(|(_, v)| *v == marker)
        {
            return Err(format!("null.marker and {name} may not be equal"));
        }
        let headers_separator =
            Regex::new(&headers_separator).map_err(|e| format!("headers.separator is not a regular expression: {e}"))?;
        Ok(Self {
            topic: topic.to_owned(),
            parse_key,
            key_separator,
            parse_headers,
            headers_delimiter,
            headers_separator,
            headers_key_separator,
            null_marker,
            ignore_error,
            lines: 0,
        })
    }

    /// The record of the next line (without its end).
    pub fn read(&mut self, line: &str) -> Result<ProducerRecord, String> {
        self.lines += 1;
        let mut rest = line;
        let headers = self.cut(self.parse_headers, line, &mut rest, &self.headers_delimiter, "headers delimiter")?;
        let key = self.cut(self.parse_key, line, &mut rest, &self.key_separator, "key separator")?;
        let mut record = ProducerRecord { topic: self.topic.clone(), ..ProducerRecord::default() };
        record.key = key.and_then(|k| self.bytes(k));
        record.value = self.bytes(rest);
        if let Some(headers) = headers.filter(|h| !self.is_null(h)) {
            record.headers = self.headers(headers)?;
        }
        Ok(record)
    }

    fn cut<'a>(&self, enabled: bool, line: &str, rest: &mut &'a str, separator: &str, name: &str) -> Result<Option<&'a str>, String> {
        if !enabled {
            return Ok(None);
        }
        match rest.split_once(separator) {
            Some((part, after)) => {
                *rest = after;
                Ok(Some(part))
            }
            None if self.ignore_error => Ok(None),
            None => Err(format!("No {name} found on line number {}: '{line}'", self.lines)),
        }
    }

    fn headers(&self, text: &str) -> Result<Vec<(String, Option<Bytes>)>, String> {
        let mut pairs: Vec<&str> = self.headers_separator.split(text).collect();
        // As String.split of Java: empty strings at the end are dropped.
        while pairs.len() > 1 && pairs.last().is_some_and(|p| p.is_empty()) {
            pairs.pop();
        }
        let mut headers = Vec::with_capacity(pairs.len());
        for pair in pairs {
            match pair.split_once(self.headers_key_separator.as_str()) {
                Some((key, _)) if self.is_null(key) => {
                    let marker = self.null_marker.as_deref().unwrap_or_default();
                    return Err(format!("Header keys should not be equal to the null marker '{marker}' as they can't be null"));
                }
                Some((key, value)) => headers.push((key.to_owned(), self.bytes(value))),
                None if self.ignore_error => headers.push((pair.to_owned(), None)),
                None => return Err(format!("No header key separator found in pair '{pair}' on line number {}", self.lines)),
            }
        }
        Ok(headers)
    }

    fn bytes(&self, text: &str) -> Option<Bytes> {
        (!self.is_null(text)).then(|| Bytes::copy_from_slice(text.as_bytes()))
    }

    fn is_null(&self, text: &str) -> bool {
        self.null_marker.as_deref() == Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(properties: &[(&str, &str)]) -> LineReader {
        LineReader::new("t", properties.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()).unwrap()
    }

    fn show(record: &ProducerRecord) -> String {
        let text = |b: &Option<Bytes>| b.as_ref().map_or("null".to_owned(), |b| String::from_utf8_lossy(b).into_owned());
        let headers: Vec<String> = record.headers.iter().map(|(k, v)| format!("{k}={}", text(v))).collect();
        format!("{}|{}|{}", headers.join(","), text(&record.key), text(&record.value))
    }

    #[test]
    fn lines_keys_headers_and_nulls() {
        for (properties, line, expected) in [
            (&[][..], "a\tb", "|null|a\tb"),
            (&[("parse.key", "true")], "k\tv\tw", "|k|v\tw"),
            (&[("parse.key", "TRUE "), ("key.separator", ":")], "k:v", "|k|v"),
            (&[("parse.key", "true"), ("ignore.error", "true")], "v", "|null|v"),
            (&[("parse.headers", "true"), ("parse.key", "true")], "h1:v1,h2:v2,h1:\tk\tv", "h1=v1,h2=v2,h1=|k|v"),
            (&[("parse.headers", "true"), ("null.marker", "NULL")], "a:NULL\tNULL", "a=null|null|null"),
            (&[("parse.key", "true"), ("null.marker", "")], "\tv", "|null|v"),
        ] {
            assert_eq!(show(&reader(properties).read(line).unwrap()), expected, "{properties:?} {line}");
        }
    }

    #[test]
    fn errors_are_kafkas_sentences() {
        let mut with_key = reader(&[("parse.key", "true")]);
        with_key.read("k\tv").unwrap();
        assert_eq!(with_key.read("v").unwrap_err(), "No key separator found on line number 2: 'v'");
        assert_eq!(
            reader(&[("parse.headers", "true")]).read("a\tv").unwrap_err(),
            "No header key separator found in pair 'a' on line number 1"
        );
        let refused =
            |pairs: &[(&str, &str)]| LineReader::new("t", pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()).unwrap_err();
        assert_eq!(refused(&[("headers.separator", "\t")]), "headers.delimiter and headers.separator may not be equal");
        assert_eq!(refused(&[("null.marker", ":")]), "null.marker and headers.key.separator may not be equal");
        assert!(refused(&[("no.such", "x")]).contains("no.such"));
    }
}
