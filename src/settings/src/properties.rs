//! Java's properties format, as `java.util.Properties.load` reads it.
//!
//! Comments start with `#` or `!`; a key ends at the first unescaped `=`, `:` or blank; a backslash at the end of a line
//! continues it, and the blanks that start the next line are dropped; `\t \n \r \f \uXXXX` are characters, any other
//! escaped character is itself. Files are read as UTF-8, and as Latin-1 (what Java assumes) where they are not UTF-8.

use std::fmt;

/// Bytes a properties file may have: a real one has a few thousand.
pub const FILE_BYTES_MAX: u64 = 4 << 20;

/// One key and value, and where it was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Property {
    /// Line the key starts on, counted from 1.
    pub line: usize,
    pub key: String,
    pub value: String,
}

/// A line that is no property.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SyntaxError {
    /// Line the entry starts on, counted from 1.
    pub line: usize,
    pub reason: &'static str,
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.reason)
    }
}

impl std::error::Error for SyntaxError {}

/// Text of a file: UTF-8, else Latin-1.
pub fn decode(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.strip_prefix('\u{feff}').unwrap_or(text).to_owned(),
        Err(_) => bytes.iter().map(|&byte| byte as char).collect(),
    }
}

/// All properties in the order of the file. Keys may repeat: the last one counts, as in Java.
///
/// # Errors
/// Malformed `\u` escapes, and surrogates without their partner.
pub fn parse(text: &str) -> Result<Vec<Property>, SyntaxError> {
    logical_lines(text).into_iter().map(|(line, logical)| split(line, &logical)).collect()
}

/// Natural lines joined at their continuations; comments and blank lines are gone.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (index, natural) in natural_lines(text).into_iter().enumerate() {
        let content = natural.trim_start_matches(is_blank);
        if open.is_none() && (content.is_empty() || content.starts_with(['#', '!'])) {
            continue;
        }
        let continues = content.bytes().rev().take_while(|&byte| byte == b'\\').count() % 2 == 1;
        let content = if continues { &content[..content.len() - 1] } else { content };
        let (start, mut logical) = open.take().unwrap_or((index + 1, String::new()));
        logical.push_str(content);
        if continues {
            open = Some((start, logical));
        } else {
            lines.push((start, logical));
        }
    }
    lines.extend(open);
    lines.retain(|(_, logical)| !logical.is_empty());
    lines
}

fn natural_lines(text: &str) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some(end) = rest.find(['\n', '\r']) {
        lines.push(&rest[..end]);
        let terminator = if rest[end..].starts_with("\r\n") { 2 } else { 1 };
        rest = &rest[end + terminator..];
    }
    if !rest.is_empty() {
        lines.push(rest);
    }
    lines
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\u{c}')
}

fn split(line: usize, logical: &str) -> Result<Property, SyntaxError> {
    let mut escaped = false;
    let key_end = logical
        .char_indices()
        .find(|&(_, c)| {
            let ends = !escaped && (is_blank(c) || c == '=' || c == ':');
            escaped = !escaped && c == '\\';
            ends
        })
        .map_or(logical.len(), |(at, _)| at);
    let (key, rest) = logical.split_at(key_end);
    let rest = rest.trim_start_matches(is_blank);
    let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest).trim_start_matches(is_blank);
    let unescaped = |text| unescape(text).map_err(|reason| SyntaxError { line, reason });
    Ok(Property { line, key: unescaped(key)?, value: unescaped(rest)? })
}

fn unescape(text: &str) -> Result<String, &'static str> {
    let mut out = String::with_capacity(text.len());
    let mut pending_high: Option<u16> = None;
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        let (unit, plain) = match c {
            '\\' => match rest.next() {
                Some('u') => (Some(hex_unit(&mut rest)?), '\0'),
                Some('t') => (None, '\t'),
                Some('n') => (None, '\n'),
                Some('r') => (None, '\r'),
                Some('f') => (None, '\u{c}'),
                Some(other) => (None, other),
                None => break,
            },
            other => (None, other),
        };
        match (pending_high.take(), unit) {
            (None, Some(high @ 0xd800..=0xdbff)) => pending_high = Some(high),
            (None, Some(unit)) => out.push(char::from_u32(u32::from(unit)).ok_or(LONE_SURROGATE)?),
            (Some(high), Some(low @ 0xdc00..=0xdfff)) => {
                let code = 0x1_0000 + ((u32::from(high) - 0xd800) << 10) + (u32::from(low) - 0xdc00);
                out.push(char::from_u32(code).ok_or(LONE_SURROGATE)?);
            }
            (Some(_), _) => return Err(LONE_SURROGATE),
            (None, None) => out.push(plain),
        }
    }
    if pending_high.is_some() { Err(LONE_SURROGATE) } else { Ok(out) }
}

const LONE_SURROGATE: &str = "a \\u escape names half of a surrogate pair";

fn hex_unit(rest: &mut std::str::Chars<'_>) -> Result<u16, &'static str> {
    let mut unit = 0u16;
    for _ in 0..4 {
        let digit = rest.next().and_then(|c| c.to_digit(16)).ok_or("malformed \\uXXXX escape: four hexadecimal digits are needed")?;
        unit = unit << 4 | digit as u16;
    }
    Ok(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(usize, String, String)> {
        parse(text).unwrap().into_iter().map(|p| (p.line, p.key, p.value)).collect()
    }

    /// A text, and the properties in it: line, key, value.
    type Case = (&'static str, &'static [(usize, &'static str, &'static str)]);

    #[test]
    fn the_java_format() {
        let table: &[Case] = &[
            ("", &[]),
            ("# c\n! c\n  # c\n\n a=b", &[(5, "a", "b")]),
            ("a=b\r\nc = d\rE:f\n g h", &[(1, "a", "b"), (2, "c", "d"), (3, "E", "f"), (4, "g", "h")]),
            ("a = = b", &[(1, "a", "= b")]),
            ("a", &[(1, "a", "")]),
            ("a=b \t", &[(1, "a", "b \t")]),
            ("k\\=1\\:\\ x=v", &[(1, "k=1: x", "v")]),
            ("a=1,\\\n   2,\\\n\t3\nb=4", &[(1, "a", "1,2,3"), (4, "b", "4")]),
            ("a=x\\\\\nb=y", &[(1, "a", "x\\"), (2, "b", "y")]),
            ("a=x\\\n# not a comment", &[(1, "a", "x# not a comment")]),
            ("# comment \\\na=b", &[(2, "a", "b")]),
            ("a=\\t\\n\\r\\f\\q\\u00e4\\ud83d\\ude00", &[(1, "a", "\t\n\r\u{c}q\u{e4}\u{1f600}")]),
            ("a=x\\", &[(1, "a", "x")]),
            ("=v", &[(1, "", "v")]),
            ("a=1\na=2", &[(1, "a", "1"), (2, "a", "2")]),
        ];
        for (text, expected) in table {
            let expected: Vec<_> = expected.iter().map(|&(line, k, v)| (line, k.to_owned(), v.to_owned())).collect();
            assert_eq!(pairs(text), expected, "{text:?}");
        }
    }

    #[test]
    fn bad_escapes_name_their_line() {
        for text in ["\n\na=\\u12", "\n\na=\\uzzzz", "\n\na=\\ud800", "\n\na=\\ud800x", "\n\na=\\udc00", "\n\na=\\ud800\\u0041"] {
            assert_eq!(parse(text).unwrap_err().line, 3, "{text:?}");
        }
    }

    #[test]
    fn latin_1_is_understood() {
        assert_eq!(decode(b"a=\xe4"), "a=\u{e4}");
        assert_eq!(decode("a=\u{e4}".as_bytes()), "a=\u{e4}");
        assert_eq!(decode("\u{feff}a=b".as_bytes()), "a=b");
    }

    #[test]
    fn any_mutation_is_survived() {
        let seed_text = "# c\nlisteners=PLAINTEXT://:9092,\\\n  SSL://:9093\nk\\u00e4 : v\\\\\r\n\\ud83d\\ude00=\\t\n";
        let mut rng = odradek_base::Rng::with_seed(7);
        for _ in 0..5_000 {
            let mut bytes = seed_text.as_bytes().to_vec();
            for _ in 0..=rng.below(4) {
                let at = rng.below(bytes.len() as u64) as usize;
                match rng.below(3) {
                    0 => bytes[at] = b"\\u=: \n\r#d8\xff"[rng.below(11) as usize],
                    1 => drop(bytes.remove(at)),
                    _ => bytes.insert(at, rng.next_u64() as u8),
                }
            }
            let text = decode(&bytes);
            if let Ok(properties) = parse(&text) {
                assert!(properties.iter().map(|p| p.key.len() + p.value.len()).sum::<usize>() <= 2 * text.len());
                assert!(properties.windows(2).all(|pair| pair[0].line < pair[1].line));
            }
        }
    }
}
