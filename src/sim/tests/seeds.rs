//! Short runs in both advertise modes, and the same run twice. `odradek-sim --seeds N` runs as many as wanted.

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
    seeds(Mode::Cores, 0..25);
}

#[test]
fn a_node_keeps_its_word() {
    seeds(Mode::Node, 0..25);
}

#[test]
#[ignore = "seed 91 takes another course in about one of three processes; what it depends on is not found yet"]
fn the_same_seed_is_the_same_run() {
    for seed in [3, 17, 91] {
        for mode in [Mode::Cores, Mode::Node] {
            let first = run(seed, &Options::new(mode));
            assert_eq!(first, run(seed, &Options::new(mode)), "seed {seed}");
            assert!(first.acknowledged > 0 && first.batches_seen > 0, "seed {seed} did nothing");
        }
    }
    assert_ne!(run(3, &Options::new(Mode::Cores)).trace_hash, run(4, &Options::new(Mode::Cores)).trace_hash);
}
