//! Makes a failing run smaller: fewer faults, fewer clients, less work, less time, as long as it breaks the same kind of rule.

use crate::run::{Options, run};
use crate::scenario::{Less, Scenario};
use crate::violation::{Checker, Violation};
use std::fmt;

/// Runs that one failure may cost.
const ATTEMPTS_MAX: u32 = 60;

/// The smallest run that was found to fail, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shrunk {
    pub less: Less,
    pub violation: Violation,
}

/// Reduces the run of `seed`, in which `checker` finds something under `options`. `None` when nothing can be left out.
pub fn shrink(seed: u64, options: &Options, checker: Checker) -> Option<Shrunk> {
    let scenario = Scenario::draw(seed, options.mode, options.kinds);
    let mut search = Search { seed, options, checker, attempts: 0, best: None, less: options.less.clone() };
    search.without_each(scenario.faults.len(), |less| &mut less.faults);
    search.without_each(scenario.client_count(), |less| &mut less.clients);
    for percent in [10, 25, 50] {
        if search.attempt(Less { work: percent, ..search.less.clone() }) {
            break;
        }
    }
    for percent in [10, 50] {
        if search.attempt(Less { time: percent, ..search.less.clone() }) {
            break;
        }
    }
    search.best
}

struct Search<'a> {
    seed: u64,
    options: &'a Options,
    checker: Checker,
    attempts: u32,
    best: Option<Shrunk>,
    less: Less,
}

impl Search<'_> {
    /// Whether the run still fails in the same way; then this is what the search goes on from.
    fn attempt(&mut self, less: Less) -> bool {
        if less == self.less || self.attempts == ATTEMPTS_MAX {
            return false;
        }
        self.attempts += 1;
        let outcome = run(self.seed, &Options { less: less.clone(), events: false, ..self.options.clone() });
        let Some(violation) = outcome.violation.filter(|violation| violation.checker == self.checker) else { return false };
        self.less = less.clone();
        self.best = Some(Shrunk { less, violation });
        true
    }

    /// Leaves all elements out, or one after the other, the last first.
    fn without_each(&mut self, count: usize, list: impl Fn(&mut Less) -> &mut Option<Vec<usize>>) {
        let mut none = self.less.clone();
        *list(&mut none) = Some(Vec::new());
        if self.attempt(none) {
            return;
        }
        let mut kept = list(&mut self.less).clone().unwrap_or_else(|| (0..count).collect());
        for at in (0..kept.len()).rev() {
            let mut fewer = kept.clone();
            fewer.remove(at);
            let mut less = self.less.clone();
            *list(&mut less) = Some(fewer.clone());
            if self.attempt(less) {
                kept = fewer;
            }
        }
    }
}

/// As arguments of `odradek-sim`, each with a space in front.
impl fmt::Display for Less {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers = |only: &[usize]| match only.is_empty() {
            true => "none".to_string(),
            false => only.iter().map(usize::to_string).collect::<Vec<_>>().join(","),
        };
        if let Some(only) = &self.faults {
            write!(f, " --faults {}", numbers(only))?;
        }
        if let Some(only) = &self.clients {
            write!(f, " --clients {}", numbers(only))?;
        }
        if self.work != 100 {
            write!(f, " --work {}", self.work)?;
        }
        if self.time != 100 {
            write!(f, " --time {}", self.time)?;
        }
        Ok(())
    }
}
