//! Limits and timeouts of the group coordinator, by their Kafka names.

use std::time::Duration;

/// Settings of the coordinator; every field names the Kafka setting it holds. Defaults are Kafka's.
#[derive(Debug, Clone)]
pub struct GroupsConfig {
    /// `group.min.session.timeout.ms`
    pub session_timeout_min: Duration,
    /// `group.max.session.timeout.ms`
    pub session_timeout_max: Duration,
    /// `group.initial.rebalance.delay.ms`
    pub initial_rebalance_delay: Duration,
    /// `group.max.size`, in members
    pub members_max: usize,
    /// Member ids of one group that are handed out (KIP-394) and not used yet. Ours: Kafka has no bound.
    pub pending_members_max: usize,
    /// Groups of one coordinator. Ours: Kafka has no bound.
    pub groups_max: usize,
    /// `offset.metadata.max.bytes`, per partition
    pub offset_metadata_bytes_max: usize,
    /// `offsets.retention.minutes`
    pub offsets_retention: Duration,
    /// `offsets.retention.check.interval.ms`
    pub offsets_retention_check_interval: Duration,
    /// `group.consumer.session.timeout.ms`
    pub consumer_session_timeout: Duration,
    /// `group.consumer.heartbeat.interval.ms`
    pub consumer_heartbeat_interval: Duration,
    /// `group.consumer.assignment.interval.ms`: least time between two assignments of a group
    pub consumer_assignment_interval: Duration,
    /// `group.consumer.max.size`, in members
    pub consumer_members_max: usize,
    /// Longest regular expression a consumer may subscribe with, in bytes. Ours: Kafka has no bound.
    pub regex_bytes_max: usize,
    /// Requests of one consumer group that may wait for the write before them. Ours.
    pub waiting_requests_max: usize,
}

impl Default for GroupsConfig {
    fn default() -> Self {
        Self {
            session_timeout_min: Duration::from_secs(6),
            session_timeout_max: Duration::from_secs(30 * 60),
            initial_rebalance_delay: Duration::from_secs(3),
            members_max: i32::MAX as usize,
            pending_members_max: 10_000,
            groups_max: 1_000_000,
            offset_metadata_bytes_max: 4096,
            offsets_retention: Duration::from_secs(10_080 * 60),
            offsets_retention_check_interval: Duration::from_secs(600),
            consumer_session_timeout: Duration::from_secs(45),
            consumer_heartbeat_interval: Duration::from_secs(5),
            consumer_assignment_interval: Duration::from_secs(1),
            consumer_members_max: i32::MAX as usize,
            regex_bytes_max: 4096,
            waiting_requests_max: 10_000,
        }
    }
}
