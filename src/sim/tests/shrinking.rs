//! A failing run is made smaller without becoming another failure, and the printed command replays it to the same event.

use odradek_ring::sim::planted::Mistake;
use odradek_sim::replay;
use odradek_sim::run::{Options, Planted, run};
use odradek_sim::scenario::Mode;
use odradek_sim::shrink::shrink;
use std::process::Command;

/// With the broker's mistake, and what the simulator finds then.
const SEED: u64 = 2;
const PLANTED: Planted = Planted::Mistake(Mistake::NoReplay);

#[test]
fn a_smaller_run_breaks_the_same_rule_and_is_replayed_by_its_command() {
    let options = Options { planted: Some(PLANTED), ..Options::new(Mode::Cores) };
    let whole = run(SEED, &options);
    let violation = whole.violation.clone().expect("the mistake is found");
    let shrunk = shrink(SEED, &options, violation.checker).expect("something can be left out");
    assert_eq!(shrunk.violation.checker, violation.checker);
    let smaller = Options { less: shrunk.less, ..options.clone() };
    let here = run(SEED, &smaller);
    assert_eq!(here.violation.as_ref(), Some(&shrunk.violation));
    assert!(here.events < whole.events, "{} events, {} before", here.events, whole.events);
    for (options, outcome) in [(&options, &whole), (&smaller, &here)] {
        let arguments = replay::arguments(SEED, options);
        let output = Command::new(env!("CARGO_BIN_EXE_odradek-sim"))
            .args(arguments.split_whitespace())
            .arg("--no-shrink")
            .output()
            .expect("the simulator runs");
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(printed.contains(&format!("{outcome:?}")), "{arguments}: here {outcome:?}, there {printed}");
    }
}

/// Other failures of the same run are no reason to go on: with every checker there is only its own kind in the result.
#[test]
fn a_run_without_that_failure_is_not_smaller() {
    let options = Options { planted: Some(PLANTED), ..Options::new(Mode::Cores) };
    let found = run(SEED, &options).violation.expect("the mistake is found").checker;
    for other in [odradek_sim::violation::Checker::Group, odradek_sim::violation::Checker::Disk] {
        assert_ne!(found, other);
        assert_eq!(shrink(SEED, &options, other), None, "{other:?}");
    }
}
