//! The cluster and topic of a benchmark.

use crate::BenchError;
use clap::Args;
use odradek_client::admin::NewTopic;
use odradek_client::{ClientConfig, Cluster};
use odradek_wire::ErrorCode;

/// Where to measure.
#[derive(Debug, Clone, Args)]
pub struct TargetArgs {
    /// Brokers to start from, host:port, separated by commas.
    #[arg(long, short = 'b', env = "ODRADEK_BOOTSTRAP", default_value = "localhost:9092", value_name = "HOST:PORT")]
    pub bootstrap_server: String,
    /// Topics, created when missing: NAME, or with --topics N, NAME-0 to NAME-(N-1).
    #[arg(long, default_value = "odradek-bench")]
    pub topic: String,
    /// Number of topics.
    #[arg(long, default_value_t = 1)]
    pub topics: u32,
    /// Partitions of each topic.
    #[arg(long, short = 'p', default_value_t = 1)]
    pub partitions: i32,
    /// Replicas of each partition.
    #[arg(long)]
    pub replication_factor: Option<i16>,
}

/// A partition with its leader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetPartition {
    pub topic: String,
    pub partition: i32,
    pub leader: i32,
}

impl TargetArgs {
    /// Connects, creates what is missing, and returns the partitions in order.
    pub fn open(&self) -> Result<(Cluster, Vec<TargetPartition>), BenchError> {
        if self.partitions < 1 || self.topics < 1 {
            return Err(BenchError::Arguments("--topics and --partitions must be at least 1".to_owned()));
        }
        let mut cluster = Cluster::connect(ClientConfig::new(&self.bootstrap_server)?)?;
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
                    "topic {name} exists with {} partitions; give --partitions {} or another --topic",
                    known.partitions.len(),
                    known.partitions.len()
                )));
            }
            partitions.extend(known.partitions.iter().map(|p| TargetPartition {
                topic: name.clone(),
                partition: p.index,
                leader: p.leader,
            }));
        }
        // A new partition's leader may need a moment: an answer to this shows that it serves.
        crate::audit::ends(&mut cluster, &partitions)?;
        Ok((cluster, partitions))
    }

    fn names(&self) -> Vec<String> {
        match self.topics {
            1 => vec![self.topic.clone()],
            n => (0..n).map(|i| format!("{}-{i}", self.topic)).collect(),
        }
    }
}
