//! The command that replays a run to the same event.

use crate::run::Options;

/// Arguments of `odradek-sim` for the run of `seed` under `options`. With `--events` in addition it shows every event.
pub fn arguments(seed: u64, options: &Options) -> String {
    let disks_work = if options.kinds.disks_work() { " --disks-work" } else { "" };
    let planted = options.planted.map_or(String::new(), |planted| format!(" --planted {planted}"));
    format!("--seeds 1 --start {seed} --mode {}{disks_work}{planted}{}", options.mode, options.less)
}

/// The whole command.
pub fn command(seed: u64, options: &Options) -> String {
    let features = if options.planted.is_some() { " --features planted" } else { "" };
    format!("cargo run -p odradek-sim{features} -- {} --events", arguments(seed, options))
}
