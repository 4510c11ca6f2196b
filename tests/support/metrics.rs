//! Scraping the broker under test, and a reader of the text format.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

/// One request; everything that comes back.
pub fn http(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("the endpoint is open");
    stream.set_read_timeout(Some(super::PATIENCE)).expect("a timeout");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

pub fn scrape(address: SocketAddr) -> Samples {
    let answer = http(address, "GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("version=1.0.0"), "{head}");
    Samples::parse(body)
}

#[derive(Debug, Default)]
pub struct Samples {
    pub help: BTreeMap<String, String>,
    pub types: BTreeMap<String, String>,
    pub rows: Vec<Sample>,
}

#[derive(Debug)]
pub struct Sample {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

impl Samples {
    /// # Panics
    /// When the text is not in the format.
    pub fn parse(text: &str) -> Self {
        let mut samples = Self::default();
        let mut ended = false;
        for line in text.lines() {
            assert!(!ended, "something after the end: {line}");
            if line == "# EOF" {
                ended = true;
            } else if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').expect("a help text");
                assert!(samples.help.insert(name.to_owned(), help.to_owned()).is_none(), "{name} comes twice");
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("a type");
                samples.types.insert(name.to_owned(), kind.to_owned());
            } else {
                samples.rows.push(Sample::parse(line).unwrap_or_else(|| panic!("not a sample: {line}")));
            }
        }
        assert!(ended, "the text was cut off");
        samples
    }

    /// Sum over all samples of a metric that have these labels; there is at least one.
    #[track_caller]
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let fits =
            |row: &&Sample| row.name == name && labels.iter().all(|(key, value)| row.labels.get(*key).is_some_and(|have| have == value));
        let found: Vec<f64> = self.rows.iter().filter(fits).map(|row| row.value).collect();
        assert!(!found.is_empty(), "there is no {name} with {labels:?}");
        found.iter().sum()
    }
}

impl Sample {
    /// `name{label="value",...} number`; label values of the broker under test hold no quotes.
    fn parse(line: &str) -> Option<Self> {
        let (series, value) = line.rsplit_once(' ')?;
        let (name, labels) = match series.split_once('{') {
            Some((name, labels)) => (name, labels.strip_suffix('}')?),
            None => (series, ""),
        };
        let labels = labels.split(',').filter(|label| !label.is_empty()).map(|label| {
            let (key, value) = label.split_once('=')?;
            Some((key.to_owned(), value.strip_prefix('"')?.strip_suffix('"')?.to_owned()))
        });
        Some(Self { name: name.to_owned(), labels: labels.collect::<Option<_>>()?, value: value.parse().ok()? })
    }
}
