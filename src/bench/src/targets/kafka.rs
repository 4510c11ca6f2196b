//! Apache Kafka from Maven Central, one process that is broker and controller, with the JVM flags of its own start script.

use super::odradek::output;
use crate::BenchError;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// `KAFKA_JVM_PERFORMANCE_OPTS` of `kafka-run-class.sh`.
const JVM_FLAGS: [&str; 7] = [
    "-server",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
    "-XX:MaxInlineLevel=15",
    "-Djava.awt.headless=true",
];
const LOGGING: &str = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn";

/// The folder with Kafka's jars, fetched once and kept in `cache`.
pub fn install(cache: &Path, version: &str) -> Result<PathBuf, BenchError> {
    let folder = cache.join(format!("kafka-{version}"));
    let jars = folder.join("jars");
    if jars.is_dir() {
        return Ok(jars);
    }
    let failed = |e: std::io::Error| BenchError::Broker(format!("{}: {e}", folder.display()));
    std::fs::create_dir_all(&folder).map_err(failed)?;
    let file = folder.join("pom.xml");
    std::fs::write(&file, pom(version)).map_err(failed)?;
    let part = folder.join("jars.part");
    eprintln!("fetching Apache Kafka {version} with Maven, once");
    let mut maven = Command::new("mvn");
    maven.args(["-q", "-B", "dependency:copy-dependencies", "-f"]).arg(&file).arg(format!("-DoutputDirectory={}", part.display()));
    output(&mut maven)?;
    std::fs::rename(&part, &jars).map_err(failed)?;
    Ok(jars)
}

fn pom(version: &str) -> String {
    let mut dependencies = String::new();
    for (group, artifact, version) in [
        ("org.apache.kafka", "kafka_2.13", version),
        ("org.apache.kafka", "kafka-server", version),
        ("org.apache.kafka", "kafka-tools", version),
        ("org.slf4j", "slf4j-simple", "1.7.36"),
    ] {
        let _ = writeln!(
            dependencies,
            "<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId><version>{version}</version></dependency>"
        );
    }
    format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\"><modelVersion>4.0.0</modelVersion>\n\
         <groupId>org.odradek</groupId><artifactId>kafka-to-compare-with</artifactId><version>1</version>\n\
         <dependencies>\n{dependencies}</dependencies></project>\n"
    )
}

/// `server.properties`: one node, internal topics with one replica.
fn properties(port: u16, controller: u16, data: &Path, durable: bool, settings: BTreeMap<String, String>) -> String {
    let mut all: BTreeMap<String, String> = [
        ("process.roles", "broker,controller".to_owned()),
        ("node.id", "1".to_owned()),
        ("listeners", format!("PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}")),
        ("advertised.listeners", format!("PLAINTEXT://127.0.0.1:{port}")),
        ("controller.listener.names", "CONTROLLER".to_owned()),
        ("controller.quorum.bootstrap.servers", format!("127.0.0.1:{controller}")),
        ("log.dirs", data.display().to_string()),
        ("offsets.topic.replication.factor", "1".to_owned()),
        ("transaction.state.log.replication.factor", "1".to_owned()),
        ("transaction.state.log.min.isr", "1".to_owned()),
        ("share.coordinator.state.topic.replication.factor", "1".to_owned()),
        ("share.coordinator.state.topic.min.isr", "1".to_owned()),
        ("group.initial.rebalance.delay.ms", "0".to_owned()),
    ]
    .map(|(k, v)| (k.to_owned(), v))
    .into();
    if durable {
        // The broker's name of flush.messages.
        all.insert("log.flush.interval.messages".to_owned(), "1".to_owned());
    }
    all.extend(settings);
    all.into_iter().map(|(k, v)| format!("{k}={v}\n")).collect()
}

fn java(jars: &Path) -> Command {
    let mut command = Command::new("java");
    command.arg("-cp").arg(format!("{}/*", jars.display())).arg(LOGGING);
    command
}

/// Formats a data folder; how to start the broker, and its port.
pub fn command(
    jars: &Path,
    folder: &Path,
    heap: &str,
    durable: bool,
    settings: BTreeMap<String, String>,
) -> Result<(Command, u16), BenchError> {
    let port = super::started::free_port();
    let file = folder.join("server.properties");
    let text = properties(port, port + 1, &folder.join("data"), durable, settings);
    std::fs::write(&file, text).map_err(|e| BenchError::Broker(format!("{}: {e}", file.display())))?;
    let cluster = odradek_base::ids::uuid_to_kafka_string(uuid::Uuid::from_u64_pair(1, u64::from(port)));
    output(java(jars).args(["-Xmx256m", "kafka.tools.StorageTool", "format", "--standalone", "-t", &cluster, "-c"]).arg(&file))?;
    let mut command = java(jars);
    command.args(JVM_FLAGS).args([format!("-Xms{heap}"), format!("-Xmx{heap}")]).arg("kafka.Kafka").arg(&file);
    Ok((command, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durable_kafka_flushes_each_batch_and_settings_win() {
        let text = |durable| properties(9, 10, Path::new("/d"), durable, [("num.io.threads".to_owned(), "3".to_owned())].into());
        assert!(text(true).contains("log.flush.interval.messages=1\n") && !text(false).contains("flush"));
        assert!(text(false).contains("num.io.threads=3\n") && text(false).contains("log.dirs=/d\n"));
        assert!(pom("4.0.1").contains("<artifactId>kafka-tools</artifactId><version>4.0.1</version>"));
    }
}
