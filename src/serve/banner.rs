//! What the broker says of itself when it is ready.

use super::broker::Broker;
use odradek_settings::DirectIo;
use odradek_store::RecoveryReport;
use std::io::{self, Write};
use std::time::Duration;

/// Prints version, identity, shards, listeners, directories, what the kernel granted, and what to type next.
pub fn print(broker: &Broker, took: Duration) {
    // Its output may go to a full disk, or nowhere: no reason to end.
    if let Err(error) = write(&mut std::io::stdout().lock(), broker, took) {
        tracing::warn!(took_ms = took.as_millis() as u64, "ready, which could not be said on standard output: {error}");
    }
}

fn write(out: &mut impl Write, broker: &Broker, took: Duration) -> io::Result<()> {
    let Broker { config, cluster_id, cores, ready, .. } = broker;
    writeln!(out, "odradek {}", env!("CARGO_PKG_VERSION"))?;
    writeln!(out, "  node       {}  cluster {}", config.node, cluster_id)?;
    for told in ready {
        let place = match cores.get(usize::from(told.shard.get()) % cores.len().max(1)) {
            Some(core) if config.settings.pin() => {
                format!("core {}, NUMA node {}", core.id.id, core.numa_node.map_or_else(|| "?".into(), |node| node.to_string()))
            }
            _ => "not pinned".into(),
        };
        let listeners: Vec<String> = told.listeners.iter().map(ToString::to_string).collect();
        writeln!(out, "  shard {:<4} {place}; broker {}; listens on {}", told.shard, config.broker_of(told.shard), listeners.join(", "))?;
    }
    writeln!(out, "  clients    {} at {}:{}", config.listener, config.advertised_host, config.advertised_port)?;
    let dirs: Vec<String> = config.log_dirs.iter().map(|dir| dir.display().to_string()).collect();
    writeln!(out, "  data       {}", dirs.join(", "))?;
    writeln!(out, "  memory     {}", config.memory)?;
    if let Some(address) = broker.metrics_address() {
        writeln!(out, "  metrics    http://{address}/metrics")?;
    }
    if let Some(first) = ready.first() {
        writeln!(out, "  ring       {}", first.features)?;
        writeln!(out, "  files      {}", files(&first.recovery, config.settings.direct_io()))?;
    }
    for told in ready {
        for line in recovery(&told.recovery) {
            writeln!(out, "  recovery   shard {}: {line}", told.shard)?;
        }
    }
    writeln!(out, "ready after {} ms", took.as_millis())?;
    let bootstrap = format!("{}:{}", config.advertised_host, config.advertised_port);
    let server = if bootstrap == "localhost:9092" { String::new() } else { format!(" --bootstrap-server {bootstrap}") };
    writeln!(out)?;
    writeln!(out, "next:")?;
    writeln!(out, "  odradek topic create greetings --partitions 4{server}")?;
    writeln!(out, "  echo hello | odradek produce greetings{server}")?;
    writeln!(out, "  odradek consume greetings --from beginning{server}")?;
    out.flush()
}

/// How files are read and written.
fn files(report: &RecoveryReport, direct_io: DirectIo) -> String {
    if direct_io == DirectIo::Off {
        return "through the page cache (odradek.direct.io=off)".into();
    }
    if report.buffered.is_empty() {
        return "direct I/O".into();
    }
    let reasons: Vec<String> = report.buffered.iter().map(|(dir, why)| format!("{} ({why})", dir.display())).collect();
    format!("through the page cache in {}; odradek.direct.io=required refuses to start like this", reasons.join(", "))
}

/// What the start found after an unclean stop, and what it could not repair.
fn recovery(report: &RecoveryReport) -> Vec<String> {
    let mut lines = Vec::new();
    if !report.clean && (report.partitions > report.created || report.journal_blocks > 0) {
        lines.push(format!(
            "the last stop was not clean: {} journal blocks and {} partitions checked, {} batches brought back, in {} ms",
            report.journal_blocks,
            report.recovered,
            report.journal_batches,
            report.took.as_millis()
        ));
    }
    if report.put_off > 0 {
        lines.push(format!("{} partitions of which no state file tells are checked now; each opens when that is done", report.put_off));
    }
    lines.extend(report.truncated.iter().map(|(path, bytes)| format!("{bytes} bytes of a torn write were cut off {}", path.display())));
    lines.extend(
        report.holes.iter().map(|hole| format!("{hole} cannot be read; what it held is lost where no segment has it, see the log")),
    );
    lines.extend(report.damaged.iter().map(|(partition, why)| format!("partition {partition} stays offline: {why}")));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_files_are_written_is_told_as_it_is() {
        let mut report = RecoveryReport::default();
        assert_eq!(files(&report, DirectIo::Auto), "direct I/O");
        assert!(files(&report, DirectIo::Off).contains("page cache (odradek.direct.io=off)"));
        report.buffered.push(("/data".into(), "Invalid argument".into()));
        assert!(files(&report, DirectIo::Auto).contains("page cache in /data (Invalid argument)"));
    }
}
