//! `kafka-server-start`: `odradek serve` with the arguments of Kafka's script (`bin/kafka-server-start.sh`, `kafka.Kafka`).

use crate::serve::{self, ServeArgs};
use std::fs;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

const USAGE: &str = "USAGE: kafka-server-start [-daemon] server.properties [--override property=value]*";
/// Kafka's names: the directory is `$LOG_DIR` where that is set.
const LOG_DIR: &str = "logs";
const OUTPUT_FILE: &str = "kafkaServer.out";

pub fn run(args: &[String]) -> ExitCode {
    let (daemon, args) = match parse(args) {
        Ok(parsed) => parsed,
        Err(message) => {
            eprintln!("{message}\n{USAGE}");
            return ExitCode::FAILURE;
        }
    };
    if !daemon {
        return serve::run(&args);
    }
    let log_dir = std::env::var_os("LOG_DIR").map_or_else(|| PathBuf::from(LOG_DIR), PathBuf::from);
    match detach(&args, &log_dir) {
        Ok(output) => {
            eprintln!("started in the background; it writes to {}", output.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("odradek: cannot start in the background with output in {}: {error}", log_dir.display());
            ExitCode::FAILURE
        }
    }
}

/// Whether to run in the background, and what to serve.
fn parse(args: &[String]) -> Result<(bool, ServeArgs), String> {
    let mut rest = args.iter();
    let mut daemon = false;
    let mut serve = ServeArgs::default();
    while let Some(arg) = rest.next() {
        if let Some(attached) = arg.strip_prefix("--override=") {
            serve.overrides.push(attached.to_owned());
            continue;
        }
        match arg.as_str() {
            "-daemon" => daemon = true,
            "--override" => serve.overrides.push(rest.next().ok_or("--override requires an argument")?.clone()),
            other if other.starts_with('-') => return Err(format!("{other} is not a recognized option")),
            file if serve.config.is_none() => serve.config = Some(PathBuf::from(file)),
            other => return Err(format!("Found non argument parameters: {other}")),
        }
    }
    if serve.config.is_none() {
        return Err("server.properties is missing".to_owned());
    }
    Ok((daemon, serve))
}

/// Starts this program once more, in a process group of its own and with its output in a file; returns that file.
fn detach(args: &ServeArgs, log_dir: &Path) -> io::Result<PathBuf> {
    fs::create_dir_all(log_dir)?;
    let path = log_dir.join(OUTPUT_FILE);
    let output = fs::File::create(&path)?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("serve");
    if let Some(config) = &args.config {
        command.arg("--config").arg(config);
    }
    for one in &args.overrides {
        command.arg("--override").arg(one);
    }
    command.process_group(0).stdin(Stdio::null()).stderr(output.try_clone()?).stdout(output).spawn()?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(args: &[&str]) -> Result<(bool, ServeArgs), String> {
        parse(&args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn the_arguments_of_kafkas_script() {
        let (daemon, args) = parsed(&["-daemon", "config/server.properties", "--override", "a=b", "--override=c=d"]).unwrap();
        assert!(daemon);
        assert_eq!(args.config, Some(PathBuf::from("config/server.properties")));
        assert_eq!(args.overrides, ["a=b", "c=d"]);
        for wrong in [&[][..], &["-x", "f"], &["f", "g"], &["f", "--override"], &["--override", "a=b"]] {
            assert!(parsed(wrong).is_err(), "{wrong:?}");
        }
    }
}
