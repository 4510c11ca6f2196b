//! Administrative calls: topics, configurations, groups, offsets, records, log directories. One file per kind.

mod cluster;
mod configs;
mod groups;
mod log_dirs;
mod offsets;
mod records;
mod topics;

pub use cluster::ClusterBroker;
pub use configs::{AlterConfig, AlterOperation, ConfigEntry, ConfigResource, ConfigSource, ConfigSynonym, ResourceType};
pub use groups::{GroupDescription, GroupListing, GroupMember};
pub use log_dirs::{LogDir, LogDirReplica};
pub use offsets::{ListedOffset, OffsetSpec};
pub use topics::{NewTopic, Reassignment, TopicDescription, TopicPartitionDescription};

use crate::cluster::Cluster;
use crate::error::ClientError;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// One answer per partition of a topic.
pub type PerPartition<T> = BTreeMap<(String, i32), Result<T, ClientError>>;

/// Administrative calls on a cluster.
pub struct Admin<'a> {
    cluster: &'a mut Cluster,
}

impl Cluster {
    pub fn admin(&mut self) -> Admin<'_> {
        Admin { cluster: self }
    }
}

impl Admin<'_> {
    fn timeout_ms(&self) -> i32 {
        self.cluster.config().request_timeout.as_millis().min(i32::MAX as u128) as i32
    }

    /// Repeats `attempt` while its error is one that time heals, up to the operation timeout.
    fn retried<T>(&mut self, mut attempt: impl FnMut(&mut Cluster) -> Result<T, ClientError>) -> Result<T, ClientError> {
        let deadline = Instant::now() + self.cluster.config().operation_timeout;
        let mut backoff = self.cluster.config().retry_backoff;
        loop {
            match attempt(self.cluster) {
                Err(error) if error.is_retriable() && !is_final(&error) && Instant::now() < deadline => self.cluster.pause_for(backoff)?,
                other => return other,
            }
            backoff = (backoff * 2).min(Duration::from_secs(1));
        }
    }
}

/// Errors that are retriable for a producer but an answer for an administrator.
fn is_final(error: &ClientError) -> bool {
    use odradek_wire::ErrorCode as E;
    matches!(error, ClientError::Connect { .. } | ClientError::Timeout { .. })
        || matches!(error.code(), Some(E::UnknownTopicOrPartition | E::UnknownTopicId))
}
