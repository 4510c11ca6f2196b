//! Brokers that the harness starts and stops itself.

pub mod affinity;
pub mod guard;
mod kafka;
mod odradek;
mod started;

pub use started::Started;

use crate::BenchError;
use clap::Args;
use odradek::Revision;
use odradek_client::ClientConfig;
use started::Folder;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Apache Kafka that is compared with when no version is given.
const KAFKA_VERSION: &str = "4.3.1";

/// What to measure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Spec {
    /// Brokers that run already.
    Address(String),
    /// Odradek: this binary, or one built from a git revision.
    Odradek { revision: Option<String> },
    /// Apache Kafka, as shipped or with an fsync for each batch.
    Kafka { version: String, durable: bool },
}

impl Spec {
    /// `odradek`, `odradek@REVISION`, `kafka`, `kafka@VERSION`, `kafka+durable`, or host:port.
    pub fn parse(text: &str) -> Result<Self, BenchError> {
        let bad = |reason: &str| {
            Err(BenchError::Arguments(format!(
                "'{text}': {reason}; targets are odradek, odradek@REVISION, kafka[@VERSION][+durable], HOST:PORT"
            )))
        };
        let (body, durable) = text.strip_suffix("+durable").map_or((text, false), |body| (body, true));
        let (name, version) = body.split_once('@').map_or((body, None), |(name, version)| (name, Some(version)));
        let plain = |v: &str| !v.is_empty() && !v.starts_with('-') && v.chars().all(|c| c.is_ascii_alphanumeric() || "._/~^-".contains(c));
        if version.is_some_and(|v| !plain(v)) {
            return bad("what follows the @ is no revision or version");
        }
        match name {
            "odradek" if durable => bad("odradek is always durable"),
            "odradek" => Ok(Self::Odradek { revision: version.map(str::to_owned) }),
            "kafka" if version.is_some_and(|v| v.contains('/')) => bad("no version of Kafka"),
            "kafka" => Ok(Self::Kafka { version: version.unwrap_or(KAFKA_VERSION).to_owned(), durable }),
            _ if !durable && text.contains(':') && !text.contains('@') => {
                ClientConfig::new(text)?;
                Ok(Self::Address(text.to_owned()))
            }
            _ => bad("unknown"),
        }
    }

    /// As reports name it.
    pub fn name(&self) -> String {
        match self {
            Self::Address(address) => address.clone(),
            Self::Odradek { revision: None } => "odradek".to_owned(),
            Self::Odradek { revision: Some(revision) } => format!("odradek@{revision}"),
            Self::Kafka { version, durable } => format!("kafka@{version}{}", if *durable { "+durable" } else { "" }),
        }
    }
}

/// How brokers are started.
#[derive(Debug, Clone, Args)]
pub struct StartArgs {
    /// CPUs of a broker that is started, like 0 or 0,2-5. Default: with four or more, all but those of the load threads.
    #[arg(long, value_name = "CPUS")]
    pub broker_cores: Option<String>,
    /// A setting of a broker that is started; may be given several times.
    #[arg(long, value_name = "KEY=VALUE")]
    pub broker_set: Vec<String>,
    /// Heap of Kafka's JVM.
    #[arg(long, default_value = "2g")]
    pub kafka_heap: String,
    /// Folder for data of brokers that are started; what they write is removed when they stop. Default: the cache.
    #[arg(long, value_name = "DIR")]
    pub work_dir: Option<PathBuf>,
    /// Folder for builds of revisions and for Kafka.
    #[arg(long, env = "ODRADEK_CACHE", value_name = "DIR")]
    pub cache: Option<PathBuf>,
}

impl StartArgs {
    /// Where builds, Kafka and limits are kept.
    pub fn cache(&self) -> PathBuf {
        self.cache.clone().unwrap_or_else(|| std::env::temp_dir().join("odradek-cache"))
    }

    fn settings(&self) -> Result<BTreeMap<String, String>, BenchError> {
        let split = |s: &String| s.split_once('=').map(|(k, v)| (k.trim().to_owned(), v.trim().to_owned()));
        self.broker_set
            .iter()
            .map(|s| split(s).ok_or_else(|| BenchError::Arguments(format!("--broker-set {s}: expected KEY=VALUE"))))
            .collect()
    }

    /// Says what is wrong with a target before anything is built or started.
    pub fn check(&self, spec: &Spec) -> Result<(), BenchError> {
        self.settings()?;
        match spec {
            Spec::Odradek { revision: Some(revision) } => Revision::find(Path::new("."), revision).map(|_| ()),
            _ => Ok(()),
        }
    }

    /// Starts what has to be started, on these CPUs; `None` for an address.
    pub fn start(&self, spec: &Spec, cpus: Option<&[usize]>) -> Result<Option<Started>, BenchError> {
        let settings = self.settings()?;
        let folder = || Folder::within(self.work_dir.as_ref().unwrap_or(&self.cache()));
        let (folder, (command, port)) = match spec {
            Spec::Address(_) => return Ok(None),
            Spec::Odradek { revision } => {
                let binary = match revision {
                    None => std::env::current_exe()?,
                    Some(revision) => Revision::find(Path::new("."), revision)?.build(&self.cache())?,
                };
                let folder = folder()?;
                let started = odradek::command(&binary, folder.path(), settings);
                (folder, started)
            }
            Spec::Kafka { version, durable } => {
                let jars = kafka::install(&self.cache(), version)?;
                let folder = folder()?;
                let started = kafka::command(&jars, folder.path(), &self.kafka_heap, *durable, settings)?;
                (folder, started)
            }
        };
        Started::start(spec.name(), command, port, folder, cpus).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_parsed() {
        let kafka = |version: &str, durable| Spec::Kafka { version: version.into(), durable };
        for (text, expected) in [
            ("odradek", Spec::Odradek { revision: None }),
            ("odradek@main~2", Spec::Odradek { revision: Some("main~2".into()) }),
            ("odradek@topic/x", Spec::Odradek { revision: Some("topic/x".into()) }),
            ("kafka", kafka(KAFKA_VERSION, false)),
            ("kafka@4.0.0", kafka("4.0.0", false)),
            ("kafka+durable", kafka(KAFKA_VERSION, true)),
            ("localhost:9092", Spec::Address("localhost:9092".into())),
        ] {
            assert_eq!(Spec::parse(text).unwrap(), expected);
        }
        assert_eq!(Spec::parse("kafka@4.1.0+durable").unwrap().name(), "kafka@4.1.0+durable");
        for text in ["", "redpanda", "odradek+durable", "odradek@", "odradek@--help", "kafka@../x", "odradek@a b", "host:0"] {
            assert!(Spec::parse(text).is_err(), "{text}");
        }
    }
}
