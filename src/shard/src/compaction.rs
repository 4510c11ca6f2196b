//! When this shard compacts its logs, and within which bounds (`log.cleaner.*`; Kafka's `LogCleaner.CleanerThread`).

use crate::config::NodeConfig;
use crate::memory::Part;
use crate::shard::Shard;
use odradek_store::CompactionConfig;
use std::rc::Rc;
use std::time::Duration;

/// What the store obeys. Memory and throughput are the node's: each shard, which compacts one log at a time, has its share.
pub(crate) fn config(config: &NodeConfig) -> CompactionConfig {
    let (settings, d) = (&config.settings, CompactionConfig::default());
    let shards = usize::from(config.shards.max(1));
    CompactionConfig {
        dedupe_bytes: config.memory.bytes(Part::Compaction) as usize,
        load_factor: settings.decimal("log.cleaner.io.buffer.load.factor").unwrap_or(d.load_factor),
        io_buffer_bytes: settings.log_cleaner_io_buffer_size() as usize,
        io_bytes_per_second: settings.decimal("log.cleaner.io.max.bytes.per.second").unwrap_or(d.io_bytes_per_second) / shards as f64,
    }
}

/// Compacts whichever log needs it most, one after the other, and rests for `log.cleaner.backoff.ms` when none does.
pub(crate) async fn run(shard: Rc<Shard>) {
    if !shard.config.settings.flag("log.cleaner.enable") {
        return;
    }
    let backoff = Duration::from_millis(shard.config.settings.log_cleaner_backoff_ms().max(1));
    while !shard.stopping.get() {
        match shard.store().run_compaction().await {
            Ok(Some(_)) => continue,
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "a log was not compacted"),
        }
        shard.ring.sleep(backoff).await;
    }
}
