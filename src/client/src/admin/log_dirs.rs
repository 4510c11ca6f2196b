//! DescribeLogDirs: where the brokers keep what.

use super::Admin;
use crate::cluster::topic_name;
use crate::error::{BrokerError, ClientError};
use odradek_wire::messages::describe_log_dirs_request::{DescribableLogDirTopic, DescribeLogDirsRequest};

/// A log directory of a broker.
#[derive(Debug, Clone)]
pub struct LogDir {
    pub path: String,
    pub error: Option<BrokerError>,
    /// Bytes of the volume; -1 where the broker does not say.
    pub total_bytes: i64,
    pub usable_bytes: i64,
    pub replicas: Vec<LogDirReplica>,
}

/// A replica in a log directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogDirReplica {
    pub topic: String,
    pub partition: i32,
    pub size_bytes: i64,
    pub offset_lag: i64,
    pub is_future: bool,
}

impl Admin<'_> {
    /// The log directories of a broker; `topics` limits the replicas listed.
    pub fn describe_log_dirs(&mut self, broker: i32, topics: Option<&[String]>) -> Result<Vec<LogDir>, ClientError> {
        let topics = match topics {
            None => None,
            Some(names) => {
                self.cluster.refresh(crate::cluster::Topics::Named(names), false)?;
                let partitions =
                    |name: &String| self.cluster.topic(name).map(|t| t.partitions.iter().map(|p| p.index).collect()).unwrap_or_default();
                Some(
                    names
                        .iter()
                        .map(|n| DescribableLogDirTopic::default().with_topic(topic_name(n)).with_partitions(partitions(n)))
                        .collect(),
                )
            }
        };
        let response = self.cluster.call(broker, &DescribeLogDirsRequest::default().with_topics(topics))?;
        ClientError::check(response.error_code, format!("log directories of broker {broker}"), None)?;
        Ok(response
            .results
            .into_iter()
            .map(|dir| LogDir {
                path: dir.log_dir.to_string(),
                error: BrokerError::from_code(dir.error_code, format!("log directory {}", dir.log_dir), None),
                total_bytes: dir.total_bytes,
                usable_bytes: dir.usable_bytes,
                replicas: dir
                    .topics
                    .iter()
                    .flat_map(|t| {
                        t.partitions.iter().map(|p| LogDirReplica {
                            topic: t.name.0.to_string(),
                            partition: p.partition_index,
                            size_bytes: p.partition_size,
                            offset_lag: p.offset_lag,
                            is_future: p.is_future_key,
                        })
                    })
                    .collect(),
            })
            .collect())
    }
}
