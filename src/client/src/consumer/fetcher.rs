//! Fetching: one Fetch in flight per leader, answers turned into records, offsets looked up.
//!
//! Sessions are not used (epoch -1): a thin client asks for what it wants each time.

use super::config::{ConsumerConfig, IsolationLevel, OffsetReset};
use super::position::{Position, Positions, Start};
use crate::admin::OffsetSpec;
use crate::cluster::{Cluster, Topics, text, topic_name};
use crate::connection::wait_any;
use crate::error::{BrokerError, ClientError};
use crate::record_batch::{ConsumerRecord, decode_batches};
use odradek_wire::ErrorCode;
use odradek_wire::messages::BrokerId;
use odradek_wire::messages::fetch_request::{FetchPartition, FetchRequest, FetchTopic};
use odradek_wire::messages::fetch_response::{FetchResponse, PartitionData};
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// Fetch version from which topics are named by id (KIP-516).
const TOPIC_ID_VERSION: i16 = 13;

/// A Fetch on the wire.
#[derive(Debug)]
struct Flight {
    sent: Instant,
    /// What was asked for, by topic: partition and offset. An answer is used only where the position is still there (a seek or a
    /// rebalance may have moved it).
    asked: BTreeMap<String, Vec<(i32, i64)>>,
}

/// The fetching half of a consumer.
#[derive(Debug, Default)]
pub struct Fetcher {
    /// Leaders with a Fetch in flight.
    in_flight: BTreeMap<i32, Flight>,
    /// Records fetched and not yet handed out, partition after partition.
    ready: VecDeque<ConsumerRecord>,
    /// Not before this moment, after an error.
    backoff_until: Option<Instant>,
}

impl Fetcher {
    /// Up to `records_max` records, waiting up to `timeout` for the first.
    pub fn poll(
        &mut self,
        cluster: &mut Cluster,
        config: &ConsumerConfig,
        positions: &mut Positions,
        timeout: Duration,
    ) -> Result<Vec<ConsumerRecord>, ClientError> {
        let deadline = Instant::now() + timeout;
        loop {
            let records = self.take_ready(positions, config.poll_records_max);
            if !records.is_empty() {
                return Ok(records);
            }
            if cluster.config().interrupt.is_raised() {
                return Err(ClientError::Interrupted);
            }
            if self.backoff_until.is_none_or(|until| Instant::now() >= until) {
                self.backoff_until = None;
                self.resolve_starts(cluster, config, positions)?;
                self.send(cluster, config, positions);
            }
            self.receive(cluster, config, positions)?;
            if !self.ready.is_empty() {
                continue;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Vec::new());
            }
            let in_flight = &self.in_flight;
            let waiting = cluster.open_pipelines().filter(|(id, _)| in_flight.contains_key(id)).map(|(_, c)| c);
            wait_any(waiting, left.min(Duration::from_millis(if in_flight.is_empty() { 20 } else { 100 })));
        }
    }

    /// Forgets everything fetched for partitions that are no longer assigned, or were moved by a seek.
    pub fn forget(&mut self, gone: impl Fn(&str, i32) -> bool) {
        self.ready.retain(|r| !gone(&r.topic, r.partition));
    }

    fn take_ready(&mut self, positions: &mut Positions, records_max: usize) -> Vec<ConsumerRecord> {
        let count = self.ready.len().min(records_max.max(1));
        let records: Vec<ConsumerRecord> = self.ready.drain(..count).collect();
        for record in &records {
            positions.consumed(&record.topic, record.partition, record.offset + 1, record.leader_epoch);
        }
        records
    }

    /// Turns "earliest", "latest" and timestamps into offsets.
    fn resolve_starts(&mut self, cluster: &mut Cluster, config: &ConsumerConfig, positions: &mut Positions) -> Result<(), ClientError> {
        let unresolved: Vec<(String, i32, OffsetSpec)> = positions
            .iter()
            .filter_map(|(topic, partition, p)| match p.start {
                Start::Offset => None,
                Start::Spec(spec) => Some((topic.to_owned(), partition, spec)),
            })
            .collect();
        if unresolved.is_empty() {
            return Ok(());
        }
        let wanted: Vec<(String, i32, OffsetSpec)> = unresolved;
        let found = match cluster.admin().list_offsets(&wanted, config.isolation) {
            Ok(found) => found,
            Err(error) if error.is_retriable() => {
                self.recover(cluster, positions);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        for ((topic, partition), result) in found {
            match result {
                Ok(listed) if listed.offset >= 0 => positions.set_offset(&topic, partition, listed.offset),
                // No record is as new as the timestamp: continue at the end.
                Ok(_) => positions.set_spec(&topic, partition, OffsetSpec::Latest),
                Err(error) if error.is_retriable() => self.recover(cluster, positions),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Sends a Fetch to every leader that has none in flight.
    fn send(&mut self, cluster: &mut Cluster, config: &ConsumerConfig, positions: &mut Positions) {
        let mut by_leader: BTreeMap<i32, BTreeMap<String, Vec<(i32, i64)>>> = BTreeMap::new();
        let mut lost = false;
        for (topic, partition, position) in positions.iter() {
            if position.start != Start::Offset {
                continue;
            }
            match cluster.leader(topic, partition) {
                Some(leader) if !self.in_flight.contains_key(&leader) => {
                    by_leader.entry(leader).or_default().entry(topic.to_owned()).or_default().push((partition, position.fetch_offset));
                }
                Some(_) => {}
                None => lost = true,
            }
        }
        for (leader, topics) in by_leader {
            let ids: BTreeMap<String, Uuid> = topics.keys().map(|t| (t.clone(), cluster.topic(t).map_or(Uuid::nil(), |t| t.id))).collect();
            match send_fetch(cluster, leader, config, &topics, &ids) {
                Ok(()) => {
                    self.in_flight.insert(leader, Flight { sent: Instant::now(), asked: topics });
                }
                Err(_) => {
                    cluster.drop_pipeline(leader);
                    lost = true;
                }
            }
        }
        if lost {
            self.recover(cluster, positions);
        }
    }

    fn receive(&mut self, cluster: &mut Cluster, config: &ConsumerConfig, positions: &mut Positions) -> Result<(), ClientError> {
        let leaders: Vec<(i32, Instant)> = self.in_flight.iter().map(|(&l, f)| (l, f.sent)).collect();
        let timeout = cluster.config().request_timeout + config.fetch_max_wait;
        for (leader, sent) in leaders {
            let Some(connection) = cluster.open_pipeline(leader) else {
                self.in_flight.remove(&leader);
                continue;
            };
            let response = match connection.response_ready() {
                Ok(false) if sent.elapsed() < timeout => continue,
                Ok(false) => Err(ClientError::Timeout { doing: "waiting for a Fetch".to_owned(), after: timeout }),
                Ok(true) => connection.receive::<FetchRequest>(),
                Err(error) => Err(error),
            };
            let asked = self.in_flight.remove(&leader).map(|f| f.asked).unwrap_or_default();
            match response {
                Ok(response) => self.take_response(cluster, config, positions, &asked, response)?,
                Err(ClientError::Interrupted) => return Err(ClientError::Interrupted),
                Err(error @ ClientError::Protocol { .. }) => return Err(error),
                Err(_) => {
                    cluster.drop_pipeline(leader);
                    self.recover(cluster, positions);
                }
            }
        }
        Ok(())
    }

    fn take_response(
        &mut self,
        cluster: &mut Cluster,
        config: &ConsumerConfig,
        positions: &mut Positions,
        asked: &BTreeMap<String, Vec<(i32, i64)>>,
        response: FetchResponse,
    ) -> Result<(), ClientError> {
        if let Err(error) = ClientError::check(response.error_code, "fetch", None) {
            if error.is_retriable() {
                self.recover(cluster, positions);
                return Ok(());
            }
            return Err(error);
        }
        for topic in response.responses {
            let name = match topic.topic.0.is_empty() {
                false => topic.topic.0.to_string(),
                true => match cluster.topics().find(|t| t.id == topic.topic_id) {
                    Some(known) => known.name.clone(),
                    None => continue,
                },
            };
            for partition in topic.partitions {
                let index = partition.partition_index;
                let offset = asked.get(&name).and_then(|ps| ps.iter().find(|(p, _)| *p == index)).map(|(_, offset)| *offset);
                if offset.is_none() || positions.get(&name, index).map(|p| p.fetch_offset) != offset {
                    continue;
                }
                self.take_partition(cluster, config, positions, &name, partition)?;
            }
        }
        Ok(())
    }

    fn take_partition(
        &mut self,
        cluster: &mut Cluster,
        config: &ConsumerConfig,
        positions: &mut Positions,
        topic: &str,
        data: PartitionData,
    ) -> Result<(), ClientError> {
        let index = data.partition_index;
        let Some(position) = positions.get_mut(topic, index) else { return Ok(()) };
        let subject = || format!("partition {topic}-{index}");
        if let Some(error) = BrokerError::from_code(data.error_code, subject(), None) {
            return self.take_error(cluster, config, positions, topic, index, error);
        }
        position.high_watermark = data.high_watermark;
        let Some(records) = data.records.filter(|r| !r.is_empty()) else { return Ok(()) };
        let aborted = match config.isolation {
            IsolationLevel::ReadCommitted => {
                data.aborted_transactions.unwrap_or_default().iter().map(|t| (t.producer_id.0, t.first_offset)).collect()
            }
            IsolationLevel::ReadUncommitted => Vec::new(),
        };
        let decoded = decode_batches(records, topic, index, position.fetch_offset, aborted)?;
        if decoded.next_offset == position.fetch_offset {
            let detail = format!("the fetch of {} at offset {} returned no whole batch", subject(), position.fetch_offset);
            return Err(ClientError::Protocol { address: "the leader".to_owned(), detail });
        }
        position.fetch_offset = decoded.next_offset;
        if decoded.records.is_empty() {
            // Only control records or aborted data: the position moves without anything handed out.
            position.skip_to(decoded.next_offset);
        }
        self.ready.extend(decoded.records);
        Ok(())
    }

    fn take_error(
        &mut self,
        cluster: &mut Cluster,
        config: &ConsumerConfig,
        positions: &mut Positions,
        topic: &str,
        partition: i32,
        error: BrokerError,
    ) -> Result<(), ClientError> {
        match error.code {
            ErrorCode::OffsetOutOfRange => match config.offset_reset {
                OffsetReset::Earliest => positions.set_spec(topic, partition, OffsetSpec::Earliest),
                OffsetReset::Latest => positions.set_spec(topic, partition, OffsetSpec::Latest),
                OffsetReset::None => return Err(error.into()),
            },
            code if code.is_retriable() => self.recover(cluster, positions),
            _ => return Err(error.into()),
        }
        Ok(())
    }

    /// Asks for fresh metadata of the assigned topics and waits a moment before the next attempt.
    fn recover(&mut self, cluster: &mut Cluster, positions: &Positions) {
        self.backoff_until = Some(Instant::now() + cluster.config().retry_backoff);
        let mut names: Vec<String> = positions.iter().map(|(topic, _, _)| topic.to_owned()).collect();
        names.dedup();
        // A failed refresh shows again at the next attempt.
        let _ = cluster.refresh(Topics::Named(&names), false);
    }
}

fn send_fetch(
    cluster: &mut Cluster,
    leader: i32,
    config: &ConsumerConfig,
    topics: &BTreeMap<String, Vec<(i32, i64)>>,
    ids: &BTreeMap<String, Uuid>,
) -> Result<(), ClientError> {
    let cap = if ids.values().any(Uuid::is_nil) { TOPIC_ID_VERSION - 1 } else { i16::MAX };
    let connection = cluster.pipeline(leader)?;
    let version = connection.version::<FetchRequest>(cap)?;
    let topics = topics
        .iter()
        .map(|(name, partitions)| {
            let partitions = partitions
                .iter()
                .map(|&(partition, offset)| {
                    FetchPartition::default()
                        .with_partition(partition)
                        .with_current_leader_epoch(-1)
                        .with_fetch_offset(offset)
                        .with_last_fetched_epoch(-1)
                        .with_log_start_offset(-1)
                        .with_partition_max_bytes(config.partition_max_bytes)
                })
                .collect();
            let topic = FetchTopic::default().with_partitions(partitions);
            match version >= TOPIC_ID_VERSION {
                true => topic.with_topic_id(ids.get(name).copied().unwrap_or_default()),
                false => topic.with_topic(topic_name(name)),
            }
        })
        .collect();
    let request = FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(config.fetch_max_wait.as_millis().min(i32::MAX as u128) as i32)
        .with_min_bytes(config.fetch_min_bytes)
        .with_max_bytes(config.fetch_max_bytes)
        .with_isolation_level(config.isolation.code())
        .with_session_id(0)
        .with_session_epoch(-1)
        .with_topics(topics)
        .with_rack_id(text(""));
    connection.send(&request, version)
}

impl Position {
    fn skip_to(&mut self, offset: i64) {
        self.consumed = offset;
    }
}
