//! Tiered storage and metrics. Neither is here; the keys are accepted and told.

use super::Setting;
use crate::value::ValueType::*;

#[rustfmt::skip]
pub(super) const ROWS: &[Setting] = &[
    Setting::new("follower.fetch.last.tiered.offset.enable", Boolean, "false", "Whether a new follower starts at the last tiered offset.").cluster_wide().low().unused(),
    Setting::new("kafka.metrics.polling.interval.secs", Int, "10", "Seconds between polls of the older metrics reporters.").at_least(1).low().unused(),
    Setting::new("kafka.metrics.reporters", List, "", "Java classes of the older metrics reporters.").low().unused(),
    Setting::new("log.local.retention.bytes", Long, "-2", "Bytes of tiered segments that stay on local disks; -2 for the whole retention.").at_least(-2).cluster_wide().unused(),
    Setting::new("log.local.retention.ms", Long, "-2", "Milliseconds that tiered segments stay on local disks; -2 for the whole retention.").at_least(-2).cluster_wide().unused(),
    Setting::new("metric.reporters", List, "org.apache.kafka.common.metrics.JmxReporter", "Java classes of metrics reporters.").cluster_wide().low().unused(),
    Setting::new("metrics.num.samples", Int, "2", "Samples that a metric keeps.").at_least(1).low().unused(),
    Setting::new("metrics.recording.level", String, "INFO", "How detailed metrics are recorded.").low().unused(),
    Setting::new("metrics.sample.window.ms", Long, "30000", "Milliseconds of one sample of a metric.").at_least(1).low().unused(),
    Setting::new("remote.fetch.max.wait.ms", Int, "500", "Milliseconds that a fetch waits for tiered data.").at_least(1).cluster_wide().unused(),
    Setting::new("remote.list.offsets.request.timeout.ms", Long, "30000", "Milliseconds that ListOffsets waits for tiered data.").at_least(1).cluster_wide().unused(),
    Setting::new("remote.log.index.file.cache.total.size.bytes", Long, "1073741824", "Bytes of cached indexes of tiered segments.").at_least(1).cluster_wide().low().unused(),
    Setting::new("remote.log.manager.copier.thread.pool.size", Int, "10", "Threads that copy segments to the remote tier.").at_least(1).cluster_wide().unused(),
    Setting::new("remote.log.manager.copy.max.bytes.per.second", Long, "9223372036854775807", "Bytes per second that may be copied to the remote tier.").at_least(1).cluster_wide().unused(),
    Setting::new("remote.log.manager.copy.quota.window.num", Int, "11", "Samples kept for the quota of copies to the remote tier.").at_least(1).unused(),
    Setting::new("remote.log.manager.copy.quota.window.size.seconds", Int, "1", "Seconds of one sample for the quota of copies to the remote tier.").at_least(1).unused(),
    Setting::new("remote.log.manager.expiration.thread.pool.size", Int, "10", "Threads that remove expired segments from the remote tier.").at_least(1).cluster_wide().unused(),
    Setting::new("remote.log.manager.fetch.max.bytes.per.second", Long, "9223372036854775807", "Bytes per second that may be read from the remote tier.").at_least(1).cluster_wide().unused(),
    Setting::new("remote.log.manager.fetch.quota.window.num", Int, "11", "Samples kept for the quota of reads from the remote tier.").at_least(1).unused(),
    Setting::new("remote.log.manager.fetch.quota.window.size.seconds", Int, "1", "Seconds of one sample for the quota of reads from the remote tier.").at_least(1).unused(),
    Setting::new("remote.log.manager.follower.thread.pool.size", Int, "2", "Threads of followers that look after the remote tier.").at_least(1).cluster_wide().unused(),
    Setting::new("remote.log.manager.task.interval.ms", Long, "30000", "Milliseconds between runs of the tiering tasks.").at_least(1).low().unused(),
    Setting::new("remote.log.manager.thread.pool.size", Int, "2", "Threads of the tiering tasks.").at_least(1).unused(),
    Setting::new("remote.log.metadata.custom.metadata.max.bytes", Int, "128", "Bytes of a tiering plugin's own metadata.").at_least(0).low().unused(),
    Setting::new("remote.log.metadata.manager.class.name", String, "org.apache.kafka.server.log.remote.metadata.storage.TopicBasedRemoteLogMetadataManager", "Java class that keeps the metadata of tiered segments.").unused(),
    Setting::null("remote.log.metadata.manager.class.path", String, "Where that class is loaded from.").unused(),
    Setting::new("remote.log.metadata.manager.impl.prefix", String, "rlmm.config.", "Prefix of the keys that are handed to that class.").unused(),
    Setting::null("remote.log.metadata.manager.listener.name", String, "Listener that the metadata of tiered segments travels over.").unused(),
    Setting::new("remote.log.reader.max.pending.tasks", Int, "100", "Reads from the remote tier that may wait.").at_least(1).unused(),
    Setting::new("remote.log.reader.threads", Int, "10", "Threads that read from the remote tier.").at_least(1).cluster_wide().unused(),
    Setting::null("remote.log.storage.manager.class.name", String, "Java class of the remote tier.").unused(),
    Setting::null("remote.log.storage.manager.class.path", String, "Where that class is loaded from.").unused(),
    Setting::new("remote.log.storage.manager.impl.prefix", String, "rsm.config.", "Prefix of the keys that are handed to that class.").unused(),
    Setting::new("remote.log.storage.system.enable", Boolean, "false", "Whether segments can be tiered.").unused(),
];
