//! The command line: odradek's own commands and Kafka's tools, in one multi-call binary.
//!
//! Purpose: [`run`] looks at the program's name. `kafka-topics`, `kafka-topics.sh` and their siblings ([`tools`]) behave as Kafka's
//! tools do; every other name takes `odradek <command>`. Commands of other rooms (`serve`, `settings`, `bench`) are added by the
//! binary as [`Subcommand`]s, so that this crate needs to know neither the broker nor the harness.
//!
//! Invariants: scripts can rely on exit codes (0 ok, 1 failed, 2 wrong usage; Kafka's tools: 0 and 1) and on the shapes of `--json`;
//! progress and hints go to standard error, and only to a terminal. Owner: the main thread. Failure behaviour: an error is one
//! sentence that names what failed, then what to do next; a reader of standard output that goes away ends the command quietly.

mod commands;
mod console;
mod datetime;
mod shell;
mod signals;
mod stdin_lines;
pub mod tools;

use clap::{ArgMatches, Command};
use std::ffi::OsString;
use std::process::ExitCode;

/// A command that another room brings.
pub struct Subcommand {
    /// Name, help and arguments.
    pub command: Command,
    pub run: Box<dyn FnOnce(&ArgMatches) -> ExitCode>,
}

/// A tool of Kafka's that another room brings, because it needs the broker.
pub struct ServerTool {
    /// Kafka's name, without `.sh`.
    pub name: &'static str,
    pub run: fn(&[String]) -> ExitCode,
}

/// What the binary adds to the commands of this crate.
#[derive(Default)]
pub struct Program {
    pub subcommands: Vec<Subcommand>,
    pub server_tools: Vec<ServerTool>,
    /// Run when no command is given; it sees no arguments. Without it, help is shown.
    pub default: Option<&'static str>,
}

/// Wrong usage, as clap's own errors have it.
pub const EXIT_USAGE: u8 = 2;

/// Runs the command line; `args` starts with the program's name.
pub fn run(args: impl Iterator<Item = OsString>, program: Program) -> ExitCode {
    let mut args: Vec<OsString> = args.collect();
    let name = args.first().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    // `odradek kafka-topics ...` works without links.
    let names = [Some(name.as_str()), args.get(1).and_then(|a| a.to_str())];
    for (at, name) in names.into_iter().enumerate().filter_map(|(at, name)| Some((at, tools::name_of(name?)))) {
        let arguments = || text_arguments(&args[at + 1..]);
        if let Some(tool) = tools::by_name(name) {
            return tools::run(tool, &arguments());
        }
        if let Some(tool) = program.server_tools.iter().find(|tool| tool.name == name) {
            return (tool.run)(&arguments());
        }
    }
    if let Some(default) = program.default
        && args.len() <= 1
    {
        args.resize(1, OsString::from("odradek"));
        args.push(OsString::from(default));
    }
    let matches = match command(&program).try_get_matches_from(args) {
        Ok(matches) => matches,
        Err(error) => {
            // Help and version are no errors: clap knows which stream.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { EXIT_USAGE } else { 0 });
        }
    };
    let Some((name, arguments)) = matches.subcommand() else { return ExitCode::from(EXIT_USAGE) };
    // These two are about the whole command tree, which only this place knows.
    if name == "completions" || name == "man" {
        return shell::run(name, arguments, command(&program));
    }
    match program.subcommands.into_iter().find(|s| s.command.get_name() == name) {
        Some(theirs) => (theirs.run)(arguments),
        None => commands::run(name, arguments, &program.server_tools),
    }
}

/// The whole command tree, for help and shell completion.
pub fn command(program: &Program) -> Command {
    let mut command = Command::new("odradek")
        .version(env!("CARGO_PKG_VERSION"))
        .about("A Kafka-protocol broker for bare-metal Linux where latency matters, and its tools")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .after_help(
            "Kafka's own tools are built in: `odradek install-tools DIR` makes links such as kafka-topics.sh, \
             and `odradek kafka-topics ...` works without them.",
        );
    for theirs in &program.subcommands {
        command = command.subcommand(theirs.command.clone());
    }
    command.subcommands(commands::commands()).subcommands(shell::commands())
}

fn text_arguments(args: &[OsString]) -> Vec<String> {
    args.iter().map(|a| a.to_string_lossy().into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(args: &[&str], program: Program) -> String {
        format!("{:?}", run(args.iter().map(OsString::from), program))
    }

    #[test]
    fn the_command_tree_is_consistent() {
        command(&Program::default()).debug_assert();
    }

    #[test]
    fn added_commands_and_the_default_run() {
        let program = || Program {
            subcommands: vec![Subcommand { command: Command::new("serve"), run: Box::new(|_| ExitCode::from(7)) }],
            server_tools: vec![ServerTool { name: "kafka-server-start", run: |args| ExitCode::from(args.len() as u8) }],
            default: Some("serve"),
        };
        let seven = format!("{:?}", ExitCode::from(7));
        assert_eq!(code(&["odradek"], program()), seven);
        let two = format!("{:?}", ExitCode::from(2));
        assert_eq!(code(&["/bin/kafka-server-start.sh", "-daemon", "file"], program()), two);
        assert_eq!(code(&["odradek", "kafka-server-start", "-daemon", "file"], program()), two);
        assert_eq!(code(&["odradek", "serve"], program()), seven);
        assert_eq!(code(&["odradek", "no-such"], program()), format!("{:?}", ExitCode::from(EXIT_USAGE)));
    }

    #[test]
    fn kafkas_tools_answer_to_their_names() {
        let one = format!("{:?}", ExitCode::from(1));
        assert_eq!(code(&["/opt/bin/kafka-topics.sh", "--help"], Program::default()), one);
        assert_eq!(code(&["odradek", "kafka-topics", "--help"], Program::default()), one);
    }
}
