//! What only the end can show: the whole log of every partition is read once more and held against all that was acknowledged.

use crate::changes;
use crate::client::{Client, Connection};
use crate::consumer;
use crate::faults::Kinds;
use crate::history::{Cleaning, PartitionHistory, TopicState, Tp};
use crate::member;
use crate::record::RecordId;
use crate::violation::Checker;
use odradek_base::Instant;
use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

const BYTES_MAX: i32 = 1 << 20;

/// Reads everything back and checks it. Violations go to the history. Ends only when everything has been read.
pub async fn verify(client: &Client) {
    let (tps, commits, topics) = {
        let facts = client.history.facts();
        let tps: Vec<Tp> = facts.partitions.keys().cloned().collect();
        let commits: Vec<(String, Tp)> = facts.commits.keys().cloned().collect();
        (tps, commits, facts.topics.clone())
    };
    check_topics(client, &topics).await;
    changes::check(client).await;
    client.history.facts().last_reading = true;
    read_all(client, &tps).await;
    for (group, tp) in commits {
        read_commit(client, &group, &tp).await;
    }
    let facts = client.history.facts();
    let mut problems = Vec::new();
    for (tp, partition) in facts.partitions.iter().filter(|(tp, _)| !facts.closed.contains(*tp)) {
        let damaged = facts.damaged.get(tp).map_or(&[][..], Vec::as_slice);
        let found = check_partition(partition, &facts.power_losses, damaged).into_iter();
        problems.extend(found.map(|(checker, problem)| (checker, format!("{tp}: {problem}"))));
    }
    drop(facts);
    for (checker, problem) in problems {
        client.history.violation(checker, problem);
    }
}

async fn check_topics(client: &Client, topics: &BTreeMap<String, TopicState>) {
    let names: Vec<String> = topics.keys().cloned().collect();
    let metadata = loop {
        match client.metadata(&names).await {
            Ok(metadata) => break metadata,
            Err(_) => client.back_off().await,
        }
    };
    for (name, state) in topics {
        match (state, metadata.ids.contains_key(name)) {
            (TopicState::Created, false) => client.history.violation(Checker::Metadata, format!("topic {name} was made and is not there")),
            (TopicState::Deleted, true) => client.history.violation(Checker::Metadata, format!("topic {name} was deleted and is there")),
            _ => {}
        }
    }
}

async fn read_all(client: &Client, tps: &[Tp]) {
    let plan = consumer::Plan {
        number: u32::MAX,
        by_id: false,
        partitions: tps.to_vec(),
        max_wait: Duration::from_millis(10),
        bytes_max: BYTES_MAX,
        rewind_one_in: 0,
        kinds: Kinds::ALL,
        read_committed: true,
        from_end: false,
        probe_one_in: 0,
    };
    let history = client.history.clone();
    for mut reader in consumer::readers(client, plan).await {
        let all_read = |positions: &BTreeMap<Tp, consumer::Position>| {
            history.is_violated()
                || positions
                    .values()
                    .all(|position| position.closed || position.high_watermark >= 0 && position.offset >= position.high_watermark)
        };
        while reader.session(all_read).await.is_err() {
            client.back_off().await;
        }
    }
}

async fn read_commit(client: &Client, group: &str, tp: &Tp) {
    loop {
        if let Ok(Some(coordinator)) = client.coordinator(group).await
            && let Ok(mut connection) = Connection::open(client, coordinator).await
            && member::read_committed(client, &mut connection, group, tp).await.is_ok()
        {
            return;
        }
        client.back_off().await;
    }
}

/// The rules for one partition, whose whole log has been seen.
fn check_partition(partition: &PartitionHistory, power_losses: &[Instant], damaged: &[Range<i64>]) -> Vec<(Checker, String)> {
    if partition.cleaning == Cleaning::Compaction {
        return check_compacted(partition, damaged);
    }
    let mut problems = Vec::new();
    let mut log: BTreeMap<i64, RecordId> = BTreeMap::new();
    let mut next = 0;
    let mut whole = true;
    for (base, batch) in &partition.seen {
        if *base != next {
            // What was deleted before anybody read it.
            whole = false;
            let missing = partition.start.max(next)..*base;
            if !missing.clone().all(|offset| is_in(damaged, offset)) {
                problems.push((Checker::Offsets, format!("offsets {} to {base} are missing", partition.start.max(next))));
            }
        }
        next = batch.last_offset + 1;
        log.extend(batch.records.iter().copied());
    }
    let mut copies: BTreeMap<RecordId, u32> = BTreeMap::new();
    let mut last_of: BTreeMap<u32, u64> = BTreeMap::new();
    for (offset, id) in &log {
        let Some(sent) = partition.sent.get(id) else { continue };
        let copy = copies.entry(*id).or_default();
        *copy += 1;
        if *copy > if sent.idempotent { 1 } else { sent.attempts } {
            problems.push((
                Checker::Duplicate,
                format!("{id} is there {copy} times, again at offset {offset}, after {} attempts", sent.attempts),
            ));
        }
        if sent.idempotent {
            let due = last_of.get(&id.producer).map_or(0, |last| last + 1);
            if if whole { id.number != due } else { id.number < due } {
                problems.push((Checker::Order, format!("{id} is at offset {offset} where record {due} of that producer was due")));
            }
            last_of.insert(id.producer, id.number);
        }
    }
    for (id, sent) in &partition.sent {
        let Some(offset) = sent.acknowledged else { continue };
        let survives = match sent.acks {
            -1 => true,
            // Written but not flushed: a process may die, the machine may not.
            1 => power_losses.iter().all(|at| *at < sent.first_sent),
            _ => false,
        };
        let deleted = offset < partition.start && !log.contains_key(&offset);
        if survives && !deleted && !is_in(damaged, offset) && log.get(&offset) != Some(id) {
            let found = log.get(&offset).map_or("nothing".to_string(), RecordId::to_string);
            problems
                .push((Checker::Loss, format!("{id} was acknowledged with acks={} at offset {offset}, where there is {found}", sent.acks)));
        }
    }
    problems
}

/// Whether a stored bit flipped there.
fn is_in(damaged: &[Range<i64>], offset: i64) -> bool {
    damaged.iter().any(|damaged| damaged.contains(&offset))
}

/// Of a compacted partition: the last record of every key is there, unless it is a tombstone that may go; then nothing of the key is there. Every
/// record that is there is where it was acknowledged.
fn check_compacted(partition: &PartitionHistory, damaged: &[Range<i64>]) -> Vec<(Checker, String)> {
    let mut problems = Vec::new();
    let mut last_of_key: BTreeMap<u64, i64> = BTreeMap::new();
    for (offset, id) in &partition.last_read {
        last_of_key.insert(id.key(true), *offset);
    }
    for (id, sent) in partition.sent.iter().filter(|(_, sent)| sent.acks == -1) {
        let Some(offset) = sent.acknowledged else { continue };
        let last = last_of_key.get(&id.key(true)).copied().unwrap_or(-1);
        let deleted = partition.compaction.tombstones_go && deleted_from(partition, id.key(true), offset);
        if deleted && partition.tombstones.contains(id) && (0..offset).contains(&last) {
            problems.push((
                Checker::Compaction,
                format!("{id} at offset {offset} deleted its key and is gone, and the record at {last} is there"),
            ));
        }
        if last < offset && !deleted && !superseded_by_damage(partition, *id, offset, damaged) {
            problems
                .push((Checker::Loss, format!("{id} was acknowledged at offset {offset}, and the last record of its key is at {last}")));
        }
        if let Some(there) = partition.records.get(&offset).filter(|there| *there != id) {
            problems.push((Checker::Loss, format!("{id} was acknowledged at offset {offset}, where there is {there}")));
        }
    }
    let mut last_of: BTreeMap<u32, u64> = BTreeMap::new();
    for id in partition.last_read.values().filter(|id| partition.sent.get(id).is_some_and(|sent| sent.idempotent)) {
        if last_of.insert(id.producer, id.number).is_some_and(|last| last >= id.number) {
            problems.push((Checker::Duplicate, format!("{id} is there again or out of order")));
        }
    }
    problems
}

/// Whether a tombstone for the key may lie at `offset` or behind it.
fn deleted_from(partition: &PartitionHistory, key: u64, offset: i64) -> bool {
    let mut tombstones = partition.tombstones.iter().filter(|id| id.key(true) == key).filter_map(|id| partition.sent.get(id));
    tombstones.any(|sent| sent.acknowledged.is_none_or(|at| at >= offset))
}

/// Whether a later record of the same key may have been where a stored bit flipped: then compaction may have taken what it can show no more.
fn superseded_by_damage(partition: &PartitionHistory, id: RecordId, offset: i64, damaged: &[Range<i64>]) -> bool {
    let same_key = partition.sent.iter().filter(|(other, _)| other.key(true) == id.key(true));
    !damaged.is_empty() && same_key.into_iter().any(|(_, sent)| sent.acknowledged.is_none_or(|at| at >= offset && is_in(damaged, at)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Seen, Sent};

    fn id(number: u64) -> RecordId {
        RecordId { producer: 1, number }
    }

    /// A log of one batch per record, all sent once by one producer at time 5 and acknowledged where `acknowledged` says.
    fn partition(acks: i16, idempotent: bool, log: &[u64], acknowledged: &[(u64, i64)]) -> PartitionHistory {
        let mut partition = PartitionHistory::default();
        for number in 0..10 {
            let acknowledged = acknowledged.iter().find(|(known, _)| *known == number).map(|(_, offset)| *offset);
            partition.sent.insert(id(number), Sent { acks, idempotent, attempts: 1, first_sent: Instant(5), acknowledged });
        }
        for (offset, number) in (0..).zip(log) {
            partition.seen.insert(offset, Seen { last_offset: offset, hash: 0, records: vec![(offset, id(*number))] });
        }
        partition
    }

    #[test]
    fn a_good_history_passes() {
        assert_eq!(check_partition(&partition(-1, true, &[0, 1, 2], &[(0, 0), (1, 1)]), &[Instant(9)], &[]), Vec::new());
    }

    #[test]
    fn deleted_records_are_not_missed_and_others_are() {
        let mut deleted = partition(-1, true, &[0, 1, 2, 3], &[(0, 0), (3, 3)]);
        deleted.seen.remove(&0);
        deleted.seen.remove(&1);
        assert!(!check_partition(&deleted, &[], &[]).is_empty());
        deleted.start = 2;
        assert_eq!(check_partition(&deleted, &[], &[]), Vec::new());
        deleted.seen.remove(&3);
        assert!(!check_partition(&deleted, &[], &[]).is_empty());
    }

    #[test]
    fn what_a_stored_bit_took_is_not_missed_and_its_neighbours_are() {
        let mut damaged = partition(-1, true, &[0, 1, 2, 3], &[(1, 1), (2, 2)]);
        damaged.seen.remove(&1);
        assert!(!check_partition(&damaged, &[], &[]).is_empty());
        assert_eq!(check_partition(&damaged, &[], std::slice::from_ref(&(1..2))), Vec::new());
        assert!(!check_partition(&damaged, &[], std::slice::from_ref(&(0..1))).is_empty());
        damaged.seen.remove(&2);
        assert!(!check_partition(&damaged, &[], std::slice::from_ref(&(1..2))).is_empty());
    }

    #[test]
    fn compaction_may_take_all_but_the_last_record_of_a_key() {
        let mut compacted = partition(-1, true, &[], &[(0, 0), (1, 1), (5, 5)]);
        compacted.cleaning = Cleaning::Compaction;
        compacted.last_read = BTreeMap::from([(1, id(1)), (5, id(5))]);
        assert_eq!(check_partition(&compacted, &[], &[]), Vec::new());
        compacted.last_read = BTreeMap::from([(0, id(0)), (1, id(1))]);
        assert!(!check_partition(&compacted, &[], &[]).is_empty(), "the last record of a key is gone");
        compacted.last_read = BTreeMap::from([(1, id(1)), (5, id(5)), (6, id(5))]);
        assert!(!check_partition(&compacted, &[], &[]).is_empty(), "a record is there twice");
    }

    #[test]
    fn a_tombstone_may_go_in_its_time_and_takes_its_key_with_it() {
        let mut compacted = partition(-1, true, &[], &[(0, 0), (5, 5)]);
        compacted.cleaning = Cleaning::Compaction;
        compacted.tombstones.insert(id(5));
        assert!(!check_partition(&compacted, &[], &[]).is_empty(), "it has to stay");
        compacted.compaction.tombstones_go = true;
        assert_eq!(check_partition(&compacted, &[], &[]), Vec::new());
        compacted.last_read = BTreeMap::from([(0, id(0))]);
        assert!(!check_partition(&compacted, &[], &[]).is_empty(), "the deleted value is back");
        compacted.last_read = BTreeMap::from([(0, id(0)), (5, id(5))]);
        assert_eq!(check_partition(&compacted, &[], &[]), Vec::new());
    }

    #[test]
    fn losses_are_found_where_the_acks_promised_more() {
        let lost = |acks, power_losses: &[Instant]| {
            !check_partition(&partition(acks, false, &[0], &[(0, 0), (1, 1)]), power_losses, &[]).is_empty()
        };
        assert!(lost(-1, &[Instant(9)]) && lost(-1, &[]) && lost(1, &[]) && lost(1, &[Instant(4)]));
        assert!(!lost(1, &[Instant(9)]) && !lost(0, &[]));
    }

    #[test]
    fn duplicates_gaps_and_disorder_are_found() {
        assert!(!check_partition(&partition(-1, true, &[0, 1, 1], &[]), &[], &[]).is_empty());
        assert!(!check_partition(&partition(-1, false, &[0, 1, 1], &[]), &[], &[]).is_empty());
        assert!(!check_partition(&partition(-1, true, &[0, 2, 1], &[]), &[], &[]).is_empty());
        assert!(!check_partition(&partition(-1, true, &[0, 2], &[]), &[], &[]).is_empty());
        assert!(check_partition(&partition(1, false, &[0, 2, 1], &[]), &[], &[]).is_empty());
        let mut gap = partition(1, false, &[0, 1, 2], &[]);
        gap.seen.remove(&1);
        assert!(!check_partition(&gap, &[], &[]).is_empty());
    }
}
