//! `odradek install-tools`: links named like Kafka's tools.

use super::{Failure, Outcome, output};
use crate::ServerTool;
use crate::tools::TOOLS;
use clap::Args;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Link Kafka's tools (kafka-topics, kafka-topics.sh, ...) to this program
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  odradek install-tools ~/bin\n  ~/bin/kafka-topics.sh --list --bootstrap-server localhost:9092")]
pub struct InstallToolsArgs {
    /// Directory for the links; created when missing.
    directory: PathBuf,
    /// Replace files that are there already.
    #[arg(long)]
    force: bool,
}

pub fn run(args: InstallToolsArgs, server_tools: &[ServerTool]) -> Outcome {
    let program = std::env::current_exe().map_err(|e| Failure::Message(format!("cannot find this program's own path: {e}")))?;
    let names: Vec<&str> = TOOLS.iter().map(|(name, _)| *name).chain(server_tools.iter().map(|tool| tool.name)).collect();
    let links = install(&program, &names, &args.directory, args.force)?;
    let mut text: String = links.iter().map(|l| format!("{}\n", l.display())).collect();
    text.push_str(&format!("{} links to {}\n", links.len(), program.display()));
    output::print(&text);
    Ok(ExitCode::SUCCESS)
}

fn install(program: &Path, names: &[&str], directory: &Path, force: bool) -> Result<Vec<PathBuf>, Failure> {
    let failed = |path: &Path, e: std::io::Error| Failure::Message(format!("{}: {e}", path.display()));
    std::fs::create_dir_all(directory).map_err(|e| failed(directory, e))?;
    let mut links = Vec::new();
    for &name in names {
        for file in [name.to_owned(), format!("{name}.sh")] {
            let link = directory.join(file);
            let ours = std::fs::read_link(&link).is_ok_and(|target| target == program);
            if link.symlink_metadata().is_ok() {
                if !ours && !force {
                    return Err(Failure::Message(format!("{} exists already; --force replaces it", link.display())));
                }
                std::fs::remove_file(&link).map_err(|e| failed(&link, e))?;
            }
            std::os::unix::fs::symlink(program, &link).map_err(|e| failed(&link, e))?;
            links.push(link);
        }
    }
    Ok(links)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_made_renewed_and_never_overwrite_others() {
        let dir = tempfile::tempdir().unwrap();
        let program = Path::new("/usr/bin/odradek");
        let names = ["kafka-topics", "kafka-storage"];
        let install = |force| install(program, &names, dir.path(), force);
        let links = install(false).unwrap();
        assert_eq!(links.len(), 2 * names.len());
        assert!(links.iter().all(|l| std::fs::read_link(l).unwrap() == program));
        install(false).unwrap();

        let other = dir.path().join("kafka-topics.sh");
        std::fs::remove_file(&other).unwrap();
        std::fs::write(&other, "#!/bin/sh").unwrap();
        assert!(install(false).is_err());
        install(true).unwrap();
    }
}
