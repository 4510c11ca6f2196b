//! `kafka-storage`: ids and directories for a new cluster (`org.apache.kafka.tools.StorageTool`). `odradek serve` formats new directories
//! by itself; this is for those who choose the cluster's id beforehand, as Kafka's quick start does.

use crate::serve::data_dir;
use clap::{Parser, Subcommand};
use odradek_base::ids::{uuid_from_kafka_string, uuid_to_kafka_string};
use odradek_settings::Settings;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use uuid::Uuid;

/// The Kafka storage tool.
#[derive(Parser, Debug)]
#[command(
    name = "kafka-storage",
    after_help = "Examples:\n  kafka-storage random-uuid\n  kafka-storage format --standalone -t \"$KAFKA_CLUSTER_ID\" -c config/server.properties"
)]
struct StorageArgs {
    #[command(subcommand)]
    command: StorageCommand,
}

#[derive(Subcommand, Debug)]
enum StorageCommand {
    /// Print a random UUID.
    RandomUuid,
    /// Format the data directories: mark them as those of a cluster and a node.
    Format(FormatArgs),
    /// Print what the data directories are marked as.
    Info {
        /// The server.properties file.
        #[arg(long, short)]
        config: PathBuf,
    },
}

#[derive(clap::Args, Debug)]
struct FormatArgs {
    /// The server.properties file.
    #[arg(long, short)]
    config: PathBuf,
    /// The cluster id to use, as random-uuid prints one.
    #[arg(long, short = 't')]
    cluster_id: String,
    /// Leave directories alone that are formatted already.
    #[arg(long, short = 'g')]
    ignore_formatted: bool,
    /// One controller, in this process: here always so.
    #[arg(long, short)]
    standalone: bool,
    /// Format for a controller quorum that is found later: here as --standalone.
    #[arg(long, short = 'N', conflicts_with = "standalone")]
    no_initial_controllers: bool,
}

pub fn run(args: &[String]) -> ExitCode {
    let args = match StorageArgs::try_parse_from(std::iter::once("kafka-storage").chain(args.iter().map(String::as_str))) {
        Ok(args) => args,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
    };
    let done = match args.command {
        StorageCommand::RandomUuid => Ok(random_uuid()),
        StorageCommand::Format(args) => format(&args),
        StorageCommand::Info { config } => info(&config),
    };
    match done {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

/// As Kafka's `Uuid.randomUuid`: never one that begins with a dash, which would read as an option.
fn random_uuid() -> String {
    loop {
        let text = uuid_to_kafka_string(Uuid::new_v4());
        if !text.starts_with('-') {
            return text;
        }
    }
}

fn format(args: &FormatArgs) -> Result<String, String> {
    if uuid_from_kafka_string(&args.cluster_id).is_none() {
        return Err(format!(
            "Cluster ID string {} does not appear to be a valid UUID; `kafka-storage random-uuid` prints one",
            args.cluster_id
        ));
    }
    let settings = load(&args.config)?;
    let dirs = data_dir::directories(&settings);
    let marked = |dir: &Path| data_dir::marked_cluster(dir).map_err(|error| error.to_string());
    let mut new = Vec::new();
    for dir in &dirs {
        match marked(dir)? {
            None => new.push(dir),
            Some(_) if args.ignore_formatted => {}
            Some(_) => {
                let dir = dir.display();
                return Err(format!(
                    "Log directory {dir} is already formatted. Use --ignore-formatted to ignore this directory and format the others."
                ));
            }
        }
    }
    if new.is_empty() {
        return Ok("All of the log directories are already formatted.".to_owned());
    }
    let mut lines = Vec::new();
    for dir in new {
        data_dir::format(dir, &args.cluster_id, settings.node_id().get()).map_err(|error| error.to_string())?;
        lines.push(format!("Formatting data directory {}.", dir.display()));
    }
    Ok(lines.join("\n"))
}

fn info(config: &Path) -> Result<String, String> {
    let settings = load(config)?;
    let mut lines = Vec::new();
    for dir in data_dir::directories(&settings) {
        lines.push(match data_dir::marked_cluster(&dir).map_err(|error| error.to_string())? {
            Some(cluster) => format!("{}: cluster {cluster}", dir.display()),
            None => format!("{}: is not formatted", dir.display()),
        });
    }
    Ok(lines.join("\n"))
}

fn load(config: &Path) -> Result<Settings, String> {
    let (settings, warnings) = Settings::load(Some(config), &[]).map_err(|error| error.to_string())?;
    for warning in warnings {
        eprintln!("WARN {warning}");
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::data_dir::DataDir;

    #[test]
    fn a_formatted_directory_belongs_to_the_cluster_that_was_named() {
        let temp = tempfile::tempdir().unwrap();
        let config = temp.path().join("server.properties");
        let data = temp.path().join("a/b");
        std::fs::write(&config, format!("node.id=7\nlog.dirs={}\n", data.display())).unwrap();
        let id = random_uuid();
        let args = |id: &str, ignore_formatted| FormatArgs {
            config: config.clone(),
            cluster_id: id.to_owned(),
            ignore_formatted,
            standalone: true,
            no_initial_controllers: false,
        };
        assert!(format(&args("no-uuid", false)).unwrap_err().contains("no-uuid"));
        assert!(info(&config).unwrap().ends_with("is not formatted"));
        assert!(format(&args(&id, false)).unwrap().starts_with("Formatting"));
        assert!(format(&args(&random_uuid(), false)).unwrap_err().contains("is already formatted"));
        assert!(format(&args(&random_uuid(), true)).unwrap().starts_with("All of"));
        assert!(info(&config).unwrap().ends_with(&id));

        let (settings, _) = Settings::load(Some(&config), &[]).unwrap();
        assert_eq!(DataDir::open(&settings, 1).unwrap().cluster_id, id);
    }
}
