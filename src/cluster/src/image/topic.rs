//! A topic and its partitions.

use crate::names;
use crate::records::{PartitionChangeRecord, PartitionRecord};
use imbl::OrdMap;
use odradek_base::{BrokerId, LeaderEpoch, PartitionIndex, TopicId};
use std::sync::Arc;
use uuid::Uuid;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Topic {
    pub id: TopicId,
    pub name: Arc<str>,
    pub partitions: OrdMap<PartitionIndex, Partition>,
}

impl Topic {
    pub fn partition(&self, index: PartitionIndex) -> Option<&Partition> {
        self.partitions.get(&index)
    }

    pub fn partition_count(&self) -> usize {
        self.partitions.len()
    }

    /// Replicas of the first partition, which is what Kafka calls the topic's replication factor.
    pub fn replication_factor(&self) -> usize {
        self.partitions.get_min().map_or(0, |(_, partition)| partition.replicas.len())
    }

    pub fn is_internal(&self) -> bool {
        names::is_internal(&self.name)
    }
}

/// A partition as the controller sees it. The brokers are shards.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Partition {
    /// In the order of preference.
    pub replicas: Vec<BrokerId>,
    pub isr: Vec<BrokerId>,
    pub removing_replicas: Vec<BrokerId>,
    pub adding_replicas: Vec<BrokerId>,
    pub leader: Option<BrokerId>,
    pub leader_recovery_state: i8,
    /// Counts leaders.
    pub leader_epoch: LeaderEpoch,
    /// Counts changes.
    pub partition_epoch: i32,
    /// The directory of each replica, in the order of `replicas`.
    pub directories: Vec<Uuid>,
}

fn leader_of(broker: BrokerId) -> Option<BrokerId> {
    Some(broker).filter(|broker| broker.get() >= 0)
}

impl Partition {
    pub(super) fn of(record: &PartitionRecord) -> Self {
        Self {
            replicas: record.replicas.clone(),
            isr: record.isr.clone(),
            removing_replicas: record.removing_replicas.clone(),
            adding_replicas: record.adding_replicas.clone(),
            leader: leader_of(record.leader),
            leader_recovery_state: record.leader_recovery_state,
            leader_epoch: record.leader_epoch,
            partition_epoch: record.partition_epoch,
            directories: record.directories.clone(),
        }
    }

    pub(super) fn to_record(&self, topic_id: TopicId, partition: PartitionIndex) -> PartitionRecord {
        PartitionRecord {
            partition,
            topic_id,
            replicas: self.replicas.clone(),
            isr: self.isr.clone(),
            removing_replicas: self.removing_replicas.clone(),
            adding_replicas: self.adding_replicas.clone(),
            leader: self.leader.unwrap_or(BrokerId(-1)),
            leader_recovery_state: self.leader_recovery_state,
            leader_epoch: self.leader_epoch,
            partition_epoch: self.partition_epoch,
            directories: self.directories.clone(),
        }
    }

    /// As `PartitionRegistration.merge`: a record that names a leader, even the same one, starts a new leader epoch.
    pub(super) fn change(&mut self, record: &PartitionChangeRecord) {
        fn replace<T: Clone>(field: &mut T, value: &Option<T>) {
            if let Some(value) = value {
                field.clone_from(value);
            }
        }
        replace(&mut self.isr, &record.isr);
        replace(&mut self.replicas, &record.replicas);
        replace(&mut self.removing_replicas, &record.removing_replicas);
        replace(&mut self.adding_replicas, &record.adding_replicas);
        replace(&mut self.leader_recovery_state, &record.leader_recovery_state);
        replace(&mut self.directories, &record.directories);
        if let Some(leader) = record.leader {
            self.leader = leader_of(leader);
            self.leader_epoch = LeaderEpoch(self.leader_epoch.get().saturating_add(1));
        }
        self.partition_epoch = self.partition_epoch.saturating_add(1);
    }
}
