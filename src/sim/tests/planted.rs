//! Mistakes planted in the broker and broken promises of its disk: the checkers must find each. The seed that finds it is written down.

use odradek_ring::sim::planted::Mistake;
use odradek_sim::run::{Options, Planted, run};
use odradek_sim::scenario::Mode;

/// Seeds that a planted fault may take to be found, from the one on that is known to find it.
const SEEDS_MAX: u64 = 1000;

/// The fault is found by `seed`, or, where a change of the broker has moved that, by a later one.
fn finds(planted: Planted, seed: u64) {
    let options = Options { planted: Some(planted), ..Options::new(Mode::Cores) };
    let found = (seed..SEEDS_MAX).find_map(|seed| run(seed, &options).violation.map(|violation| (seed, violation)));
    let Some((found, violation)) = found else { panic!("{planted:?} was not found within {SEEDS_MAX} seeds") };
    println!("{planted:?}: found by seed {found}: {violation}");
    let sound = run(found, &Options::new(Mode::Cores)).violation;
    assert_eq!(sound, None, "seed {found} fails without the planted fault too");
}

#[test]
fn a_flush_that_comes_before_the_write_is_found() {
    finds(Planted::Mistake(Mistake::FlushBeforeWrite), 1);
}

#[test]
fn journal_space_given_back_before_the_segments_are_flushed_is_found() {
    finds(Planted::Mistake(Mistake::NoSegmentFlush), 2);
}

#[test]
fn a_leader_epoch_that_is_not_checked_is_found() {
    finds(Planted::Mistake(Mistake::NoEpochCheck), 1);
}

#[test]
fn a_journal_that_is_not_replayed_is_found() {
    finds(Planted::Mistake(Mistake::NoReplay), 0);
}

#[test]
fn a_compacted_segment_that_is_not_flushed_before_it_counts_is_found() {
    finds(Planted::Mistake(Mistake::NoCompactionFlush), 0);
}

#[test]
fn producers_that_are_not_recovered_are_found() {
    finds(Planted::Mistake(Mistake::NoProducerRecovery), 0);
}

#[test]
fn partitions_that_are_not_told_what_an_unreadable_journal_block_held_are_found() {
    finds(Planted::Mistake(Mistake::NoLookBack), 459);
}

#[test]
fn a_disk_that_never_flushes_is_found() {
    finds(Planted::NoSync, 1);
}

#[test]
fn a_flush_that_is_missing_now_and_then_is_found() {
    finds(Planted::SomeSyncsMissing, 0);
}

#[test]
fn journals_that_are_unreadable_at_the_start_are_found() {
    finds(Planted::JournalsSpoilt, 0);
}
