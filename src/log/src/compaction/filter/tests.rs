//! The filter against a plain model, and its rules one by one.

use super::*;
use crate::producer_state::{Marker, ProducerBatch};
use crate::segment::transaction_index::AbortedTransaction;
use odradek_base::{LeaderEpoch, Rng};
use odradek_wire::compress::Codec;
use odradek_wire::records::{BatchBuilder, RecordReader};
use std::collections::BTreeMap;

const DAY: i64 = 86_400_000;

fn records(batch: &Bytes) -> Vec<(i64, Vec<u8>, Option<Vec<u8>>)> {
    RecordReader::new(batch, 1 << 28)
        .expect("records")
        .map(|record| record.expect("a record"))
        .map(|record| (record.offset.get(), record.key.unwrap_or_default().to_vec(), record.value.map(|value| value.to_vec())))
        .collect()
}

fn index(batches: &[Bytes], from: i64, bytes_max: usize, aborted: &[AbortedTransaction]) -> OffsetMap {
    fill(batches, from, bytes_max, aborted).0
}

/// The map, and whether it was too small.
fn fill(batches: &[Bytes], from: i64, bytes_max: usize, aborted: &[AbortedTransaction]) -> (OffsetMap, bool) {
    let mut map = OffsetMap::new(bytes_max, 0.9, 1 << 20, [11, 12]);
    let mut transactions = CleanedTransactions::new(aborted.to_vec());
    for batch in batches {
        let mut index = BatchIndex::start(batch, &mut transactions).expect("a batch");
        loop {
            match index.step(100, Offset(from), &mut map).expect("readable") {
                Indexed::Partly => {}
                Indexed::Whole => break,
                Indexed::Full => return (map, true),
            }
        }
    }
    (map, false)
}

fn clean(batches: &[Bytes], map: OffsetMap, aborted: &[AbortedTransaction], producers: &ProducerState, now: i64) -> Vec<Bytes> {
    let mut filter = Filter::new(map, CleanedTransactions::new(aborted.to_vec()), producers, Timestamp(now), DAY);
    let mut out = Vec::new();
    for batch in batches {
        let mut step = BatchClean::start(batch, &mut filter).expect("a batch");
        let cleaned = loop {
            if let Some(cleaned) = step.step(100, &filter).expect("readable") {
                break cleaned;
            }
        };
        if let Cleaned::Kept(kept) = cleaned {
            let (before, after) = (BatchView::parse(batch).expect("before"), BatchView::parse(&kept).expect("after"));
            assert!(after.crc_valid());
            assert_eq!((after.base_offset(), after.last_offset()), (before.base_offset(), before.last_offset()));
            out.push(kept);
        }
    }
    out
}

/// Random batches of all codecs with keys from a small set; a fifth of the values are tombstones.
fn history(rng: &mut Rng) -> Vec<Bytes> {
    let mut next = 0;
    (0..40)
        .map(|_| {
            let codec = Codec::ALL[rng.below(5) as usize];
            let mut builder = BatchBuilder::new(codec).base_offset(Offset(next)).leader_epoch(LeaderEpoch(1));
            for _ in 0..1 + rng.below(8) {
                let key = rng.below(25).to_be_bytes();
                let value = vec![rng.below(256) as u8; rng.below(400) as usize];
                builder.append(Timestamp(1000 + next), Some(&key), (!rng.chance(5)).then_some(&value), &[]);
                next += 1;
            }
            builder.build()
        })
        .collect()
}

/// What a consumer that reads everything ends with.
fn last_values(batches: &[Bytes]) -> BTreeMap<Vec<u8>, Option<Vec<u8>>> {
    batches.iter().flat_map(records).map(|(_, key, value)| (key, value)).collect()
}

#[test]
fn the_last_value_of_each_key_stays_whatever_the_history() {
    for seed in 0..12 {
        let mut rng = Rng::with_seed(seed);
        let batches = history(&mut rng);
        let truth = last_values(&batches);
        let bytes_max = [400, 1 << 20][rng.below(2) as usize];
        let (mut log, mut from, mut now) = (batches.clone(), 0, 1_000_000);
        // As many passes as the map needs, then two more: one finds the tombstones' horizons, one passes them.
        for _ in 0..40 {
            let (map, full) = fill(&log, from, bytes_max, &[]);
            let end = map.latest().get() + 1;
            assert!(end > from || !full, "a pass with a full map gets on");
            log = clean(&log, map, &[], &ProducerState::default(), now);
            let mut seen = last_values(&log);
            for (key, value) in &truth {
                match value {
                    // A tombstone may be gone, and then nothing older may show.
                    None => assert_eq!(seen.remove(key).flatten(), None, "seed {seed}"),
                    Some(_) => assert_eq!(seen.remove(key).as_ref(), Some(value), "seed {seed}"),
                }
            }
            assert!(seen.is_empty());
            from = if full { end } else { 0 };
            now += DAY;
        }
        let found: Vec<_> = log.iter().flat_map(records).collect();
        let live = truth.values().flatten().count();
        assert_eq!(found.len(), live, "seed {seed}: one record for each live key");
        for (offset, key, value) in found {
            let original = batches.iter().flat_map(records).find(|(at, _, _)| *at == offset);
            assert_eq!(original, Some((offset, key, value)), "offsets never change");
        }
    }
}

fn keyed(base: i64, records: &[(&str, Option<&str>)]) -> BatchBuilder {
    let mut builder = BatchBuilder::new(Codec::Lz4).base_offset(Offset(base));
    for (key, value) in records {
        builder.append(Timestamp(5000), Some(key.as_bytes()), value.map(str::as_bytes), &[]);
    }
    builder
}

#[test]
fn tombstones_stay_for_delete_retention_and_no_longer() {
    let log = [keyed(0, &[("a", Some("1")), ("b", Some("1"))]).build(), keyed(2, &[("a", None)]).build()];
    let none = ProducerState::default();
    let first = clean(&log, index(&log, 0, 1 << 16, &[]), &[], &none, 100);
    let view = BatchView::parse(&first[1]).expect("the tombstone's batch");
    assert!(view.has_delete_horizon() && view.base_timestamp().get() == 100 + DAY);
    assert_eq!(records(&first[0]).len(), 1);
    let before = clean(&first, index(&first, 0, 1 << 16, &[]), &[], &none, 99 + DAY);
    assert_eq!(before, first, "nothing changes before the horizon, the horizon neither");
    let after = clean(&first, index(&first, 0, 1 << 16, &[]), &[], &none, 100 + DAY);
    assert_eq!(after, first[..1]);
}

#[test]
fn what_the_map_does_not_reach_stays() {
    let log = [keyed(0, &[("a", Some("1"))]).build(), keyed(1, &[("a", Some("2")), ("a", Some("3"))]).build()];
    let map = index(&log[..1], 0, 1 << 16, &[]);
    assert_eq!(clean(&log, map, &[], &ProducerState::default(), 1), log);
}

#[test]
fn keyless_records_go() {
    let mut builder = keyed(0, &[("a", Some("1"))]);
    builder.append(Timestamp(5000), None, Some(b"x"), &[]);
    let log = [builder.build()];
    let out = clean(&log, index(&log, 0, 1 << 16, &[]), &[], &ProducerState::default(), 1);
    assert_eq!(out.iter().flat_map(records).count(), 1);
}

fn transactional(base: i64, producer: i64, records: &[(&str, Option<&str>)]) -> Bytes {
    keyed(base, records).producer(ProducerId(producer), ProducerEpoch(0), 0).transactional(true).build()
}

fn marker(offset: i64, producer: i64, commit: bool) -> Bytes {
    let mut builder = BatchBuilder::new(Codec::None)
        .base_offset(Offset(offset))
        .producer(ProducerId(producer), ProducerEpoch(0), -1)
        .transactional(true)
        .control(true);
    builder.append(Timestamp(6000), Some(&[0, 0, 0, u8::from(commit)]), Some(&[0, 0, 0, 0, 0, 1]), &[]);
    builder.build()
}

#[test]
fn aborted_records_go_and_markers_follow() {
    let log = [
        keyed(0, &[("a", Some("old")), ("c", Some("old"))]).build(),
        transactional(2, 1, &[("a", Some("aborted")), ("b", Some("aborted"))]),
        transactional(4, 2, &[("c", Some("new"))]),
        marker(5, 1, false),
        marker(6, 2, true),
    ];
    let aborted =
        [AbortedTransaction { producer_id: ProducerId(1), first_offset: Offset(2), last_offset: Offset(5), last_stable_offset: Offset(4) }];
    let none = ProducerState::default();
    let pass = |log: &[Bytes], now| clean(log, index(log, 0, 1 << 16, &aborted), &aborted, &none, now);
    let first = pass(&log, 100);
    let seen: Vec<_> = first.iter().filter(|batch| !BatchView::parse(batch).expect("a batch").is_control()).flat_map(records).collect();
    assert_eq!(
        seen,
        [(0, b"a".to_vec(), Some(b"old".to_vec())), (4, b"c".to_vec(), Some(b"new".to_vec()))],
        "an aborted record supersedes nothing"
    );
    assert_eq!(first[2..], log[3..], "both markers stay in the pass that met their batches");
    let second = pass(&first, 200);
    let horizons: Vec<bool> = second.iter().map(|batch| BatchView::parse(batch).expect("a batch").has_delete_horizon()).collect();
    assert_eq!(horizons, [false, false, true, false], "the abort marker has no batch left, the commit marker has");
    assert_eq!(pass(&second, 199 + DAY), second);
    let last = pass(&second, 200 + DAY);
    assert_eq!(last.len(), 3, "the abort marker went, the commit marker stays with its batch");
}

#[test]
fn active_producers_keep_the_batches_that_they_may_send_again() {
    let (producer, epoch) = (ProducerId(7), ProducerEpoch(3));
    let mut log: Vec<Bytes> = Vec::new();
    let mut producers = ProducerState::default();
    // Six batches of two records: a client may send its last five again.
    for at in 0..6 {
        let base_sequence = 40 + 2 * at;
        log.push(keyed(2 * i64::from(at), &[("a", Some("1")), ("b", Some("1"))]).producer(producer, epoch, base_sequence).build());
        let batch =
            ProducerBatch { producer, epoch, base_sequence, last_offset_delta: 1, timestamp: Timestamp(5000), is_transactional: false };
        producers.appended(&batch, Offset(2 * i64::from(at)));
    }
    log.push(keyed(12, &[("a", Some("3")), ("b", Some("3"))]).build());
    let out = clean(&log, index(&log, 0, 1 << 16, &[]), &[], &producers, 1);
    let kept: Vec<_> = out
        .iter()
        .map(|batch| BatchView::parse(batch).expect("a batch"))
        .map(|view| (view.base_offset().get(), view.last_offset().get(), view.record_count(), view.base_sequence()))
        .collect();
    assert_eq!(kept, [(2, 3, 0, 42), (4, 5, 0, 44), (6, 7, 0, 46), (8, 9, 0, 48), (10, 11, 0, 50), (12, 13, 2, -1)]);
    assert_eq!(BatchView::parse(&out[0]).expect("the empty batch").producer_epoch(), epoch);
    assert_eq!(clean(&out, index(&out, 0, 1 << 16, &[]), &[], &producers, 1), out, "and keep it");
    assert_eq!(clean(&out, index(&out, 0, 1 << 16, &[]), &[], &ProducerState::default(), 1), log[6..], "until they expire");
    // After only a marker, the marker holds the epoch.
    let mut fenced = ProducerState::default();
    let end = Marker { commit: false, coordinator_epoch: 1 };
    fenced.marker_appended(ProducerId(1), ProducerEpoch(0), end, Timestamp(6000), Offset(0));
    let markers = [marker(0, 1, false)];
    let once = clean(&markers, index(&markers, 0, 1 << 16, &[]), &[], &fenced, 1);
    let gone = clean(&once, index(&once, 0, 1 << 16, &[]), &[], &fenced, 2 + DAY);
    assert_eq!(gone.len(), 1);
    assert_eq!(BatchView::parse(&gone[0]).expect("a batch").record_count(), 0);
    assert!(clean(&gone, index(&gone, 0, 1 << 16, &[]), &[], &ProducerState::default(), 3 + DAY).is_empty());
}
