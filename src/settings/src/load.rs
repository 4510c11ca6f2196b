//! From a properties file and overrides to checked [`Settings`].

use crate::listeners;
use crate::properties::{self, FILE_BYTES_MAX};
use crate::suggest::nearest;
use crate::table::{self, Effect, Setting};
use crate::value::canonical;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::Read as _;
use std::path::Path;

/// Where a value was given.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    File { path: String, line: usize },
    Override,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line } => write!(f, "{path}:{line}"),
            Self::Override => f.write_str("--override"),
        }
    }
}

/// Something that stops the start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Problem {
    Unreadable { path: String, reason: String },
    Syntax { origin: Origin, reason: String },
    BadValue { origin: Origin, key: String, value: String, reason: String, allowed: String },
    UnknownKey { origin: Origin, key: String, nearest: Option<&'static str> },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, reason } => write!(f, "{path}: cannot be read: {reason}"),
            Self::Syntax { origin, reason } => write!(f, "{origin}: {reason}"),
            Self::BadValue { origin, key, value, reason, allowed } => {
                write!(f, "{origin}: {key}={value}: {reason}")?;
                if allowed.is_empty() { Ok(()) } else { write!(f, "; allowed: {allowed}") }
            }
            Self::UnknownKey { origin, key, nearest } => {
                write!(f, "{origin}: there is no setting {key}")?;
                match nearest {
                    Some(name) => write!(f, "; did you mean {name}?"),
                    None => f.write_str("; `odradek settings` lists them all"),
                }
            }
        }
    }
}

/// All problems of a configuration at once, so that they can be mended at once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SettingsError {
    pub problems: Vec<Problem>,
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for SettingsError {}

/// Something the user should know and that does not stop the start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Warning {
    /// Kafka's keys without meaning here, in one warning.
    NoMeaningHere { keys: Vec<String> },
    /// A key that neither Kafka nor Odradek has.
    Unknown { origin: Origin, key: String, nearest: Option<&'static str> },
    /// The last value of a key that a file sets more than once is the one that counts.
    SetTwice { origin: Origin, key: String },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMeaningHere { keys } => write!(f, "these settings of Kafka have no meaning here and are ignored: {}", keys.join(", ")),
            Self::Unknown { origin, key, nearest } => {
                write!(f, "{origin}: nobody knows a setting {key}; it is ignored")?;
                nearest.map_or(Ok(()), |name| write!(f, " (did you mean {name}?)"))
            }
            Self::SetTwice { origin, key } => write!(f, "{origin}: {key} is set again; this value counts"),
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Given {
    pub text: String,
    pub origin: Origin,
}

/// The settings of this process: what was given, over the defaults of the table.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Settings {
    pub(crate) given: BTreeMap<&'static str, Given>,
}

impl Settings {
    /// Reads a properties file (if any), then `key=value` overrides, which win.
    ///
    /// # Errors
    /// Everything that is wrong, with file and line.
    pub fn load(path: Option<&Path>, overrides: &[String]) -> Result<(Self, Vec<Warning>), SettingsError> {
        let Some(path) = path else { return Self::parse(b"", "", overrides) };
        let name = path.display().to_string();
        let bytes =
            read_bounded(path).map_err(|reason| SettingsError { problems: vec![Problem::Unreadable { path: name.clone(), reason }] })?;
        Self::parse(&bytes, &name, overrides)
    }

    /// As [`Settings::load`], from the bytes of a file called `path`.
    ///
    /// # Errors
    /// Everything that is wrong, with file and line.
    pub fn parse(file: &[u8], path: &str, overrides: &[String]) -> Result<(Self, Vec<Warning>), SettingsError> {
        let mut loader = Loader::default();
        match properties::parse(&properties::decode(file)) {
            Ok(entries) => {
                for entry in entries {
                    loader.take(entry.key, entry.value, Origin::File { path: path.to_owned(), line: entry.line });
                }
            }
            Err(error) => {
                let origin = Origin::File { path: path.to_owned(), line: error.line };
                loader.problems.push(Problem::Syntax { origin, reason: error.reason.to_owned() });
            }
        }
        for given in overrides {
            match given.split_once('=') {
                Some((key, value)) => loader.take(key.trim().to_owned(), value.trim().to_owned(), Origin::Override),
                None => loader
                    .problems
                    .push(Problem::Syntax { origin: Origin::Override, reason: format!("`{given}` is not of the form key=value") }),
            }
        }
        loader.finish()
    }

    /// The text given for a broker setting, or its default; `None` is Kafka's null. Unknown names are a broken
    /// invariant of the caller.
    pub fn text(&self, name: &str) -> Option<&str> {
        let row = table::find(name).unwrap_or_else(|| panic!("{name} is not in the table of settings"));
        self.given(name).or(row.default)
    }

    /// The text a file or override gave for a broker setting.
    pub fn given(&self, name: &str) -> Option<&str> {
        self.given.get(name).map(|given| given.text.as_str())
    }
}

fn read_bounded(path: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > FILE_BYTES_MAX { Err(format!("longer than {FILE_BYTES_MAX} bytes")) } else { Ok(bytes) }
}

#[derive(Default)]
struct Loader {
    settings: Settings,
    problems: Vec<Problem>,
    warnings: Vec<Warning>,
    ignored: BTreeSet<String>,
}

impl Loader {
    fn take(&mut self, key: String, value: String, origin: Origin) {
        match table::find(&key) {
            Some(row) => self.take_known(row, value, origin),
            None if is_passed_on(&key) => {
                self.ignored.insert(key);
            }
            None => self.take_unknown(key, origin),
        }
    }

    fn take_known(&mut self, row: &'static Setting, value: String, origin: Origin) {
        let value = value.trim();
        if row.effect == Effect::NoMeaningHere {
            self.ignored.insert(row.name.to_owned());
        }
        let checked = row.check(value).map_err(|error| error.reason).and_then(|()| listeners::check(row.name, value));
        if let Err(reason) = checked {
            let value = if row.is_sensitive() { "[hidden]".to_owned() } else { value.to_owned() };
            self.problems.push(Problem::BadValue { origin, key: row.name.to_owned(), value, reason, allowed: row.rule.to_string() });
            return;
        }
        let given = Given { text: canonical(row.value_type, value), origin: origin.clone() };
        let before = self.settings.given.insert(row.name, given);
        if before.is_some() && origin != Origin::Override {
            self.warnings.push(Warning::SetTwice { origin, key: row.name.to_owned() });
        }
    }

    fn take_unknown(&mut self, key: String, origin: Origin) {
        let ours = key.starts_with("odradek.");
        let candidates = table::all().map(|row| row.name).filter(|name| !ours || name.starts_with("odradek."));
        let nearest = nearest(&key, candidates);
        if ours {
            self.problems.push(Problem::UnknownKey { origin, key, nearest });
        } else {
            self.warnings.push(Warning::Unknown { origin, key, nearest });
        }
    }

    fn finish(mut self) -> Result<(Settings, Vec<Warning>), SettingsError> {
        self.check_together();
        if !self.problems.is_empty() {
            return Err(SettingsError { problems: self.problems });
        }
        if !self.ignored.is_empty() {
            self.warnings.push(Warning::NoMeaningHere { keys: self.ignored.into_iter().collect() });
        }
        Ok((self.settings, self.warnings))
    }

    /// Rules between settings.
    fn check_together(&mut self) {
        let settings = &self.settings;
        let mut wrong = Vec::new();
        if let (Some(node), Some(broker)) = (settings.given("node.id"), settings.given("broker.id"))
            && node != broker
        {
            wrong.push(("broker.id", format!("node.id is {node}; where both are set they must be equal")));
        }
        if let Err(reason) = listeners::from_settings(settings) {
            wrong.push(("listeners", reason));
        }
        let ports = listeners::from_settings(settings).unwrap_or_default();
        let highest = settings.shard_port_offset() + u32::from(settings.shards().unwrap_or(1).saturating_sub(1));
        if settings.advertise() == crate::Advertise::Cores
            && let Some(listener) = ports.iter().find(|listener| u32::from(listener.port) + highest > u32::from(u16::MAX))
        {
            let reason = format!("port {} plus this offset leaves the range of ports; a smaller offset is needed", listener.port);
            wrong.push(("odradek.shard.port.offset", reason));
        }
        for (key, reason) in wrong {
            let value = self.settings.text(key).unwrap_or_default().to_owned();
            let origin = self.settings.given.get(key).map_or(Origin::Override, |given| given.origin.clone());
            self.problems.push(Problem::BadValue { origin, key: key.to_owned(), value, reason, allowed: String::new() });
        }
    }
}

/// Keys that Kafka hands to plugins and to single listeners: their names are open.
fn is_passed_on(key: &str) -> bool {
    const PREFIXES: [&str; 7] =
        ["listener.name.", "config.providers.", "rsm.config.", "rlmm.config.", "confluent.", "sasl.mechanism.", "zookeeper."];
    const WITHDRAWN: [&str; 6] = [
        "delegation.token.master.key",
        "inter.broker.protocol.version",
        "log.message.downconversion.enable",
        "log.message.format.version",
        "log.message.timestamp.difference.max.ms",
        "offsets.commit.required.acks",
    ];
    PREFIXES.iter().any(|prefix| key.starts_with(prefix)) || WITHDRAWN.contains(&key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, overrides: &[&str]) -> Result<(Settings, Vec<Warning>), SettingsError> {
        let overrides: Vec<String> = overrides.iter().map(|&text| text.to_owned()).collect();
        Settings::parse(text.as_bytes(), "server.properties", &overrides)
    }

    #[test]
    fn a_file_like_those_that_kafka_ships() {
        let (settings, warnings) = parse(
            "process.roles=broker,controller\nnode.id=7\ncontroller.quorum.bootstrap.servers=localhost:9093\n\
             listeners=PLAINTEXT://:9092,\\\n          CONTROLLER://:9093\ncontroller.listener.names=CONTROLLER\n\
             listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT\nnum.network.threads=3\nlog.dirs=/data/a, /data/b\n\
             log.retention.hours=24\nnum.partitions = 4\n",
            &["num.partitions=6"],
        )
        .unwrap();
        assert_eq!(settings.node_id(), odradek_base::NodeId(7));
        assert_eq!(settings.num_partitions(), 6);
        assert_eq!(settings.log_dirs().len(), 2);
        let listeners = settings.listeners();
        assert_eq!((listeners.len(), listeners[0].port), (1, 9092), "the controller's listener is skipped");
        let [Warning::NoMeaningHere { keys }] = &warnings[..] else { panic!("{warnings:?}") };
        assert_eq!(keys, &["controller.quorum.bootstrap.servers", "num.network.threads", "process.roles"]);
    }

    #[test]
    fn problems_name_file_line_and_range() {
        let error =
            parse("# c\nnum.partitions=0\nlog.segment.bytes=x\nlisteners=PLAINTEXT://h\nodradek.shard=2\na=\\u1", &["x"]).unwrap_err();
        assert_eq!(error.problems.len(), 2, "a syntax error hides the rest of the file: {error}");
        let error = parse("# c\nnum.partitions=0\nlog.segment.bytes=x\nlisteners=PLAINTEXT://h\nodradek.shard=2", &["x"]).unwrap_err();
        let text = error.to_string();
        let expected = [
            "server.properties:2: num.partitions=0: Value must be at least 1; allowed: [1,...]",
            "server.properties:3: log.segment.bytes=x: Not a number of type INT; allowed: [1048576,...]",
            "server.properties:4: listeners=PLAINTEXT://h: ",
            "server.properties:5: there is no setting odradek.shard; did you mean odradek.shards?",
            "--override: `x` is not of the form key=value",
        ];
        for line in expected {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }

    #[test]
    fn unknown_keys_warn_with_a_suggestion() {
        let (_, warnings) = parse("log.dirss=/a\nlistener.name.x.ssl.keystore.type=JKS\nmy.plugin.thing=1", &[]).unwrap();
        let text: Vec<_> = warnings.iter().map(ToString::to_string).collect();
        assert!(text[0].contains("did you mean log.dirs?"), "{text:?}");
        assert!(text[1].contains("my.plugin.thing") && !text[1].contains("did you mean"), "{text:?}");
        assert!(text[2].contains("listener.name.x.ssl.keystore.type"), "{text:?}");
    }

    #[test]
    fn the_last_value_counts_and_overrides_win() {
        let (settings, warnings) = parse("num.partitions=2\nnum.partitions=3", &[]).unwrap();
        assert_eq!((settings.num_partitions(), warnings.len()), (3, 1));
        let (settings, warnings) = parse("num.partitions=2", &["num.partitions=5"]).unwrap();
        assert_eq!((settings.num_partitions(), warnings.len()), (5, 0));
    }

    #[test]
    fn settings_that_contradict_each_other() {
        assert!(parse("node.id=1\nbroker.id=2", &[]).is_err());
        assert_eq!(parse("broker.id=2", &[]).unwrap().0.node_id(), odradek_base::NodeId(2));
        assert!(parse("listeners=PLAINTEXT://:60000", &[]).unwrap_err().to_string().contains("odradek.shard.port.offset"));
        parse("listeners=PLAINTEXT://:60000", &["odradek.advertise=node"]).unwrap();
        parse("listeners=PLAINTEXT://:60000", &["odradek.shard.port.offset=10"]).unwrap();
    }

    #[test]
    fn secrets_are_not_told() {
        let error = parse("odradek.advertise=nodes", &[]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "server.properties:1: odradek.advertise=nodes: String must be one of: cores, node; allowed: [cores, node]"
        );
    }

    #[test]
    fn any_mutation_of_a_file_is_loaded_or_refused() {
        let text = b"node.id=7\nbroker.id=7\nlisteners=A://h:9092,B://[::1]:0\nlistener.security.protocol.map=A:PLAINTEXT,B:SSL\nlog.dirs=/a,/b\n\
                     odradek.shards=3\nodradek.shard.port.offset=10\nnum.partitions=4\nlog.cleaner.min.cleanable.ratio=0.5\nlog.retention.ms=-1\n";
        let mut rng = odradek_base::Rng::with_seed(5);
        let (mut loaded, mut refused) = (0, 0);
        for _ in 0..400 {
            let mut bytes = text.to_vec();
            for _ in 0..=rng.below(3) {
                let at = rng.below(bytes.len() as u64) as usize;
                match rng.below(3) {
                    0 => bytes[at] = b"=:,/-09AZ\\\n"[rng.below(11) as usize],
                    1 => drop(bytes.remove(at)),
                    _ => bytes.insert(at, rng.next_u64() as u8),
                }
            }
            match Settings::parse(&bytes, "f", &[]) {
                Ok((settings, _)) => {
                    loaded += 1;
                    assert!(!settings.listeners().is_empty() && settings.node_id().get() >= 0);
                    settings.describe();
                }
                Err(error) => {
                    refused += 1;
                    assert!(!error.problems.is_empty());
                }
            }
        }
        assert!(loaded > 40 && refused > 40, "{loaded} loaded, {refused} refused");
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Settings::load(Some(Path::new("/nonexistent/server.properties")), &[]).unwrap_err();
        assert!(error.to_string().starts_with("/nonexistent/server.properties: cannot be read"), "{error}");
    }
}
