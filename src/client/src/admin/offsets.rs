//! ListOffsets: where partitions begin and end, and offsets by time.

use super::{Admin, PerPartition};
use crate::cluster::{Cluster, Topics, topic_name};
use crate::consumer::IsolationLevel;
use crate::error::{BrokerError, ClientError};
use odradek_wire::ErrorCode;
use odradek_wire::messages::BrokerId;
use odradek_wire::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use std::collections::BTreeMap;
use std::time::Instant;

/// Which offset is meant; numbers are Kafka's (`ListOffsetsRequest`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffsetSpec {
    Earliest,
    Latest,
    MaxTimestamp,
    EarliestLocal,
    LatestTiered,
    /// The first record at or after this time, in milliseconds.
    Timestamp(i64),
}

impl OffsetSpec {
    fn code(self) -> i64 {
        match self {
            OffsetSpec::Latest => -1,
            OffsetSpec::Earliest => -2,
            OffsetSpec::MaxTimestamp => -3,
            OffsetSpec::EarliestLocal => -4,
            OffsetSpec::LatestTiered => -5,
            OffsetSpec::Timestamp(ms) => ms,
        }
    }

    /// Lowest ListOffsets version that knows it.
    fn version_min(self) -> i16 {
        match self {
            OffsetSpec::MaxTimestamp => 7,
            OffsetSpec::EarliestLocal => 8,
            OffsetSpec::LatestTiered => 9,
            _ => 1,
        }
    }
}

/// An answer; `offset` is -1 where no record fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListedOffset {
    pub offset: i64,
    pub timestamp: i64,
    pub leader_epoch: i32,
}

type Listed = PerPartition<ListedOffset>;

impl Admin<'_> {
    /// Asks the leaders for offsets; per partition an answer or an error.
    pub fn list_offsets(&mut self, wanted: &[(String, i32, OffsetSpec)], isolation: IsolationLevel) -> Result<Listed, ClientError> {
        let mut results = Listed::new();
        let mut open: Vec<(String, i32, OffsetSpec)> = wanted.to_vec();
        let deadline = Instant::now() + self.cluster.config().operation_timeout;
        let mut refresh = open.iter().any(|(t, p, _)| self.cluster.leader(t, *p).is_none());
        loop {
            if refresh {
                let mut names: Vec<String> = open.iter().map(|(t, _, _)| t.clone()).collect();
                names.sort();
                names.dedup();
                self.cluster.refresh(Topics::Named(&names), false)?;
            }
            self.list_round(&open, isolation, &mut results)?;
            // Leaders move, and a leader of a new partition needs a moment; a partition the metadata does not know is an answer.
            open.retain(|(t, p, _)| {
                matches!(results.get(&(t.clone(), *p)), Some(Err(e)) if e.is_retriable()) && self.cluster.leader(t, *p).is_some()
            });
            if open.is_empty() || Instant::now() >= deadline {
                break;
            }
            self.cluster.pause()?;
            refresh = true;
        }
        Ok(results)
    }

    fn list_round(
        &mut self,
        wanted: &[(String, i32, OffsetSpec)],
        isolation: IsolationLevel,
        results: &mut Listed,
    ) -> Result<(), ClientError> {
        let mut by_leader: BTreeMap<i32, BTreeMap<&str, Vec<ListOffsetsPartition>>> = BTreeMap::new();
        let version_min = wanted.iter().map(|(_, _, s)| s.version_min()).max().unwrap_or(1);
        for (topic, partition, spec) in wanted {
            match self.cluster.leader(topic, *partition) {
                Some(leader) => by_leader.entry(leader).or_default().entry(topic).or_default().push(
                    ListOffsetsPartition::default()
                        .with_partition_index(*partition)
                        .with_current_leader_epoch(-1)
                        .with_timestamp(spec.code()),
                ),
                None => {
                    results.insert((topic.clone(), *partition), Err(no_leader(self.cluster, topic, *partition)));
                }
            }
        }
        for (leader, topics) in by_leader {
            let topics: Vec<ListOffsetsTopic> =
                topics.into_iter().map(|(t, p)| ListOffsetsTopic::default().with_name(topic_name(t)).with_partitions(p)).collect();
            let request = ListOffsetsRequest::default()
                .with_replica_id(BrokerId(-1))
                .with_isolation_level(isolation.code())
                .with_topics(topics)
                .with_timeout_ms(self.timeout_ms());
            let connection = self.cluster.connection(leader)?;
            if connection.version::<ListOffsetsRequest>(i16::MAX)? < version_min {
                return Err(ClientError::UnsupportedVersion {
                    address: connection.address().to_owned(),
                    api: "ListOffsets".to_owned(),
                    detail: format!("this kind of offset needs version {version_min}"),
                });
            }
            for topic in self.cluster.call(leader, &request)?.topics {
                for p in topic.partitions {
                    let subject = format!("partition {}-{}", topic.name.0, p.partition_index);
                    let result = ClientError::check(p.error_code, subject, None).map(|()| ListedOffset {
                        offset: p.offset,
                        timestamp: p.timestamp,
                        leader_epoch: p.leader_epoch,
                    });
                    results.insert((topic.name.0.to_string(), p.partition_index), result);
                }
            }
        }
        Ok(())
    }
}

/// Why a partition has no leader to ask: its topic's problem, or the partition does not exist.
pub(super) fn no_leader(cluster: &Cluster, topic: &str, partition: i32) -> ClientError {
    cluster.topic_problem(topic).unwrap_or_else(|| {
        let subject = format!("partition {topic}-{partition}");
        BrokerError { code: ErrorCode::UnknownTopicOrPartition, subject, message: None }.into()
    })
}
