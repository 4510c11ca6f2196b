//! Subscriptions by regular expression: RE2's language, as far as the `regex` crate shares it.

use super::state::Resolved;
use crate::turn::Turn;
use std::sync::Arc;

/// Memory of one compiled expression, in bytes.
const COMPILED_BYTES_MAX: usize = 1 << 20;

fn compile(expression: &str) -> Option<::regex::Regex> {
    let build = |text: &str| {
        ::regex::RegexBuilder::new(text).size_limit(COMPILED_BYTES_MAX).dfa_size_limit(COMPILED_BYTES_MAX).nest_limit(100).build().ok()
    };
    // By itself first: a stray bracket must not pair with those around it.
    build(expression)?;
    build(&format!(r"\A(?:{expression})\z"))
}

/// Topics whose whole name matches. `None`: not an expression, or one that takes too much memory.
pub(crate) fn resolve(turn: &Turn, expression: &str) -> Option<Resolved> {
    let pattern = compile(expression)?;
    let mut found = Resolved { version: turn.topics.version as i64, timestamp: turn.wall.get(), ..Resolved::default() };
    (turn.topics.each_name)(&mut |name| {
        if pattern.is_match(name) {
            found.topics.insert(Arc::from(name));
        }
    });
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::turn::Topics;
    use odradek_base::{Instant, Timestamp};

    fn topics(expression: &str) -> Option<Vec<String>> {
        let each_name = |visit: &mut dyn FnMut(&str)| ["a", "ab", "b.c", "x"].into_iter().for_each(visit);
        let turn = Turn { now: Instant(0), wall: Timestamp(0), topics: Topics { each_name: &each_name, ..Topics::none() } };
        resolve(&turn, expression).map(|found| found.topics.iter().map(|name| name.to_string()).collect())
    }

    #[test]
    fn whole_names_match() {
        assert_eq!(topics("a").unwrap(), ["a"]);
        assert_eq!(topics("a.*").unwrap(), ["a", "ab"]);
        assert_eq!(topics("a|x").unwrap(), ["a", "x"]);
        assert_eq!(topics(r"b\.c").unwrap(), ["b.c"]);
    }

    #[test]
    fn what_is_no_expression_or_too_large_is_refused() {
        for wrong in ["([", "a)(b", "*", r"(a)\1", "((a{1000}){1000}){1000}"] {
            assert_eq!(topics(wrong), None, "{wrong}");
        }
    }
}
