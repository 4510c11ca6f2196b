//! A consumer on one thread: assigned by hand or as a member of a classic group.
//!
//! Invariants: records of a partition are handed out in offset order, each once per position; what is committed is the offset
//! after the last record handed out. Failure behaviour: leader changes and lost connections are retried with fresh metadata;
//! errors that no retry cures end the poll with the error, and the next poll continues where this one stopped.

pub mod assignor;
mod config;
mod fetcher;
pub(crate) mod group;
mod position;

pub use config::{ConsumerConfig, IsolationLevel, OffsetReset};
pub use group::{CommittedOffset, Membership, Tick, decode_assignment};

use crate::admin::OffsetSpec;
use crate::cluster::{Cluster, Topics};
use crate::error::ClientError;
use crate::record_batch::ConsumerRecord;
use fetcher::Fetcher;
use position::Positions;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

type TopicFilter = Box<dyn Fn(&str) -> bool>;

/// What the consumer reads.
enum Subscription {
    None,
    Assigned,
    Topics(Vec<String>),
    Pattern(TopicFilter),
}

/// Where to start in an assigned partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartAt {
    Offset(i64),
    Spec(OffsetSpec),
    /// The group's committed offset, else `auto.offset.reset`.
    Committed,
}

/// A consumer; see the module's documentation.
pub struct Consumer {
    cluster: Cluster,
    config: ConsumerConfig,
    subscription: Subscription,
    membership: Option<Membership>,
    positions: Positions,
    fetcher: Fetcher,
    last_commit: Instant,
    last_metadata: Instant,
    /// Topics joined with.
    matched: Vec<String>,
    /// Partitions each of them had at the last look: the group rebalances when that changes.
    counted: BTreeMap<String, usize>,
}

/// How often topics that do not exist yet are looked for.
const MISSING_TOPIC_INTERVAL: Duration = Duration::from_secs(1);

impl Consumer {
    pub fn new(cluster: Cluster, config: ConsumerConfig) -> Self {
        let membership = config.group.as_deref().map(|group| Membership::new(group, &config));
        Self {
            cluster,
            config,
            subscription: Subscription::None,
            membership,
            positions: Positions::default(),
            fetcher: Fetcher::default(),
            last_commit: Instant::now(),
            last_metadata: Instant::now(),
            matched: Vec::new(),
            counted: BTreeMap::new(),
        }
    }

    pub fn cluster(&mut self) -> &mut Cluster {
        &mut self.cluster
    }

    /// Reads exactly these partitions, without group membership.
    pub fn assign(&mut self, partitions: &[(String, i32, StartAt)]) -> Result<(), ClientError> {
        self.subscription = Subscription::Assigned;
        self.positions.clear();
        self.fetcher.forget(|_, _| true);
        let mut names: Vec<String> = partitions.iter().map(|(t, _, _)| t.clone()).collect();
        names.sort();
        names.dedup();
        for name in &names {
            self.cluster.await_topic(name, false)?;
        }
        let from_group: Vec<(String, i32)> =
            partitions.iter().filter(|(_, _, at)| *at == StartAt::Committed).map(|(t, p, _)| (t.clone(), *p)).collect();
        self.start_at_committed(&from_group)?;
        for (topic, partition, at) in partitions {
            match at {
                StartAt::Offset(offset) => self.positions.set_offset(topic, *partition, *offset),
                StartAt::Spec(spec) => self.positions.set_spec(topic, *partition, *spec),
                StartAt::Committed => {}
            }
        }
        Ok(())
    }

    /// Reads these topics as a member of the configured group.
    pub fn subscribe(&mut self, topics: Vec<String>) -> Result<(), ClientError> {
        self.need_group()?;
        self.subscription = Subscription::Topics(topics);
        Ok(())
    }

    /// Reads every topic whose name the filter accepts, looked up again as metadata ages.
    pub fn subscribe_matching(&mut self, filter: impl Fn(&str) -> bool + 'static) -> Result<(), ClientError> {
        self.need_group()?;
        self.subscription = Subscription::Pattern(Box::new(filter));
        Ok(())
    }

    /// Records, waiting up to `timeout` for the first; empty when there were none.
    pub fn poll(&mut self, timeout: Duration) -> Result<Vec<ConsumerRecord>, ClientError> {
        let deadline = Instant::now() + timeout;
        if !matches!(self.subscription, Subscription::None | Subscription::Assigned) {
            self.keep_membership()?;
        }
        self.auto_commit_if_due()?;
        self.age_metadata();
        loop {
            // Heartbeats go on while nothing arrives.
            let slice = deadline.saturating_duration_since(Instant::now()).min(self.config.heartbeat_interval);
            let records = self.fetcher.poll(&mut self.cluster, &self.config, &mut self.positions, slice)?;
            if !records.is_empty() || Instant::now() >= deadline {
                return Ok(records);
            }
            if !matches!(self.subscription, Subscription::None | Subscription::Assigned) {
                self.keep_membership()?;
            }
            self.auto_commit_if_due()?;
            self.age_metadata();
        }
    }

    /// The next record of a partition to hand out.
    pub fn position(&self, topic: &str, partition: i32) -> Option<i64> {
        self.positions.get(topic, partition).map(|p| p.consumed).filter(|&o| o >= 0)
    }

    /// The partitions read now.
    pub fn assignment(&self) -> Vec<(String, i32)> {
        self.positions.iter().map(|(t, p, _)| (t.to_owned(), p)).collect()
    }

    /// Continues at another place of an assigned partition.
    pub fn seek(&mut self, topic: &str, partition: i32, at: StartAt) -> Result<(), ClientError> {
        self.fetcher.forget(|t, p| t == topic && p == partition);
        match at {
            StartAt::Offset(offset) => self.positions.set_offset(topic, partition, offset),
            StartAt::Spec(spec) => self.positions.set_spec(topic, partition, spec),
            StartAt::Committed => self.start_at_committed(&[(topic.to_owned(), partition)])?,
        }
        Ok(())
    }

    /// Hands back records that were polled but not used, so that they are not committed: the smallest offset per partition counts.
    pub fn rewind(&mut self, unused: &[ConsumerRecord]) {
        let mut smallest: BTreeMap<(&str, i32), i64> = BTreeMap::new();
        for record in unused {
            let entry = smallest.entry((&record.topic, record.partition)).or_insert(record.offset);
            *entry = record.offset.min(*entry);
        }
        for ((topic, partition), offset) in smallest {
            self.fetcher.forget(|t, p| t == topic && p == partition);
            self.positions.set_offset(topic, partition, offset);
        }
    }

    /// Commits the positions now.
    pub fn commit(&mut self) -> Result<(), ClientError> {
        let offsets: BTreeMap<(String, i32), CommittedOffset> = self
            .positions
            .iter()
            .filter(|(_, _, p)| p.consumed >= 0)
            .map(|(t, i, p)| {
                ((t.to_owned(), i), CommittedOffset { offset: p.consumed, leader_epoch: p.leader_epoch, metadata: String::new() })
            })
            .collect();
        self.last_commit = Instant::now();
        match &mut self.membership {
            Some(membership) if !offsets.is_empty() => membership.commit(&mut self.cluster, &offsets),
            _ => Ok(()),
        }
    }

    /// Commits if automatic commits are on, and leaves the group.
    pub fn close(&mut self) -> Result<(), ClientError> {
        let committed = if self.config.auto_commit && !self.positions.is_empty() { self.commit() } else { Ok(()) };
        let left = match &mut self.membership {
            Some(membership) => membership.leave(&mut self.cluster),
            None => Ok(()),
        };
        committed.and(left)
    }

    fn need_group(&self) -> Result<(), ClientError> {
        match self.membership {
            Some(_) => Ok(()),
            None => Err(ClientError::Invalid("subscribing needs a group.id".to_owned())),
        }
    }

    fn keep_membership(&mut self) -> Result<(), ClientError> {
        let wanted = self.wanted_topics()?;
        let changed = wanted != self.matched || self.partitions_changed(&wanted);
        let Some(membership) = &mut self.membership else { return Ok(()) };
        if membership.tick(&mut self.cluster)? == Tick::Stable && !changed {
            return Ok(());
        }
        if membership.is_joined() && self.config.auto_commit {
            // Still a member: what was consumed is committed before the partitions go. A lost race shows as a rebalance.
            let _ = self.commit();
        }
        self.matched = wanted.clone();
        self.cluster.refresh(Topics::Named(&wanted), false)?;
        self.last_metadata = Instant::now();
        self.counted = self.count(&wanted);
        let Some(membership) = &mut self.membership else { return Ok(()) };
        let assignment = membership.join(&mut self.cluster, &wanted)?;
        self.positions.clear();
        self.fetcher.forget(|_, _| true);
        let names: Vec<String> = assignment.keys().cloned().collect();
        if !names.is_empty() {
            self.cluster.refresh(Topics::Named(&names), false)?;
        }
        let partitions: Vec<(String, i32)> =
            assignment.into_iter().flat_map(|(t, ps)| ps.into_iter().map(move |p| (t.clone(), p))).collect();
        self.last_commit = Instant::now();
        self.start_at_committed(&partitions)
    }

    /// Looks at the subscribed topics again when metadata is old, or soon when one is missing.
    fn partitions_changed(&mut self, wanted: &[String]) -> bool {
        let missing = wanted.iter().any(|t| !self.counted.contains_key(t));
        let interval = if missing { MISSING_TOPIC_INTERVAL } else { self.config.metadata_max_age };
        if self.matched.is_empty() || self.last_metadata.elapsed() < interval {
            return false;
        }
        self.last_metadata = Instant::now();
        // Old metadata still serves when the refresh fails.
        self.cluster.refresh(Topics::Named(wanted), false).is_ok() && self.count(wanted) != self.counted
    }

    fn count(&self, topics: &[String]) -> BTreeMap<String, usize> {
        topics.iter().filter_map(|t| self.cluster.topic(t).map(|known| (t.clone(), known.partitions.len()))).collect()
    }

    fn wanted_topics(&mut self) -> Result<Vec<String>, ClientError> {
        match &self.subscription {
            Subscription::Topics(topics) => {
                if self.matched.is_empty() && !topics.is_empty() {
                    // As the Java consumer does: asking for a topic may create it.
                    self.cluster.refresh(Topics::Named(topics), true)?;
                }
                Ok(topics.clone())
            }
            Subscription::Pattern(filter) => {
                let old = self.last_metadata.elapsed() >= self.config.metadata_max_age;
                if !self.matched.is_empty() && !old {
                    return Ok(self.matched.clone());
                }
                self.cluster.refresh(Topics::All, false)?;
                self.last_metadata = Instant::now();
                Ok(self.cluster.topics().filter(|t| !t.internal && filter(&t.name)).map(|t| t.name.clone()).collect())
            }
            Subscription::None | Subscription::Assigned => Ok(Vec::new()),
        }
    }

    fn start_at_committed(&mut self, partitions: &[(String, i32)]) -> Result<(), ClientError> {
        if partitions.is_empty() {
            return Ok(());
        }
        let committed = match &self.config.group {
            Some(group) => {
                let group = group.clone();
                self.cluster.admin().group_offsets(&group, Some(partitions))?
            }
            None => BTreeMap::new(),
        };
        for (topic, partition) in partitions {
            match committed.get(&(topic.clone(), *partition)) {
                Some(at) => self.positions.set_offset(topic, *partition, at.offset),
                None => {
                    let spec = match self.config.offset_reset {
                        OffsetReset::Earliest => OffsetSpec::Earliest,
                        OffsetReset::Latest => OffsetSpec::Latest,
                        OffsetReset::None => {
                            return Err(ClientError::Invalid(format!(
                                "no committed offset for {topic}-{partition}, and auto.offset.reset is none"
                            )));
                        }
                    };
                    self.positions.set_spec(topic, *partition, spec);
                }
            }
        }
        Ok(())
    }

    fn auto_commit_if_due(&mut self) -> Result<(), ClientError> {
        let joined = self.membership.as_ref().is_some_and(Membership::is_joined);
        if joined && self.config.auto_commit && self.last_commit.elapsed() >= self.config.auto_commit_interval {
            match self.commit() {
                // The rejoin that follows decides who owns what.
                Err(error) if error.is_retriable() || is_rebalance(&error) => {}
                other => return other,
            }
        }
        Ok(())
    }

    fn age_metadata(&mut self) {
        if self.last_metadata.elapsed() >= self.config.metadata_max_age && matches!(self.subscription, Subscription::Assigned) {
            self.last_metadata = Instant::now();
            let mut names: Vec<String> = self.positions.iter().map(|(t, _, _)| t.to_owned()).collect();
            names.dedup();
            // Old metadata still serves; errors of its use are handled where they appear.
            let _ = self.cluster.refresh(Topics::Named(&names), false);
        }
    }
}

fn is_rebalance(error: &ClientError) -> bool {
    use odradek_wire::ErrorCode as E;
    matches!(error.code(), Some(E::RebalanceInProgress | E::IllegalGeneration | E::UnknownMemberId))
}
