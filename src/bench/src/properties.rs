//! Client properties as Kafka's tools take them: those of connections reach every connection, those of producers and consumers stand
//! above what the scenario says.

use crate::BenchError;
use crate::scenario::Scenario;
use clap::Args;
use odradek_client::consumer::IsolationLevel;
use odradek_client::{ClientConfig, take_bool, take_number};
use odradek_settings::properties::{FILE_BYTES_MAX, decode, parse};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const BOOTSTRAP_DEFAULT: &str = "localhost:9092";
const CLIENT_ID: &str = "odradek-bench";
/// Properties of producers and consumers that name something which the harness names itself.
const NAMED_BY_THE_HARNESS: [&str; 3] = ["group.id", "group.instance.id", "transactional.id"];

#[derive(Debug, Clone, Default, Args)]
pub struct PropertyArgs {
    /// A file of client properties, as Kafka's tools take it: client.id, acks, linger.ms, batch.size, compression.type, fetch.min.bytes ...
    #[arg(long, value_name = "FILE")]
    command_config: Option<PathBuf>,
    /// A client property, above those of the file and above the scenario; may be given several times.
    #[arg(long, value_name = "KEY=VALUE")]
    property: Vec<String>,
}

/// Properties that were read and that this harness can honour.
#[derive(Debug, Clone)]
pub struct ClientProperties {
    /// Of connections, known to be right.
    connection: BTreeMap<String, String>,
    /// Of producers and consumers, until [`ClientProperties::apply`].
    load: BTreeMap<String, String>,
}

impl PropertyArgs {
    /// Reads the file and the arguments.
    ///
    /// # Errors
    /// What cannot be read, and what cannot be honoured: TLS and SASL.
    pub fn read(&self) -> Result<ClientProperties, BenchError> {
        let mut all = self.command_config.as_deref().map(load).transpose()?.unwrap_or_default();
        for argument in &self.property {
            let pair =
                argument.split_once('=').ok_or_else(|| BenchError::Arguments(format!("--property {argument}: expected KEY=VALUE")))?;
            all.insert(pair.0.trim().to_owned(), pair.1.trim().to_owned());
        }
        ClientProperties::new(all)
    }
}

fn load(path: &Path) -> Result<BTreeMap<String, String>, BenchError> {
    let failed = |reason: String| BenchError::Arguments(format!("--command-config {}: {reason}", path.display()));
    let size = std::fs::metadata(path).map_err(|e| failed(e.to_string()))?.len();
    if size > FILE_BYTES_MAX {
        return Err(failed(format!("larger than {FILE_BYTES_MAX} bytes")));
    }
    let bytes = std::fs::read(path).map_err(|e| failed(e.to_string()))?;
    let parsed = parse(&decode(&bytes)).map_err(|e| failed(e.to_string()))?;
    Ok(parsed.into_iter().map(|p| (p.key, p.value)).collect())
}

impl ClientProperties {
    fn new(all: BTreeMap<String, String>) -> Result<Self, BenchError> {
        let mut load = all.clone();
        config(BOOTSTRAP_DEFAULT, &mut load)?;
        let connection = all.into_iter().filter(|(key, _)| !load.contains_key(key)).collect();
        Ok(Self { connection, load })
    }

    /// The addresses to start from: what the command says, or the properties, or Kafka's port here.
    pub fn bootstrap(&self, given: Option<&str>) -> String {
        given.or(self.connection.get("bootstrap.servers").map(String::as_str)).unwrap_or(BOOTSTRAP_DEFAULT).to_owned()
    }

    /// How connections to these addresses are made.
    pub fn connect(&self, bootstrap: &str) -> Result<ClientConfig, BenchError> {
        let mut properties = self.connection.clone();
        properties.insert("bootstrap.servers".to_owned(), bootstrap.to_owned());
        config(bootstrap, &mut properties)
    }

    /// Puts properties of producers and consumers above what the scenario says, and names those that have no effect.
    pub fn apply(&self, scenario: &mut Scenario) -> Result<(), BenchError> {
        for key in self.set(scenario)?.keys() {
            match NAMED_BY_THE_HARNESS.contains(&key.as_str()) {
                true => eprintln!("warning: the property {key} has no effect: the harness gives every run names of its own"),
                false => eprintln!("warning: the property {key} is not known to this tool and has no effect"),
            }
        }
        Ok(())
    }

    /// What is left has no effect.
    fn set(&self, scenario: &mut Scenario) -> Result<BTreeMap<String, String>, BenchError> {
        let mut left = self.load.clone();
        let wrong = |e: odradek_client::ClientError| BenchError::Arguments(e.to_string());
        let mut ignored = crate::scenario::Producers::default();
        let producers = scenario.producers.as_mut().unwrap_or(&mut ignored);
        for (key, target) in [("acks", &mut producers.acks), ("compression.type", &mut producers.codec)] {
            if let Some(text) = left.remove(key) {
                *target = text.trim().to_owned();
            }
        }
        if producers.acks == "-1" {
            producers.acks = "all".to_owned();
        }
        producers.linger_ms = take_number(&mut left, "linger.ms").map_err(wrong)?.unwrap_or(producers.linger_ms);
        producers.batch_bytes = take_number(&mut left, "batch.size").map_err(wrong)?.unwrap_or(producers.batch_bytes);
        let in_flight = take_number(&mut left, "max.in.flight.requests.per.connection").map_err(wrong)?;
        producers.in_flight = in_flight.unwrap_or(producers.in_flight);
        producers.idempotent = take_bool(&mut left, "enable.idempotence").map_err(wrong)?.unwrap_or(producers.idempotent);
        let isolation = left.remove("isolation.level").map(|l| IsolationLevel::parse(&l)).transpose().map_err(wrong)?;
        if let Some((level, consumers)) = isolation.zip(scenario.consumers.as_mut()) {
            consumers.read_committed = level == IsolationLevel::ReadCommitted;
        }
        let names = ["fetch.max.wait.ms", "fetch.min.bytes", "fetch.max.bytes", "max.partition.fetch.bytes"];
        let mut fetch = [None; 4];
        for (value, name) in fetch.iter_mut().zip(names) {
            *value = take_number::<i32>(&mut left, name).map_err(wrong)?;
        }
        let set = |targets: [&mut i32; 4]| {
            for (target, value) in targets.into_iter().zip(fetch) {
                *target = value.unwrap_or(*target);
            }
        };
        if let Some(c) = &mut scenario.consumers {
            set([&mut c.max_wait_ms, &mut c.min_bytes, &mut c.max_bytes, &mut c.partition_max_bytes]);
        }
        if let Some(c) = &mut scenario.catch_up {
            set([&mut c.max_wait_ms, &mut c.min_bytes, &mut c.max_bytes, &mut c.partition_max_bytes]);
        }
        scenario
            .validate()
            .map_err(|e| BenchError::Arguments(format!("{}, with the client properties that were given: {e}", scenario.name)))?;
        Ok(left)
    }
}

/// A configuration, with the properties of connections taken out of `properties`.
fn config(bootstrap: &str, properties: &mut BTreeMap<String, String>) -> Result<ClientConfig, BenchError> {
    let mut config = ClientConfig::new(bootstrap)?;
    config.client_id = CLIENT_ID.to_owned();
    config.take_properties(properties).map_err(|e| BenchError::Arguments(e.to_string()))?;
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties(pairs: &[(&str, &str)]) -> Result<ClientProperties, BenchError> {
        ClientProperties::new(pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    const SCENARIO: &str = "name = 'x'\nrate.closed_loop = true\n[producers]\nlinger_ms = 3\n[consumers]\nmin_bytes = 7\n[catch_up]\n";

    #[test]
    fn arguments_stand_above_the_file_and_both_above_the_scenario() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("client.properties");
        std::fs::write(&file, "# a comment\nacks=1\nclient.id = me\nfetch.max.bytes=9000\nbatch.size=100000\nno.such.key=1\n").unwrap();
        let args = PropertyArgs {
            command_config: Some(file),
            property: ["batch.size=2000", "compression.type=zstd", "max.in.flight.requests.per.connection=2"].map(str::to_owned).into(),
        };
        let read = args.read().unwrap();
        let mut scenario = Scenario::parse(SCENARIO).unwrap();
        let left = read.set(&mut scenario).unwrap();
        assert_eq!(left.into_keys().collect::<Vec<_>>(), ["no.such.key"]);
        let p = scenario.producers.unwrap();
        assert_eq!((p.acks.as_str(), p.codec.as_str(), p.batch_bytes, p.in_flight, p.linger_ms), ("1", "zstd", 2000, 2, 3.0));
        let (c, r) = (scenario.consumers.unwrap(), scenario.catch_up.unwrap());
        assert_eq!((c.max_bytes, c.min_bytes, r.max_bytes, r.min_bytes), (9000, 7, 9000, 1));
        assert_eq!(read.connect("b:1").unwrap().client_id, "me");
    }

    #[test]
    fn the_command_names_the_brokers_before_the_file_does() {
        let read = properties(&[("bootstrap.servers", "file:1")]).unwrap();
        assert_eq!((read.bootstrap(Some("command:2")).as_str(), read.bootstrap(None).as_str()), ("command:2", "file:1"));
        assert_eq!(read.connect("started:3").unwrap().bootstrap, ["started:3"]);
        assert_eq!(properties(&[]).unwrap().bootstrap(None), BOOTSTRAP_DEFAULT);
        assert_eq!(properties(&[]).unwrap().connect("a:1").unwrap().client_id, CLIENT_ID);
    }

    #[test]
    fn what_cannot_be_honoured_is_refused_by_name() {
        for (key, value) in [("security.protocol", "SASL_SSL"), ("sasl.mechanism", "PLAIN"), ("ssl.truststore.location", "/x")] {
            let error = properties(&[(key, value)]).unwrap_err().to_string();
            assert!(error.contains(key) && error.contains("not implemented") | error.contains("only PLAINTEXT"), "{error}");
        }
        properties(&[("security.protocol", "plaintext")]).unwrap();
        for (key, value, part) in [
            ("acks", "2", "producers.acks"),
            ("isolation.level", "some", "isolation.level"),
            ("batch.size", "much", "batch.size=much"),
            ("enable.idempotence", "maybe", "enable.idempotence"),
            ("fetch.max.wait.ms", "-5", "max_wait_ms"),
        ] {
            let error = properties(&[(key, value)]).unwrap().set(&mut Scenario::parse(SCENARIO).unwrap()).unwrap_err().to_string();
            assert!(error.contains(part), "{key}={value}: {error}");
        }
    }
}
