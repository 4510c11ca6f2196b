//! Short runs in both advertise modes. `odradek-sim --seeds N` runs as many as wanted.

use odradek_sim::replay;
use odradek_sim::run::{Options, Outcome, run};
use odradek_sim::scenario::Mode;
use std::sync::atomic::{AtomicU64, Ordering};

/// Seeds of every test run, half of them in each mode.
const SEEDS: u64 = 240;

/// Runs seeds in a row; the first broken rule fails the test with the command that replays it.
fn seeds(mode: Mode, seeds: std::ops::Range<u64>) {
    seeds.for_each(|seed| drop(keeps_its_word(seed, mode)));
}

fn keeps_its_word(seed: u64, mode: Mode) -> Outcome {
    let options = Options::new(mode);
    let outcome = run(seed, &options);
    if let Some(violation) = &outcome.violation {
        panic!("{violation}\nreplay: {}", replay::command(seed, &options));
    }
    outcome
}

#[test]
fn nodes_keep_their_word() {
    let next = AtomicU64::new(0);
    let offsets_compacted = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, |threads| threads.get()) {
            scope.spawn(|| {
                // A world runs on one thread, and so do the mistakes planted for it.
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= SEEDS {
                        return;
                    }
                    let outcome = keeps_its_word(seed, if seed.is_multiple_of(2) { Mode::Cores } else { Mode::Node });
                    offsets_compacted.fetch_add(outcome.offsets_compacted, Ordering::Relaxed);
                }
            });
        }
    });
    assert!(offsets_compacted.into_inner() > 0, "no run compacted committed offsets");
}

/// A failed flush of the metadata log, a restart, changes, and a power loss took the earlier change and all that followed.
#[test]
fn metadata_whose_flush_failed_is_written_again() {
    seeds(Mode::Cores, 109..110);
    seeds(Mode::Node, 109..110);
}

/// The same with a journal block.
#[test]
fn a_journal_block_whose_flush_failed_is_written_again() {
    seeds(Mode::Node, 116..117);
}

/// DeleteRecords up to the middle of a batch that only the journal had: the partition did not open any more.
#[test]
fn a_log_start_within_a_journal_batch_is_recovered() {
    seeds(Mode::Cores, 155..156);
    seeds(Mode::Cores, 165..166);
}

/// Compaction emptied the oldest segment, and retention took it for one below the log start: the log start moved.
#[test]
fn a_segment_that_compaction_emptied_keeps_its_offsets() {
    seeds(Mode::Cores, 1285..1286);
    seeds(Mode::Node, 1084..1085);
}

/// A read returned a flipped bit and was written back: the last block of a segment before a flush, the end of a segment at a start.
#[test]
fn a_bad_read_is_not_made_to_last() {
    seeds(Mode::Node, 1106..1107);
    seeds(Mode::Cores, 1245..1246);
}

/// Compaction took batches that their producer sent again after a crash, and it was told that they were out of order.
#[test]
fn compaction_leaves_what_a_producer_may_send_again() {
    seeds(Mode::Node, 1119..1120);
    seeds(Mode::Node, 1245..1246);
}

/// The first block after a restart did not repeat the one before the crash: when that could not be read any more, nobody missed what it held.
#[test]
fn the_first_journal_block_of_a_start_vouches_for_the_one_before() {
    seeds(Mode::Node, 30553..30554);
}
