//! The controller: requests in, metadata records and responses out.
//!
//! Nothing here changes an image. A caller makes the records durable, applies them, and only then sends the response.
//! One file per operation; the order of checks, the codes and the texts follow Kafka's `ReplicationControlManager`,
//! `ConfigurationControlManager`, `ControllerApis` and `ConfigAdminManager`.

mod assignment;
mod bootstrap;
mod brokers;
mod config_changes;
mod configs;
mod create_partitions;
mod create_topics;
mod delete_topics;
mod internal;
mod producer_ids;

pub use bootstrap::FEATURES;
pub use brokers::Registration;
pub use internal::{AutoCreated, InternalTopic};
pub use producer_ids::PRODUCER_ID_BLOCK;

use crate::image::{Image, Layers};
use crate::placement::Placer;
use crate::records::{MetadataRecord, PartitionRecord};
use crate::view::View;
use odradek_base::{BrokerId, LeaderEpoch, PartitionIndex, TopicId};
use odradek_settings::Settings;
use uuid::Uuid;

/// Partitions that one request can make (`ReplicationControlManager.MAX_PARTITIONS_PER_BATCH`).
pub const PARTITIONS_PER_REQUEST_MAX: usize = 10_000;

/// `DirectoryId.UNASSIGNED`: which directory holds a replica is the broker's own business here.
const DIRECTORY_UNASSIGNED: Uuid = Uuid::nil();

/// What an operation comes to.
#[derive(Clone, PartialEq, Debug)]
pub struct Outcome<R> {
    /// To be made durable together, in this order. None: nothing changes.
    pub records: Vec<MetadataRecord>,
    pub response: R,
}

/// The controller's view of the cluster at one moment.
#[derive(Clone, Copy)]
pub struct Controller<'a> {
    pub image: &'a Image,
    pub settings: &'a Settings,
    /// The side that the requesting client sees: it decides what broker ids in requests mean.
    pub view: &'a View<'a>,
}

impl<'a> Controller<'a> {
    fn placer(&self) -> Placer {
        Placer::new(self.image, self.settings.replicas_per_node())
    }

    /// The layers of broker settings as the controller's own broker has them.
    fn layers(&self) -> Layers<'a> {
        Layers::new(self.image, self.settings, self.view.id(self.view.controller))
    }

    fn is_active(&self, broker: BrokerId) -> bool {
        self.image.broker(broker).is_some_and(|broker| broker.is_active())
    }

    /// A new partition: led by the first active replica, with all active replicas in sync. `None`: no replica is active.
    fn new_partition(&self, topic_id: TopicId, partition: PartitionIndex, replicas: Vec<BrokerId>) -> Option<MetadataRecord> {
        let isr: Vec<BrokerId> = replicas.iter().copied().filter(|&replica| self.is_active(replica)).collect();
        let leader = *isr.first()?;
        Some(MetadataRecord::Partition(PartitionRecord {
            partition,
            topic_id,
            directories: vec![DIRECTORY_UNASSIGNED; replicas.len()],
            replicas,
            isr,
            removing_replicas: Vec::new(),
            adding_replicas: Vec::new(),
            leader,
            leader_recovery_state: 0,
            leader_epoch: LeaderEpoch(0),
            partition_epoch: 0,
        }))
    }
}

#[cfg(test)]
mod tests;
