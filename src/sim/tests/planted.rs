//! Faults that no correct broker survives, planted in the simulated disk: the checkers must find each within a few seeds.

use odradek_sim::run::{Options, Planted, run};
use odradek_sim::scenario::Mode;

/// Seeds that a planted fault may take to be found.
const SEEDS_MAX: u64 = 20;

/// The first seed that shows the fault, and what was found.
fn find(planted: Planted) -> (u64, String) {
    let options = Options { planted: Some(planted), ..Options::new(Mode::Cores) };
    let found = (0..SEEDS_MAX).find_map(|seed| run(seed, &options).violation.map(|violation| (seed, violation)));
    found.unwrap_or_else(|| panic!("{planted:?} was not found within {SEEDS_MAX} seeds"))
}

#[test]
fn acknowledging_without_a_flush_is_found() {
    println!("{:?}", find(Planted::NoSync));
}

#[test]
fn a_flush_that_is_missing_now_and_then_is_found() {
    println!("{:?}", find(Planted::SomeSyncsMissing));
}

#[test]
fn a_journal_that_is_not_replayed_is_found() {
    println!("{:?}", find(Planted::NoReplay));
}
