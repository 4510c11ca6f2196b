//! Records to text: `DefaultMessageFormatter` and its siblings.

use odradek_client::{ConsumerRecord, TimestampType};
use std::collections::BTreeMap;

/// How the bytes of a key, value or header are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deserializer {
    String,
    Long,
    Integer,
    Short,
    Double,
    Float,
}

/// Java's deserializers that can be named.
const PACKAGE: &str = "org.apache.kafka.common.serialization.";

impl Deserializer {
    fn parse(name: &str) -> Result<Self, String> {
        match name.strip_prefix(PACKAGE).unwrap_or(name) {
            "StringDeserializer" => Ok(Self::String),
            "LongDeserializer" => Ok(Self::Long),
            "IntegerDeserializer" => Ok(Self::Integer),
            "ShortDeserializer" => Ok(Self::Short),
            "DoubleDeserializer" => Ok(Self::Double),
            "FloatDeserializer" => Ok(Self::Float),
            _ => Err(format!(
                "deserializer {name}: Java classes cannot be loaded here; String, Long, Integer, Short, Double and Float are built in"
            )),
        }
    }

    fn show(self, bytes: &[u8]) -> Result<Vec<u8>, String> {
        let wrong = |kind: &str| format!("Size of data received by {kind}Deserializer is wrong: {} bytes", bytes.len());
        Ok(match self {
            Self::String => bytes.to_vec(),
            Self::Long => i64::from_be_bytes(bytes.try_into().map_err(|_| wrong("Long"))?).to_string().into_bytes(),
            Self::Integer => i32::from_be_bytes(bytes.try_into().map_err(|_| wrong("Integer"))?).to_string().into_bytes(),
            Self::Short => i16::from_be_bytes(bytes.try_into().map_err(|_| wrong("Short"))?).to_string().into_bytes(),
            Self::Double => format!("{:?}", f64::from_be_bytes(bytes.try_into().map_err(|_| wrong("Double"))?)).into_bytes(),
            Self::Float => format!("{:?}", f32::from_be_bytes(bytes.try_into().map_err(|_| wrong("Float"))?)).into_bytes(),
        })
    }
}

/// Which of Kafka's formatters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Default,
    Logging,
    NoOp,
}

/// Formats records as Kafka's console consumer does.
#[derive(Debug, Clone)]
pub struct Formatter {
    kind: Kind,
    timestamp: bool,
    key: bool,
    value: bool,
    partition: bool,
    offset: bool,
    delivery: bool,
    epoch: bool,
    headers: bool,
    key_separator: Vec<u8>,
    line_separator: Vec<u8>,
    headers_separator: Vec<u8>,
    null_literal: Vec<u8>,
    key_deserializer: Option<Deserializer>,
    value_deserializer: Option<Deserializer>,
    headers_deserializer: Option<Deserializer>,
}

impl Formatter {
    /// From a class name (`None`: the default) and formatter properties; unknown ones are an error that names them.
    pub fn new(class: Option<&str>, mut properties: BTreeMap<String, String>) -> Result<Self, String> {
        let kind = match class.map(|c| c.rsplit('.').next().unwrap_or(c)) {
            None | Some("DefaultMessageFormatter") => Kind::Default,
            Some("LoggingMessageFormatter") => Kind::Logging,
            Some("NoOpMessageFormatter") => Kind::NoOp,
            Some(_) => {
                return Err(format!(
                    "--formatter {}: Java classes cannot be loaded here; DefaultMessageFormatter, LoggingMessageFormatter and NoOpMessageFormatter are built in",
                    class.unwrap_or_default()
                ));
            }
        };
        let mut on = |key: &str, default: bool| properties.remove(key).map_or(default, |v| v.trim().eq_ignore_ascii_case("true"));
        let shown = [
            on("print.timestamp", false),
            on("print.key", false),
            on("print.value", true),
            on("print.partition", false),
            on("print.offset", false),
            on("print.delivery", false),
            on("print.epoch", false),
            on("print.headers", false),
        ];
        let [timestamp, key, value, partition, offset, delivery, epoch, headers] = shown;
        let mut text = |key: &str, default: &str| properties.remove(key).unwrap_or_else(|| default.to_owned()).into_bytes();
        let separators =
            [text("key.separator", "\t"), text("line.separator", "\n"), text("headers.separator", ","), text("null.literal", "null")];
        let [key_separator, line_separator, headers_separator, null_literal] = separators;
        let mut deserializer = |key: &str| properties.remove(key).map(|name| Deserializer::parse(&name)).transpose();
        let key_deserializer = deserializer("key.deserializer")?;
        let value_deserializer = deserializer("value.deserializer")?;
        let headers_deserializer = deserializer("headers.deserializer")?;
        if let Some(unknown) = properties.keys().next() {
            return Err(format!("unknown property of the formatter: {unknown}"));
        }
        Ok(Self {
            kind,
            timestamp,
            key,
            value,
            partition,
            offset,
            delivery,
            epoch,
            headers,
            key_separator,
            line_separator,
            headers_separator,
            null_literal,
            key_deserializer,
            value_deserializer,
            headers_deserializer,
        })
    }

    /// The text of a record, its line end included.
    pub fn format(&self, record: &ConsumerRecord) -> Result<Vec<u8>, String> {
        match self.kind {
            Kind::NoOp => Ok(Vec::new()),
            Kind::Default => self.default_format(record),
            Kind::Logging => {
                let text =
                    |field: &Option<bytes::Bytes>| field.as_ref().map_or("null".to_owned(), |f| String::from_utf8_lossy(f).into_owned());
                let mut out = self.default_format(record)?;
                let log = format!(
                    "INFO {}:{}, key:{}, value:{}\n",
                    timestamp_type(record.timestamp_type),
                    record.timestamp,
                    text(&record.key),
                    text(&record.value)
                );
                out.extend_from_slice(log.as_bytes());
                Ok(out)
            }
        }
    }

    fn default_format(&self, record: &ConsumerRecord) -> Result<Vec<u8>, String> {
        let mut columns: Vec<Vec<u8>> = Vec::new();
        if self.timestamp {
            columns.push(match record.timestamp {
                -1 => b"NO_TIMESTAMP".to_vec(),
                ms => format!("{}:{ms}", timestamp_type(record.timestamp_type)).into_bytes(),
            });
        }
        if self.partition {
            columns.push(format!("Partition:{}", record.partition).into_bytes());
        }
        if self.offset {
            columns.push(format!("Offset:{}", record.offset).into_bytes());
        }
        if self.delivery {
            columns.push(b"Delivery:NOT_PRESENT".to_vec());
        }
        if self.epoch {
            // Kafka's console consumer builds the record it formats without the epoch.
            columns.push(b"Epoch:NOT_PRESENT".to_vec());
        }
        if self.headers {
            columns.push(self.format_headers(record)?);
        }
        if self.key {
            columns.push(self.show(record.key.as_deref(), self.key_deserializer)?);
        }
        if self.value {
            columns.push(self.show(record.value.as_deref(), self.value_deserializer)?);
        }
        if columns.is_empty() {
            return Ok(Vec::new());
        }
        let mut out = columns.join(&self.key_separator[..]);
        out.extend_from_slice(&self.line_separator);
        Ok(out)
    }

    fn format_headers(&self, record: &ConsumerRecord) -> Result<Vec<u8>, String> {
        if record.headers.is_empty() {
            return Ok(b"NO_HEADERS".to_vec());
        }
        let mut shown = Vec::with_capacity(record.headers.len());
        for (key, value) in &record.headers {
            let mut header = key.to_vec();
            header.push(b':');
            header.extend(self.show(value.as_deref(), self.headers_deserializer)?);
            shown.push(header);
        }
        Ok(shown.join(&self.headers_separator[..]))
    }

    fn show(&self, bytes: Option<&[u8]>, deserializer: Option<Deserializer>) -> Result<Vec<u8>, String> {
        match (bytes, deserializer) {
            (None, _) => Ok(self.null_literal.clone()),
            (Some(bytes), None) => Ok(bytes.to_vec()),
            (Some(bytes), Some(deserializer)) => deserializer.show(bytes),
        }
    }
}

fn timestamp_type(kind: TimestampType) -> &'static str {
    match kind {
        TimestampType::CreateTime => "CreateTime",
        TimestampType::LogAppendTime => "LogAppendTime",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn record() -> ConsumerRecord {
        ConsumerRecord {
            topic: "t".into(),
            partition: 1,
            offset: 7,
            leader_epoch: 3,
            timestamp: 1795245446315,
            timestamp_type: TimestampType::CreateTime,
            key: Some(Bytes::from_static(b"k1")),
            value: Some(Bytes::from_static(b"v1")),
            headers: vec![],
        }
    }

    fn formatted(properties: &[(&str, &str)], record: &ConsumerRecord) -> String {
        let formatter = Formatter::new(None, properties.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()).unwrap();
        String::from_utf8(formatter.format(record).unwrap()).unwrap()
    }

    #[test]
    fn columns_as_kafka_prints_them() {
        assert_eq!(formatted(&[], &record()), "v1\n");
        let all = ["print.timestamp", "print.partition", "print.offset", "print.epoch", "print.headers", "print.key"].map(|c| (c, "true"));
        // Taken from kafka-console-consumer of Apache Kafka 4.3.1.
        assert_eq!(formatted(&all, &record()), "CreateTime:1795245446315\tPartition:1\tOffset:7\tEpoch:NOT_PRESENT\tNO_HEADERS\tk1\tv1\n");
        assert_eq!(formatted(&[("print.key", "true"), ("print.value", "false"), ("key.separator", "-")], &record()), "k1\n");
    }

    #[test]
    fn nulls_headers_and_numbers() {
        let mut r = record();
        r.key = None;
        r.value = None;
        r.headers = vec![(Bytes::from_static(b"a"), Some(Bytes::from_static(b"1"))), (Bytes::from_static(b"a"), None)];
        assert_eq!(formatted(&[("print.key", "true"), ("print.headers", "true"), ("null.literal", "NIL")], &r), "a:1,a:NIL\tNIL\tNIL\n");
        r.value = Some(Bytes::copy_from_slice(&42i64.to_be_bytes()));
        let long = "org.apache.kafka.common.serialization.LongDeserializer";
        assert_eq!(formatted(&[("value.deserializer", long)], &r), "42\n");
        r.value = Some(Bytes::from_static(b"x"));
        let formatter = Formatter::new(None, BTreeMap::from([("value.deserializer".to_owned(), long.to_owned())])).unwrap();
        assert!(formatter.format(&r).is_err());
    }

    #[test]
    fn what_is_not_there_is_named() {
        assert!(Formatter::new(Some("com.example.Mine"), BTreeMap::new()).unwrap_err().contains("com.example.Mine"));
        assert!(Formatter::new(None, BTreeMap::from([("print.all".to_owned(), "true".to_owned())])).unwrap_err().contains("print.all"));
        assert!(
            Formatter::new(Some("org.apache.kafka.tools.consumer.NoOpMessageFormatter"), BTreeMap::new())
                .unwrap()
                .format(&record())
                .unwrap()
                .is_empty()
        );
    }
}
