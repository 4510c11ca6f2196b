//! Topics and partitions.

use super::RecordError;
use super::codec::{Reader, Writer, field};
use bytes::Bytes;
use odradek_base::{BrokerId, LeaderEpoch, PartitionIndex, TopicId};
use uuid::Uuid;

/// `TopicRecord`, type 2: a new topic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TopicRecord {
    pub name: String,
    pub topic_id: TopicId,
}

impl TopicRecord {
    pub(super) fn write(&self, out: &mut Writer) {
        out.string(&self.name);
        out.uuid(self.topic_id.0);
        out.tags(Vec::new());
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, RecordError> {
        let record = Self { name: reader.string()?, topic_id: reader.topic_id()? };
        reader.no_tags()?;
        Ok(record)
    }
}

/// `RemoveTopicRecord`, type 9: the topic and all its partitions and configs are gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RemoveTopicRecord {
    pub topic_id: TopicId,
}

impl RemoveTopicRecord {
    pub(super) fn write(&self, out: &mut Writer) {
        out.uuid(self.topic_id.0);
        out.tags(Vec::new());
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, RecordError> {
        let record = Self { topic_id: reader.topic_id()? };
        reader.no_tags()?;
        Ok(record)
    }
}

/// `PartitionRecord`, type 3, written as version 1 (with directories, KIP-858).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartitionRecord {
    pub partition: PartitionIndex,
    pub topic_id: TopicId,
    /// In the order of preference.
    pub replicas: Vec<BrokerId>,
    pub isr: Vec<BrokerId>,
    pub removing_replicas: Vec<BrokerId>,
    pub adding_replicas: Vec<BrokerId>,
    /// -1: none.
    pub leader: BrokerId,
    /// 1 while the leader of an unclean election recovers.
    pub leader_recovery_state: i8,
    pub leader_epoch: LeaderEpoch,
    pub partition_epoch: i32,
    /// The directory of each replica, in the order of `replicas`.
    pub directories: Vec<Uuid>,
}

impl PartitionRecord {
    pub(super) const VERSION_MAX: u32 = 2;

    pub(super) fn write(&self, out: &mut Writer) {
        out.i32(self.partition.get());
        out.uuid(self.topic_id.0);
        out.brokers(&self.replicas);
        out.brokers(&self.isr);
        out.brokers(&self.removing_replicas);
        out.brokers(&self.adding_replicas);
        out.i32(self.leader.get());
        out.i32(self.leader_epoch.get());
        out.i32(self.partition_epoch);
        out.uuids(&self.directories);
        let recovery = self.leader_recovery_state;
        out.tags(if recovery == 0 { Vec::new() } else { vec![(0, field(|out| out.i8(recovery)))] });
    }

    pub(super) fn read(reader: &mut Reader<'_>, version: u32) -> Result<Self, RecordError> {
        let mut record = Self {
            partition: PartitionIndex(reader.i32()?),
            topic_id: reader.topic_id()?,
            replicas: reader.brokers()?,
            isr: reader.brokers()?,
            removing_replicas: reader.brokers()?,
            adding_replicas: reader.brokers()?,
            leader: BrokerId(reader.i32()?),
            leader_recovery_state: 0,
            leader_epoch: LeaderEpoch(reader.i32()?),
            partition_epoch: reader.i32()?,
            directories: if version >= 1 { reader.uuids()? } else { Vec::new() },
        };
        // Tags 1 and 2 are the eligible leader replicas of KIP-966, which nothing here uses yet.
        reader.tags(|tag, field| {
            if tag == 0 {
                record.leader_recovery_state = field.i8()?;
            }
            Ok(())
        })?;
        Ok(record)
    }
}

/// `PartitionChangeRecord`, type 5: what is `None` stays as it was. Each one raises the partition epoch; one that sets
/// the leader also raises the leader epoch.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PartitionChangeRecord {
    pub partition: PartitionIndex,
    pub topic_id: TopicId,
    pub isr: Option<Vec<BrokerId>>,
    /// `Some(-1)`: no leader any more.
    pub leader: Option<BrokerId>,
    pub replicas: Option<Vec<BrokerId>>,
    pub removing_replicas: Option<Vec<BrokerId>>,
    pub adding_replicas: Option<Vec<BrokerId>>,
    pub leader_recovery_state: Option<i8>,
    pub directories: Option<Vec<Uuid>>,
}

/// Kafka's "the leader did not change".
const NO_LEADER_CHANGE: i32 = -2;

impl PartitionChangeRecord {
    pub(super) const VERSION_MAX: u32 = 2;

    pub(super) fn write(&self, out: &mut Writer) {
        out.i32(self.partition.get());
        out.uuid(self.topic_id.0);
        let brokers = |list: &Option<Vec<BrokerId>>| list.as_ref().map(|list| field(|out| out.brokers(list)));
        let fields: [(u32, Option<Bytes>); 7] = [
            (0, brokers(&self.isr)),
            (1, self.leader.map(|leader| field(|out| out.i32(leader.get())))),
            (2, brokers(&self.replicas)),
            (3, brokers(&self.removing_replicas)),
            (4, brokers(&self.adding_replicas)),
            (5, self.leader_recovery_state.map(|state| field(|out| out.i8(state)))),
            (8, self.directories.as_ref().map(|list| field(|out| out.uuids(list)))),
        ];
        out.tags(fields.into_iter().filter_map(|(tag, bytes)| Some((tag, bytes?))).collect());
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, RecordError> {
        let mut record = Self { partition: PartitionIndex(reader.i32()?), topic_id: reader.topic_id()?, ..Self::default() };
        reader.tags(|tag, field| {
            match tag {
                0 => record.isr = field.nullable_brokers()?,
                1 => record.leader = Some(field.i32()?).filter(|&leader| leader != NO_LEADER_CHANGE).map(BrokerId),
                2 => record.replicas = field.nullable_brokers()?,
                3 => record.removing_replicas = field.nullable_brokers()?,
                4 => record.adding_replicas = field.nullable_brokers()?,
                5 => record.leader_recovery_state = Some(field.i8()?).filter(|&state| state >= 0),
                8 => record.directories = field.nullable_uuids()?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(record)
    }
}
