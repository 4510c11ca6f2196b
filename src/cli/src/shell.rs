//! `odradek completions` and `odradek man`: what packages install, made from the command tree itself.

use clap::{ArgMatches, Args, Command, FromArgMatches};
use clap_complete::Shell;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// Print the completions for a shell
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  odradek completions bash > /usr/share/bash-completion/completions/odradek")]
struct CompletionsArgs {
    shell: Shell,
}

/// Write the manual pages, one per command, into a directory
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  odradek man /usr/local/share/man/man1")]
struct ManArgs {
    /// Created when missing.
    directory: PathBuf,
}

pub(crate) fn commands() -> [Command; 2] {
    [CompletionsArgs::augment_args(Command::new("completions")), ManArgs::augment_args(Command::new("man"))]
}

/// Runs one of [`commands`] for the whole command tree.
pub(crate) fn run(name: &str, matches: &ArgMatches, tree: Command) -> ExitCode {
    let result = match name {
        "completions" => CompletionsArgs::from_arg_matches(matches).map(|args| completions(&args, tree)),
        _ => ManArgs::from_arg_matches(matches).map(|args| man(&args, tree)),
    };
    match result {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
        Err(error) => error.exit(),
    }
}

fn completions(args: &CompletionsArgs, mut tree: Command) -> Result<(), String> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut tree, "odradek", &mut text);
    // A reader that goes away early is no error.
    let _ = std::io::stdout().write_all(&text);
    Ok(())
}

fn man(args: &ManArgs, tree: Command) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{}: {error}", args.directory.display());
    std::fs::create_dir_all(&args.directory).map_err(failed)?;
    clap_mangen::generate_to(tree, &args.directory).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Program;

    #[test]
    fn every_command_has_a_page() {
        let directory = tempfile::tempdir().unwrap();
        let tree = crate::command(&Program::default());
        man(&ManArgs { directory: directory.path().join("man1") }, tree.clone()).unwrap();
        let page = |name: &str| std::fs::read_to_string(directory.path().join("man1").join(name)).unwrap();
        for command in tree.get_subcommands() {
            assert!(page(&format!("odradek-{}.1", command.get_name())).contains(".SH SYNOPSIS"), "{}", command.get_name());
        }
        assert!(page("odradek.1").contains("topic"));
    }
}
