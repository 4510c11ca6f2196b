//! Replication between nodes and its quotas.

use super::Setting;
use crate::value::ValueType::*;

#[rustfmt::skip]
pub(super) const ROWS: &[Setting] = &[
    Setting::new("alter.log.dirs.replication.quota.window.num", Int, "11", "Samples kept for the quota of moves between directories.").at_least(1).low().unused(),
    Setting::new("alter.log.dirs.replication.quota.window.size.seconds", Int, "1", "Seconds of one sample for the quota of moves between directories.").at_least(1).low().unused(),
    Setting::new("num.network.threads", Int, "3", "Threads that serve sockets. Shards have this role here.").at_least(1).cluster_wide().high().unused(),
    Setting::null("num.replica.alter.log.dirs.threads", Int, "Threads that move replicas between directories.").unused(),
    Setting::new("num.replica.fetchers", Int, "1", "Threads that fetch from each leader.").cluster_wide().high().unused(),
    Setting::new("replica.fetch.backoff.ms", Int, "1000", "Milliseconds that a follower waits after a failed fetch.").at_least(0).unused(),
    Setting::new("replica.fetch.max.bytes", Int, "1048576", "Bytes per partition that a follower asks for.").at_least(0).unused(),
    Setting::new("replica.fetch.min.bytes", Int, "1", "Bytes that a follower's fetch waits for.").high().unused(),
    Setting::new("replica.fetch.response.max.bytes", Int, "10485760", "Bytes of one response to a follower.").at_least(0).unused(),
    Setting::new("replica.fetch.wait.max.ms", Int, "500", "Milliseconds that a follower's fetch waits for data.").high().unused(),
    Setting::new("replica.high.watermark.checkpoint.interval.ms", Long, "5000", "Milliseconds between writes of the high watermark file.").high().unused(),
    Setting::new("replica.lag.time.max.ms", Long, "30000", "Milliseconds that a follower may be behind before it leaves the ISR.").high().unused(),
    Setting::null("replica.selector.class", String, "Java class that chooses the replica a consumer reads from.").unused(),
    Setting::new("replica.socket.receive.buffer.bytes", Int, "65536", "Socket receive buffer of a follower in bytes.").high().unused(),
    Setting::new("replica.socket.timeout.ms", Int, "30000", "Milliseconds that a follower waits for an answer.").high().unused(),
    Setting::new("replication.quota.window.num", Int, "11", "Samples kept for replication quotas.").at_least(1).low().unused(),
    Setting::new("replication.quota.window.size.seconds", Int, "1", "Seconds of one sample for replication quotas.").at_least(1).low().unused(),
];
