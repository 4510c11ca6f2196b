//! The same seed is the same run, event for event: again in the same process, after other seeds, on another thread, in another process.

use odradek_sim::run::{Options, run};
use odradek_sim::scenario::Mode;
use std::process::Command;

const SEEDS: [(u64, Mode); 3] = [(3, Mode::Cores), (17, Mode::Node), (91, Mode::Cores)];

#[test]
fn a_seed_does_not_depend_on_those_before_it() {
    let alone: Vec<_> = SEEDS
        .iter()
        .map(|(seed, mode)| {
            let (seed, mode) = (*seed, *mode);
            std::thread::spawn(move || run(seed, &Options::new(mode))).join().expect("a run")
        })
        .collect();
    for other in 200..206 {
        run(other, &Options::new(Mode::Cores));
    }
    for ((seed, mode), alone) in SEEDS.iter().zip(alone) {
        let after = run(*seed, &Options::new(*mode));
        assert_eq!(alone, after, "seed {seed}, {mode}");
        assert!(alone.acknowledged > 0 && alone.batches_seen > 0, "seed {seed} did nothing");
    }
    assert_ne!(run(3, &Options::new(Mode::Cores)).trace_hash, run(4, &Options::new(Mode::Cores)).trace_hash);
}

#[test]
fn a_seed_is_the_same_in_another_process() {
    for (seed, mode) in SEEDS {
        let here = run(seed, &Options::new(mode));
        let output = Command::new(env!("CARGO_BIN_EXE_odradek-sim"))
            .args(["--seeds", "1", "--start", &seed.to_string(), "--mode", &mode.to_string()])
            .output()
            .expect("the simulator runs");
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(printed.contains(&format!("{here:?}")), "seed {seed}, {mode}: here {here:?}, there {printed}");
    }
}
