//! Reading back what `bench produce` wrote: lost, doubled, reordered, damaged.

use crate::target::{TargetArgs, TargetPartition};
use crate::{BenchError, payload};
use clap::Args;
use odradek_client::admin::OffsetSpec;
use odradek_client::consumer::{ConsumerConfig, IsolationLevel, StartAt};
use odradek_client::{ClientConfig, Cluster, Consumer};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

#[derive(Debug, Clone, Args)]
pub struct AuditArgs {
    #[command(flatten)]
    target: TargetArgs,
    #[arg(long)]
    json: bool,
}

/// Offsets by topic and partition.
pub type Offsets = BTreeMap<(String, i32), i64>;
/// Records acknowledged by topic, partition and lane.
pub type Acknowledged = BTreeMap<(String, i32, u32), u64>;

/// What an audit found.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Findings {
    records: u64,
    /// Not a value of the harness, or its checksum fails.
    damaged: u64,
    /// In another partition than it was sent to.
    misplaced: u64,
    /// A sequence seen before.
    doubled: u64,
    /// A sequence that was skipped by a later one and came after it.
    reordered: u64,
    /// Sequences that never came: below the highest seen, or acknowledged.
    lost: u64,
}

impl Findings {
    fn is_clean(&self) -> bool {
        self.damaged + self.misplaced + self.doubled + self.reordered + self.lost == 0
    }
}

/// The sequences of one lane: the next expected one, and those that were skipped.
#[derive(Debug, Default)]
struct Sequences {
    next: u64,
    skipped: BTreeMap<u64, u64>,
}

impl Sequences {
    fn see(&mut self, sequence: u64, findings: &mut Findings) {
        if sequence >= self.next {
            if sequence > self.next {
                // A range of skipped sequences: first to one after the last.
                self.skipped.insert(self.next, sequence);
            }
            self.next = sequence + 1;
            return;
        }
        let range = self.skipped.range(..=sequence).next_back().map(|(&from, &to)| (from, to));
        match range {
            Some((from, to)) if sequence < to => {
                findings.reordered += 1;
                self.skipped.remove(&from);
                if from < sequence {
                    self.skipped.insert(from, sequence);
                }
                if sequence + 1 < to {
                    self.skipped.insert(sequence + 1, to);
                }
            }
            _ => findings.doubled += 1,
        }
    }

    fn lost(&self, acknowledged: u64) -> u64 {
        let skipped: u64 = self.skipped.iter().map(|(from, to)| to - from).sum();
        skipped + acknowledged.saturating_sub(self.next)
    }
}

pub fn run(args: &AuditArgs) -> Result<bool, BenchError> {
    let (mut cluster, partitions) = args.target.open()?;
    check(&mut cluster, &partitions, &BTreeMap::new(), None, args.json)
}

/// Ends of the partitions now.
pub fn ends(cluster: &mut Cluster, partitions: &[TargetPartition]) -> Result<Offsets, BenchError> {
    let wanted: Vec<(String, i32, OffsetSpec)> = partitions.iter().map(|p| (p.topic.clone(), p.partition, OffsetSpec::Latest)).collect();
    let mut offsets = Offsets::new();
    for (partition, result) in cluster.admin().list_offsets(&wanted, IsolationLevel::ReadUncommitted)? {
        offsets.insert(partition, result?.offset);
    }
    Ok(offsets)
}

/// Reads from `starts` (the beginning where not given) to the end of now and prints what it found; true when all is well.
/// With `of_run` only that run's records count, and everything acknowledged has to be there.
pub fn check(
    cluster: &mut Cluster,
    partitions: &[TargetPartition],
    starts: &Offsets,
    of_run: Option<(u64, &Acknowledged)>,
    json: bool,
) -> Result<bool, BenchError> {
    let ends = ends(cluster, partitions)?;
    let own = Cluster::connect(ClientConfig { client_id: "odradek-bench-audit".to_owned(), ..cluster.config().clone() })?;
    let mut consumer = Consumer::new(own, ConsumerConfig { poll_records_max: 100_000, ..ConsumerConfig::default() });
    let assigned: Vec<(String, i32, StartAt)> = partitions
        .iter()
        .map(|p| {
            let start = starts.get(&(p.topic.clone(), p.partition)).map_or(StartAt::Spec(OffsetSpec::Earliest), |&o| StartAt::Offset(o));
            (p.topic.clone(), p.partition, start)
        })
        .collect();
    consumer.assign(&assigned)?;
    let mut findings = Findings::default();
    let mut lanes: BTreeMap<(u64, String, i32, u32), Sequences> = BTreeMap::new();
    let done = |consumer: &Consumer| ends.iter().all(|((t, p), &end)| consumer.position(t, *p).is_some_and(|at| at >= end));
    while !done(&consumer) {
        for record in consumer.poll(Duration::from_secs(1))? {
            if ends.get(&(record.topic.clone(), record.partition)).is_some_and(|&end| record.offset >= end) {
                continue;
            }
            findings.records += 1;
            let Some(stamp) = record.value.as_deref().and_then(payload::read) else {
                findings.damaged += 1;
                continue;
            };
            if of_run.is_some_and(|(run, _)| run != stamp.run) {
                continue;
            }
            findings.misplaced += u64::from(stamp.partition != record.partition);
            lanes.entry((stamp.run, record.topic, record.partition, stamp.lane)).or_default().see(stamp.sequence, &mut findings);
        }
    }
    findings.lost = lanes.values().map(|l| l.lost(0)).sum();
    if let Some((run, acknowledged)) = of_run {
        findings.lost = 0;
        for ((topic, partition, lane), &count) in acknowledged {
            let seen = lanes.get(&(run, topic.clone(), *partition, *lane));
            findings.lost += seen.map_or(count, |s| s.lost(count));
        }
    }
    if json {
        println!("{}", serde_json::json!({ "kind": "audit", "clean": findings.is_clean(), "findings": findings }));
    } else {
        println!(
            "{:<12}{} records: {} lost, {} doubled, {} reordered, {} damaged, {} in the wrong partition",
            "audit", findings.records, findings.lost, findings.doubled, findings.reordered, findings.damaged, findings.misplaced
        );
    }
    Ok(findings.is_clean())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(sequences: &[u64], acknowledged: u64) -> (u64, u64, u64) {
        let mut findings = Findings::default();
        let mut lane = Sequences::default();
        for &sequence in sequences {
            lane.see(sequence, &mut findings);
        }
        (lane.lost(acknowledged), findings.doubled, findings.reordered)
    }

    #[test]
    fn losses_doubles_and_reorderings_are_told_apart() {
        assert_eq!(seen(&[0, 1, 2], 3), (0, 0, 0));
        assert_eq!(seen(&[0, 2, 3], 4), (1, 0, 0));
        assert_eq!(seen(&[0, 1], 4), (2, 0, 0));
        assert_eq!(seen(&[0, 1, 1, 0, 2], 3), (0, 2, 0));
        assert_eq!(seen(&[0, 3, 1, 2, 4], 5), (0, 0, 2));
        assert_eq!(seen(&[5, 2, 2], 6), (4, 1, 1));
        assert_eq!(seen(&[], 2), (2, 0, 0));
    }
}
