//! Kafka's own tools, by their names, options, texts and exit codes (Apache Kafka 4.3).
//!
//! A tool that fails says so on the stream Kafka uses for it and exits with Kafka's code. Options of Kafka that mean nothing here,
//! or that are not implemented, end the tool with an error that names them.

mod broker_api_versions;
mod configs;
mod console_consumer;
mod console_producer;
mod consumer_groups;
mod delete_records;
mod formatter;
mod get_offsets;
mod line_reader;
mod log_dirs;
pub mod options;
mod properties;
mod topic_filter;
mod topics;

use crate::console::Console;
use odradek_client::{ClientConfig, ClientError, Cluster};
use options::{OptionSpec, Parsed};
use std::io::BufWriter;
use std::process::ExitCode;

/// A tool: its arguments in, its exit code out.
type Tool = fn(&[String], &mut Console<'_>) -> u8;

/// Names (without `.sh`) and entry points, in alphabetical order.
pub const TOOLS: [(&str, Tool); 9] = [
    ("kafka-broker-api-versions", broker_api_versions::run),
    ("kafka-configs", configs::run),
    ("kafka-console-consumer", console_consumer::run),
    ("kafka-console-producer", console_producer::run),
    ("kafka-consumer-groups", consumer_groups::run),
    ("kafka-delete-records", delete_records::run),
    ("kafka-get-offsets", get_offsets::run),
    ("kafka-log-dirs", log_dirs::run),
    ("kafka-topics", topics::run),
];

/// The name of a tool in a program name such as `/opt/bin/kafka-topics.sh`.
pub fn name_of(program: &str) -> &str {
    let file = program.rsplit('/').next().unwrap_or(program);
    file.strip_suffix(".sh").unwrap_or(file)
}

/// The tool of this name.
pub fn by_name(name: &str) -> Option<Tool> {
    TOOLS.iter().find(|(known, _)| *known == name).map(|(_, tool)| *tool)
}

/// Runs a tool on the process's own streams.
pub fn run(tool: Tool, args: &[String]) -> ExitCode {
    let (mut out, mut err) = (BufWriter::new(std::io::stdout()), std::io::stderr());
    let mut console = Console::new(&mut out, &mut err);
    let code = tool(args, &mut console);
    console.flush();
    ExitCode::from(code)
}

/// How a tool ends when it does not succeed.
#[derive(Debug)]
pub enum ToolError {
    /// Message and option table on stderr, exit code 1.
    Usage(String),
    /// A sentence, printed where and how the tool prints failures.
    Failed(String),
    Client(ClientError),
    /// `--help` or `--version` was answered.
    Answered(u8),
}

impl From<ClientError> for ToolError {
    fn from(error: ClientError) -> Self {
        ToolError::Client(error)
    }
}

impl ToolError {
    /// The sentence as Kafka's tools show an exception's message.
    pub fn text(&self) -> String {
        match self {
            ToolError::Usage(text) | ToolError::Failed(text) => text.clone(),
            ToolError::Client(ClientError::Broker(error)) => error.text(),
            ToolError::Client(error) => match error.advice() {
                Some(advice) => format!("{error}\n{advice}"),
                None => error.to_string(),
            },
            ToolError::Answered(_) => String::new(),
        }
    }
}

/// Turns a sentence of the option parser into a usage error.
pub fn usage_error(message: String) -> ToolError {
    ToolError::Usage(message)
}

/// Parses and answers `--help`, `--version` and the empty command line, as Kafka's tools do.
fn parse_or_answer(specs: &[OptionSpec], purpose: &str, args: &[String], console: &mut Console<'_>) -> Result<Parsed, ToolError> {
    let parsed = options::parse(specs, args).map_err(usage_error)?;
    if parsed.empty || parsed.has("help") {
        return Err(ToolError::Usage(purpose.to_owned()));
    }
    if parsed.has("version") {
        console.line(&format!("odradek {}", env!("CARGO_PKG_VERSION")));
        return Err(ToolError::Answered(0));
    }
    Ok(parsed)
}

/// Ends a tool: usage on stderr, other failures by `failed`, which returns the exit code.
fn finish(
    result: Result<u8, ToolError>,
    specs: &[OptionSpec],
    console: &mut Console<'_>,
    failed: impl FnOnce(&ToolError, &mut Console<'_>) -> u8,
) -> u8 {
    match result {
        Ok(code) | Err(ToolError::Answered(code)) => code,
        Err(ToolError::Usage(message)) => {
            console.error_line(&message);
            console.error(&options::usage(specs));
            1
        }
        Err(error) => failed(&error, console),
    }
}

/// Connects with `--bootstrap-server` and the properties of `--command-config`.
fn connect(parsed: &Parsed, client_id: &str, console: &mut Console<'_>) -> Result<Cluster, ToolError> {
    let mut config = ClientConfig::new(required_value(parsed, "bootstrap-server")?)?;
    config.client_id = client_id.to_owned();
    if let Some(path) = parsed.value("command-config").map_err(usage_error)? {
        let mut properties = properties::load(path)?;
        config.take_properties(&mut properties)?;
        properties::warn_unused(&properties, console);
    }
    Ok(Cluster::connect(config)?)
}

fn required_value<'a>(parsed: &'a Parsed, name: &str) -> Result<&'a str, ToolError> {
    parsed.require(&[name]).map_err(usage_error)?;
    parsed.value(name).map_err(usage_error)?.ok_or_else(|| ToolError::Usage(format!("Missing required argument \"[{name}]\"")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn program_names_with_and_without_sh_and_path() {
        assert!(by_name(name_of("kafka-topics")).is_some());
        assert!(by_name(name_of("/opt/kafka/bin/kafka-console-consumer.sh")).is_some());
        assert!(by_name(name_of("odradek")).is_none());
        assert!(by_name(name_of("kafka-topics.bat")).is_none());
    }

    #[test]
    fn every_tool_answers_help_with_its_options_and_code_1() {
        for (name, tool) in TOOLS {
            let (mut out, mut err) = (Vec::new(), Vec::new());
            let code = tool(&["--help".to_owned()], &mut Console::new(&mut out, &mut err));
            let err = String::from_utf8(err).unwrap();
            assert_eq!(code, 1, "{name}");
            assert!(err.contains("--bootstrap-server"), "{name}: {err}");
            assert!(out.is_empty(), "{name}");
        }
    }

    #[test]
    fn no_option_is_listed_twice_or_with_an_empty_help() {
        let tables: [&[OptionSpec]; 9] = [
            &broker_api_versions::OPTIONS,
            &configs::OPTIONS,
            &console_consumer::OPTIONS,
            &console_producer::OPTIONS,
            &consumer_groups::OPTIONS,
            &delete_records::OPTIONS,
            &get_offsets::OPTIONS,
            &log_dirs::OPTIONS,
            &topics::OPTIONS,
        ];
        for table in tables {
            let mut names: Vec<&str> = table.iter().chain(&options::COMMON).map(|o| o.name).collect();
            names.sort_unstable();
            assert!(names.windows(2).all(|w| w[0] != w[1]), "{names:?}");
            assert!(table.iter().all(|o| !o.help.is_empty()));
        }
    }
}
