//! DeleteRecords: moves the start of partitions forward.

use super::{Admin, PerPartition};
use crate::cluster::{Topics, topic_name};
use crate::error::ClientError;
use odradek_wire::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic};
use std::collections::BTreeMap;

impl Admin<'_> {
    /// Deletes the records before each offset (-1: everything there is); per partition the new first offset or an error.
    pub fn delete_records(&mut self, before: &BTreeMap<(String, i32), i64>) -> Result<PerPartition<i64>, ClientError> {
        let mut names: Vec<String> = before.keys().map(|(t, _)| t.clone()).collect();
        names.dedup();
        self.cluster.refresh(Topics::Named(&names), false)?;
        let mut results = BTreeMap::new();
        let mut by_leader: BTreeMap<i32, BTreeMap<&str, Vec<DeleteRecordsPartition>>> = BTreeMap::new();
        for ((topic, partition), &offset) in before {
            match self.cluster.leader(topic, *partition) {
                Some(leader) => by_leader
                    .entry(leader)
                    .or_default()
                    .entry(topic)
                    .or_default()
                    .push(DeleteRecordsPartition::default().with_partition_index(*partition).with_offset(offset)),
                None => {
                    let error = super::offsets::no_leader(self.cluster, topic, *partition);
                    results.insert((topic.clone(), *partition), Err(error));
                }
            }
        }
        for (leader, topics) in by_leader {
            let topics =
                topics.into_iter().map(|(t, p)| DeleteRecordsTopic::default().with_name(topic_name(t)).with_partitions(p)).collect();
            let request = DeleteRecordsRequest::default().with_topics(topics).with_timeout_ms(self.timeout_ms());
            for topic in self.cluster.call(leader, &request)?.topics {
                for p in topic.partitions {
                    let subject = format!("partition {}-{}", topic.name.0, p.partition_index);
                    let result = ClientError::check(p.error_code, subject, None).map(|()| p.low_watermark);
                    results.insert((topic.name.0.to_string(), p.partition_index), result);
                }
            }
        }
        Ok(results)
    }
}
