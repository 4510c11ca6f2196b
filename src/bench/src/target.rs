//! The topics of a benchmark on a running cluster.

use crate::BenchError;
use odradek_client::admin::{NewTopic, OffsetSpec};
use odradek_client::consumer::IsolationLevel;
use odradek_client::{ClientConfig, Cluster};
use odradek_wire::ErrorCode;
use std::collections::BTreeMap;
use uuid::Uuid;

/// Offsets by topic and partition.
pub type Offsets = BTreeMap<(String, i32), i64>;

/// A partition with its leader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetPartition {
    pub topic: String,
    pub topic_id: Uuid,
    pub partition: i32,
    pub leader: i32,
}

impl TargetPartition {
    pub fn key(&self) -> (String, i32) {
        (self.topic.clone(), self.partition)
    }
}

/// Topics to be measured.
#[derive(Debug, Clone)]
pub struct Topics {
    /// The name of one topic; with more, NAME-0 to NAME-(N-1).
    pub name: String,
    pub count: u32,
    pub partitions: i32,
    pub replication_factor: Option<i16>,
}

impl Topics {
    fn names(&self) -> Vec<String> {
        match self.count {
            1 => vec![self.name.clone()],
            n => (0..n).map(|i| format!("{}-{i}", self.name)).collect(),
        }
    }

    /// Connects, creates what is missing, and returns the partitions in order.
    pub fn open(&self, config: ClientConfig) -> Result<(Cluster, Vec<TargetPartition>), BenchError> {
        let mut cluster = Cluster::connect(config)?;
        let mut partitions = Vec::new();
        for name in self.names() {
            let topic = NewTopic {
                name: name.clone(),
                partitions: Some(self.partitions),
                replication_factor: self.replication_factor,
                ..NewTopic::default()
            };
            match cluster.admin().create_topic(&topic, false) {
                Ok(_) => {}
                Err(error) if error.code() == Some(ErrorCode::TopicAlreadyExists) => {}
                Err(error) => return Err(error.into()),
            }
            let known = loop {
                match cluster.await_topic(&name, false) {
                    Ok(topic) => break topic.clone(),
                    // Just created: the metadata may need a moment.
                    Err(error) if error.code() == Some(ErrorCode::UnknownTopicOrPartition) => cluster.pause()?,
                    Err(error) => return Err(error.into()),
                }
            };
            if known.partitions.len() != self.partitions as usize {
                return Err(BenchError::Arguments(format!(
                    "topic {name} exists with {} partitions where {} were asked for; delete it or choose another name",
                    known.partitions.len(),
                    self.partitions
                )));
            }
            partitions.extend(known.partitions.iter().map(|p| TargetPartition {
                topic: name.clone(),
                topic_id: known.id,
                partition: p.index,
                leader: p.leader,
            }));
        }
        // A new partition's leader may need a moment: an answer to this shows that it serves.
        ends(&mut cluster, &partitions)?;
        Ok((cluster, partitions))
    }
}

/// Ends of the partitions now.
pub fn ends(cluster: &mut Cluster, partitions: &[TargetPartition]) -> Result<Offsets, BenchError> {
    offsets(cluster, partitions, OffsetSpec::Latest)
}

/// First offsets of the partitions.
pub fn beginnings(cluster: &mut Cluster, partitions: &[TargetPartition]) -> Result<Offsets, BenchError> {
    offsets(cluster, partitions, OffsetSpec::Earliest)
}

fn offsets(cluster: &mut Cluster, partitions: &[TargetPartition], spec: OffsetSpec) -> Result<Offsets, BenchError> {
    let wanted: Vec<(String, i32, OffsetSpec)> = partitions.iter().map(|p| (p.topic.clone(), p.partition, spec)).collect();
    let mut offsets = Offsets::new();
    for (partition, result) in cluster.admin().list_offsets(&wanted, IsolationLevel::ReadUncommitted)? {
        offsets.insert(partition, result?.offset);
    }
    Ok(offsets)
}
