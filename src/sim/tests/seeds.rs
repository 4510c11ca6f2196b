//! Short runs in both advertise modes. `odradek-sim --seeds N` runs as many as wanted.

use odradek_sim::run::{Options, run};
use odradek_sim::scenario::Mode;

/// Runs seeds in a row; the first broken rule fails the test with the command that replays it.
fn seeds(mode: Mode, seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let outcome = run(seed, &Options::new(mode));
        if let Some(violation) = outcome.violation {
            panic!("{violation}\nreplay: cargo run -p odradek-sim -- --seeds 1 --start {seed} --mode {mode} --events");
        }
    }
}

#[test]
fn cores_keep_their_word() {
    seeds(Mode::Cores, 0..40);
}

#[test]
fn a_node_keeps_its_word() {
    seeds(Mode::Node, 40..80);
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
